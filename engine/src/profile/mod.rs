//! Profiles: what the server knows of each kind of trusted issuer, read from `engine/profiles/` and
//! from the operator's `profiles_dir`.
//!
//! A profile declares the claims of a platform's tokens with their types and comparison rules, the
//! fields that a rule may use, which fields hold immutable ids, and which rules are too wide. The
//! code implements kinds of checks and names no platform: supporting another CI system takes a new
//! file. `docs/src/reference/profile-files.md` describes the format.

mod claims;
mod compile;
mod field;
mod file;
pub mod form;
mod format;
pub mod glob;
mod identity;
mod pair;
mod paste;
mod profiles;
mod requirement;
mod template;
mod terms;
mod width;

use std::collections::BTreeMap;
use std::sync::Arc;

use carnet_jose::Algorithm;
use serde::{Deserialize, Serialize};

pub use claims::{ClaimKind, ClaimSpec, Claims, LetterCase, Unreadable, is_of_the_workload};
pub use compile::ProfileError;
pub use field::{
    AttestedCheck, Check, Equals, Field, FileCheck, Resource, ReusableFile, Revision, Role, asns_in,
};
pub use form::{Entry, Form, Input};
pub use format::{Format, is_trust_domain, registrable_domain, trust_domain_of};
pub use identity::Identity;
pub use pair::{Inconsistent, Pair};
pub use paste::{Address, Paste};
pub use profiles::Profiles;
pub use requirement::{Requirement, lies_in};
pub use template::Template;
pub use terms::Terms;
pub use width::{Narrowing, texts};

use crate::attested::Attested;
use crate::reason::Reason;

/// A compiled profile: every claim and field that its file names is resolved.
#[derive(Debug)]
pub struct Profile {
    /// The profile's name, as in `profile = "github-actions"`.
    pub name: String,
    /// The platform's name as shown to people, such as `GitHub Actions`.
    pub title: String,
    /// Settings for a trusted issuer of this profile whose document leaves them out.
    pub defaults: Defaults,
    /// The declared claims and `sub`, sorted by name.
    pub claims: Vec<Arc<ClaimSpec>>,
    /// Claims that repeat each other and therefore have to agree.
    pub pairs: Vec<Pair>,
    /// What every assertion has to fulfil, whatever the rules say.
    pub requirements: Vec<Requirement>,
    /// The claim that names the event which started the run; `banned_events` is compared with it.
    pub event: Option<Arc<ClaimSpec>>,
    /// Runs that no rule admits unless its events name one of them.
    pub asked: Asked,
    /// The fields of `match`. A name may occur several times, with different [`Field::when`].
    pub fields: Vec<Field>,
    /// How rules are indexed: groups of keys, each key made of the fields at these positions.
    pub index: Vec<Vec<Vec<usize>>>,
    pub pins: PinMode,
    /// Groups of fields of which a rule needs one each: without them, workloads of other accounts
    /// would match it.
    pub at_least: Vec<AtLeast>,
    /// Rules that are saved with a warning, because they are weak but not wrong.
    pub warnings: Vec<WeakRule>,
    /// Template of the workload's id, used as `sub` of a token that serves several principals.
    pub workload_id: Template,
    /// The number of the run, for people who read audit events.
    pub run: Option<RunNumber>,
    /// URL of the run in the platform's web interface, for assertions of exactly this issuer.
    pub workload_urls: Vec<(String, Template)>,
    /// What the floor of a resource server reads, if the platform has protected refs.
    pub floor: Option<Floor>,
    /// Audiences of the platform's own services, never accepted; `*` stops at a slash, `{iss}`
    /// stands for the issuer itself, `{iss-/suffix}` at the beginning for the issuer without that
    /// end, and `{uuid}` for the UUID at the issuer's end, or any UUID if the issuer has none there.
    pub platform_audiences: Vec<String>,
    /// Audiences that other services accept as well, because the platform offers no other choice. A
    /// trusted issuer that takes one is saved with the warning `shared_audience`.
    pub shared_audiences: Vec<String>,
    /// Globs of the platform's issuers. A profile for any platform, with `**` here, is refused for
    /// them.
    pub issuers: Vec<String>,
    /// Whether a rule that is saved without ids that it could give is warned of, because the first
    /// workload of these names gets it.
    pub warn_open_pins: bool,
    /// Hosts other than the issuer's own that may serve its discovered key set.
    pub key_hosts: Vec<String>,
    /// Whether the header of a token may contain no members but `alg`, `kid` and `typ`.
    pub plain_header: bool,
    /// Whether the platform has the `TokenReview` API of Kubernetes.
    pub token_review: bool,
    /// Set in a profile for the people of an identity provider, which no trusted issuer may have.
    pub people: Option<People>,
    /// How to remove the cause of a refusal on this platform, where [`Reason::remedy`] is too
    /// general.
    pub remedies: BTreeMap<Reason, Arc<str>>,
    form: Form,
}

