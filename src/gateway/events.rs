//! The audit events of publications (`docs/src/reference/audit-events.md`).

use std::sync::Arc;

use carnet_gateway::{Outcome, RefusedPublication};
use carnet_resource_server::{AccessToken, WorkloadClaim};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::audit::{AuditEvent, AuditPart, FoldKey, MAX_DETAIL_BYTES, Outcome as Recorded};
use crate::grant::{names_of, parts_of_token, person_of, sees_claims};
use crate::ids::CredentialId;
use crate::model::Snapshot;
use crate::own_tokens::LOCAL_CLIENT;
use crate::profile::Claims;
use crate::store::{PackageChanged, PackageRecord, Publication};

/// The code of the reason if the registry refused.
const REFUSED_BY_REGISTRY: &str = "refused_by_registry";
/// The code of the reason if an operator found out that the registry has not taken it.
const NOT_PUBLISHED: &str = "not_published";
/// What is left out of a detail that is too long, in this order.
const EXPENDABLE: [&str; 4] = ["workload", "file", "unclear", "detail"];

/// Makes events by the rules and the time of one moment.
pub(super) struct Events<'a> {
    app: &'a App,
    rules: Arc<Snapshot>,
}

impl<'a> Events<'a> {
    pub(super) fn of(app: &'a App) -> Self {
        Self {
            app,
            rules: app.rules(),
        }
    }

    /// An event of this moment.
    fn now(&self, outcome: Recorded) -> AuditEvent {
        AuditEvent::new(self.app.clock.now(), outcome)
    }

    /// The event of a publication that was forwarded and whose outcome is this.
    pub(super) fn settled(
        &self,
        publication: &Publication,
        outcome: &Outcome,
        by_operator: bool,
    ) -> AuditEvent {
        let mut detail = described(publication);
        if by_operator {
            detail.insert("settled_by".to_owned(), LOCAL_CLIENT.into());
        }
        let kind = match outcome {
            Outcome::Accepted => Recorded::Published,
            Outcome::Refused { status } => {
                let (reason, sentence) = refusal(*status, by_operator);
                detail.insert("reason".to_owned(), reason.into());
                detail.insert("detail".to_owned(), sentence.into());
                if let Some(status) = status {
                    detail.insert("upstream_status".to_owned(), (*status).into());
                }
                Recorded::PublicationRefused
            }
            Outcome::Unclear { why } => {
                detail.insert("unclear".to_owned(), why.as_str().into());
                Recorded::PublicationUnclear
            }
        };
        let mut servers = self.rules.resource_servers();
        let server = servers.find(|server| server.name == publication.registry);
        let resource = server.map(|server| server.resource.clone());
        let mut event = AuditEvent {
            credential: publication
                .credential
                .as_deref()
                .and_then(|id| id.parse().ok()),
            principal: publication
                .principal
                .as_ref()
                .map(|principal| principal.name.clone()),
            parts: self.parts(publication, resource.as_deref()),
            resource,
            client_id: publication.client_id.clone(),
            actor: by_operator.then(|| LOCAL_CLIENT.to_owned()),
            token_id: publication.token_id.clone(),
            address: publication.address,
            detail: bounded(detail),
            ..self.now(kind)
        };
        self.add_workload(&mut event, publication.workload.as_ref());
        if kind == Recorded::PublicationRefused && !by_operator {
            event.fold = Some(self.fold(&event, REFUSED_BY_REGISTRY));
        }
        event
    }

    /// The event of a publication that the gateway refused; `None` without a token that is in force:
    /// anybody could fill the database with these.
    pub(super) fn refused(&self, refused: &RefusedPublication) -> Option<AuditEvent> {
        let token: &AccessToken = refused.token.as_deref()?;
        let members = [
            ("registry", Some(json!(refused.registry))),
            ("package", refused.package.as_ref().map(|text| json!(text))),
            ("version", refused.version.as_ref().map(|text| json!(text))),
            ("digest", refused.digest.as_ref().map(|text| json!(text))),
            ("operation", refused.operation.map(|text| json!(text))),
            ("workload", token.workload.as_ref().map(|of| json!(of))),
            ("user", refused.user.as_ref().map(|text| json!(text))),
            ("reason", Some(json!(refused.reason))),
            ("detail", Some(json!(refused.detail))),
        ];
        let entries = || token.authorization_details.iter();
        let mut event = AuditEvent {
            credential: entries().find_map(|entry| entry.credential.parse().ok()),
            principal: token.principal.as_ref().map(|of| of.name.clone()),
            resource: Some(token.aud.clone()),
            client_id: Some(token.client_id.clone()),
            parts: parts_of_token(&self.rules, token),
            token_id: Some(token.jti.clone()),
            person: person_of(token),
            address: refused.address,
            detail: bounded(present(members)),
            ..self.now(Recorded::PublicationRefused)
        };
        self.add_workload(&mut event, token.workload.as_ref());
        event.fold = Some(self.fold(&event, refused.reason));
        Some(event)
    }

    /// The event of a package that an operator changed. Its owner before and its owner after see it.
    pub(super) fn changed(&self, changed: &PackageChanged) -> AuditEvent {
        let (before, after) = (changed.before.as_ref(), changed.after.as_ref());
        let either = after.or(before);
        let name = either.map(|record| format!("{}/{}", record.registry, record.spelled));
        let owners = [before, after].into_iter().flatten();
        let owners = owners.filter_map(|record| record.owner.as_ref());
        let mut parts: Vec<AuditPart> = Vec::new();
        for owner in owners {
            see(&mut parts, &owner.id, true);
        }
        let side = |record: &PackageRecord| {
            json!({
                "state": record.state.as_str(),
                "principal": record.owner.as_ref().map(|owner| owner.name.as_str()),
                "trusted_only": record.trusted_only,
            })
        };
        let detail = json!({
            "kind": "package", "name": name, "before": before.map(side), "after": after.map(side),
        });
        AuditEvent {
            client_id: Some(LOCAL_CLIENT.to_owned()),
            actor: Some(LOCAL_CLIENT.to_owned()),
            parts,
            detail: detail.to_string(),
            ..self.now(Recorded::Updated)
        }
    }

