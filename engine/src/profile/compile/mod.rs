//! Compiles a profile file into a [`Profile`]: resolves every name and reports all mistakes at
//! once.

mod check;
mod form;
mod judged;

use std::collections::BTreeMap;
use std::sync::Arc;

use check::{check, pair, requirement};
use form::{Parts, form};
use judged::{asked, weak_rule};

use super::claims::ClaimSpec;
use super::file::{
    AtLeastFile, CheckFile, DefaultsFile, FieldFile, NarrowingFile, ProfileFile, RequirementFile,
    RunFile, WorkloadFile,
};
use super::{AtLeast, Check, Defaults, Field, People, Profile, RunNumber, Template};
use crate::reason::Reason;

/// A mistake in a profile file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("profile {profile}: {detail}")]
pub struct ProfileError {
    /// The profile's name, or the folder that cannot be read.
    pub profile: String,
    pub detail: String,
}

type Claims = BTreeMap<String, Arc<ClaimSpec>>;

/// Compiles the text of a profile file, or returns every mistake in it.
pub(super) fn compile(name: &str, text: &str) -> Result<Profile, Vec<ProfileError>> {
    let wrong = |detail: String| ProfileError {
        profile: name.to_owned(),
        detail,
    };
    let file: ProfileFile = toml::from_str(text).map_err(|error| vec![wrong(error.to_string())])?;
    let mut errors = Vec::new();
    let claims = claims(&file);
    let mut keep = |result: Result<Profile, Vec<String>>| match result {
        Ok(profile) => Some(profile),
        Err(found) => {
            errors.extend(found.into_iter().map(wrong));
            None
        }
    };
    keep(assemble(name, file, &claims)).ok_or(errors)
}

fn claims(file: &ProfileFile) -> Claims {
    let mut claims: Claims = file
        .claims
        .iter()
        .map(|(name, claim)| {
            let spec = ClaimSpec {
                name: name.clone(),
                path: claim.path.clone().unwrap_or_else(|| name.clone()),
                after: claim.after.clone(),
                kind: claim.kind,
                case: claim.case,
                format: claim.format,
                one_of: claim.one_of.clone(),
                required: claim.required,
                forward: claim.forward,
            };
            (name.clone(), Arc::new(spec))
        })
        .collect();
    // Every assertion has a subject, so every profile may use `sub` without declaring it.
    claims
        .entry("sub".to_owned())
        .or_insert_with(|| Arc::new(ClaimSpec::text_claim("sub")));
    claims
}

fn assemble(name: &str, mut file: ProfileFile, claims: &Claims) -> Result<Profile, Vec<String>> {
    let mut errors = Vec::new();
    let fields = fields(&file.fields, claims, &mut errors);
    errors.extend(unknown_fields(&file, &fields));
    errors.extend(
        fields
            .iter()
            .filter_map(|field| unknown_setting(field, &fields)),
    );
    let index = file
        .index
        .iter()
        .map(|group| keys(group, &fields, file.people.is_some(), &mut errors))
        .collect();
    let pairs = file
        .pairs
        .iter()
        .filter_map(|file| keep(pair(file, claims), &mut errors))
        .collect();
    let requirements = file
        .requires
        .iter()
        .filter_map(|file| keep(requirement(file, claims), &mut errors))
        .collect();
    errors.extend(unattested(&file));
    let workload_id = keep(template(&file.workload.id, claims), &mut errors);
    let workload_urls = urls(&file.workload, claims, &mut errors);
    let run = file.workload.run.take();
    let run = run.and_then(|file| keep(run_number(file, claims), &mut errors));
    let event = file
        .event_claim
        .as_ref()
        .and_then(|name| keep(find(claims, name), &mut errors));
    let floor = file.floor.as_ref();
    let floor = floor.and_then(|file| keep(judged::floor(file, claims), &mut errors));
    let asked = keep(asked(&file, claims), &mut errors).unwrap_or_default();
    let form_file = file.form.take();
    let at_least: Vec<AtLeast> = file.at_least.into_iter().map(at_least).collect();
    let parts = Parts {
        fields: &fields,
        at_least: &at_least,
        pins: file.pins,
    };
    let form = form(form_file, &parts).map_err(|found| errors.extend(found));
    let (Some(workload_id), Ok(form), []) = (workload_id, form, errors.as_slice()) else {
        return Err(errors);
    };
    Ok(Profile {
        name: name.to_owned(),
        title: file.title,
        defaults: defaults(file.defaults),
        claims: claims.values().cloned().collect(),
        pairs,
        requirements,
        event,
        asked,
        fields,
        index,
        pins: file.pins,
        at_least,
        warnings: file.warnings.into_iter().map(weak_rule).collect(),
        workload_id,
        workload_urls,
        run,
        floor,
        platform_audiences: file.platform_audiences,
        shared_audiences: file.shared_audiences,
        issuers: file.issuers,
        warn_open_pins: file.warn_open_pins,
        key_hosts: file.key_hosts,
        plain_header: file.plain_header,
        token_review: file.token_review,
        people: file.people.map(|file| People {
            certain: file.certain,
        }),
        remedies: file
            .remedies
            .into_iter()
            .map(|(reason, text)| (reason, text.into()))
            .collect(),
        form,
    })
}

