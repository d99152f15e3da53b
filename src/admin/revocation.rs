//! Ends tokens on behalf of an administrator or a package owner: one token, or all that rest on a
//! rule or on the rules of a principal.
//!
//! A single token is ended by its `jti`. Tokens of rules are not searched for: raising the revision
//! of a rule makes the entries of its former revision void wherever a token is presented to this
//! server, also those of a token that is being issued at the moment.

use serde::Serialize;
use serde_json::{Value, json};

use super::Rejected;
use super::author::Author;
use super::objects::find;
use super::saving::refresh;
use crate::app::App;
use crate::audit::{AuditEvent, AuditPart, Outcome};
use crate::clock::Timestamp;
use crate::documents::{
    FederatedCredentialDocument, MAX_TOKEN_LIFETIME_SECONDS, PrincipalDocument,
    ResourceServerDocument, Stored,
};
use crate::grant::parts_of_token;
use crate::limits::RevocationTurn;
use crate::model::TokenFormat;
use crate::own_tokens::OwnToken;
use crate::store::{Reach, RenewedRule, RulesToRenew, StoredCredential};
use crate::trust::DocumentError;

/// How many rules one answer lists.
const MOST_LISTED: usize = 100;

/// The tokens to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokensToRevoke {
    /// The token itself.
    Token(String),
    /// The token with this `jti`.
    TokenId(String),
    /// The tokens that rest on this rule: its id, `principal:name`, or its name.
    Credential(String),
    /// The tokens that rest on a rule of this principal, by name or id.
    Principal(String),
}

/// What a revocation ended, and what it could not end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Revocation {
    /// The `jti` of the token that was named, or whose text was; `null` for a rule or a principal.
    pub token_id: Option<String>,
    /// Whether the token had ended before: it had expired or was revoked. Nothing was done then.
    pub had_ended: bool,
    /// The rules whose tokens ended, at most 100.
    pub federated_credentials: Vec<EndedRule>,
    /// The number of rules whose tokens ended.
    pub federated_credentials_total: usize,
    /// The clients whose tokens ended, because they act for the principal.
    pub clients: Vec<String>,
    /// The registries that verify tokens by themselves and may accept the ended ones for longer.
    pub accepted_until: Vec<AcceptedUntil>,
    /// Sentences about tokens that the request did not end.
    pub not_ended: Vec<String>,
}

/// A rule whose tokens were ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct EndedRule {
    pub id: String,
    pub name: String,
    pub principal: String,
    /// The revision from now on; tokens of earlier revisions are void.
    pub revision: u32,
}

/// A registry that takes JWTs, which it may verify without asking this server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AcceptedUntil {
    /// The name of the resource server; `null` if none has this URI any more.
    pub resource_server: Option<String>,
    pub resource: String,
    /// The latest `exp` that an ended token may have (RFC 3339).
    pub until: String,
}

/// Ends the tokens, with an audit event.
pub async fn revoke(
    app: &App,
    named: &TokensToRevoke,
    author: &Author,
) -> Result<Revocation, Rejected> {
    match named {
        TokensToRevoke::Token(text) => revoke_token(app, text, author).await,
        TokensToRevoke::TokenId(id) => revoke_token_id(app, id, author).await,
        TokensToRevoke::Credential(reference) => {
            let rule = find::<FederatedCredentialDocument>(app, reference, author).await?;
            revoke_rule(app, rule, author).await
        }
        TokensToRevoke::Principal(name) => revoke_principal(app, name, author).await,
    }
}

async fn revoke_token(app: &App, text: &str, author: &Author) -> Result<Revocation, Rejected> {
    let context = app.decision_context();
    let tokens = app.own_tokens(&context);
    let own = tokens.recognise(text).await?.ok_or_else(|| {
        let detail = "must be an access token of this server whose signing key is not withdrawn";
        Rejected::Invalid(vec![DocumentError::new("/token", detail)])
    })?;
    if !may_end(author, &own) {
        return Err(Rejected::Forbidden);
    }
    let claims = own.claims();
    let event = AuditEvent {
        credential: claims
            .authorization_details
            .iter()
            .find_map(|entry| entry.credential.parse().ok()),
        principal: claims.principal.as_ref().map(|of| of.name.clone()),
        resource: Some(claims.aud.clone()),
        client_id: Some(claims.client_id.clone()),
        parts: parts_of_token(&context.rules, claims),
        ..event(app, author, "token", &claims.jti)
    };
    let format = if text.contains('.') {
        TokenFormat::Jwt
    } else {
        TokenFormat::Opaque
    };
    let token = (claims.jti.as_str(), own.expires_at());
    end(app, token, (&claims.aud, Some(format)), event).await
}

