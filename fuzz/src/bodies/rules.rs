//! Rules and the claims of jobs, made of the input, and a matcher that knows nothing of the engine.

use std::sync::OnceLock;

use arbitrary::{Result, Unstructured};
use carnet::policy::{CaseVerdict, judge, read_cases};
use carnet::profile::Profiles;
use serde_json::{Value, json};

/// A condition on a text.
#[derive(Clone, Debug)]
enum Condition {
    Equals(String),
    OneOf(String, String),
    Glob(String),
}

/// The conditions of a rule that are made of the input; the others are always the same.
#[derive(Clone, Debug, Default)]
struct Conditions {
    reference: Option<Condition>,
    environment: Option<Condition>,
    actor_id: Option<String>,
}

/// What is said of the job.
#[derive(Clone, Debug)]
struct Job {
    repository: &'static str,
    repository_id: &'static str,
    reference: String,
    environment: Option<String>,
    actor_id: &'static str,
}

/// The engine says of a job and a rule what the matcher says; another condition never lets a job in; and neither white space nor the
/// order of members matters.
pub fn rule(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let made = (|| -> Result<_> {
        Ok((
            conditions(&mut input)?,
            conditions(&mut input)?,
            job(&mut input)?,
        ))
    })();
    let Ok((conditions, further, job)) = made else {
        return;
    };
    let case = case(&conditions, &job);
    let verdict = verdict(&case.to_string());
    if verdict.is_mistake() {
        return;
    }
    let is_expected = conditions.admit(&job);
    assert_eq!(
        verdict == CaseVerdict::Allow,
        is_expected,
        "{verdict:?} {conditions:?} {job:?}"
    );
    let pretty = serde_json::to_string_pretty(&sorted(&case)).unwrap();
    assert_eq!(
        self::verdict(&pretty),
        verdict,
        "written otherwise: {conditions:?} {job:?}"
    );
    let both = Conditions {
        reference: conditions.reference.clone().or(further.reference),
        environment: conditions.environment.clone().or(further.environment),
        actor_id: conditions.actor_id.clone().or(further.actor_id),
    };
    if self::verdict(&self::case(&both, &job).to_string()) == CaseVerdict::Allow {
        assert!(
            is_expected,
            "a further condition let it in: {conditions:?} {both:?} {job:?}"
        );
    }
}

fn conditions(input: &mut Unstructured<'_>) -> Result<Conditions> {
    let reference = condition(input, "refs/heads/")?;
    let environment = condition(input, "")?;
    let actor_id = match input.int_in_range(0..=3)? {
        0 => Some("12".to_owned()),
        1 => Some("13".to_owned()),
        _ => None,
    };
    Ok(Conditions {
        reference,
        environment,
        actor_id,
    })
}

fn condition(input: &mut Unstructured<'_>, prefix: &str) -> Result<Option<Condition>> {
    let text = |input: &mut Unstructured<'_>, stars| -> Result<String> {
        Ok(format!("{prefix}{}", word(input, stars)?))
    };
    Ok(match input.int_in_range(0..=5)? {
        0 => None,
        1 => Some(Condition::Equals(text(input, false)?)),
        2 => Some(Condition::OneOf(text(input, false)?, text(input, false)?)),
        _ => Some(Condition::Glob(text(input, true)?)),
    })
}

/// A short text in which the same few characters come back, so that texts often are alike.
fn word(input: &mut Unstructured<'_>, stars: bool) -> Result<String> {
    const CHARACTERS: [char; 12] = ['a', 'b', 'A', '/', '-', '.', 'v', '1', '_', 'b', '*', '*'];
    let length = input.int_in_range(1..=8)?;
    let last = if stars {
        CHARACTERS.len()
    } else {
        CHARACTERS.len() - 2
    };
    (0..length)
        .map(|_| Ok(CHARACTERS[input.int_in_range(0..=last - 1)?]))
        .collect()
}

fn job(input: &mut Unstructured<'_>) -> Result<Job> {
    Ok(Job {
        repository: input.choose(&["octo-org/widgets", "Octo-Org/Widgets", "octo-org/widgets2"])?,
        repository_id: input.choose(&["74", "74", "74", "740"])?,
        reference: format!("refs/heads/{}", word(input, false)?),
        environment: match input.int_in_range(0..=2)? {
            0 => None,
            _ => Some(word(input, false)?),
        },
        actor_id: input.choose(&["12", "13"])?,
    })
}