/// What is wrong with a profile about the attestation of keys: rules that compare what is attested need
/// issuers that are attested, and those a requirement that refuses all others.
fn unattested(file: &ProfileFile) -> Option<String> {
    let is_required = file.attestation.is_some();
    let has_requirement = file
        .requires
        .iter()
        .any(|requirement| matches!(requirement, RequirementFile::Attested(_)));
    let has_check = file
        .fields
        .iter()
        .any(|field| matches!(field.check, CheckFile::Attested(_)));
    if is_required && file.people.is_some() {
        return Some("`attestation` is not for profiles of people".to_owned());
    }
    (is_required != has_requirement || (has_check && !is_required)).then(|| {
        "`attestation = \"required\"`, `attested` in `[[requires]]` and checks `attested` go together"
            .to_owned()
    })
}

fn template(text: &str, claims: &Claims) -> Result<Template, String> {
    Template::parse(text, |name| claims.get(name).cloned())
}

/// The issuers of a platform and the templates of the URLs of its runs.
fn urls(file: &WorkloadFile, claims: &Claims, errors: &mut Vec<String>) -> Vec<(String, Template)> {
    let templates = file.urls.iter().filter_map(|entry| {
        let url = keep(template(&entry.url, claims), errors)?;
        Some((entry.issuer.clone(), url))
    });
    templates.collect()
}

fn run_number(file: RunFile, claims: &Claims) -> Result<RunNumber, String> {
    if !find(claims, &file.claim)?.forward {
        let claim = file.claim;
        return Err(format!(
            "claim `{claim}` must have `forward = true`, because `workload.run` names it"
        ));
    }
    Ok(RunNumber {
        claim: file.claim,
        noun: file.noun,
    })
}

/// The names of fields that the file refers to and does not define.
fn unknown_fields(file: &ProfileFile, fields: &[Field]) -> Vec<String> {
    let is_field = |name: &str| fields.iter().any(|field| field.name == name);
    let begins_field = |name: &str| is_field(name.split('.').next().unwrap_or(name));
    let unless = file.warnings.iter().flat_map(|rule| &rule.unless);
    let at_least = file.at_least.iter().flat_map(|rule| &rule.any_of);
    let listed = at_least
        .map(String::as_str)
        .chain(unless.map(NarrowingFile::field))
        .filter(|name| *name != "claims");
    let needed = file.fields.iter().flat_map(|field| &field.needs);
    let needed = needed.map(String::as_str);
    let environment = file.floor.iter().flat_map(|floor| &floor.environment_field);
    let certain = file.people.iter().flat_map(|people| &people.certain);
    let environment = environment.chain(certain);
    let compared = environment.chain(file.warnings.iter().flat_map(|rule| rule.like.keys()));
    let compared = compared.map(String::as_str);
    let unknown = listed.chain(needed).filter(|name| !begins_field(name));
    unknown
        .chain(compared.filter(|name| !is_field(name)))
        .map(|name| format!("there is no field `{name}`"))
        .collect()
}

