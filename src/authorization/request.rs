//! Reads an authorization request (RFC 6749 section 4.1.1, RFC 7636 section 4.3, RFC 8707 section 2,
//! RFC 9396 section 2, OpenID Connect Core 1.0 section 3.1.2.1).

use std::sync::Arc;

use carnet_engine::code_grant::{OpenIdScope, PersonRequest, PersonTarget};
use carnet_engine::model::{Client, Snapshot};
use url::form_urlencoded;

use super::Answer;
use super::machine::machine;
use super::registrar::Clients;
use crate::access_request::read_access;
use crate::clock::Timestamp;
use crate::config::OwnUrls;
use crate::form::{Parameters, TokenForm};
use crate::grant_type::GrantType;
use crate::people::is_hidden;
use crate::principal::AccessRequest;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::{ScopeSet, is_admin_scope};

/// The longest query of an authorization request, in bytes.
const MAX_QUERY_BYTES: usize = 2048;
/// Characters of a SHA-256 in base64url.
const HASH_CHARACTERS: usize = 43;
/// Our own parameter: the person has to have signed in after this time (seconds since 1970). It
/// stands for `prompt=login` in the request with which the person comes back from a sign-in.
pub(super) const SIGNED_IN_AFTER: &str = "signed_in_after";
pub(super) const PROMPT: &str = "prompt";

/// Those that decide where an answer goes. If one of them is wrong, nobody is sent anywhere.
const OF_REDIRECT: &[&str] = &["client_id", "redirect_uri"];
const OF_REQUEST: &[&str] = &[
    "response_type",
    "response_mode",
    "state",
    "scope",
    "resource",
    "authorization_details",
    "principal",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    PROMPT,
    "max_age",
    "login_hint",
    "dpop_jkt",
    "request",
    "request_uri",
    SIGNED_IN_AFTER,
];
const PARAMETERS: Parameters = Parameters {
    known: &[OF_REDIRECT, OF_REQUEST],
    repeatable: &["resource"],
};

/// An authorization request that a person may be asked about.
#[derive(Clone, Debug)]
pub struct AuthorizationRequest {
    pub client: Arc<Client>,
    pub answer: Answer,
    /// Whether the request named the redirect URI.
    pub redirect_uri_sent: bool,
    /// The code challenge with its method, as oxide-auth keeps it.
    pub(super) challenge: String,
    pub asked: PersonRequest,
    pub nonce: Option<String>,
    pub prompt: Prompt,
    /// How long ago the person may have signed in, in seconds.
    pub max_age: Option<i64>,
    /// The JWK thumbprint to which the code is bound (RFC 9449 section 10).
    pub dpop_jkt: Option<String>,
    /// The person has to have signed in after this time.
    pub signed_in_after: Option<Timestamp>,
}

/// Which pages a request wants (OpenID Connect Core 1.0 section 3.1.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// No page may be shown.
    pub none: bool,
    /// The person has to sign in again.
    pub login: bool,
    /// The person has to be asked, whatever is remembered.
    pub consent: bool,
}

/// A request that is not granted.
#[derive(Clone, Debug)]
pub enum Rejected {
    /// Nobody knows where to send the browser, so the person is told.
    Page(Box<Refusal>),
    /// The client is told.
    Client(Box<(Answer, Refusal)>),
}

impl Rejected {
    fn page(refusal: impl Into<Refusal>) -> Self {
        Self::Page(Box::new(refusal.into()))
    }
}

