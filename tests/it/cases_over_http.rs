//! Every case of every case file, over HTTP as well: saved by the admin API, signed by its platform, presented at `/token`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use carnet::policy::{judge, read_cases};
use carnet::profile::{Profiles, Role};
use carnet::reason::Reason;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{CaseRun, Outcome, case_files};

/// Servers that run at the same time.
const AT_ONCE: usize = 8;

/// Words of case files that are no reasons of ours, and what they are here.
const OTHER_WORDS: [(&str, &str); 7] = [
    ("id_malformed", "claim_malformed"),
    ("iss_mismatch", "iss_unknown"),
    ("name_taken", "owner_lost"),
    ("policy_disabled", "credential_disabled"),
    ("policy_expired", "credential_expired"),
    ("principal_mismatch", "claim_malformed"),
    ("workflow_ref_malformed", "workflow_mismatch"),
];
/// Cases in which two checks fail together: the file names the one, and the server comes to the other first.
const ALSO: [(&str, &str); 16] = [
    ("policy-cases/CLOUD-026", "claim_inconsistent"),
    ("policy-cases/EMAIL-019", "claim_missing"),
    ("policy-cases/GH-010", "claim_inconsistent"),
    ("policy-cases/GH-012", "claim_malformed"),
    ("policy-cases/GH-091", "policy_invalid"),
    ("policy-cases/GH-117", "owner_out_of_scope"),
    ("policy-cases/GH-142", "owner_lost"),
    ("policy-cases/GL-007", "claim_inconsistent"),
    ("policy-cases/GL-022", "workflow_mismatch"),
    ("policy-cases/GL-027", "no_matching_credential"),
    ("policy-cases/K8S-006", "claim_malformed"),
    ("policy-cases/PKG-015", "action_out_of_scope"),
    ("policy-cases/PKG-021", "package_out_of_scope"),
    ("policy-cases/URI-008", "claim_malformed"),
    ("policy-cases/USER-004", "claim_malformed"),
    ("policy-cases/USER-009", "no_matching_credential"),
];

/// A verdict and its reason.
type Verdict = (&'static str, String);

/// Every case of the repository, by the name of its file and its own.
pub fn all_cases() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    // What the RPKI attests cannot be sent; `tests/it/attestation.rs` asks that over HTTP.
    let files = case_files().into_iter();
    for file in files.filter(|file| !file.ends_with("rpki.json")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let is_toml = file.extension().is_some_and(|kind| kind == "toml");
        let cases: Vec<Value> = if is_toml {
            let mut file: Value = toml::from_str(&text).unwrap();
            serde_json::from_value(file["cases"].take()).unwrap()
        } else {
            serde_json::from_str(&text).unwrap()
        };
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        all.extend(
            cases
                .into_iter()
                .map(|case| (format!("{name}/{}", case["id"].as_str().unwrap()), case)),
        );
    }
    all
}

/// Runs a case with the profiles of the book's samples.
pub async fn run(case: &Value) -> Result<Verdict, String> {
    static SAMPLES: OnceLock<(PathBuf, Profiles)> = OnceLock::new();
    let (folder, known) = SAMPLES.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/samples");
        let known = Profiles::load(Some(&folder.join("profiles"))).unwrap();
        (folder, known)
    });
    run_with(case, &folder.join("cases"), &folder.join("profiles"), known).await
}

/// Makes a case of a file in `folder`, presents it, and compares what it gets with what the engine says; the verdict, or what is wrong.
pub async fn run_with(
    case: &Value,
    folder: &Path,
    profiles: &Path,
    known: &Profiles,
) -> Result<Verdict, String> {
    let run = CaseRun::new(case, folder, profiles).await;
    let outcome = run.present().await;
    let engine = verdict_of_engine(case, folder, known);
    let verdict = agree(&run, &outcome, known)?;
    if verdict != engine {
        return Err(format!("over HTTP {verdict:?}, the engine {engine:?}"));
    }
    Ok(verdict)
}

fn verdict_of_engine(case: &Value, folder: &Path, known: &Profiles) -> Verdict {
    let read =
        |path: &Path| std::fs::read_to_string(folder.join(path)).map_err(|error| error.to_string());
    let case = read_cases(&json!([case]).to_string(), read)
        .unwrap()
        .remove(0);
    let verdict = judge(&case, known).0;
    (verdict.word(), verdict.reason().to_owned())
}