/// What a profile for people has beside the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct People {
    /// Fields whose values a person cannot take over by renaming an account. A membership that
    /// gives more than reading needs one of them.
    pub certain: Vec<String>,
}

/// Settings for a trusted issuer whose document leaves them out.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Accepted signature algorithms (`alg`).
    pub algorithms: Vec<Algorithm>,
    /// Accepted values of `typ`; a token without `typ` counts as `JWT`.
    pub types: Vec<String>,
    /// The longest accepted time from `iat` to `exp`.
    pub max_assertion_lifetime_seconds: u32,
    /// Accepted difference between the clocks of the issuer and of this server.
    pub leeway_seconds: u32,
    pub replay: Replay,
    /// The claim that holds the assertion's id, usually `jti`.
    pub replay_claim: String,
    pub iat_required: bool,
    /// Events whose assertions never match a rule, compared without ASCII case.
    pub banned_events: Vec<String>,
    /// Accepted audiences where the platform fixes them; `None` means the server's own.
    pub audiences: Option<Vec<String>>,
}

/// Whether an assertion is good for one token only, and by which id its use is recorded (decision
/// D-16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replay {
    /// Every assertion needs the id claim.
    Required,
    /// The id claim, or without it a hash of the token without its signature.
    JtiOrTokenHash,
    /// Not checked: the platform hands out the same token repeatedly.
    Off,
}

/// When the immutable ids of the objects that a rule names are pinned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PinMode {
    /// Never: the platform has no immutable ids, or rules are made of ids.
    #[default]
    Never,
    /// At the first full match; until then the rule is pending.
    Required,
    /// At the first full match whose assertion contains them; the rule is active from the start.
    WhenSent,
}

/// The claim with the number that the platform gives a run.
#[derive(Debug)]
pub struct RunNumber {
    /// The name of a claim that is copied into tokens, so that audit events have it.
    pub claim: String,
    /// What the platform calls a run.
    pub noun: String,
}

/// A group of fields of which every rule needs at least one.
#[derive(Debug)]
pub struct AtLeast {
    /// Field names, `claims`, or a member of a field (`called_workflow.path`).
    pub any_of: Vec<String>,
    /// The explanation in the error for a rule without any of them.
    pub detail: String,
}

/// A kind of rule that is saved with a warning.
#[derive(Debug)]
pub struct WeakRule {
    pub code: String,
    /// A rule that is narrowed by any of these is not weak.
    pub unless: Vec<Narrowing>,
    /// Field names and globs; the warning is only for rules that have a value or a pattern for each
    /// of the globs.
    pub like: Vec<(String, String)>,
    pub detail: String,
}

/// Runs for which a rule has to ask, since outsiders decide what they run (contract, section 8).
#[derive(Debug, Default)]
pub struct Asked {
    /// Globs of events, compared without ASCII case.
    pub events: Vec<String>,
    /// Globs of refs, by which such a run is known whatever its event is called.
    pub refs: Vec<String>,
    /// The claims that are compared with `refs`.
    pub ref_claims: Vec<Arc<ClaimSpec>>,
}

