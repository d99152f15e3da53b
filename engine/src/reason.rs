//! Reasons of refusals: a stable code for each cause, with its meaning and its remedy.
//!
//! The codes are part of the public interface. They appear as `reason` in error answers, in audit
//! events, in `carnet policy test`, at `/reasons/{reason}` and in the book's reference page, which
//! is generated from this table.

mod class;
mod table;

use std::fmt;
use std::str::FromStr;

use carnet_access::DenialReason;

pub use class::{Class, ClassRow, Disclosure};
pub use table::Reason;

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A text that is not the code of any [`Reason`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a reason code")]
pub struct UnknownReason(pub String);

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(code: &str) -> Result<Self, UnknownReason> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.code() == code)
            .ok_or_else(|| UnknownReason(code.to_owned()))
    }
}

impl serde::Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> serde::Deserialize<'de> for Reason {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        code.parse().map_err(serde::de::Error::custom)
    }
}

impl From<DenialReason> for Reason {
    fn from(reason: DenialReason) -> Self {
        match reason {
            DenialReason::PackageOutOfScope => Self::PackageOutOfScope,
            DenialReason::ActionOutOfScope => Self::ActionOutOfScope,
            DenialReason::CreateDenied => Self::CreateDenied,
            DenialReason::VersionMismatch => Self::VersionMismatch,
            DenialReason::DigestMismatch => Self::DigestMismatch,
            DenialReason::OwnerLost => Self::OwnerLost,
            DenialReason::OwnerAmbiguous => Self::OwnerAmbiguous,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_codes_are_unique_and_parse_back() {
        for (at, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.code().parse(), Ok(*reason));
            assert!(
                Reason::ALL[..at]
                    .iter()
                    .all(|other| other.code() != reason.code()),
                "{reason}"
            );
            assert!(
                reason
                    .code()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{reason}"
            );
        }
        assert!("nonsense".parse::<Reason>().is_err());
    }

    #[test]
    fn rfc6749_5_2_2__sentences_stay_in_the_character_set_of_error_description() {
        for reason in Reason::ALL {
            let allowed = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
            assert!(reason.sentence().chars().all(allowed), "{reason}");
            assert!(
                !reason.meaning().is_empty() && !reason.remedy().is_empty(),
                "{reason}"
            );
        }
    }

    #[test]
    fn registry_denial_reasons_have_the_same_codes_in_the_engine() {
        for reason in [
            DenialReason::PackageOutOfScope,
            DenialReason::ActionOutOfScope,
            DenialReason::CreateDenied,
            DenialReason::VersionMismatch,
            DenialReason::DigestMismatch,
            DenialReason::OwnerLost,
            DenialReason::OwnerAmbiguous,
        ] {
            assert_eq!(Reason::from(reason).code(), reason.code());
        }
    }
}
