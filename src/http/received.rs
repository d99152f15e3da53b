//! Reads a form request: its header fields, and its body up to a limit.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::Uri;
use axum::http::header::{AUTHORIZATION, HeaderMap};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use carnet_dpop::{RequestUri, SentProof};

use super::error::Caller;
use super::media::{check_media_type, check_query};
use super::sent::Sent;
use crate::app::App;
use crate::client::{AuthorizationHeader, ClientCredentials};

use crate::form::{Parameters, TokenForm};
use crate::grant::{self, GrantRequest, RequestProof, TokenError};
use crate::grant_type::GrantType;
use crate::ids::EventId;
use crate::people;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::tls::ClientCertificate;

/// The largest body of a form request (decision D-33).
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// A form request of which neither form nor client has been checked.
#[derive(Debug)]
pub struct FormRequest {
    /// Set by the layer around the endpoint.
    pub caller: Caller,
    pub headers: HeaderMap,
    /// The client certificate of the connection.
    pub certificate: Option<Arc<ClientCertificate>>,
    uri: Uri,
    body: Bytes,
}

/// How much of a body that is too large is read and dropped before the refusal is sent. A proxy that
/// is still writing when the connection closes reports a bad gateway instead of passing the refusal
/// on.
const MAX_DROPPED_BYTES: usize = 1024 * 1024;

/// Reads a body. One of more bytes than `most` is refused as `body_too_large`.
pub async fn read_whole(mut body: Body, most: usize) -> Result<Bytes, Refusal> {
    let read = Limited::new(&mut body, most).collect().await;
    match read {
        Ok(read) => Ok(read.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            // The refusal is the same whether the end of the body is reached or not.
            let mut dropped = Limited::new(body, MAX_DROPPED_BYTES);
            while dropped.frame().await.is_some_and(|frame| frame.is_ok()) {}
            Err(Reason::BodyTooLarge.into())
        }
        Err(_) => Err(Reason::FormMalformed.into()),
    }
}

impl FromRequest<Arc<App>> for FormRequest {
    type Rejection = TokenError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, TokenError> {
        let (mut parts, body) = request.into_parts();
        let caller = parts.extensions.get::<Caller>().cloned();
        let caller = caller.unwrap_or_else(|| Caller {
            id: EventId::new(app.clock.now()),
            address: None,
            sent: Sent::default(),
        });
        let body = read_whole(body, MAX_BODY_BYTES).await?;
        Ok(Self {
            caller,
            certificate: parts.extensions.remove(),
            uri: parts.uri,
            headers: parts.headers,
            body,
        })
    }
}

impl FormRequest {
    /// Checks media type and query, parses the body (decision D-01, step 2), and notes the client
    /// for the log.
    pub fn form(&self, parameters: &Parameters) -> Result<TokenForm<'_>, Refusal> {
        check_media_type(&self.headers)?;
        check_query(&self.uri, parameters)?;
        let form = TokenForm::parse(&self.body, parameters)?;
        let sent = ClientCredentials::read(&form, self.authorization()).ok();
        if let Some(client_id) = sent
            .as_ref()
            .and_then(ClientCredentials::client_id)
            .or(form.get("client_id"))
        {
            self.caller.sent.note_client(client_id);
        }
        Ok(form)
    }

    pub fn token_form(&self) -> Result<TokenForm<'_>, Refusal> {
        self.form(&grant::PARAMETERS)
    }

    /// Reads the form as a request for one of the grants.
    pub fn grant_request<'a>(
        &'a self,
        app: &App,
        form: &'a TokenForm<'_>,
    ) -> Result<GrantRequest<'a>, TokenError> {
        let own = &app.config.own;
        let header = SentProof::of(&self.headers);
        let uris = match header {
            SentProof::None => Vec::new(),
            _ => own
                .on_origins(&format!("{}/token", own.path()))
                .filter_map(|uri| RequestUri::parse(&uri))
                .collect(),
        };
        self.read(app, form, RequestProof::Sent { header, uris })
    }

    /// Reads the form as a question about such a request: its proof is declared in the form.
    pub fn question<'a>(
        &'a self,
        app: &App,
        form: &'a TokenForm<'_>,
    ) -> Result<GrantRequest<'a>, TokenError> {
        let proof = RequestProof::Declared(grant::declared(form)?);
        self.read(app, form, proof)
    }

    fn read<'a>(
        &'a self,
        app: &App,
        form: &'a TokenForm<'_>,
        proof: RequestProof<'a>,
    ) -> Result<GrantRequest<'a>, TokenError> {
        let Caller { id, address, .. } = self.caller;
        let (own, caller) = (&app.config.own, (id, address));
        let read = GrantRequest::read(form, self.authorization(), own, proof, caller);
        // As the metadata say.
        let needs_people = |request: &GrantRequest<'_>| {
            request.grant_type() == GrantType::AuthorizationCode && !people::can_sign_in(app)
        };
        if read.as_ref().is_ok_and(needs_people) {
            let refusal = Refusal::parameter(Reason::GrantTypeUnsupported, "grant_type");
            return Err(refusal.into());
        }
        read.map(|request| request.over_tls_of(self.certificate.as_deref()))
    }

    /// Several `Authorization` headers count as unreadable.
    pub fn authorization(&self) -> AuthorizationHeader<'_> {
        let mut values = self.headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => AuthorizationHeader::Absent,
            (Some(value), None) => value
                .to_str()
                .map_or(AuthorizationHeader::Unreadable, AuthorizationHeader::Value),
            (Some(_), Some(_)) => AuthorizationHeader::Unreadable,
        }
    }
}