impl AuthorizationRequest {
    /// Reads the query of a request.
    pub fn read(query: &str, rules: &Snapshot, own: &OwnUrls) -> Result<Self, Rejected> {
        if query.len() > MAX_QUERY_BYTES {
            return Err(Rejected::page(Reason::RequestTooLong));
        }
        let of_redirect = Parameters {
            known: &[OF_REDIRECT],
            repeatable: &[],
        };
        let to = TokenForm::parse(query.as_bytes(), &of_redirect).map_err(Rejected::page)?;
        let client_id = to.require("client_id").map_err(Rejected::page)?;
        let redirect_uri = to.get("redirect_uri");
        let bound = Clients(rules).bound(client_id, redirect_uri);
        let (client, to) = bound.map_err(Rejected::page)?;
        let of_state = Parameters {
            known: &[&["state"]],
            repeatable: &[],
        };
        let state = TokenForm::parse(query.as_bytes(), &of_state).ok();
        let answer = Answer {
            redirect_uri: to,
            state: state.and_then(|state| state.get("state").map(str::to_owned)),
        };
        let rejected = |refusal| Rejected::Client(Box::new((answer.clone(), refusal)));
        let form = TokenForm::parse(query.as_bytes(), &PARAMETERS).map_err(rejected)?;
        check_kind(&form).map_err(rejected)?;
        let challenge = machine(&form, rules).map_err(rejected)?;
        let asked = asked(&form, own).map_err(rejected)?;
        Ok(Self {
            challenge,
            asked,
            nonce: form.get("nonce").map(str::to_owned),
            prompt: prompt(&form).map_err(rejected)?,
            max_age: seconds(&form, "max_age").map_err(rejected)?,
            dpop_jkt: thumbprint(&form).map_err(rejected)?,
            signed_in_after: seconds(&form, SIGNED_IN_AFTER)
                .map_err(rejected)?
                .map(Timestamp::from_seconds),
            redirect_uri_sent: redirect_uri.is_some(),
            client,
            answer,
        })
    }
}

/// The query with which a person comes back from a sign-in: what this endpoint reads of the request,
/// and in place of `prompt=login` that the sign-in has to be from after `now`.
pub fn query_after_sign_in(query: &str, now: Timestamp) -> String {
    let mut kept = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let Some(name) = PARAMETERS.find(&name).filter(|_| !value.is_empty()) else {
            continue;
        };
        match name {
            SIGNED_IN_AFTER => {}
            PROMPT => {
                let words = value.split(' ');
                let words = words.filter(|word| !matches!(*word, "login" | "select_account"));
                let words: Vec<&str> = words.collect();
                if !words.is_empty() {
                    kept.append_pair(PROMPT, &words.join(" "));
                }
            }
            name => drop(kept.append_pair(name, &value)),
        }
    }
    kept.append_pair(SIGNED_IN_AFTER, &now.seconds().to_string());
    kept.finish()
}

