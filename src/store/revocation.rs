//! Ends the tokens that rest on rules: raises the revisions of the rules, so that entries of the
//! former revision are no longer valid (`docs/src/reference/introspection.md`).

use std::collections::{BTreeSet, HashMap};

use carnet_entity::{client, credential_actor, federated_credential, permission};
use sea_orm::sea_query::{Condition, Query, SelectStatement};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, QueryTrait as _, Value,
};
use uuid::Uuid;

use super::objects::{Persist as _, id};
use super::{ChangeKind, Store, StoreError, audit, changes};
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::documents::{ClientDocument, Kind, Stored};
use crate::ids::CredentialId;

/// The rules whose tokens end.
#[derive(Clone, Copy, Debug)]
pub enum RulesToRenew<'a> {
    One(CredentialId),
    /// All rules of this principal, by name.
    OfPrincipal {
        name: &'a str,
        /// Whether the tokens of clients end too that name the principal in a permission or a
        /// scope.
        with_clients: bool,
    },
}

/// What a renewal ended.
#[derive(Debug, Default)]
pub struct Renewed {
    /// The rules, in the order of their ids.
    pub rules: Vec<RenewedRule>,
    /// The names of the clients whose tokens ended, sorted.
    pub clients: Vec<String>,
    /// How many rules were written: these, and those that name one of them as an actor.
    pub changed: usize,
    /// Where the ended tokens may be used, by the rules and clients as they are.
    pub reach: Reach,
}

/// A rule whose tokens ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewedRule {
    pub id: CredentialId,
    pub name: String,
    pub principal: String,
    /// The revision from now on.
    pub revision: u32,
}

/// The resource servers that rules and clients have permissions for.
#[derive(Debug, Default)]
pub struct Reach {
    /// By name.
    pub resource_servers: BTreeSet<String>,
    /// When one of the rules or clients was last changed; it may have had other permissions before.
    /// `None` if all are as they were created. A renewal is no such change.
    pub changed_at: Option<Timestamp>,
}

impl Reach {
    /// Notes when an object was changed, if it ever was.
    fn note_change(&mut self, created_at: Timestamp, updated_at: Timestamp) {
        if updated_at > created_at {
            self.changed_at = self.changed_at.max(Some(updated_at));
        }
    }
}

/// A locked rule as it is before the renewal.
#[derive(Debug, sea_orm::FromQueryResult)]
struct Locked {
    id: Uuid,
    name: String,
    principal: String,
    revision: i32,
    created_at: i64,
    updated_at: i64,
}

impl<'a> RulesToRenew<'a> {
    /// The rules of a principal, and no clients.
    pub(super) const fn of_principal(name: &'a str) -> Self {
        Self::OfPrincipal {
            name,
            with_clients: false,
        }
    }

    /// The column that selects the rules, and its value.
    fn selection(self) -> (&'static str, Value) {
        match self {
            Self::One(id) => ("id", id.0.into()),
            Self::OfPrincipal { name, .. } => ("principal", name.into()),
        }
    }

    fn selects(self, rule: &Locked) -> bool {
        match self {
            Self::One(id) => rule.id == id.0,
            Self::OfPrincipal { name, .. } => rule.principal == name,
        }
    }

    /// The change that tells the replicas, however many rules it is about.
    fn change(self) -> (ChangeKind, String) {
        match self {
            Self::One(id) => (ChangeKind::RuleAndHolders, id.to_string()),
            Self::OfPrincipal { name, .. } => (ChangeKind::RulesOfPrincipal, name.to_owned()),
        }
    }

    /// The rules and their holders, which are the rules that name one of them as an actor.
    fn with_holders(self) -> Condition {
        use federated_credential::Column;
        let selected = match self {
            Self::One(id) => Column::Id.eq(id.0),
            Self::OfPrincipal { name, .. } => Column::Principal.eq(name),
        };
        let own = federated_credential::Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(selected.clone())
            .into_query();
        let holders = Query::select()
            .column(credential_actor::Column::CredentialId)
            .from(credential_actor::Entity)
            .and_where(credential_actor::Column::ActorId.in_subquery(own))
            .to_owned();
        Condition::any()
            .add(selected)
            .add(Column::Id.in_subquery(holders))
    }