impl Asked {
    pub fn is_event(&self, event: &str) -> bool {
        self.events
            .iter()
            .any(|form| glob::matches_by(LetterCase::Fold, form, event))
    }

    /// Whether a ref, or every ref that fits a pattern, is one of these runs.
    pub fn is_ref(&self, reference: &str) -> bool {
        self.refs.iter().any(|form| glob::matches(form, reference))
    }
}

/// What `require_protected_ref_or_environment` of a resource server reads.
#[derive(Debug)]
pub struct Floor {
    /// A rule that names its environment by plain values in this field satisfies the floor. `None`
    /// if the platform has no such field, or says itself whether an environment is protected.
    pub environment_field: Option<String>,
    /// The claim that is true for a protected environment.
    pub environment_protected: Option<Arc<ClaimSpec>>,
    /// The claim that is true for a protected ref.
    pub protected: Arc<ClaimSpec>,
}

impl Profile {
    /// The form in which people write the `match` of a rule.
    pub fn form(&self) -> &Form {
        &self.form
    }

    pub fn claim(&self, name: &str) -> Option<&Arc<ClaimSpec>> {
        self.claims.iter().find(|claim| claim.name == name)
    }

    /// The checks of a field and their positions in [`Profile::fields`].
    pub fn fields_named<'p>(&'p self, name: &'p str) -> impl Iterator<Item = (usize, &'p Field)> {
        self.fields
            .iter()
            .enumerate()
            .filter(move |(_, field)| field.name == name)
    }

    /// Checks what every assertion of this profile has to fulfil: the required claims, the claim
    /// that names the provider behind a broker, the requirements and the pairs.
    pub fn check(&self, claims: &Claims, terms: &Terms) -> Result<(), Inconsistent> {
        for spec in self.claims.iter().filter(|spec| spec.required) {
            spec.check(claims).map_err(|unreadable| Inconsistent {
                reason: unreadable.into(),
                claim: spec.path.clone(),
            })?;
        }
        if let Some(path) = &terms.issuer_claim {
            let upstream = ClaimSpec::text_claim(path).text(claims);
            upstream.map_err(|unreadable| Inconsistent {
                reason: unreadable.into(),
                claim: path.clone(),
            })?;
        }
        self.requirements
            .iter()
            .try_for_each(|requirement| requirement.check(claims, terms))?;
        self.pairs.iter().try_for_each(|pair| pair.check(claims))
    }

    /// Whether keys of its issuers count only if the RPKI attests resources to them.
    pub fn is_attested(&self) -> bool {
        self.requirements
            .iter()
            .any(|requirement| matches!(requirement, Requirement::Attested(_)))
    }

    /// What the RPKI attests to the issuer of these claims, as far as they do not narrow it.
    pub fn attested(&self, claims: &Claims) -> Option<Attested> {
        let attested = claims.attested()?;
        let narrower = self
            .requirements
            .iter()
            .find_map(|requirement| match requirement {
                Requirement::Attested(claim) => asns_in(claim, claims).ok()?,
                _ => None,
            });
        let resources = attested.resources.clone();
        Some(Attested {
            resources: match narrower {
                Some(asns) => resources.narrowed_to(&asns),
                None => resources,
            },
            ..(**attested).clone()
        })
    }

    /// Whether the platform's own services accept this audience; a trusted issuer must not.
    pub fn is_platform_audience(&self, audience: &str, issuer: &str) -> bool {
        self.platform_audiences
            .iter()
            .any(|pattern| match pattern.as_str() {
                "{iss}" => audience == issuer,
                "{uuid}" => is_uuid_of(issuer, audience),
                pattern => match pattern
                    .strip_prefix("{iss-")
                    .and_then(|it| it.split_once('}'))
                {
                    Some((end, rest)) => issuer
                        .strip_suffix(end)
                        .and_then(|beginning| audience.strip_prefix(beginning))
                        .is_some_and(|audience| glob::matches(rest, audience)),
                    None => glob::matches(pattern, audience),
                },
            })
    }

    /// Whether the profile is for issuers of every platform, and so knows nothing of them.
    pub fn is_for_any_platform(&self) -> bool {
        self.issuers.iter().any(|form| form == "**")
    }

    /// Whether this is an issuer of the platform. A slash at the end and the case of letters do not
    /// count, since they make no other platform of it.
    pub fn is_issuer(&self, issuer: &str) -> bool {
        let issuer = issuer.trim_end_matches('/');
        self.issuers
            .iter()
            .any(|form| glob::matches_by(LetterCase::Fold, form.trim_end_matches('/'), issuer))
    }

    /// Whether the trusted issuer bans an event, by its own list or by the profile's.
    pub fn is_banned(&self, terms: &Terms, event: &str) -> bool {
        terms
            .banned_events
            .as_ref()
            .unwrap_or(&self.defaults.banned_events)
            .iter()
            .any(|banned| banned.eq_ignore_ascii_case(event))
    }

    /// The field that compares the claim of the event.
    pub fn event_field(&self) -> Option<&Field> {
        let path = self.event.as_ref().map(|event| event.path.as_str())?;
        self.fields
            .iter()
            .find(|field| field.claim_path() == Some(path))
    }

    /// Whether the tokens hold SPIFFE ids, whose trust domain takes the place of the issuer
    /// (decision D-36).
    pub fn is_spiffe(&self) -> bool {
        self.requirements
            .iter()
            .any(|requirement| matches!(requirement, Requirement::TrustDomain(_)))
    }

    /// URL of the run; `None` if the profile has none for this issuer or a claim of it is
    /// unreadable.
    pub fn workload_url(&self, issuer: &str, claims: &Claims) -> Option<String> {
        let (_, template) = self.workload_urls.iter().find(|(of, _)| of == issuer)?;
        template.render(claims).ok()
    }

    /// The claims that are copied into issued tokens, by their names in the profile.
    pub fn forwarded<'a>(
        &'a self,
        claims: &'a Claims,
    ) -> impl Iterator<Item = (&'a str, &'a serde_json::Value)> {
        let forwarded = self.claims.iter().filter(|spec| spec.forward);
        forwarded.filter_map(|spec| {
            let value = claims.get(&spec.path).filter(|value| is_short(value))?;
            Some((spec.name.as_str(), value))
        })
    }
}

