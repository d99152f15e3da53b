//! `carnet explain`: what would become of an assertion, or why an event of the audit record ended as
//! it did.
//!
//! With an admin token or a sign-in, or on the database, it asks the admin API; with `--server`
//! alone it asks the public endpoint `/explain`. The assertion comes from the sources of `carnet exchange`.

use axum::http::Method;
use carnet_exchange::explanation::allows;
use carnet_exchange::{
    ExchangeError, Job, Presented, RequestArgs, ServerUrl, SourceArgs, TokenRequest,
    obtain_for_this_machine, print_explanation,
};
use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::admin_client::AdminClient;
use super::server_token::{Found, ServerToken};
use super::{CommandError, Conclusion, ServerArgs};
use crate::profile::Claims;

/// Options of `carnet explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Id of an audit event, such as the `error_id` of a refusal: explains it again from the
    /// claims that the event holds. Needs --token or the database.
    #[arg(long, value_name = "ID", conflicts_with_all = [
        "source", "assertion_file", "assertion_env", "audience", "kubernetes_token_file",
        "resource", "scope", "principal", "authorization_details", "grant", "front_door", "package",
        "proof",
    ])]
    event: Option<String>,
    /// Resource URI of the registry, or one of its aliases; without it, the only registry that the
    /// matching rules cover.
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// Name of the resource server whose front door is asked about; the platform's token has to carry
    /// that door's audience (--audience).
    #[arg(long, value_name = "NAME", conflicts_with = "resource")]
    front_door: Option<String>,
    /// Package that the registry's tool asks a key for, at the front door of an npm registry.
    #[arg(long, value_name = "NAME", requires = "front_door")]
    package: Option<String>,
    /// Proof of possession that is taken as given: `none`, `jkt:` and the thumbprint of a key, or
    /// `x5t:` and that of a client certificate.
    #[arg(long, value_name = "PROOF")]
    proof: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    target: ServerArgs,
}

/// Prints the explanation. With an admin token or a sign-in, or on the database, it shows every rule that the
/// token reaches; with `--server` alone, only what the assertion itself proves.
pub async fn run(args: &ExplainArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let (explanation, claims) = match (&args.event, &args.target.server) {
        (Some(event), _) => {
            let client = AdminClient::new(&args.target).await?;
            (ask(&client, &json!({ "event": event })).await?, None)
        }
        (None, Some(server)) => {
            let (explanation, claims) = ask_a_server(args, &server_url(server)?).await?;
            (explanation, Some(claims))
        }
        (None, None) => {
            let (assertion, claims) = read_for_the_database(args).await?;
            let client = AdminClient::new(&args.target).await?;
            let explanation = ask(&client, &args.question(&assertion)?).await?;
            (explanation, Some(claims))
        }
    };
    print_explanation(&explanation, claims.as_ref(), as_json);
    Ok(allows(&explanation).into())
}

/// Asks the server's admin API if there is a token for it, and otherwise its public endpoint.
async fn ask_a_server(
    args: &ExplainArgs,
    server: &ServerUrl,
) -> Result<(Value, Claims), CommandError> {
    let token = match ServerToken::find(&args.target, server.issuer())? {
        Found::Token(token) => Some(token),
        Found::Expired(why) => {
            eprintln!("carnet: {why}; asking without it");
            None
        }
        Found::Nothing => None,
    };
    let presented = Presented::obtain(server, &args.source, &Job::of_this_process()).await?;
    let explanation = match token {
        Some(token) => {
            let client = AdminClient::remote(server.issuer(), token)?;
            ask(&client, &args.question(presented.assertion())?).await?
        }
        None => presented.explain(&args.token_request()).await?,
    };
    Ok((explanation, presented.claims().clone()))
}

/// Obtains the assertion for an explanation by the configured database. It leaves this machine for
/// nobody, so any audience will do.
async fn read_for_the_database(args: &ExplainArgs) -> Result<(SecretString, Claims), CommandError> {
    let config = args.target.config.load()?;
    let job = Job::of_this_process();
    Ok(obtain_for_this_machine(&args.source, config.own.issuer(), &job).await?)
}

/// Asks the admin API of the server or of the configured database.
async fn ask(client: &AdminClient, question: &Value) -> Result<Value, CommandError> {
    client
        .send(Method::POST, "/explanations", Some(question))
        .await?
        .ok()
}

fn server_url(text: &str) -> Result<ServerUrl, ExchangeError> {
    text.parse()
        .map_err(|why: String| ExchangeError::usage(format!("--server {text}: {why}")))
}

impl ExplainArgs {
    fn token_request(&self) -> TokenRequest<'_> {
        let resource = self.resource.as_deref();
        TokenRequest {
            front_door: self.front_door.as_deref(),
            package: self.package.as_deref(),
            proof: self.proof.as_deref(),
            ..TokenRequest::new(&self.request, resource.filter(|text| !text.is_empty()))
        }
    }

    /// The token request in the form of the admin API.
    fn question(&self, assertion: &SecretString) -> Result<Value, CommandError> {
        let request = self.token_request();
        let details = request
            .authorization_details
            .map(serde_json::from_str::<Value>)
            .transpose()
            .map_err(|error| CommandError::Other(format!("--authorization-details: {error}")))?;
        let mut question = json!({
            "grant_type": request.grant.short_name(), "assertion": assertion.expose_secret(),
            "resource": request.resource, "principal": request.principal, "scope": request.scope,
            "authorization_details": details, "front_door": request.front_door, "package": request.package,
        });
        if let Some(members) = question.as_object_mut() {
            members.extend(request.proof.map(|proof| {
                let declared = proof.split_once(':').map_or(
                    json!(proof),
                    |(kind, thumbprint)| json!({ kind: thumbprint }),
                );
                ("proof".to_owned(), declared)
            }));
            members.retain(|_, value| !value.is_null());
        }
        Ok(question)
    }
}
