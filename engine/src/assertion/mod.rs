//! The platform's JWT, from text to a [`VerifiedAssertion`] (RFC 7521 section 4.1, RFC 7523 section
//! 3).
//!
//! Parsing trusts nothing. Verification trusts the keys of the one issuer that the assertion names.
//! The claim checks are a pure function of claims, issuer and time. Only this module constructs a
//! [`VerifiedAssertion`].

mod claims;
mod content;
mod nearest;
mod numeric_date;
mod recipient;
mod replay;
mod workload;

use std::ops::Deref;
use std::sync::Arc;

use carnet_jose::{Algorithm, Compact, Header, Malformed, base64url, json::JsonError, sha256};
use serde_json::Value;

use claims::{Assessed, assess};
pub use numeric_date::NumericDate;
pub use recipient::Recipient;
pub use replay::SingleUseKey;
pub use workload::Workload;

use crate::attested::Attested;
use crate::clock::Timestamp;
use crate::grant_type::GrantType;
use crate::model::{Snapshot, TrustedIssuer};
use crate::profile::{Claims, trust_domain_of};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// An assertion that was parsed; nothing in it is trusted yet.
#[derive(Debug)]
pub struct UnverifiedAssertion<'a> {
    jws: Compact<'a>,
    claims: Claims,
}

/// The content of an assertion that passed the claim checks: its trusted issuer, its claims, and
/// the values that the checks extracted.
#[derive(Debug)]
pub struct AssertionContent {
    issuer: Arc<TrustedIssuer>,
    claims: Claims,
    assessed: Assessed,
    /// SHA-256 of the token's text without its signature; `None` for an assumed assertion.
    digest: Option<[u8; 32]>,
}

/// An assertion that passed the claim checks, and whose signature may still be unverified.
#[derive(Debug)]
pub struct AssessedAssertion<'a> {
    jws: Compact<'a>,
    content: (Arc<TrustedIssuer>, Claims, Assessed),
}

/// An assertion that its trusted issuer signed, and whose claims may still be unchecked.
#[derive(Debug)]
pub struct SignedAssertion<'a> {
    assertion: UnverifiedAssertion<'a>,
    issuer: Arc<TrustedIssuer>,
}

