//! Executes a plan: a failed step does not stop the others, except those that depend on it.

use axum::http::Method;
use serde_json::Value;

use super::plan::{Plan, Problem, Step};
use super::references::{Named, references};
use super::secrets::SecretsFile;
use super::stored::id_of;
use crate::command::admin_client::{AdminClient, in_path};
use crate::command::progress::Progress;
use crate::documents::Kind;

/// What is said of a step whose object is not as the plan showed it any more.
const CHANGED_SINCE: &str = "the object was changed, made or removed since the plan was made, so it was left as it is; run the command again to see what it would do now (412)";

/// What became of a step, or in a dry run would become of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Done {
        warnings: Vec<Value>,
        /// The client secret that the server made, if it is not in the file for secrets. No later
        /// answer contains it.
        secret: Option<String>,
    },
    Failed(String),
    /// The step depends on a failed one; the text says on which.
    Skipped(String),
}

/// Executes plans over the admin API.
pub struct Executor<'a> {
    pub client: &'a AdminClient,
    /// Whether keys are not fetched to check their URLs.
    pub is_offline: bool,
    pub secrets: Option<SecretsFile>,
}

impl Executor<'_> {
    /// Executes the steps in their order. `told` is called with each outcome as soon as it is
    /// known.
    pub async fn run(
        &mut self,
        plan: &Plan,
        progress: &mut Progress,
        mut told: impl FnMut(&Step, &Outcome),
    ) -> Vec<Outcome> {
        let mut obstacles = Obstacles::default();
        let mut outcomes = Vec::with_capacity(plan.steps.len());
        // Why nothing more can be done at all.
        let mut end: Option<String> = None;
        for step in &plan.steps {
            let obstacle = end.clone().or_else(|| obstacles.of(step));
            let outcome = match obstacle {
                Some(why) => Outcome::Skipped(why),
                None => match self.carry_out(step).await {
                    Ok(done) => done,
                    Err(failure) => {
                        end = failure.end;
                        if !failure.problem.is_forbidden {
                            obstacles.add(step, &format!("{} failed", step.noun()));
                        }
                        Outcome::Failed(failure.problem.text)
                    }
                },
            };
            if let Outcome::Skipped(why) = &outcome {
                obstacles.add(step, why);
            }
            told(step, &outcome);
            outcomes.push(outcome);
            progress.step();
        }
        outcomes
    }

    async fn carry_out(&mut self, step: &Step) -> Result<Outcome, Failure> {
        let (method, path, body) = self.request(step);
        let answer = self
            .client
            .send_if(step.demand(), method, &path, body.as_ref())
            .await;
        let answer = answer.map_err(|error| {
            Failure::of(error.to_string()).and_ends("the server cannot be reached")
        })?;
        match answer.status {
            200..300 => {}
            401 => {
                let failure = Failure::of(answer.problem());
                return Err(failure.and_ends("the token is not valid any more"));
            }
            412 => return Err(Failure::of(CHANGED_SINCE.to_owned())),
            status => {
                let mut failure = Failure::of(answer.problem());
                failure.problem.is_forbidden = status == 403;
                return Err(failure);
            }
        }
        let warnings = answer.body.get("warnings").and_then(Value::as_array);
        let secret = ["client_secret", "secret"]
            .into_iter()
            .find_map(|member| answer.body.get(member))
            .and_then(Value::as_str);
        Ok(Outcome::Done {
            warnings: warnings.cloned().unwrap_or_default(),
            secret: self.kept(step, secret)?,
        })
    }

    fn request(&self, step: &Step) -> (Method, String, Option<Value>) {
        let at = |key: &str| format!("/{}/{}", step.kind.segment(), in_path(key));
        let Some(wanted) = step.wanted() else {
            // By id, since the plan may have made a rule of the same name for another principal.
            let key = step.before.as_ref().and_then(id_of);
            return (Method::DELETE, at(key.unwrap_or(&step.name)), None);
        };
        let query = if self.is_offline {
            "?validate=offline"
        } else {
            ""
        };
        let path = format!("{}{query}", at(&step.name));
        (Method::PUT, path, Some(Value::Object(wanted.clone())))
    }

    /// Writes a new secret to the file for secrets. Returns it if there is no such file.
    fn kept(&mut self, step: &Step, secret: Option<&str>) -> Result<Option<String>, Failure> {
        let (Some(file), Some(secret)) = (&mut self.secrets, secret) else {
            return Ok(secret.map(str::to_owned));
        };
        file.add(&secret_name(step), secret).map_err(|error| {
            let text = format!(
                "the object was saved, but its secret cannot be written to the file: {error}; rotate the secret to get another"
            );
            Failure::of(text).and_ends("the file for secrets cannot be written")
        })?;
        Ok(None)
    }
}

/// The name under which a secret is in the file: that of the client, or of the notification, which
/// no client can have.
fn secret_name(step: &Step) -> String {
    match step.kind {
        Kind::Notification => format!("notification:{}", step.name),
        _ => step.name.clone(),
    }
}

/// The outcomes that the steps would have, by their dry runs.
pub fn tried(plan: &Plan) -> Vec<Outcome> {
    let mut obstacles = Obstacles::default();
    let mut outcomes = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        let outcome = if let Some(why) = obstacles.of(step) {
            obstacles.add(step, &why);
            Outcome::Skipped(why)
        } else if let Some(problem) = &step.problem {
            if !problem.is_forbidden {
                obstacles.add(step, &format!("{} would be refused", step.noun()));
            }
            Outcome::Failed(problem.text.clone())
        } else {
            Outcome::Done {
                warnings: step.warnings.clone(),
                secret: None,
            }
        };
        outcomes.push(outcome);
    }
    outcomes
}

struct Failure {
    problem: Problem,
    /// Why no further step can succeed.
    end: Option<String>,
}

impl Failure {
    fn of(text: String) -> Self {
        Self {
            problem: Problem {
                text,
                is_forbidden: false,
            },
            end: None,
        }
    }

    fn and_ends(self, why: &str) -> Self {
        Self {
            end: Some(why.to_owned()),
            ..self
        }
    }
}

/// The objects that are not as the plan would have them, each with the failure that caused it.
#[derive(Default)]
struct Obstacles {
    /// Not saved: what refers to them would be judged by their old state, or refused.
    unsaved: Named<String>,
    /// Still referred to by an object that was not saved or deleted, so they cannot be deleted.
    in_use: Named<String>,
}

impl Obstacles {
    fn add(&mut self, step: &Step, why: &str) {
        self.unsaved.insert(step.object_name(), why.to_owned());
        let before = step.before.iter();
        for reference in before.flat_map(|before| references(step.kind, before)) {
            self.in_use.insert(reference.object, why.to_owned());
        }
    }

    /// Why a step cannot be executed.
    fn of(&self, step: &Step) -> Option<String> {
        let Some(wanted) = step.wanted() else {
            return self.in_use.get(&step.object_name()).cloned();
        };
        references(step.kind, wanted)
            .iter()
            .find_map(|reference| self.unsaved.get(&reference.object))
            .cloned()
    }
}
