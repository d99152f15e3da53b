//! Explaining token requests: why one is or would be refused, or what it would be granted. The
//! author's rights decide which rules are shown; the token endpoint shows rules by proof only
//! (`docs/src/explanation/disclosure.md`).
//!
//! The question is a token request as JSON. It may hold `trusted_issuer` and `claims` in place of an
//! assertion, or the `event` that recorded one ([`recorded`]), and the `client_id` of a client
//! without that client's authentication.

mod recorded;

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Author, Rejected};
use crate::access_request::read_access;
use crate::app::App;
use crate::client::AuthorizationHeader;
use crate::decision::{Mode, View};
use crate::documents::Reader;
use crate::explain::{Explanation, explain_claims, explain_request};
use crate::form::TokenForm;
use crate::grant::{GrantRequest, JWT, RequestProof, TokenError, declared, through_front_door};
use crate::grant_type::GrantType;
use crate::ids::EventId;
use crate::model::TrustedIssuer;
use crate::profile::Claims;
use crate::trust::DocumentError;

/// Parameters of the token endpoint that are strings in the body as well.
const TEXTS: [&str; 6] = [
    "assertion",
    "scope",
    "principal",
    "requested_token_type",
    "front_door",
    "package",
];
/// Parameters about clients and access tokens: they need the scope `admin` or `admin:read`.
const OF_OTHERS: [&str; 7] = [
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
    "client_id",
    "client_assertion",
    "client_assertion_type",
];
/// Parameters that may be a string or a list of strings.
const LISTS: [&str; 2] = ["resource", "audience"];

/// A parsed body: the token request, and the trusted issuer's name and claims in place of an
/// assertion, if it has them.
struct ExplanationRequest {
    form: TokenForm<'static>,
    grant_type: GrantType,
    claims: Option<(String, Map<String, Value>)>,
}

/// Explains the request that `question` describes. Nothing is issued, recorded or used up.
///
/// # Errors
///
/// [`Rejected::Invalid`] with the mistakes of the question, each with its place.
pub async fn explain(
    app: &App,
    author: &Author,
    mut question: Map<String, Value>,
) -> Result<Explanation, Rejected> {
    let view = author
        .principals
        .clone()
        .map_or(View::Everything, View::Principals);
    recorded::resolve(app, author, &mut question).await?;
    let request = read(&question, author.sees_everything).map_err(Rejected::Invalid)?;
    let explanation = answer(app, request, &view).await;
    explanation.map_err(|problem| Rejected::Invalid(vec![problem]))
}

async fn answer(
    app: &App,
    request: ExplanationRequest,
    view: &View,
) -> Result<Explanation, DocumentError> {
    let ExplanationRequest {
        form,
        grant_type,
        claims,
    } = request;
    let Some((trusted_issuer, claims)) = claims else {
        let caller = (EventId::new(app.clock.now()), None);
        let request = declared(&form)
            .map_err(TokenError::from)
            .and_then(|proof| {
                let (own, none) = (&app.config.own, AuthorizationHeader::Absent);
                GrantRequest::read(&form, none, own, RequestProof::Declared(proof), caller)
            })
            .map_err(problem)?
            .through_front_door(&form, &app.rules());
        return explain_request(app, &request, view).await.map_err(problem);
    };
    let context = app.decision_context();
    // One that belongs to others is not told of.
    let may_be_named = |issuer: &&Arc<TrustedIssuer>| match view {
        View::Principals(names) => names
            .iter()
            .any(|name| issuer.is_open_to(&name.to_ascii_lowercase())),
        View::Everything | View::Caller => true,
    };
    let issuer = context.rules.issuer_named(&trusted_issuer);
    let issuer = issuer.filter(may_be_named);
    let issuer = issuer.ok_or_else(|| {
        DocumentError::new(
            "/trusted_issuer",
            "must be the name of an existing trusted issuer",
        )
    })?;
    let access = read_access(&form, grant_type).and_then(|mut access| {
        through_front_door(&mut access, grant_type, &form, &context.rules)?;
        Ok((access, declared(&form)?))
    });
    let (access, proved) = access.map_err(|refusal| problem(refusal.into()))?;
    let attested = if issuer.enabled {
        app.upstream.attested(issuer).await
    } else {
        Ok(None)
    };
    let claims = attested.map(|attested| Claims::new(claims).attested_by(attested));
    let mode = Mode::Preview {
        limits: &app.limits,
        used: false,
        view,
    };
    Ok(explain_claims(
        &context,
        mode,
        issuer,
        claims,
        (grant_type, &access),
        proved,
    ))
}

