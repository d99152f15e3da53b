//! What owners are told of without a new audit event: bursts of refusals, rules that end soon, and
//! keys that fail or are old.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::message::{Notice, QUIET_SECONDS, about, add_workload, last_at, rule, rule_called};
use crate::app::App;
use crate::audit::{AuditEvent, AuditPart};
use crate::clock::Timestamp;
use crate::documents::NotificationKind;
use crate::ids::{ClientRowId, IdentityProviderId, TrustedIssuerId};
use crate::model::Snapshot;
use crate::reason::Reason;
use crate::store::{EventsRead, KeyState, StoreError};

/// Equal refusals within an hour that are a burst.
const BURST: u32 = 10;
/// How far back bursts are looked for, in seconds: the hour in which equal refusals are counted
/// together, and the one before.
const BURSTS_WITHIN_SECONDS: i64 = 2 * 3600;
/// How many bursts one query reads.
const BURSTS_AT_ONCE: u64 = 1_000;
/// How long before its end, or its review, an owner is told of a rule, in seconds.
const BEFORE_END_SECONDS: i64 = 7 * 86_400;
/// How long after the date of a review an owner may still be told, in seconds.
const AFTER_REVIEW_SECONDS: i64 = 86_400;
/// How many rules one query reads.
const RULES_AT_ONCE: u64 = 500;
/// The age at which the operator is told that the signing key is old, in days, and the interval at
/// which it is said again.
const OLD_KEY_DAYS: i64 = 180;
const OLD_KEY_AGAIN_SECONDS: i64 = 7 * 86_400;

/// Bursts of refusals after an id that grew at or after a time, and the last id that was read;
/// `None` at the end. All of them are read, however many there are: those of one owner must not
/// hide those of another.
pub(super) async fn of_refusals(
    app: &App,
    now: Timestamp,
    grown_from: Timestamp,
    after: Uuid,
) -> Result<(Vec<Notice>, Option<Uuid>), StoreError> {
    // The fold key of a refusal expires this long after the first of the equal ones was written.
    let kept = i64::from(app.config.audit.refusals_retention_days).saturating_mul(86_400);
    let from = now.plus_seconds(kept.saturating_sub(BURSTS_WITHIN_SECONDS));
    let EventsRead {
        events: bursts,
        last,
    } = app
        .store
        .refusals_folded(from, grown_from, BURST, after, BURSTS_AT_ONCE)
        .await?;
    let rules = app.rules();
    // Bursts of one cause are one message, that of the latest. Without this, each of them would be
    // a statement to the database.
    let mut latest: HashMap<(Option<String>, String), Notice> = HashMap::new();
    for notice in bursts.iter().flat_map(|event| of_burst(&rules, event)) {
        let key = (notice.owner.clone(), notice.cause.clone());
        let is_later = latest.get(&key).is_none_or(|known| known.at <= notice.at);
        if is_later {
            latest.insert(key, notice);
        }
    }
    Ok((latest.into_values().collect(), last))
}

/// A burst, for the operator and for each principal with a part in it.
fn of_burst(rules: &Snapshot, event: &AuditEvent) -> Vec<Notice> {
    let reason = event.reason.map(Reason::code).unwrap_or_default();
    let at = last_at(event);
    let notice = |owner: Option<String>, about_what: &str, data: Map<String, Value>| Notice {
        owner,
        kind: NotificationKind::RefusalBurst,
        cause: format!("{reason}\0{about_what}"),
        at,
        until: at.plus_seconds(QUIET_SECONDS),
        data: data.into(),
    };
    let mut all = about(event);
    if let Some(id) = event.credential {
        all.insert("rule".to_owned(), rule_called(rules, id));
    }
    for (member, value) in [
        ("principal", &event.principal),
        ("client_id", &event.client_id),
    ] {
        if let Some(value) = value {
            all.insert(member.to_owned(), value.clone().into());
        }
    }
    add_workload(&mut all, event);
    let about_what = match (event.credential, &event.trusted_issuer, &event.client_id) {
        (Some(id), _, _) => id.to_string(),
        (None, Some(issuer), _) => issuer.clone(),
        (None, None, client) => client.clone().unwrap_or_default(),
    };
    let mut notices = vec![notice(None, &about_what, all)];
    let mut own: BTreeMap<&str, Vec<&AuditPart>> = BTreeMap::new();
    for part in &event.parts {
        own.entry(&part.principal_id).or_default().push(part);
    }
    for (principal, parts) in own {
        let Some(principal) = rules.principal_of_id(principal) else {
            continue;
        };
        let mut data = about(event);
        data.insert("principal".to_owned(), principal.name.clone().into());
        let credential = parts.iter().find_map(|part| part.credential);
        if let Some(id) = credential {
            data.insert("rule".to_owned(), rule_called(rules, id));
        }
        if parts.iter().any(|part| part.sees_claims) {
            add_workload(&mut data, event);
        }
        let about_what = credential.map(|id| id.to_string()).unwrap_or_default();
        notices.push(notice(Some(principal.name.clone()), &about_what, data));
    }
    notices
}

