//! Proofs of possession (RFC 9449) at the registry.

use std::fmt;
use std::sync::Arc;

use carnet_dpop::{
    ALGORITHMS, Expected, InvalidProof, Nonces, Presented, Proof, RequestUri, SingleProcess,
    SpentProofs,
};
use carnet_jose::{MacError, fill_random};
use url::Url;

use crate::claims::Unproven;
use crate::{DpopRejection, Outage, Rejection, Sent, SetUpError, Verified};

/// Why a token is refused whose proof is by another key.
const OTHER_KEY: &str = "bound to another key than that of the proof";
/// The shortest secret, in bytes.
const LEAST_SECRET: usize = 32;

/// How a registry takes tokens that are bound to a key (RFC 9449): where it remembers which proofs
/// were used, so that each is good for one request.
///
/// There is no default: a registry of several processes that remember proofs separately takes each
/// proof several times. `Debug` does not show the secret.
pub struct Proofs {
    memory: Memory,
    requires_nonces: bool,
    urls: Vec<String>,
}

enum Memory {
    SingleProcess,
    Shared {
        secret: Vec<u8>,
        spent: Arc<dyn SpentProofs>,
    },
}

impl Proofs {
    /// Remembers proofs in this process, at most 100,000 at a time. It is for a registry that runs
    /// as one process, with one verifier: after a restart, a used proof is taken again until it is
    /// 60 seconds old. With [`requiring_nonces`](Self::requiring_nonces) it is not, since the nonces
    /// come from a random secret of the verifier.
    #[must_use]
    pub fn single_process() -> Self {
        Self::new(Memory::SingleProcess)
    }

    /// Remembers proofs in a store that all processes of the registry share, such as a table of its
    /// database. `secret` has at least 32 random bytes and is the same for all of them: the nonces
    /// of [`requiring_nonces`](Self::requiring_nonces) are computed from it.
    #[must_use]
    pub fn shared(secret: &[u8], store: Arc<dyn SpentProofs>) -> Self {
        Self::new(Memory::Shared {
            secret: secret.to_owned(),
            spent: store,
        })
    }

    fn new(memory: Memory) -> Self {
        Self {
            memory,
            requires_nonces: false,
            urls: Vec::new(),
        }
    }

    /// Takes only proofs with a nonce that the registry gave out in the last 5 minutes (RFC 9449
    /// section 9), so that nobody can make proofs in advance. A client learns the nonce from a 401
    /// with `use_dpop_nonce`, and the next ones from [`Verified::nonce`].
    #[must_use]
    pub fn requiring_nonces(self) -> Self {
        Self {
            requires_nonces: true,
            ..self
        }
    }

    /// Sets the URLs under which clients reach the registry, instead of the origin of its resource
    /// URI: a proof has to name one of them, followed by the path of the request. Give several if
    /// tools reach the registry by several hosts, and a URL with a path if what receives the request
    /// removes that path from it (a reverse proxy, or a nested router).
    #[must_use]
    pub fn reached_at<U: Into<String>>(self, urls: impl IntoIterator<Item = U>) -> Self {
        Self {
            urls: urls.into_iter().map(Into::into).collect(),
            ..self
        }
    }
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proofs")
            .field("requires_nonces", &self.requires_nonces)
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}

/// The signature algorithms that proofs may have, by their names in JOSE.
pub(crate) fn proof_algorithms() -> impl Iterator<Item = String> {
    ALGORITHMS.iter().map(ToString::to_string)
}

/// [`Proofs`] of one registry.
pub(crate) struct Possession {
    spent: Arc<dyn SpentProofs>,
    nonces: Option<Nonces>,
    /// What stands before the path of a request, without a slash at its end.
    bases: Vec<String>,
}

