//! People: signing in at an OpenID provider.
//!
//! [`begin()`] sends a browser to the provider, [`finish()`] judges its callback, and [`end_session_url`]
//! ends the session there. They write nothing: an attempt is a cookie, and what a provider answered
//! for is a [`SignedIn`], of which memberships make a session. The crate openidconnect builds the
//! requests, exchanges codes and verifies ID tokens; its requests go through [`crate::upstream`], and
//! its signatures are checked by `carnet-jose`.

mod attempt;
mod begin;
mod callback;
mod cookie;
pub mod csrf;
mod finish;
mod id_token;
mod logout;
mod presence;
mod provider_key;
mod refusal;
mod relying_party;
mod return_to;
pub mod session;
mod unverified_id_token;
mod userinfo;

pub(crate) use attempt::Secrets;
pub use attempt::{ATTEMPT_SECONDS, AttemptCookie};
pub use begin::{Begun, Purpose, begin};
pub(crate) use callback::Callback;
pub use finish::{SignedIn, finish};
pub use logout::end_session_url;
pub use refusal::{SignInRefusal, is_hidden};
pub use relying_party::redirect_uri;
pub use return_to::ReturnTo;
pub(crate) use unverified_id_token::{Expected, UnverifiedIdToken};

use crate::app::App;

/// Whether people can sign in at all: there is an identity provider, and there are pages.
pub fn can_sign_in(app: &App) -> bool {
    let rules = app.rules();
    app.config.console.enabled && rules.identity_providers().any(|provider| provider.enabled)
}
