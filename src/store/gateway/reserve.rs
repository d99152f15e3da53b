//! Records a publication before it is forwarded.

use carnet_entity::{gateway_publication, principal};
use carnet_gateway::{Changed, NewPublication, Owner, Package, Publisher, Standing};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbErr,
    EntityTrait as _, FromQueryResult as _, QueryFilter as _, SqlErr, Value,
};
use serde_json::json;

use super::{PACKAGE, PackageRecord, PackageRow, PackageState, PublicationState};
use crate::clock::Timestamp;
use crate::ids::PublicationId;
use crate::store::{Store, StoreError};

impl Store {
    /// The record of a package, by its folded name; `None` if there is none.
    pub async fn gateway_package(
        &self,
        registry: &str,
        name: &str,
    ) -> Result<Option<PackageRecord>, StoreError> {
        let sql = format!("{PACKAGE} WHERE p.resource_server = $1 AND p.name = $2");
        let statement = self.statement(&sql, [registry.into(), name.into()]);
        let row = PackageRow::find_by_statement(statement)
            .one(&self.read)
            .await?;
        row.map(PackageRecord::try_from).transpose()
    }

    /// Records a publication as under way. The first one of a package reserves its name. Nothing is
    /// recorded if the package is not as it was decided on any more.
    pub async fn reserve_publication(
        &self,
        new: &NewPublication,
        now: Timestamp,
    ) -> Result<Result<PublicationId, Changed>, StoreError> {
        let transaction = self.begin().await?;
        let Some(parties) = Parties::of(&transaction, new).await? else {
            transaction.rollback().await?;
            return Ok(Err(Changed));
        };
        let holds = match self.hold(&transaction, new, &parties, now).await {
            Ok(Some(holds)) => holds,
            Ok(None) => {
                transaction.rollback().await?;
                return Ok(Err(Changed));
            }
            // The registry or the owner was removed a moment ago.
            Err(error)
                if matches!(
                    error.sql_err(),
                    Some(SqlErr::ForeignKeyConstraintViolation(_))
                ) =>
            {
                transaction.rollback().await?;
                return Ok(Err(Changed));
            }
            Err(error) => return Err(error.into()),
        };
        let id = PublicationId::new(now);
        gateway_publication::Entity::insert(row(id, new, parties, holds, now))
            .exec_without_returning(&transaction)
            .await?;
        transaction.commit().await?;
        Ok(Ok(id))
    }

    /// Counts the publication in the row of its package, which is made if there is none. Returns
    /// whether there is such a row, or `None` if the package was changed.
    async fn hold(
        &self,
        transaction: &DatabaseTransaction,
        new: &NewPublication,
        parties: &Parties,
        now: Timestamp,
    ) -> Result<Option<bool>, DbErr> {
        let decided = &new.decided_on;
        if decided.version == 0 && !new.adds {
            // Of a package that is older than the gateway, something is changed that says nothing of
            // its owner.
            return Ok(Some(false));
        }
        let written = if decided.version == 0 {
            self.insert_reserved(transaction, new, parties, now).await?
        } else {
            let Some(expected) = Expected::of(decided) else {
                return Ok(None);
            };
            let is_first = expected.state == PackageState::Unrecorded && new.adds;
            let reservation = if is_first {
                ", state = 'reserved', version = version + 1, spelled = $7, owner = $8, since = $9, token_id = $10, \
                 principal = $11, credential = $12"
            } else {
                ""
            };
            let sql = format!(
                "UPDATE gateway_package SET open = open + 1{reservation} \
                 WHERE resource_server = $1 AND name = $2 AND version = $3 AND state = $4 AND COALESCE(owner, '') = $5 \
                 AND trusted_only = $6"
            );
            let mut values: Vec<Value> = vec![
                new.registry.as_str().into(),
                new.package.as_str().into(),
                decided.version.into(),
                expected.state.as_str().into(),
                expected.owner.into(),
                decided.trusted_only.into(),
            ];
            if is_first {
                values.extend(reserving(new, parties, now));
            }
            let statement = self.statement(&sql, values);
            transaction.execute_raw(statement).await?.rows_affected()
        };
        Ok((written == 1).then_some(true))
    }

    /// Inserts the row of a new package. Of two gateways that try, one does.
    async fn insert_reserved(
        &self,
        transaction: &DatabaseTransaction,
        new: &NewPublication,
        parties: &Parties,
        now: Timestamp,
    ) -> Result<u64, DbErr> {
        let sql = "INSERT INTO gateway_package (resource_server, name, state, trusted_only, version, open, spelled, owner, since, \
                   token_id, principal, credential) VALUES ($1, $2, 'reserved', $3, 1, 1, $4, $5, $6, $7, $8, $9) \
                   ON CONFLICT DO NOTHING";
        let mut values: Vec<Value> = vec![
            new.registry.as_str().into(),
            new.package.as_str().into(),
            false.into(),
        ];
        values.extend(reserving(new, parties, now));
        let inserted = transaction.execute_raw(self.statement(sql, values)).await?;
        Ok(inserted.rows_affected())
    }
}

