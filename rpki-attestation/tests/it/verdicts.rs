//! What counts and what does not.

use std::net::{Ipv4Addr, Ipv6Addr};

use carnet_rpki_attestation::{AttestedSet, Step};
use carnet_toy_rpki::{Attestation, Holdings, ToyRpki, Window};

use crate::support::{ISSUER, SET, attested, now, step, verifier, verify, with_attestation};

#[test]
fn rpki_idp_2__a_verdict_says_what_stands_behind_a_set_and_until_when() {
    let toy = ToyRpki::new();
    let message = toy.network.attest(
        SET.as_bytes(),
        &Attestation {
            asns: vec!["64496-64497".to_owned()],
            ipv4: vec!["C00002".to_owned()],
            label: Some("keys.json".to_owned()),
            ..Attestation::default()
        },
    );

    let verdict = verify(&toy, &message).unwrap();

    assert_eq!(verdict.resources.asns, [64496..=64497]);
    assert_eq!(
        verdict.resources.ipv4,
        [Ipv4Addr::new(192, 0, 2, 0)..=Ipv4Addr::new(192, 0, 2, 255)]
    );
    assert!(verdict.resources.ipv6.is_empty());
    assert_eq!(verdict.trust_anchor, "toy");
    assert!((now() - 60..=now()).contains(&verdict.signed_at));
    // The manifests and CRLs of the toy end after a week, the one-time certificate after 30 days.
    assert!((now() + 29 * 86400..=now() + 30 * 86400).contains(&verdict.not_after));
    assert!((now() + 6 * 86400..=now() + 7 * 86400).contains(&verdict.use_until));
}

#[test]
fn atk_188__a_changed_set_is_not_the_one_that_was_attested() {
    let toy = ToyRpki::new();
    let attestation = toy
        .network
        .attest(SET.as_bytes(), &Attestation::default())
        .base64url();
    let verifier = verifier(&toy);
    let verify = |set: &str| {
        verifier
            .verify(
                &with_attestation(set, &attestation),
                Some(ISSUER),
                None,
                now(),
            )
            .map(|_| ())
            .map_err(|failure| failure.step)
    };

    assert_eq!(verify(SET), Ok(()));
    // Another order and white space are the same set.
    assert_eq!(
        verify(
            "{\"keys\": [ {\"kid\":\"a\",\"kty\":\"EC\", \"crv\":\"P-256\",\n\"alg\":\"ES256\"} ], \"issuer\":\"https://as64496.example\"}"
        ),
        Ok(())
    );
    for changed in [
        SET.replace("\"kid\":\"a\"", "\"kid\":\"b\""),
        SET.replace("ES256", "ES384"),
        SET.replace("\"alg\":\"ES256\",", ""),
        SET.replace("\"kty\":\"EC\"", "\"kty\":\"EC\",\"use\":\"enc\""),
        SET.replace("\"keys\":[", "\"keys\":[{\"kty\":\"oct\"},"),
        SET.replace("as64496", "as64497"),
        SET.replace("\"issuer\":\"https://as64496.example\",", ""),
    ] {
        assert_eq!(verify(&changed), Err(Step::Digest), "{changed}");
    }
}

#[test]
fn atk_189__the_attestation_of_another_issuer_does_not_count() {
    let toy = ToyRpki::new();
    let message = toy.network.attest(SET.as_bytes(), &Attestation::default());
    let verifier = verifier(&toy);
    let set = attested(&message);

    assert!(verifier.verify(&set, None, None, now()).is_ok());
    assert_eq!(
        verifier
            .verify(&set, Some("https://as64497.example"), None, now())
            .unwrap_err()
            .step,
        Step::Issuer
    );
    // A set that does not say whose it is counts for whoever serves it.
    let anonymous = SET.replace("\"issuer\":\"https://as64496.example\",", "");
    let message = toy
        .network
        .attest(anonymous.as_bytes(), &Attestation::default());
    let set = with_attestation(&anonymous, &message.base64url());
    assert!(
        verifier
            .verify(&set, Some("https://as64497.example"), None, now())
            .is_ok()
    );
}

