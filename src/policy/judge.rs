//! The verdict on a case, by the checks of the token endpoint in their order.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::CaseVerdict;
use super::case::Case;
use super::fields::{TEMPLATE, TEMPLATE_DEFAULTS};
use super::setting::{OWN, Setting, invalid};
use crate::clock::Timestamp;
use crate::config::OwnUrls;
use crate::objects::ReadContext;
use crate::principal::entitle;
use crate::profile::{Profile, Profiles};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::trust::{match_credentials, nearest_credentials};

/// Judges a case; says also what there is to say of a refusal beyond its reason.
pub fn judge(case: &Case, profiles: &Profiles) -> (CaseVerdict, Option<String>) {
    match verdict(case, profiles) {
        Ok(()) => (CaseVerdict::Allow, None),
        Err(refusal) => {
            let detail = refusal.detail.map(String::from);
            (CaseVerdict::Deny(refusal.reason), detail.or(refusal.claim).or(refusal.parameter.map(str::to_owned)))
        }
    }
}

fn verdict(case: &Case, profiles: &Profiles) -> Result<(), Refusal> {
    let own = OwnUrls::new(OWN, SocketAddr::from(([127, 0, 0, 1], 0))).map_err(invalid)?;
    let profile = profile(case, profiles)?;
    // What a case brings along is known to its documents, whatever has the same name here.
    let is_known = profiles.get(&profile.name).is_some_and(|known| Arc::ptr_eq(known, &profile));
    let made = (!is_known).then(|| profiles.clone().with(profile.clone()));
    let profiles = made.as_ref().unwrap_or(profiles);
    let read = ReadContext { profiles, own: &own, allow_http_loopback: false, token_lifetime_seconds: 900 };
    let setting = Setting { case, profile, read };
    let snapshot = setting.snapshot()?;
    let now = Timestamp::from_seconds(case.policy.context.now);
    let (issuer, claims, assessed) = setting.assertion(&snapshot, now)?;
    let report = match_credentials(&snapshot, &issuer, &claims, now);
    if report.matching().next().is_none() {
        // A rule that the claims do not lead to is not judged for a token, and is what its author asks about.
        let nearest = nearest_credentials(&snapshot, &issuer, &claims, now, |_| true);
        let closest = report.closest().or(nearest.closest()).and_then(|candidate| candidate.reason(&issuer.profile));
        return Err(closest.unwrap_or(Reason::NoMatchingCredential).into());
    }
    let entitlement = entitle(&report, &snapshot, &issuer, &claims, &setting.request())?;
    if setting.was_used(&issuer, &assessed) {
        return Err(Reason::Replay.into());
    }
    setting.registry_decides(&entitlement, &issuer)
}

fn profile(case: &Case, profiles: &Profiles) -> Result<Arc<Profile>, Refusal> {
    let name = match case.provider.as_str() {
        "github" => "github-actions",
        "gitlab" => "gitlab-ci",
        "template-ci" => "ci-template",
        name => name,
    };
    let fields = &case.policy.fields;
    let first =
        fields.get("candidates").and_then(Value::as_array).and_then(|candidates| candidates.first()?.as_object());
    let fields = first.unwrap_or(fields);
    match fields.get(TEMPLATE) {
        Some(template) if name == "ci-template" => {
            let defaults = fields.get(TEMPLATE_DEFAULTS).cloned().unwrap_or_else(|| json!({}));
            template_profile(template, &defaults).map(Arc::new)
        }
        _ => profiles.get(name).cloned().ok_or_else(|| invalid(format!("there is no profile {name}"))),
    }
}

/// The profile that a case brings along: one template over claims that are all texts.
fn template_profile(template: &Value, defaults: &Value) -> Result<Profile, Refusal> {
    let text = template.as_str().ok_or_else(|| invalid("template is a text"))?;
    let names = text.split('{').skip(1).filter_map(|part| part.split('}').next());
    let claims: Map<String, Value> = names.map(|name| (name.to_owned(), json!({}))).collect();
    let file = json!({
        "title": "Template of a case",
        "index": [["identity"]],
        "defaults": {
            "algorithms": ["RS256", "ES256"], "types": ["JWT"], "max_assertion_lifetime_seconds": 3600,
            "replay": "jti_or_token_hash",
        },
        "workload": { "id": "{sub}" },
        "claims": claims,
        "fields": [{
            "name": "identity", "mismatch": "identity_mismatch",
            "check": { "identity": { "template": text, "defaults": defaults } },
        }],
        "at_least": [{ "any_of": ["identity"], "detail": "every pipeline of the platform shares this issuer" }],
    });
    let text = toml::to_string(&file).map_err(|error| invalid(error.to_string()))?;
    Profile::parse("ci-template", &text).map_err(|errors| invalid(format!("{errors:?}")))
}