/// The principals that a publication names, as they are called now.
struct Parties {
    /// The owner that a new package gets; `None` with the registry's own credentials.
    reserves_for: Option<Owner>,
    /// The owner in whose name it is published.
    owner: Option<Owner>,
    /// The principal of the token's entry.
    principal: Option<Owner>,
}

impl Parties {
    /// `None` if one of them was removed.
    async fn of(
        connection: &impl ConnectionTrait,
        new: &NewPublication,
    ) -> Result<Option<Self>, DbErr> {
        let Publisher::Token { entry, .. } = &new.publisher else {
            return Ok(Some(Self {
                reserves_for: None,
                owner: owner_of(&new.decided_on).cloned(),
                principal: None,
            }));
        };
        let owner = named(connection, &entry.owner).await?;
        let principal = named(connection, &entry.principal).await?;
        let (Some(owner), Some(principal)) = (owner, principal) else {
            return Ok(None);
        };
        Ok(Some(Self {
            reserves_for: Some(owner.clone()),
            owner: Some(owner),
            principal: Some(principal),
        }))
    }
}

/// The principal of this name.
pub(super) async fn named(
    connection: &impl ConnectionTrait,
    name: &str,
) -> Result<Option<Owner>, DbErr> {
    let row = principal::Entity::find()
        .filter(principal::Column::NameFolded.eq(name.to_ascii_lowercase()))
        .one(connection)
        .await?;
    Ok(row.map(|row| Owner {
        id: row.id,
        name: row.name,
    }))
}

/// State and owner that a row must still have.
struct Expected {
    state: PackageState,
    /// The id of the owner, or nothing.
    owner: String,
}

impl Expected {
    /// `None` if nothing may be published on such a record.
    fn of(decided: &Package) -> Option<Self> {
        let state = match &decided.standing {
            Standing::Unrecorded => PackageState::Unrecorded,
            Standing::Reserved(_) => PackageState::Reserved,
            Standing::Owned(_) => PackageState::Owned,
            Standing::Unowned => PackageState::Unowned,
            Standing::Orphaned => return None,
        };
        let owner = owner_of(decided).map(|owner| owner.id.clone());
        Some(Self {
            state,
            owner: owner.unwrap_or_default(),
        })
    }
}

fn owner_of(package: &Package) -> Option<&Owner> {
    match &package.standing {
        Standing::Reserved(owner) => owner.as_ref(),
        Standing::Owned(owner) => Some(owner),
        Standing::Unrecorded | Standing::Unowned | Standing::Orphaned => None,
    }
}

/// What the row of a package says of its reservation: `spelled`, `owner`, `since`, `token_id`,
/// `principal` and `credential`.
fn reserving(new: &NewPublication, parties: &Parties, now: Timestamp) -> [Value; 6] {
    let id = parties.reserves_for.as_ref().map(|owner| owner.id.clone());
    let principal = parties.principal.as_ref();
    let (token_id, credential) = match &new.publisher {
        Publisher::Token { token, entry } => {
            (Some(token.jti.clone()), Some(entry.credential.clone()))
        }
        Publisher::Passthrough { .. } => (None, None),
    };
    [
        new.spelled.as_str().into(),
        id.into(),
        now.millis().into(),
        token_id.into(),
        principal.map(|principal| principal.name.clone()).into(),
        credential.into(),
    ]
}

fn row(
    id: PublicationId,
    new: &NewPublication,
    parties: Parties,
    holds: bool,
    now: Timestamp,
) -> gateway_publication::ActiveModel {
    let (owner_id, owner) = apart(parties.owner);
    let (principal_id, principal) = apart(parties.principal);
    let (token, user, passthrough) = match &new.publisher {
        Publisher::Token { token, entry } => (Some((token, entry)), None, false),
        Publisher::Passthrough { user } => (None, user.clone(), true),
    };
    let workload = token.and_then(|(token, _)| token.workload.as_ref());
    gateway_publication::ActiveModel {
        id: Set(id.0),
        resource_server: Set(new.registry.clone()),
        package: Set(new.package.clone()),
        spelled: Set(new.spelled.clone()),
        version: Set(new.version.clone()),
        file: Set(new.file.clone()),
        digest: Set(new.digest.clone()),
        operation: Set(new.operation.to_owned()),
        adds: Set(new.adds),
        holds: Set(holds),
        state: Set(PublicationState::UnderWay.as_str().to_owned()),
        owner: Set(owner),
        owner_id: Set(owner_id),
        principal: Set(principal),
        principal_id: Set(principal_id),
        credential: Set(token.map(|(_, entry)| entry.credential.clone())),
        revision: Set(token.and_then(|(_, entry)| entry.revision.try_into().ok())),
        token_id: Set(token.map(|(token, _)| token.jti.clone())),
        client_id: Set(token.map(|(token, _)| token.client_id.clone())),
        workload: Set(workload.map(|workload| json!(workload).to_string())),
        passthrough_user: Set(user),
        passthrough: Set(passthrough),
        address: Set(new.address.map(|address| address.to_string())),
        unclear_why: Set(None),
        by_operator: Set(false),
        created_at: Set(now.millis()),
        settled_at: Set(None),
    }
}

/// Id and name.
fn apart(principal: Option<Owner>) -> (Option<String>, Option<String>) {
    principal
        .map(|principal| (principal.id, principal.name))
        .unzip()
}