fn defaults(file: DefaultsFile) -> Defaults {
    Defaults {
        algorithms: file.algorithms,
        types: file.types,
        max_assertion_lifetime_seconds: file.max_assertion_lifetime_seconds,
        leeway_seconds: file.leeway_seconds,
        replay: file.replay,
        replay_claim: file.replay_claim,
        iat_required: file.iat_required,
        banned_events: file.banned_events,
        audiences: file.audiences,
    }
}

fn at_least(file: AtLeastFile) -> AtLeast {
    AtLeast {
        any_of: file.any_of,
        detail: file.detail,
    }
}

fn keep<T>(result: Result<T, String>, errors: &mut Vec<String>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
}

fn find(claims: &Claims, name: &str) -> Result<Arc<ClaimSpec>, String> {
    claims
        .get(name)
        .cloned()
        .ok_or_else(|| format!("claim `{name}` must be declared in `claims`"))
}

fn fields(files: &[FieldFile], claims: &Claims, errors: &mut Vec<String>) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    for file in files {
        let Some(check) = keep(
            check(&file.check, claims).map_err(|e| format!("field `{}`: {e}", file.name)),
            errors,
        ) else {
            continue;
        };
        // A field keeps one setting: any further one would be dropped silently.
        if file.when.len() > 1 {
            errors.push(format!(
                "field `{}`: `when` must name one setting",
                file.name
            ));
        }
        fields.push(Field {
            name: file.name.clone(),
            when: file
                .when
                .iter()
                .next()
                .map(|(field, value)| (field.clone(), value.clone())),
            role: file.role,
            ids: Vec::new(),
            needs: file.needs.clone(),
            mismatch: file.mismatch.unwrap_or(Reason::ClaimMismatch),
            missing: file.missing.unwrap_or(Reason::ClaimMissing),
            check,
        });
    }
    let ids: Vec<Vec<usize>> = files
        .iter()
        .map(|file| positions(&file.ids, &fields, errors))
        .collect();
    for (field, ids) in fields.iter_mut().zip(ids) {
        field.ids = ids;
    }
    fields
}

/// The error for a check whose `when` names a setting or a value that no `choice` field offers.
fn unknown_setting(field: &Field, fields: &[Field]) -> Option<String> {
    let (setting, wanted) = field.when.as_ref()?;
    let offers = |other: &Field| matches!(&other.check, Check::Choice { values, .. } if values.contains(wanted));
    let is_there = fields
        .iter()
        .any(|other| other.name == *setting && offers(other));
    (!is_there).then(|| {
        format!(
            "field `{}`: there is no choice `{setting}` with `{wanted}`",
            field.name
        )
    })
}

/// The keys of one group of `index`: each is a field, or several fields joined by `+`. Only
/// memberships, and so only profiles for people, are found by the elements of a list.
fn keys(
    group: &[String],
    fields: &[Field],
    is_for_people: bool,
    errors: &mut Vec<String>,
) -> Vec<Vec<usize>> {
    let is_list = |names: &[String]| {
        is_for_people
            && matches!(names, [name] if fields.iter().any(|field| field.name == *name && field.is_list()))
    };
    let parts = group
        .iter()
        .map(|key| key.split('+').map(str::to_owned).collect::<Vec<_>>());
    parts
        .map(|names| {
            if is_list(&names) {
                let at = fields.iter().position(|field| names.contains(&field.name));
                return at.into_iter().collect();
            }
            positions(&names, fields, errors)
        })
        .collect()
}

