//! Evaluates one condition of a rule against the claims. Pure: no clock, no database, no network.

use serde_json::{Value, json};

use crate::model::{
    CalledAt, Condition, Expected, FederatedCredential, Scalar, Test, Text, TrustedIssuer,
};
use crate::profile::{
    Check, ClaimKind, ClaimSpec, Claims, Equals, Field, FileCheck, LetterCase, Profile,
    ReusableFile, Revision, Terms, Unreadable,
};
use crate::reason::Reason;

/// The result of one condition or circumstance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Met,
    /// The condition does not hold, for this reason.
    Unmet(Reason),
}

impl Verdict {
    pub fn is_met(self) -> bool {
        self == Self::Met
    }
}

/// Why a check fails: the claim cannot be read, has another value, or its e-mail address is
/// unverified.
enum Miss {
    Unreadable(Unreadable),
    Other,
    Unverified,
}

impl From<Unreadable> for Miss {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

pub fn evaluate(condition: &Condition<'_>, issuer: &TrustedIssuer, claims: &Claims) -> Verdict {
    let field = field(condition, &issuer.profile);
    if let Test::Claim { path, expected } = &condition.test {
        return match (any_claim(path, expected, claims), field) {
            (Verdict::Unmet(Reason::ClaimMismatch), Some(field)) => Verdict::Unmet(field.mismatch),
            (verdict, _) => verdict,
        };
    }
    let Some(field) = field else {
        return Verdict::Unmet(Reason::PolicyInvalid);
    };
    match holds(field, &condition.test, claims, &issuer.terms) {
        Ok(()) => Verdict::Met,
        Err(Miss::Other) => Verdict::Unmet(field.mismatch),
        Err(Miss::Unverified) => Verdict::Unmet(Reason::EmailUnverified),
        Err(Miss::Unreadable(Unreadable::Missing)) => Verdict::Unmet(field.missing),
        Err(Miss::Unreadable(unreadable)) => Verdict::Unmet(unreadable.into()),
    }
}

/// The version in the claim, for a rule with a version template such as `ref_template`.
pub fn version<'c>(
    condition: &Condition<'_>,
    profile: &Profile,
    claims: &'c Claims,
) -> Option<&'c str> {
    match (&field(condition, profile)?.check, &condition.test) {
        (Check::Version { claim, .. }, Test::Version { prefix, suffix }) => {
            between(claim.text(claims).ok()?, prefix, suffix)
        }
        _ => None,
    }
}

/// The field that a condition tests; `None` for an entry of `claims`.
pub fn field<'p>(condition: &Condition<'_>, profile: &'p Profile) -> Option<&'p Field> {
    profile.fields.get(usize::from(condition.field?))
}

/// Visits the claims that a rule reads, by name or JSON Pointer, except those that the profile
/// forwards into the token anyway.
pub fn visit_claims_read(
    credential: &FederatedCredential,
    profile: &Profile,
    mut visit: impl FnMut(&str),
) {
    let Some(rule) = credential.rule.open() else {
        return;
    };
    for condition in &rule.conditions {
        if let Test::Claim { path, .. } = condition.test {
            visit(path);
            continue;
        }
        let mut visit_claim = |claim: &ClaimSpec| {
            if !claim.forward {
                visit(&claim.path);
            }
        };
        match field(condition, profile).map(|field| &field.check) {
            Some(Check::Equals(equals)) => {
                visit_claim(&equals.claim);
                equals
                    .verified_by
                    .iter()
                    .for_each(|claim| visit_claim(claim));
            }
            Some(
                Check::Flag { claim, .. }
                | Check::Present { claim, .. }
                | Check::Version { claim, .. },
            ) => {
                visit_claim(claim);
            }
            Some(Check::File(file)) => visit_claim(&file.claim),
            Some(Check::ReusableFile(file)) => visit_claim(&file.claim),
            Some(
                Check::Choice { .. }
                | Check::Upstream
                | Check::Identity(_)
                | Check::MatchNames
                | Check::Attested(_),
            )
            | None => {}
        }
    }
}

