//! The claims of a platform's token, realistic unless a test says otherwise.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};

use super::{CARNET, GH};

/// Claims that a test changes.
#[derive(Clone, Debug)]
pub struct Claims(Map<String, Value>);

/// The claims of a job of `octo-org/octo-repo` that runs `release.yml` for a push to main, issued at `now`.
pub fn github(now: i64) -> Claims {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let workflow = "octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main";
    let sha = "1a2b3c4d".repeat(5);
    let claims = json!({
        "iss": GH, "aud": CARNET, "sub": "repo:octo-org/octo-repo:ref:refs/heads/main",
        "jti": format!("{count:08x}-4a5b-4c6d-8e7f-{now:012x}"), "iat": now, "nbf": now, "exp": now + 300,
        "repository": "octo-org/octo-repo", "repository_id": "74", "repository_owner": "octo-org",
        "repository_owner_id": "65", "repository_visibility": "public", "actor": "octocat", "actor_id": "12",
        "ref": "refs/heads/main", "ref_type": "branch", "ref_protected": "true", "sha": sha, "event_name": "push",
        "workflow": "Release", "workflow_ref": workflow, "workflow_sha": sha, "job_workflow_ref": workflow,
        "job_workflow_sha": sha, "run_id": "9001", "run_number": "10", "run_attempt": "1",
        "runner_environment": "github-hosted", "head_ref": "", "base_ref": "",
    });
    let Value::Object(claims) = claims else {
        unreachable!("an object")
    };
    Claims(claims)
}

impl Claims {
    /// With this claim.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Without this claim.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        assert!(self.0.remove(name).is_some(), "{name} was not there");
        self
    }

    /// A run for another ref: the workflow's references go with it.
    #[must_use]
    pub fn on_ref(self, reference: &str, kind: &str) -> Self {
        let repository = self.0["repository"].as_str().unwrap().to_owned();
        let workflow = format!("{repository}/.github/workflows/release.yml@{reference}");
        self.with("ref", reference)
            .with("ref_type", kind)
            .with("sub", format!("repo:{repository}:ref:{reference}"))
            .with("workflow_ref", workflow.clone())
            .with("job_workflow_ref", workflow)
    }

    /// In another repository, with the ids as they are.
    #[must_use]
    pub fn in_repository(self, repository: &str) -> Self {
        let reference = self.0["ref"].as_str().unwrap().to_owned();
        let kind = self.0["ref_type"].as_str().unwrap().to_owned();
        let owner = repository.split('/').next().unwrap().to_owned();
        self.with("repository", repository)
            .with("repository_owner", owner)
            .on_ref(&reference, &kind)
    }

    /// For an environment.
    #[must_use]
    pub fn in_environment(self, environment: &str) -> Self {
        self.with("environment", environment)
    }

    pub fn value(&self) -> Value {
        Value::Object(self.0.clone())
    }
}
