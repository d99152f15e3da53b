//! What is known of each kind of trusted issuer, read from the files in `profiles/`.
//!
//! A profile says which claims its tokens have and how they are typed and compared, which fields a rule may use and how each
//! reads the claims, which ids are immutable, and what makes a rule too wide. The code knows kinds of checks and no platform:
//! a new CI system is a new file.

mod claims;
mod compile;
mod field;
mod file;
mod pair;
mod profiles;
mod template;

use std::sync::Arc;

use carnet_jose::Algorithm;
use serde::{Deserialize, Serialize};

pub use claims::{Case, ClaimKind, ClaimSpec, Claims, Format, Unreadable};
pub use compile::ProfileError;
pub use field::{Check, Equals, Field, FileCheck, Paste, ReusableFile, Revision, Role};
pub use pair::{Inconsistent, Pair};
pub use profiles::Profiles;
pub use template::Template;

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
    /// Audiences that the platform's own services take; `*` stops at a slash.
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
