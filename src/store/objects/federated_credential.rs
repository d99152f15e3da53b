//! Federated credentials. Permissions and actors have tables of their own; pins, consent and
//! revision are columns beside the document.

use std::collections::HashMap;

use carnet_entity::{credential_actor, federated_credential, permission, principal};
use carnet_resource_server::ProofLevel;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _, ExprTrait as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Value as DbValue,
    sea_query::{Condition, Expr, Func, Query, SimpleExpr},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Filter, Persist, StoredCredential, all_called, id, in_use, stored, taken};
use crate::clock::Timestamp;
use crate::documents::{
    CredentialState, FederatedCredentialDocument, Kind, PermissionDocument, Stored, Vouching,
};
use crate::ids::CredentialId;
use crate::model::RuleReference;
use crate::store::{Store, StoreError, constraint, json as from_json};

impl Persist for FederatedCredentialDocument {
    type Entity = federated_credential::Entity;

    const ID: federated_credential::Column = federated_credential::Column::Id;
    const NAME: federated_credential::Column = federated_credential::Column::NameFolded;
    const VERSION: federated_credential::Column = federated_credential::Column::Version;

    fn id_value(text: &str) -> Option<DbValue> {
        Some(text.parse::<CredentialId>().ok()?.0.into())
    }

    fn new_id(now: Timestamp) -> String {
        CredentialId::new(now).to_string()
    }

    async fn load(
        connection: &impl ConnectionTrait,
        rows: Vec<federated_credential::Model>,
    ) -> Result<Vec<Stored<Self>>, StoreError> {
        with_parts(connection, rows).await
    }

    fn row(object: &Stored<Self>) -> Result<federated_credential::ActiveModel, StoreError> {
        credential_row(object)
    }

    async fn write_parts(
        transaction: &DatabaseTransaction,
        object: &Stored<Self>,
    ) -> Result<(), StoreError> {
        let id = id::<CredentialId>(&object.id)?.0;
        permission::Entity::delete_many()
            .filter(permission::Column::CredentialId.eq(id))
            .exec(transaction)
            .await?;
        let actors = credential_actor::Entity::delete_many();
        actors
            .filter(credential_actor::Column::CredentialId.eq(id))
            .exec(transaction)
            .await?;
        insert_parts(transaction, object).await
    }

    /// `reference` is an id, `principal:name`, or a name that rules of several principals may have.
    fn rows_called(reference: &str) -> Condition {
        let condition = Condition::all();
        if let Some(id) = Self::id_value(reference) {
            return condition.add(Self::ID.eq(id));
        }
        let Some((principal, name)) = reference.split_once(':') else {
            return condition.add(Self::NAME.eq(reference.to_ascii_lowercase()));
        };
        // Many principals may have a rule of this name. A rule has the name of its principal as that
        // one spells it.
        let mut spelt = Query::select();
        spelt
            .column(principal::Column::Name)
            .from(principal::Entity)
            .and_where(principal::Column::NameFolded.eq(principal.to_ascii_lowercase()));
        condition
            .add(Self::NAME.eq(name.to_ascii_lowercase()))
            .add(federated_credential::Column::Principal.in_subquery(spelt))
    }

    fn meant(mut found: Vec<Stored<Self>>, reference: &str) -> Vec<Stored<Self>> {
        if let Some((principal, _)) = reference.split_once(':') {
            found.retain(|rule| rule.document.principal.eq_ignore_ascii_case(principal));
        }
        found
    }

    fn order() -> Vec<federated_credential::Column> {
        vec![Self::NAME, federated_credential::Column::Principal]
    }

    fn page_key(object: &Stored<Self>) -> String {
        format!(
            "{}:{}",
            object.name.to_ascii_lowercase(),
            object.document.principal
        )
    }

    fn after(page_key: &str) -> Condition {
        let (name, principal) = page_key.split_once(':').unwrap_or((page_key, ""));
        let same = Self::NAME
            .eq(name)
            .and(federated_credential::Column::Principal.gt(principal));
        Condition::any().add(Self::NAME.gt(name)).add(same)
    }

    fn listed(filter: &Filter) -> Condition {
        let principals = filter.principals.as_ref();
        let issuer = filter.trusted_issuer.as_ref();
        Condition::all()
            .add_option(
                principals.map(|names| federated_credential::Column::Principal.is_in(names)),
            )
            .add_option(issuer.map(|name| match principals {
                Some(_) => among_own(name),
                None => federated_credential::Column::TrustedIssuer.eq(name),
            }))
    }

    fn change_key(object: &Stored<Self>) -> &str {
        &object.id
    }
}