/// Whether the signature of an assertion is right.
#[derive(Debug)]
pub enum SignatureCheck<'a> {
    Holds(SignedAssertion<'a>),
    /// The assertion, for another try with newer keys.
    Fails(UnverifiedAssertion<'a>),
}

/// An assertion that its trusted issuer signed, with valid audience and times, and with the claims
/// that its profile requires.
#[derive(Debug)]
pub struct VerifiedAssertion(AssertionContent);

/// A verified assertion that its trusted issuer accepts in this grant. Only
/// [`VerifiedAssertion::accept`] constructs one, and access tokens are issued for no other kind of
/// assertion.
#[derive(Clone, Debug)]
pub struct AcceptedAssertion(Arc<VerifiedAssertion>);

/// An assertion that is treated as if it were signed, for explanations and case files. No access
/// token can be issued for it.
#[derive(Clone, Debug)]
pub struct AssumedAssertion(Arc<AssertionContent>);

/// An assertion that can be matched with rules: accepted, or assumed.
pub trait Assertion: Clone + std::fmt::Debug {
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
    pub fn verified(&self) -> &Arc<VerifiedAssertion> {
        &self.0
    }
}

impl AssumedAssertion {
    /// Treats `claims` as if `issuer` had signed them.
    pub fn of_claims(
        issuer: Arc<TrustedIssuer>,
        claims: Claims,
        (recipient, now): (Recipient<'_>, Timestamp),
    ) -> Result<Self, Refusal> {
        let assessed = assess(&issuer, &claims, None, (recipient, now))?;
        Ok(Self(Arc::new(AssertionContent {
            issuer,
            claims,
            assessed,
            digest: None,
        })))
    }
}

impl Deref for VerifiedAssertion {
    type Target = AssertionContent;

    fn deref(&self) -> &AssertionContent {
        &self.0
    }
}

impl<'a> UnverifiedAssertion<'a> {
    /// Parses the compact serialisation (RFC 7515 section 7.1) and the JSON of header and claims.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        let jws = Compact::parse(text).map_err(|malformed| {
            // A valid token contains no white space, so the search is needed only if parsing
            // failed.
            let has_whitespace = text.contains(|character: char| character.is_ascii_whitespace());
            if has_whitespace {
                Reason::AssertionWhitespace.into()
            } else {
                refuse_form(malformed)
            }
        })?;
        let claims = Claims::new(jws.claims().map_err(refuse_form)?);
        Ok(Self { jws, claims })
    }

    /// The claims, which are not verified yet.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The trusted issuer that the claims name, among those that the recipient accepts.
    pub fn issuer(
        &self,
        snapshot: &Snapshot,
        recipient: Recipient<'_>,
    ) -> Result<Arc<TrustedIssuer>, Refusal> {
        issuer_of(&self.claims, snapshot, recipient)
    }

    /// The algorithm that the header names, if the header is acceptable for `issuer` (RFC 8725
    /// section 3.1).
    pub fn algorithm(&self, issuer: &TrustedIssuer) -> Result<Algorithm, Refusal> {
        check_header(issuer, &self.jws.header)
    }

    /// The `kid` of the header.
    pub fn key_id(&self) -> Option<&str> {
        self.jws.header.key_id.as_deref()
    }

    /// Checks the signature as one of `issuer`. `verifies` is called with the signing input and the
    /// signature, and has to use keys of that issuer only.
    pub fn signed(
        self,
        issuer: &Arc<TrustedIssuer>,
        verifies: impl FnOnce(&[u8], &[u8]) -> bool,
    ) -> SignatureCheck<'a> {
        if verifies(self.jws.signing_input.as_bytes(), &self.jws.signature) {
            SignatureCheck::Holds(SignedAssertion {
                assertion: self,
                issuer: issuer.clone(),
            })
        } else {
            SignatureCheck::Fails(self)
        }
    }

    /// Applies the claim checks alone, for issuers whose platform itself says whether a token is
    /// valid (`TokenReview`).
    pub fn assessed(
        self,
        issuer: Arc<TrustedIssuer>,
        (recipient, now): (Recipient<'_>, Timestamp),
    ) -> Result<AssessedAssertion<'a>, Refusal> {
        let input = Some(self.jws.signing_input);
        let assessed = assess(&issuer, &self.claims, input, (recipient, now))?;
        Ok(AssessedAssertion {
            jws: self.jws,
            content: (issuer, self.claims, assessed),
        })
    }

    /// The same assertion as if the RPKI attested this to the keys of its issuer.
    #[must_use]
    pub fn attested_by(self, attested: Option<Arc<Attested>>) -> Self {
        Self {
            claims: self.claims.attested_by(attested),
            ..self
        }
    }

    /// Treats the assertion as if it were signed. If `kids` is given, a `kid` in the header has to
    /// be one of them.
    pub fn assume(
        self,
        issuer: Arc<TrustedIssuer>,
        kids: Option<&[String]>,
        (recipient, now): (Recipient<'_>, Timestamp),
    ) -> Result<AssumedAssertion, Refusal> {
        check_header(&issuer, &self.jws.header)?;
        if let (Some(kids), Some(kid)) = (kids, &self.jws.header.key_id)
            && !kids.contains(kid)
        {
            return Err(Reason::KeyUnknown.into());
        }
        let input = Some(self.jws.signing_input);
        let assessed = assess(&issuer, &self.claims, input, (recipient, now))?;
        Ok(AssumedAssertion(Arc::new(AssertionContent {
            issuer,
            claims: self.claims,
            assessed,
            digest: None,
        })))
    }
}

impl SignedAssertion<'_> {
    /// Adds what the RPKI attests to the keys that verified the signature.
    #[must_use]
    pub fn attested_by(self, attested: Option<Arc<Attested>>) -> Self {
        Self {
            assertion: self.assertion.attested_by(attested),
            ..self
        }
    }

    /// Applies the claim checks.
    pub fn verified(
        self,
        presented: (Recipient<'_>, Timestamp),
    ) -> Result<VerifiedAssertion, Refusal> {
        let issuer = self.issuer;
        Ok(self.assertion.assessed(issuer, presented)?.into_verified())
    }
}

impl AssessedAssertion<'_> {
    /// The text of the token. base64url has only one accepted spelling, so this is the text that
    /// was parsed.
    pub fn text(&self) -> String {
        format!(
            "{}.{}",
            self.jws.signing_input,
            base64url(&self.jws.signature)
        )
    }

    pub fn subject(&self) -> &str {
        &self.content.2.subject
    }

    /// The audience that is accepted at `recipient`; empty if there is none.
    pub fn audience(&self, recipient: Recipient<'_>) -> &str {
        let (issuer, claims, _) = &self.content;
        let accepted = recipient.audiences(issuer);
        let audiences = claims::audiences(claims).unwrap_or_default();
        audiences
            .into_iter()
            .find(|audience| accepted.iter().any(|ours| ours == audience))
            .unwrap_or_default()
    }

    /// The verified assertion, if the platform's verdict is positive.
    pub fn reviewed(self, verdict: Result<(), Refusal>) -> Result<VerifiedAssertion, Refusal> {
        verdict.map(|()| self.into_verified())
    }

    fn into_verified(self) -> VerifiedAssertion {
        let (issuer, claims, assessed) = self.content;
        let digest = Some(sha256(self.jws.signing_input.as_bytes()));
        VerifiedAssertion(AssertionContent {
            issuer,
            claims,
            assessed,
            digest,
        })
    }
}

