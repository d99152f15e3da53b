//! A request of the token endpoint as it came in, read up to its limit and no further.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts as _, Request};
use axum::http::{HeaderMap, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::address::ClientAddress;
use crate::app::App;
use crate::form::{Parameters, TokenForm};
use crate::grant::GrantRequest;
use crate::grant_type::GrantType;
use crate::ids::EventId;
use crate::reason::Reason;
use crate::refusal::Refusal;

/// The largest body of a token request (decision D-33).
const MAX_BODY_BYTES: usize = 64 * 1024;

/// A request of which nothing is judged yet.
#[derive(Debug)]
pub struct Received {
    /// Its id: its audit event's, and the `error_id` of a refusal.
    pub id: EventId,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// Its header fields.
    pub headers: HeaderMap,
    uri: Uri,
    // Which of the refusals comes first is prescribed, so reading does not answer.
    body: Result<Bytes, Refusal>,
}

impl FromRequest<Arc<App>> for Received {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Self::Rejection> {
        let id = EventId::new(app.clock.now());
        let (mut parts, body) = request.into_parts();
        let ClientAddress(address) = ClientAddress::from_request_parts(&mut parts, app).await?;
        let body = match Limited::new(body, MAX_BODY_BYTES).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Reason::BodyTooLarge.into()),
            Err(_) => Err(Reason::FormMalformed.into()),
        };
        Ok(Self { id, address, uri: parts.uri, headers: parts.headers, body })
    }
}

impl Received {
    /// The form, if the request's size, its sender and its shape are in order (decision D-01, steps 1 and 2).
    pub fn form(&self, app: &App, parameters: &'static Parameters) -> Result<TokenForm<'_>, Refusal> {
        let body = self.body.as_ref().map_err(Clone::clone)?;
        app.limits.admit(self.address)?;
        TokenForm::read(&self.uri, &self.headers, body, parameters)
    }

    /// What the form of a token request asks for.
    pub async fn grant_request<'a>(
        &self,
        app: &App,
        form: &'a TokenForm<'_>,
        grant: &mut Option<GrantType>,
    ) -> Result<GrantRequest<'a>, Refusal> {
        GrantRequest::read(app, form, &self.headers, (self.id, self.address), grant).await
    }
}
