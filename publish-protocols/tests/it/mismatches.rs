//! Every place of a request that names a package or a version, or states a digest, has to agree with the others.

use carnet_publish_protocols::{Protocol, RequestHead, classify};

use crate::support::{
    BOUNDARY, CARGO_JSON, CARGO_TOML, FORM, GEMSPEC, METADATA, NUSPEC, cargo, cargo_body, code,
    file, form, gem, good_wheel, gz, nuget, part, sdist, sent, tar, wheel, zipped,
};

#[test]
fn a_wheel_that_names_two_packages_is_refused() {
    assert_eq!(wheel(&good_wheel()).send().unwrap().package, "foo-bar");
    let with = |change: &dyn Fn(&mut crate::support::Upload)| {
        let mut upload = wheel(&good_wheel());
        change(&mut upload);
        code(upload.send())
    };
    assert_eq!(with(&|upload| upload.name = "bar"), "name_mismatch");
    assert_eq!(with(&|upload| upload.version = "2.0"), "version_mismatch");
    assert_eq!(with(&|upload| upload.version = "1.0.0"), "version_mismatch");
    assert_eq!(
        with(&|upload| upload.file_name = "bar-1.0-py3-none-any.whl"),
        "name_mismatch"
    );
    assert_eq!(
        with(&|upload| upload.file_name = "foo_bar-2.0-py3-none-any.whl"),
        "version_mismatch"
    );
    assert_eq!(with(&|upload| upload.file_type = "sdist"), "malformed");
    assert_eq!(with(&|upload| upload.file_type = "bdist_egg"), "malformed");
    assert_eq!(
        with(&|upload| upload.name = "foo bar"),
        "invalid_package_name"
    );
    assert_eq!(with(&|upload| upload.version = "one"), "invalid_version");
    assert_eq!(
        with(&|upload| upload.sha256 = Some("0".repeat(64))),
        "digest_mismatch"
    );
    let metadata =
        |text: &str| code(wheel(&[zipped("foo_bar-1.0.dist-info/METADATA", text)]).send());
    assert_eq!(
        metadata(&METADATA.replace("Foo.Bar", "bar")),
        "name_mismatch"
    );
    assert_eq!(
        metadata(&METADATA.replace(": 1.0", ": 2.0")),
        "version_mismatch"
    );
    assert_eq!(metadata(&METADATA.replace("Name", "Nome")), "missing_field");
    assert_eq!(
        code(wheel(&[zipped("bar-1.0.dist-info/METADATA", METADATA)]).send()),
        "name_mismatch"
    );
    assert_eq!(
        code(wheel(&[zipped("foo_bar-2.0.dist-info/METADATA", METADATA)]).send()),
        "name_mismatch"
    );
    assert_eq!(
        code(wheel(&[zipped("foo_bar/METADATA", METADATA)]).send()),
        "missing_field"
    );
    assert_eq!(
        code(wheel(&[zipped("foo_bar-1.0.dist-info/WHEEL", "")]).send()),
        "missing_field"
    );
}

#[test]
fn a_source_distribution_that_names_two_packages_is_refused() {
    let of = |path: &str, text: &str| sdist(&tar(&[file(path, text)])).send();
    assert_eq!(
        of("foo_bar-1.0/PKG-INFO", METADATA).unwrap().package,
        "foo-bar"
    );
    assert_eq!(
        code(of(
            "foo_bar-1.0/PKG-INFO",
            &METADATA.replace("Foo.Bar", "bar")
        )),
        "name_mismatch"
    );
    assert_eq!(
        code(of(
            "foo_bar-1.0/PKG-INFO",
            &METADATA.replace(": 1.0", ": 2.0")
        )),
        "version_mismatch"
    );
    assert_eq!(code(of("bar-1.0/PKG-INFO", METADATA)), "name_mismatch");
    assert_eq!(
        code(of("foo_bar-1.0/sub/PKG-INFO", METADATA)),
        "missing_field"
    );
}

