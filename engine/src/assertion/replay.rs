use carnet_jose::sha256;

/// The first byte of a key: the kind of item that may be used once.
const ASSERTION: u8 = 1;
/// The same for a proof of possession.
const PROOF: u8 = 2;
/// The same for an authorization code.
const CODE: u8 = 3;

/// The key under which the use of an assertion, a proof of possession or an authorization code is
/// recorded.
///
/// It is a byte for the kind and a SHA-256, for an assertion over the issuer identifier and the
/// token's id or text. So
/// one issuer can never use up the tokens of another, ids of any length take the same space, and a
/// used assertion stays used when the trusted issuer is registered again, under whatever name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SingleUseKey([u8; 33]);

impl SingleUseKey {
    /// The key of a token with an id, such as `jti`.
    pub fn of_id(issuer: &str, id: &str) -> Self {
        Self::of(issuer, "id", id)
    }

    /// The key of a token without an id: over header and payload. The signature is left out, since
    /// an ECDSA signature has a twin that verifies as well.
    pub fn of_text(issuer: &str, signing_input: &str) -> Self {
        Self::of(issuer, "text", signing_input)
    }

    /// The key of one use for a package: an assertion may be used once for each package that a front
    /// door is asked for (`npm publish --workspaces` presents one assertion for all of them).
    #[must_use]
    pub fn for_package(self, package: &str) -> Self {
        // The rest has a fixed length, so different arguments never give the same text.
        let text = [self.0.as_slice(), package.as_bytes()].concat();
        Self::keyed(&text)
    }

    /// The stored form: the kind, then the hash.
    pub fn as_bytes(&self) -> &[u8; 33] {
        &self.0
    }

    fn of(issuer: &str, kind: &str, value: &str) -> Self {
        // Issuer identifiers contain no NUL, so different arguments never give the same text.
        Self::keyed([issuer, kind, value].join("\0").as_bytes())
    }

    fn keyed(text: &[u8]) -> Self {
        Self::of_kind(ASSERTION, sha256(text))
    }

    /// The key of a DPoP proof, by the hash that tells it from others.
    pub fn of_proof(hash: [u8; 32]) -> Self {
        Self::of_kind(PROOF, hash)
    }

    /// The key of an authorization code, by its hash.
    pub fn of_code(hash: [u8; 32]) -> Self {
        Self::of_kind(CODE, hash)
    }

    fn of_kind(kind: u8, hash: [u8; 32]) -> Self {
        let mut key = [kind; 33];
        if let Some(place) = key.get_mut(1..) {
            place.copy_from_slice(&hash);
        }
        Self(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7523_3_7__replay_keys_differ_by_issuer_kind_and_value() {
        let key = SingleUseKey::of_id("github", "a");
        assert_eq!(key, SingleUseKey::of_id("github", "a"));
        for other in [
            SingleUseKey::of_id("gitlab", "a"),
            SingleUseKey::of_id("GitHub", "a"),
            SingleUseKey::of_id("github", "A"),
            SingleUseKey::of_id("github", "a\0"),
            SingleUseKey::of_text("github", "a"),
            SingleUseKey::of_id("github", ""),
        ] {
            assert_ne!(key, other);
        }
        let of_package = key.for_package("left-pad");
        assert_eq!(of_package, key.for_package("left-pad"));
        for other in [
            key,
            key.for_package("left-pad2"),
            key.for_package(""),
            of_package.for_package(""),
        ] {
            assert_ne!(of_package, other);
        }
        assert_ne!(
            SingleUseKey::of_text("i", "a.b"),
            SingleUseKey::of_text("i", "a.c")
        );
    }
}
