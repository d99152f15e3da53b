//! The fields of `match`, and the kinds of checks by which they read the claims.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;

use super::{ClaimKind, ClaimSpec, Claims, Format, Identity, Template, Unreadable};
use crate::reason::Reason;

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
    /// The fields that a rule has to have beside it.
    pub needs: Vec<String>,
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
    /// The claim is one of the truth values.
    Flag {
        /// The claim.
        claim: Arc<ClaimSpec>,
        /// Which of them.
        wanted: bool,
    },
    /// The claim is there and not empty.
    Present {
        /// The claim.
        claim: Arc<ClaimSpec>,
        /// Whether rules ask for it that say nothing of it.
        default: bool,
    },
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
    /// A claim that the rule names says who vouches for the identity.
    Upstream,
    /// What the template makes of the claims is the value.
    Identity(Identity),
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
    /// What stands in the claim before the value.
    pub prefix: Option<Template>,
    /// The shape of a value in a rule.
    pub value_format: Option<Format>,
    /// The claim that has to verify the e-mail address.
    pub verified_by: Option<Arc<ClaimSpec>>,
    /// Whether values are decimal numbers.
    pub digits: bool,
    /// What the part of a glob before its first `*` has to fit, even without its last character.
    pub literal: Option<String>,
    /// Values that strangers have too, so that no rule may rest on them.
    pub strangers: Vec<String>,
    /// What is taken off when a rule is saved.
    pub paste: Paste,
}

/// See [`Check::File`].
#[derive(Debug)]
pub struct FileCheck {
    /// The claim.
    pub claim: Arc<ClaimSpec>,
    /// What may stand before the file.
    pub prefixes: Vec<Template>,
    /// What may stand after the `@`.
    pub at: Vec<Revision>,
    /// How file names end; none listed means any.
    pub endings: Vec<String>,
    /// Whether the file may be named with folders.
    pub folders: bool,
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

impl Equals {
    /// The text that is compared: the claim, an integer as it is spelt, or what is left of the claim behind the prefix.
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
    /// The value under which rules with this field are found for these claims; none if it is no field to find rules by.
    pub fn key(&self, claims: &Claims) -> Option<String> {
        match &self.check {
            Check::Equals(equals) => Some(equals.claim.case.key(&equals.read(claims).ok()??)),
            Check::Identity(identity) => identity.render(claims).ok(),
            _ => None,
        }
    }

    /// The same for a value in a rule.
    pub fn key_of<'v>(&self, value: &'v str) -> Cow<'v, str> {
        match &self.check {
            Check::Equals(equals) => equals.claim.case.key(value).into(),
            _ => value.into(),
        }
    }

    /// Whether rules can be found by it: it compares one text.
    pub fn has_key(&self) -> bool {
        match &self.check {
            Check::Equals(equals) => matches!(equals.claim.kind, ClaimKind::Text | ClaimKind::Integer),
            Check::Identity(_) => true,
            _ => false,
        }
    }
}