/// The error of the token request as a mistake in the document, at the parameter's pointer.
fn problem(error: TokenError) -> DocumentError {
    let refusal = *error.refusal;
    let pointer = refusal
        .parameter
        .map(|parameter| format!("/{parameter}"))
        .unwrap_or_default();
    let detail = refusal
        .detail
        .map_or_else(|| refusal.reason.sentence().to_owned(), str::into_string);
    DocumentError::new(pointer, detail)
}

fn read(
    members: &Map<String, Value>,
    sees_everything: bool,
) -> Result<ExplanationRequest, Vec<DocumentError>> {
    let mut reader = Reader::new(members);
    let claims = claims(&mut reader);
    let mut form: Vec<(&'static str, Cow<'static, str>)> = Vec::new();
    for name in TEXTS {
        form.extend(reader.text(name).map(|text| (name, text.into())));
    }
    for name in OF_OTHERS {
        let Some(text) = reader.text(name) else {
            continue;
        };
        form.push((name, text.into()));
        if !sees_everything {
            reader.problem(
                name,
                "must be left out unless the token is for admin or admin:read",
            );
        } else if claims.is_some() {
            reader.problem(name, "must not be given together with claims");
        }
    }
    for name in LISTS {
        let texts = match reader.value(name) {
            Some(Value::Array(_)) => reader.texts(name).unwrap_or_default(),
            _ => reader.text(name).into_iter().collect(),
        };
        form.extend(texts.into_iter().map(|text| (name, text.into())));
    }
    form.extend(proof(&mut reader).map(|text| ("proof", text.into())));
    let details = reader
        .value("authorization_details")
        .map(ToString::to_string);
    form.extend(details.map(|details| ("authorization_details", details.into())));
    let known = |name: &str| {
        let none = "must be a grant type of the token endpoint, and none of persons";
        grant_named(name).ok_or(none)
    };
    let grant_type = reader
        .parsed("grant_type", known)
        .unwrap_or(GrantType::JwtBearer);
    let has =
        |form: &[(&str, Cow<'_, str>)], name: &str| form.iter().any(|(given, _)| *given == name);
    if has(&form, "assertion") && grant_type == GrantType::TokenExchange {
        for name in ["subject_token", "subject_token_type"]
            .into_iter()
            .filter(|name| has(&form, name))
        {
            reader.problem(
                name,
                "must not be given together with assertion, which is the subject token already",
            );
        }
        // The token exchange grant calls the same assertion `subject_token`.
        form.iter_mut()
            .filter(|(name, _)| *name == "assertion")
            .for_each(|(name, _)| *name = "subject_token");
        form.push(("subject_token_type", JWT.into()));
    }
    let presents = ["assertion", "subject_token"]
        .into_iter()
        .any(|name| has(&form, name));
    if (presents || grant_type == GrantType::ClientCredentials) == claims.is_some() {
        reader.problem(
            "",
            "must hold either what the grant presents, or trusted_issuer and claims",
        );
    }
    form.push(("grant_type", grant_type.name().into()));
    reader.finish(ExplanationRequest {
        form: TokenForm::of(form),
        grant_type,
        claims,
    })
}

/// The proof that is taken as given: `none`, or an object of `jkt` or `x5t`, in the form of the
/// parameter.
fn proof(reader: &mut Reader<'_>) -> Option<String> {
    let wrong = "must be none, or an object of jkt or x5t with a thumbprint";
    match reader.value("proof")? {
        Value::String(word) if word == "none" => Some(word.clone()),
        Value::Object(members) if members.len() == 1 => {
            let kinds = ["jkt", "x5t"].iter();
            let thumbprint = kinds
                .filter_map(|kind| Some((kind, members.get(*kind)?.as_str()?)))
                .map(|(kind, text)| format!("{kind}:{text}"))
                .next();
            if thumbprint.is_none() {
                reader.problem("proof", wrong);
            }
            thumbprint
        }
        _ => {
            reader.problem("proof", wrong);
            None
        }
    }
}

/// A trusted issuer's name, and claims that are judged as if that issuer had signed them.
fn claims(reader: &mut Reader<'_>) -> Option<(String, Map<String, Value>)> {
    let trusted_issuer = reader.name("trusted_issuer");
    let claims = match reader.value("claims") {
        Some(Value::Object(claims)) => Some(claims.clone()),
        Some(_) => {
            reader.problem("claims", "must be an object");
            None
        }
        None => None,
    };
    if trusted_issuer.is_some() != claims.is_some() {
        reader.problem(
            "",
            "must hold trusted_issuer and claims together, or neither",
        );
    }
    trusted_issuer.zip(claims)
}

/// A grant by the name in its RFC, or by the short name of this server's documents. No question can
/// stand for a person who signed in.
fn grant_named(name: &str) -> Option<GrantType> {
    GrantType::ALL
        .into_iter()
        .filter(|grant| *grant != GrantType::AuthorizationCode)
        .find(|grant| name == grant.name() || name == grant.short_name())
}
