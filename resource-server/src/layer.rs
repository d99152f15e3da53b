//! A tower layer that lets only requests with a valid access token through.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use carnet_dpop::offer_nonce;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::{Realm, Sent, Verified, Verifier};

/// A tower layer that verifies the access token of each request. It puts the
/// [`AccessToken`](crate::AccessToken) into the request's extensions, and answers requests without
/// a valid token itself ([`Realm::reject`]). To the responses of the inner service it adds the nonce
/// for the client's next proof, where there is a new one ([`Verified::add_nonce`]).
///
/// Proofs of possession are compared with the path of the request as the layer sees it. Where a
/// router around it removes a prefix, such as axum's `nest`, [`Proofs::reached_at`] says so.
///
/// [`Proofs::reached_at`]: crate::Proofs::reached_at
///
/// The layer authenticates; it does not authorize. The handler, which knows package and owner, has
/// to call [`allows`](crate::allows). The layer does not read bodies, so it does not notice a
/// second token in a form ([`Sent::with_form`] does).
#[derive(Clone, Debug)]
pub struct RequireToken {
    verifier: Arc<Verifier>,
    realm: Realm,
}

/// The service that [`RequireToken`] wraps around another one.
#[derive(Clone, Debug)]
pub struct TokenRequired<S> {
    inner: S,
    layer: RequireToken,
}

impl RequireToken {
    /// Requires tokens that `verifier` accepts, and sends challenges for `realm`; also for proofs of
    /// possession if the verifier takes them.
    pub fn new(verifier: impl Into<Arc<Verifier>>, realm: Realm) -> Self {
        let verifier = verifier.into();
        let realm = if verifier.takes_proofs() {
            realm.taking_proofs()
        } else {
            realm
        };
        Self { verifier, realm }
    }
}

impl<S> Layer<S> for RequireToken {
    type Service = TokenRequired<S>;

    fn layer(&self, inner: S) -> TokenRequired<S> {
        TokenRequired {
            inner,
            layer: self.clone(),
        }
    }
}

impl<S, I, O> Service<Request<I>> for TokenRequired<S>
where
    S: Service<Request<I>, Response = Response<O>> + Clone + Send + 'static,
    S::Future: Send,
    I: Send + 'static,
    O: From<String>,
{
    type Response = Response<O>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<O>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<I>) -> Self::Future {
        // `self.inner` was polled ready and has to take this call; a clone of it need not be ready.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let RequireToken { verifier, realm } = self.layer.clone();
        Box::pin(async move {
            // The body of a request need not be shareable between threads, and is set aside.
            let (mut parts, body) = request.into_parts();
            match verifier.verify_request(Sent::from(&parts)).await {
                Ok(Verified { token, nonce }) => {
                    parts.extensions.insert(token);
                    let mut response = inner.call(Request::from_parts(parts, body)).await?;
                    if let Some(nonce) = nonce {
                        offer_nonce(response.headers_mut(), &nonce);
                    }
                    Ok(response)
                }
                Err(rejection) => Ok(realm.reject(rejection)),
            }
        })
    }
}
