//! The way of a publication: received whole, read, decided and reserved. `forward.rs` has the rest.

use std::sync::Arc;

use bytes::Bytes;
use carnet_access::AccessToken;
use carnet_dpop::{Proof, offer_nonce};
use carnet_publish_protocols::credential::{Presented, presented};
use carnet_publish_protocols::{
    File, Limits, Metadata, Operation, Protocol, Publication, Request, Unreadable, read,
};
use http::HeaderValue;
use http::request::Parts;
use http_body::Body;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::spawn_blocking;
use url::Url;

use crate::authority::{Authority, NoToken};
use crate::decide::Case;
use crate::framing::{call_has_body, discard, framing};
use crate::gateway::{Gateway, Visit, refuse};
use crate::index::{self, Existence};
use crate::possession::{bound_token, proved, replayed};
use crate::records::{NewPublication, Package, Publisher, RefusedPublication};
use crate::refusal::{Kind, Refusal, no_token};
use crate::registry::Registry;
use crate::spool::Spooled;
use crate::upstream::{credentials_of, of_publication};
use crate::{Answered, BoxError};

/// How often a decision is made again when the record of the package changes meanwhile.
const ATTEMPTS: usize = 5;

/// What a publication was sent with.
enum Hand {
    /// A token of ours, which is verified again after the body came, and the proof of the key that it
    /// is bound to.
    Token(SecretString, Option<Proof>),
    /// Credentials of the registry's own, which go on to it.
    Own { user: Option<String> },
}

/// What is known of a publication so far, for the audit of its refusal.
#[derive(Default)]
struct Seen {
    publication: Option<(String, Option<String>, Operation)>,
    digest: Option<String>,
    token: Option<Box<AccessToken>>,
    user: Option<String>,
}

