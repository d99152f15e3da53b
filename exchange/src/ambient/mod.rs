//! Ambient credentials: the signed token that a platform has ready for its workloads, and how each hands it out.
//!
//! A file a platform. Each says by what it is recognised (`sign`) and gets the token (`token`). Platforms that run jobs are looked
//! for before the machines that jobs run on: a runner in a pod has the pod's identity too, and that is not the job's.

mod actions;
mod assertion;
mod aws;
mod azure;
mod azure_devops;
mod bitbucket;
mod buildkite;
mod circleci;
mod codefresh;
mod file;
mod gitlab;
mod google;
mod kubernetes;
mod platform;
mod spiffe;
mod tool;
mod workload_api;

use std::path::Path;

use clap::ValueEnum;
use secrecy::SecretString;

pub use assertion::Assertion;
pub use kubernetes::DEFAULT_FILE;

use super::web::WebError;
use crate::environment::Environment;

/// Where a token can come from, in the order in which they are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// GitHub Actions; also Forgejo and Gitea, which speak the same protocol.
    #[value(alias = "github", alias = "forgejo", alias = "gitea")]
    GithubActions,
    /// GitLab CI/CD: an ID token of the job.
    #[value(alias = "gitlab")]
    GitlabCi,
    /// Buildkite: `buildkite-agent oidc request-token`.
    Buildkite,
    /// CircleCI: `circleci run oidc get`.
    Circleci,
    /// Azure DevOps pipelines.
    AzureDevops,
    /// Bitbucket Pipelines.
    Bitbucket,
    /// Codefresh.
    Codefresh,
    /// A projected service-account token of Kubernetes.
    Kubernetes,
    /// A JWT-SVID of the SPIFFE Workload API.
    Spiffe,
    /// AWS: `AWS_WEB_IDENTITY_TOKEN_FILE`, or `aws sts get-web-identity-token`.
    Aws,
    /// Azure workload identity: `AZURE_FEDERATED_TOKEN_FILE`.
    Azure,
    /// The metadata server of Google Cloud.
    #[value(alias = "gcp")]
    Google,
}

/// What is looked at, and what is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Seeking<'a> {
    /// The environment.
    pub environment: &'a Environment,
    /// The audience that a platform is asked for.
    pub audience: &'a str,
    /// The audiences of which a token has to have one.
    pub accepted: &'a [&'a str],
    /// Where Kubernetes puts the projected token.
    pub kubernetes_token_file: &'a Path,
}

/// What the environment says of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A token can be had.
    Here,
    /// This is the platform, and it gives this job no token: why, and what to do.
    Lacking(String),
    /// It is somewhere else.
    Absent,
}

/// Why there is no token to present.
#[derive(Debug, thiserror::Error)]
pub enum AmbientError {
    /// Nothing was recognised.
    #[error(
        "no ambient credential was found. Looked for, in this order:\n{0}\nName a file with --assertion-file or a variable with \
         --assertion-env, or say with --source where the token is."
    )]
    NotFound(String),
    /// The platform is known, and what is needed of it is missing.
    #[error("{0}: {1}")]
    Lacking(String, String),
    /// Getting it failed.
    #[error("{0}: {1}")]
    Failed(String, String),
    /// The platform could not be reached.
    #[error("{0}: {1}")]
    Web(String, WebError),
    /// It is a token for somebody else.
    #[error(
        "{from}: the token is for {received}, not for {expected}, so it was not sent: whoever gets a token can use it at its \
         audience. {advice}If the server does take this audience, name it with --audience."
    )]
    AnotherAudience {
        /// Where the token is from.
        from: String,
        /// Its audiences.
        received: String,
        /// What was asked for.
        expected: String,
        /// How to get the right one there.
        advice: String,
    },
}

