//! Conflicts between two trusted issuers, and between two versions of one: neither audiences nor
//! keys may make an assertion belong to both.

use std::path::Path;

use serde_json::Value;
use url::Url;

use super::TrustedIssuerDocument;
use crate::documents::ReadContext;
use crate::model::KeySource;
use crate::trust::DocumentError;

impl TrustedIssuerDocument {
    /// Pointers of the changed members that identify the platform. They are fixed while rules
    /// exist: rules and pinned ids refer to the platform for which they were written.
    pub fn moved_from(&self, before: &Self) -> Vec<&'static str> {
        let changes = [
            ("/profile", self.profile != before.profile),
            ("/issuer", self.issuer != before.issuer),
            ("/trust_domain", self.trust_domain != before.trust_domain),
        ];
        changes
            .into_iter()
            .filter(|(_, changed)| *changed)
            .map(|(pointer, _)| pointer)
            .collect()
    }

    /// Whether both documents describe one platform, so that their keys may be the same: the same
    /// trust domain for SPIFFE, else the same issuer.
    fn is_same_platform(&self, other: &Self) -> bool {
        match (&self.trust_domain, &other.trust_domain) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.issuer == other.issuer,
        }
    }

    /// Mistakes by which the document conflicts with another trusted issuer, named `name`.
    pub fn conflicts_with(
        &self,
        name: &str,
        other: &Self,
        context: ReadContext<'_>,
    ) -> Vec<DocumentError> {
        let mut problems = Vec::new();
        if self.issuer == other.issuer
            || (self.trust_domain.is_some() && self.trust_domain == other.trust_domain)
        {
            let all = |document: &Self| {
                let mut audiences = document.accepted_audiences(context);
                audiences.extend(document.extra_audiences.iter().flatten().cloned());
                audiences
            };
            let theirs = all(other);
            if let Some(shared) = all(self).iter().find(|audience| theirs.contains(audience)) {
                let detail = format!(
                    "must not hold `{shared}`: trusted issuer {name} has the same issuer or trust domain and accepts it too, so an assertion could belong to either"
                );
                problems.push(DocumentError::new("/audiences", detail));
            }
        }
        if !self.is_same_platform(other)
            && let (Some(ours), Some(theirs)) = (&self.keys, &other.keys)
            && let Some(pointer) = shared_keys(ours, theirs)
        {
            let detail = format!(
                "must not be the key set of trusted issuer {name}, which has another issuer or trust domain: either could speak for the other"
            );
            problems.push(DocumentError::new(pointer, detail));
        }
        problems
    }
}

/// The pointer at which a key source names the keys of another: a common key, URL or file.
/// Discovery depends on the issuer alone, and `token_review` has no keys.
fn shared_keys(ours: &KeySource, theirs: &KeySource) -> Option<&'static str> {
    if let (KeySource::Static { jwks }, KeySource::Static { jwks: theirs }) = (ours, theirs) {
        let theirs: Vec<_> = key_material(theirs).collect();
        return key_material(jwks)
            .any(|key| theirs.contains(&key))
            .then_some("/keys/jwks");
    }
    let (pointer, place) = place_of(ours)?;
    (place_of(theirs)?.1 == place).then_some(pointer)
}

/// The members that define a public key. `kid` and `use` are labels, which copies of a key may
/// change.
fn key_material(jwks: &Value) -> impl Iterator<Item = [Option<&Value>; 5]> {
    let keys = jwks
        .get("keys")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    keys.map(|key| ["crv", "x", "y", "n", "e"].map(|member| key.get(member)))
}

#[derive(PartialEq, Eq)]
enum KeyLocation<'a> {
    Url(Option<Url>),
    File(&'a Path),
}

fn place_of(keys: &KeySource) -> Option<(&'static str, KeyLocation<'_>)> {
    match keys {
        KeySource::JwksUri { uri, .. } | KeySource::SpiffeBundle { uri: Some(uri), .. } => {
            Some(("/keys/uri", KeyLocation::Url(Url::parse(uri).ok())))
        }
        KeySource::File { path }
        | KeySource::SpiffeBundle {
            path: Some(path), ..
        } => Some(("/keys/path", KeyLocation::File(Path::new(path)))),
        KeySource::SpiffeBundle { .. }
        | KeySource::Static { .. }
        | KeySource::Discovery
        | KeySource::TokenReview { .. } => None,
    }
}
