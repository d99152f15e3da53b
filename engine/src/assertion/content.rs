//! What an assertion says, once somebody answers for it.

use std::sync::Arc;

use carnet_access::Confirmation;

use super::{AssertionContent, NumericDate, SingleUseKey};
use crate::clock::Timestamp;
use crate::grant_type::GrantType;
use crate::model::TrustedIssuer;
use crate::profile::Claims;
use crate::reason::Reason;
use crate::refusal::Refusal;

impl AssertionContent {
    /// SHA-256 of the token's text without its signature; `None` for an assumed assertion.
    pub fn digest(&self) -> Option<&[u8; 32]> {
        self.digest.as_ref()
    }

    /// The `jti`, as the platform assigned it.
    pub fn id(&self) -> Option<&str> {
        self.claims.get("jti")?.as_str()
    }

    /// Checks that the trusted issuer is configured for `grant`. `client_credentials` always
    /// passes: for client authentication, the rules that the client lists decide.
    pub fn check_grant(&self, grant: GrantType) -> Result<(), Refusal> {
        let taken = grant == GrantType::ClientCredentials || self.issuer.grants.contains(&grant);
        if taken {
            Ok(())
        } else {
            Err(Reason::GrantNotTaken.into())
        }
    }

    pub fn issuer(&self) -> &Arc<TrustedIssuer> {
        &self.issuer
    }

    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Until when the RPKI vouches for the keys that verified it; `None` if it need not.
    pub fn attested_until(&self) -> Option<Timestamp> {
        let attested = self.claims.attested()?;
        Some(attested.use_until)
    }

    /// When what rests on the assertion has to end, each with the reason of a refusal after it.
    pub fn ends(&self) -> impl Iterator<Item = (Timestamp, Reason)> {
        let expiry = Timestamp::from_seconds(self.expires_at().seconds());
        let capped = self.issuer.cap_at_assertion_expiry;
        let expiry = capped.then_some((expiry, Reason::Expired));
        let attested = self.attested_until();
        let attested = attested.map(|end| (end, Reason::AttestationExpired));
        expiry.into_iter().chain(attested)
    }

    /// The `sub`, as the platform wrote it.
    pub fn subject(&self) -> &str {
        &self.assessed.subject
    }

    pub fn expires_at(&self) -> NumericDate {
        self.assessed.expires_at
    }

    /// When the platform issued it; `None` if it does not say so.
    pub fn issued_at(&self) -> Option<NumericDate> {
        let claim = self.claims.members().get("iat")?;
        NumericDate::read(claim).ok()
    }

    /// The key to which the platform bound the assertion (RFC 7800 section 3). Whether the request
    /// proved possession of it is for the decision to check.
    pub fn confirmation(&self) -> Option<&Confirmation> {
        self.assessed.confirmation.as_ref()
    }

    /// The key under which the use is recorded; `None` if uses are not recorded, because the
    /// platform hands out the same token repeatedly.
    pub fn key(&self) -> Option<&SingleUseKey> {
        self.assessed.key.as_ref()
    }

    /// The time until which the use has to be remembered: `exp` plus leeway.
    pub fn remembered_until(&self) -> Timestamp {
        Timestamp::from_seconds(self.assessed.expires_at.seconds())
            .plus_seconds(self.issuer.leeway_seconds)
    }
}