impl Possession {
    pub(crate) fn new(proofs: Proofs, resource: &str) -> Result<Self, SetUpError> {
        let (secret, spent) = match proofs.memory {
            Memory::SingleProcess => {
                let mut secret = [0; LEAST_SECRET];
                fill_random(&mut secret).map_err(|_| SetUpError::Cryptography)?;
                let spent: Arc<dyn SpentProofs> = Arc::new(SingleProcess::new());
                (secret.to_vec(), spent)
            }
            Memory::Shared { secret, spent } => (secret, spent),
        };
        if secret.len() < LEAST_SECRET {
            return Err(SetUpError::Secret);
        }
        // A nonce of the authorization server, or of another registry with the same secret, is none
        // of this one.
        let nonces = Nonces::new(&secret, &format!("resource server {resource}"))
            .map_err(|_| SetUpError::Cryptography)?;
        let urls = match proofs.urls.as_slice() {
            [] => vec![origin(resource)?],
            given => given.to_vec(),
        };
        let bases = urls.iter().map(|url| base(url));
        Ok(Self {
            spent,
            nonces: proofs.requires_nonces.then_some(nonces),
            bases: bases.collect::<Result<_, _>>()?,
        })
    }

    /// Checks that the request was sent by whoever has the key of the token, with a proof that was
    /// not used before. `text` is the token as it was sent.
    pub(crate) async fn check(
        &self,
        unproven: Unproven,
        text: &str,
        sent: Sent<'_>,
        now: i64,
    ) -> Result<Verified, Rejection> {
        // A token that no proof can help is refused as such.
        let proof = self.proof(unproven.key()?, text, sent, now)?;
        let Unproven(token) = unproven;
        let nonce = self.nonces.as_ref().map(|nonces| nonces.after(&proof, now));
        let nonce = nonce.transpose().map_err(no_nonce)?.flatten();
        // Last of all: what is refused uses no proof up.
        match self.spent.spend(&proof, now).await {
            Presented::First => Ok(Verified { token, nonce }),
            Presented::Again => Err(DpopRejection::UsedProof.into()),
            Presented::Unremembered => Err(Rejection::Unavailable(Outage::Memory)),
        }
    }

    /// The proof of a request whose token, `text`, is bound to the key of this thumbprint.
    fn proof(
        &self,
        thumbprint: &str,
        text: &str,
        sent: Sent<'_>,
        now: i64,
    ) -> Result<Proof, Rejection> {
        let expected = Expected {
            method: sent.method(),
            uris: &self.uris(sent.path()),
            token: Some(text),
            nonces: self.nonces.as_ref(),
            now,
        };
        let proof = expected.verify_by(sent.proof(), thumbprint);
        proof.or_else(|invalid| {
            let rejection = match (invalid, &self.nonces) {
                (InvalidProof::Missing, _) => DpopRejection::NoProof,
                (InvalidProof::OtherKey, _) => DpopRejection::InvalidToken(OTHER_KEY),
                (InvalidProof::Nonce, Some(nonces)) => {
                    DpopRejection::NonceNeeded(nonces.at(now).map_err(no_nonce)?)
                }
                (invalid, _) => DpopRejection::InvalidProof(invalid),
            };
            Err(rejection.into())
        })
    }

    /// The URIs by which a request with this path may have been sent (decision D-48): what `Host`
    /// says does not count.
    fn uris(&self, path: &str) -> Vec<RequestUri> {
        let bases = self.bases.iter().filter(|_| path.starts_with('/'));
        bases
            .filter_map(|base| RequestUri::parse(&format!("{base}{path}")))
            .collect()
    }
}

fn no_nonce(_: MacError) -> Rejection {
    Rejection::Unavailable(Outage::Nonce)
}

/// Scheme, host and port of the resource URI.
fn origin(resource: &str) -> Result<String, SetUpError> {
    let url = Url::parse(resource).map_err(|_| SetUpError::PublicUrl)?;
    Ok(url.origin().ascii_serialization())
}

/// A URL to put before the path of a request.
fn base(url: &str) -> Result<String, SetUpError> {
    let is_whole = !url.contains(['?', '#']) && RequestUri::parse(url).is_some();
    let base = Some(url.trim_end_matches('/')).filter(|_| is_whole);
    base.map(str::to_owned).ok_or(SetUpError::PublicUrl)
}
