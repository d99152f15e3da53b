//! Ambient tokens: the signed token that a platform provides to its workloads, and how each
//! platform hands it out.
//!
//! Each platform has a file with `sign`, which recognises it, and `token`, which obtains the token.
//! CI platforms are tried before the machines that their jobs run on: a runner in a pod has the
//! pod's identity as well, which is not the job's.

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
use crate::error::ExchangeError;
use crate::retry::Tries;

/// The platforms that a token can come from, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// GitHub Actions, and Forgejo and Gitea, which use the same protocol.
    #[value(alias = "github", alias = "forgejo", alias = "gitea")]
    GithubActions,
    /// GitLab CI/CD: the job's ID token in `CARNET_ID_TOKEN`.
    #[value(alias = "gitlab")]
    GitlabCi,
    /// Buildkite: `buildkite-agent oidc request-token`.
    Buildkite,
    /// CircleCI: `circleci run oidc get`, or `CIRCLE_OIDC_TOKEN_V2` where that program is missing.
    Circleci,
    /// Azure DevOps pipelines: `SYSTEM_OIDCREQUESTURI`, with `SYSTEM_ACCESSTOKEN`.
    AzureDevops,
    /// Bitbucket Pipelines: `BITBUCKET_STEP_OIDC_TOKEN`.
    Bitbucket,
    /// Codefresh: `CF_OIDC_REQUEST_URL`, with `CF_OIDC_REQUEST_TOKEN`.
    Codefresh,
    /// Kubernetes: the projected service-account token in `--kubernetes-token-file`.
    Kubernetes,
    /// SPIFFE: a JWT-SVID of the Workload API at `SPIFFE_ENDPOINT_SOCKET`.
    Spiffe,
    /// AWS: `AWS_WEB_IDENTITY_TOKEN_FILE`, or `aws sts get-web-identity-token`.
    Aws,
    /// Azure workload identity: `AZURE_FEDERATED_TOKEN_FILE`.
    Azure,
    /// Google Cloud: an identity token of the metadata server.
    #[value(alias = "gcp")]
    Google,
}

/// What the search for a token reads, and which token it needs.
#[derive(Clone, Copy, Debug)]
pub struct Seeking<'a> {
    pub environment: &'a Environment,
    /// The audience to request from a platform.
    pub audience: &'a str,
    /// The token has to have one of these audiences, unless it is not sent to anybody (`None`).
    pub accepted: Option<&'a [&'a str]>,
    /// The file of a pod's projected service-account token.
    pub kubernetes_token_file: &'a Path,
    /// How often and for how long a platform is asked.
    pub tries: Tries,
}

impl Seeking<'_> {
    /// Whether the token may be used for what it is sought for.
    fn accepts(&self, assertion: &Assertion) -> bool {
        self.accepted
            .is_none_or(|accepted| assertion.is_for(accepted))
    }
}

/// Whether a platform is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The platform is recognised and offers a token.
    Here,
    /// The platform is recognised, but offers this job no token. Holds the reason and what to do.
    Lacking(String),
    /// The platform is not recognised.
    Absent,
}

/// Why there is no token to present to the server.
#[derive(Debug, thiserror::Error)]
pub enum AmbientError {
    /// No platform is recognised.
    #[error(
        "no ambient credential was found. Looked for, in this order:\n{0}\nName a file with --assertion-file or a variable with \
         --assertion-env, or say with --source where the token is."
    )]
    NotFound(String),
    /// The platform is known, but something that it needs is missing.
    #[error("{0}: {1}")]
    Lacking(String, String),
    /// The token could not be obtained or read.
    #[error("{0}: {1}")]
    Failed(String, String),
    /// The platform has no token now; another time it may have one.
    #[error("{0}: {1}")]
    Later(String, String),
    /// The platform could not be reached.
    #[error("{0}: {1}")]
    Web(String, WebError),
    /// The token is for another audience.
    #[error(
        "{from}: the token is for {received}, not for {expected}, so it was not sent: whoever gets a token can use it at its \
         audience. {advice}If the server does take this audience, name it with --audience."
    )]
    AnotherAudience {
        /// The option or platform that the token comes from.
        from: String,
        /// The audiences of the token.
        received: String,
        /// The requested audience.
        expected: String,
        /// How to get a token for the right audience there.
        advice: String,
    },
}

