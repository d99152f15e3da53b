//! What attestations of keys by the RPKI are verified against.

use std::path::PathBuf;

/// What attestations are verified against. Experimental.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpkiConfig {
    /// The cache of `rpki-client`.
    pub repository_dir: PathBuf,
    /// The folder of trust anchor locators, `NAME.tal`.
    pub tal_dir: PathBuf,
    pub message: MessageIds,
    /// How often a held verdict is compared with the copy of the repository, in seconds.
    pub recheck_seconds: i64,
    /// The longest life of an attestation, in days.
    pub max_attestation_days: i64,
}

/// Object identifiers of RPKI signed messages, in dotted notation. None is allocated yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageIds {
    pub content_type: String,
    pub audience: String,
    pub purpose: String,
}
