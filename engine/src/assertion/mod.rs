//! The platform's JWT, from text to a [`VerifiedAssertion`] (RFC 7521 section 4.1, RFC 7523 section 3).
//!
//! Parsing trusts nothing, verification trusts the keys of the one issuer it is for, the claim checks are a pure function of
//! claims, issuer and time. Only this module makes a [`VerifiedAssertion`].

mod claims;
mod numeric_date;
mod replay;
mod workload;

use std::ops::Deref;
use std::sync::Arc;

use carnet_jose::{Algorithm, Compact, Header, Malformed, base64url, json::JsonError, sha256};
use serde_json::Value;

use claims::{Assessed, assess};
pub use numeric_date::NumericDate;
pub use replay::AssertionKey;
pub use workload::Workload;

use crate::clock::Timestamp;
use crate::grant_type::GrantType;
use crate::model::{Snapshot, TrustedIssuer};
use crate::profile::{Claims, trust_domain_of};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// An assertion that was taken apart and is not believed.
#[derive(Debug)]
pub struct UnverifiedAssertion<'a> {
    jws: Compact<'a>,
    claims: Claims,
}

/// What an assertion says, as far as it was looked at: its trusted issuer, its claims, and what was found of them.
#[derive(Debug)]
pub struct AssertionContent {
    issuer: Arc<TrustedIssuer>,
    claims: Claims,
    assessed: Assessed,
    /// SHA-256 of its text without the signature, where there is one.
    digest: Option<[u8; 32]>,
}

/// An assertion of which everything is right but, as far as is known, its signature.
#[derive(Debug)]
pub struct AssessedAssertion<'a> {
    jws: Compact<'a>,
    content: (Arc<TrustedIssuer>, Claims, Assessed),
}

/// An assertion whose signature, issuer, audience and times are right, and whose claims are those its profile asks for.
#[derive(Debug)]
pub struct VerifiedAssertion(AssertionContent);

/// A verified assertion that its trusted issuer lets be used in this grant. Only [`VerifiedAssertion::accept`] makes one, and
/// only of one a token can be minted.
#[derive(Clone, Debug)]
pub struct AcceptedAssertion(Arc<VerifiedAssertion>);

/// An assertion taken as if it were signed, for explanations and case files. No token can be minted of it.
#[derive(Clone, Debug)]
pub struct AssumedAssertion(Arc<AssertionContent>);

/// What rules can be held against: an assertion that was accepted, or one that is assumed.
pub trait Assertion: Clone + std::fmt::Debug {
    /// What it says.
    fn content(&self) -> &AssertionContent;
}

impl Assertion for AcceptedAssertion {
    fn content(&self) -> &AssertionContent {
        &self.0.0
    }
}

impl Assertion for AssumedAssertion {
    fn content(&self) -> &AssertionContent {
        &self.0
    }
}

impl AcceptedAssertion {
    /// The assertion itself.
    pub fn verified(&self) -> &Arc<VerifiedAssertion> {
        &self.0
    }
}

impl AssumedAssertion {
    /// Claims of an assertion of `issuer`, as if it had signed them.
    pub fn of_claims(issuer: Arc<TrustedIssuer>, claims: Claims, now: Timestamp) -> Result<Self, Refusal> {
        let assessed = assess(&issuer, &claims, None, now)?;
        Ok(Self(Arc::new(AssertionContent { issuer, claims, assessed, digest: None })))
    }
}

impl Deref for VerifiedAssertion {
    type Target = AssertionContent;

    fn deref(&self) -> &AssertionContent {
        &self.0
    }
}