#[test]
fn a_form_that_readers_take_apart_differently_is_refused() {
    let good = wheel(&good_wheel()).body();
    let send = |content_type: &str, body: &[u8]| {
        sent(Protocol::Pypi, "POST", "/", Some(content_type), body)
    };
    assert!(send(FORM, &good).is_ok());
    let with = |more: Vec<u8>| {
        let mut upload = wheel(&good_wheel());
        upload.more.push(more);
        upload.send()
    };
    assert!(with(part("name=\"classifiers\"", b"a")).is_ok());
    assert!(
        with(part(
            "name=\"content-is\"",
            b"--0123456789abcde\r\n\n--\r\n--"
        ))
        .is_ok()
    );
    assert_eq!(code(with(part("name=\"name\"", b"bar"))), "duplicate_field");
    assert_eq!(
        code(with(part("name=\"content\"; filename=\"a\"", b""))),
        "duplicate_field"
    );
    assert_eq!(code(with(part("name=\"Name\"", b"bar"))), "malformed");
    assert_eq!(
        code(with(part("name=\"a\"; name=\"name\"", b"bar"))),
        "duplicate_field"
    );
    assert_eq!(code(with(part("name=\"a\\\"b\"", b""))), "malformed");
    assert_eq!(
        code(with(part("name=\"a\"; filename*=utf-8''b", b""))),
        "malformed"
    );
    assert_eq!(
        code(with(part("name=\"a\"; filename=\"b\"", b""))),
        "malformed"
    );
    assert_eq!(
        code(with(part(
            "name=\"a\"\r\nContent-Transfer-Encoding: base64",
            b""
        ))),
        "malformed"
    );
    assert_eq!(
        code(with(part(
            "name=\"a\"\r\nContent-Disposition: form-data; name=\"name\"",
            b""
        ))),
        "duplicate_field"
    );
    assert_eq!(
        code(with(part(
            "name=\"a\"",
            b"x\n--0123456789abcdef\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n"
        ))),
        "malformed"
    );
    assert_eq!(
        code(with(part("name=\"a\"", b"x\r\n--0123456789abcdefg\r\n"))),
        "malformed"
    );
    assert_eq!(
        code(with(part("name=\"a\"", b"x\r\n--0123456789abcdef--\r\n"))),
        "malformed"
    );
    assert_eq!(
        code(send(FORM, &[b"preamble\r\n".as_slice(), &good].concat())),
        "malformed"
    );
    assert_eq!(
        code(send(FORM, &[&good, b"epilogue".as_slice()].concat())),
        "malformed"
    );
    assert_eq!(code(send(FORM, &form(&[]))), "malformed");
    for content_type in [
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=a; boundary=0123456789abcdef",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=--",
        "multipart/mixed; boundary=0123456789abcdef",
    ] {
        assert_eq!(
            code(send(content_type, &good)),
            "malformed",
            "{content_type}"
        );
    }
    let missing = String::from_utf8_lossy(&good).replace(":action", ":other_");
    assert_eq!(code(send(FORM, missing.as_bytes())), "missing_field");
    let action = String::from_utf8_lossy(&good).replace("file_upload", "doc_uploads");
    assert_eq!(code(send(FORM, action.as_bytes())), "malformed");
}

#[test]
fn headers_and_boundaries_that_readers_see_differently_are_refused() {
    let good = wheel(&good_wheel()).body();
    let send = |content_type: &str, body: &[u8]| {
        sent(Protocol::Pypi, "POST", "/", Some(content_type), body)
    };
    let with = |more: Vec<u8>| {
        let mut upload = wheel(&good_wheel());
        upload.more.push(more);
        upload.send()
    };
    let plain = part("name=\"a\"\r\nContent-Type: text/plain", b"");
    assert!(with(plain).is_ok());
    let separated_by = |boundary: &str| {
        let length = BOUNDARY.len();
        let (mut body, mut rest) = (Vec::new(), good.as_slice());
        while let Some(at) = rest
            .windows(length)
            .position(|part| part == BOUNDARY.as_bytes())
        {
            body.extend(&rest[..at]);
            body.extend(boundary.as_bytes());
            rest = &rest[at + length..];
        }
        body.extend(rest);
        body
    };
    let longer = format!("{BOUNDARY}0-1._");
    let usual = format!("multipart/form-data; boundary={longer}");
    assert!(send(&usual, &separated_by(&longer)).is_ok());
    for header in [
        "Content-Disposition : form-data; name=\"name\"",
        "Content-Disposition\t: form-data; name=\"name\"",
        "X-Other: 1",
        "Content-Length: 0",
        "Content-Type: multipart/mixed; boundary=Z",
        "Content-Type: message/rfc822",
        "Content-Type: text/plain; x=\"\u{1}\"",
    ] {
        let odd = part(&format!("name=\"a\"\r\n{header}"), b"");
        assert_eq!(code(with(odd)), "malformed", "{header}");
    }
    let twice = "name=\"a\"\r\nContent-Type: text/plain\r\nContent-Type: text/html";
    assert_eq!(code(with(part(twice, b""))), "duplicate_field");
    // Some readers end the boundary at such a character.
    for end in ["0,", "0;", "0/", "0=", "0:", "0?", "0 0", "0'", "0(", "0+"] {
        let boundary = format!("{BOUNDARY}{end}");
        let body = separated_by(&boundary);
        for content_type in [
            format!("multipart/form-data; boundary={boundary}"),
            format!("multipart/form-data; boundary=\"{boundary}\""),
        ] {
            let said = code(send(&content_type, &body));
            assert_eq!(said, "malformed", "{content_type}");
        }
    }
}

