//! `carnet-example-registry ISSUER RESOURCE LISTEN FOLDER [CLIENT_ID SECRET_FILE]`
//!
//! Serves the example registry. `ISSUER` is Carnet's issuer identifier, `RESOURCE` the registry's
//! resource URI, `LISTEN` the address and port to listen on, and `FOLDER` where packages are
//! stored. With a client's id and a file with its client secret the registry accepts opaque keys
//! too, by introspection.

use std::process::ExitCode;

use carnet_resource_server::{Introspection, PackageNames, Verifier};
use carnet_stand_ins::Registry;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [issuer, resource, listen, folder, client @ ..] = arguments.as_slice() else {
        return usage();
    };
    let verifier = match client {
        [] => Verifier::new(issuer, resource).map_err(Into::into),
        [client_id, secret_file] => introspecting(issuer, resource, client_id, secret_file),
        _ => return usage(),
    };
    let served = match verifier {
        Ok(verifier) => serve(verifier, listen, folder).await,
        Err(error) => Err(error),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: carnet-example-registry ISSUER RESOURCE LISTEN FOLDER [CLIENT_ID SECRET_FILE]"
    );
    ExitCode::from(2)
}

fn introspecting(
    issuer: &str,
    resource: &str,
    client_id: &str,
    secret_file: &str,
) -> Result<Verifier, Failure> {
    let secret = std::fs::read_to_string(secret_file)?;
    Ok(Verifier::new(issuer, resource)?
        .introspecting(Introspection::new(client_id, secret.trim_end())))
}

async fn serve(verifier: Verifier, listen: &str, folder: &str) -> Result<(), Failure> {
    let registry = Registry::new(verifier, PackageNames::Exact, folder.into());
    let listener = tokio::net::TcpListener::bind(listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, registry.router()).await?)
}
