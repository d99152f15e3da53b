//! JWK sets that the holder of Internet number resources vouches for by the RPKI
//! (draft-blahaj-grow-rpki-oauth-00). Experimental: the drafts are unfinished, and no object
//! identifier is allocated.
//!
//! A set carries an RPKI signed message (draft-spaghetti-sidrops-rpki-rsm) over its other members.
//! [`Verifier::verify`] says which AS numbers and prefixes stand behind the set, or at which [`Step`]
//! it failed. Everything is local: certificates, manifests and CRLs come from the copy that a
//! validator keeps on disk, and nothing that a certificate names is ever fetched. The time is handed
//! in.

#![cfg_attr(
    test,
    expect(
        non_snake_case,
        reason = "test names begin with the requirement they show"
    )
)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used,
        reason = "tests fail by panicking"
    )
)]

mod anchors;
mod certification_path;
mod failure;
mod message;
mod octets;
mod repository;
mod resources;
mod verifier;

pub use anchors::{AnchorError, TrustAnchors};
pub use failure::{Failure, Step};
pub use message::{MessageProfile, MessageProfileError};
pub use octets::{AttestedSet, SetError};
pub use repository::RepositoryCopy;
pub use resources::Resources;
pub use verifier::{Verdict, Verifier};