#[test]
fn what_goes_on_has_a_content_type_of_our_own() {
    const BYTES: &str = "application/octet-stream";
    let odd = "multipart/form-data; boundary=abc; x=\"y\"";
    let quoted = "multipart/form-data;boundary=\"0a-1b\"";
    for (protocol, method, path, given, expected) in [
        (
            Protocol::Pypi,
            "POST",
            "/legacy/",
            Some(quoted),
            Some("multipart/form-data; boundary=0a-1b"),
        ),
        (
            Protocol::Nuget,
            "PUT",
            "/api/v2/package",
            Some(quoted),
            Some("multipart/form-data; boundary=0a-1b"),
        ),
        (
            Protocol::Nuget,
            "PUT",
            "/api/v2/package",
            Some("text/html"),
            Some(BYTES),
        ),
        (Protocol::Nuget, "PUT", "/api/v2/package", None, Some(BYTES)),
        (
            Protocol::Nuget,
            "DELETE",
            "/api/v2/package/a/1.0.0",
            Some(odd),
            None,
        ),
        (
            Protocol::Rubygems,
            "POST",
            "/api/v1/gems",
            Some(odd),
            Some(BYTES),
        ),
        (
            Protocol::Rubygems,
            "DELETE",
            "/api/v1/gems/yank",
            Some(odd),
            Some("application/x-www-form-urlencoded"),
        ),
        (
            Protocol::CratesIo,
            "PUT",
            "/api/v1/crates/new",
            Some(odd),
            Some(BYTES),
        ),
        (
            Protocol::CratesIo,
            "DELETE",
            "/api/v1/crates/a/1.0.0/yank",
            Some(odd),
            None,
        ),
        (
            Protocol::Npm,
            "PUT",
            "/a",
            Some("application/json; charset=UTF-8"),
            Some("application/json"),
        ),
    ] {
        let head = RequestHead {
            method,
            path,
            content_type: given,
            content_length: None,
        };
        let request = classify(protocol, &head).unwrap();
        assert_eq!(
            request.content_type().unwrap().as_deref(),
            expected,
            "{path} {given:?}"
        );
    }
    for (protocol, method, path) in [
        (Protocol::Pypi, "POST", "/legacy/"),
        (Protocol::Nuget, "PUT", "/api/v2/package"),
    ] {
        let head = RequestHead {
            method,
            path,
            content_type: Some(odd),
            content_length: None,
        };
        let refused = classify(protocol, &head).unwrap().content_type();
        assert_eq!(refused.unwrap_err().code(), "malformed", "{path}");
    }
}

