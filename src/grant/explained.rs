//! The decision on a request without its consequences, for explanations.

use std::sync::Arc;

use super::{GrantRequest, Moment, Presented, client_credentials, redeem, token_exchange};
use crate::app::App;
use crate::assertion::VerifiedAssertion;
use crate::client::negotiate;
use crate::principal::{Authorization, Entitlement, authorize_client};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::ScopeSet;
use crate::trust::Denial;

/// What would be granted to a request that rests on no assertion.
pub enum Would {
    /// A token for a registry.
    Grant(Box<Entitlement>),
    /// A token for our own admin API.
    GrantAdmin(String, ScopeSet),
}

/// Decides on an assertion as the grant would, whatever the limits.
pub async fn decide_on_assertion(
    app: &App,
    request: &GrantRequest<'_>,
    assertion: &Arc<VerifiedAssertion>,
    moment: &Moment,
) -> Result<Authorization, Box<Denial>> {
    redeem::decide(app, request, assertion, moment, |_| Ok(())).await.map(|decision| decision.authorization)
}

/// Decides on anything else.
pub async fn decide(app: &App, request: &GrantRequest<'_>) -> Result<Would, Refusal> {
    let moment = Moment::present(app);
    match request.presented() {
        Presented::AccessToken(text) => {
            let token = token_exchange::live(app, text, &moment).await?;
            let decision = token_exchange::decide(app, request, &token, &moment, |_| Ok(())).await?;
            Ok(Would::Grant(Box::new(decision.authorization.entitlement().clone())))
        }
        Presented::Client => {
            let client = client_credentials::client(app, request)?;
            let authorization = authorize_client(&client, &moment.rules, request.access())?;
            Ok(Would::Grant(Box::new(authorization.entitlement().clone())))
        }
        Presented::ClientForAdmin => {
            let client = client_credentials::client(app, request)?;
            let scope = negotiate(&client, request.access().scope.as_ref(), &moment.rules, moment.now).await?;
            Ok(Would::GrantAdmin(client.client_id.clone(), scope))
        }
        Presented::Assertion(_) => Err(Reason::Internal.into()),
    }
}