/// The rules about a trusted issuer among those of a principal. SQLite would take the index of trusted
/// issuers, and nearly all rules may be about one.
fn among_own(trusted_issuer: &str) -> SimpleExpr {
    let column = Expr::col(federated_credential::Column::TrustedIssuer);
    SimpleExpr::from(Func::coalesce([column, Expr::value("")])).eq(trusted_issuer)
}

impl Store {
    /// How many rules of a principal refer to a trusted issuer, both by name.
    pub async fn count_credentials(
        &self,
        principal: &str,
        trusted_issuer: &str,
    ) -> Result<u64, StoreError> {
        let own = federated_credential::Entity::find()
            .filter(federated_credential::Column::Principal.eq(principal));
        let count = own
            .filter(among_own(trusted_issuer))
            .count(&self.read)
            .await?;
        Ok(count)
    }

    /// The rules that are older than consent, so that no administrator has decided whether they are
    /// vouched for.
    pub async fn assumed_credentials(&self) -> Result<Vec<CredentialId>, StoreError> {
        let ids: Vec<Uuid> = federated_credential::Entity::find()
            .select_only()
            .column(federated_credential::Column::Id)
            .filter(federated_credential::Column::Consent.eq(Vouching::Assumed.as_str()))
            .into_tuple()
            .all(&self.read)
            .await?;
        Ok(ids.into_iter().map(CredentialId).collect())
    }

    /// The rules that a reference may mean. It is an id, `principal:name`, or a name that rules of
    /// several principals may have.
    pub async fn credentials_called(
        &self,
        reference: &str,
    ) -> Result<Vec<StoredCredential>, StoreError> {
        all_called(&self.read, reference).await
    }
}

fn credential_row(
    object: &Stored<FederatedCredentialDocument>,
) -> Result<federated_credential::ActiveModel, StoreError> {
    let Stored {
        document, state, ..
    } = object;
    let pinned =
        (!state.pinned.is_empty()).then(|| Value::Object(state.pinned.clone()).to_string());
    Ok(federated_credential::ActiveModel {
        id: Set(id::<CredentialId>(&object.id)?.0),
        name: Set(object.name.clone()),
        name_folded: Set(object.name.to_ascii_lowercase()),
        principal: Set(document.principal.clone()),
        trusted_issuer: Set(document.trusted_issuer.clone()),
        matcher: Set(Value::Object(document.matcher.clone()).to_string()),
        pinned: Set(pinned),
        pending_until: Set(state.pending_until.map(Timestamp::millis)),
        expires_at: Set(document.expires_at.map(Timestamp::millis)),
        review_at: Set(document.review_at.map(Timestamp::millis)),
        consent: Set(state.vouching.as_str().to_owned()),
        enabled: Set(document.enabled),
        revision: Set(i32::try_from(state.revision).unwrap_or(i32::MAX)),
        version: Set(object.version),
        created_at: Set(object.created_at.millis()),
        updated_at: Set(object.updated_at.millis()),
        // Only the token path writes these columns (see `Store::note_use`); an edit must not reset
        // them.
        last_used_at: NotSet,
        first_used_at: NotSet,
    })
}

async fn insert_parts(
    transaction: &DatabaseTransaction,
    object: &Stored<FederatedCredentialDocument>,
) -> Result<(), StoreError> {
    let refused = |error| {
        constraint(
            error,
            &taken(Kind::FederatedCredential),
            &in_use(Kind::FederatedCredential),
        )
    };
    let id = id::<CredentialId>(&object.id)?.0;
    let rows = object
        .document
        .permissions
        .iter()
        .zip(0..)
        .map(|(given, position)| permission::ActiveModel {
            credential_id: Set(id),
            position: Set(position),
            resource_server: Set(given.resource_server.clone()),
            owner: Set(given.owner.clone()),
            actions: Set(json!(given.actions).to_string()),
            packages: Set(json!(given.packages).to_string()),
            min_proof: Set(Some(given.min_proof)
                .filter(|level| *level > ProofLevel::Bearer)
                .map(|level| level.as_str().to_owned())),
            require_sender_constraint: Set(given.require_sender_constraint),
        });
    permission::Entity::insert_many(rows)
        .exec_without_returning(transaction)
        .await
        .map_err(refused)?;
    let actors: Vec<_> = object
        .state
        .actors
        .iter()
        .zip(0..)
        .map(|(actor, position)| credential_actor::ActiveModel {
            credential_id: Set(id),
            position: Set(position),
            actor_id: Set(actor.id.0),
            revision: Set(i32::try_from(actor.revision).unwrap_or(i32::MAX)),
        })
        .collect();
    if !actors.is_empty() {
        credential_actor::Entity::insert_many(actors)
            .exec_without_returning(transaction)
            .await
            .map_err(refused)?;
    }
    Ok(())
}