#[test]
fn a_crate_that_is_another_than_its_metadata_says_is_refused() {
    let good = file("foo-1.0.0/Cargo.toml", CARGO_TOML);
    assert_eq!(
        cargo(CARGO_JSON, std::slice::from_ref(&good))
            .unwrap()
            .package,
        "foo"
    );
    let json = |from: &str, to: &str| {
        code(cargo(
            &CARGO_JSON.replace(from, to),
            std::slice::from_ref(&good),
        ))
    };
    assert_eq!(json("foo", "bar"), "name_mismatch");
    assert_eq!(json("foo", "1foo"), "invalid_package_name");
    assert_eq!(json("1.0.0", "1.0.1"), "name_mismatch");
    assert_eq!(json("1.0.0", "1.0"), "invalid_version");
    assert_eq!(json("\"vers\"", "\"name\":\"bar\",\"vers\""), "malformed");
    assert_eq!(json("\"vers\"", "\"version\""), "missing_field");
    let toml = |from: &str, to: &str| {
        code(cargo(
            CARGO_JSON,
            &[file("foo-1.0.0/Cargo.toml", &CARGO_TOML.replace(from, to))],
        ))
    };
    assert_eq!(toml("foo", "bar"), "name_mismatch");
    assert_eq!(toml("1.0.0", "1.0.1"), "version_mismatch");
    assert_eq!(toml("name", "nome"), "malformed");
    assert_eq!(
        code(cargo(CARGO_JSON, &[file("foo-1.0.0/Cargo.lock", "")])),
        "missing_field"
    );
    assert_eq!(
        code(cargo(
            CARGO_JSON,
            &[good.clone(), file("bar-1.0.0/Cargo.toml", CARGO_TOML)]
        )),
        "name_mismatch"
    );
    assert_eq!(
        code(cargo(
            CARGO_JSON,
            &[good.clone(), file("foo-1.0.0/cargo.toml", CARGO_TOML)]
        )),
        "duplicate_field"
    );
    let whole = cargo_body(CARGO_JSON, &gz(&tar(&[good])));
    let send = |body: &[u8]| {
        code(sent(
            Protocol::CratesIo,
            "PUT",
            "/api/v1/crates/new",
            None,
            body,
        ))
    };
    assert_eq!(send(&[&whole, b"x".as_slice()].concat()), "malformed");
    assert_eq!(send(&[]), "malformed");
    assert_eq!(send(&u32::MAX.to_le_bytes()), "limit_exceeded");
    let path = |path: &str| code(sent(Protocol::CratesIo, "DELETE", path, None, b""));
    assert_eq!(path("/api/v1/crates/1/1.0.0/yank"), "invalid_package_name");
    assert_eq!(path("/api/v1/crates/a/1/yank"), "invalid_version");
    assert_eq!(
        code(sent(
            Protocol::CratesIo,
            "DELETE",
            "/api/v1/crates/a/1.0.0/yank",
            None,
            b"x"
        )),
        "malformed"
    );
}

#[test]
fn a_specification_that_rubygems_could_read_differently_is_refused() {
    assert_eq!(gem(GEMSPEC).unwrap().package, "foo");
    let with = |from: &str, to: &str| {
        assert!(GEMSPEC.contains(from), "{from}");
        code(gem(&GEMSPEC.replacen(from, to, 1)))
    };
    assert_eq!(
        with("name: foo\n", "name: foo\nname: bar\n"),
        "duplicate_field"
    );
    assert_eq!(
        with("name: foo\n", "name: foo\n\"name\": bar\n"),
        "duplicate_field"
    );
    assert_eq!(with("name: foo\n", ""), "missing_field");
    assert_eq!(with("name: foo", "name: [foo]"), "malformed");
    assert_eq!(with("name: foo", "name: yes"), "malformed");
    assert_eq!(with("name: foo", "name: 1e5"), "malformed");
    assert_eq!(with("name: foo", "name: !binary Zm9v"), "malformed");
    assert_eq!(
        with("name: foo", "name: !ruby/object:Gem::Version foo"),
        "malformed"
    );
    assert_eq!(with("name: foo", "name: ../foo"), "invalid_package_name");
    assert_eq!(with("name: foo", "name: &a foo"), "malformed");
    assert_eq!(with("name: foo", "summary: &a foo\nname: *a"), "malformed");
    assert_eq!(with("name: foo", "<<: {name: bar}\nname: foo"), "malformed");
    assert_eq!(with("name: foo", "? [a]\n: b\nname: foo"), "malformed");
    assert_eq!(
        with("name: foo", "name: foo # \u{85}name: bar"),
        "malformed"
    );
    assert_eq!(with("name: foo", "name: foo # \rname: bar"), "malformed");
    assert_eq!(
        with("name: foo", "x: !ruby/object:Kernel {}\nname: foo"),
        "malformed"
    );
    assert_eq!(with("  version: 1.0.0", "  version: 1.0"), "malformed");
    assert_eq!(
        with("  version: 1.0.0", "  version: '1.0'\n  version: '2.0'"),
        "duplicate_field"
    );
    assert_eq!(
        with("  version: 1.0.0", "  version: 1 2"),
        "invalid_version"
    );
    assert_eq!(with("!ruby/object:Gem::Version", ""), "malformed");
    assert_eq!(with("name: foo", "name: foo\n:name: bar"), "malformed");
    assert_eq!(with("platform: ruby", "platform: a/b"), "malformed");
    assert_eq!(with("--- !ruby", "%TAG ! !\n--- !ruby"), "malformed");
    assert_eq!(
        with("--- !ruby/object:Gem::Specification\n", "---\n"),
        "malformed"
    );
    assert_eq!(
        code(gem(&format!(
            "{GEMSPEC}--- !ruby/object:Gem::Specification\nname: bar\n"
        ))),
        "malformed"
    );
    let platform = gem(&GEMSPEC.replace("platform: ruby", "platform: x86_64-linux")).unwrap();
    assert_eq!(platform.files[0].name, "foo-1.0.0-x86_64-linux.gem");
    let yank = |form: &str| {
        code(sent(
            Protocol::Rubygems,
            "DELETE",
            "/api/v1/gems/yank",
            None,
            form.as_bytes(),
        ))
    };
    assert_eq!(yank("gem_name=a&version=1&version=2"), "duplicate_field");
    assert_eq!(yank("gem_name=a&gem_name=b&version=1"), "duplicate_field");
    assert_eq!(yank("gem_name=%61&version=1"), "malformed");
    assert_eq!(yank("gem_name=a"), "missing_field");
    assert_eq!(yank("version=1"), "missing_field");
    assert_eq!(yank("gem_name=1&version=1"), "invalid_package_name");
    assert_eq!(yank("gem_name=a&version=x"), "invalid_version");
    assert_eq!(yank("gem_name=a&version=1&other=1"), "malformed");
    assert_eq!(yank(""), "malformed");
}

