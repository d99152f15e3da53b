//! `carnet exchange` and `carnet-exchange`: the client for CI jobs. It obtains the token that the
//! platform issues to the job, has the server exchange it, and prints the access token alone.
//!
//! `carnet explain` takes the platform's token from the same sources and by the same rules.

mod ambient;
mod certificate;
mod environment;
mod error;
pub mod explanation;
mod job;
mod metadata;
mod options;
mod possession;
mod refusal;
mod retry;
mod runner;
mod server;
mod server_error;
pub mod web;

use std::path::PathBuf;

use carnet_engine::profile::Claims;
use clap::Args;
use clap::builder::PathBufValueParser;
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::Url;

use self::ambient::{Assertion, Seeking};
use self::certificate::JobCertificate;
use self::options::{Given, OrEmpty, given};
use self::server::{Proofs, Server};

pub use environment::Environment;
pub use error::ExchangeError;
pub use metadata::{Metadata, ServerUrl};
pub use options::{RequestArgs, SourceArgs};
pub use possession::DpopKey;
pub use retry::{Patience, Tries};
pub use server::{TokenRequest, is_bearer_token};
pub use server_error::{ServerError, success};

/// Options of `carnet exchange` and `carnet-exchange`.
#[derive(Debug, Args)]
pub struct ExchangeArgs {
    /// Issuer identifier of the server, exactly as its metadata names it; https, or http on a
    /// loopback address.
    #[arg(long, value_name = "URL")]
    server: ServerUrl,
    /// Resource URI of the registry, or one of its aliases.
    #[arg(long, value_name = "URI", value_parser = resource)]
    resource: String,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    source: SourceArgs,
    /// File with the private key of this job, to which the access token is bound (RFC 9449); made if
    /// absent, readable by its owner alone. Whoever copies the token alone cannot use it. The registry
    /// has to take such tokens.
    #[arg(long, value_name = "FILE", value_parser = OrEmpty(PathBufValueParser::new()))]
    dpop_key: Option<Given<PathBuf>>,
    /// File with a certificate of this job in PEM, with which it connects to the server (RFC 8705): the
    /// access token is bound to it, unless there is a --dpop-key. A self-signed one will do.
    #[arg(long, value_name = "FILE", requires = "client_key", value_parser = OrEmpty(PathBufValueParser::new()))]
    client_cert: Option<Given<PathBuf>>,
    /// File with the private key of that certificate, in PEM (PKCS #8), readable by its owner alone.
    #[arg(long, value_name = "FILE", requires = "client_cert", value_parser = OrEmpty(PathBufValueParser::new()))]
    client_key: Option<Given<PathBuf>>,
    /// Explain what the exchange would give, and why; no token is issued, and the platform's token
    /// stays unused.
    #[arg(long)]
    explain: bool,
}

/// Reads the resource URI of an option.
///
/// # Errors
///
/// What to write in place of a text that is no absolute URI.
pub fn resource(text: &str) -> Result<String, String> {
    let url = Url::parse(text).ok().filter(|url| {
        // `registry.example:8443` parses as a URI with the scheme `registry.example`.
        let scheme = url.scheme();
        text.contains("://") || !(scheme.contains('.') || scheme == "localhost")
    });
    match url {
        Some(url) if url.fragment().is_some() => Err("it must have no fragment".to_owned()),
        Some(_) => Ok(text.to_owned()),
        None if text.contains("://") || text.is_empty() => {
            Err("it must be an absolute URI, such as https://registry.example/".to_owned())
        }
        None => Err(format!(
            "it must be an absolute URI, such as https://{text}"
        )),
    }
}

/// The surroundings that a job's requests depend on.
#[derive(Clone, Debug)]
pub struct Job {
    pub environment: Environment,
    pub patience: Patience,
}

impl Job {
    /// The job that this process runs in.
    pub fn of_this_process() -> Self {
        Self {
            environment: Environment::of_this_process(),
            patience: Patience::default(),
        }
    }
}

