// A verifier for opaque keys: the registry is a client of the server, with a secret in a file.
use carnet_resource_server::{Introspection, Verifier};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secret = std::fs::read_to_string("client-secret")?;
    let introspection = Introspection::new("registry", secret.trim_end()).cache_seconds(2);
    let verifier = Verifier::new("https://carnet.example", "https://registry.example/")?
        .introspecting(introspection);
    println!("{verifier:?} is what RequireToken takes");
    Ok(())
}
