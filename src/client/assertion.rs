//! Client authentication by an assertion (RFC 7521 section 4.2, RFC 7523 section 2.2): one that the
//! client signs itself, or for a federated client, which has no key of its own, one that a trusted
//! issuer gave to its workload.

use std::sync::Arc;

use carnet_engine::client::is_listed;
use serde_json::Value;

use super::authenticate::Authentication;
use super::credentials::AssertionType;
use crate::assertion::{Recipient, UnverifiedAssertion, VerifiedAssertion};
use crate::clock::Timestamp;
use crate::model::{Client, FederatedCredential, Method, RuleReference, Snapshot, TrustedIssuer};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::trust::{Consent, match_credentials};

/// `typ` of JWTs that are made for assertion grants.
const GRANT_TYPE: &str = "authorization-grant+jwt";
/// `typ` of JWTs that are made for client authentication.
const CLIENT_TYPE: &str = "client-authentication+jwt";

/// Verifies a client assertion and returns its client.
///
/// Assertion type, `iss` and `sub` tell which of the two kinds it is. In both cases no answer
/// reveals before the signature is verified whether the client is registered.
pub(super) async fn verify(
    auth: &Authentication<'_>,
    kind: AssertionType,
    client_id: Option<&str>,
    text: &str,
) -> Result<(Arc<Client>, Arc<VerifiedAssertion>), Refusal> {
    let failed = || Refusal::new(Reason::ClientAuthenticationFailed);
    let unverified = UnverifiedAssertion::parse(text).map_err(Refusal::of_client)?;
    if kind == AssertionType::Jwt && is_self_issued(auth, &unverified) {
        // Without a `client_id` parameter, `sub` names the client (RFC 7521 section 4.2).
        let client_id =
            client_id.or_else(|| unverified.claims().get("sub").and_then(Value::as_str));
        let client = client_id
            .and_then(|client_id| auth.registered(client_id))
            .ok_or_else(failed)?;
        let Method::PrivateKeyJwt(issuer) = &client.method else {
            return Err(failed());
        };
        let verified = own(auth, unverified, &client, issuer).await?;
        return Ok((client, Arc::new(verified)));
    }
    let client = client_id.and_then(|client_id| auth.registered(client_id));
    let listed = client.as_ref().and_then(|client| match &client.method {
        Method::Federated(listed) => Some(listed.as_slice()),
        _ => None,
    });
    let verified = federated(auth, kind, unverified, listed.unwrap_or_default())
        .await
        .map_err(Refusal::of_client)?;
    let client = match listed {
        Some(_) => client.ok_or_else(failed)?,
        None => return Err(failed()),
    };
    Ok((client, Arc::new(verified)))
}

/// Whether an assertion has equal `iss` and `sub`, and no trusted issuer issues it. A JWT-SVID may
/// have an equal `iss` and `sub` too, although its trust domain signed it.
fn is_self_issued(auth: &Authentication<'_>, unverified: &UnverifiedAssertion<'_>) -> bool {
    let text = |claim: &str| unverified.claims().get(claim).and_then(Value::as_str);
    text("iss").is_some_and(|iss| Some(iss) == text("sub"))
        && unverified
            .issuer(&auth.context.rules, Recipient::TokenEndpoint)
            .is_err()
}

/// Verifies an assertion that the client signed, with its `client_id` as `iss` and `sub`. Faults
/// found before the signature is verified are not told: they would reveal which clients are
/// registered.
async fn own(
    auth: &Authentication<'_>,
    unverified: UnverifiedAssertion<'_>,
    client: &Client,
    issuer: &Arc<TrustedIssuer>,
) -> Result<VerifiedAssertion, Refusal> {
    let names = |claim: &str| {
        unverified.claims().get(claim).and_then(Value::as_str) == Some(&client.client_id)
    };
    if !names("iss") || !names("sub") {
        return Err(Reason::ClientAuthenticationFailed.into());
    }
    let presented = (Recipient::TokenEndpoint, auth.context.now);
    let verified = auth
        .upstream
        .verify(unverified, issuer.clone(), presented)
        .await;
    let verified = verified.map_err(unverified_tells_nothing)?;
    // The profile wants the issuer identifier as a string (FAPI 2.0 Security Profile section 5.3.2.1).
    if client.fapi2 && !verified.claims().get("aud").is_some_and(Value::is_string) {
        let what = "aud of the client assertion must be a string, not an array";
        return Err(Refusal::from(Reason::FapiUnmet).malformed(what).of_client());
    }
    Ok(verified)
}