/// Rules after an id that end soon or are due for review, and the last id that was read; `None` at
/// the end.
pub(super) async fn of_dates(
    app: &App,
    now: Timestamp,
    after: Uuid,
) -> Result<(Vec<Notice>, Option<Uuid>), StoreError> {
    let from = now.plus_seconds(AFTER_REVIEW_SECONDS.saturating_neg());
    let to = now.plus_seconds(BEFORE_END_SECONDS);
    let found = app
        .store
        .rules_with_dates((from, to), after, RULES_AT_ONCE)
        .await?;
    let full = u64::try_from(found.len()).ok() == Some(RULES_AT_ONCE);
    let last = found.last().map(|one| one.id.0).filter(|_| full);
    let mut notices = Vec::new();
    for one in found {
        let ends = one.expires_at.filter(|at| *at > now);
        for (member, moment) in [("expires_at", ends), ("review_at", one.review_at)] {
            let Some(moment) = moment else { continue };
            let data = json!({
                "rule": rule(one.id, &one.name), "principal": one.principal, member: moment.to_string(),
            });
            let notice = |owner| Notice {
                owner,
                kind: NotificationKind::WeakOrExpiringRule,
                cause: format!("{member}\0{}\0{}", one.id, moment.millis()),
                at: now,
                // Once for each date.
                until: moment.plus_seconds(2 * AFTER_REVIEW_SECONDS),
                data: data.clone(),
            };
            notices.extend([notice(None), notice(Some(one.principal.clone()))]);
        }
    }
    Ok((notices, last))
}

/// Keys and metadata that this replica could not fetch, and a signing key that is old.
pub(super) async fn of_keys(app: &App, now: Timestamp) -> Result<Vec<Notice>, StoreError> {
    let rules = app.rules();
    let mut notices: Vec<Notice> = app
        .upstream
        .failures()
        .into_iter()
        .filter_map(|failure| of_failure(&rules, failure))
        .collect();
    let without_metadata = app.providers.failures().into_iter();
    notices.extend(without_metadata.filter_map(|failure| of_metadata(&rules, failure)));
    let is_old =
        |activated: Timestamp| now.seconds_since(activated) >= OLD_KEY_DAYS.saturating_mul(86_400);
    let keys = app.store.signing_keys().await?;
    let active = keys.iter().filter(|key| key.state == KeyState::Active);
    let old = active.filter_map(|key| Some((key, key.activated_at.filter(|at| is_old(*at))?)));
    notices.extend(old.map(|(key, activated)| Notice {
        owner: None,
        kind: NotificationKind::KeyAlarm,
        cause: format!("old\0{}", key.key_id),
        at: now,
        until: now.plus_seconds(OLD_KEY_AGAIN_SECONDS),
        data: json!({
            "problem": "signing_key_old", "kid": key.key_id, "activated_at": activated.to_string(),
        }),
    }));
    Ok(notices)
}

/// Keys that could not be fetched.
fn of_failure(
    rules: &Snapshot,
    (id, at, error): (TrustedIssuerId, Timestamp, String),
) -> Option<Notice> {
    let issuer = rules.issuer(id).filter(|issuer| issuer.enabled);
    // Clients with keys of their own and identity providers have their ids in the same cache.
    let whose = issuer
        .map(|issuer| ("trusted_issuer", issuer.name.clone()))
        .or_else(|| {
            Some((
                "client",
                rules.client_of(ClientRowId(id.0))?.client_id.clone(),
            ))
        })
        .or_else(|| provider_called(rules, IdentityProviderId(id.0)))?;
    Some(unavailable("keys_unavailable", whose, at, &error))
}

/// Metadata of an identity provider that could not be fetched.
fn of_metadata(
    rules: &Snapshot,
    (id, at, error): (IdentityProviderId, Timestamp, String),
) -> Option<Notice> {
    let whose = provider_called(rules, id)?;
    Some(unavailable("metadata_unavailable", whose, at, &error))
}

fn provider_called(rules: &Snapshot, id: IdentityProviderId) -> Option<(&'static str, String)> {
    let provider = rules.identity_provider(id);
    let provider = provider.filter(|provider| provider.enabled)?;
    Some(("identity_provider", provider.name.clone()))
}

/// Something that could not be fetched from `whose` place. The time is that of the attempt: nobody is
/// told again of what is not asked for any more.
fn unavailable(
    problem: &str,
    (member, name): (&str, String),
    at: Timestamp,
    error: &str,
) -> Notice {
    Notice {
        owner: None,
        kind: NotificationKind::KeyAlarm,
        cause: format!("{problem}\0{member}\0{name}"),
        at,
        until: at.plus_seconds(QUIET_SECONDS),
        data: json!({ "problem": problem, member: name, "at": at.to_string(), "error": error }),
    }
}