fn positions(names: &[String], fields: &[Field], errors: &mut Vec<String>) -> Vec<usize> {
    names
        .iter()
        .filter_map(|name| {
            let at = fields
                .iter()
                .position(|field| field.name == *name && field.has_key())
                .ok_or_else(|| format!("there is no field `{name}` that compares one text"));
            keep(at, errors)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"
        title = "X"
        [defaults]
        algorithms = ["RS256"]
        types = ["JWT"]
        max_assertion_lifetime_seconds = 60
        replay = "off"
        [workload]
        id = "{sub}"
    "#;

    #[test]
    fn every_bundled_profile_compiles() {
        let profiles = super::super::Profiles::load(None)
            .map_err(|errors| format!("{errors:#?}"))
            .unwrap();
        assert!(profiles.names().any(|name| name == "github-actions"));
    }

    #[test]
    fn the_number_of_a_run_is_a_claim_that_events_have() {
        let with =
            |claim: &str| format!("{MINIMAL}\nrun = {{ claim = \"{claim}\", noun = \"run\" }}");
        for (claim, part) in [("nope", "`nope`"), ("sub", "must have `forward = true`")] {
            let errors = format!("{:?}", compile("x", &with(claim)).unwrap_err());
            assert!(errors.contains(part), "{part}: {errors}");
        }
        let declared = "[claims]\nnumber = { forward = true }";
        let profile = compile("x", &format!("{}\n{declared}", with("number"))).unwrap();
        let run = profile.run.unwrap();
        assert_eq!((run.claim.as_str(), run.noun.as_str()), ("number", "run"));
    }

    #[test]
    fn all_mistakes_of_a_profile_are_reported() {
        assert!(compile("x", MINIMAL).is_ok());
        let text = format!(
            "{MINIMAL}\n{}",
            r#"
            [[fields]]
            name = "a"
            ids = ["b"]
            check.equals = { claim = "nope" }
            [[pairs]]
            claim = "sub"
            [[at_least]]
            any_of = ["missing", "claims"]
            detail = "d"
            "#
        );
        let errors = compile("x", &text).unwrap_err();
        let all = format!("{errors:?}");
        for part in [
            "`nope`",
            "`b`",
            "`missing`",
            "must have one of `starts_with`, `is` and `twin`",
        ] {
            assert!(all.contains(part), "{part}: {all}");
        }
        for (wrong, part) in [
            ("when = { b = \"x\", c = \"y\" }", "one setting"),
            ("when = { b = \"x\" }", "`b` with `x`"),
            ("when = { c = \"z\" }", "`c` with `z`"),
            (
                "check.equals = { claim = \"sub\", paste = { prefixes = [\"\"] } }",
                "empty text",
            ),
            (
                "check.file = { claim = \"sub\", prefix = \"\", at = [\"sub\"], paste = { suffixes = [\"/\", \"\"] } }",
                "empty text",
            ),
            (
                "[floor]\nprotected_claim = \"sub\"\nenvironment_field = \"nowhere\"",
                "`nowhere`",
            ),
            (
                "[[warnings]]\ncode = \"w\"\ndetail = \"d\"\nlike = { nowhere = \"x\" }",
                "`nowhere`",
            ),
        ] {
            let check = if wrong.starts_with("check") {
                ""
            } else {
                "check.equals = { claim = \"sub\" }"
            };
            let choice = "[[fields]]\nname = \"c\"\ncheck.choice = { values = [\"x\", \"y\"], default = \"x\" }";
            let all = format!(
                "{:?}",
                compile(
                    "x",
                    &format!("{MINIMAL}\n{choice}\n[[fields]]\nname = \"a\"\n{check}\n{wrong}")
                )
            );
            assert!(
                all.starts_with("Err") && all.contains(part),
                "{wrong}: {all}"
            );
        }
        assert!(compile("x", "title = 1").is_err());
        assert!(compile("x", &MINIMAL.replace("{sub}", "{nope}")).is_err());
        assert!(compile("x", &format!("{MINIMAL}\nunknown = 1")).is_err());
    }

    #[test]
    fn only_fields_that_compare_one_text_can_index_rules() {
        let with = |kind: &str| {
            let fields = r#"[[fields]]
                name = "a"
                check.equals = { claim = "a" }"#;
            compile(
                "x",
                &format!("index = [[\"a\"]]\n{MINIMAL}\n[claims]\na.type = \"{kind}\"\n{fields}"),
            )
        };
        assert!(with("text").is_ok() && with("integer").is_ok());
        for kind in ["list", "boolean", "boolean-or-text"] {
            let errors = format!("{:?}", with(kind).unwrap_err());
            assert!(
                errors.contains("no field `a` that compares one text"),
                "{errors}"
            );
        }
    }
}
