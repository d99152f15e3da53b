//! `carnet-example-registry ISSUER RESOURCE LISTEN FOLDER`

use std::process::ExitCode;

use carnet_example_registry::Registry;
use carnet_resource_server::{PackageNames, Verifier};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [issuer, resource, listen, folder] = arguments.as_slice() else {
        eprintln!("usage: carnet-example-registry ISSUER RESOURCE LISTEN FOLDER");
        return ExitCode::from(2);
    };
    match serve(issuer, resource, listen, folder).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(issuer: &str, resource: &str, listen: &str, folder: &str) -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::new(Verifier::new(issuer, resource)?, PackageNames::Exact, folder.into());
    let listener = tokio::net::TcpListener::bind(listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, registry.router()).await?)
}
