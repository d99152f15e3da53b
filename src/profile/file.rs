//! The shape of a profile file. `docs/src/reference/profiles.md` describes it for those who write one.

use std::collections::BTreeMap;

use carnet_jose::Algorithm;
use serde::Deserialize;

use super::claims::{Case, ClaimKind, Format};
use super::{PinMode, Replay, Role};
use crate::reason::Reason;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileFile {
    pub title: String,
    pub defaults: DefaultsFile,
    #[serde(default)]
    pub claims: BTreeMap<String, ClaimFile>,
    #[serde(default)]
    pub pairs: Vec<PairFile>,
    #[serde(default)]
    pub fields: Vec<FieldFile>,
    /// Groups of field names; a rule is found under every field of the first group that it has something of.
    #[serde(default)]
    pub index: Vec<Vec<String>>,
    #[serde(default)]
    pub at_least: Vec<AtLeastFile>,
    #[serde(default)]
    pub warnings: Vec<WarningFile>,
    pub workload: WorkloadFile,
    pub event_claim: Option<String>,
    pub floor: Option<FloorFile>,
    #[serde(default)]
    pub pins: PinMode,
    #[serde(default)]
    pub platform_audiences: Vec<String>,
    #[serde(default)]
    pub key_hosts: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DefaultsFile {
    pub algorithms: Vec<Algorithm>,
    pub types: Vec<String>,
    pub max_assertion_lifetime_seconds: u32,
    #[serde(default = "sixty")]
    pub leeway_seconds: u32,
    pub replay: Replay,
    #[serde(default = "jti")]
    pub replay_claim: String,
    #[serde(default = "yes")]
    pub iat_required: bool,
    #[serde(default)]
    pub banned_events: Vec<String>,
}

fn sixty() -> u32 {
    60
}

fn jti() -> String {
    "jti".to_owned()
}

fn yes() -> bool {
    true
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimFile {
    pub path: Option<String>,
    #[serde(default, rename = "type")]
    pub kind: ClaimKind,
    #[serde(default)]
    pub case: Case,
    pub format: Option<Format>,
    #[serde(default)]
    pub one_of: Vec<String>,
    #[serde(default)]
    pub required: bool,
    #[serde(default)]
    pub forward: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PairFile {
    pub claim: String,
    pub starts_with: Option<String>,
    pub twin: Option<String>,
    #[serde(default)]
    pub prefixes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldFile {
    pub name: String,
    /// Which setting of another field chooses this check, where one field has several.
    #[serde(default)]
    pub when: BTreeMap<String, String>,
    #[serde(default)]
    pub role: Role,
    /// The id fields that tell what this field names.
    #[serde(default)]
    pub ids: Vec<String>,
    pub mismatch: Option<Reason>,
    pub missing: Option<Reason>,
    pub check: CheckFile,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CheckFile {
    Equals(EqualsFile),
    Flag(FlagFile),
    Choice(ChoiceFile),
    File(FileCheckFile),
    ReusableFile(ReusableFileFile),
    Version(VersionFile),
    MatchNames,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EqualsFile {
    pub claim: String,
    #[serde(default)]
    pub glob: bool,
    #[serde(default)]
    pub list: bool,
    /// What every value begins with.
    pub starts_with: Option<String>,
    /// Whether values are decimal numbers, which people also write without quotes.
    #[serde(default)]
    pub digits: bool,
    #[serde(default)]
    pub paste: PasteFile,
}

/// What people paste around a value; taken off when a rule is saved, never from a claim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PasteFile {
    #[serde(default)]
    pub prefixes: Vec<String>,
    #[serde(default)]
    pub suffixes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlagFile {
    pub claim: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionFile {
    pub claim: String,
    pub starts_with: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChoiceFile {
    pub values: Vec<String>,
    pub default: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileCheckFile {
    pub claim: String,
    pub prefix: String,
    pub at: Vec<String>,
    #[serde(default)]
    pub endings: Vec<String>,
    #[serde(default)]
    pub paste: PasteFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReusableFileFile {
    pub claim: String,
    pub commit_claim: String,
    pub same_repository: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AtLeastFile {
    pub any_of: Vec<String>,
    pub detail: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WarningFile {
    pub code: String,
    pub unless: Vec<String>,
    pub detail: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkloadFile {
    pub id: String,
    #[serde(default)]
    pub urls: Vec<UrlFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UrlFile {
    pub issuer: String,
    pub url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FloorFile {
    pub environment_field: String,
    pub protected_claim: String,
}
