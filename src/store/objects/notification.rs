//! Notifications. How deliveries went is in columns of its own, which saving does not write.

use carnet_entity::notification;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, ExprTrait as _, PaginatorTrait as _,
    QueryFilter as _, Value,
    sea_query::Condition,
};
use serde_json::json;

use super::{Filter, Persist, all_called, id, stored};
use crate::clock::Timestamp;
use crate::documents::{DeliveryState, NotificationDocument, NotificationState, Stored};
use crate::ids::NotificationId;
use crate::store::{Store, StoreError, json as from_json};

pub type StoredNotification = Stored<NotificationDocument>;

impl Persist for NotificationDocument {
    type Entity = notification::Entity;

    const ID: notification::Column = notification::Column::Id;
    const NAME: notification::Column = notification::Column::NameFolded;
    const VERSION: notification::Column = notification::Column::Version;

    fn id_value(text: &str) -> Option<Value> {
        Some(text.parse::<NotificationId>().ok()?.0.into())
    }

    fn new_id(now: Timestamp) -> String {
        NotificationId::new(now).to_string()
    }

    async fn load(
        _: &impl ConnectionTrait,
        rows: Vec<notification::Model>,
    ) -> Result<Vec<Stored<Self>>, StoreError> {
        rows.into_iter().map(of_row).collect()
    }

    fn row(object: &Stored<Self>) -> Result<notification::ActiveModel, StoreError> {
        Ok(notification::ActiveModel {
            id: Set(id::<NotificationId>(&object.id)?.0),
            name: Set(object.name.clone()),
            name_folded: Set(object.name.to_ascii_lowercase()),
            principal: Set(object.document.principal.clone()),
            owner: Set(object.document.owner().to_owned()),
            enabled: Set(object.document.enabled),
            document: Set(json!(object.document).to_string()),
            state: Set(json!(object.state).to_string()),
            version: Set(object.version),
            created_at: Set(object.created_at.millis()),
            updated_at: Set(object.updated_at.millis()),
            // Deliveries write these columns (see `store::notifications`); an edit must not reset
            // them.
            last_delivered_at: NotSet,
            last_error: NotSet,
            failing_since: NotSet,
            failures: NotSet,
            retry_at: NotSet,
            busy_until: NotSet,
        })
    }

    /// `reference` is an id, `principal:name`, or a name that notifications of several owners may
    /// have.
    fn rows_called(reference: &str) -> Condition {
        let condition = Condition::all();
        if let Some(id) = Self::id_value(reference) {
            return condition.add(Self::ID.eq(id));
        }
        let name = reference
            .split_once(':')
            .map_or(reference, |(_, name)| name);
        condition.add(Self::NAME.eq(name.to_ascii_lowercase()))
    }

    fn meant(mut found: Vec<Stored<Self>>, reference: &str) -> Vec<Stored<Self>> {
        if let Some((principal, _)) = reference.split_once(':') {
            found.retain(|object| object.document.owner().eq_ignore_ascii_case(principal));
        }
        found
    }

    fn order() -> Vec<notification::Column> {
        vec![Self::NAME, notification::Column::Owner]
    }

    fn page_key(object: &Stored<Self>) -> String {
        format!(
            "{}:{}",
            object.name.to_ascii_lowercase(),
            object.document.owner()
        )
    }

    fn after(page_key: &str) -> Condition {
        let (name, owner) = page_key.split_once(':').unwrap_or((page_key, ""));
        let same = Self::NAME
            .eq(name)
            .and(notification::Column::Owner.gt(owner));
        Condition::any().add(Self::NAME.gt(name)).add(same)
    }

    fn listed(filter: &Filter) -> Condition {
        let principals = filter.principals.as_ref();
        let owned = filter.without_operators;
        Condition::all()
            .add_option(principals.map(|names| notification::Column::Owner.is_in(names)))
            .add_option(owned.then(|| notification::Column::Owner.ne("")))
    }

    fn change_key(object: &Stored<Self>) -> &str {
        &object.id
    }
}

impl Store {
    /// How many notifications an owner has: a principal, by name, or the operator, by the empty
    /// text.
    pub async fn count_notifications(&self, owner: &str) -> Result<u64, StoreError> {
        let own = notification::Entity::find().filter(notification::Column::Owner.eq(owner));
        Ok(own.count(&self.read).await?)
    }

    /// The notifications that a reference may mean. It is an id, `principal:name`, or a name that
    /// notifications of several owners may have.
    pub async fn notifications_called(
        &self,
        reference: &str,
    ) -> Result<Vec<StoredNotification>, StoreError> {
        all_called(&self.read, reference).await
    }
}

pub(in crate::store) fn of_row(row: notification::Model) -> Result<StoredNotification, StoreError> {
    let state: NotificationState = from_json(&row.state)?;
    let time = |at: Option<i64>| at.map(Timestamp::from_millis);
    let delivery = DeliveryState {
        last_delivered_at: time(row.last_delivered_at),
        last_error: row.last_error,
        failing_since: time(row.failing_since),
    };
    let stored = stored(
        NotificationId(row.id).to_string(),
        row.name,
        row.version,
        (row.created_at, row.updated_at),
        from_json(&row.document)?,
    );
    Ok(Stored {
        state: NotificationState { delivery, ..state },
        ..stored
    })
}