/// Loads the credentials of these rows with their permissions and actors, in the order of the rows.
async fn with_parts(
    connection: &impl ConnectionTrait,
    rows: Vec<federated_credential::Model>,
) -> Result<Vec<StoredCredential>, StoreError> {
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let mut permissions = HashMap::<_, Vec<permission::Model>>::new();
    let mut actors = HashMap::<_, Vec<(RuleReference, String)>>::new();
    if !ids.is_empty() {
        let all = credential_actor::Entity::find()
            .filter(credential_actor::Column::CredentialId.is_in(ids.iter().copied()))
            .order_by_asc(credential_actor::Column::Position)
            .all(connection)
            .await?;
        let actor_ids: Vec<_> = all.iter().map(|row| row.actor_id).collect();
        let known = names_of(connection, actor_ids).await?;
        for row in all {
            let Some((name, principal)) = known.get(&row.actor_id).cloned() else {
                continue;
            };
            let revision = u32::try_from(row.revision).unwrap_or_default();
            let actor = RuleReference {
                name,
                id: CredentialId(row.actor_id),
                revision,
            };
            actors
                .entry(row.credential_id)
                .or_default()
                .push((actor, principal));
        }
        let all = permission::Entity::find()
            .filter(permission::Column::CredentialId.is_in(ids))
            .order_by_asc(permission::Column::Position)
            .all(connection)
            .await?;
        for row in all {
            permissions.entry(row.credential_id).or_default().push(row);
        }
    }
    rows.into_iter()
        .map(|row| {
            let permissions = permissions.remove(&row.id).unwrap_or_default();
            let actors = actors.remove(&row.id).unwrap_or_default();
            credential(row, permissions, actors)
        })
        .collect()
}

/// Name and principal of these rules, by id.
async fn names_of(
    connection: &impl ConnectionTrait,
    ids: Vec<Uuid>,
) -> Result<HashMap<Uuid, (String, String)>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, String, String)> = federated_credential::Entity::find()
        .select_only()
        .columns([
            federated_credential::Column::Id,
            federated_credential::Column::Name,
            federated_credential::Column::Principal,
        ])
        .filter(federated_credential::Column::Id.is_in(ids))
        .into_tuple()
        .all(connection)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(id, name, principal)| (id, (name, principal)))
        .collect())
}

/// The level that a row asks for. An unknown one, of a later release, must not be taken for less.
fn min_proof(word: Option<&str>) -> Result<ProofLevel, StoreError> {
    word.map_or(Ok(ProofLevel::Bearer), |word| {
        from_json(&json!(word).to_string())
    })
}

fn credential(
    row: federated_credential::Model,
    permissions: Vec<permission::Model>,
    actors: Vec<(RuleReference, String)>,
) -> Result<StoredCredential, StoreError> {
    let permissions = permissions
        .into_iter()
        .map(|row| {
            Ok(PermissionDocument {
                resource_server: row.resource_server,
                actions: from_json(&row.actions)?,
                packages: from_json(&row.packages)?,
                owner: row.owner,
                min_proof: min_proof(row.min_proof.as_deref())?,
                require_sender_constraint: row.require_sender_constraint,
            })
        })
        .collect::<Result<_, StoreError>>()?;
    let pinned: Option<Map<String, Value>> = row.pinned.as_deref().map(from_json).transpose()?;
    let time = |at: Option<i64>| at.map(Timestamp::from_millis);
    // The shortest unambiguous form: a rule of the same principal is named without the principal.
    let reference = |(actor, principal): &(RuleReference, String)| {
        if *principal == row.principal {
            actor.name.clone()
        } else {
            format!("{principal}:{}", actor.name)
        }
    };
    let references = actors.iter().map(reference).collect();
    let document = FederatedCredentialDocument {
        principal: row.principal,
        trusted_issuer: row.trusted_issuer,
        matcher: from_json(&row.matcher)?,
        permissions,
        actors: references,
        vouched: None,
        expires_at: time(row.expires_at),
        review_at: time(row.review_at),
        enabled: row.enabled,
    };
    let state = CredentialState {
        pinned: pinned.unwrap_or_default(),
        pending_until: time(row.pending_until),
        vouching: Vouching::from_word(&row.consent),
        actors: actors.into_iter().map(|(actor, _)| actor).collect(),
        revision: u32::try_from(row.revision).unwrap_or_default(),
        first_used_at: time(row.first_used_at),
        last_used_at: time(row.last_used_at),
    };
    let id = CredentialId(row.id).to_string();
    let stored = stored(
        id,
        row.name,
        row.version,
        (row.created_at, row.updated_at),
        document,
    );
    Ok(Stored { state, ..stored })
}
