//! The proof of possession of a request: a DPoP proof that came with it (RFC 9449 section 5), or for
//! an explanation one that is declared.

use carnet_dpop::{Expected, InvalidProof, Proof, RequestUri, SentProof};
use carnet_resource_server::Confirmation;

use crate::app::App;
use crate::clock::Timestamp;
use crate::form::TokenForm;
use crate::reason::Reason;
use crate::refusal::Refusal;

/// The parameter of a question that declares a proof.
pub const OF_PROOF: &[&str] = &["proof"];
/// Characters of a SHA-256 hash in base64url.
const THUMBPRINT_CHARACTERS: usize = 43;

/// What a request says of a proof; nothing is verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestProof<'a> {
    /// The `DPoP` header, and the URIs by which the request may have been sent.
    Sent {
        header: SentProof<'a>,
        uris: Vec<RequestUri>,
    },
    /// An explanation takes this key as proved.
    Declared(Option<Confirmation>),
}

/// The key that a request proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Proved {
    pub confirmation: Option<Confirmation>,
    /// The proof that a token uses up.
    pub spends: Option<Proof>,
}

impl RequestProof<'_> {
    /// Verifies the proof. One that came is never ignored: without it, the token would be one that
    /// anybody can use (RFC 9449 section 5).
    pub(super) fn verify(&self, app: &App, now: Timestamp) -> Result<Proved, Refusal> {
        let (header, uris) = match self {
            Self::Declared(confirmation) => {
                return Ok(Proved {
                    confirmation: confirmation.clone(),
                    spends: None,
                });
            }
            Self::Sent { header, uris } => (*header, uris),
        };
        let text = match header {
            SentProof::None => return Ok(Proved::default()),
            SentProof::One(text) => text,
            SentProof::Unreadable => return Err(refused(&InvalidProof::NotOne)),
        };
        let expected = Expected {
            method: "POST",
            uris,
            token: None,
            nonces: app.proofs.required_nonces(),
            now: now.seconds(),
        };
        let proof = expected.verify(text).map_err(|invalid| refused(&invalid))?;
        Ok(Proved {
            confirmation: Some(Confirmation::Key(proof.thumbprint().to_owned())),
            spends: Some(proof),
        })
    }
}

fn refused(invalid: &InvalidProof) -> Refusal {
    match invalid {
        InvalidProof::Nonce => Reason::ProofNonce.into(),
        InvalidProof::Uri { sent, .. } => Refusal::from(Reason::ProofInvalid)
            .malformed(invalid.to_string())
            .received(sent.as_str()),
        _ => Refusal::from(Reason::ProofInvalid).malformed(invalid.to_string()),
    }
}

/// Reads the proof that a question declares: `none`, or `jkt:` and a JWK thumbprint (RFC 7638).
pub fn declared(form: &TokenForm<'_>) -> Result<Option<Confirmation>, Refusal> {
    let Some(text) = form.get("proof") else {
        return Ok(None);
    };
    let thumbprint = |text: &str| {
        let is_hash = text.len() == THUMBPRINT_CHARACTERS
            && carnet_jose::from_base64url(text).is_some_and(|bytes| bytes.len() == 32);
        is_hash.then(|| text.to_owned())
    };
    let declared = match text.split_once(':') {
        None if text == "none" => return Ok(None),
        Some(("jkt", text)) => thumbprint(text).map(Confirmation::Key),
        _ => None,
    };
    declared.map(Some).ok_or_else(|| {
        Refusal::parameter(Reason::ParameterMalformed, "proof")
            .malformed("it must be none, or jkt: and a SHA-256 thumbprint in base64url".to_owned())
    })
}