/// Parameters that ask for what this endpoint does not do.
fn check_kind(form: &TokenForm<'_>) -> Result<(), Refusal> {
    if form.get("request").is_some() {
        return Err(Refusal::parameter(
            Reason::RequestObjectUnsupported,
            "request",
        ));
    }
    if form.get("request_uri").is_some() {
        return Err(Refusal::parameter(
            Reason::RequestUriUnsupported,
            "request_uri",
        ));
    }
    // oxide-auth says of a missing one that it is not supported.
    form.require("response_type")?;
    if form
        .get("response_mode")
        .is_some_and(|mode| mode != "query")
    {
        return Err(
            Refusal::parameter(Reason::ParameterMalformed, "response_mode").permitted("query"),
        );
    }
    // It checks neither length nor alphabet of a challenge, and takes an absent method as `plain`.
    let is_hash =
        |challenge: &str| challenge.len() == HASH_CHARACTERS && challenge.bytes().all(is_base64url);
    if !form.get("code_challenge").is_some_and(is_hash) {
        return Err(Refusal::parameter(Reason::PkceRequired, "code_challenge"));
    }
    if form.get("code_challenge_method") != Some("S256") {
        return Err(
            Refusal::parameter(Reason::PkceRequired, "code_challenge_method").permitted("S256"),
        );
    }
    Ok(())
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// What the client asks for, and for which resource.
fn asked(form: &TokenForm<'_>, own: &OwnUrls) -> Result<PersonRequest, Refusal> {
    let access = read_access(form, GrantType::AuthorizationCode)?;
    check_visible(&access)?;
    let mut resources = access.resources.clone();
    resources.dedup();
    if resources.len() > 1 {
        return Err(Refusal::parameter(Reason::TargetAmbiguous, "resource"));
    }
    let (openid, scope) = match &access.scope {
        None => (OpenIdScope::default(), None),
        Some(scope) => OpenIdScope::split(scope),
    };
    let asks_for_nothing =
        scope.is_none() && access.details.is_none() && access.principal.is_none();
    let target = match resources.first() {
        Some(resource) if *resource == own.admin_resource() => PersonTarget::Admin,
        Some(resource) if *resource == own.userinfo() => PersonTarget::Userinfo,
        None if openid.openid && asks_for_nothing => PersonTarget::Userinfo,
        Some(_) | None => PersonTarget::Registry,
    };
    let wrong = |reason, parameter| Err(Refusal::parameter(reason, parameter));
    let holds = |fits: fn(&str) -> bool| {
        let tokens = scope.iter().flat_map(ScopeSet::tokens);
        tokens.into_iter().all(fits)
    };
    match target {
        PersonTarget::Userinfo if !openid.openid || scope.is_some() => {
            return wrong(Reason::ScopeNotGranted, "scope");
        }
        PersonTarget::Admin if !holds(is_admin_scope) => {
            return wrong(Reason::ScopeNotGranted, "scope");
        }
        PersonTarget::Registry if !holds(|token| !is_admin_scope(token)) => {
            return wrong(Reason::ScopeNotGranted, "scope");
        }
        // These would narrow a token for a registry: refused rather than ignored.
        PersonTarget::Admin | PersonTarget::Userinfo if access.details.is_some() => {
            return wrong(Reason::ParameterMalformed, "authorization_details");
        }
        PersonTarget::Admin | PersonTarget::Userinfo if access.principal.is_some() => {
            return wrong(Reason::ParameterMalformed, "principal");
        }
        _ => {}
    }
    Ok(PersonRequest {
        target,
        openid,
        access: AccessRequest {
            resources,
            scope,
            ..access
        },
    })
}

/// Refuses packages and versions that would change what the person reads around them.
fn check_visible(access: &AccessRequest) -> Result<(), Refusal> {
    let mut details = access.details.iter().flatten();
    let hides = |text: &String| text.chars().any(is_hidden);
    if details.any(|entry| entry.packages.iter().chain(&entry.version).any(hides)) {
        let what = "packages and versions must hold no hidden characters";
        return Err(
            Refusal::parameter(Reason::DetailsMalformed, "authorization_details").malformed(what),
        );
    }
    Ok(())
}

fn prompt(form: &TokenForm<'_>) -> Result<Prompt, Refusal> {
    let mut prompt = Prompt::default();
    let Some(text) = form.get(PROMPT) else {
        return Ok(prompt);
    };
    let mut words = 0_usize;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        words = words.saturating_add(1);
        match word {
            "none" => prompt.none = true,
            // Which account it is, is chosen at the provider.
            "login" | "select_account" => prompt.login = true,
            "consent" => prompt.consent = true,
            _ => {
                return Err(Refusal::parameter(Reason::ParameterMalformed, PROMPT).received(word));
            }
        }
    }
    if prompt.none && words > 1 {
        let what = "none stands alone";
        return Err(Refusal::parameter(Reason::ParameterMalformed, PROMPT).malformed(what));
    }
    Ok(prompt)
}

fn seconds(form: &TokenForm<'_>, name: &'static str) -> Result<Option<i64>, Refusal> {
    let Some(text) = form.get(name) else {
        return Ok(None);
    };
    let number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.then(|| text.parse().ok()).flatten();
    number
        .filter(|seconds: &i64| *seconds < 1 << 40)
        .map(Some)
        .ok_or_else(|| Refusal::parameter(Reason::ParameterMalformed, name))
}

fn thumbprint(form: &TokenForm<'_>) -> Result<Option<String>, Refusal> {
    let Some(text) = form.get("dpop_jkt") else {
        return Ok(None);
    };
    if text.len() == HASH_CHARACTERS && text.bytes().all(is_base64url) {
        return Ok(Some(text.to_owned()));
    }
    Err(Refusal::parameter(Reason::ParameterMalformed, "dpop_jkt"))
}
