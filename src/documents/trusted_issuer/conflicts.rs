//! What two trusted issuers must not share.

use std::path::Path;

use serde_json::Value;
use url::Url;

use super::TrustedIssuerDocument;
use crate::documents::ReadContext;
use crate::model::KeySource;
use crate::trust::DocumentError;

impl TrustedIssuerDocument {
    /// The members by which it is another platform now. Rules and pinned ids mean the platform they were written for.
    pub fn moved_from(&self, before: &Self) -> Vec<&'static str> {
        let changes = [
            ("/profile", self.profile != before.profile),
            ("/issuer", self.issuer != before.issuer),
            ("/trust_domain", self.trust_domain != before.trust_domain),
        ];
        changes.into_iter().filter(|(_, changed)| *changed).map(|(pointer, _)| pointer).collect()
    }

    /// Whether the keys of one may be those of the other: SPIFFE ids are their trust domain's word, other subjects their
    /// issuer's.
    fn is_same_platform(&self, other: &Self) -> bool {
        match (&self.trust_domain, &other.trust_domain) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.issuer == other.issuer,
        }
    }

    /// Why it cannot stand beside another trusted issuer of this name.
    pub fn conflicts_with(&self, name: &str, other: &Self, context: ReadContext<'_>) -> Vec<DocumentError> {
        let mut problems = Vec::new();
        if self.issuer == other.issuer || (self.trust_domain.is_some() && self.trust_domain == other.trust_domain) {
            let all = |document: &Self| {
                let mut audiences = document.accepted_audiences(context);
                audiences.extend(document.extra_audiences.iter().flatten().cloned());
                audiences
            };
            let theirs = all(other);
            if let Some(shared) = all(self).iter().find(|audience| theirs.contains(audience)) {
                let detail = format!(
                    "trusted issuer {name} has the same issuer or trust domain and takes `{shared}` too: nobody could tell their assertions apart"
                );
                problems.push(DocumentError::new("/audiences", detail));
            }
        }
        if !self.is_same_platform(other)
            && let (Some(ours), Some(theirs)) = (&self.keys, &other.keys)
            && let Some(pointer) = shared_keys(ours, theirs)
        {
            let detail = format!(
                "trusted issuer {name} has another issuer or trust domain and the same key set: either could speak for the other"
            );
            problems.push(DocumentError::new(pointer, detail));
        }
        problems
    }
}

/// Where a source says that its keys are those of another. Discovery follows the issuer, and a review has no keys.
fn shared_keys(ours: &KeySource, theirs: &KeySource) -> Option<&'static str> {
    if let (KeySource::Static { jwks }, KeySource::Static { jwks: theirs }) = (ours, theirs) {
        let theirs: Vec<_> = key_material(theirs).collect();
        return key_material(jwks).any(|key| theirs.contains(&key)).then_some("/keys/jwks");
    }
    let (pointer, place) = place_of(ours)?;
    (place_of(theirs)?.1 == place).then_some(pointer)
}

/// What makes a key the key it is; its `kid` and `use` are only what somebody calls it.
fn key_material(jwks: &Value) -> impl Iterator<Item = [Option<&Value>; 5]> {
    let keys = jwks.get("keys").and_then(Value::as_array).into_iter().flatten();
    keys.map(|key| ["crv", "x", "y", "n", "e"].map(|member| key.get(member)))
}

/// A place that keys are read from.
#[derive(PartialEq, Eq)]
enum KeyLocation<'a> {
    Url(Option<Url>),
    File(&'a Path),
}

fn place_of(keys: &KeySource) -> Option<(&'static str, KeyLocation<'_>)> {
    match keys {
        KeySource::JwksUri { uri } | KeySource::SpiffeBundle { uri: Some(uri), .. } => {
            Some(("/keys/uri", KeyLocation::Url(Url::parse(uri).ok())))
        }
        KeySource::File { path } | KeySource::SpiffeBundle { path: Some(path), .. } => {
            Some(("/keys/path", KeyLocation::File(Path::new(path))))
        }
        KeySource::SpiffeBundle { .. }
        | KeySource::Static { .. }
        | KeySource::Discovery
        | KeySource::TokenReview { .. } => None,
    }
}
