//! Judges a case offline. The snapshot, the clock and the assertion are built from the case; the
//! verdict is that of the token endpoint's decision and of the check that registries use.
//! Signatures are not verified.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use carnet_jose::{base64url, from_base64url};
use carnet_resource_server::{Operation, RegistryState, allows};
use serde_json::{Map, Value, json};

use super::CaseVerdict;
use super::case::{Case, CaseToken, GivenState, GivenStateName, RegistryContext, UsedAssertion};
use crate::assertion::{
    Assertion as _, AssertionContent, AssumedAssertion, Recipient, SingleUseKey,
    UnverifiedAssertion,
};
use crate::attested::Attested;
use crate::client::Admitted;
use crate::clock::Timestamp;
use crate::config::OwnUrls;
use crate::decision::{Decision, Mode, Presented, Subject, decide};
use crate::documents::{Attestations, Imagined, ReadContext, Vouching};
use crate::form::TokenForm;
use crate::grant::{ACCESS_TOKEN, JWT, declared, read_form, through_front_door};
use crate::grant_type::GrantType;
use crate::key_material::OpenSsl;
use crate::model::{DecisionContext, TrustedIssuer};
use crate::principal::Entitlement;
use crate::profile::{Profile, Profiles};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// The server's issuer URL in cases that name none.
const OWN: &str = "https://carnet.case.invalid";
/// How long attestations of case files last, in seconds: longer than any token.
const ATTESTED_FOR: i64 = 86_400;

/// Judges a case. The text beside a refusal is its detail, or else the claim or parameter that it
/// is about.
pub fn judge(case: &Case, profiles: &Profiles) -> (CaseVerdict, Option<String>) {
    match verdict(case, profiles) {
        Ok(()) => (CaseVerdict::Allow, None),
        Err(refusal) => {
            let detail = refusal.detail.map(String::from);
            let about = detail
                .or(refusal.claim.map(String::from))
                .or(refusal.parameter.map(str::to_owned));
            (CaseVerdict::Deny(refusal.reason), about)
        }
    }
}

fn verdict(case: &Case, profiles: &Profiles) -> Result<(), Refusal> {
    let own = case.context.issuer.as_deref().unwrap_or(OWN);
    let own = OwnUrls::new(own, SocketAddr::from(([127, 0, 0, 1], 0))).map_err(invalid)?;
    let profiles = with_own_profiles(case, profiles)?;
    let read = ReadContext {
        profiles: &profiles,
        own: &own,
        allow_http_loopback: false,
        token_lifetime_seconds: 900,
        command_line: false,
        material: &OpenSsl,
        attestations: Attestations::Elsewhere,
    };
    let now = now(case)?;
    let context = DecisionContext {
        rules: imagined(case, read, now)?.rules(),
        now,
        own: &own,
    };
    let form = form(case)?;
    let (grant_type, mut access) = read_form(&form, &own)?;
    through_front_door(&mut access, grant_type, &form, &context.rules)?;
    let assertion = assertion(case, &context, access.recipient(&context.rules)?)?;
    assertion.content().check_grant(grant_type)?;
    let at = access.front_door.as_ref();
    let package = at.and_then(|at| at.package.as_deref());
    let offline = Mode::Offline {
        used: was_used(case, assertion.content(), package),
    };
    let presented = Presented::Assertion(assertion);
    let subject = Subject {
        grant_type,
        presented,
        client: Admitted::nobody(),
        proved: declared(&form)?.into(),
        actor: None,
    };
    match decide(&context, &subject, &access, offline) {
        Ok(Decision::Registry(authorization)) => {
            let tried = case.context.registry.as_ref();
            tried.map_or(Ok(()), |registry| {
                registry_decides(registry, authorization.entitlement())
            })
        }
        Ok(Decision::Admin(_) | Decision::Userinfo(_)) => Ok(()),
        Err(denial) => Err(denial.refusal),
    }
}

fn with_own_profiles<'p>(
    case: &Case,
    profiles: &'p Profiles,
) -> Result<Cow<'p, Profiles>, Refusal> {
    let mut profiles = Cow::Borrowed(profiles);
    for (name, file) in &case.context.profiles {
        let text = toml::to_string(file)
            .map_err(|error| invalid(format!("context.profiles.{name}: {error}")))?;
        let profile = Profile::parse(name, &text).map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            invalid(format!("context.profiles.{name}: {}", errors.join("; ")))
        })?;
        profiles = Cow::Owned(profiles.into_owned().with(Arc::new(profile)));
    }
    Ok(profiles)
}