fn holds(field: &Field, test: &Test<'_>, claims: &Claims, terms: &Terms) -> Result<(), Miss> {
    let held = match (&field.check, test) {
        (Check::Equals(equals), Test::Text(wanted)) => {
            let held = equal(equals, wanted, claims)?;
            if let Some(claim) = equals.verified_by.as_ref().filter(|_| held)
                && !terms.verifies(claim, claims)?
            {
                return Err(Miss::Unverified);
            }
            held
        }
        (Check::Identity(identity), Test::Text(wanted)) => {
            wanted.matches(LetterCase::Exact, &identity.render(claims)?)
        }
        (Check::Attested(attested), Test::Text(wanted)) => {
            let resources = attested.resources(claims)?;
            wanted.is_any(|value| attested.resource.is_among(value, &resources))
        }
        (Check::Flag { claim, wanted }, Test::Flag) => claim.says(*wanted, claims)?,
        (Check::Present { claim, .. }, Test::Present) => match claim.text(claims)? {
            "" => return Err(Unreadable::Missing.into()),
            _ => true,
        },
        (Check::File(check), Test::File(name)) => file(check, name, claims)?,
        (Check::ReusableFile(check), Test::SameRepository) => check
            .same_repository
            .strip_prefix(check.claim.text(claims)?, claims)?
            .is_some_and(|rest| !rest.is_empty()),
        (Check::ReusableFile(check), Test::Called { path, at }) => called(check, path, at, claims)?,
        (Check::Version { claim, .. }, Test::Version { prefix, suffix }) => {
            between(claim.text(claims)?, prefix, suffix).is_some()
        }
        _ => false,
    };
    if held { Ok(()) } else { Err(Miss::Other) }
}

fn equal(equals: &Equals, text: &Text<'_>, claims: &Claims) -> Result<bool, Unreadable> {
    let claim = &equals.claim;
    match claim.kind {
        ClaimKind::List => Ok(claim
            .list(claims)?
            .iter()
            .any(|element| text.matches(claim.case, element))),
        ClaimKind::Text | ClaimKind::Integer | ClaimKind::Boolean | ClaimKind::BooleanOrText => {
            Ok(equals
                .read(claims)?
                .is_some_and(|received| text.matches(claim.case, &received)))
        }
    }
}

/// The whole claim is prefix, name, `@` and a revision. It is never split, because names and refs
/// may contain an `@`.
fn file(check: &FileCheck, name: &str, claims: &Claims) -> Result<bool, Unreadable> {
    let value = check.claim.text(claims)?;
    for prefix in &check.prefixes {
        let after = prefix
            .strip_prefix(value, claims)?
            .and_then(|rest| rest.strip_prefix(name)?.strip_prefix('@'));
        if after
            .is_some_and(|revision| !name.is_empty() && is_revision(revision, &check.at, claims))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The name of the file in the claim, between prefix and revision; `None` if the claim has another
/// form.
pub fn file_name<'c>(check: &FileCheck, claims: &'c Claims) -> Option<&'c str> {
    let value = check.claim.text(claims).ok()?;
    check.prefixes.iter().find_map(|prefix| {
        let rest = prefix.strip_prefix(value, claims).ok()??;
        let ends = rest.match_indices('@').find(|(at, _)| {
            let revision = rest.get(at.saturating_add(1)..).unwrap_or_default();
            is_revision(revision, &check.at, claims)
        });
        let end = ends.or_else(|| rest.match_indices('@').next())?.0;
        rest.get(..end)
    })
}

fn is_revision(revision: &str, accepted: &[Revision], claims: &Claims) -> bool {
    accepted.iter().any(|accepted| match accepted {
        Revision::Claim(claim) => claim
            .text(claims)
            .is_ok_and(|value| !value.is_empty() && value == revision),
        Revision::StartsWith(beginning) => begins_with_and_goes_on(revision, beginning),
    })
}

fn begins_with_and_goes_on(text: &str, beginning: &str) -> bool {
    text.strip_prefix(beginning)
        .is_some_and(|rest| !rest.is_empty())
}

fn called(
    check: &ReusableFile,
    path: &str,
    at: &CalledAt<'_>,
    claims: &Claims,
) -> Result<bool, Unreadable> {
    let value = check.claim.text(claims)?;
    let Some(revision) = after_path(value, path).and_then(|rest| rest.strip_prefix('@')) else {
        return Ok(false);
    };
    match at {
        CalledAt::Ref(text) => Ok(text.matches(LetterCase::Exact, revision)),
        CalledAt::Commit(commit) => {
            let received = check.commit.text(claims)?;
            let named = begins_with_and_goes_on(revision, "refs/") || revision == received;
            Ok(named && !commit.is_empty() && received == *commit)
        }
    }
}

/// The rest of the claim after `owner/repository/file`: the case of letters is ignored in owner and
/// repository, not in the file.
fn after_path<'v>(value: &'v str, path: &str) -> Option<&'v str> {
    let (at, _) = path.match_indices('/').nth(1)?;
    let (names, file) = path.split_at_checked(at)?;
    LetterCase::Name
        .strip_prefix(value, names)?
        .strip_prefix(file)
}

fn between<'t>(text: &'t str, prefix: &str, suffix: &str) -> Option<&'t str> {
    text.strip_prefix(prefix)?
        .strip_suffix(suffix)
        .filter(|version| !version.is_empty() && !version.contains('/'))
}

