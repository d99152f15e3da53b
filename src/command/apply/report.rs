//! What `carnet apply` prints: the plan, the outcomes and the summary.

use carnet_exchange::web::visible;
use serde_json::{Value, json};

use super::execute::Outcome;
use super::plan::{Plan, Step};
use crate::documents::{Difference, Kind};

/// The lines that show a plan: each step with its differences and warnings, and its mistakes if
/// `with_problems`.
pub fn plan_lines(plan: &Plan, with_problems: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for step in &plan.steps {
        let object = visible(&step.object());
        lines.push(format!("{} {object}", step.action.word()));
        if step.changes.is_empty() {
            lines.push("  (nothing that is shown changes)".to_owned());
        }
        lines.extend(
            step.changes
                .iter()
                .map(|change| format!("  {}", difference_line(change))),
        );
        let preview = step.preview.iter().filter_map(Value::as_str);
        lines.extend(preview.map(|sentence| format!("  preview: {}", visible(sentence))));
        if let Some(problem) = step.problem.as_ref().filter(|_| with_problems) {
            let text = indented(&problem.text);
            lines.push(format!("  would be refused: {text}"));
        }
        lines.extend(
            step.warnings
                .iter()
                .map(|warning| warning_line(step, warning)),
        );
    }
    for kind in &plan.unread {
        lines.push(format!(
            "note: {} are not pruned, since the token may not read them",
            kind.table()
        ));
    }
    lines
}

/// The member of answers that holds the secret which the step made.
fn secret_member(step: &Step) -> &'static str {
    match step.kind {
        Kind::Notification => "secret",
        _ => "client_secret",
    }
}

/// The lines that tell an outcome. Warnings that the plan showed are not repeated.
pub fn outcome_lines(step: &Step, outcome: &Outcome, is_dry_run: bool) -> Vec<String> {
    let object = visible(&step.object());
    match outcome {
        Outcome::Done { warnings, secret } => {
            let secret = secret.iter().map(|secret| {
                format!(
                    "{} {object}: {secret} (shown this once)",
                    secret_member(step)
                )
            });
            let new = warnings
                .iter()
                .filter(|warning| !step.warnings.contains(warning));
            secret
                .chain(new.map(|warning| warning_line(step, warning)))
                .collect()
        }
        Outcome::Failed(problem) => {
            let word = if is_dry_run {
                "would be refused"
            } else {
                "failed"
            };
            vec![format!("{word} {object}\n  {}", indented(problem))]
        }
        Outcome::Skipped(why) => {
            let word = if is_dry_run {
                "would be skipped"
            } else {
                "skipped"
            };
            vec![format!("{word} {object} because {}", visible(why))]
        }
    }
}

fn warning_line(step: &Step, warning: &Value) -> String {
    let text = |name: &str| {
        let text = warning.get(name).and_then(Value::as_str);
        visible(text.unwrap_or_default())
    };
    format!(
        "warning {}: {} - {}",
        visible(&step.object()),
        text("code"),
        text("detail")
    )
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(visible).collect();
    lines.join("\n  ")
}

/// How many steps ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub done: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Counts {
    pub fn of(outcomes: &[Outcome]) -> Self {
        let count = |is: fn(&Outcome) -> bool| outcomes.iter().filter(|it| is(it)).count();
        Self {
            done: count(|outcome| matches!(outcome, Outcome::Done { .. })),
            failed: count(|outcome| matches!(outcome, Outcome::Failed(_))),
            skipped: count(|outcome| matches!(outcome, Outcome::Skipped(_))),
        }
    }

    /// The last line of the command.
    pub fn line(self, unchanged: usize, is_dry_run: bool) -> String {
        let Self {
            done,
            failed,
            skipped,
        } = self;
        if is_dry_run {
            let all = done.saturating_add(failed).saturating_add(skipped);
            format!(
                "{all} to do, {unchanged} unchanged, {failed} would be refused, {skipped} would be skipped"
            )
        } else {
            format!("{done} done, {unchanged} unchanged, {failed} failed, {skipped} skipped")
        }
    }
}

/// The result for programs.
pub fn summary(plan: &Plan, outcomes: &[Outcome], is_dry_run: bool) -> Value {
    let told: Vec<(String, &Step, &Outcome)> = plan
        .steps
        .iter()
        .zip(outcomes)
        .map(|(step, outcome)| (step.object(), step, outcome))
        .collect();
    let steps: Vec<Value> = told
        .iter()
        .map(|(_, step, outcome)| {
            let outcome = match outcome {
                Outcome::Done { .. } => "done",
                Outcome::Failed(_) => "failed",
                Outcome::Skipped(_) => "skipped",
            };
            let outcome = (!is_dry_run).then_some(outcome);
            json!({
                "action": step.action.word(), "kind": step.kind.table(), "name": step.name,
                "changes": step.changes, "preview": step.preview, "outcome": outcome,
            })
        })
        .collect();
    let (mut problems, mut skipped, mut warnings, mut secrets) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (object, step, outcome) in &told {
        match outcome {
            Outcome::Failed(problem) => {
                problems.push(json!({ "object": object, "problem": problem }));
            }
            Outcome::Skipped(why) => skipped.push(json!({ "object": object, "because": why })),
            Outcome::Done {
                warnings: found,
                secret,
            } => {
                warnings.extend(
                    found
                        .iter()
                        .map(|warning| json!({ "object": object, "warning": warning })),
                );
                let member = secret_member(step);
                let told = |secret| json!({ "object": object, member: secret });
                secrets.extend(secret.iter().map(told));
            }
        }
    }
    let counts = Counts::of(outcomes);
    let unread: Vec<&str> = plan.unread.iter().map(|kind| kind.table()).collect();
    json!({
        "steps": steps, "unchanged": plan.unchanged, "dry_run": is_dry_run,
        "done": if is_dry_run { 0 } else { counts.done }, "failed": counts.failed, "skipped": skipped,
        "problems": problems, "warnings": warnings, "secrets": secrets, "not_pruned": unread,
    })
}

/// A difference as one line, in which characters that a terminal would hide are escapes.
fn difference_line(difference: &Difference) -> String {
    visible(&difference.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::documents::differences;

    #[test]
    fn what_a_terminal_would_hide_is_written_as_an_escape() {
        let new = json!({ "a\u{202e}": "x\u{1b}[2K\u{9b}2K\u{200b}é" });
        let found = differences(&Map::new(), new.as_object().unwrap());
        assert_eq!(
            found.iter().map(difference_line).collect::<Vec<_>>(),
            [r#"+ /a\u{202e}: "x\u001b[2K\u{9b}2K\u{200b}é""#]
        );
    }
}
