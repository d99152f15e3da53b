//! What is known of each kind of trusted issuer, read from the files in `profiles/`.
//!
//! A profile says which claims its tokens have and how they are typed and compared, which fields a rule may use and how each
//! reads the claims, which ids are immutable, and what makes a rule too wide. The code knows kinds of checks and no platform:
//! a new CI system is a new file.

mod claims;
mod compile;
mod field;
mod file;
mod format;
pub mod glob;
mod identity;
mod pair;
mod profiles;
mod requirement;
mod template;
mod terms;

use std::sync::Arc;

use carnet_jose::Algorithm;
use serde::{Deserialize, Serialize};

pub use claims::{ClaimKind, ClaimSpec, Claims, LetterCase, Unreadable};
pub use compile::ProfileError;
pub use field::{Check, Equals, Field, FileCheck, Paste, ReusableFile, Revision, Role};
pub use format::{Format, is_trust_domain, registrable_domain, trust_domain_of};
pub use identity::Identity;
pub use pair::{Inconsistent, Pair};
pub use profiles::Profiles;
pub use requirement::{Requirement, lies_in};
pub use template::Template;
pub use terms::Terms;

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
    /// What every assertion has to be.
    pub requirements: Vec<Requirement>,
    /// The claim that names the event which started the run.
    pub event: Option<Arc<ClaimSpec>>,
    /// The fields of `match`. One name may stand several times, with different [`Field::when`].
    pub fields: Vec<Field>,
    /// How rules are found: groups of keys, each made of the fields at these positions.
    pub index: Vec<Vec<Vec<usize>>>,
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
    /// Audiences that the platform's own services take; `*` stops at a slash, and `{iss}` is the issuer's own name.
    pub platform_audiences: Vec<String>,
    /// Audiences that others take too, because the platform cannot do better.
    pub shared_audiences: Vec<String>,
    /// Hosts beside the issuer's own that may serve its key set.
    pub key_hosts: Vec<String>,
    /// Whether a header may hold nothing but `alg`, `kid` and `typ`.
    pub plain_header: bool,
    /// Whether the platform can be asked about its tokens by the `TokenReview` API.
    pub token_review: bool,
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
    /// Accepted audiences, where the platform leaves no choice.
    pub audiences: Option<Vec<String>>,
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

/// A rule that gets a warning.
#[derive(Debug)]
pub struct WeakRule {
    /// The warning's code.
    pub code: String,
    /// Fields that make it strong.
    pub unless: Vec<String>,
    /// Fields and globs: only rules whose values fit all of them are meant.
    pub like: Vec<(String, String)>,
    /// The warning.
    pub detail: String,
}

/// What `require_protected_ref_or_environment` of a resource server reads.
#[derive(Debug)]
pub struct Floor {
    /// The field whose presence in a rule is enough, if there is one.
    pub environment_field: Option<String>,
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

    /// What every assertion of this kind has to have, what it has to be, and where its claims have to agree.
    pub fn check(&self, claims: &Claims, terms: &Terms) -> Result<(), Inconsistent> {
        for spec in self.claims.iter().filter(|spec| spec.required) {
            spec.check(claims)
                .map_err(|unreadable| Inconsistent { reason: unreadable.into(), claim: spec.name.clone() })?;
        }
        if let Some(path) = &terms.issuer_claim {
            let upstream = ClaimSpec::text_claim(path).text(claims);
            upstream.map_err(|unreadable| Inconsistent { reason: unreadable.into(), claim: path.clone() })?;
        }
        self.requirements.iter().try_for_each(|requirement| requirement.check(claims, terms))?;
        self.pairs.iter().try_for_each(|pair| pair.check(claims))
    }

    /// Whether an audience is one that the platform's own services take.
    pub fn is_platform_audience(&self, audience: &str, issuer: &str) -> bool {
        self.platform_audiences.iter().any(|pattern| match pattern.as_str() {
            "{iss}" => audience == issuer,
            pattern => glob::matches(pattern, audience),
        })
    }

    /// Whether its tokens hold SPIFFE ids, so that a trust domain stands for the issuer (decision D-36).
    pub fn is_spiffe(&self) -> bool {
        self.requirements.iter().any(|requirement| matches!(requirement, Requirement::TrustDomain(_)))
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
