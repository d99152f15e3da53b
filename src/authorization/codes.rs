//! Authorization codes (RFC 6749 section 4.1.2) in the database, as oxide-auth asks for them: 256
//! random bits, of which the hash is kept, for 60 seconds.

use carnet_engine::code_grant::{OpenIdScope, PersonRequest, PersonTarget};
use carnet_jose::{base64url, sha256};
use oxide_auth::code_grant::extensions::Pkce;
use oxide_auth::primitives::grant::{Extensions, Grant, GrantExtension, Value};
use oxide_auth_async::primitives::Authorizer;
use serde::{Deserialize, Serialize};

use super::answer::RedirectTo;
use super::{AuthorizationRequest, Of, Question};
use crate::app::App;
use crate::audit::{AuditEvent, Outcome};
use crate::ids::{self, CodeId, SessionId};
use crate::people::session::Session;
use crate::principal::{AccessRequest, DetailRequest};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::ScopeSet;
use crate::store::StoredCode;

/// How long a code may be redeemed, in seconds. RFC 6749 section 4.1.2 allows ten minutes.
pub(super) const CODE_SECONDS: i64 = 60;
/// Characters of a code: 256 bits in base64url.
pub(super) const CODE_CHARACTERS: usize = 43;

/// What was asked for and chosen, as it is kept with the code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    target: String,
    openid: Option<String>,
    scope: Option<String>,
    resources: Vec<String>,
    details: Option<Vec<DetailRequest>>,
    principal: Option<String>,
    pub nonce: Option<String>,
    pub dpop_jkt: Option<String>,
    pub token_lifetime_seconds: i64,
}

impl Kept {
    fn of(request: &AuthorizationRequest, question: &Question, principal: Option<&str>) -> Self {
        let PersonRequest {
            target,
            openid,
            access,
        } = &request.asked;
        // The scope at the admin API is what the person saw, also where the client named none.
        let scope = question.admin_scope().or(access.scope.as_ref());
        // The registry is the one that the person saw, also where the client named none or an alias.
        let resources = match &question.of {
            Of::Registry { server, .. } => vec![server.resource.clone()],
            Of::Admin(_) | Of::Userinfo => access.resources.clone(),
        };
        Self {
            target: word_of(*target).to_owned(),
            openid: openid.and(None).map(|scope| scope.to_string()),
            scope: scope.map(ToString::to_string),
            resources,
            details: access.details.clone(),
            principal: principal.map(str::to_owned),
            nonce: request.nonce.clone(),
            dpop_jkt: request.dpop_jkt.clone(),
            token_lifetime_seconds: question.token_lifetime_seconds,
        }
    }

    pub(super) fn request(&self) -> Option<PersonRequest> {
        let targets = [
            PersonTarget::Registry,
            PersonTarget::Admin,
            PersonTarget::Userinfo,
        ];
        let target = targets
            .into_iter()
            .find(|target| word_of(*target) == self.target)?;
        let read = |scope: &Option<String>| match scope {
            None => Some(None),
            Some(scope) => ScopeSet::parse(scope).ok().map(Some),
        };
        let openid = read(&self.openid)?.map(|scope| OpenIdScope::split(&scope).0);
        Some(PersonRequest {
            target,
            openid: openid.unwrap_or_default(),
            access: AccessRequest {
                resources: self.resources.clone(),
                audiences: Vec::new(),
                principal: self.principal.clone(),
                front_door: None,
                scope: read(&self.scope)?,
                details: self.details.clone(),
            },
        })
    }
}

fn word_of(target: PersonTarget) -> &'static str {
    match target {
        PersonTarget::Registry => "registry",
        PersonTarget::Admin => "admin",
        PersonTarget::Userinfo => "userinfo",
    }
}

/// What was asked for, as a private extension of oxide-auth's grant.
struct Asked;

impl GrantExtension for Asked {
    fn identifier(&self) -> &'static str {
        "asked"
    }
}

/// Where the answer goes, likewise: oxide-auth keeps redirect URIs parsed, and the text counts.
struct SentTo;

impl GrantExtension for SentTo {
    fn identifier(&self) -> &'static str {
        "redirect_uri"
    }
}

/// The codes of one session, as oxide-auth asks for them.
struct Codes<'a> {
    app: &'a App,
    request: &'a AuthorizationRequest,
    lineage: SessionId,
    event: Option<&'a AuditEvent>,
    remembered: Option<[u8; 32]>,
    failure: Option<Refusal>,
}