#[test]
fn rpki_idp_1__a_set_without_a_readable_attestation_does_not_count() {
    let toy = ToyRpki::new();
    let verifier = verifier(&toy);
    let step = |document: &str| {
        let set = AttestedSet::parse(document.as_bytes()).unwrap();
        verifier.verify(&set, None, None, now()).unwrap_err().step
    };

    assert_eq!(step(r#"{"keys":[]}"#), Step::Missing);
    for attestation in [
        "\"\"",
        "1",
        "null",
        "{}",
        "\"AA==\"",
        "\"A\"",
        "\"+/+/\"",
        "\" AAAA\"",
    ] {
        let document = format!("{{\"keys\":[],\"rpki_attestation\":{attestation}}}");
        assert_eq!(step(&document), Step::Encoding, "{attestation}");
    }
    let long = "AAAA".repeat(64 * 1024 / 3 + 1);
    assert_eq!(
        step(&format!("{{\"keys\":[],\"rpki_attestation\":\"{long}\"}}")),
        Step::Encoding
    );
    assert_eq!(step(r#"{"keys":[],"rpki_attestation":"MAA"}"#), Step::Cms);
}

#[test]
fn rpki_rsm_1__a_message_of_another_kind_does_not_count() {
    let toy = ToyRpki::new();
    let step_of = |attestation: Attestation| {
        let message = toy.network.attest(SET.as_bytes(), &attestation);
        step(&toy, &message)
    };
    let right = Attestation::default();

    let other = "1.3.6.1.4.1.32473.9".to_owned();
    assert_eq!(
        step_of(Attestation {
            content_type: other.clone(),
            ..right.clone()
        }),
        Step::ContentType
    );
    assert_eq!(
        step_of(Attestation {
            audience: Some(other.clone()),
            ..right.clone()
        }),
        Step::Audience
    );
    assert_eq!(
        step_of(Attestation {
            audience: None,
            ..right.clone()
        }),
        Step::Audience
    );
    assert_eq!(
        step_of(Attestation {
            purpose: other,
            ..right.clone()
        }),
        Step::Purpose
    );
    for label in ["a b", "a/b"] {
        assert_eq!(
            step_of(Attestation {
                label: Some(label.to_owned()),
                ..right.clone()
            }),
            Step::Cms,
            "{label}"
        );
    }
    let no_resources = Attestation {
        asns: Vec::new(),
        ..right
    };
    assert_eq!(step_of(no_resources), Step::Cms);
}

#[test]
fn rpki_rsm_2__a_message_names_no_more_than_its_certificate_and_that_no_more_than_the_path() {
    let toy = ToyRpki::new();
    let step_of = |holdings: Holdings, asns: &[&str]| {
        let message = toy.network.attest(
            SET.as_bytes(),
            &Attestation {
                holdings,
                asns: asns.iter().map(|&asn| asn.to_owned()).collect(),
                ..Attestation::default()
            },
        );
        verify(&toy, &message)
            .map(|verdict| verdict.resources.asns)
            .map_err(|failure| failure.step)
    };
    let asns = |asns: &str| Holdings::new(asns, &[], &[]);

    assert_eq!(
        step_of(asns("64496 64498"), &["64496", "64498"]),
        Ok(vec![64496..=64496, 64498..=64498])
    );
    assert_eq!(step_of(asns("64496"), &["64497"]), Err(Step::Containment));
    assert_eq!(
        step_of(asns("64496"), &["64496-64497"]),
        Err(Step::Containment)
    );
    // The network holds AS64496 to AS64499.
    assert_eq!(
        step_of(asns("64499-64500"), &["64499"]),
        Err(Step::Containment)
    );
    assert_eq!(step_of(Holdings::inherit(), &["64496"]), Err(Step::Inherit));
    for wrong in [
        &["64497", "64496"][..],
        &["64496", "64496"],
        &["64496", "64497"],
        &["64496-64496"],
        &["64496-64498", "64497"],
    ] {
        assert_eq!(
            step_of(asns("64496-64498"), wrong),
            Err(Step::Cms),
            "{wrong:?}"
        );
    }
}

#[test]
fn rpki_rsm_2__addresses_are_read_by_their_own_family() {
    let toy = ToyRpki::new();
    let of = |ipv4: &[&str], ipv6: &[&str], families: Option<Vec<&'static str>>| {
        let texts = |prefixes: &[&str]| prefixes.iter().map(|&prefix| prefix.to_owned()).collect();
        let message = toy.network.attest(
            SET.as_bytes(),
            &Attestation {
                holdings: Holdings::new("", &["192.0.2.0/24"], &["2001:db8::/32"]),
                asns: Vec::new(),
                ipv4: texts(ipv4),
                ipv6: texts(ipv6),
                families,
                ..Attestation::default()
            },
        );
        verify(&toy, &message)
            .map(|verdict| (verdict.resources.ipv4, verdict.resources.ipv6))
            .map_err(|failure| failure.step)
    };
    let v4 = Ipv4Addr::new(192, 0, 2, 0)..=Ipv4Addr::new(192, 0, 2, 255);
    let v6 = "2001:db8::".parse::<Ipv6Addr>().unwrap()
        ..="2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();

    assert_eq!(of(&[], &["20010DB8"], None), Ok((vec![], vec![v6.clone()])));
    assert_eq!(
        of(&["C00002"], &["20010DB8"], None),
        Ok((vec![v4.clone()], vec![v6]))
    );
    let both = |families: &[&'static str]| of(&["C00002"], &["20010DB8"], Some(families.to_vec()));
    for families in [
        &["v6", "v4"][..],
        &["v4", "v4"],
        &["v6", "v6"],
        &["v4", "v6", "v6"],
        &["v4", "v6", "v4"],
    ] {
        assert_eq!(both(families), Err(Step::Cms), "{families:?}");
    }
    assert_eq!(both(&["v4"]), Ok((vec![v4], vec![])));
    // The certificate has no such addresses of the other family.
    assert_eq!(of(&["20010DB8"], &[], None), Err(Step::Containment));
}

#[test]
fn rfc6488_3_1__a_message_is_a_signed_object_and_no_more() {
    let toy = ToyRpki::new();
    let step_of = |attestation: Attestation| {
        let message = toy.network.attest(SET.as_bytes(), &attestation);
        step(&toy, &message)
    };
    let with_arguments = |arguments: &[&str]| Attestation {
        more_arguments: arguments
            .iter()
            .map(|&argument| argument.to_owned())
            .collect(),
        ..Attestation::default()
    };

    // No certificate inside, one too many, another algorithm, an attribute too many, no attributes.
    let second = toy.registry.manifest().with_file_name("second.pem");
    let other = toy.registry.attest(SET.as_bytes(), &Attestation::default());
    std::fs::write(&second, &other.certificate).unwrap();
    let second = second.to_str().unwrap();
    for arguments in [
        &["-nocerts"][..],
        &["-certfile", second],
        &["-md", "sha1"],
        &["-md", "sha512"],
        &["-cades"],
        &["-noattr"],
    ] {
        assert_eq!(
            step_of(with_arguments(arguments)),
            Step::Cms,
            "{arguments:?}"
        );
    }
    // A one-time certificate is published nowhere.
    let sia = Attestation {
        more_extensions:
            "subjectInfoAccess = 1.3.6.1.5.5.7.48.11;URI:rsync://rpki.example/repo/network/a.sig\n"
                .to_owned(),
        ..Attestation::default()
    };
    assert_eq!(step_of(sia), Step::Cms);
    let unknown = Attestation {
        more_extensions: "subjectInfoAccess = 1.3.6.1.4.1.32473.7;URI:rsync://rpki.example/a\n"
            .to_owned(),
        ..Attestation::default()
    };
    assert_eq!(step_of(unknown), Step::Cms);
    let right = toy.network.attest(SET.as_bytes(), &Attestation::default());
    assert!(verify(&toy, &right).is_ok());
    let mut longer = right.clone();
    longer.der.push(0);
    assert_eq!(step(&toy, &longer), Step::Cms);
}

#[test]
fn atk_191__other_encodings_of_a_message_are_refused() {
    let toy = ToyRpki::new();
    let right = toy.network.attest(SET.as_bytes(), &Attestation::default());
    assert_eq!(right.der[..2], [0x30, 0x82]);
    let with_header = |header: &[u8], end: &[u8]| {
        let mut changed = right.clone();
        changed.der = [header, &right.der[4..], end].concat();
        step(&toy, &changed)
    };
    let (high, low) = (right.der[2], right.der[3]);

    assert_eq!(with_header(&[0x30, 0x83, 0, high, low], &[]), Step::Cms);
    assert_eq!(with_header(&[0x30, 0x80], &[0, 0]), Step::Cms);
    assert_eq!(with_header(&[0x31, 0x82, high, low], &[]), Step::Cms);
    let mut cut = right.clone();
    cut.der.pop();
    assert_eq!(step(&toy, &cut), Step::Cms);
}

#[test]
fn atk_190__an_attestation_counts_within_its_time_only() {
    let toy = ToyRpki::new();
    let message = toy.network.attest(SET.as_bytes(), &Attestation::default());
    let verifier = verifier(&toy);
    let at = |time: i64| {
        verifier
            .verify(&attested(&message), Some(ISSUER), None, time)
            .map(|_| ())
            .map_err(|failure| failure.step)
    };

    assert_eq!(at(now()), Ok(()));
    assert_eq!(at(now() - 120), Err(Step::Time));
    assert_eq!(at(now() + 31 * 86400), Err(Step::Time));
    // It is signed now: five minutes before, it is of the future.
    let early = toy.network.attest(
        SET.as_bytes(),
        &Attestation {
            window: Window::around_now(3600, 86400),
            ..Attestation::default()
        },
    );
    let set = attested(&early);
    assert!(verifier.verify(&set, None, None, now() - 240).is_ok());
    assert_eq!(
        verifier
            .verify(&set, None, None, now() - 400)
            .unwrap_err()
            .step,
        Step::Time
    );
}

#[test]
fn rfc6488_3_2__a_revoked_certificate_counts_no_more_once_the_copy_says_so() {
    let toy = ToyRpki::new();
    let message = toy.network.attest(SET.as_bytes(), &Attestation::default());
    let other = toy.network.attest(SET.as_bytes(), &Attestation::default());

    toy.network.revoke(&message);
    assert!(verify(&toy, &message).is_ok());
    toy.network.publish(&Window::default());
    assert_eq!(step(&toy, &message), Step::Revoked);
    assert!(verify(&toy, &other).is_ok());

    toy.registry.revoke_authority(&toy.network);
    toy.registry.publish(&Window::default());
    assert_eq!(step(&toy, &other), Step::Revoked);
}

#[test]
fn rfc6488_3_2__a_path_ends_at_an_anchor_that_counts() {
    let toy = ToyRpki::new();
    let message = toy.network.attest(SET.as_bytes(), &Attestation::default());
    let verifier = verifier(&toy);
    let set = attested(&message);
    let with_anchors = |anchors: &[&str]| {
        let anchors: Vec<_> = anchors.iter().map(|&name| name.to_owned()).collect();
        verifier
            .verify(&set, None, Some(&anchors), now())
            .map(|verdict| verdict.trust_anchor)
            .map_err(|failure| failure.step)
    };

    assert_eq!(with_anchors(&["other", "toy"]), Ok("toy".to_owned()));
    assert_eq!(with_anchors(&["other"]), Err(Step::Anchor));
    assert_eq!(with_anchors(&[]), Err(Step::Anchor));
}

#[test]
fn rpki_path_3__the_key_of_the_anchor_is_that_of_its_locator() {
    let toy = ToyRpki::new();
    let other = ToyRpki::new();
    let message = toy.network.attest(SET.as_bytes(), &Attestation::default());
    std::fs::copy(
        other.tal_dir().join("toy.tal"),
        toy.tal_dir().join("toy.tal"),
    )
    .unwrap();

    assert_eq!(step(&toy, &message), Step::Anchor);
}

#[test]
fn rpki_path_1__manifest_and_crl_are_current_and_agree_at_every_level() {
    let toy = ToyRpki::new();
    let message = toy.network.attest(SET.as_bytes(), &Attestation::default());
    let past = Window::around_now(7200, -60);
    let future = Window::around_now(-60, 7200);
    for authority in [&toy.anchor, &toy.registry, &toy.network] {
        for window in [past, future] {
            authority.publish_crl(&window);
            authority.publish_manifest(&Window::default());
            assert_eq!(step(&toy, &message), Step::Crl, "{}", authority.name);
            authority.publish_crl(&Window::default());
            // The manifest lists the CRL that was there before.
            assert_eq!(step(&toy, &message), Step::Manifest, "{}", authority.name);
            authority.publish_manifest(&window);
            assert_eq!(step(&toy, &message), Step::Manifest, "{}", authority.name);
            authority.publish_manifest(&Window::default());
            assert!(verify(&toy, &message).is_ok(), "{}", authority.name);
        }
        for (file, expected) in [
            (authority.crl(), Step::Crl),
            (authority.manifest(), Step::Manifest),
        ] {
            let kept = std::fs::read(&file).unwrap();
            std::fs::remove_file(&file).unwrap();
            assert_eq!(step(&toy, &message), expected, "{}", file.display());
            std::fs::write(&file, b"nothing").unwrap();
            assert_eq!(step(&toy, &message), Step::Manifest, "{}", file.display());
            std::fs::write(&file, kept).unwrap();
        }
        authority.revoke_manifest();
        authority.publish_crl(&Window::default());
        assert_eq!(step(&toy, &message), Step::Manifest);
        authority.publish(&Window::default());
        assert!(verify(&toy, &message).is_ok(), "{}", authority.name);
    }
}

#[test]
fn rpki_path_1__a_certificate_of_the_path_is_there_and_listed() {
    let toy = ToyRpki::new();
    let message = toy.network.attest(SET.as_bytes(), &Attestation::default());
    let file = toy.registry.folder().join("network.cer");
    let kept = std::fs::read(&file).unwrap();

    std::fs::remove_file(&file).unwrap();
    assert_eq!(step(&toy, &message), Step::Path);
    // A manifest that does not list it, though it is there.
    toy.registry.publish_manifest(&Window::default());
    std::fs::write(&file, &kept).unwrap();
    assert_eq!(step(&toy, &message), Step::Manifest);
    toy.registry.publish_manifest(&Window::default());
    assert!(verify(&toy, &message).is_ok());
    std::fs::write(&file, b"nothing").unwrap();
    assert_eq!(step(&toy, &message), Step::Path);
    std::fs::copy(toy.anchor.folder().join("registry.cer"), &file).unwrap();
    assert_eq!(step(&toy, &message), Step::Path);
}

#[test]
fn atk_190__an_authority_passes_on_no_more_than_it_has_and_no_longer_than_it_may() {
    let toy = ToyRpki::new();
    let greedy = toy.registry.issue_authority(
        "greedy",
        &Holdings::new("64496-64511", &["192.0.2.0/24"], &[]),
    );
    let late = toy.registry.issue_authority_within(
        "late",
        &Holdings::new("64496", &["192.0.2.0/24"], &[]),
        &Window::around_now(7200, -60),
    );
    for authority in [&toy.registry, &greedy, &late] {
        authority.publish(&Window::default());
    }
    let attestation = Attestation {
        holdings: Holdings::new("64496", &[], &[]),
        ..Attestation::default()
    };

    let message = greedy.attest(SET.as_bytes(), &attestation);
    assert_eq!(step(&toy, &message), Step::Containment);
    let message = late.attest(SET.as_bytes(), &attestation);
    assert_eq!(step(&toy, &message), Step::Time);
    let message = toy.registry.attest(SET.as_bytes(), &attestation);
    assert!(verify(&toy, &message).is_ok());
}

/// Changes bits of an attestation, those for which `is_tried` says so.
fn change_bits(is_tried: impl Fn(usize, usize) -> bool) {
    let toy = ToyRpki::new();
    let message = toy.network.attest(SET.as_bytes(), &Attestation::default());
    let verifier = verifier(&toy);
    let verdict = verify(&toy, &message).unwrap();
    let mut twins = 0;
    for (index, bit) in (0..message.der.len()).flat_map(|index| (0..8).map(move |bit| (index, bit)))
    {
        if !is_tried(index, bit) {
            continue;
        }
        let mut changed = message.clone();
        changed.der[index] ^= 1 << bit;
        // What still verifies says the same about the same set.
        if let Ok(other) = verifier.verify(&attested(&changed), Some(ISSUER), None, now()) {
            assert_eq!(other, verdict, "octet {index}, bit {bit}");
            twins += 1;
        }
    }
    assert!(twins <= 2, "{twins} changed attestations verify");
}

#[test]
fn every_octet_of_an_attestation_counts() {
    change_bits(|index, bit| index % 8 == bit);
}

#[test]
#[ignore = "takes a minute"]
fn every_bit_of_an_attestation_counts() {
    change_bits(|_, _| true);
}

/// Median and longest time of a verdict over four levels, where the network has a manifest of a thousand
/// files and a CRL of ten thousand certificates. For `--release`.
#[test]
#[ignore = "measures"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn a_verdict_is_reached_within_15_milliseconds() {
    let toy = ToyRpki::new();
    for number in 0..998 {
        std::fs::write(
            toy.network.folder().join(format!("a{number}.roa")),
            [0; 2000],
        )
        .unwrap();
    }
    toy.network.revoke_imagined(10_000);
    toy.network.publish(&Window::default());
    let message = toy.network.attest(SET.as_bytes(), &Attestation::default());
    let verifier = verifier(&toy);
    let set = attested(&message);
    let mut took: Vec<_> = (0..200)
        .map(|_| {
            let start = std::time::Instant::now();
            verifier.verify(&set, Some(ISSUER), None, now()).unwrap();
            start.elapsed()
        })
        .collect();
    took.sort_unstable();
    println!("{:?} {:?}", took[100], took[199]);
    let crl = std::fs::metadata(toy.network.crl()).unwrap().len();
    assert!(crl > 200_000, "{crl}");
    assert!(
        cfg!(debug_assertions) || took[100].as_millis() <= 15,
        "{:?}",
        took[100]
    );
}