impl VerifiedAssertion {
    /// Accepts the assertion for `grant`, if the trusted issuer is configured for that grant type.
    pub fn accept(self: &Arc<Self>, grant: GrantType) -> Result<AcceptedAssertion, Refusal> {
        self.check_grant(grant)?;
        Ok(AcceptedAssertion(self.clone()))
    }
}

/// The trusted issuer that the claims name. If several share an `iss`, the audience decides
/// (decision D-37). A SPIFFE id belongs to the issuer of its trust domain, whatever `iss` says
/// (decision D-36).
fn issuer_of(
    claims: &Claims,
    snapshot: &Snapshot,
    recipient: Recipient<'_>,
) -> Result<Arc<TrustedIssuer>, Refusal> {
    let subject = claims
        .get("sub")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if let Some(domain) = trust_domain_of(subject) {
        let mut of_domain = snapshot.issuers_of_trust_domain(domain).peekable();
        if of_domain.peek().is_some() {
            let fits = |issuer: &&Arc<TrustedIssuer>| {
                !issuer.names_an_issuer()
                    || claims
                        .get("iss")
                        .is_none_or(|iss| iss.as_str() == Some(&issuer.issuer))
            };
            return by_audience(of_domain.filter(fits), claims, recipient).ok_or_else(|| {
                let iss = claims.get("iss").cloned().unwrap_or_default();
                Refusal::claim(Reason::IssUnknown, "iss").received(iss)
            });
        }
    }
    let iss = match claims.get("iss") {
        // JWT-SVIDs need no `iss`, so the unknown trust domain is reported and not the missing
        // claim.
        None if subject.starts_with("spiffe://") => {
            return Err(Refusal::claim(Reason::TrustDomainMismatch, "sub").received(subject));
        }
        None => return Err(Refusal::claim(Reason::ClaimMissing, "iss")),
        Some(Value::String(iss)) => iss,
        Some(_) => return Err(Refusal::claim(Reason::ClaimType, "iss")),
    };
    let found = by_audience(snapshot.issuers_of(iss), claims, recipient);
    found.ok_or_else(|| unknown(iss, snapshot))
}

/// The refusal of an unknown issuer, with the trusted issuer that was probably meant.
fn unknown(iss: &str, snapshot: &Snapshot) -> Refusal {
    Refusal::claim(Reason::IssUnknown, "iss")
        .received(iss)
        .noting(|facts| facts.nearest = nearest::issuer(iss, snapshot))
}

/// The issuer for which an audience of the assertion is accepted, or else the first one, whose
/// refusal lists the accepted audiences.
fn by_audience<'s>(
    issuers: impl Iterator<Item = &'s Arc<TrustedIssuer>>,
    claims: &Claims,
    recipient: Recipient<'_>,
) -> Option<Arc<TrustedIssuer>> {
    let mut issuers = issuers.filter(|issuer| recipient.takes(issuer));
    let first = issuers.next()?;
    let takes = |issuer: &&Arc<TrustedIssuer>| {
        claims::audiences(claims).is_ok_and(|audiences| {
            recipient
                .audiences(issuer)
                .iter()
                .any(|accepted| audiences.contains(&accepted.as_str()))
        })
    };
    if takes(&first) {
        return Some(first.clone());
    }
    Some(issuers.find(takes).unwrap_or(first).clone())
}

/// Checks that the header is allowed for this issuer, before any key is used (RFC 8725 section
/// 3.1).
fn check_header(issuer: &TrustedIssuer, header: &Header) -> Result<Algorithm, Refusal> {
    // `typ` is optional (RFC 7519 section 5.1); a header without it counts as `JWT` (decision
    // D-10).
    let typed = header.token_type.is_some();
    if !issuer.types.iter().any(|accepted| {
        header.is_type(accepted) || (!typed && accepted.eq_ignore_ascii_case("JWT"))
    }) {
        return Err(Refusal::new(Reason::TypDenied)
            .received(header.token_type.as_deref())
            .permitted(issuer.types.clone()));
    }
    // The header of a JWT-SVID holds only `alg`, `kid` and `typ` (JWT-SVID section 2).
    if issuer.profile.plain_header && header.has_other_parameters {
        return Err(Reason::HeaderDenied.into());
    }
    let known = header.algorithm.parse().ok();
    known
        .filter(|algorithm| issuer.algorithms.contains(algorithm))
        .ok_or_else(|| {
            let accepted: Vec<&str> = issuer.algorithms.iter().map(|one| one.name()).collect();
            Refusal::new(Reason::AlgDenied)
                .received(header.algorithm.as_str())
                .permitted(accepted)
        })
}

/// The refusal of a text that is not a well-formed token.
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
    Refusal::new(reason).malformed(malformed.to_string())
}