/// The verdict over HTTP, if everything that tells it tells the same.
fn agree(run: &CaseRun, outcome: &Outcome, known: &Profiles) -> Result<Verdict, String> {
    let Outcome {
        answered,
        explained,
        disclosed,
        registry,
    } = outcome;
    let said = || {
        format!(
            "{}\n/explain: {explained:#}\nexplanations: {disclosed:#}",
            answered.text()
        )
    };
    let answer = answered.json();
    let (allowed, reason) = (answered.status == 200, answer["reason"].as_str());
    let word = if allowed { "allow" } else { "deny" };
    if (explained["verdict"].as_str(), explained["reason"].as_str()) != (Some(word), reason) {
        return Err(format!("/explain and /token differ: {}", said()));
    }
    if allowed && answer["authorization_details"] != explained["granted"]["authorization_details"] {
        return Err(format!("/explain told of another token: {}", said()));
    }
    if disclosed["verdict"] != word {
        return Err(format!("the admin API explains something else: {}", said()));
    }
    if !run.problems.is_empty() {
        let of_rule = [
            "/match",
            "/issuer",
            "/audiences",
            "/subject_domain",
            "/trust",
            "/permissions",
        ];
        let about_rule = |problem: &Value| {
            of_rule
                .iter()
                .any(|pointer| problem["pointer"].as_str().unwrap().starts_with(pointer))
        };
        let is_refused = !allowed && run.problems.iter().all(about_rule);
        let invalid = ("deny", "policy_invalid".to_owned());
        return if is_refused {
            Ok(invalid)
        } else {
            Err(format!("{:?} {}", run.problems, said()))
        };
    }
    if allowed {
        return Ok(match registry {
            Ok(()) => ("allow", "ok".to_owned()),
            Err(denied) => ("deny", denied.clone()),
        });
    }
    let (told, whole) = (
        reason.unwrap_or_default(),
        disclosed["reason"].as_str().unwrap_or_default(),
    );
    let expected = if is_undisclosed(run, disclosed, known) {
        "no_matching_credential"
    } else {
        whole
    };
    if told != expected {
        return Err(format!("{expected} should have been told: {}", said()));
    }
    Ok(("deny", whole.to_owned()))
}

/// Whether rules refuse the assertion and none is proved to be meant by it (contract, section 4).
fn is_undisclosed(run: &CaseRun, disclosed: &Value, known: &Profiles) -> bool {
    let profile = known.get(run.profile()).unwrap();
    let candidates = disclosed["candidates"].as_array().unwrap();
    let matches = |candidate: &Value| candidate["matches"] == true;
    let is_meant = |candidate: &Value| {
        let conditions = candidate["conditions"].as_array().unwrap();
        let held = |role: Role| {
            let of_role = |condition: &&Value| {
                let name = condition["field"].as_str().unwrap();
                profile
                    .fields
                    .iter()
                    .any(|field| field.name == name && field.role == role)
            };
            let mut found = conditions.iter().filter(of_role).peekable();
            found.peek().is_some() && found.all(|condition| condition["met"] == true)
        };
        let is_pending = conditions
            .iter()
            .any(|condition| condition["field"] == "pinned");
        held(Role::Id) || (is_pending && held(Role::Name))
    };
    !candidates.is_empty()
        && !candidates
            .iter()
            .any(|candidate| matches(candidate) || is_meant(candidate))
}

/// The code of the reason that a case gives in words.
fn expected_reason<'c>(id: &str, case: &'c Value) -> &'c str {
    let word = case["reason"]
        .as_str()
        .unwrap()
        .split([':', ' '])
        .next()
        .unwrap();
    if let Some((_, reason)) = ALSO.iter().find(|(other, _)| *other == id) {
        assert_ne!(word, *reason, "{id} needs no exception");
        return reason;
    }
    let known = word == "ok" || word.parse::<Reason>().is_ok();
    // Some of these words mean something else to us.
    let other = OTHER_WORDS
        .iter()
        .find(|(other, _)| *other == word)
        .map(|(_, reason)| *reason);
    assert!(known || other.is_some(), "{id}: {word}");
    other.unwrap_or(word)
}

/// What is found in each case. Several are judged at a time; in none may anything be wrong.
pub async fn in_all_cases<T, F>(
    mut waiting: Vec<(String, Value)>,
    judge: impl Fn(String, Value) -> F,
) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, String>> + Send + 'static,
{
    let count = waiting.len();
    let (mut running, mut wrong, mut found) = (JoinSet::new(), Vec::new(), Vec::new());
    loop {
        while running.len() < AT_ONCE
            && let Some((id, case)) = waiting.pop()
        {
            let judging = judge(id.clone(), case);
            running.spawn(async move { (id, judging.await) });
        }
        let Some(done) = running.join_next().await else {
            break;
        };
        match done.unwrap() {
            (_, Ok(one)) => found.push(one),
            (id, Err(problem)) => wrong.push(format!("{id}: {problem}")),
        }
    }
    wrong.sort();
    let list = wrong.join("\n");
    assert!(wrong.is_empty(), "{} of {count}:\n{list}", wrong.len());
    assert_eq!(found.len(), count);
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_8__every_policy_case_has_the_same_verdict_over_http() {
    let waiting = all_cases();
    for (id, _) in ALSO {
        assert!(
            waiting.iter().any(|(other, _)| other == id),
            "{id} is no case"
        );
    }
    for (word, _) in OTHER_WORDS {
        let says = |case: &Value| case["reason"].as_str().unwrap().starts_with(word);
        assert!(
            waiting.iter().any(|(_, case)| says(case)),
            "no case says {word}"
        );
    }
    let judged = in_all_cases(waiting, |id, case| async move {
        let (word, reason) = run(&case).await?;
        let expected = expected_reason(&id, &case);
        if case["expect"] == word && expected == reason {
            return Ok(());
        }
        let wanted = &case["expect"];
        Err(format!("{word} {reason}, expected {wanted} {expected}"))
    });
    let judged = judged.await;
    assert!(judged.len() > 380, "{}", judged.len());
}
