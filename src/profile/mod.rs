//! What is known of each kind of trusted issuer, read from the files in `profiles/`.
//!
//! A profile says which claims its tokens have and how they are typed and compared, which fields a rule may use and how each
//! reads the claims, which ids are immutable, and what makes a rule too wide. The code knows kinds of checks and no platform:
//! a new CI system is a new file.

mod claims;
mod compile;
mod file;
mod pair;
mod template;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use carnet_jose::Algorithm;
use serde::{Deserialize, Serialize};

pub use claims::{Case, ClaimKind, ClaimSpec, Claims, Format, Unreadable};
pub use compile::ProfileError;
pub use pair::{Inconsistent, Pair};
pub use template::Template;

use crate::reason::Reason;

/// The profiles that come with the server: name and text of each file.
const BUNDLED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/profiles.rs"));

/// One profile, compiled.
#[derive(Debug)]
pub struct Profile {
    /// Its name, as in `profile = "github-actions"`.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// What a trusted issuer of this profile has unless it says otherwise.
    pub defaults: Defaults,
    /// The claims that are known, in the order of their names.
    pub claims: Vec<Arc<ClaimSpec>>,
    /// Claims that say one thing twice.
    pub pairs: Vec<Pair>,
    /// The claim that names the event which started the run.
    pub event: Option<Arc<ClaimSpec>>,
    /// The fields of `match`. One name may stand several times, with different [`Field::when`].
    pub fields: Vec<Field>,
    /// How rules are found: positions in [`Profile::fields`], by group.
    pub index: Vec<Vec<usize>>,
    /// When immutable ids are pinned.
    pub pins: PinMode,
    /// What a rule needs so that it is not open to strangers.
    pub at_least: Vec<AtLeast>,
    /// What makes a rule weak without making it wrong.
    pub warnings: Vec<WeakRule>,
    /// The workload's id, for tokens that serve several principals.
    pub workload_id: Template,
    /// Where a person can look at the run, by the issuer it comes from.
    pub workload_urls: Vec<(String, Template)>,
    /// What the registry-wide floor reads.
    pub floor: Option<Floor>,
    /// Audiences that the platform's own services take; `*` is any run of characters.
    pub platform_audiences: Vec<String>,
    /// Hosts beside the issuer's own that may serve its key set.
    pub key_hosts: Vec<String>,
}

/// What a trusted issuer has unless it says otherwise.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Signature algorithms.
    pub algorithms: Vec<Algorithm>,
    /// Values of `typ`; a token without `typ` counts as `JWT`.
    pub types: Vec<String>,
    /// The longest time from `iat` to `exp`.
    pub max_assertion_lifetime_seconds: u32,
    /// How far clocks may differ.
    pub leeway_seconds: u32,
    /// Single use.
    pub replay: Replay,
    /// The claim that holds the token's id.
    pub replay_claim: String,
    /// Whether `iat` has to be there.
    pub iat_required: bool,
    /// Events that never match, compared without ASCII case.
    pub banned_events: Vec<String>,
}

/// Whether and how an assertion is good for one token only (decision D-16 as overruled).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replay {
    /// The id claim has to be there.
    Required,
    /// The id claim, or else a hash of the token without its signature.
    JtiOrTokenHash,
    /// The platform hands one token out again and again.
    Off,
}

/// When the immutable ids of what a rule names are pinned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PinMode {
    /// Never: there are none, or rules are made of ids.
    #[default]
    Never,
    /// At the first full match; until then the rule is pending.
    Required,
    /// At the first full match that sends them; the rule is active from the start.
    WhenSent,
}

/// What a field says of the workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// What it does or where it runs.
    #[default]
    Condition,
    /// Its name, which somebody else may have tomorrow.
    Name,
    /// Its immutable id.
    Id,
}

/// One field of `match`.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// The setting of another field that chooses this check.
    pub when: Option<(String, String)>,
    /// What it says of the workload.
    pub role: Role,
    /// For a name: the positions of the id fields that tell the same.
    pub ids: Vec<usize>,
    /// The reason when it does not hold.
    pub mismatch: Reason,
    /// The reason when the claim is absent.
    pub missing: Reason,
    /// How it reads the claims.
    pub check: Check,
}

/// The kinds of checks.
#[derive(Debug)]
pub enum Check {
    /// The claim is the value, or one of several, or fits a glob.
    Equals(Equals),
    /// The claim is true.
    Flag(Arc<ClaimSpec>),
    /// No check by itself: it chooses between checks of another field.
    Choice {
        /// The settings.
        values: Vec<String>,
        /// The setting where the rule has none.
        default: String,
    },
    /// The claim is prefix, file, `@` and a revision, compared whole and never split.
    File(FileCheck),
    /// The file that defines the job, which may be of another repository.
    ReusableFile(ReusableFile),
    /// The claim is a text with the version in it.
    Version {
        /// The claim.
        claim: Arc<ClaimSpec>,
        /// What every template begins with.
        starts_with: String,
    },
    /// No check by itself: whether names are compared beside ids.
    MatchNames,
}

/// See [`Check::Equals`].
#[derive(Debug)]
pub struct Equals {
    /// The claim.
    pub claim: Arc<ClaimSpec>,
    /// Whether a glob may be given.
    pub glob: bool,
    /// Whether a list may be given, of which one value suffices.
    pub list: bool,
    /// What every value begins with.
    pub starts_with: Option<String>,
    /// Whether values are decimal numbers.
    pub digits: bool,
    /// What is taken off when a rule is saved.
    pub paste: Paste,
}

