//! The grants of the token endpoint, a file each, and the road that assertions take through all of them.

mod actor;
mod client_credentials;
mod explained;
mod record;
mod redeem;
mod request;
mod token_exchange;

pub use crate::grant_type::GrantType;
pub use explained::{Would, decide, decide_on_assertion};
pub use redeem::{is_client_spent, is_unused, verify, verify_assertion};
pub use request::{ACCESS_TOKEN, GrantRequest, Presented, read_details};

use std::sync::Arc;

use crate::app::App;
use crate::clock::Timestamp;
use crate::model::Snapshot;
use crate::refusal::Refusal;
use crate::token::Minted;

/// What a request is decided by: the rules, and the time. Both are looked at once, so that all parts of a decision agree.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The rules.
    pub rules: Arc<Snapshot>,
    /// The time.
    pub now: Timestamp,
}

impl Moment {
    /// The present rules and time.
    pub fn present(app: &App) -> Self {
        Self { rules: app.rules(), now: app.clock.now() }
    }
}

/// Makes and records the token that a request asks for. Nothing is used up unless a token comes out.
pub async fn grant(app: &App, request: &GrantRequest<'_>) -> Result<Minted, Refusal> {
    match &request.presented {
        Presented::Assertion(text) => redeem::redeem(app, request, text).await,
        Presented::AccessToken(text) => token_exchange::exchange(app, request, text).await,
        Presented::Client => client_credentials::grant(app, request).await,
        Presented::ClientForAdmin => client_credentials::grant_admin(app, request).await,
    }
}
