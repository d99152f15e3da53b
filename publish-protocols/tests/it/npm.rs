//! Every place of a packument that names a package or a version, or states a digest, has to agree with the others.

use serde_json::json;

use crate::support::{code, file, gz, npm, npm_tarball, tar};

#[test]
fn a_packument_that_names_two_packages_is_refused() {
    let tarball = npm_tarball();
    assert_eq!(npm(&tarball).send().unwrap().package, "@s/foo");
    let with = |pointer: &str, value: serde_json::Value| {
        let mut request = npm(&tarball);
        *request.document.pointer_mut(pointer).expect(pointer) = value;
        code(request.send())
    };
    assert_eq!(with("/name", json!("@s/bar")), "name_mismatch");
    assert_eq!(with("/_id", json!("@s/bar")), "name_mismatch");
    assert_eq!(
        with("/versions/1.0.0/name", json!("@s/bar")),
        "name_mismatch"
    );
    assert_eq!(
        with("/versions/1.0.0/version", json!("1.0.1")),
        "version_mismatch"
    );
    assert_eq!(
        with("/dist-tags/latest", json!("2.0.0")),
        "version_mismatch"
    );
    assert_eq!(
        with("/versions/1.0.0/dist/integrity", json!("sha512-AAAA")),
        "digest_mismatch"
    );
    assert_eq!(
        with("/versions/1.0.0/dist/shasum", json!("00")),
        "digest_mismatch"
    );
    assert_eq!(with("/versions/1.0.0/dist", json!({})), "missing_field");
    assert_eq!(with("/versions", json!({})), "missing_field");
    assert_eq!(with("/versions", json!({ "one": {} })), "invalid_version");
    assert_eq!(
        with("/_attachments/@s~1foo-1.0.0.tgz/length", json!(1)),
        "digest_mismatch"
    );
    assert_eq!(
        with("/_attachments/@s~1foo-1.0.0.tgz/data", json!("not base64")),
        "malformed"
    );
    assert_eq!(
        with(
            "/_attachments",
            json!({ "@s/bar-1.0.0.tgz": { "data": "" } })
        ),
        "name_mismatch"
    );
    assert_eq!(with("/dist-tags", json!({ "1.0.0": "1.0.0" })), "malformed");
    let mut elsewhere = npm(&tarball);
    elsewhere.path = "/foo";
    assert_eq!(code(elsewhere.send()), "name_mismatch");
    elsewhere.path = "/@S%2ffoo";
    assert_eq!(code(elsewhere.send()), "invalid_package_name");
    elsewhere.path = "/@s%2ffoo/-rev/1-a";
    assert_eq!(code(elsewhere.send()), "malformed");
}

#[test]
fn a_tarball_of_another_package_is_refused() {
    let of = |entries: &[Vec<u8>]| code(npm(&gz(&tar(entries))).send());
    let manifest =
        |name: &str, version: &str| format!(r#"{{"name":"{name}","version":"{version}"}}"#);
    assert_eq!(
        of(&[file("package/package.json", &manifest("@s/bar", "1.0.0"))]),
        "name_mismatch"
    );
    assert_eq!(
        of(&[file("package/package.json", &manifest("@s/foo", "1.0.1"))]),
        "version_mismatch"
    );
    assert_eq!(
        of(&[file(
            "package/package.json",
            r#"{"name":"@s/foo","version":"1.0.0","name":"@s/bar"}"#
        )]),
        "malformed"
    );
    assert_eq!(of(&[file("package/package.json", "{}")]), "missing_field");
    assert_eq!(of(&[file("package/index.js", "")]), "missing_field");
    let good = file("package/package.json", &manifest("@s/foo", "1.0.0"));
    let bad = manifest("@s/bar", "1.0.0");
    assert_eq!(
        of(&[good.clone(), file("package/package.json", &bad)]),
        "duplicate_field"
    );
    assert_eq!(
        of(&[good.clone(), file("other/package.json", &bad)]),
        "ambiguous_archive"
    );
    assert_eq!(
        of(&[good.clone(), file("other/Package.JSON", &bad)]),
        "ambiguous_archive"
    );
    assert_eq!(of(&[good, file("package", &bad)]), "ambiguous_archive");
}

#[test]
fn several_versions_or_attachments_in_one_packument_are_refused() {
    let tarball = npm_tarball();
    let mut request = npm(&tarball);
    request.document["versions"]["2.0.0"] = json!({ "name": "@s/foo", "version": "2.0.0" });
    assert_eq!(code(request.send()), "malformed");
    let mut request = npm(&tarball);
    request.document["_attachments"]["@s/foo-2.0.0.tgz"] = json!({ "data": "AAAA" });
    assert_eq!(code(request.send()), "malformed");
    let mut request = npm(&tarball);
    request.document["_attachments"]["@s/foo-2.0.0.sigstore"] = json!({ "data": "{}" });
    assert_eq!(code(request.send()), "name_mismatch");
    let mut request = npm(&tarball);
    request.document["_attachments"]["@s/foo-1.0.0.sigstore"] = json!({ "data": "{\"a\":1}" });
    let carnet_publish_protocols::Metadata::Npm(metadata) = request.send().unwrap().metadata else {
        panic!()
    };
    assert_eq!(metadata.provenance.as_deref(), Some("{\"a\":1}"));
    // Keys that repeat, also where one is spelled with escapes.
    let text = npm(&tarball).document.to_string();
    for (from, to) in [
        (
            "\"name\":\"@s/foo\",\"dist-tags\"",
            "\"name\":\"@s/foo\",\"name\":\"@s/bar\",\"dist-tags\"",
        ),
        (
            "\"_attachments\":{",
            "\"_attachments\":{},\"_attachments\":{",
        ),
        (
            "\"_attachments\":{",
            "\"\\u005fattachments\":{},\"_attachments\":{",
        ),
        ("\"data\":\"", "\"data\":\"AAAA\",\"data\":\""),
        ("\"data\":\"", "\"data\":\"\\u0041"),
        ("\"data\":", "\"d\\u0061ta\":"),
    ] {
        assert!(text.contains(from), "{from}");
        assert_eq!(
            code(npm(&tarball).send_text(&text.replacen(from, to, 1))),
            "malformed",
            "{to}"
        );
    }
}