impl Source {
    /// The name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn sign(self, seeking: &Seeking<'_>) -> Sign {
        match self {
            Self::GithubActions => actions::sign(seeking),
            Self::GitlabCi => gitlab::sign(seeking),
            Self::Buildkite => buildkite::sign(seeking),
            Self::Circleci => circleci::sign(seeking),
            Self::AzureDevops => azure_devops::sign(seeking),
            Self::Bitbucket => bitbucket::sign(seeking),
            Self::Codefresh => codefresh::sign(seeking),
            Self::Kubernetes => kubernetes::sign(seeking),
            Self::Spiffe => spiffe::sign(seeking),
            Self::Aws => aws::sign(seeking),
            Self::Azure => azure::sign(seeking),
            Self::Google => google::sign(seeking),
        }
    }

    /// What it is recognised by, for the message that nothing was found.
    fn looked_for(self, seeking: &Seeking<'_>) -> String {
        match self {
            Self::GithubActions => actions::LOOKED_FOR.to_owned(),
            Self::GitlabCi => gitlab::LOOKED_FOR.to_owned(),
            Self::Buildkite => buildkite::LOOKED_FOR.to_owned(),
            Self::Circleci => circleci::LOOKED_FOR.to_owned(),
            Self::AzureDevops => azure_devops::LOOKED_FOR.to_owned(),
            Self::Bitbucket => bitbucket::LOOKED_FOR.to_owned(),
            Self::Codefresh => codefresh::LOOKED_FOR.to_owned(),
            Self::Kubernetes => format!("the file {}", seeking.kubernetes_token_file.display()),
            Self::Spiffe => spiffe::LOOKED_FOR.to_owned(),
            Self::Aws => aws::LOOKED_FOR.to_owned(),
            Self::Azure => azure::LOOKED_FOR.to_owned(),
            Self::Google => google::LOOKED_FOR.to_owned(),
        }
    }

    async fn token(self, seeking: &Seeking<'_>) -> Result<SecretString, AmbientError> {
        match self {
            Self::GithubActions => actions::token(seeking).await,
            Self::GitlabCi => gitlab::token(seeking),
            Self::Buildkite => buildkite::token(seeking).await,
            Self::Circleci => circleci::token(seeking).await,
            Self::AzureDevops => azure_devops::token(seeking).await,
            Self::Bitbucket => bitbucket::token(seeking),
            Self::Codefresh => codefresh::token(seeking).await,
            Self::Kubernetes => kubernetes::token(seeking),
            Self::Spiffe => spiffe::token(seeking).await,
            Self::Aws => aws::token(seeking).await,
            Self::Azure => azure::token(seeking),
            Self::Google => google::token(seeking).await,
        }
    }

    /// How to get a token for the right audience there, where that is not done by asking.
    const fn advice(self) -> &'static str {
        match self {
            Self::GitlabCi => gitlab::ADVICE,
            Self::Circleci => circleci::ADVICE,
            Self::AzureDevops => azure_devops::ADVICE,
            Self::Bitbucket => bitbucket::ADVICE,
            Self::Kubernetes => kubernetes::ADVICE,
            Self::Azure => azure::ADVICE,
            Self::GithubActions | Self::Buildkite | Self::Codefresh | Self::Spiffe | Self::Aws | Self::Google => "",
        }
    }
}

/// Where the token is.
#[derive(Clone, Copy, Debug)]
pub enum Choice<'a> {
    /// In this file.
    File(&'a Path),
    /// In this variable.
    Variable(&'a str),
    /// With this platform.
    Source(Source),
    /// To be found out.
    Ambient,
}

/// Gets the token, which has one of the audiences that were sought.
pub async fn obtain(choice: Choice<'_>, seeking: &Seeking<'_>) -> Result<Assertion, AmbientError> {
    let (from, advice, text) = match choice {
        Choice::File(path) => (format!("--assertion-file {}", path.display()), "", file::read(path)?),
        Choice::Variable(name) => (format!("--assertion-env {name}"), "", variable(name, seeking)?),
        Choice::Source(source) => (source.name(), source.advice(), source.token(seeking).await?),
        Choice::Ambient => {
            let source = find(seeking)?;
            (source.name(), source.advice(), source.token(seeking).await?)
        }
    };
    let assertion = Assertion::read(&text, &from)?;
    assertion.check_audience(seeking, &from, advice)?;
    Ok(assertion)
}

/// The first source that is here. A platform that is here and gives no token ends the search: the next find would be the identity
/// of the machine, which is shared by all its jobs.
fn find(seeking: &Seeking<'_>) -> Result<Source, AmbientError> {
    for source in Source::value_variants() {
        match source.sign(seeking) {
            Sign::Here => return Ok(*source),
            Sign::Lacking(why) => return Err(AmbientError::Lacking(source.name(), why)),
            Sign::Absent => {}
        }
    }
    let sought = |source: &Source| format!("  {}: {}", source.name(), source.looked_for(seeking));
    Err(AmbientError::NotFound(Source::value_variants().iter().map(sought).collect::<Vec<_>>().join("\n")))
}

fn variable(name: &str, seeking: &Seeking<'_>) -> Result<SecretString, AmbientError> {
    let value = seeking.environment.get(name);
    value.map(SecretString::from).ok_or_else(|| {
        AmbientError::Lacking(format!("--assertion-env {name}"), "the variable is not set, or empty".to_owned())
    })
}
