//! The endpoint that an assertion is presented at, which decides the audiences that are accepted.

use crate::model::{FrontDoor, TrustedIssuer};

/// Where an assertion is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient<'a> {
    /// The token endpoint, which accepts the audiences of the trusted issuer.
    TokenEndpoint,
    /// A registry's front door, which accepts audiences of its own.
    FrontDoor {
        door: &'a FrontDoor,
        /// The package that the request names, in the form in which the registry compares names. An
        /// assertion may be used once for each.
        package: Option<&'a str>,
    },
}

impl<'a> Recipient<'a> {
    /// The accepted audiences.
    pub fn audiences(self, issuer: &'a TrustedIssuer) -> &'a [String] {
        match self {
            Self::TokenEndpoint => &issuer.audiences,
            Self::FrontDoor { door, .. } => &door.audiences,
        }
    }

    /// Whether assertions of this trusted issuer are accepted at all.
    pub fn takes(self, issuer: &TrustedIssuer) -> bool {
        match self {
            Self::TokenEndpoint => true,
            Self::FrontDoor { door, .. } => door.takes(&issuer.name),
        }
    }

    pub(super) fn package(self) -> Option<&'a str> {
        match self {
            Self::TokenEndpoint => None,
            Self::FrontDoor { package, .. } => package,
        }
    }
}
