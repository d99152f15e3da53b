//! The messages: what each owner is told of an event. The operator is told everything; a principal
//! is told of its own part alone, and of the workload only if the audit rule lets it see the claims
//! (`docs/src/reference/audit-events.md`). Messages are made of listed members, so nothing else of
//! an event can get into them.

use carnet_jose::sha256;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::documents::NotificationKind;
use crate::ids::{self, CredentialId, EventId};
use crate::model::{FederatedCredential, Snapshot};
use crate::store::{NewMessage, StoreError, StoredNotification};

/// What one owner is to be told.
#[derive(Clone, Debug)]
pub(super) struct Notice {
    /// The principal, by name as it is stored; `None` for the operator.
    pub owner: Option<String>,
    pub kind: NotificationKind,
    /// The identity of the cause, for this owner and kind.
    pub cause: String,
    /// When it occurred.
    pub at: Timestamp,
    /// Until when the owner is not told of it again.
    pub until: Timestamp,
    /// The `data` of the message.
    pub data: Value,
}

/// How long an owner is not told of the same cause again, in seconds.
pub(super) const QUIET_SECONDS: i64 = 3600;
/// The end of the quiet of causes that an owner is told of once.
pub(super) const ONCE: Timestamp = Timestamp::from_millis(i64::MAX);

/// Queues the notices for the webhooks that want them.
pub(super) async fn tell(app: &App, notices: Vec<Notice>) -> Result<(), StoreError> {
    if notices.is_empty() {
        return Ok(());
    }
    let rules = app.rules();
    let mut owners: Vec<String> = notices
        .iter()
        .filter_map(|notice| notice.owner.clone())
        .collect();
    owners.sort_unstable();
    owners.dedup();
    let mut webhooks = app.store.notifications_of(owners).await?;
    webhooks.retain(|stored| is_enabled(&rules, stored));
    let messages: Vec<NewMessage> = notices
        .iter()
        .flat_map(|notice| webhooks.iter().filter_map(move |one| message(notice, one)))
        .collect();
    let mut lost = 0;
    // Small transactions: tokens wait for SQLite's one writer.
    for some in messages.chunks(100) {
        let queued = app.store.queue_messages(some, app.clock.now()).await?;
        lost = queued.dropped.saturating_add(lost);
    }
    if lost > 0 {
        super::deliver::dropped("queue_full", u64::try_from(lost).unwrap_or(u64::MAX));
        tracing::warn!(lost, "messages were dropped: too many wait for a webhook");
    }
    Ok(())
}

/// Whether a webhook and its principal are enabled.
pub(super) fn is_enabled(rules: &Snapshot, stored: &StoredNotification) -> bool {
    let principal = stored.document.principal.as_deref();
    stored.document.enabled
        && principal.is_none_or(|name| {
            rules
                .principal(&name.to_ascii_lowercase())
                .is_some_and(|principal| principal.enabled)
        })
}

/// The message to one webhook; `None` if the notice is not for it, or older than it.
fn message(notice: &Notice, to: &StoredNotification) -> Option<NewMessage> {
    let wanted = to.document.principal == notice.owner
        && to.document.kinds.contains(&notice.kind)
        && to.created_at <= notice.at;
    if !wanted {
        return None;
    }
    let body = json!({
        "type": format!("carnet.{}", notice.kind.as_str()),
        "timestamp": notice.at.to_string(),
        "data": notice.data,
    });
    Some(NewMessage {
        notification: to.id.parse().ok()?,
        cause: sha256(format!("{}\0{}", notice.kind.as_str(), notice.cause).as_bytes()),
        at: notice.at,
        until: notice.until,
        body: body.to_string(),
    })
}

/// Id and name of a rule, as messages give them.
pub(super) fn rule(id: CredentialId, name: &str) -> Value {
    json!({ "id": id.to_string(), "name": name })
}

/// The name of a compiled rule.
pub(super) fn name_of(credential: &FederatedCredential) -> String {
    let open = credential.rule.open();
    open.map_or_else(|| credential.id.to_string(), |rule| rule.name.to_owned())
}

/// The same for a rule that may be gone.
pub(super) fn rule_called(rules: &Snapshot, id: CredentialId) -> Value {
    let credential = rules.credential(id);
    json!({ "id": id.to_string(), "name": credential.map(|credential| name_of(credential)) })
}

/// The members that every owner with a part in an event may see.
pub(super) fn about(event: &AuditEvent) -> Map<String, Value> {
    let mut data = Map::new();
    let at = ids::time_of(event.id.0);
    data.insert("event_id".to_owned(), json!(event.id));
    data.insert("at".to_owned(), at.to_string().into());
    if let Some(reason) = event.reason {
        data.insert("reason".to_owned(), reason.code().into());
    }
    if event.count > 1 {
        data.insert("count".to_owned(), event.count.into());
        data.insert("last_at".to_owned(), last_at(event).to_string().into());
    }
    data
}

/// When the last of the requests that an event stands for arrived.
pub(super) fn last_at(event: &AuditEvent) -> Timestamp {
    ids::time_of(event.last.map_or(event.id, |EventId(last)| EventId(last)).0)
}

/// Adds what is known of the workload: only for owners that may see its claims.
pub(super) fn add_workload(data: &mut Map<String, Value>, event: &AuditEvent) {
    let detail: Value = serde_json::from_str(&event.detail).unwrap_or_default();
    let workload = detail.get("workload");
    let subject = workload.and_then(|workload| workload.get("sub"));
    let repository = workload.and_then(repository);
    for (member, value) in [
        ("trusted_issuer", json!(event.trusted_issuer)),
        ("resource", json!(event.resource)),
        (
            "subject",
            json!(event.subject.as_deref().or(subject.and_then(Value::as_str))),
        ),
        ("repository", json!(repository)),
        ("workload_url", json!(detail.get("workload_url"))),
    ] {
        if !value.is_null() {
            data.insert(member.to_owned(), value);
        }
    }
}

/// The repository or project of a workload, as its platform calls it.
fn repository(workload: &Value) -> Option<&str> {
    let claims = workload.get("claims")?;
    ["repository", "project_path"]
        .into_iter()
        .find_map(|claim| claims.get(claim))
        .and_then(Value::as_str)
}
