//! The fields of `match` in a rule, and the kinds of checks that compare a field with the claims.
//! `docs/src/reference/profile-files.md` describes them for authors; [`crate::trust`] evaluates
//! them.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::{ClaimKind, ClaimSpec, Claims, Format, Identity, Paste, Template, Unreadable};
use crate::attested::{AsRange, NumberResources, prefix};
use crate::reason::Reason;

/// AS numbers in one claim.
const MOST_ASNS: usize = 64;

/// What a field identifies. The role decides what is pinned, what is disclosed, and when a rule
/// counts as `renamed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A circumstance of the run: what it does or where it runs.
    #[default]
    Condition,
    /// A name, which another account can take over later.
    Name,
    /// An immutable id.
    Id,
}

/// A field of `match` with one way to check it.
#[derive(Debug)]
pub struct Field {
    pub name: String,
    /// Name and value of the `choice` setting for which this check applies.
    pub when: Option<(String, String)>,
    pub role: Role,
    /// For a name: the positions of the id fields that identify the same object.
    pub ids: Vec<usize>,
    /// Fields that a rule with this field needs as well.
    pub needs: Vec<String>,
    /// The reason of a refusal when the claim has another value.
    pub mismatch: Reason,
    /// The reason of a refusal when the claim is absent.
    pub missing: Reason,
    pub check: Check,
}

/// How a field is compared with the claims.
#[derive(Debug)]
pub enum Check {
    /// The claim equals the rule's value or one of several, or fits its glob.
    Equals(Equals),
    /// The claim is the truth value `wanted`. Only `true` in a rule asks for it.
    Flag { claim: Arc<ClaimSpec>, wanted: bool },
    /// The claim is present and not empty.
    Present {
        claim: Arc<ClaimSpec>,
        /// Whether a rule without this field makes the check as well.
        default: bool,
    },
    /// No check of its own: the setting chooses between the checks of another field.
    Choice {
        values: Vec<String>,
        /// The setting of a rule without this field.
        default: String,
    },
    /// The claim is prefix, file, `@` and a revision. It is compared whole, because file names and
    /// refs may contain an `@`.
    File(FileCheck),
    /// The file that defines the job, possibly in another repository.
    ReusableFile(ReusableFile),
    /// The claim fits the rule's template; the text in place of `{version}` becomes the version of
    /// the token.
    Version {
        claim: Arc<ClaimSpec>,
        /// Required beginning of every template in a rule.
        starts_with: String,
    },
    /// The claim that the rule names has the value that the rule gives: the provider behind a
    /// broker.
    Upstream,
    /// The identity that the template renders from the claims equals the rule's value.
    Identity(Identity),
    /// No check of its own: `false` in a rule means that ids are compared and names are not.
    MatchNames,
    /// The RPKI attests the rule's value, or one of several, to the keys of the issuer. No claim stands
    /// for that.
    Attested(AttestedCheck),
}

/// The members of [`Check::Attested`].
#[derive(Debug)]
pub struct AttestedCheck {
    pub resource: Resource,
    /// A claim with AS numbers, which narrows what is attested if it is sent.
    pub narrowed_by: Option<Arc<ClaimSpec>>,
}

/// A kind of Internet number resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// An AS number, stored as `AS64496`.
    Asn,
    /// A prefix of IPv4 or IPv6 addresses, all of which must be attested.
    Prefix,
}

impl Resource {
    /// The stored form of a value; `None` if it is no such resource.
    pub fn stored(self, text: &str) -> Option<String> {
        match self {
            Self::Asn => {
                let asn = AsRange::parse(text)?.single()?;
                Some(AsRange::one(asn).to_string())
            }
            Self::Prefix => prefix(text).map(|net| net.to_string()),
        }
    }

    /// Whether all of a value is among resources.
    pub fn is_among(self, text: &str, resources: &NumberResources) -> bool {
        match self {
            Self::Asn => AsRange::parse(text).is_some_and(|range| resources.covers_asns(range)),
            Self::Prefix => prefix(text).is_some_and(|net| resources.covers_prefix(&net)),
        }
    }

    /// What a value must be, as the predicate of an error.
    pub fn described(self) -> &'static str {
        match self {
            Self::Asn => "must be one AS number, such as AS64496",
            Self::Prefix => {
                "must be a prefix whose bits beyond its length are zero, such as 192.0.2.0/24 or 2001:db8::/32"
            }
        }
    }
}

impl AttestedCheck {
    /// What is attested to the issuer of these claims, as far as they do not narrow it. Fails if
    /// nothing is, or if the claim that narrows it cannot be read.
    pub fn resources(&self, claims: &Claims) -> Result<NumberResources, Unreadable> {
        let attested = claims.attested().ok_or(Unreadable::Missing)?;
        let resources = attested.resources.clone();
        let Some(claim) = &self.narrowed_by else {
            return Ok(resources);
        };
        Ok(match asns_in(claim, claims)? {
            Some(narrower) => resources.narrowed_to(&narrower),
            None => resources,
        })
    }
}