    fn ids_with_holders(self) -> SelectStatement {
        federated_credential::Entity::find()
            .select_only()
            .column(federated_credential::Column::Id)
            .filter(self.with_holders())
            .into_query()
    }
}

impl Store {
    /// Raises the revision of rules and writes the audit event. Other rules and clients that name
    /// one of them at its former revision name it at the new one afterwards: its meaning is
    /// unchanged, so their consent is too.
    ///
    /// The number of statements does not depend on the number of rules, so that other changes do
    /// not wait long for the rules of a principal.
    pub async fn renew_rules(
        &self,
        which: RulesToRenew<'_>,
        event: &AuditEvent,
        now: Timestamp,
    ) -> Result<Renewed, StoreError> {
        let transaction = self.begin().await?;
        let (column, value) = which.selection();
        let locked = lock_rules(&transaction, which).await?;
        let mut reach = Reach {
            resource_servers: resource_servers(&transaction, which).await?,
            changed_at: None,
        };
        for rule in &locked {
            let (created_at, updated_at) = (rule.created_at, rule.updated_at);
            reach.note_change(
                Timestamp::from_millis(created_at),
                Timestamp::from_millis(updated_at),
            );
        }
        let changed = locked.len();
        let own: Vec<Locked> = locked
            .into_iter()
            .filter(|rule| which.selects(rule))
            .collect();
        self.renew_actors(&transaction, column, &value).await?;
        let clients = self
            .renew_clients(&transaction, which, &own, now, &mut reach)
            .await?;
        let raised = format!(
            "UPDATE federated_credential SET revision = revision + 1, version = version + 1 WHERE {column} = $1"
        );
        transaction
            .execute_raw(self.statement(&raised, [value]))
            .await?;
        audit::insert(&transaction, &[event]).await?;
        let mut ended = Vec::new();
        for (client, has_ended) in clients {
            changes::record(&transaction, ChangeKind::Object(Kind::Client), &client, now).await?;
            ended.extend(has_ended.then_some(client));
        }
        let (kind, key) = which.change();
        changes::record(&transaction, kind, &key, now).await?;
        transaction.commit().await?;
        event.log();
        ended.sort();
        Ok(Renewed {
            rules: own.into_iter().map(renewed).collect(),
            clients: ended,
            changed,
            reach,
        })
    }

    /// The rules that a renewal changed, which are those it selects and their holders.
    pub(super) async fn renewed_rules(
        &self,
        which: RulesToRenew<'_>,
    ) -> Result<Vec<Uuid>, StoreError> {
        Ok(federated_credential::Entity::find()
            .select_only()
            .column(federated_credential::Column::Id)
            .filter(which.with_holders())
            .into_tuple()
            .all(&self.read)
            .await?)
    }

    /// Renews the references of rules that name one of the rules as an actor.
    async fn renew_actors(
        &self,
        transaction: &DatabaseTransaction,
        column: &str,
        value: &Value,
    ) -> Result<(), StoreError> {
        let rules = format!("SELECT id FROM federated_credential WHERE {column} = $1");
        let current = "(SELECT f.revision FROM federated_credential f WHERE f.id = credential_actor.actor_id)";
        let named = format!("WHERE actor_id IN ({rules}) AND revision = {current}");
        // Their references are part of what an ETag stands for.
        let versioned = format!(
            "UPDATE federated_credential SET version = version + 1 WHERE id IN (SELECT credential_id FROM credential_actor {named})"
        );
        let renewed = format!("UPDATE credential_actor SET revision = revision + 1 {named}");
        for sql in [versioned, renewed] {
            transaction
                .execute_raw(self.statement(&sql, [value.clone()]))
                .await?;
        }
        Ok(())
    }