fn any_claim(path: &str, expected: &Expected<'_>, claims: &Claims) -> Verdict {
    let Some(value) = claims.get(path) else {
        return Verdict::Unmet(Reason::ClaimMissing);
    };
    let (alternatives, held) = match expected {
        Expected::AnyOf(alternatives) => {
            (alternatives, alternatives.iter().any(|one| is(one, value)))
        }
        Expected::ListWith(alternatives) => match value {
            Value::Array(elements) => (
                alternatives,
                elements
                    .iter()
                    .any(|element| alternatives.iter().any(|one| is(one, element))),
            ),
            _ => return Verdict::Unmet(Reason::ClaimType),
        },
    };
    let same_type = |one: &Scalar<'_>| {
        matches!(
            (one, value),
            (Scalar::Text(_), Value::String(_))
                | (Scalar::Bool(_), Value::Bool(_))
                | (Scalar::Integer(_), Value::Number(_))
        )
    };
    match expected {
        _ if held => Verdict::Met,
        Expected::AnyOf(_) if !alternatives.iter().any(same_type) => {
            Verdict::Unmet(Reason::ClaimType)
        }
        _ => Verdict::Unmet(Reason::ClaimMismatch),
    }
}

fn is(expected: &Scalar<'_>, received: &Value) -> bool {
    match expected {
        Scalar::Text(text) => !text.is_empty() && received.as_str() == Some(text),
        Scalar::Bool(truth) => received.as_bool() == Some(*truth),
        Scalar::Integer(number) => received.as_i64() == Some(*number),
    }
}

/// The value that a condition expects, as shown in explanations.
pub fn expected(condition: &Condition<'_>, profile: &Profile) -> Value {
    match &condition.test {
        Test::Text(text) => shown(text),
        Test::Flag => match field(condition, profile).map(|field| &field.check) {
            Some(Check::Flag { wanted: false, .. }) => json!("false"),
            _ => json!("true"),
        },
        Test::Present => json!("any"),
        Test::File(name) => json!(name),
        Test::SameRepository => json!("same-repo"),
        Test::Called {
            path,
            at: CalledAt::Ref(text),
        } => json!({ "path": path, "ref": shown(text) }),
        Test::Called {
            path,
            at: CalledAt::Commit(commit),
        } => json!({ "path": path, "sha": commit }),
        Test::Version { prefix, suffix } => json!(format!("{prefix}{{version}}{suffix}")),
        Test::Claim {
            expected: Expected::AnyOf(values),
            ..
        } => match values.as_slice() {
            [one] => scalar(one),
            several => json!({ "any_of": several.iter().map(scalar).collect::<Vec<_>>() }),
        },
        Test::Claim {
            expected: Expected::ListWith(values),
            ..
        } => values.iter().map(scalar).collect(),
    }
}

fn shown(text: &Text<'_>) -> Value {
    match text {
        Text::Is(value) => json!(value),
        Text::AnyOf(values) => json!({ "any_of": values }),
        Text::Glob(pattern) => json!({ "glob": pattern }),
    }
}

fn scalar(value: &Scalar<'_>) -> Value {
    match value {
        Scalar::Text(text) => json!(text),
        Scalar::Bool(truth) => json!(truth),
        Scalar::Integer(number) => json!(number),
    }
}

/// The value in the assertion, as shown in explanations; `null` if there is none.
pub fn received(condition: &Condition<'_>, profile: &Profile, claims: &Claims) -> Value {
    let claim = |spec: &ClaimSpec| claims.get(&spec.path).cloned().unwrap_or(Value::Null);
    match (
        &condition.test,
        field(condition, profile).map(|field| &field.check),
    ) {
        (Test::Claim { path, .. }, _) => claims.get(path).cloned().unwrap_or(Value::Null),
        (_, Some(Check::Equals(equals))) => match equals.read(claims) {
            // With a prefix or a mark only a part of the claim is compared, so only that part is
            // shown.
            Ok(Some(text)) if claims.get(&equals.claim.path).is_some_and(Value::is_string) => {
                json!(text)
            }
            _ => claim(&equals.claim),
        },
        (_, Some(Check::Identity(identity))) => match identity.render(claims) {
            Ok(made) => json!(made),
            Err(_) => identity
                .claims()
                .map(|spec| (spec.name.clone(), claim(spec)))
                .collect(),
        },
        (
            _,
            Some(
                Check::Flag { claim: spec, .. }
                | Check::Present { claim: spec, .. }
                | Check::Version { claim: spec, .. },
            ),
        ) => claim(spec),
        (_, Some(Check::File(check))) => claim(&check.claim),
        (
            Test::Called {
                at: CalledAt::Commit(_),
                ..
            },
            Some(Check::ReusableFile(check)),
        ) => {
            json!({ "path": claim(&check.claim), "sha": claim(&check.commit) })
        }
        (_, Some(Check::ReusableFile(check))) => claim(&check.claim),
        (_, Some(Check::Attested(check))) => match check.resources(claims) {
            Ok(resources) => resources.shown(),
            Err(_) => Value::Null,
        },
        (_, Some(Check::Choice { .. } | Check::Upstream | Check::MatchNames) | None) => Value::Null,
    }
}