fn now(case: &Case) -> Result<Timestamp, Refusal> {
    let issued = || payload(&case.token)?.get("iat")?.as_i64();
    let now = case.context.now.or_else(issued);
    now.map(Timestamp::from_seconds)
        .ok_or_else(|| invalid("context.now must be given where the token has no iat"))
}

fn payload(token: &CaseToken) -> Option<Value> {
    match token {
        CaseToken::Text(text) => {
            serde_json::from_slice(&from_base64url(text.split('.').nth(1)?)?).ok()
        }
        CaseToken::Made { payload, .. } => serde_json::from_str(payload).ok(),
    }
}

/// The objects of the case as a compiled snapshot, with the states that the case gives.
fn imagined(case: &Case, read: ReadContext<'_>, now: Timestamp) -> Result<Imagined, Refusal> {
    let mut imagined = Imagined::new(&case.objects, read, now).map_err(|findings| {
        let lines = findings
            .iter()
            .map(|finding| format!("{}{} {}", finding.object, finding.pointer, finding.detail));
        invalid(lines.collect::<Vec<_>>().join("; "))
    })?;
    for (name, given) in &case.context.states {
        let wrong = |why: String| invalid(format!("context.states.{name}: {why}"));
        let given =
            serde_json::from_value(given.clone()).map_err(|error| wrong(error.to_string()))?;
        set_state(&mut imagined, name, given, now).map_err(wrong)?;
    }
    Ok(imagined)
}

fn set_state(
    imagined: &mut Imagined,
    name: &str,
    given: GivenState,
    now: Timestamp,
) -> Result<(), String> {
    let mut stored = imagined
        .credential(name)
        .ok_or("objects must hold a federated credential of this name")?
        .clone();
    if let Some(pinned) = given.pinned {
        stored.state.pinned = pinned;
    }
    if let Some(vouched) = given.vouched {
        stored.state.vouching = if vouched {
            Vouching::Vouched
        } else {
            Vouching::SelfService
        };
    }
    stored.state.pending_until = imagined.pending_until(&stored);
    let waits = stored.state.pending_until.is_some();
    match given.state {
        Some(GivenStateName::Pending) | None => {}
        Some(GivenStateName::Active) => stored.state.pending_until = None,
        Some(GivenStateName::Expired) => stored.document.expires_at = Some(now),
        Some(GivenStateName::Disabled) => stored.document.enabled = false,
    }
    if !waits && (given.pending_until.is_some() || given.state == Some(GivenStateName::Pending)) {
        return Err("it must not be pending: the rule names its ids".to_owned());
    }
    if given.pending_until.is_some() {
        stored.state.pending_until = given.pending_until;
    }
    imagined.replace(stored);
    Ok(())
}

/// The token request's form. The token is a placeholder: the decision takes the assertion
/// separately, and reading the form only requires the parameter to exist.
fn form(case: &Case) -> Result<TokenForm<'_>, Refusal> {
    let given = |name: &str| case.request.iter().any(|(known, _)| *known == name);
    let mut parameters: Vec<(&'static str, Cow<'_, str>)> = case
        .request
        .iter()
        .map(|(name, value)| (*name, Cow::Borrowed(value.as_str())))
        .collect();
    if !given("grant_type") {
        parameters.push(("grant_type", GrantType::JwtBearer.name().into()));
    }
    let form = TokenForm::of(parameters.clone());
    match GrantType::from_name(form.require("grant_type")?) {
        Some(GrantType::JwtBearer) => parameters.push(("assertion", "the case's".into())),
        Some(GrantType::TokenExchange) => {
            parameters.push(("subject_token", "the case's".into()));
            match form.get("subject_token_type") {
                None => parameters.push(("subject_token_type", JWT.into())),
                Some(ACCESS_TOKEN) => {
                    return Err(invalid(
                        "request.subject_token_type must be that of a platform's token",
                    ));
                }
                Some(_) => {}
            }
        }
        Some(GrantType::ClientCredentials) => {
            return Err(invalid(
                "request.grant_type must be a grant that presents a token; this one is for clients themselves",
            ));
        }
        Some(GrantType::AuthorizationCode) => {
            return Err(invalid(
                "request.grant_type must be a grant that presents a token; this one is for persons",
            ));
        }
        None => return Err(Reason::GrantTypeUnsupported.into()),
    }
    Ok(TokenForm::of(parameters))
}

