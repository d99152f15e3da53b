//! What Debian's `rpki-client` and `openssl cms -verify` say of the same files.

use std::path::Path;
use std::process::Command;

use carnet_rpki_attestation::Step;
use carnet_toy_rpki::{Attestation, Authority, Holdings, SignedMessage, ToyRpki, Window};

use crate::support::{SET, step, verify};

/// Whether the program is there; without it a test is skipped, unless everything is required.
#[expect(
    clippy::disallowed_methods,
    reason = "what may be skipped is said by the environment"
)]
fn has_rpki_client() -> bool {
    let has = Command::new("rpki-client").arg("-V").output().is_ok();
    assert!(
        has || std::env::var_os("CARNET_REQUIRE_ALL").is_none(),
        "rpki-client is not installed"
    );
    has
}

/// Whether `rpki-client` takes a file of its cache for valid.
fn is_valid(toy: &ToyRpki, file: &Path) -> bool {
    // It gives up its rights before it reads.
    let opened = Command::new("chmod")
        .args(["-R", "a+rX"])
        .arg(toy.scratch())
        .status()
        .unwrap();
    assert!(opened.success());
    let output = Command::new("rpki-client")
        .arg("-j")
        .arg("-d")
        .arg(toy.cache())
        .arg("-t")
        .arg(toy.tal_dir().join("toy.tal"))
        .arg("-f")
        .arg(file)
        .output()
        .unwrap();
    let answer = String::from_utf8(output.stdout).unwrap();
    let ok = answer.contains("\"validation\": \"OK\"");
    let failed = answer.contains("\"validation\": \"Failed");
    assert!(
        ok != failed,
        "{answer}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    ok
}

fn certificate_of(authority: &Authority, issuer: &Authority) -> std::path::PathBuf {
    issuer.folder().join(format!("{}.cer", authority.name))
}

#[test]
fn rpki_path_1__a_foreign_validator_agrees_on_certificates_manifests_and_crls() {
    if !has_rpki_client() {
        return;
    }
    let toy = ToyRpki::new();
    let message = toy.network.attest(SET.as_bytes(), &Attestation::default());
    let network = certificate_of(&toy.network, &toy.registry);

    assert!(verify(&toy, &message).is_ok());
    assert!(is_valid(&toy, &certificate_of(&toy.registry, &toy.anchor)));
    assert!(is_valid(&toy, &network));
    assert!(is_valid(&toy, &toy.network.manifest()));

    // A manifest of the past.
    toy.network.publish_manifest(&Window::around_now(7200, -60));
    assert_eq!(step(&toy, &message), Step::Manifest);
    assert!(!is_valid(&toy, &toy.network.manifest()));
    toy.network.publish_manifest(&Window::default());
    assert!(is_valid(&toy, &toy.network.manifest()));

    // More than there is to pass on.
    let greedy = toy.registry.issue_authority(
        "greedy",
        &Holdings::new("64496-64511", &["192.0.2.0/24"], &[]),
    );
    toy.registry.publish(&Window::default());
    greedy.publish(&Window::default());
    let attestation = Attestation {
        holdings: Holdings::new("64496", &[], &[]),
        ..Attestation::default()
    };
    let of_greedy = greedy.attest(SET.as_bytes(), &attestation);
    assert_eq!(step(&toy, &of_greedy), Step::Containment);
    assert!(!is_valid(&toy, &certificate_of(&greedy, &toy.registry)));

    // A revoked authority.
    toy.registry.revoke_authority(&toy.network);
    toy.registry.publish(&Window::default());
    assert_eq!(step(&toy, &message), Step::Revoked);
    assert!(!is_valid(&toy, &network));
}

/// Whether `openssl cms -verify` takes the message for signed by the toy's network.
fn is_signed(toy: &ToyRpki, message: &SignedMessage) -> bool {
    let dir = toy.scratch();
    std::fs::write(dir.join("message.der"), &message.der).unwrap();
    let authorities = [&toy.network, &toy.registry, &toy.anchor];
    let certificates = authorities.map(Authority::certificate_pem).concat();
    std::fs::write(dir.join("authorities.pem"), certificates).unwrap();
    Command::new("openssl")
        .current_dir(dir)
        .args([
            "cms",
            "-verify",
            "-inform",
            "DER",
            "-in",
            "message.der",
            "-CAfile",
            "authorities.pem",
            "-purpose",
            "any",
            "-out",
            "content.der",
        ])
        .output()
        .unwrap()
        .status
        .success()
}

#[test]
fn rpki_jwk_3__openssl_agrees_on_the_signature_of_a_message() {
    let toy = ToyRpki::new();
    let message = toy.network.attest(SET.as_bytes(), &Attestation::default());
    assert!(verify(&toy, &message).is_ok());
    assert!(is_signed(&toy, &message));

    // The last octet is one of the signature.
    let mut changed = message;
    *changed.der.last_mut().unwrap() ^= 1;
    assert_eq!(step(&toy, &changed), Step::Signature);
    assert!(!is_signed(&toy, &changed));
}