#[test]
fn a_nuspec_that_readers_could_take_differently_is_refused() {
    let with = |from: &str, to: &str| nuget(&[zipped("foo.nuspec", &NUSPEC.replacen(from, to, 1))]);
    assert_eq!(
        with(
            "<package>",
            "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?><package xmlns=\"urn:x\">"
        )
        .unwrap()
        .package,
        "Foo.Bar"
    );
    for (from, to, expected) in [
        ("<id>", "<id>Bar</id><id>", "duplicate_field"),
        ("<id>", "<ID>Bar</ID><id>", "duplicate_field"),
        (
            "<id>",
            "<a:id xmlns:a='urn:a'>Bar</a:id><id>",
            "duplicate_field",
        ),
        ("<metadata>", "<metadata/><metadata>", "duplicate_field"),
        ("Foo.Bar", "Foo<!-- -->.Bar", "malformed"),
        ("Foo.Bar", "<b>Foo.Bar</b>", "malformed"),
        ("Foo.Bar", " Foo.Bar ", "invalid_package_name"),
        ("Foo.Bar", "", "missing_field"),
        ("<id>Foo.Bar</id>", "", "missing_field"),
        ("1.0.0", "1.0.0.0.0", "invalid_version"),
        (
            "<package>",
            "<!DOCTYPE package [<!ENTITY a 'b'>]><package>",
            "malformed",
        ),
        (
            "<package>",
            "<?xml version=\"1.0\" encoding=\"utf-16\"?><package>",
            "malformed",
        ),
        ("</package>", "</package><package/>", "malformed"),
        ("</package>", "", "malformed"),
    ] {
        assert_eq!(code(with(from, to)), expected, "{to}");
    }
    let good = zipped("foo.nuspec", NUSPEC);
    let also = |name: &str| code(nuget(&[good.clone(), zipped(name, NUSPEC)]));
    assert_eq!(also("bar.nuspec"), "duplicate_field");
    assert_eq!(also("bar.NuSpec"), "duplicate_field");
    assert_eq!(also("FOO.nuspec"), "duplicate_field");
    assert_eq!(also("bar%2enuspec"), "ambiguous_archive");
    assert_eq!(also("%66oo.nuspec"), "duplicate_field");
    assert_eq!(also("a%2f..%2fbar.nuspec"), "ambiguous_archive");
    assert!(nuget(&[good.clone(), zipped("content/bar.nuspec", "")]).is_ok());
    assert_eq!(
        code(nuget(&[zipped("sub/foo.nuspec", NUSPEC)])),
        "missing_field"
    );
    let relationships = |target: &str| {
        let text = format!(
            "<Relationships><Relationship Type=\"http://schemas.microsoft.com/packaging/2010/07/manifest\" Target=\"{target}\"/></Relationships>"
        );
        nuget(&[good.clone(), zipped("_rels/.rels", &text)])
    };
    assert!(relationships("/foo.nuspec").is_ok());
    assert_eq!(code(relationships("/content/bar.nuspec")), "name_mismatch");
    let two = form(&[part("name=\"a\"", b""), part("name=\"b\"", b"")]);
    assert_eq!(
        code(sent(
            Protocol::Nuget,
            "PUT",
            "/api/v2/package",
            Some(FORM),
            &two
        )),
        "malformed"
    );
}
