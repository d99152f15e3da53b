//! Principals, and the owners for whose packages their self-service rules may be good (`acts_for`).

use std::collections::HashMap;

use carnet_entity::{acts_for, principal};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _,
    QueryFilter as _, QueryOrder as _, Value,
};

use super::{Persist, in_use, stored, taken};
use crate::clock::Timestamp;
use crate::documents::{Kind, PrincipalDocument, Stored};
use crate::ids::{base32, new};
use crate::store::{StoreError, constraint};

impl Persist for PrincipalDocument {
    type Entity = principal::Entity;

    const ID: principal::Column = principal::Column::Id;
    const NAME: principal::Column = principal::Column::NameFolded;
    const VERSION: principal::Column = principal::Column::Version;

    // Any text can be the id of a principal, because registries may choose it.
    fn id_value(text: &str) -> Option<Value> {
        Some(text.into()).filter(|_| !text.is_empty())
    }

    fn new_id(now: Timestamp) -> String {
        format!("pr_{}", base32(new(now)))
    }

    async fn load(
        connection: &impl ConnectionTrait,
        rows: Vec<principal::Model>,
    ) -> Result<Vec<Stored<Self>>, StoreError> {
        let principals = rows.into_iter().map(of_row).collect::<Result<_, _>>()?;
        with_owners(connection, principals).await
    }

    fn row(object: &Stored<Self>) -> Result<principal::ActiveModel, StoreError> {
        Ok(principal::ActiveModel {
            id: Set(object.id.clone()),
            name: Set(object.name.clone()),
            name_folded: Set(object.name.to_ascii_lowercase()),
            kind: Set(object.document.kind.as_str().to_owned()),
            external_id: Set(object.document.external_id.clone()),
            display_name: Set(object.document.display_name.clone()),
            enabled: Set(object.document.enabled),
            version: Set(object.version),
            created_at: Set(object.created_at.millis()),
            updated_at: Set(object.updated_at.millis()),
        })
    }

    async fn write_parts(
        transaction: &DatabaseTransaction,
        object: &Stored<Self>,
    ) -> Result<(), StoreError> {
        write_owners(transaction, object).await
    }

    fn change_key(object: &Stored<Self>) -> &str {
        &object.name
    }
}

fn of_row(row: principal::Model) -> Result<Stored<PrincipalDocument>, StoreError> {
    let document = PrincipalDocument {
        id: Some(row.id.clone()),
        kind: row
            .kind
            .parse()
            .map_err(|()| StoreError::Corrupt(format!("kind {}", row.kind)))?,
        external_id: row.external_id,
        display_name: row.display_name,
        acts_for: Vec::new(),
        enabled: row.enabled,
    };
    Ok(stored(
        row.id,
        row.name,
        row.version,
        (row.created_at, row.updated_at),
        document,
    ))
}

/// Replaces the `acts_for` rows of a principal.
async fn write_owners(
    transaction: &DatabaseTransaction,
    object: &Stored<PrincipalDocument>,
) -> Result<(), StoreError> {
    let before =
        acts_for::Entity::delete_many().filter(acts_for::Column::Principal.eq(&object.name));
    before.exec(transaction).await?;
    let rows: Vec<_> = object
        .document
        .acts_for
        .iter()
        .zip(0..)
        .map(|(owner, position)| acts_for::ActiveModel {
            principal: Set(object.name.clone()),
            position: Set(position),
            owner: Set(owner.clone()),
        })
        .collect();
    if !rows.is_empty() {
        acts_for::Entity::insert_many(rows)
            .exec_without_returning(transaction)
            .await
            .map_err(|error| {
                constraint(error, &taken(Kind::Principal), &in_use(Kind::Principal))
            })?;
    }
    Ok(())
}

/// Loads the `acts_for` rows of these principals.
async fn with_owners(
    connection: &impl ConnectionTrait,
    mut principals: Vec<Stored<PrincipalDocument>>,
) -> Result<Vec<Stored<PrincipalDocument>>, StoreError> {
    if principals.is_empty() {
        return Ok(principals);
    }
    // The number of parameters of a statement is limited.
    let mut owners: HashMap<String, Vec<String>> = HashMap::new();
    for some in principals.chunks(500) {
        let rows = acts_for::Entity::find()
            .filter(acts_for::Column::Principal.is_in(some.iter().map(|principal| &principal.name)))
            .order_by_asc(acts_for::Column::Position)
            .all(connection)
            .await?;
        for row in rows {
            owners.entry(row.principal).or_default().push(row.owner);
        }
    }
    for principal in &mut principals {
        principal.document.acts_for = owners.remove(&principal.name).unwrap_or_default();
    }
    Ok(principals)
}