impl<'a> UnverifiedAssertion<'a> {
    /// Takes the text apart.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        let jws = Compact::parse(text).map_err(|malformed| {
            // No part of a token has any, so it is looked for where something is wrong.
            let has_whitespace = text.contains(|character: char| character.is_ascii_whitespace());
            if has_whitespace { Reason::AssertionWhitespace.into() } else { refuse_form(malformed) }
        })?;
        let claims = Claims::new(jws.claims().map_err(refuse_form)?);
        Ok(Self { jws, claims })
    }

    /// Its claims, which nobody vouches for yet.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The trusted issuer that the assertion says it is from.
    pub fn issuer(&self, snapshot: &Snapshot) -> Result<Arc<TrustedIssuer>, Refusal> {
        issuer_of(&self.claims, snapshot)
    }

    /// The algorithm that its header names, if its header is one of this issuer's (RFC 8725 section 3.1).
    pub fn algorithm(&self, issuer: &TrustedIssuer) -> Result<Algorithm, Refusal> {
        check_header(issuer, &self.jws.header)
    }

    /// The key that its header names.
    pub fn key_id(&self) -> Option<&str> {
        self.jws.header.key_id.as_deref()
    }

    /// Takes it as an assertion of `issuer` if one of that issuer's keys made the signature: `verifies` is asked with what the
    /// signature covers, and the signature.
    pub fn signed(
        self,
        issuer: Arc<TrustedIssuer>,
        now: Timestamp,
        verifies: impl FnOnce(&[u8], &[u8]) -> bool,
    ) -> Result<VerifiedAssertion, Refusal> {
        if !verifies(self.jws.signing_input.as_bytes(), &self.jws.signature) {
            return Err(Reason::SignatureInvalid.into());
        }
        Ok(self.assessed(issuer, now)?.into_verified())
    }

    /// Judges of it what can be judged without its platform, for issuers whose platform says itself whether a token is good.
    pub fn assessed(self, issuer: Arc<TrustedIssuer>, now: Timestamp) -> Result<AssessedAssertion<'a>, Refusal> {
        let assessed = assess(&issuer, &self.claims, Some(self.jws.signing_input), now)?;
        Ok(AssessedAssertion { jws: self.jws, content: (issuer, self.claims, assessed) })
    }

    /// Takes it as if one of the keys `kids` had signed it; where these are not given, any key would do.
    pub fn assume(
        self,
        issuer: Arc<TrustedIssuer>,
        kids: Option<&[String]>,
        now: Timestamp,
    ) -> Result<AssumedAssertion, Refusal> {
        check_header(&issuer, &self.jws.header)?;
        if let (Some(kids), Some(kid)) = (kids, &self.jws.header.key_id)
            && !kids.contains(kid)
        {
            return Err(Reason::KeyUnknown.into());
        }
        let assessed = assess(&issuer, &self.claims, Some(self.jws.signing_input), now)?;
        Ok(AssumedAssertion(Arc::new(AssertionContent { issuer, claims: self.claims, assessed, digest: None })))
    }
}

impl AssessedAssertion<'_> {
    /// The token's text. A token has one spelling, so this is the text that came.
    pub fn text(&self) -> String {
        format!("{}.{}", self.jws.signing_input, base64url(&self.jws.signature))
    }

    /// Its subject.
    pub fn subject(&self) -> &str {
        &self.content.2.subject
    }

    /// Its audience that is one of ours.
    pub fn audience(&self) -> &str {
        let (issuer, claims, _) = &self.content;
        let audiences = claims::audiences(claims).unwrap_or_default();
        audiences.into_iter().find(|audience| issuer.audiences.iter().any(|ours| ours == audience)).unwrap_or_default()
    }

    /// The assertion, if its platform said that it is good.
    pub fn reviewed(self, verdict: Result<(), Refusal>) -> Result<VerifiedAssertion, Refusal> {
        verdict.map(|()| self.into_verified())
    }

    fn into_verified(self) -> VerifiedAssertion {
        let (issuer, claims, assessed) = self.content;
        let digest = Some(sha256(self.jws.signing_input.as_bytes()));
        VerifiedAssertion(AssertionContent { issuer, claims, assessed, digest })
    }
}

impl VerifiedAssertion {
    /// Accepts it for a grant that its trusted issuer is set up for.
    pub fn accept(self: &Arc<Self>, grant: GrantType) -> Result<AcceptedAssertion, Refusal> {
        self.check_grant(grant)?;
        Ok(AcceptedAssertion(self.clone()))
    }
}

impl AssertionContent {
    /// SHA-256 of its text without the signature; claims alone have none.
    pub fn digest(&self) -> Option<&[u8; 32]> {
        self.digest.as_ref()
    }

    /// Its own id, as its issuer gave it.
    pub fn id(&self) -> Option<&str> {
        self.claims.get("jti")?.as_str()
    }

    /// Whether its trusted issuer is set up for this grant. As a client's proof of itself every assertion counts that a rule of
    /// the client admits.
    pub fn check_grant(&self, grant: GrantType) -> Result<(), Refusal> {
        let taken = grant == GrantType::ClientCredentials || self.issuer.grants.contains(&grant);
        if taken { Ok(()) } else { Err(Reason::GrantNotTaken.into()) }
    }

    /// The trusted issuer it is from.
    pub fn issuer(&self) -> &Arc<TrustedIssuer> {
        &self.issuer
    }