/// The end of a command that got an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The access token was printed, or the explanation says that there would be one.
    Allowed,
    /// The explanation says that there would be no access token.
    Denied,
}

/// Obtains an access token, or an explanation with `--explain`, and prints it to standard output.
pub async fn run(args: &ExchangeArgs, as_json: bool) -> Result<Verdict, ExchangeError> {
    let job = Job::of_this_process();
    let outcome = if args.explain {
        explain(args, &job).await.map(|(explanation, claims)| {
            print_explanation(&explanation, Some(&claims), as_json);
            if explanation::allows(&explanation) {
                Verdict::Allowed
            } else {
                Verdict::Denied
            }
        })
    } else {
        exchange(args, &job).await.map(|answer| {
            print_token(&answer, &job.environment, as_json);
            Verdict::Allowed
        })
    };
    outcome.inspect_err(|error| {
        if let (Some(answer), true) = (error.answer(), as_json) {
            println!("{answer}");
        }
        runner::annotate(error, &job.environment);
    })
}

/// Obtains an access token: the server's whole answer.
pub async fn exchange(args: &ExchangeArgs, job: &Job) -> Result<Map<String, Value>, ExchangeError> {
    // A key that cannot be used is told before anything is sent.
    let (key, certificate) = (args.dpop_key()?, args.certificate()?);
    let proofs = Proofs {
        key: key.as_ref(),
        certificate: certificate.as_ref(),
    };
    let presented = Presented::obtain(&args.server, &args.source, job).await?;
    let request = args.token_request();
    let Presented { server, assertion } = &presented;
    let used = match server.exchange(&request, assertion, proofs).await {
        Err(error) if error.is_own_replay() => error,
        answer => return answer.map_err(|error| presented.failed(error)),
    };
    let lost = "the server most likely recorded a token at an earlier try whose answer was lost; that \
                token is not known to anybody";
    if args.source.choice()?.may_renew() {
        eprintln!("{lost}. Asking the platform for a new token");
        let fresh = obtain(&args.source, (&args.server, server), job).await;
        let fresh = fresh.map_err(|error| error.with_notes([format!("{lost}.")]))?;
        if !fresh.is(assertion) {
            let answer = server.exchange(&request, &fresh, proofs).await;
            return answer.map_err(|error| failed(error, fresh.claims()));
        }
    }
    Err(presented.failed(used).with_notes([format!(
        "{lost}. The source gives this job no other token: start the job again"
    )]))
}

/// What the exchange would give, and the claims of the platform's token.
async fn explain(args: &ExchangeArgs, job: &Job) -> Result<(Value, Claims), ExchangeError> {
    let key = args.dpop_key()?;
    let key = key.map(|key| format!("jkt:{}", key.thumbprint()));
    let certificate = args.certificate()?;
    let certificate = certificate.map(|certificate| format!("x5t:{}", certificate.thumbprint()));
    let declared = key.or(certificate);
    let presented = Presented::obtain(&args.server, &args.source, job).await?;
    let request = TokenRequest {
        proof: declared.as_deref(),
        ..args.token_request()
    };
    let explanation = presented.explain(&request).await?;
    Ok((explanation, presented.assertion.claims().clone()))
}

impl ExchangeArgs {
    /// The key of `--dpop-key`.
    fn dpop_key(&self) -> Result<Option<DpopKey>, ExchangeError> {
        let path = given(self.dpop_key.as_ref());
        path.map(|path| DpopKey::open(path)).transpose()
    }

    /// The certificate of `--client-cert` and `--client-key`.
    fn certificate(&self) -> Result<Option<JobCertificate>, ExchangeError> {
        let files = (
            given(self.client_cert.as_ref()),
            given(self.client_key.as_ref()),
        );
        match files {
            (Some(certificate), Some(key)) => JobCertificate::open(certificate, key).map(Some),
            (None, None) => Ok(None),
            _ => Err(ExchangeError::usage(
                "--client-cert and --client-key go together, and one of them is empty".to_owned(),
            )),
        }
    }