/// Parses the case's token, or makes one, and checks everything but its signature.
fn assertion(
    case: &Case,
    context: &DecisionContext<'_>,
    recipient: Recipient<'_>,
) -> Result<AssumedAssertion, Refusal> {
    let made = |payload: &str, header: &Map<String, Value>| {
        let header = Value::Object(header.clone()).to_string();
        format!(
            "{}.{}.{}",
            base64url(header),
            base64url(payload),
            base64url("signature")
        )
    };
    let text = match &case.token {
        CaseToken::Text(text) => text.clone(),
        CaseToken::Made {
            payload,
            header: Some(header),
        } => made(payload, header),
        CaseToken::Made {
            payload,
            header: None,
        } => {
            // The default header depends on the trusted issuer, which the payload alone identifies.
            let header = |alg: &str, typ: &str| {
                Map::from_iter([
                    ("alg".to_owned(), json!(alg)),
                    ("typ".to_owned(), json!(typ)),
                ])
            };
            let any = made(payload, &header("RS256", "JWT"));
            let issuer = UnverifiedAssertion::parse(&any)?.issuer(&context.rules, recipient)?;
            let algorithm = issuer
                .algorithms
                .first()
                .map_or("RS256", |algorithm| algorithm.name());
            made(
                payload,
                &header(
                    algorithm,
                    issuer.types.first().map_or("JWT", String::as_str),
                ),
            )
        }
    };
    let unverified = UnverifiedAssertion::parse(&text)?;
    let issuer = unverified.issuer(&context.rules, recipient)?;
    let keys = case.context.keys.as_deref();
    let unverified = unverified.attested_by(attested(case, &issuer, context.now)?);
    unverified.assume(issuer, keys, (recipient, context.now))
}

/// What the RPKI attests in this case, as far as the issuer may speak for it.
fn attested(
    case: &Case,
    issuer: &TrustedIssuer,
    now: Timestamp,
) -> Result<Option<Arc<Attested>>, Refusal> {
    let (Some(terms), Some(attested)) = (&issuer.attestation, &case.context.attested) else {
        return Ok(None);
    };
    let resources = attested.resources().intersection(&terms.speaks_for);
    if resources.is_empty() {
        return Err(Reason::AttestationUntrusted.into());
    }
    Ok(Some(Arc::new(Attested {
        resources,
        trust_anchor: String::new(),
        use_until: now.plus_seconds(ATTESTED_FOR),
    })))
}

fn was_used(case: &Case, assertion: &AssertionContent, package: Option<&str>) -> bool {
    let Some(key) = assertion.key() else {
        return false;
    };
    case.context.used.iter().any(|used| match used {
        UsedAssertion::This(_) => true,
        UsedAssertion::Other { iss, jti } => {
            let used = SingleUseKey::of_id(iss, jti);
            let used = package.map_or(used, |package| used.for_package(package));
            *iss == assertion.issuer().issuer && used == *key
        }
    })
}

/// Whether a registry would allow the operation, by the code of the resource-server crate.
fn registry_decides(registry: &RegistryContext, entitlement: &Entitlement) -> Result<(), Refusal> {
    let names = entitlement.resource_server.package_names;
    let Some(action) = &registry.action else {
        return Ok(());
    };
    for package in &registry.package {
        let holds =
            |packages: &Vec<String>| packages.iter().any(|owned| names.same(owned, package));
        let owned_by = |owner: &str| {
            registry.owned_packages.as_ref().is_none_or(holds)
                && registry.owner.as_ref().is_none_or(|now| now == owner)
        };
        let state = RegistryState {
            exists: registry.exists,
            owned_by: &owned_by,
            may_act_for: &|_, _| true,
        };
        let version = registry.version.as_deref();
        let operation = Operation {
            action,
            package,
            version,
            digest: registry.digest.as_deref(),
        };
        allows(&entitlement.details, names, &operation, &state)
            .map_err(|denied| Refusal::from(Reason::from(denied.reason)))?;
    }
    Ok(())
}

fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::PolicyInvalid).with_detail(detail)
}