/// Whether the author may end this token: an administrator any, others those whose entries all are
/// of their principals.
fn may_end(author: &Author, token: &OwnToken) -> bool {
    let entries = &token.claims().authorization_details;
    author.is_admin
        || (!entries.is_empty()
            && entries
                .iter()
                .all(|entry| author.may_act_for(&entry.principal)))
}

async fn revoke_token_id(
    app: &App,
    token_id: &str,
    author: &Author,
) -> Result<Revocation, Rejected> {
    let issued = app.store.issued_token(token_id).await?;
    let issued = issued.ok_or(Rejected::NotFound)?;
    let resource = issued.resource.clone().unwrap_or_default();
    if !author.is_admin {
        let rules = app.rules();
        let is_own = |part: &AuditPart| {
            rules
                .principal_of_id(&part.principal_id)
                .is_some_and(|principal| author.may_act_for(&principal.name))
        };
        if !issued.parts.iter().any(is_own) {
            return Err(Rejected::NotFound);
        }
        if !issued.parts.iter().all(is_own) {
            return Err(Rejected::Forbidden);
        }
    }
    let detail: Value = serde_json::from_str(&issued.detail).unwrap_or_default();
    let expires_at = detail
        .get("expires_at")
        .and_then(Value::as_str)
        .and_then(Timestamp::parse_rfc3339)
        .ok_or_else(|| Rejected::Unavailable("the event has no expires_at".to_owned()))?;
    let event = AuditEvent {
        credential: issued.credential,
        principal: issued.principal,
        resource: issued.resource,
        client_id: issued.client_id,
        parts: issued.parts,
        ..event(app, author, "token_id", token_id)
    };
    end(app, (token_id, expires_at), (&resource, None), event).await
}

/// The registry of a token, if it may accept the token for longer because it verifies tokens by
/// itself. `format` is that of the token, where it is known.
async fn token_accepted_until(
    app: &App,
    resource: &str,
    format: Option<TokenFormat>,
    expires_at: Timestamp,
) -> Result<Option<AcceptedUntil>, Rejected> {
    let servers = app.store.all_objects::<ResourceServerDocument>().await?;
    let server = servers
        .into_iter()
        .find(|server| server.document.resource == resource);
    let may_be_jwt = match (format, &server) {
        (Some(format), _) => format == TokenFormat::Jwt,
        (None, Some(server)) => may_have_jwts(server, app.clock.now()),
        (None, None) => true,
    };
    Ok(may_be_jwt.then(|| AcceptedUntil {
        resource_server: server.map(|server| server.name),
        resource: resource.to_owned(),
        until: expires_at.to_string(),
    }))
}

/// Records one token as revoked. Tokens that were exchanged from it end with it.
async fn end(
    app: &App,
    (token_id, expires_at): (&str, Timestamp),
    (resource, format): (&str, Option<TokenFormat>),
    event: AuditEvent,
) -> Result<Revocation, Rejected> {
    let event = AuditEvent {
        token_id: Some(token_id.to_owned()),
        ..event
    };
    let is_over = expires_at <= app.clock.now();
    let had_ended = is_over || !app.store.revoke(token_id, expires_at, &event).await?;
    let accepted = if is_over || resource == app.config.own.admin_resource() {
        None
    } else {
        token_accepted_until(app, resource, format, expires_at).await?
    };
    Ok(Revocation {
        token_id: Some(token_id.to_owned()),
        had_ended,
        accepted_until: accepted.into_iter().collect(),
        ..Revocation::default()
    })
}

async fn revoke_rule(
    app: &App,
    rule: StoredCredential,
    author: &Author,
) -> Result<Revocation, Rejected> {
    let id = rule.id.parse().map_err(|_| Rejected::NotFound)?;
    let _turn = turn(app, author, &rule.document.principal)?;
    let reference = format!("{}:{}", rule.document.principal, rule.name);
    let event = AuditEvent {
        credential: Some(id),
        principal: Some(rule.document.principal.clone()),
        parts: parts(app, &rule.document.principal, Some(id)),
        ..event(app, author, "credential", &reference)
    };
    let not_ended = vec!["entries that the same tokens have from other rules".to_owned()];
    let ended = renew(app, RulesToRenew::One(id), author, &event).await?;
    Ok(Revocation { not_ended, ..ended })
}

