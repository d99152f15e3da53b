//! `carnet-example-registry`: serves the example registry.

use std::path::PathBuf;
use std::process::ExitCode;

use carnet_resource_server::{Introspection, Proofs, Verifier};
use carnet_stand_ins::{Protocol, Registry, Tls};
use clap::Parser;
use url::Url;

type Failure = Box<dyn std::error::Error>;

/// A small package registry that accepts Carnet's access tokens, with a proof of possession (DPoP)
/// those that are bound to a key.
#[derive(Debug, Parser)]
#[command(name = "carnet-example-registry", version, after_help = EXAMPLE)]
struct Options {
    /// Carnet's issuer identifier.
    issuer: String,
    /// The registry's resource URI, as in Carnet.
    resource: String,
    /// The address and port to listen on.
    listen: String,
    /// The folder in which packages are stored.
    folder: PathBuf,
    /// The publish protocol.
    #[arg(long, value_enum, default_value_t = Protocol::Generic)]
    protocol: Protocol,
    /// The URL at which clients reach the registry, if it is not the origin of RESOURCE.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Where requests of the tools for tokens are forwarded to [default: the origin of ISSUER]
    #[arg(long, value_name = "URL")]
    front_door: Option<Url>,
    /// The registry's own client at Carnet. With it the registry accepts opaque keys too.
    #[arg(long, value_name = "ID", env = "REGISTRY_CLIENT_ID")]
    client_id: Option<String>,
    /// The client secret; better in the environment or a file than on the command line.
    #[arg(
        long,
        env = "REGISTRY_CLIENT_SECRET",
        hide_env_values = true,
        requires = "client_id"
    )]
    client_secret: Option<String>,
    /// A file with the client secret.
    #[arg(
        long,
        value_name = "FILE",
        env = "REGISTRY_CLIENT_SECRET_FILE",
        requires = "client_id",
        conflicts_with = "client_secret"
    )]
    client_secret_file: Option<PathBuf>,
    /// The registry's client at Carnet with the grant `authorization_code`. With it people sign in at
    /// the page /account.
    #[arg(long, value_name = "ID")]
    sign_in_client_id: Option<String>,
    /// A file with the secret of that client.
    #[arg(long, value_name = "FILE", requires = "sign_in_client_id")]
    sign_in_client_secret_file: Option<PathBuf>,
    /// A file with the certificate chain (PEM). With it the registry speaks https only.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// A file with the certificate's private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

const EXAMPLE: &str = "\
Example:
  carnet-example-registry https://carnet.example https://pypi.example/ 127.0.0.1:8443 ./packages \\
    --protocol pypi --client-id pypi --client-secret-file ./secret --tls-certificate ./pypi.pem --tls-key ./pypi-key.pem
";

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Failure> {
    let verifier = verifier(&options)?;
    let front_door = match &options.front_door {
        Some(url) => url.clone(),
        None => origin(&options.issuer)?,
    };
    let registry = Registry::speaking(options.protocol, verifier, options.folder)
        .with_front_door(&front_door)?;
    let registry = match &options.url {
        Some(url) => registry.at(url),
        None => registry,
    };
    let registry = match &options.sign_in_client_id {
        Some(client) => registry.with_sign_in(client, options.sign_in_client_secret_file)?,
        None => registry,
    };
    let tls = match (&options.tls_certificate, &options.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls::from_files(certificate, key)?),
        _ => None,
    };
    let listener = tokio::net::TcpListener::bind(&options.listen).await?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    println!("listening on {scheme}://{}", listener.local_addr()?);
    Ok(registry.serve(listener, tls).await?)
}

fn origin(issuer: &str) -> Result<Url, Failure> {
    Ok(Url::parse(issuer)?.join("/")?)
}

fn verifier(options: &Options) -> Result<Verifier, Failure> {
    let verifier = Verifier::new(&options.issuer, &options.resource)?;
    let proofs = match &options.url {
        Some(url) => Proofs::single_process().reached_at([url]),
        None => Proofs::single_process(),
    };
    let verifier = verifier.taking_proofs(proofs)?;
    let Some(client_id) = &options.client_id else {
        return Ok(verifier);
    };
    let secret = match (&options.client_secret, &options.client_secret_file) {
        (Some(secret), _) => secret.clone(),
        (None, Some(file)) => std::fs::read_to_string(file)?,
        (None, None) => return Err("a client needs its secret: --client-secret-file".into()),
    };
    Ok(verifier.introspecting(Introspection::new(client_id, secret.trim_end())))
}
