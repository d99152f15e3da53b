//! The TOML schema of a profile file, which `docs/src/reference/profile-files.md` describes for
//! authors. Names are only collected here; the module `compile` resolves them.

use std::collections::BTreeMap;

use carnet_jose::Algorithm;
use serde::Deserialize;

use super::claims::{ClaimKind, LetterCase};
use super::form::file::FormFile;
use super::format::Format;
use super::{PinMode, Replay, Resource, Role};
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
    pub requires: Vec<RequirementFile>,
    #[serde(default)]
    pub fields: Vec<FieldFile>,
    /// Groups of field names, or of several joined by `+` into one key. A rule is listed under all
    /// its values for the first group of which it has any.
    #[serde(default)]
    pub index: Vec<Vec<String>>,
    #[serde(default)]
    pub at_least: Vec<AtLeastFile>,
    #[serde(default)]
    pub warnings: Vec<WarningFile>,
    pub workload: WorkloadFile,
    pub event_claim: Option<String>,
    #[serde(default)]
    pub asked_events: Vec<String>,
    #[serde(default)]
    pub asked_refs: Vec<String>,
    /// The claims that are compared with `asked_refs`.
    #[serde(default)]
    pub ref_claims: Vec<String>,
    pub floor: Option<FloorFile>,
    #[serde(default)]
    pub pins: PinMode,
    #[serde(default)]
    pub platform_audiences: Vec<String>,
    #[serde(default)]
    pub shared_audiences: Vec<String>,
    #[serde(default)]
    pub issuers: Vec<String>,
    #[serde(default)]
    pub warn_open_pins: bool,
    #[serde(default)]
    pub key_hosts: Vec<String>,
    #[serde(default)]
    pub plain_header: bool,
    #[serde(default)]
    pub token_review: bool,
    pub attestation: Option<AttestationFile>,
    /// Makes this a profile for the people of an identity provider.
    pub people: Option<PeopleFile>,
    /// Remedies of reasons on this platform, by reason code.
    #[serde(default)]
    pub remedies: BTreeMap<Reason, String>,
    /// How people write a rule; derived from the fields if it is absent.
    pub form: Option<FormFile>,
}

/// Whether the RPKI must vouch for the keys of an issuer.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AttestationFile {
    Required,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeopleFile {
    /// Fields that nobody can take by renaming an account.
    pub certain: Vec<String>,
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
    pub audiences: Option<Vec<String>>,
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
    pub after: Option<String>,
    #[serde(default, rename = "type")]
    pub kind: ClaimKind,
    #[serde(default)]
    pub case: LetterCase,
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
    pub starts_with: Option<OneOrMore>,
    pub is: Option<OneOrMore>,
    #[serde(default)]
    pub rest: Option<Format>,
    pub twin: Option<String>,
    #[serde(default)]
    pub prefixes: BTreeMap<String, String>,
}

/// A string or an array of strings.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::More(texts) => texts,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RequirementFile {
    Values(ValuesFile),
    Verified(String),
    TrustDomain(String),
    SubjectUri(String),
    SubjectName(String),
    Attested(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ValuesFile {
    pub claims: Vec<String>,
    pub one_of: Vec<String>,
    #[serde(default)]
    pub optional: bool,
    pub mismatch: Option<Reason>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldFile {
    pub name: String,
    /// The setting of a `choice` field for which this check applies, where a field has several
    /// checks.
    #[serde(default)]
    pub when: BTreeMap<String, String>,
    #[serde(default)]
    pub role: Role,
    /// The id fields that identify the object that this field names.
    #[serde(default)]
    pub ids: Vec<String>,
    #[serde(default)]
    pub needs: Vec<String>,
    pub mismatch: Option<Reason>,
    pub missing: Option<Reason>,
    pub check: CheckFile,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CheckFile {
    Equals(EqualsFile),
    Flag(FlagFile),
    Present(PresentFile),
    Choice(ChoiceFile),
    File(FileCheckFile),
    ReusableFile(ReusableFileFile),
    Version(VersionFile),
    Identity(IdentityFile),
    Upstream,
    MatchNames,
    Attested(AttestedCheckFile),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttestedCheckFile {
    pub resource: Resource,
    /// A claim with AS numbers that narrows what is attested if it is sent.
    pub narrowed_by: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EqualsFile {
    pub claim: String,
    #[serde(default)]
    pub glob: bool,
    #[serde(default)]
    pub list: bool,
    /// Required beginning of every value in a rule.
    pub starts_with: Option<String>,
    /// Template of the text before the value in the claim.
    pub prefix: Option<String>,
    /// The format of a value in a rule, where it differs from the claim's.
    pub value_format: Option<Format>,
    #[serde(default)]
    pub known_values: Vec<String>,
    pub parts_end_at: Option<String>,
    pub verified_by: Option<String>,
    /// A glob that the part of a pattern before its first `*` has to fit even without its last
    /// character.
    pub literal: Option<String>,
    #[serde(default)]
    pub strangers: Vec<String>,
    /// Whether values are decimal numbers, which a rule may also give as JSON numbers.
    #[serde(default)]
    pub digits: bool,
    #[serde(default)]
    pub paste: PasteFile,
}

/// Text that people paste around a value. It is stripped when a rule is saved, never from a claim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PasteFile {
    #[serde(default)]
    pub prefixes: Vec<String>,
    #[serde(default)]
    pub suffixes: Vec<String>,
    /// Hosts whose addresses are read as values; `*` is any host.
    #[serde(default)]
    pub hosts: Vec<String>,
    #[serde(default)]
    pub with_host: bool,
    /// How many parts of an address's path belong to the value.
    pub parts: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlagFile {
    pub claim: String,
    #[serde(default = "yes")]
    pub wanted: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PresentFile {
    pub claim: String,
    #[serde(default)]
    pub default: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdentityFile {
    pub template: String,
    #[serde(default)]
    pub defaults: BTreeMap<String, String>,
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
    pub prefix: OneOrMore,
    pub at: Vec<String>,
    #[serde(default)]
    pub endings: Vec<String>,
    #[serde(default)]
    pub folders: bool,
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
    #[serde(default)]
    pub unless: Vec<NarrowingFile>,
    /// The warning is only for rules that have a value or a pattern for each of these globs.
    #[serde(default)]
    pub like: BTreeMap<String, OneOrMore>,
    pub detail: String,
}

/// A field whose plain values all narrow a rule, or which of its values and patterns do.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum NarrowingFile {
    Field(String),
    Some(SomeValuesFile),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SomeValuesFile {
    pub field: String,
    #[serde(default)]
    pub values: Vec<String>,
    #[serde(default)]
    pub globs: Vec<String>,
    #[serde(default)]
    pub with: BTreeMap<String, String>,
}

impl NarrowingFile {
    pub fn field(&self) -> &str {
        match self {
            Self::Field(field) => field,
            Self::Some(some) => &some.field,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkloadFile {
    pub id: String,
    #[serde(default)]
    pub urls: Vec<UrlFile>,
    pub run: Option<RunFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunFile {
    pub claim: String,
    pub noun: String,
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
    pub environment_field: Option<String>,
    pub environment_protected_claim: Option<String>,
    pub protected_claim: String,
}