impl From<AmbientError> for ExchangeError {
    fn from(error: AmbientError) -> Self {
        let is_temporary = match &error {
            AmbientError::Later(..) => true,
            AmbientError::Web(_, error) => error.is_temporary(),
            AmbientError::NotFound(_)
            | AmbientError::Lacking(..)
            | AmbientError::Failed(..)
            | AmbientError::AnotherAudience { .. } => false,
        };
        if is_temporary {
            Self::no_answer(error.to_string())
        } else {
            Self::refused(error.to_string())
        }
    }
}

impl Source {
    /// The name of the platform on the command line.
    pub fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
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

    /// How the platform is recognised, for the error that none was found.
    fn looked_for(self, seeking: &Seeking<'_>) -> String {
        match self {
            Self::GithubActions => actions::LOOKED_FOR.to_owned(),
            Self::GitlabCi => gitlab::LOOKED_FOR.to_owned(),
            Self::Buildkite => buildkite::LOOKED_FOR.to_owned(),
            Self::Circleci => circleci::LOOKED_FOR.to_owned(),
            Self::AzureDevops => azure_devops::LOOKED_FOR.to_owned(),
            Self::Bitbucket => bitbucket::LOOKED_FOR.to_owned(),
            Self::Codefresh => codefresh::LOOKED_FOR.to_owned(),
            Self::Kubernetes => kubernetes::looked_for(seeking),
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

    /// How to get a token for the right audience on platforms that take no audience in the request.
    const fn advice(self) -> &'static str {
        match self {
            Self::GitlabCi => gitlab::ADVICE,
            Self::Circleci => circleci::ADVICE,
            Self::AzureDevops => azure_devops::ADVICE,
            Self::Bitbucket => bitbucket::ADVICE,
            Self::Kubernetes => kubernetes::ADVICE,
            Self::Azure => azure::ADVICE,
            Self::GithubActions
            | Self::Buildkite
            | Self::Codefresh
            | Self::Spiffe
            | Self::Aws
            | Self::Google => "",
        }
    }
}

/// How the token was chosen on the command line.
#[derive(Clone, Copy, Debug)]
pub enum Choice<'a> {
    /// `--assertion-file`.
    File(&'a Path),
    /// `--assertion-env`.
    Variable(&'a str),
    /// `--source`.
    Source(Source),
    /// None of them: the platform is detected.
    Ambient,
}

impl Choice<'_> {
    /// Whether asking again may give another token. Files and variables that the job names are its
    /// own business.
    pub const fn may_renew(self) -> bool {
        matches!(self, Self::Source(_) | Self::Ambient)
    }
}

/// Obtains the token and checks that it has one of the accepted audiences.
pub async fn obtain(choice: Choice<'_>, seeking: &Seeking<'_>) -> Result<Assertion, AmbientError> {
    let (from, advice, text) = match choice {
        Choice::File(path) => (
            format!("--assertion-file {}", path.display()),
            "",
            file::read(path)?,
        ),
        Choice::Variable(name) => (
            format!("--assertion-env {name}"),
            "",
            variable(name, seeking)?,
        ),
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

/// Finds the first platform that is recognised. A platform that offers the job no token ends the
/// search: the next platform found would be that of the machine, whose identity all its jobs share.
fn find(seeking: &Seeking<'_>) -> Result<Source, AmbientError> {
    for source in Source::value_variants() {
        match source.sign(seeking) {
            Sign::Here => return Ok(*source),
            Sign::Lacking(why) => return Err(AmbientError::Lacking(source.name(), why)),
            Sign::Absent => {}
        }
    }
    let sought = |source: &Source| format!("  {}: {}", source.name(), source.looked_for(seeking));
    Err(AmbientError::NotFound(
        Source::value_variants()
            .iter()
            .map(sought)
            .collect::<Vec<_>>()
            .join("\n"),
    ))
}

fn variable(name: &str, seeking: &Seeking<'_>) -> Result<SecretString, AmbientError> {
    let value = seeking.environment.get(name);
    value.map(SecretString::from).ok_or_else(|| {
        AmbientError::Lacking(
            format!("--assertion-env {name}"),
            "the variable is not set, or empty".to_owned(),
        )
    })
}
