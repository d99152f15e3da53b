//! For package registries (resource servers): verify an access token that Carnet issued, and decide
//! whether it allows an operation on a package.
//!
//! * [`Verifier`] finds the one token of a request (RFC 6750 section 2). It verifies JWTs offline
//!   with the keys that the server publishes (RFC 9068 section 4), and asks the server about opaque
//!   keys ([`Introspection`], RFC 7662).
//! * [`Proofs`] lets it take tokens that are bound to a key, each with a proof of possession (DPoP,
//!   RFC 9449). Without, it refuses them.
//! * [`ClientCertificate`] tells it with which certificate a client made its TLS connection, for
//!   tokens that are bound to one (RFC 8705).
//! * [`RequireToken`] does this as a tower layer; [`Realm`] writes the challenges (RFC 6750 section
//!   3, RFC 9449 section 7.1).
//! * [`allows`] decides by the token's `authorization_details` (RFC 9396). What only the registry
//!   knows, such as who owns a package today, is passed in as [`RegistryState`].
//! * [`PackageNames`] and [`PackagePattern`] compare package names as the registry's ecosystem
//!   does. The server uses the same code, so a pattern means the same on both sides.
//! * [`ProtectedResource`] is the registry's own metadata document (RFC 9728).
//!
//! The crate stores nothing on disk and needs no web framework. Its only requests go to the
//! authorization server.
//!
//! A complete registry with axum:
//!
//! ```no_run
#![doc = include_str!("../examples/axum.rs")]
//! ```
//!
//! A verifier that may ask the server about tokens accepts opaque keys too:
//!
//! ```no_run
#![doc = include_str!("../examples/opaque_keys.rs")]
//! ```
//!
//! A verifier that was told where to remember proofs takes bound tokens too:
//!
//! ```no_run
#![doc = include_str!("../examples/bound_tokens.rs")]
//! ```

#![warn(missing_docs)]
#![cfg_attr(
    test,
    expect(
        non_snake_case,
        reason = "test names begin with the requirement they show"
    )
)]

mod address;
mod certificate;
mod claims;
mod introspection;
mod jwt;
mod kept;
mod layer;
mod possession;
mod realm;
mod recent;
mod rejection;
mod resource;
mod sent;
mod server;
mod verifier;

#[cfg(test)]
mod tests;

pub use carnet_access::{
    AccessToken, Actor, Allowed, AuthorizationDetail, CREATE, Confirmation, DETAIL_TYPE,
    DenialReason, Denied, GroundKind, InvalidPattern, Operation, PackageNames, PackagePattern,
    PackageSet, PersonClaim, PrincipalClaim, ProofLevel, RegistryState, RestsOn, WorkloadClaim,
    allows, is_well_formed_name,
};
pub use carnet_dpop::{InvalidProof, Presented, Proof, SingleProcess, SpentProofs};
pub use certificate::ClientCertificate;
pub use introspection::Introspection;
pub use layer::{RequireToken, TokenRequired};
pub use possession::Proofs;
pub use realm::Realm;
pub use rejection::{DpopRejection, Outage, Rejection};
pub use resource::{NoMetadata, ProtectedResource};
pub use sent::Sent;
pub use server::SetUpError;
pub use verifier::{Verified, Verifier};