impl Conditions {
    fn admit(&self, job: &Job) -> bool {
        let holds = |condition: &Option<Condition>, text: Option<&str>, fold: bool| {
            condition
                .as_ref()
                .is_none_or(|condition| text.is_some_and(|text| condition.holds(text, fold)))
        };
        job.repository.eq_ignore_ascii_case("octo-org/widgets")
            && job.repository_id == "74"
            && holds(&self.reference, Some(&job.reference), false)
            && holds(&self.environment, job.environment.as_deref(), true)
            && self.actor_id.as_ref().is_none_or(|id| *id == job.actor_id)
    }
}

impl Condition {
    fn holds(&self, text: &str, fold: bool) -> bool {
        let folded = |text: &str| {
            if fold {
                text.to_ascii_lowercase()
            } else {
                text.to_owned()
            }
        };
        match self {
            Self::Equals(value) => folded(value.trim()) == folded(text),
            Self::OneOf(one, other) => [one, other]
                .iter()
                .any(|value| folded(value.trim()) == folded(text)),
            Self::Glob(pattern) => glob(folded(pattern.trim()).as_bytes(), folded(text).as_bytes()),
        }
    }

    fn written(&self) -> Value {
        match self {
            Self::Equals(value) => json!(value),
            Self::OneOf(one, other) => json!({ "any_of": [one, other] }),
            Self::Glob(pattern) => json!({ "glob": pattern }),
        }
    }
}

/// `*` is any run of characters without `/`, `**` any run.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|length| glob(rest, &text[length..])),
        [b'*', rest @ ..] => (0..=text.len())
            .take_while(|length| !text[..*length].contains(&b'/'))
            .any(|length| glob(rest, &text[length..])),
        [byte, rest @ ..] => text
            .split_first()
            .is_some_and(|(first, others)| first == byte && glob(rest, others)),
        [] => text.is_empty(),
    }
}

fn verdict(case: &str) -> CaseVerdict {
    static PROFILES: OnceLock<Profiles> = OnceLock::new();
    let profiles = PROFILES.get_or_init(|| Profiles::load(None).unwrap());
    let cases = read_cases(&format!("[{case}]"), |_| unreachable!("no other file")).unwrap();
    judge(&cases[0], profiles).0
}

/// The same with the members of all objects in the order of their names.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|left, right| left.0.cmp(right.0));
            members
                .into_iter()
                .map(|(name, value)| (name.clone(), sorted(value)))
                .collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn case(conditions: &Conditions, job: &Job) -> Value {
    let mut matcher = json!({
        "repository": "octo-org/widgets", "repository_owner_id": "65", "repository_id": "74",
        "workflow_file": "release.yml",
    });
    if let Some(condition) = &conditions.reference {
        matcher["ref"] = condition.written();
    }
    if let Some(condition) = &conditions.environment {
        matcher["environment"] = condition.written();
    }
    if let Some(id) = &conditions.actor_id {
        matcher["claims"] = json!({ "actor_id": id });
    }
    let workflow = format!(
        "{}/.github/workflows/release.yml@{}",
        job.repository, job.reference
    );
    let sha = "a".repeat(40);
    let mut claims = json!({
        "iss": "https://token.actions.githubusercontent.com", "aud": "registry.example",
        "sub": format!("repo:{}:ref:{}", job.repository, job.reference), "jti": "job-1",
        "iat": 1_789_999_980, "nbf": 1_789_999_680, "exp": 1_790_000_280,
        "repository": job.repository, "repository_id": job.repository_id, "repository_owner": "octo-org",
        "repository_owner_id": "65", "repository_visibility": "public", "ref": job.reference, "ref_type": "branch",
        "ref_protected": "true", "sha": sha, "workflow": "Release", "workflow_ref": workflow, "workflow_sha": sha,
        "job_workflow_ref": workflow, "job_workflow_sha": sha, "event_name": "push", "actor": "octocat",
        "actor_id": job.actor_id, "run_id": "9001", "run_number": "10", "run_attempt": "1",
        "runner_environment": "github-hosted", "head_ref": "", "base_ref": "",
    });
    if let Some(environment) = &job.environment {
        claims["environment"] = json!(environment);
    }
    json!({
        "id": "fuzz",
        "objects": {
            "principals": { "case": { "kind": "user" } },
            "resource_servers": { "registry": { "resource": "https://registry.case.invalid/", "actions": ["publish"] } },
            "trusted_issuers": { "platform": {
                "profile": "github-actions", "issuer": "https://token.actions.githubusercontent.com",
                "audiences": ["registry.example"],
            } },
            "federated_credentials": { "rule": {
                "principal": "case", "trusted_issuer": "platform", "match": matcher,
                "permissions": [{ "resource_server": "registry", "actions": ["publish"], "packages": ["widgets"] }],
            } },
        },
        "claims": claims,
        "request": {},
        "context": { "now": 1_790_000_000, "registry": { "action": "publish", "package": "widgets" } },
        "expect": "allow",
    })
}
