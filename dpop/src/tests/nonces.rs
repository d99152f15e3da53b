//! Nonces, given out and asked for.

use super::*;

#[test]
fn rfc9449_4_3_10__a_nonce_that_was_asked_for_has_to_match() {
    let nonces = Nonces::new(&[7; 32], "server").unwrap();
    let uris = uris();
    let asked = Expected {
        nonces: Some(&nonces),
        ..expected(&uris)
    };
    let verified = |changes: Value| asked.verify(&signed(&key(), &with(&changes)));
    let nonce = nonces.at(NOW).unwrap();
    let proof = verified(json!({ "nonce": nonce })).unwrap();
    assert_eq!(proof.nonce(), Some(nonce.as_str()));
    assert_eq!(verified(json!({})), Err(InvalidProof::Nonce));
    let mut tampered = nonce.clone().into_bytes();
    tampered[20] ^= 1;
    let foreign = Nonces::new(&[8; 32], "server").unwrap().at(NOW).unwrap();
    let registrys = Nonces::new(&[7; 32], "registry").unwrap().at(NOW).unwrap();
    for wrong in [
        String::from_utf8(tampered).unwrap(),
        foreign,
        registrys,
        nonces.at(NOW - 600).unwrap(),
        nonces.at(NOW + 600).unwrap(),
        format!("{nonce}="),
        String::new(),
    ] {
        assert_eq!(
            verified(json!({ "nonce": wrong })),
            Err(InvalidProof::Nonce)
        );
    }
}

#[test]
fn rfc9449_8_1__nonces_have_nonce_characters_and_are_not_told_from_each_other() {
    let nonces = Nonces::new(&[7; 32], "server").unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for minute in 0..1000 {
        let now = NOW + minute * 60;
        let nonce = nonces.at(now).unwrap();
        assert!(
            nonce
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        for later in [0, 120, 239] {
            assert!(nonces.takes(&nonce, now + later));
        }
        assert!(!nonces.takes(&nonce, now + 300));
        // The part that nobody can compute is different each time.
        assert!(seen.insert(nonce.get(11..).unwrap().to_owned()));
    }
}
