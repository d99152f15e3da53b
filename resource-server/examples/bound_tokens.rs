// A verifier for bearer tokens and for tokens that are bound to a key (DPoP).
use carnet_resource_server::{Proofs, ProtectedResource, Realm, RequireToken, Verifier};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (issuer, resource) = ("https://carnet.example", "https://registry.example/");
    // For a registry of several processes: Proofs::shared(secret, store).
    let proofs = Proofs::single_process().requiring_nonces();
    let verifier = Verifier::new(issuer, resource)?.taking_proofs(proofs)?;
    let about = ProtectedResource::new(resource, issuer)?.taking_proofs();
    let realm = Realm::new("registry").described_by(&about).taking_proofs();
    println!("{:?} is a layer", RequireToken::new(verifier, realm));
    Ok(())
}