    /// Its claims.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Its subject, as the platform wrote it.
    pub fn subject(&self) -> &str {
        &self.assessed.subject
    }

    /// When it ends.
    pub fn expires_at(&self) -> NumericDate {
        self.assessed.expires_at
    }

    /// The key under which its use is recorded; none where the platform hands one token out again and again.
    pub fn key(&self) -> Option<&AssertionKey> {
        self.assessed.key.as_ref()
    }

    /// How long its use has to be remembered.
    pub fn remembered_until(&self) -> Timestamp {
        Timestamp::from_seconds(self.assessed.expires_at.seconds()).plus_seconds(self.issuer.leeway_seconds)
    }
}

/// The trusted issuer that claims say they are from. Several may share an `iss`; then the audience tells them apart
/// (decision D-37). A SPIFFE id is its trust domain's word and nobody else's, whatever `iss` says (decision D-36).
fn issuer_of(claims: &Claims, snapshot: &Snapshot) -> Result<Arc<TrustedIssuer>, Refusal> {
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    if let Some(domain) = trust_domain_of(subject) {
        let mut of_domain = snapshot.issuers_of_trust_domain(domain).peekable();
        if of_domain.peek().is_some() {
            let fits = |issuer: &&Arc<TrustedIssuer>| {
                !issuer.names_an_issuer() || claims.get("iss").is_none_or(|iss| iss.as_str() == Some(&issuer.issuer))
            };
            return by_audience(of_domain.filter(fits), claims).ok_or(Reason::IssUnknown.into());
        }
    }
    let iss = match claims.get("iss") {
        // Whoever sends a SPIFFE id without an issuer should not be told to send one.
        None if subject.starts_with("spiffe://") => return Err(Refusal::claim(Reason::TrustDomainMismatch, "sub")),
        None => return Err(Refusal::claim(Reason::ClaimMissing, "iss")),
        Some(Value::String(iss)) => iss,
        Some(_) => return Err(Refusal::claim(Reason::ClaimType, "iss")),
    };
    by_audience(snapshot.issuers_of(iss), claims).ok_or(Reason::IssUnknown.into())
}

/// The one that takes the assertion's audience, or else the first: it says which audiences are accepted.
fn by_audience<'s>(
    mut issuers: impl Iterator<Item = &'s Arc<TrustedIssuer>>,
    claims: &Claims,
) -> Option<Arc<TrustedIssuer>> {
    let first = issuers.next()?;
    let takes = |issuer: &&Arc<TrustedIssuer>| {
        claims::audiences(claims)
            .is_ok_and(|audiences| issuer.audiences.iter().any(|accepted| audiences.contains(&accepted.as_str())))
    };
    if takes(&first) {
        return Some(first.clone());
    }
    Some(issuers.find(takes).unwrap_or(first).clone())
}

/// What the header says has to be allowed for this issuer, before any key is looked at (RFC 8725 section 3.1).
fn check_header(issuer: &TrustedIssuer, header: &Header) -> Result<Algorithm, Refusal> {
    // A JWT without `typ` is a JWT like any other (RFC 7519 section 5.1).
    let typed = header.token_type.is_some();
    if !issuer.types.iter().any(|accepted| header.is_type(accepted) || (!typed && accepted.eq_ignore_ascii_case("JWT")))
    {
        return Err(Reason::TypDenied.into());
    }
    // A JWT-SVID has nothing else in its header (JWT-SVID section 2).
    if issuer.profile.plain_header && header.has_other_parameters {
        return Err(Reason::HeaderDenied.into());
    }
    let algorithm = header.algorithm.parse().map_err(|_| Reason::AlgDenied)?;
    if !issuer.algorithms.contains(&algorithm) {
        return Err(Reason::AlgDenied.into());
    }
    Ok(algorithm)
}

/// The reason for a text that is not a token that can be verified.
fn refuse_form(malformed: Malformed) -> Refusal {
    let reason = match malformed {
        Malformed::Json(JsonError::Duplicate) => Reason::ClaimDuplicate,
        Malformed::Critical | Malformed::KeyInHeader | Malformed::Nested => Reason::HeaderDenied,
        Malformed::TooLong
        | Malformed::Segments
        | Malformed::Base64
        | Malformed::Header
        | Malformed::Json(JsonError::Syntax | JsonError::Limit) => Reason::AssertionMalformed,
    };
    Refusal::new(reason).with_detail(malformed.to_string())
}