/// See [`Check::File`].
#[derive(Debug)]
pub struct FileCheck {
    /// The claim.
    pub claim: Arc<ClaimSpec>,
    /// What stands before the file.
    pub prefix: Template,
    /// What may stand after the `@`.
    pub at: Vec<Revision>,
    /// How file names end; none listed means any.
    pub endings: Vec<String>,
    /// What is taken off when a rule is saved.
    pub paste: Paste,
}

/// See [`Check::ReusableFile`].
#[derive(Debug)]
pub struct ReusableFile {
    /// The claim with file and ref.
    pub claim: Arc<ClaimSpec>,
    /// The claim with the commit of the file.
    pub commit: Arc<ClaimSpec>,
    /// What a file of the same repository begins with.
    pub same_repository: Template,
}

/// What may stand after the `@` of a file.
#[derive(Debug)]
pub enum Revision {
    /// The value of another claim, if it is not empty.
    Claim(Arc<ClaimSpec>),
    /// Anything that begins so.
    StartsWith(String),
}

/// What people paste around a value.
#[derive(Clone, Debug, Default)]
pub struct Paste {
    /// Beginnings.
    pub prefixes: Vec<String>,
    /// Ends.
    pub suffixes: Vec<String>,
}

/// A rule needs one of these.
#[derive(Debug)]
pub struct AtLeast {
    /// Fields, or a member of one (`called_workflow.path`).
    pub any_of: Vec<String>,
    /// What to say when all are missing.
    pub detail: String,
}

/// A rule without any of these gets a warning.
#[derive(Debug)]
pub struct WeakRule {
    /// The warning's code.
    pub code: String,
    /// Fields that make it strong.
    pub unless: Vec<String>,
    /// The warning.
    pub detail: String,
}

/// What `require_protected_ref_or_environment` of a resource server reads.
#[derive(Debug)]
pub struct Floor {
    /// The field whose presence in a rule is enough.
    pub environment_field: String,
    /// The claim that is true for a protected ref.
    pub protected: Arc<ClaimSpec>,
}

impl Profile {
    /// The claim of this name.
    pub fn claim(&self, name: &str) -> Option<&Arc<ClaimSpec>> {
        self.claims.iter().find(|claim| claim.name == name)
    }

    /// The fields of this name.
    pub fn fields_named<'p>(&'p self, name: &'p str) -> impl Iterator<Item = (usize, &'p Field)> {
        self.fields.iter().enumerate().filter(move |(_, field)| field.name == name)
    }

    /// What every assertion of this kind has to have, and where its claims have to agree.
    pub fn check(&self, claims: &Claims) -> Result<(), Inconsistent> {
        for spec in self.claims.iter().filter(|spec| spec.required) {
            spec.check(claims)
                .map_err(|unreadable| Inconsistent { reason: unreadable.into(), claim: spec.name.clone() })?;
        }
        self.pairs.iter().try_for_each(|pair| pair.check(claims))
    }

    /// Where a person can look at the run, if that can be told.
    pub fn workload_url(&self, issuer: &str, claims: &Claims) -> Option<String> {
        let (_, template) = self.workload_urls.iter().find(|(of, _)| of == issuer)?;
        template.render(claims).ok()
    }

    /// The claims that go into issued tokens, by their names in the profile.
    pub fn forwarded<'a>(&'a self, claims: &'a Claims) -> impl Iterator<Item = (&'a str, &'a serde_json::Value)> {
        let forwarded = self.claims.iter().filter(|spec| spec.forward);
        forwarded.filter_map(|spec| Some((spec.name.as_str(), claims.get(&spec.path)?)))
    }
}

/// All profiles of this server.
#[derive(Debug)]
pub struct Profiles(BTreeMap<String, Arc<Profile>>);

impl Profiles {
    /// The profiles that come with the server, and those in `folder`, which may not reuse a name.
    pub fn load(folder: Option<&Path>) -> Result<Self, Vec<ProfileError>> {
        let mut profiles = BTreeMap::new();
        let mut errors = Vec::new();
        let mut add = |name: &str, text: &str| match compile::compile(name, text) {
            Ok(profile) if profiles.contains_key(name) => errors.push(profile.already_there()),
            Ok(profile) => {
                profiles.insert(name.to_owned(), Arc::new(profile));
            }
            Err(found) => errors.extend(found),
        };
        for (name, text) in BUNDLED {
            add(name, text);
        }
        match folder.map(operator_files).transpose() {
            Ok(files) => files.into_iter().flatten().for_each(|(name, text)| add(&name, &text)),
            Err(error) => errors.push(error),
        }
        if errors.is_empty() { Ok(Self(profiles)) } else { Err(errors) }
    }

    /// The profile of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Profile>> {
        self.0.get(name)
    }

    /// The names of all profiles.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// All profiles.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.0.values()
    }
}

impl Profile {
    fn already_there(&self) -> ProfileError {
        ProfileError { profile: self.name.clone(), detail: "a profile of this name comes with the server".to_owned() }
    }
}

fn operator_files(folder: &Path) -> Result<Vec<(String, String)>, ProfileError> {
    let failed = |error: std::io::Error| ProfileError {
        profile: folder.display().to_string(),
        detail: format!("cannot be read: {error}"),
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            files.push((name, std::fs::read_to_string(&path).map_err(failed)?));
        }
    }
    files.sort();
    Ok(files)
}