/// The AS numbers in a claim that may be a number, a text or a list of both; `None` if it is not sent.
pub fn asns_in(claim: &ClaimSpec, claims: &Claims) -> Result<Option<Vec<AsRange>>, Unreadable> {
    let one = |value: &Value| match value {
        Value::Number(number) => number
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .map(AsRange::one)
            .ok_or(Unreadable::Malformed),
        Value::String(text) => AsRange::parse(text)
            .filter(|range| range.single().is_some())
            .ok_or(Unreadable::Malformed),
        _ => Err(Unreadable::WrongType),
    };
    match claims.get(&claim.path) {
        None => Ok(None),
        Some(Value::Array(elements)) if elements.len() > MOST_ASNS => Err(Unreadable::Malformed),
        Some(Value::Array(elements)) => {
            elements.iter().map(one).collect::<Result<_, _>>().map(Some)
        }
        Some(value) => one(value).map(|range| Some(vec![range])),
    }
}

/// The members of [`Check::Equals`].
#[derive(Debug)]
pub struct Equals {
    pub claim: Arc<ClaimSpec>,
    /// Whether a rule may give a glob.
    pub glob: bool,
    /// Whether a rule may give a list, one value of which has to equal the claim.
    pub list: bool,
    /// Required beginning of every value in a rule.
    pub starts_with: Option<String>,
    /// Template of the text before the value in the claim; only the rest is compared.
    pub prefix: Option<Template>,
    /// The format of a value in a rule.
    pub value_format: Option<Format>,
    /// All values that the platform has; empty means any. A rule with another one is refused, while
    /// an assertion may have it.
    pub known_values: Vec<String>,
    /// The mark at which the parts of a value end, if it is not a slash.
    pub parts_end_at: Option<String>,
    /// The claim that has to verify the e-mail address (decision D-39).
    pub verified_by: Option<Arc<ClaimSpec>>,
    /// Whether values are decimal numbers, such as numeric ids.
    pub digits: bool,
    /// A glob that the part of a pattern before its first `*` has to fit even without its last
    /// character, so that every pattern begins with enough literal text.
    pub literal: Option<String>,
    /// Values that any account can have, such as `gmail.com`; a rule with one of them is refused.
    pub strangers: Vec<String>,
    /// What is stripped from a value when a rule is saved.
    pub paste: Paste,
}

/// The members of [`Check::File`].
#[derive(Debug)]
pub struct FileCheck {
    pub claim: Arc<ClaimSpec>,
    /// Templates of the text before the file, one of which has to fit.
    pub prefixes: Vec<Template>,
    /// The accepted revisions after the `@`.
    pub at: Vec<Revision>,
    /// The accepted endings of file names; empty means any.
    pub endings: Vec<String>,
    /// Whether the file may be given with folders.
    pub folders: bool,
    /// What is stripped from a value when a rule is saved.
    pub paste: Paste,
}

/// The members of [`Check::ReusableFile`].
#[derive(Debug)]
pub struct ReusableFile {
    /// The claim with the file and the ref, such as `job_workflow_ref`.
    pub claim: Arc<ClaimSpec>,
    /// The claim with the commit of that file, such as `job_workflow_sha`.
    pub commit: Arc<ClaimSpec>,
    /// What the claim begins with when the file is in the repository of the run.
    pub same_repository: Template,
}

/// A revision that is accepted after the `@` of a file.
#[derive(Debug)]
pub enum Revision {
    /// The value of this claim, unless it is empty.
    Claim(Arc<ClaimSpec>),
    /// Any longer text that begins with this one.
    StartsWith(String),
}

impl Equals {
    /// The text that is compared with the rule's value: the claim, an integer in its JSON spelling,
    /// or the rest of the claim after the prefix. `None` if the claim does not begin with the
    /// prefix.
    pub fn read<'c>(&self, claims: &'c Claims) -> Result<Option<Cow<'c, str>>, Unreadable> {
        if self.claim.kind == ClaimKind::Integer {
            return self.claim.spelt(claims).map(Some);
        }
        let text = self.claim.text(claims)?;
        match &self.prefix {
            None => Ok(Some(text.into())),
            Some(prefix) => Ok(prefix.strip_prefix(text, claims)?.map(Cow::Borrowed)),
        }
    }
}

impl Field {
    /// The index key of an assertion with these claims. `None` if rules are not indexed by this
    /// kind of field, or if the claim cannot be read.
    pub fn key(&self, claims: &Claims) -> Option<String> {
        match &self.check {
            Check::Equals(equals) => Some(equals.claim.case.key(&equals.read(claims).ok()??)),
            Check::Identity(identity) => identity.render(claims).ok(),
            _ => None,
        }
    }

    /// The index key of a rule with this value; a matching assertion has the same [`Self::key`].
    pub fn key_of<'v>(&self, value: &'v str) -> Cow<'v, str> {
        match &self.check {
            Check::Equals(equals) => equals.claim.case.key(value).into(),
            _ => value.into(),
        }
    }

    /// The index keys of a person with these claims: one for each element of a list.
    pub fn keys(&self, claims: &Claims) -> Vec<String> {
        match &self.check {
            Check::Equals(equals) if self.is_list() => {
                let elements = equals.claim.list(claims).unwrap_or_default();
                let keys = elements.iter().map(|text| equals.claim.case.key(text));
                keys.collect()
            }
            _ => self.key(claims).into_iter().collect(),
        }
    }

    /// Whether the field compares the elements of a list.
    pub fn is_list(&self) -> bool {
        matches!(&self.check, Check::Equals(equals) if equals.claim.kind == ClaimKind::List)
    }

    /// Whether rules can be indexed by this field: it compares a single text.
    pub fn has_key(&self) -> bool {
        match &self.check {
            Check::Equals(equals) => {
                matches!(equals.claim.kind, ClaimKind::Text | ClaimKind::Integer)
            }
            Check::Identity(_) => true,
            _ => false,
        }
    }
}
