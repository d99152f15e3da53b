//! Saving notifications (webhooks), creating their secrets, and sending a test message. A secret is
//! shown in one answer and stored sealed.

use carnet_jose::{base64url, sha256};
use serde_json::{Map, Value, json};
use url::Url;

use super::Rejected;
use super::author::Author;
use super::managed::{Managed, Occasion};
use super::objects::find;
use super::references::existing_principal;
use super::saving::{Saved, update};
use crate::app::App;
use crate::app::notifications::{Tried, egress, try_now};
use crate::clock::Timestamp;
use crate::documents::{
    Document as _, NotificationDocument, NotificationState, SealedSecret, Stored,
};
use crate::keys::webhook_secret;
use crate::model::WebhookSecret;
use crate::store::StoreError;
use crate::trust::DocumentError;

/// Most notifications of a principal, and of the operator (`docs/src/reference/limits.md`).
const MAX_NOTIFICATIONS: u64 = 10;
/// Live secrets of a notification: the one in use, and the one before it.
const MAX_SECRETS_BEFORE: usize = 1;

impl Managed for NotificationDocument {
    async fn prepare(
        &mut self,
        app: &App,
        name: &str,
        present: Option<&Stored<Self>>,
        occasion: Occasion<'_>,
    ) -> Result<Self::State, Rejected> {
        let mut problems = Vec::new();
        if let Some(principal) = &mut self.principal {
            let found = existing_principal(app, principal, "/principal").await?;
            problems.extend(found.err());
        }
        let mut problem = |pointer: &str, detail: String| {
            problems.push(DocumentError::new(pointer, detail));
        };
        // A private network is the operator's to open: its services trust whoever reaches them.
        let is_kept = present.is_some_and(|present| self.reaches_the_same(&present.document));
        if !self.allow_private.is_empty() && !occasion.author.is_admin && !is_kept {
            let detail = "must be set by an administrator, together with the url";
            problem("/allow_private", detail.to_owned());
        }
        if let Err(detail) = egress(app, self) {
            problem("/url", format!("must be allowed to be sent to: {detail}"));
        }
        let is_new_there =
            present.is_none_or(|present| present.document.principal != self.principal);
        if is_new_there && app.store.count_notifications(self.owner()).await? >= MAX_NOTIFICATIONS {
            let detail = format!("an owner must have at most {MAX_NOTIFICATIONS} notifications");
            problem("", detail);
        }
        if !problems.is_empty() {
            return Err(Rejected::Invalid(problems));
        }
        let mut state = present
            .map(|present| present.state.clone())
            .unwrap_or_default();
        state.fresh = None;
        if state.secrets.is_empty() {
            add_secret(app, name, &mut state, app.clock.now())?;
        }
        Ok(state)
    }

    fn principal(&self) -> Option<&str> {
        self.principal.as_deref()
    }

    /// The operator's webhooks are told of everything, so only administrators may change them.
    fn may_be_changed_by(&self, author: &Author) -> bool {
        self.principal.is_some() || author.is_admin
    }