async fn revoke_principal(
    app: &App,
    reference: &str,
    author: &Author,
) -> Result<Revocation, Rejected> {
    let stored = app.store.object::<PrincipalDocument>(reference).await?;
    // For an author limited to principals, other principals do not exist.
    let principal = stored
        .filter(|principal| author.may_act_for(&principal.name))
        .ok_or(Rejected::NotFound)?;
    let _turn = turn(app, author, &principal.name)?;
    let event = AuditEvent {
        principal: Some(principal.name.clone()),
        parts: parts(app, &principal.name, None),
        ..event(app, author, "principal", &principal.name)
    };
    let which = RulesToRenew::OfPrincipal {
        name: &principal.name,
        with_clients: author.is_admin,
    };
    let mut not_ended = vec![format!(
        "admin tokens with the scope admin:credentials:{} that a command line made: end each by its token_id",
        principal.name
    )];
    if !author.is_admin {
        not_ended.push(
            "tokens that clients have by their own permissions: this needs the scope admin"
                .to_owned(),
        );
    }
    let ended = renew(app, which, author, &event).await?;
    Ok(Revocation { not_ended, ..ended })
}

/// The turn of an owner to end tokens of this principal's rules. An administrator waits for nobody.
fn turn<'a>(
    app: &'a App,
    author: &Author,
    principal: &str,
) -> Result<Option<RevocationTurn<'a>>, Rejected> {
    let limited = author.principals.as_ref();
    let turn = limited.map(|_| app.limits.revocation_turn(principal));
    turn.transpose()
        .map_err(|refusal| Rejected::Limited(Box::new(refusal)))
}

/// Raises the revisions of the rules that `which` selects.
async fn renew(
    app: &App,
    which: RulesToRenew<'_>,
    author: &Author,
    event: &AuditEvent,
) -> Result<Revocation, Rejected> {
    let now = app.clock.now();
    let renewed = app.store.renew_rules(which, event, now).await?;
    if !author.is_local {
        app.limits.note_rules(&author.subject, renewed.changed);
    }
    refresh(app).await?;
    let federated_credentials_total = renewed.rules.len();
    let accepted_until = accepted_until(app, &renewed.reach, now).await?;
    Ok(Revocation {
        federated_credentials: renewed
            .rules
            .into_iter()
            .take(MOST_LISTED)
            .map(EndedRule::from)
            .collect(),
        federated_credentials_total,
        accepted_until,
        clients: renewed.clients,
        ..Revocation::default()
    })
}

/// The registries that may have got tokens within [`MAX_TOKEN_LIFETIME_SECONDS`], and may verify
/// them by themselves. A rule, a client or a registry that was changed within that time may have
/// had other permissions or another token format before, and tokens another lifetime.
async fn accepted_until(
    app: &App,
    reach: &Reach,
    now: Timestamp,
) -> Result<Vec<AcceptedUntil>, Rejected> {
    let since = now.plus_seconds(i64::from(MAX_TOKEN_LIFETIME_SECONDS).saturating_neg());
    let may_be_any = reach.changed_at.is_some_and(|at| at > since);
    let servers = app.store.all_objects::<ResourceServerDocument>().await?;
    let until = now.plus_seconds(MAX_TOKEN_LIFETIME_SECONDS.into());
    let accepting = servers.into_iter().filter(|server| {
        (may_be_any || reach.resource_servers.contains(&server.name)) && may_have_jwts(server, now)
    });
    Ok(accepting
        .map(|server| AcceptedUntil {
            resource_server: Some(server.name),
            resource: server.document.resource,
            until: until.to_string(),
        })
        .collect())
}

/// Whether JWTs for this registry may be in use.
fn may_have_jwts(server: &Stored<ResourceServerDocument>, now: Timestamp) -> bool {
    let since = now.plus_seconds(i64::from(MAX_TOKEN_LIFETIME_SECONDS).saturating_neg());
    server.document.token_format == TokenFormat::Jwt
        || (server.version > 1 && server.updated_at > since)
}

impl From<RenewedRule> for EndedRule {
    fn from(rule: RenewedRule) -> Self {
        Self {
            id: rule.id.to_string(),
            name: rule.name,
            principal: rule.principal,
            revision: rule.revision,
        }
    }
}

fn parts(
    app: &App,
    principal: &str,
    credential: Option<crate::ids::CredentialId>,
) -> Vec<AuditPart> {
    let rules = app.rules();
    let principal = rules.principal(&principal.to_ascii_lowercase());
    let part = principal.map(|principal| AuditPart {
        principal_id: principal.id.clone(),
        credential,
        revision: None,
        sees_claims: true,
    });
    part.into_iter().collect()
}

/// An event that says what was named. The `jti` of the admin token is in the detail: the event's
/// `token_id` is that of the revoked token.
fn event(app: &App, author: &Author, member: &str, value: &str) -> AuditEvent {
    let event = author.event(app.clock.now(), Outcome::Revoked);
    AuditEvent {
        detail: json!({
            "revoked_by": author.subject, "named": { member: value }, "admin_token_id": event.token_id,
        })
        .to_string(),
        token_id: None,
        client_id: None,
        ..event
    }
}
