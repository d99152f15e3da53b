//! What audit events tell owners: the first use of a rule, a rule that was saved with warnings, and
//! a new rule for a workload that somebody's vouched rule names.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::message::{
    Notice, ONCE, QUIET_SECONDS, about, add_workload, name_of, rule, rule_called,
};
use crate::app::App;
use crate::audit::{AuditEvent, Outcome};
use crate::documents::{Document as _, FederatedCredentialDocument, NotificationKind};
use crate::ids::{self, CredentialId, EventId};
use crate::model::{FederatedCredential, Snapshot};
use crate::store::{SeenEvent, StoreError};
use crate::trust::{Warning, normalise};

/// Most rules that are remembered as used before.
const MOST_USED: usize = 100_000;
/// Most owners that are told of one new rule.
const MOST_OWNERS: usize = 100;

/// What was found out before.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Rules that were used before: what they do is no first use.
    used: HashSet<CredentialId>,
}

impl Told {
    /// The notices that these events give.
    pub async fn of_events(
        &mut self,
        app: &App,
        events: &[SeenEvent],
    ) -> Result<Vec<Notice>, StoreError> {
        let mut notices = self.of_first_uses(app, events).await?;
        let is_change = |event: &&SeenEvent| {
            matches!(event.outcome, Outcome::Created | Outcome::Updated)
                && event.credential.is_some()
        };
        let changes: Vec<EventId> = events.iter().filter(is_change).map(|one| one.id).collect();
        if changes.is_empty() {
            return Ok(notices);
        }
        // The rules may have been saved by another replica a moment ago.
        if let Err(error) = app.refresh().await {
            tracing::warn!(%error, "the rules cannot be brought up to date");
        }
        for event in app.store.events_with_parts(changes).await? {
            notices.extend(of_change(app, &event).await?);
        }
        Ok(notices)
    }

    /// The first uses of rules among these events.
    async fn of_first_uses(
        &mut self,
        app: &App,
        events: &[SeenEvent],
    ) -> Result<Vec<Notice>, StoreError> {
        let issued = events
            .iter()
            .filter(|event| event.outcome == Outcome::Issued);
        let mut earliest: BTreeMap<CredentialId, EventId> = BTreeMap::new();
        for event in issued {
            let rules = event.parts.iter().filter_map(|part| part.credential);
            for rule in rules.filter(|rule| !self.used.contains(rule)) {
                earliest.entry(rule).or_insert(event.id);
            }
        }
        if earliest.is_empty() {
            return Ok(Vec::new());
        }
        let rules: Vec<CredentialId> = earliest.keys().copied().collect();
        let first = app.store.first_uses(&rules).await?;
        // The use is noted some seconds after the event, and of several in that time the last one.
        let is_first = |rule: &CredentialId, event: EventId| match first.get(rule) {
            Some(Some(at)) => *at >= ids::time_of(event.0),
            Some(None) => true,
            None => false,
        };
        let (new, old): (Vec<_>, Vec<_>) = earliest
            .into_iter()
            .partition(|(rule, event)| is_first(rule, *event));
        if self.used.len() > MOST_USED {
            self.used.clear();
        }
        self.used.extend(old.into_iter().map(|(rule, _)| rule));
        let wanted = new.iter().map(|(_, event)| *event).collect();
        let found = app.store.events_with_parts(wanted).await?;
        let rules = app.rules();
        let notices = new.iter().flat_map(|(rule, event)| {
            let event = found.iter().find(|one| one.id == *event);
            event
                .map(|event| of_first_use(&rules, event, *rule))
                .unwrap_or_default()
        });
        Ok(notices.collect())
    }
}

/// The first use of a rule, for the operator and for the rule's principal.
fn of_first_use(rules: &Snapshot, event: &AuditEvent, id: CredentialId) -> Vec<Notice> {
    let part = event.parts.iter().find(|part| part.credential == Some(id));
    let Some(principal) = part.and_then(|part| rules.principal_of_id(&part.principal_id)) else {
        return Vec::new();
    };
    let notice = |owner: Option<String>, sees_claims: bool| {
        let mut data = about(event);
        data.insert("rule".to_owned(), rule_called(rules, id));
        data.insert("principal".to_owned(), principal.name.clone().into());
        if sees_claims {
            add_workload(&mut data, event);
        }
        Notice {
            owner,
            kind: NotificationKind::FirstUse,
            cause: id.to_string(),
            at: ids::time_of(event.id.0),
            until: ONCE,
            data: data.into(),
        }
    };
    let sees_claims = part.is_some_and(|part| part.sees_claims);
    vec![
        notice(None, true),
        notice(Some(principal.name.clone()), sees_claims),
    ]
}