    /// Finds a notification by id, by `principal:name`, or by a name that only one has, among those
    /// that the author may see. A bare name means the operator's own if there is one. A document
    /// saved under a bare name means the notification of its own `principal` only, since owners may
    /// use the same names.
    async fn called(
        app: &App,
        reference: &str,
        members: Option<&Map<String, Value>>,
        author: &Author,
    ) -> Result<Option<Stored<Self>>, Rejected> {
        let mut found = app.store.notifications_called(reference).await?;
        found.retain(|one| is_seen_by(&one.document, author));
        let is_bare = !reference.contains(':') && found.iter().all(|one| one.id != reference);
        if let Some(members) = members.filter(|_| is_bare) {
            let principal = members
                .get("principal")
                .and_then(Value::as_str)
                .unwrap_or_default();
            found.retain(|one| one.document.owner().eq_ignore_ascii_case(principal));
        }
        let operators = |one: &Stored<Self>| one.document.principal.is_none();
        if is_bare && found.iter().any(operators) {
            found.retain(operators);
        }
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Err(Rejected::Ambiguous(format!(
                "notifications of several principals are called {reference}: say principal:name, or the id"
            ))),
        }
    }

    fn name_in<'r>(&self, reference: &'r str) -> Result<&'r str, DocumentError> {
        match reference.split_once(':') {
            Some((principal, _)) if !principal.eq_ignore_ascii_case(self.owner()) => {
                let detail = format!("must be {principal}, as in the name of the notification");
                Err(DocumentError::new("/principal", detail))
            }
            Some((_, name)) => Ok(name),
            None => Ok(reference),
        }
    }

    /// The path of a webhook's URL is often its password, and events are kept for long and read by
    /// many: they hold its origin, and a digest that tells whether it changed.
    fn recorded(&self) -> Map<String, Value> {
        let origin = Url::parse(&self.url).map(|url| url.origin().ascii_serialization());
        let digest = base64url(sha256(self.url.as_bytes()));
        let mut members = self.exported();
        let url = json!({ "origin": origin.ok(), "sha256": digest });
        members.insert("url".to_owned(), url);
        members
    }

    fn shown_state(_: &App, stored: &Stored<Self>) -> Map<String, Value> {
        let NotificationState {
            secrets,
            fresh,
            delivery,
        } = &stored.state;
        let time = |at: Option<Timestamp>| json!(at.map(|at| at.to_string()));
        let secrets: Vec<Value> = secrets.iter().map(SealedSecret::shown).collect();
        let mut members = Map::new();
        members.insert("secrets".to_owned(), secrets.into());
        members.insert(
            "last_delivered_at".to_owned(),
            time(delivery.last_delivered_at),
        );
        members.insert("last_error".to_owned(), json!(delivery.last_error));
        members.insert("failing_since".to_owned(), time(delivery.failing_since));
        if let Some(fresh) = fresh {
            members.insert("secret".to_owned(), fresh.expose().into());
        }
        members
    }
}

/// Whether the author may know of the notification.
fn is_seen_by(document: &NotificationDocument, author: &Author) -> bool {
    match &document.principal {
        Some(principal) => author.may_act_for(principal),
        None => author.principals.is_none() && author.sees_everything,
    }
}

fn add_secret(
    app: &App,
    name: &str,
    state: &mut NotificationState,
    now: Timestamp,
) -> Result<(), Rejected> {
    let secret = WebhookSecret::generate();
    let sealed = app.keys.seal(secret.key(), webhook_secret(name));
    state.secrets.push(SealedSecret {
        sealed: sealed.map_err(|error| Rejected::Unavailable(error.to_string()))?,
        created_at: now,
        expires_at: None,
    });
    state.fresh = Some(secret);
    Ok(())
}

/// Creates a notification's next secret. Until the overlap ends, messages are signed with the
/// previous one as well.
pub async fn rotate_webhook_secret(
    app: &App,
    reference: &str,
    overlap_seconds: i64,
    author: &Author,
) -> Result<Saved<NotificationDocument>, Rejected> {
    let next = |present: &Stored<NotificationDocument>, now: Timestamp| {
        let mut state = present.state.clone();
        let end = now.plus_seconds(overlap_seconds);
        let older = state.secrets.len().saturating_sub(MAX_SECRETS_BEFORE);
        state.secrets = state.secrets.split_off(older);
        for secret in &mut state.secrets {
            secret.expires_at = Some(secret.expires_at.map_or(end, |other| other.min(end)));
        }
        state.secrets.retain(|secret| secret.is_live(now));
        add_secret(app, &present.name, &mut state, now)?;
        Ok((present.document.clone(), state))
    };
    Box::pin(update(app, reference, author, next)).await
}

/// Sends a test message to a webhook at once, and returns what the receiver answered. For one owner
/// this happens once at a time, and a limited number of times per minute.
pub async fn send_test(app: &App, reference: &str, author: &Author) -> Result<Tried, Rejected> {
    let stored: Stored<NotificationDocument> = find(app, reference, author).await?;
    if !stored.document.may_be_changed_by(author) {
        return Err(Rejected::Forbidden);
    }
    let owner = stored.document.owner();
    let _until_answered = app
        .limits
        .begin_trial(owner)
        .map_err(|refusal| Rejected::Limited(Box::new(refusal)))?;
    let tried = try_now(app, &stored).await;
    tried.map_err(|error: StoreError| error.into())
}