#[async_trait::async_trait]
impl Authorizer for Codes<'_> {
    async fn authorize(&mut self, mut grant: Grant) -> Result<String, ()> {
        let now = self.app.clock.now();
        let mut private = |extension: &(dyn GrantExtension + Send + Sync)| {
            let value = grant
                .extensions
                .remove(extension)
                .map(Value::into_private_value);
            value.and_then(Result::ok).flatten().ok_or(())
        };
        let code = base64url(ids::random::<32>());
        let stored = StoredCode {
            id: CodeId::new(now),
            session: self.lineage,
            client_id: grant.client_id.clone(),
            client: self.request.client.id,
            redirect_uri: private(&SentTo)?,
            redirect_uri_sent: self.request.redirect_uri_sent,
            challenge: private(&Pkce::required())?,
            request: private(&Asked)?,
            created_at: now,
            expires_at: now.plus_seconds(CODE_SECONDS),
        };
        let hash = sha256(code.as_bytes());
        let also = (self.event, self.remembered);
        match self.app.store.write_code(hash, &stored, also).await {
            Ok(()) => Ok(code),
            Err(error) => {
                self.failure = Some(error.into());
                Err(())
            }
        }
    }

    /// Codes are redeemed at the token endpoint, where no session is known.
    async fn extract(&mut self, _: &str) -> Result<Option<Grant>, ()> {
        Ok(None)
    }
}

/// Issues a code to the client. `was_asked` says whether the person saw a page: only then there is
/// something to record and to remember.
pub async fn issue(
    app: &App,
    session: &Session,
    (request, question): (&AuthorizationRequest, &Question),
    (principal, was_asked): (Option<&str>, bool),
    address: Option<std::net::IpAddr>,
) -> Result<RedirectTo, Refusal> {
    let internal = || Refusal::new(Reason::Internal).with_detail("the code cannot be made");
    // Each writes a row, and an event where the person was asked: as many as other changes.
    app.limits.take_write(&session.person.id.to_string())?;
    let kept = Kept::of(request, question, principal);
    let kept_text = serde_json::to_string(&kept).map_err(|_| internal())?;
    let mut extensions = Extensions::new();
    extensions.set(&Asked, Value::private(Some(kept_text)));
    let to = request.answer.redirect_uri.clone();
    extensions.set(&SentTo, Value::private(Some(to.clone())));
    let challenge = Value::private(Some(request.challenge.clone()));
    extensions.set(&Pkce::required(), challenge);
    let grant = Grant {
        owner_id: session.person.id.to_string(),
        client_id: request.client.client_id.clone(),
        scope: "".parse().map_err(|_| internal())?,
        redirect_uri: to.parse().map_err(|_| internal())?,
        // By the clock of the machine, as oxide-auth compares it; ours decides before.
        until: chrono::DateTime::<chrono::Utc>::MAX_UTC,
        extensions,
    };
    let event = was_asked.then(|| consented(app, session, request, &kept, address));
    let remembered = was_asked.then(|| question.remembered(request, principal));
    let mut codes = Codes {
        app,
        request,
        lineage: session.lineage,
        event: event.as_ref(),
        remembered: remembered.flatten(),
        failure: None,
    };
    let code = codes.authorize(grant).await;
    let code = code.map_err(|()| codes.failure.unwrap_or_else(internal))?;
    metrics::counter!("carnet_authorization_codes_total").increment(1);
    Ok(request.answer.with_code(&app.config.own, &code))
}

/// The event of a person who agreed.
fn consented(
    app: &App,
    session: &Session,
    request: &AuthorizationRequest,
    kept: &Kept,
    address: Option<std::net::IpAddr>,
) -> AuditEvent {
    let client = &request.client;
    let detail = serde_json::json!({
        "session": session.lineage, "scope": kept.scope, "openid": kept.openid,
        "authorization_details": kept.details, "redirect_to": request.answer.shown_host(),
    });
    AuditEvent {
        address,
        person: Some(session.person.id),
        client_id: Some(client.client_id.clone()),
        principal: kept.principal.clone(),
        resource: kept.resources.first().cloned(),
        subject: Some(session.person.sub.clone()),
        detail: detail.to_string(),
        ..AuditEvent::new(app.clock.now(), Outcome::Consented)
    }
}
