//! A form request as it came in, read up to its limit and no further.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::Uri;
use axum::http::header::{AUTHORIZATION, HeaderMap};
use http_body_util::{BodyExt as _, Collected, LengthLimitError, Limited};

use super::error::{Caller, SentClient};
use super::media::{check_media_type, check_query};
use crate::app::App;
use crate::client::{AuthorizationHeader, ClientCredentials};
use crate::form::{Parameters, TokenForm};
use crate::grant::{self, GrantRequest, TokenError};
use crate::ids::EventId;
use crate::reason::Reason;
use crate::refusal::Refusal;

/// The largest body of a token request (decision D-33).
const MAX_BODY_BYTES: usize = 64 * 1024;

/// A form request of which nothing is judged yet.
#[derive(Debug)]
pub struct FormRequest {
    /// Its id, and where it comes from: the layer around the endpoint says so.
    pub caller: Caller,
    /// Its header fields.
    pub headers: HeaderMap,
    uri: Uri,
    body: Bytes,
}

/// Reads a body up to the limit of it.
pub async fn read_whole(body: Body) -> Result<Bytes, Refusal> {
    let read = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|error| {
        let too_large = error.is::<LengthLimitError>();
        Refusal::from(if too_large { Reason::BodyTooLarge } else { Reason::FormMalformed })
    });
    read.map(Collected::to_bytes)
}

impl FromRequest<Arc<App>> for FormRequest {
    type Rejection = TokenError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, TokenError> {
        let (parts, body) = request.into_parts();
        let caller = parts.extensions.get::<Caller>().cloned();
        let caller = caller.unwrap_or_else(|| Caller {
            id: EventId::new(app.clock.now()),
            address: None,
            client: SentClient::default(),
        });
        let body = read_whole(body).await?;
        Ok(Self { caller, uri: parts.uri, headers: parts.headers, body })
    }
}

impl FormRequest {
    /// The form, if it came as a form has to come (decision D-01, step 2).
    pub fn form(&self, parameters: &Parameters) -> Result<TokenForm<'_>, Refusal> {
        check_media_type(&self.headers)?;
        check_query(&self.uri, parameters)?;
        let form = TokenForm::parse(&self.body, parameters)?;
        let sent = ClientCredentials::read(&form, self.authorization()).ok();
        if let Some(client_id) = sent.as_ref().and_then(ClientCredentials::client_id).or(form.get("client_id")) {
            self.caller.client.note(client_id);
        }
        Ok(form)
    }

    /// The form of a token request.
    pub fn token_form(&self) -> Result<TokenForm<'_>, Refusal> {
        self.form(&grant::PARAMETERS)
    }

    /// What the form of a token request asks for.
    pub fn grant_request<'a>(&self, app: &App, form: &'a TokenForm<'_>) -> Result<GrantRequest<'a>, TokenError> {
        let Caller { id, address, .. } = self.caller;
        GrantRequest::read(form, self.authorization(), &app.config.own, (id, address))
    }

    /// The `Authorization` header.
    pub fn authorization(&self) -> AuthorizationHeader<'_> {
        let mut values = self.headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => AuthorizationHeader::Absent,
            (Some(value), None) => value.to_str().map_or(AuthorizationHeader::Unreadable, AuthorizationHeader::Value),
            (Some(_), Some(_)) => AuthorizationHeader::Unreadable,
        }
    }
}