/// What the change of a rule tells its owner, and the owners of other rules for its workload.
async fn of_change(app: &App, event: &AuditEvent) -> Result<Vec<Notice>, StoreError> {
    let Some(id) = event.credential else {
        return Ok(Vec::new());
    };
    let stored = app
        .store
        .object::<FederatedCredentialDocument>(&id.to_string())
        .await?;
    let Some(stored) = stored.filter(|stored| stored.document.enabled) else {
        return Ok(Vec::new());
    };
    let rules = app.rules();
    let at = ids::time_of(event.id.0);
    let mut notices = Vec::new();
    let warnings = warnings(app, &rules, &stored.document);
    if !warnings.is_empty() {
        let mut data = about(event);
        data.insert("rule".to_owned(), rule(id, &stored.name));
        let principal = &stored.document.principal;
        data.insert("principal".to_owned(), principal.clone().into());
        data.insert("warnings".to_owned(), json!(warnings));
        let notice = |owner| Notice {
            owner,
            kind: NotificationKind::WeakOrExpiringRule,
            cause: format!("warnings\0{id}"),
            at,
            until: at.plus_seconds(QUIET_SECONDS),
            data: data.clone().into(),
        };
        notices.extend([notice(None), notice(Some(principal.clone()))]);
    }
    if let Some(credential) = rules.credential(id).filter(|_| names_anew(event)) {
        notices.extend(of_new_rule(&rules, event, credential));
    }
    Ok(notices)
}

/// The warnings that a rule has by itself.
fn warnings(app: &App, rules: &Snapshot, document: &FederatedCredentialDocument) -> Vec<Warning> {
    let mut warnings = document.warnings(app.context());
    let issuer = rules.issuer_named(&document.trusted_issuer);
    let found =
        issuer.and_then(|issuer| normalise(&issuer.profile, &issuer.terms, &document.matcher).ok());
    warnings.extend(found.map(|found| found.warnings).unwrap_or_default());
    warnings
}

/// Whether a change may have made the rule count for a workload for which it did not count before.
fn names_anew(event: &AuditEvent) -> bool {
    if event.outcome == Outcome::Created {
        return true;
    }
    let detail: Value = serde_json::from_str(&event.detail).unwrap_or_default();
    let member = |side: &str, name: &str| detail.pointer(&format!("/{side}/{name}")).cloned();
    ["match", "principal", "trusted_issuer", "enabled"]
        .into_iter()
        .any(|name| member("before", name) != member("after", name))
}

/// A new rule, for the owners of vouched rules for the same workload. A principal is told that
/// there is one, and of its own rule; whose the new one is, is the operator's to know.
fn of_new_rule(
    rules: &Snapshot,
    event: &AuditEvent,
    credential: &Arc<FederatedCredential>,
) -> Vec<Notice> {
    let is_vouched = |rule: &FederatedCredential| {
        let issuer = rules.issuer(rule.trusted_issuer);
        issuer.is_some_and(|issuer| rule.is_vouched_under(issuer))
    };
    let is_own = |rule: &FederatedCredential| rule.principal == credential.principal;
    let is_self_service = !is_vouched(credential);
    let mut named: BTreeMap<CredentialId, (String, Arc<FederatedCredential>)> = BTreeMap::new();
    for (workload, found) in rules.found_beside(credential) {
        let theirs = found.into_iter().filter(|rule| {
            rule.id != credential.id
                && rule.enabled
                && is_vouched(rule)
                && (!is_own(rule) || is_self_service)
        });
        for rule in theirs {
            named
                .entry(rule.id)
                .or_insert_with(|| (workload.clone(), rule));
        }
    }
    let at = ids::time_of(event.id.0);
    let notice = |owner: Option<String>, cause: &CredentialId, data: Map<String, Value>| Notice {
        owner,
        kind: NotificationKind::WorkloadNamed,
        cause: cause.to_string(),
        at,
        until: at.plus_seconds(QUIET_SECONDS),
        data: data.into(),
    };
    let mut notices = Vec::new();
    for (id, (workload, theirs)) in named.into_iter().take(MOST_OWNERS) {
        let Some(principal) = rules.principal(&theirs.principal) else {
            continue;
        };
        let mut data = Map::new();
        data.insert("at".to_owned(), at.to_string().into());
        data.insert("rule".to_owned(), rule(id, &name_of(&theirs)));
        data.insert("principal".to_owned(), principal.name.clone().into());
        data.insert("workload".to_owned(), workload.into());
        let of_own = is_own(&theirs);
        data.insert("of_another_principal".to_owned(), (!of_own).into());
        data.insert("self_service".to_owned(), is_self_service.into());
        let mut all = data.clone();
        all.insert("event_id".to_owned(), json!(event.id));
        let new = json!({
            "id": credential.id.to_string(), "name": name_of(credential), "principal": event.principal,
        });
        all.insert("new_rule".to_owned(), new.clone());
        if of_own {
            data.insert("event_id".to_owned(), json!(event.id));
            data.insert("new_rule".to_owned(), new);
        }
        notices.push(notice(None, &id, all));
        notices.push(notice(Some(principal.name.clone()), &id, data));
    }
    notices
}
