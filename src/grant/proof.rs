//! The proofs of possession of a request: a DPoP proof that came with it (RFC 9449 section 5), the
//! client certificate of its connection (RFC 8705), or for an explanation one that is declared.

use carnet_dpop::{Expected, InvalidProof, Proof, RequestUri, SentProof};
use carnet_resource_server::Confirmation;

use crate::app::App;
use crate::client;
use crate::clock::Timestamp;
use crate::form::TokenForm;
use crate::possession::ProvedKeys;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::tls::ClientCertificate;

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
    /// An explanation takes this key as proved, and none of its own connection.
    Declared(Option<Confirmation>),
}

/// What the proofs of a request show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Proved {
    pub keys: ProvedKeys,
    /// The DPoP proof that a token uses up.
    pub spends: Option<Proof>,
}

impl RequestProof<'_> {
    /// Verifies the proofs, of which `certificate` is that of the connection. One that came is never
    /// ignored: without it, the token would be one that anybody can use (RFC 9449 section 5).
    pub(super) fn verify(
        &self,
        app: &App,
        certificate: Option<&ClientCertificate>,
        now: Timestamp,
    ) -> Result<Proved, Refusal> {
        let (header, uris) = match self {
            Self::Declared(confirmation) => {
                return Ok(Proved {
                    keys: confirmation.clone().into(),
                    spends: None,
                });
            }
            Self::Sent { header, uris } => (*header, uris),
        };
        let certificate = client::thumbprint(certificate, now)?;
        let spends = match header {
            SentProof::None => None,
            SentProof::One(text) => {
                let expected = Expected {
                    method: "POST",
                    uris,
                    token: None,
                    nonces: app.proofs.required_nonces(),
                    now: now.seconds(),
                };
                let proof = expected.verify(text).map_err(|invalid| refused(&invalid))?;
                if app
                    .restored_at
                    .is_some_and(|at| proof.issued_at() < at.seconds())
                {
                    let what = "it was made before the server was restored from a backup";
                    return Err(Refusal::from(Reason::ProofInvalid).malformed(what));
                }
                Some(proof)
            }
            SentProof::Unreadable => return Err(refused(&InvalidProof::NotOne)),
        };
        let dpop = spends.as_ref().map(|proof| proof.thumbprint().to_owned());
        Ok(Proved {
            keys: ProvedKeys { dpop, certificate },
            spends,
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

/// Reads the proof that a question declares: `none`, `jkt:` and a JWK thumbprint (RFC 7638), or
/// `x5t:` and the thumbprint of a certificate (RFC 8705 section 3.1).
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
        Some(("x5t", text)) => thumbprint(text).map(Confirmation::Certificate),
        _ => None,
    };
    declared.map(Some).ok_or_else(|| {
        Refusal::parameter(Reason::ParameterMalformed, "proof").malformed(
            "it must be none, or jkt: or x5t: and a SHA-256 thumbprint in base64url".to_owned(),
        )
    })
}