/// Whether an audience is the UUID at the end of the issuer, or any UUID if the issuer ends otherwise.
fn is_uuid_of(issuer: &str, audience: &str) -> bool {
    let own = issuer.rsplit('/').next();
    let own = own.filter(|own| Format::Uuid.fits(own));
    Format::Uuid.fits(audience) && own.is_none_or(|own| own.eq_ignore_ascii_case(audience))
}

/// Whether a claim is short enough to be passed on. An assertion may have long claims that nobody
/// reads, and they must not fill the access token.
fn is_short(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match value {
        Value::String(text) => text.len() <= 4096,
        Value::Array(elements) => elements.len() <= 256,
        Value::Object(members) => members.len() <= 256,
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::is_uuid_of;

    #[test]
    fn a_uuid_is_the_issuers_own_or_any_if_the_issuer_has_none() {
        const OWN: &str = "0f2d1c5e-0000-4000-8000-00000000000a";
        const OTHER: &str = "0f2d1c5e-0000-4000-8000-00000000000b";
        let of_one = format!("https://oidc.circleci.com/org/{OWN}");
        assert!(is_uuid_of(&of_one, OWN) && is_uuid_of(&of_one, &OWN.to_uppercase()));
        assert!(!is_uuid_of(&of_one, OTHER) && !is_uuid_of(&of_one, "https://carnet.example"));
        for of_all in ["https://oidc.circleci.com", &format!("{of_one}/")] {
            assert!(is_uuid_of(of_all, OWN) && is_uuid_of(of_all, OTHER));
            assert!(!is_uuid_of(of_all, "https://carnet.example"));
        }
    }
}