    /// Renews the references of clients that list one of the rules, and ends the tokens of clients
    /// that name the principal. Returns the changed clients by name, and whether each one's tokens
    /// ended.
    async fn renew_clients(
        &self,
        transaction: &DatabaseTransaction,
        which: RulesToRenew<'_>,
        rules: &[Locked],
        now: Timestamp,
        reach: &mut Reach,
    ) -> Result<Vec<(String, bool)>, StoreError> {
        let (column, value) = which.selection();
        let listing = format!(
            "SELECT client_id FROM client_reference WHERE credential_id IN (SELECT id FROM federated_credential WHERE {column} = $1)"
        );
        let listing = self
            .clients_of(transaction, &listing, value.clone())
            .await?;
        let naming = match which {
            RulesToRenew::OfPrincipal {
                with_clients: true, ..
            } => {
                let naming = "SELECT client_id FROM client_reference WHERE principal = $1";
                self.clients_of(transaction, naming, value).await?
            }
            _ => BTreeSet::new(),
        };
        let rows = client::Entity::find()
            .filter(client::Column::Id.is_in(listing.union(&naming).copied()))
            .order_by_asc(client::Column::Id)
            .lock_exclusive()
            .all(transaction)
            .await?;
        let former: HashMap<Uuid, i32> =
            rules.iter().map(|rule| (rule.id, rule.revision)).collect();
        let mut changed = Vec::new();
        for mut client in ClientDocument::load(transaction, rows).await? {
            let is_renewed = follow(&mut client, &former);
            let ends = naming.contains(&id::<crate::ids::ClientRowId>(&client.id)?.0);
            if ends {
                client.state.revision = client.state.revision.saturating_add(1);
                client.state.not_before = now;
            }
            if !(is_renewed || ends) {
                continue;
            }
            reach.note_change(client.created_at, client.updated_at);
            let permissions = client.document.permissions.iter();
            let servers = permissions.map(|permission| permission.resource_server.clone());
            reach.resource_servers.extend(servers);
            client.version = client.version.saturating_add(1);
            client::Entity::update_many()
                .set(ClientDocument::row(&client)?)
                .filter(client::Column::Id.eq(id::<crate::ids::ClientRowId>(&client.id)?.0))
                .exec(transaction)
                .await?;
            ClientDocument::write_parts(transaction, &client).await?;
            changed.push((client.name, ends));
        }
        Ok(changed)
    }

    async fn clients_of(
        &self,
        transaction: &DatabaseTransaction,
        sql: &str,
        value: Value,
    ) -> Result<BTreeSet<Uuid>, StoreError> {
        let rows = transaction
            .query_all_raw(self.statement(sql, [value]))
            .await?;
        let ids = rows.iter().map(|row| row.try_get_by_index::<Uuid>(0));
        Ok(ids.collect::<Result<_, _>>()?)
    }
}

/// Locks the rules and their holders, in the order of their ids as other transactions do.
async fn lock_rules(
    transaction: &DatabaseTransaction,
    which: RulesToRenew<'_>,
) -> Result<Vec<Locked>, StoreError> {
    use federated_credential::Column;
    Ok(federated_credential::Entity::find()
        .select_only()
        .columns([
            Column::Id,
            Column::Name,
            Column::Principal,
            Column::Revision,
            Column::CreatedAt,
            Column::UpdatedAt,
        ])
        .filter(which.with_holders())
        .order_by_asc(Column::Id)
        .lock_exclusive()
        .into_model::<Locked>()
        .all(transaction)
        .await?)
}

/// The resource servers that the rules and their holders have permissions for, by name.
async fn resource_servers(
    transaction: &DatabaseTransaction,
    which: RulesToRenew<'_>,
) -> Result<BTreeSet<String>, StoreError> {
    let names: Vec<String> = permission::Entity::find()
        .select_only()
        .column(permission::Column::ResourceServer)
        .distinct()
        .filter(permission::Column::CredentialId.in_subquery(which.ids_with_holders()))
        .into_tuple()
        .all(transaction)
        .await?;
    Ok(names.into_iter().collect())
}

fn renewed(rule: Locked) -> RenewedRule {
    let revision = u32::try_from(rule.revision).unwrap_or_default();
    RenewedRule {
        id: CredentialId(rule.id),
        name: rule.name,
        principal: rule.principal,
        revision: revision.saturating_add(1),
    }
}

/// Lists the rules at their new revisions where the client listed them at the former ones. Returns
/// whether it listed any.
fn follow(client: &mut Stored<ClientDocument>, former: &HashMap<Uuid, i32>) -> bool {
    let mut is_renewed = false;
    for listed in &mut client.state.listed {
        let Ok(CredentialId(rule)) = listed.credential.parse() else {
            continue;
        };
        let revision = former.get(&rule).and_then(|was| u32::try_from(*was).ok());
        if revision == Some(listed.revision) {
            listed.revision = listed.revision.saturating_add(1);
            is_renewed = true;
        }
    }
    is_renewed
}
