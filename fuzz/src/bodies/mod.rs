//! One function a fuzz target. The integration tests run the same functions on the corpora (`tests/it/fuzz_corpora.rs`), so an input
//! that once showed a fault is a test from then on.
//!
//! A function panics if what it was given shows a fault.

mod keys;
mod parsers;
mod rules;
mod server;
mod uploads;

pub use keys::{key_set, proof};
pub use parsers::{jwt, package_names};
pub use rules::rule;
pub use server::{admin_document, audit_search, folder, front_door, metadata, token_form};
pub use uploads::upload;

/// A target: its name, which is the folder of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const ALL: [Target; 11] = [
    ("admin_document", admin_document),
    ("audit_search", audit_search),
    ("front_door", front_door),
    ("jwt", jwt),
    ("key_set", key_set),
    ("metadata", metadata),
    ("package_names", package_names),
    ("proof", proof),
    ("rule", rule),
    ("token_form", token_form),
    ("upload", upload),
];
