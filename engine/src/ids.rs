//! Ids of stored objects: UUIDs version 7 (RFC 9562 section 5.7), written as a prefix for the kind
//! of object and 26 characters of Crockford's base32.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::clock::Timestamp;

/// Crockford's base32 leaves out I, L, O and U, so that no letter is mistaken for a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A new UUID version 7 for `now`, so that ids sort by creation time.
pub fn new(now: Timestamp) -> Uuid {
    let millis = u64::try_from(now.millis()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &random()).into_uuid()
}

/// The smallest UUID version 7 with the time `at`: a lower bound for queries by time.
pub fn first_at(at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.millis()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}

/// The creation time that a UUID version 7 contains.
pub fn time_of(id: Uuid) -> Timestamp {
    let (millis, _) = id.as_u64_pair();
    Timestamp::from_millis(i64::try_from(millis >> 16).unwrap_or_default())
}

/// Random bytes from the operating system.
///
/// # Panics
///
/// If the operating system provides none: without random bytes no token, key or id is safe.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(
        clippy::expect_used,
        reason = "without randomness no token, key or id can be made"
    )]
    carnet_jose::fill_random(&mut bytes).expect("the operating system provides random bytes");
    bytes
}

/// Whether `text` has the form of an id of any kind of object, in any letter case: two characters
/// or `idp`, `_`, and 26 letters or digits.
pub fn looks_like_id(text: &str) -> bool {
    text.split_once('_').is_some_and(|(prefix, rest)| {
        (prefix.len() == 2 || prefix.eq_ignore_ascii_case("idp"))
            && rest.len() == 26
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl $name {
            pub fn new(now: Timestamp) -> Self {
                Self(new(now))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str(std::str::from_utf8(&digits(self.0)).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix($prefix).and_then(from_base32).map(Self).ok_or(InvalidId)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

ids! {
    TrustedIssuerId = "ti_";
    ResourceServerId = "rs_";
    /// Id of a federated credential (a rule).
    CredentialId = "fc_";
    /// Internal id of a registered client. The `client_id` of the protocol is the client's name.
    ClientRowId = "cl_";
    /// Id of a notification, a webhook.
    NotificationId = "nt_";
    IdentityProviderId = "idp_";
    /// Id of a membership: which persons have which role.
    MembershipId = "mb_";
    /// Id of a person who signed in.
    PersonId = "ps_";
    /// Public id of a session. It is not the value of the cookie, and gives no access.
    SessionId = "se_";
    /// Id of an authorization code. It is not the code, and gives no access.
    CodeId = "ac_";
    /// Id of an audit event, which is also the `error_id` of an error response.
    EventId = "ev_";
    /// Id of a publication that went through a gateway.
    PublicationId = "pub_";
}

/// The text is not an id of the expected kind: its prefix, length or alphabet is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this kind")]
pub struct InvalidId;

/// 128 bits as 26 base32 digits of 5 bits each; the first digit holds only 3 bits.
pub fn base32(id: Uuid) -> String {
    String::from_utf8(digits(id).to_vec()).unwrap_or_default()
}

fn digits(id: Uuid) -> [u8; 26] {
    let value = id.as_u128();
    std::array::from_fn(|at| {
        let index = (value >> 25usize.saturating_sub(at).saturating_mul(5)) & 31;
        usize::try_from(index)
            .ok()
            .and_then(|index| ALPHABET.get(index))
            .copied()
            .unwrap_or(b'0')
    })
}

fn from_base32(text: &str) -> Option<Uuid> {
    if text.len() != 26 || text.bytes().next()? > b'7' {
        return None;
    }
    text.bytes()
        .try_fold(0u128, |value, byte| {
            let digit = ALPHABET.iter().position(|letter| *letter == byte)?;
            Some(value << 5 | u128::try_from(digit).ok()?)
        })
        .map(Uuid::from_u128)
}

/// The rule that [`check_name`] enforces, worded for error messages.
pub const NAME_FORM: &str = "a name must begin with a letter or digit and consist of at most 128 letters, digits, `.`, `_` and `-`";

/// Checks the name of a stored object. The error is a message for the author of the document.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let holds = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if !(begins && holds && name.len() <= 128) {
        return Err(NAME_FORM);
    }
    // Objects are addressed by name or id, so no name may be mistaken for the id of another object.
    if looks_like_id(name) {
        Err("a name must not have the form of an id; choose another one")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_sort_by_time() {
        let early = CredentialId::new(Timestamp::from_seconds(1_790_000_000));
        let late = CredentialId::new(Timestamp::from_seconds(1_790_000_001));
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!(early.to_string().len(), 29);
        assert!(early.to_string().starts_with("fc_01"));
        assert_eq!(time_of(early.0), Timestamp::from_seconds(1_790_000_000));
        assert!(first_at(Timestamp::from_seconds(1_790_000_000)) <= early.0);
        assert!(early.0 < first_at(Timestamp::from_seconds(1_790_000_001)));
        for text in [
            "",
            "fc_",
            "ti_01KD",
            "fc_ZZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "fc_0000000000000000000000000!",
        ] {
            assert_eq!(text.parse::<CredentialId>(), Err(InvalidId), "{text}");
        }
        assert_eq!(
            format!("fc_{}", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ").parse(),
            Ok(CredentialId(Uuid::max()))
        );
        assert!(early.to_string().parse::<TrustedIssuerId>().is_err());
    }

    #[test]
    fn texts_of_the_form_of_an_id_are_no_names() {
        let id = CredentialId::new(Timestamp::from_seconds(1_790_000_000)).to_string();
        for text in [
            id.clone(),
            id.to_ascii_lowercase(),
            id.replacen("fc_", "zz_", 1),
            id.replacen("fc_", "idp_", 1),
            id.replacen("fc_", "Idp_", 1),
        ] {
            assert!(looks_like_id(&text) && check_name(&text).is_err(), "{text}");
        }
        let shorter: String = id.chars().take(28).collect();
        for text in [
            String::new(),
            "fc".to_owned(),
            shorter.clone(),
            format!("{id}0"),
            id.replacen("fc_", "fcc_", 1),
            id.replacen('_', "-", 1),
            format!("{shorter}."),
        ] {
            assert!(!looks_like_id(&text), "{text}");
        }
    }

    #[test]
    fn base32_has_26_digits_in_the_order_of_the_value() {
        assert_eq!(base32(Uuid::from_u128(0)), "0".repeat(26));
        assert_eq!(base32(Uuid::from_u128(31)), format!("{}Z", "0".repeat(25)));
        assert_eq!(base32(Uuid::max()), format!("7{}", "Z".repeat(25)));
    }

    #[test]
    fn rfc6749_10_10_1__random_bytes_do_not_repeat() {
        let drawn: std::collections::HashSet<[u8; 16]> = (0..10_000).map(|_| random()).collect();
        assert_eq!(drawn.len(), 10_000);
    }
}