impl<A: Authority> Gateway<A> {
    /// Publishes what a request brings, or refuses it in the words of its tool.
    pub(crate) async fn publish<B>(
        self: &Arc<Self>,
        visit: Visit,
        (parts, path): (Parts, String),
        call: Request,
        mut body: B,
    ) -> Answered
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let mut seen = Seen::default();
        let tried = self.tried(&visit, (&parts, &path), call, &mut body, &mut seen);
        match tried.await {
            Ok(answer) => answer,
            Err(refusal) => {
                self.note_refused(&visit, seen, &refusal).await;
                discard(&parts.headers, &mut body).await;
                refuse(&visit.registry, &refusal)
            }
        }
    }

    async fn tried<B>(
        self: &Arc<Self>,
        visit: &Visit,
        (parts, path): (&Parts, &str),
        call: Request,
        body: &mut B,
        seen: &mut Seen,
    ) -> Result<Answered, Refusal>
    where
        B: Body<Data = Bytes> + Send + Unpin,
        B::Error: Into<BoxError>,
    {
        let registry = &visit.registry;
        let url = destination(registry, path).ok_or_else(Refusal::unknown)?;
        let framed = framing(registry.protocol, parts)?;
        // Nothing of the body is received for a request without a token that counts.
        let hand = self.hand(registry, parts, seen).await?;
        let kind = call.content_type()?;
        let kind = kind.and_then(|kind| HeaderValue::try_from(kind).ok());
        let mut spooled = self.spool.receive(body, framed).await?;
        let publication;
        (publication, spooled) = self.understood(call, spooled).await?;
        let file = publication.files.first().cloned();
        seen.digest = file.as_ref().map(|file| format!("sha256:{}", file.sha256));
        seen.publication = Some((
            publication.package.clone(),
            publication.version.clone(),
            publication.operation,
        ));
        let (id, publisher) = self
            .reserved(visit, &publication, file.as_ref(), &hand, seen)
            .await?;
        let credential = match publisher {
            Publisher::Token { .. } => registry.credential.header().ok().flatten(),
            Publisher::Passthrough { .. } => None,
        };
        let has_body = spooled.length() > 0 || call_has_body(&parts.method);
        let mut headers = of_publication(
            &parts.headers,
            visit.as_for(),
            credential,
            (kind, has_body.then_some(spooled.length())),
        );
        if let Publisher::Passthrough { .. } = publisher {
            headers.extend(credentials_of(registry.protocol, &parts.headers));
        }
        let forwarding = self.clone().forwarded(
            registry.clone(),
            (id, matches!(publisher, Publisher::Token { .. })),
            (parts.method.clone(), url),
            headers,
            spooled,
        );
        // The outcome is recorded also if the client does not wait for it.
        let forwarded = tokio::spawn(forwarding).await;
        let forwarded = forwarded.unwrap_or_else(|_| {
            Err(Refusal::new(
                Kind::Later,
                "internal_error",
                "the gateway failed; look whether the publication arrived before you try again",
            ))
        });
        forwarded.map(|mut answer| {
            if let Some(nonce) = self.next_nonce(&hand) {
                offer_nonce(answer.headers_mut(), &nonce);
            }
            answer
        })
    }

    /// The nonce to give to the client of a publication.
    fn next_nonce(&self, hand: &Hand) -> Option<String> {
        match hand {
            Hand::Token(_, Some(proof)) => {
                let now = self.authority.now();
                let nonces = self.authority.nonces()?;
                nonces.after(proof, now).ok().flatten()
            }
            Hand::Token(_, None) | Hand::Own { .. } => None,
        }
    }

    /// What a request is sent with, if that may publish at all.
    async fn hand(
        &self,
        registry: &Registry,
        parts: &Parts,
        seen: &mut Seen,
    ) -> Result<Hand, Refusal> {
        if let Some(token) = bound_token(&parts.headers)? {
            return self
                .hand_of_token(registry, parts, (token, true), seen)
                .await;
        }
        let unusable = |why: &str| Refusal::new(Kind::Token, "invalid_request", why);
        let sent = presented(registry.protocol, &parts.headers)
            .map_err(|why| unusable(&why.to_string()))?;
        let (secret, user) = match sent {
            Presented::Nothing => return Err(no_credentials(registry)),
            Presented::Token(token) => (token, None),
            Presented::User { name, password } => (password, Some(name)),
        };
        let is_own_form = self.authority.is_own_form(secret.expose_secret());
        // Some tools put a token into the place of the user name.
        let names_own = |user: &String| self.authority.is_own_form(user);
        if !is_own_form && registry.passthrough && user.as_ref().is_some_and(names_own) {
            return Err(no_token(NoToken::Inactive));
        }
        if !is_own_form && registry.passthrough {
            if registry.credential.is(secret.expose_secret()) {
                return Err(Refusal::new(
                    Kind::Token,
                    "gateways_credential",
                    "this is the gateway's own credential for the registry; use one of your own, or trusted publishing",
                ));
            }
            seen.user.clone_from(&user);
            return Ok(Hand::Own { user });
        }
        if !is_own_form {
            return Err(Refusal::new(
                Kind::Token,
                "credentials_not_taken",
                "this is no token of trusted publishing, and the registry takes no passwords or keys any more: publish from a job, with a token for each run",
            ));
        }
        let bearer = (secret, false);
        self.hand_of_token(registry, parts, bearer, seen).await
    }

    /// The token of a request, with the proof of its key. `is_dpop` says whether it came as a bound
    /// one.
    async fn hand_of_token(
        &self,
        registry: &Registry,
        parts: &Parts,
        (secret, is_dpop): (SecretString, bool),
        seen: &mut Seen,
    ) -> Result<Hand, Refusal> {
        let text = secret.expose_secret();
        let token = self.authority.token(&registry.name, text).await?;
        let token = &*seen.token.insert(Box::new(token.map_err(no_token)?));
        let asked = (self.authority.nonces(), self.authority.now());
        let proof = proved(registry, parts, (text, is_dpop), token, asked)?;
        Ok(Hand::Token(secret, proof))
    }

    /// Uses up the proof of a publication that is about to be recorded.
    async fn spend(&self, hand: &Hand) -> Result<(), Refusal> {
        let Hand::Token(_, Some(proof)) = hand else {
            return Ok(());
        };
        if self.authority.spend(proof).await? {
            Ok(())
        } else {
            Err(replayed())
        }
    }

    /// Reads a request on a thread that may block.
    async fn understood(
        &self,
        call: Request,
        mut spooled: Spooled,
    ) -> Result<(Publication, Spooled), Refusal> {
        // What a small body inflates to is bounded by its size, and only so many are read at once.
        let unpacked = spooled
            .length()
            .saturating_mul(100)
            .saturating_add(64 << 20);
        let limits = Limits {
            unpacked: unpacked.min(self.limits.unpacked),
            ..self.limits
        };
        let _turn = self.reading.acquire().await;
        let reading = spawn_blocking(move || {
            let publication = read(&call, spooled.file(), &limits)?;
            Ok::<_, Unreadable>((publication, spooled))
        });
        let read = reading.await.map_err(|error| {
            tracing::error!(%error, "reading a request failed");
            Refusal::new(Kind::Malformed, "malformed", "the request cannot be read")
        })?;
        Ok(read?)
    }

    /// Decides on a publication and records it as under way.
    async fn reserved(
        &self,
        visit: &Visit,
        publication: &Publication,
        file: Option<&File>,
        hand: &Hand,
        seen: &mut Seen,
    ) -> Result<(String, Publisher), Refusal> {
        let registry = &visit.registry;
        let gone = || {
            Refusal::new(
                Kind::Later,
                "registry_disabled",
                "this registry takes no publications at the moment",
            )
        };
        let names = self.authority.terms(&registry.name).ok_or_else(gone)?;
        let names = names.package_names;
        // The owners are recorded by names that the protocol's tools take for the same.
        if names != registry.protocol.package_names() {
            tracing::error!(
                registry = registry.name,
                "package_names of the resource server are no longer those of the protocol"
            );
            return Err(gone());
        }
        let folded = names.normalise(&publication.package).into_owned();
        let action = self.action(registry, publication).await?;
        let mut is_spent = false;
        for _ in 0..ATTEMPTS {
            let record = self.authority.package(&registry.name, &folded).await?;
            let exists = self.exists(registry, &record, publication).await?;
            let case = Case {
                publication,
                digest: seen.digest.as_deref(),
                names,
                protocol: registry.protocol,
                action,
                record: &record,
                exists,
            };
            let publisher = self.decided(&case, registry, hand).await?;
            let new = NewPublication {
                registry: registry.name.clone(),
                package: folded.clone(),
                spelled: publication.package.clone(),
                version: publication.version.clone(),
                file: file.map(|file| file.name.clone()),
                digest: seen.digest.clone(),
                operation: publication.operation.as_str(),
                adds: publication.operation == Operation::Publish,
                publisher,
                address: visit.address,
                decided_on: record,
            };
            if !std::mem::replace(&mut is_spent, true) {
                self.spend(hand).await?;
            }
            if let Ok(reservation) = self.authority.reserve(&new).await? {
                return Ok((reservation.id, new.publisher));
            }
        }
        Err(Refusal::new(
            Kind::Later,
            "temporarily_unavailable",
            "other publications of this package are under way; try again",
        ))
    }

    /// The action that a publication needs. Registries drop the versions that a written packument lacks,
    /// so one that lacks some unpublishes them.
    async fn action(
        &self,
        registry: &Registry,
        publication: &Publication,
    ) -> Result<&'static str, Refusal> {
        let usual = registry.action(publication.operation);
        let deletes = Operation::Unpublish.action();
        let Metadata::NpmPackument { versions, .. } = &publication.metadata else {
            return Ok(usual);
        };
        if usual == deletes {
            return Ok(usual);
        }
        let kept = versions.keys().map(String::as_str).collect();
        let asking = self.asking(registry);
        let asked = registry
            .index
            .has_other_versions(&asking, &publication.package, &kept);
        let lacks = asked.await;
        let lacks = lacks.map_err(|error| unasked(registry, &error))?;
        Ok(if lacks { deletes } else { usual })
    }

    /// Decides as of now: a token may have ended while the body came.
    async fn decided(
        &self,
        case: &Case<'_>,
        registry: &Registry,
        hand: &Hand,
    ) -> Result<Publisher, Refusal> {
        match hand {
            Hand::Own { user } => case.for_own_credentials(user.clone()),
            Hand::Token(secret, _) => {
                let token = self
                    .authority
                    .token(&registry.name, secret.expose_secret())
                    .await?
                    .map_err(no_token)?;
                case.for_token(token, &self.authority)
            }
        }
    }

    /// Whether the registry has the package.
    async fn exists(
        &self,
        registry: &Registry,
        record: &Package,
        publication: &Publication,
    ) -> Result<bool, Refusal> {
        if !Case::must_ask(record) {
            return Ok(true);
        }
        let asking = self.asking(registry);
        let found = registry.index.existence(&asking, &publication.package);
        match found.await {
            Ok(found) => Ok(found == Existence::Exists),
            Err(error) => Err(unasked(registry, &error)),
        }
    }

    async fn note_refused(&self, visit: &Visit, seen: Seen, refusal: &Refusal) {
        let registry = &visit.registry;
        let names = self.authority.terms(&registry.name);
        let (package, version, operation) = match seen.publication {
            Some((package, version, operation)) => {
                (Some(package), version, Some(operation.as_str()))
            }
            None => (None, None, None),
        };
        let folded = |package: String| match names {
            Some(terms) => terms.package_names.normalise(&package).into_owned(),
            None => package,
        };
        let refused = RefusedPublication {
            registry: registry.name.clone(),
            package: package.map(folded),
            version,
            digest: seen.digest,
            operation,
            token: seen.token,
            user: seen.user,
            reason: refusal.code,
            detail: refusal.text.clone(),
            address: visit.address,
        };
        self.authority.refused(refused).await;
    }
}

/// The registry does not say what it has of the package.
fn unasked(registry: &Registry, error: &index::NoAnswer) -> Refusal {
    tracing::warn!(registry = registry.name, %error, "what the registry has of a package cannot be asked");
    Refusal::new(
        Kind::Upstream,
        "registry_unreachable",
        "the registry behind the gateway does not say what it has of the package; nothing was published or changed",
    )
}

fn no_credentials(registry: &Registry) -> Refusal {
    let text = if registry.passthrough {
        "publishing needs a token of trusted publishing, or credentials of the registry"
    } else {
        "publishing needs a token of trusted publishing: let the tool get one (`uv publish --trusted-publishing always`, `npm publish` 11.5 or later), or use `carnet exchange`"
    };
    Refusal::new(Kind::Token, "token_missing", text)
}

/// Where a publication goes: where it came to, but uploads of PyPI's tools to the root, since
/// `/legacy/` is a path of pypi.org's own.
fn destination(registry: &Registry, path: &str) -> Option<Url> {
    match registry.protocol {
        Protocol::Pypi => registry.upstream_url("/"),
        _ => registry.upstream_url(path),
    }
}
