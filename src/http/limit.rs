//! Bodies, read up to their limit and no further.

use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::app::App;
use crate::reason::Reason;
use crate::refusal::Refusal;

/// The largest body of a token request (decision D-33).
const MAX_BODY_BYTES: usize = 64 * 1024;

/// A request body, or why it could not be read. Which of the refusals comes first is prescribed, so reading does not answer.
#[derive(Debug)]
pub struct Body(Result<Bytes, Refusal>);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        let read = Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await;
        Ok(Self(match read {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Reason::BodyTooLarge.into()),
            Err(_) => Err(Reason::FormMalformed.into()),
        }))
    }
}

impl Body {
    /// The body, if its size and its sender are in order (decision D-01, step 1).
    pub fn admitted(self, app: &App, address: Option<IpAddr>) -> Result<Bytes, Refusal> {
        let body = self.0?;
        app.limits.admit(address)?;
        Ok(body)
    }
}
