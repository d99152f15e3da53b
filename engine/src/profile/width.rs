//! Width: how much a field of a rule admits. The data are `unless` and `like` of `[[warnings]]`.

use serde_json::{Map, Value};

use super::{Check, Field, Profile, glob, is_of_the_workload};

/// What makes a rule narrow enough for a warning not to be given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// A field, `claims`, or a member of a field (`called_workflow.sha`).
    pub field: String,
    /// Globs of plain values that narrow, each of which has to fit one of them; empty means that
    /// every plain value narrows.
    pub values: Vec<String>,
    /// Forms of the text of a pattern before its first star, one of which has to fit; empty means
    /// that no pattern narrows.
    pub globs: Vec<String>,
    /// Fields and values that the rule needs in addition.
    pub with: Vec<(String, String)>,
}

impl Narrowing {
    /// Whether the rule is narrow by this field, or by a condition in `claims` on the same claim.
    ///
    /// A truth value narrows if it is true, and plain values do. A pattern does not, unless the
    /// profile says which do: whoever chooses the value finds one that fits.
    pub fn holds(&self, profile: &Profile, matcher: &Map<String, Value>) -> bool {
        let accompanied = self.with.iter().all(|(field, wanted)| {
            let mut texts = texts(matcher.get(field)).peekable();
            texts.peek().is_some() && texts.all(|text| text == wanted)
        });
        accompanied && (self.by_field(matcher) || self.by_claim(profile, matcher))
    }

    fn by_field(&self, matcher: &Map<String, Value>) -> bool {
        if self.field == "claims" {
            let claims = matcher.get("claims").and_then(Value::as_object);
            return claims.is_some_and(|claims| claims.keys().any(|path| is_of_the_workload(path)));
        }
        match self.field.split_once('.') {
            None => matcher
                .get(&self.field)
                .is_some_and(|value| self.is_narrow(value)),
            Some((field, member)) => matcher
                .get(field)
                .and_then(|value| value.get(member))
                .is_some_and(|value| self.is_narrow(value)),
        }
    }

    fn by_claim(&self, profile: &Profile, matcher: &Map<String, Value>) -> bool {
        let Some(Value::Object(claims)) = matcher.get("claims") else {
            return false;
        };
        profile
            .fields_named(&self.field)
            .any(|(_, field)| match &field.check {
                Check::Equals(equals) => claims
                    .get(&equals.claim.path)
                    .is_some_and(|value| self.is_narrow(value)),
                Check::Flag { claim, wanted } => {
                    let mut texts = texts(claims.get(&claim.path)).peekable();
                    let is_wanted = |text: &str| text == wanted.to_string();
                    claims.get(&claim.path) == Some(&Value::Bool(*wanted))
                        || (texts.peek().is_some() && texts.all(is_wanted))
                }
                _ => false,
            })
    }

    fn is_narrow(&self, value: &Value) -> bool {
        let fits = |text: &str| {
            self.values.is_empty() || self.values.iter().any(|form| glob::matches(form, text))
        };
        match value {
            Value::Bool(truth) => *truth,
            Value::Number(_) => true,
            Value::Object(members) => match members.get("glob").and_then(Value::as_str) {
                Some(pattern) => self.globs.iter().any(|form| begins_as(form, pattern)),
                None if members.contains_key("any_of") => texts(Some(value)).all(fits),
                None => !members.is_empty(),
            },
            _ => texts(Some(value)).all(fits),
        }
    }
}

/// Whether the text of a pattern before its first star has the form. After a form that ends with
/// `**` that text has to go on by at least one character; any other form has to fit a beginning of
/// it.
fn begins_as(form: &str, pattern: &str) -> bool {
    let literal = pattern.split('*').next().unwrap_or_default();
    if form == "**" {
        return !literal.is_empty();
    }
    if form.ends_with("**") {
        let mut shorter = literal.chars();
        shorter.next_back();
        return glob::matches(form, shorter.as_str());
    }
    let ends = literal.char_indices().map(|(at, _)| at).skip(1);
    ends.chain([literal.len()])
        .any(|end| glob::matches(form, literal.get(..end).unwrap_or_default()))
}

/// The texts of a condition: a plain value, each of several, or the pattern of a glob.
pub fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let plain = value.into_iter().filter_map(Value::as_str);
    let inner = value.into_iter().flat_map(|value| {
        let list = value.get("any_of").unwrap_or(value);
        let listed = list.as_array().into_iter().flatten();
        listed.chain(value.get("glob")).filter_map(Value::as_str)
    });
    plain.chain(inner)
}

impl Field {
    /// The path of the claim that the field compares as it is; `None` if the field compares a part
    /// of a claim, several claims or none.
    pub fn claim_path(&self) -> Option<&str> {
        match &self.check {
            Check::Equals(equals) if equals.prefix.is_none() && equals.claim.after.is_none() => {
                Some(&equals.claim.path)
            }
            Check::Flag { claim, .. } => Some(&claim.path),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_a_form_by_the_text_before_its_first_star() {
        for (form, pattern, fits) in [
            ("refs/tags/**", "refs/tags/v*", true),
            ("refs/tags/**", "refs/tags/*", false),
            ("refs/tags/**", "refs/**", false),
            ("refs/tags/**", "refs/heads/v*", false),
            ("**", "v*", true),
            ("**", "*", false),
            ("repo:*/*:", "repo:o/r:**", true),
            ("repo:*/*:", "repo:o/r:ref:refs/heads/**", true),
            ("repo:*/*:", "repo:o/r*", false),
            ("repo:*/*:", "repo:o*/r:ref:x", false),
        ] {
            assert_eq!(begins_as(form, pattern), fits, "{form} {pattern}");
        }
    }
}