/// Hides faults that are found before the signature is verified: they would reveal which clients
/// are registered, and with which rules.
pub(super) fn unverified_tells_nothing(refusal: Refusal) -> Refusal {
    match refusal.reason {
        Reason::UpstreamUnavailable | Reason::Internal => refusal,
        Reason::TypDenied
        | Reason::AlgDenied
        | Reason::KeyUnknown
        | Reason::KeysUnavailable
        | Reason::AttestationMissing
        | Reason::AttestationStale
        | Reason::AttestationMalformed
        | Reason::AttestationPurpose
        | Reason::AttestationMismatch
        | Reason::AttestationExpired
        | Reason::AttestationUntrusted
        | Reason::AttestationRevoked
        | Reason::AttestationRolledBack
        | Reason::SignatureInvalid => {
            let why = refusal.reason.code();
            Refusal::new(Reason::ClientAuthenticationFailed)
                .with_detail(format!("client assertion: {why}"))
        }
        _ => refusal.of_client(),
    }
}

/// Verifies a trusted issuer's assertion. Its only audience must be our issuer identifier (decision
/// D-08), whatever the trusted issuer accepts for grants: a server to which the workload sends an
/// assertion must not be able to authenticate with it here.
async fn federated(
    auth: &Authentication<'_>,
    kind: AssertionType,
    unverified: UnverifiedAssertion<'_>,
    listed: &[RuleReference],
) -> Result<VerifiedAssertion, Refusal> {
    let issuer = issuer_of_listed(
        &unverified,
        kind,
        &auth.context.rules,
        listed,
        auth.context.now,
    )?;
    // An assertion typed for grants is refused, and one typed for client authentication accepted
    // (draft-ietf-oauth-rfc7523bis section 4).
    let of_grants = |kind: &String| kind.eq_ignore_ascii_case(GRANT_TYPE);
    let types = issuer
        .types
        .iter()
        .filter(|kind| !of_grants(kind))
        .cloned()
        .chain([CLIENT_TYPE.to_owned()]);
    let strict = TrustedIssuer {
        audiences: vec![auth.context.own.issuer().to_owned()],
        extra_audiences: Vec::new(),
        types: types.collect(),
        ..(*issuer).clone()
    };
    // Among several issuers with one `iss` the client's list selects one, so a detailed error would
    // reveal the list.
    let several = auth
        .context
        .rules
        .issuers_of(&issuer.issuer)
        .nth(1)
        .is_some();
    let presented = (Recipient::TokenEndpoint, auth.context.now);
    let verified = auth
        .upstream
        .verify(unverified, Arc::new(strict), presented)
        .await;
    verified.map_err(|refusal| {
        if several {
            unverified_tells_nothing(refusal)
        } else {
            refusal
        }
    })
}

/// The trusted issuer whose keys have to verify the assertion. Several may share an `iss`, and the
/// audience of client assertions does not tell them apart as it does for grants (decision D-37), so
/// the rules that the client lists do.
fn issuer_of_listed(
    unverified: &UnverifiedAssertion<'_>,
    kind: AssertionType,
    rules: &Snapshot,
    listed: &[RuleReference],
    now: Timestamp,
) -> Result<Arc<TrustedIssuer>, Refusal> {
    let first = unverified.issuer(rules, Recipient::TokenEndpoint)?;
    let may_issue =
        |issuer: &TrustedIssuer| kind == AssertionType::Jwt || issuer.profile.is_spiffe();
    if !may_issue(&first) {
        return Err(Refusal::new(Reason::ClientAuthenticationFailed)
            .with_detail("client assertion: no JWT-SVID"));
    }
    if rules.issuers_of(&first.issuer).nth(1).is_none() {
        return Ok(first);
    }
    let admits = |issuer: &&Arc<TrustedIssuer>| {
        let may_count = |credential: &FederatedCredential| is_listed(listed, credential);
        let report = match_credentials(
            rules,
            issuer,
            unverified.claims(),
            now,
            Consent::Named,
            may_count,
        );
        report.matching().next().is_some()
    };
    let meant = rules
        .issuers_of(&first.issuer)
        .filter(|issuer| may_issue(issuer))
        .find(admits)
        .cloned();
    Ok(meant.unwrap_or(first))
}