    fn token_request(&self) -> TokenRequest<'_> {
        TokenRequest::new(&self.request, Some(&self.resource))
    }
}

/// A platform's token that may be sent to a server whose metadata was read.
#[derive(Debug)]
pub struct Presented {
    server: Server,
    assertion: Assertion,
}

impl Presented {
    /// Reads the server's metadata, and obtains a token for this server. The metadata is first, so
    /// that the platform is not asked for a token if the server cannot be reached.
    pub async fn obtain(
        url: &ServerUrl,
        source: &SourceArgs,
        job: &Job,
    ) -> Result<Self, ExchangeError> {
        // Wrong usage is told before anything is sent.
        source.choice()?;
        let server = Server::discover(url, job.patience).await?;
        let assertion = obtain(source, (url, &server), job).await?;
        Ok(Self { server, assertion })
    }

    /// The platform's token. It is a secret.
    pub fn assertion(&self) -> &SecretString {
        self.assertion.text()
    }

    /// What the platform's token says, unverified.
    pub fn claims(&self) -> &Claims {
        self.assertion.claims()
    }

    /// Asks the server what would become of a token request. Nothing is issued, and the token stays
    /// unused.
    pub async fn explain(&self, request: &TokenRequest<'_>) -> Result<Value, ExchangeError> {
        let explained = self.server.explain(request, &self.assertion).await;
        explained.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: ServerError) -> ExchangeError {
        failed(error, self.assertion.claims())
    }
}

/// An error of the server. Whoever is refused reads what the job's own token says.
fn failed(error: ServerError, claims: &Claims) -> ExchangeError {
    let error = ExchangeError::from(error);
    if error.answer().is_some() && error.exit_code() == 1 {
        error.with_notes(job::describe(claims))
    } else {
        error
    }
}

/// Obtains a token for this server.
async fn obtain(
    source: &SourceArgs,
    (url, server): (&ServerUrl, &Server),
    job: &Job,
) -> Result<Assertion, ExchangeError> {
    let accepted = source.audience().map_or_else(
        || vec![url.issuer(), server.token_endpoint()],
        |audience| vec![audience],
    );
    seek(source, url.issuer(), Some(&accepted), job).await
}

/// Obtains a token that stays on this machine, whatever its audience: the text and its claims.
/// `issuer` is the audience that a platform is asked for unless `--audience` names another.
pub async fn obtain_for_this_machine(
    source: &SourceArgs,
    issuer: &str,
    job: &Job,
) -> Result<(SecretString, Claims), ExchangeError> {
    let assertion = seek(source, issuer, None, job).await?;
    Ok((assertion.text().clone(), assertion.claims().clone()))
}

async fn seek(
    source: &SourceArgs,
    issuer: &str,
    accepted: Option<&[&str]>,
    job: &Job,
) -> Result<Assertion, ExchangeError> {
    let seeking = Seeking {
        environment: &job.environment,
        audience: source.audience().unwrap_or(issuer),
        accepted,
        kubernetes_token_file: source.kubernetes_token_file(),
        tries: job.patience.lookups,
    };
    Ok(ambient::obtain(source.choice()?, &seeking).await?)
}

/// Prints an explanation, and for a refusal the claims of the token that it is about.
pub fn print_explanation(explanation: &Value, claims: Option<&Claims>, as_json: bool) {
    if as_json {
        println!("{explanation}");
        return;
    }
    println!("{}", explanation::describe(explanation));
    if let (Some(claims), false) = (claims, explanation::allows(explanation)) {
        for line in job::describe(claims) {
            println!("{line}");
        }
    }
}

fn print_token(answer: &Map<String, Value>, environment: &Environment, as_json: bool) {
    let token = answer
        .get("access_token")
        .and_then(Value::as_str)
        .unwrap_or_default();
    runner::mask(token, environment);
    if as_json {
        println!("{}", Value::Object(answer.clone()));
    } else {
        println!("{token}");
    }
}
