//! The verdict on a case, by the checks of the token endpoint in their order.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::CaseVerdict;
use super::case::Case;
use super::fields::{TEMPLATE, TEMPLATE_DEFAULTS};
use super::setting::{OWN, Setting, invalid};
use crate::assertion::Assertion as _;
use crate::client::Admitted;
use crate::clock::Timestamp;
use crate::config::OwnUrls;
use crate::decision::{Decision, Mode, Presented, Subject, decide};
use crate::grant_type::GrantType;
use crate::model::DecisionContext;
use crate::objects::ReadContext;
use crate::profile::{Profile, Profiles};
use crate::refusal::Refusal;

/// Judges a case; says also what there is to say of a refusal beyond its reason.
pub fn judge(case: &Case, profiles: &Profiles) -> (CaseVerdict, Option<String>) {
    match verdict(case, profiles) {
        Ok(()) => (CaseVerdict::Allow, None),
        Err(refusal) => {
            let detail = refusal.detail.map(String::from);
            (
                CaseVerdict::Deny(refusal.reason),
                detail.or(refusal.claim.map(String::from)).or(refusal.parameter.map(str::to_owned)),
            )
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
    let context = DecisionContext {
        rules: Arc::new(setting.snapshot()?),
        now: Timestamp::from_seconds(case.policy.context.now),
        own: &own,
    };
    let assertion = setting.assertion(&context)?;
    let issuer = assertion.content().issuer().clone();
    let offline = Mode::Offline { used: setting.was_used(assertion.content()) };
    let subject = Subject {
        grant_type: GrantType::JwtBearer,
        presented: Presented::Assertion(assertion),
        client: Admitted::nobody(),
        actor: None,
    };
    match decide(&context, &subject, &setting.request(), offline) {
        Ok(Decision::Registry(authorization)) => setting.registry_decides(authorization.entitlement(), &issuer),
        Ok(Decision::Admin(_)) => Ok(()),
        Err(denial) => Err(denial.refusal),
    }
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
