//! Memberships: which persons of an identity provider have which role.

use carnet_entity::membership;
use sea_orm::sea_query::Condition;
use sea_orm::{ActiveValue::Set, ColumnTrait as _, ConnectionTrait, Value};
use serde_json::Value as Json;

use super::{Filter, Persist, id, stored};
use crate::clock::Timestamp;
use crate::documents::{MembershipDocument, MembershipState, Stored};
use crate::ids::MembershipId;
use crate::model::Role;
use crate::store::{StoreError, json as from_json};

impl Persist for MembershipDocument {
    type Entity = membership::Entity;

    const ID: membership::Column = membership::Column::Id;
    const NAME: membership::Column = membership::Column::NameFolded;
    const VERSION: membership::Column = membership::Column::Version;

    fn id_value(text: &str) -> Option<Value> {
        Some(text.parse::<MembershipId>().ok()?.0.into())
    }

    fn new_id(now: Timestamp) -> String {
        MembershipId::new(now).to_string()
    }

    async fn load(
        _: &impl ConnectionTrait,
        rows: Vec<membership::Model>,
    ) -> Result<Vec<Stored<Self>>, StoreError> {
        rows.into_iter()
            .filter_map(|row| of_row(row).transpose())
            .collect()
    }

    fn row(object: &Stored<Self>) -> Result<membership::ActiveModel, StoreError> {
        let document = &object.document;
        Ok(membership::ActiveModel {
            id: Set(id::<MembershipId>(&object.id)?.0),
            name: Set(object.name.clone()),
            name_folded: Set(object.name.to_ascii_lowercase()),
            identity_provider: Set(document.identity_provider.clone()),
            principal: Set(document.principal.clone()),
            role: Set(document.role.as_str().to_owned()),
            matcher: Set(Json::Object(document.matcher.clone()).to_string()),
            expires_at: Set(document.expires_at.map(Timestamp::millis)),
            enabled: Set(document.enabled),
            revision: Set(i32::try_from(object.state.revision).unwrap_or(i32::MAX)),
            version: Set(object.version),
            created_at: Set(object.created_at.millis()),
            updated_at: Set(object.updated_at.millis()),
        })
    }

    fn listed(filter: &Filter) -> Condition {
        let principals = filter.principals.as_ref();
        Condition::all()
            .add_option(principals.map(|names| membership::Column::Principal.is_in(names)))
    }

    fn change_key(object: &Stored<Self>) -> &str {
        &object.id
    }
}

/// The membership in a row; `None`, which is logged, if it has a role of a newer release: that one
/// must not be taken for another role, nor keep this release from reading the others.
fn of_row(row: membership::Model) -> Result<Option<Stored<MembershipDocument>>, StoreError> {
    let role = Role::ALL.into_iter().find(|role| role.as_str() == row.role);
    let Some(role) = role else {
        tracing::warn!(
            membership = row.name,
            role = row.role,
            "a membership with a role that this release does not know is left out"
        );
        return Ok(None);
    };
    let document = MembershipDocument {
        identity_provider: row.identity_provider,
        matcher: from_json(&row.matcher)?,
        principal: row.principal,
        role,
        expires_at: row.expires_at.map(Timestamp::from_millis),
        enabled: row.enabled,
    };
    let stored = stored(
        MembershipId(row.id).to_string(),
        row.name,
        row.version,
        (row.created_at, row.updated_at),
        document,
    );
    let state = MembershipState {
        revision: u32::try_from(row.revision).unwrap_or_default(),
    };
    Ok(Some(Stored { state, ..stored }))
}