    /// Equal refusals of one workload, or of the registry's own credentials, within an hour are
    /// counted in one event.
    fn fold(&self, event: &AuditEvent, reason: &str) -> FoldKey {
        let hour = self.app.clock.now().seconds().div_euclid(3600).to_string();
        let parts = event.parts.iter().map(|part| part.principal_id.as_str());
        let texts = [
            event.outcome.as_str(),
            event.resource.as_deref().unwrap_or_default(),
            event.subject.as_deref().unwrap_or_default(),
            event.client_id.as_deref().unwrap_or_default(),
            reason,
            &hour,
        ];
        let alike: Vec<&str> = texts.into_iter().chain(parts).collect();
        let detail: Value = serde_json::from_str(&event.detail).unwrap_or_default();
        let of = |member: &str| detail.get(member).cloned().unwrap_or_default();
        let request = [
            "package",
            "version",
            "digest",
            "operation",
            "user",
            "detail",
        ]
        .map(of);
        FoldKey::new(&alike, &json!(request).to_string())
    }

    /// The principal of the entry and the owner. The owner sees of the workload what the principal
    /// sees, and all of what came with the registry's own credentials.
    fn parts(&self, publication: &Publication, resource: Option<&str>) -> Vec<AuditPart> {
        let credential = publication.credential.as_deref();
        let sees = credential.is_none_or(|credential| {
            sees_claims(&self.rules, resource.unwrap_or_default(), credential)
        });
        let principal = publication.principal.as_ref().map(|principal| AuditPart {
            principal_id: principal.id.clone(),
            credential: credential.and_then(|id| id.parse().ok()),
            revision: publication.revision,
            sees_claims: sees,
        });
        let mut parts: Vec<AuditPart> = principal.into_iter().collect();
        if let Some(owner) = &publication.owner {
            see(&mut parts, &owner.id, sees);
        }
        parts
    }

    /// Adds what the token says of its workload, and the names by which the event is found.
    fn add_workload(&self, event: &mut AuditEvent, workload: Option<&WorkloadClaim>) {
        let Some(workload) = workload else {
            return;
        };
        event.subject = Some(workload.sub.clone());
        event.trusted_issuer = event.credential.and_then(|id| self.issuer_of(id));
        let claims = Claims::new(workload.claims.clone());
        event.workload = match self.app.profiles.get(&workload.profile) {
            Some(profile) => names_of(profile, &claims, &workload.sub),
            None => vec![workload.sub.clone()],
        };
    }

    /// The name of the trusted issuer of a rule.
    fn issuer_of(&self, credential: CredentialId) -> Option<String> {
        let rule = self.rules.credential(credential)?;
        let issuer = self.rules.issuer(rule.trusted_issuer)?;
        Some(issuer.name.clone())
    }
}

/// Lets a principal see an event in which it has no part yet.
fn see(parts: &mut Vec<AuditPart>, principal_id: &str, sees_claims: bool) {
    if !parts.iter().any(|part| part.principal_id == principal_id) {
        parts.push(AuditPart {
            principal_id: principal_id.to_owned(),
            credential: None,
            revision: None,
            sees_claims,
        });
    }
}

/// Code and sentence of a refusal that came after the gateway's own decision.
fn refusal(status: Option<u16>, by_operator: bool) -> (&'static str, String) {
    match status {
        _ if by_operator => (
            NOT_PUBLISHED,
            "an operator found that the registry has not taken it".to_owned(),
        ),
        Some(status) => (
            REFUSED_BY_REGISTRY,
            format!("the registry answered {status}"),
        ),
        None => (
            REFUSED_BY_REGISTRY,
            "the registry was not reached".to_owned(),
        ),
    }
}

fn described(publication: &Publication) -> Map<String, Value> {
    let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
    present([
        ("publication", Some(json!(publication.id))),
        ("registry", Some(json!(publication.registry))),
        ("package", Some(json!(publication.spelled))),
        ("version", text(&publication.version)),
        ("file", text(&publication.file)),
        ("digest", text(&publication.digest)),
        ("operation", Some(json!(publication.operation))),
        (
            "owner",
            publication.owner.as_ref().map(|owner| json!(owner.name)),
        ),
        ("passthrough", publication.passthrough.then(|| json!(true))),
        ("user", text(&publication.passthrough_user)),
        (
            "workload",
            publication
                .workload
                .as_ref()
                .map(|workload| json!(workload)),
        ),
    ])
}

/// The members that have a value.
fn present<const N: usize>(members: [(&str, Option<Value>); N]) -> Map<String, Value> {
    let known = members.into_iter();
    known
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// The detail as JSON, without what makes it too long.
fn bounded(mut detail: Map<String, Value>) -> String {
    for member in EXPENDABLE {
        let text = Value::Object(detail.clone()).to_string();
        if text.len() <= MAX_DETAIL_BYTES {
            return text;
        }
        if detail.shift_remove(member).is_some() {
            detail.insert(format!("{member}_left_out"), true.into());
        }
    }
    Value::Object(detail).to_string()
}
