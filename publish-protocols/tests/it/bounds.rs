//! Whatever is sent, reading it ends soon, within the limits, without a panic, and never in another package.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use carnet_publish_protocols::{
    Limits, Operation, Protocol, Publication, RequestHead, Unreadable, classify, read,
};
use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use crate::support::{
    CARGO_JSON, CARGO_TOML, FORM, GEMSPEC, METADATA, NUSPEC, cargo_body, code, entry, file, form,
    form_type, gem, gem_of, good_wheel, gz, metadata_gz, npm, npm_tarball, nuget, part, recorded,
    sdist, sent, sent_within, tar, upload, wheel, zipped,
};

/// Every kind of request with a body: how it is sent, and a body that is accepted.
struct Sample {
    protocol: Protocol,
    method: &'static str,
    path: &'static str,
    content_type: Option<String>,
    body: Vec<u8>,
}

fn samples() -> Vec<Sample> {
    let sample = |protocol, method, path, fixture: &str| {
        let body = recorded(fixture);
        let content_type = fixture.strip_suffix(".form").map(|_| form_type(&body));
        Sample {
            protocol,
            method,
            path,
            content_type,
            body,
        }
    };
    vec![
        sample(
            Protocol::Pypi,
            "POST",
            "/legacy/",
            "pypi-twine-7.0.0-wheel.form",
        ),
        sample(
            Protocol::Pypi,
            "POST",
            "/legacy/",
            "pypi-twine-7.0.0-sdist.form",
        ),
        sample(
            Protocol::Npm,
            "PUT",
            "/@carnet%2ffixture",
            "npm-11.19.1-publish.json",
        ),
        sample(
            Protocol::Npm,
            "PUT",
            "/@carnet%2ffixture",
            "npm-11.19.1-deprecate.json",
        ),
        sample(
            Protocol::CratesIo,
            "PUT",
            "/api/v1/crates/new",
            "cargo-1.95.0-publish.body",
        ),
        sample(
            Protocol::Rubygems,
            "POST",
            "/api/v1/gems",
            "rubygems-3.3.15-push.gem",
        ),
        sample(
            Protocol::Nuget,
            "PUT",
            "/api/v2/package",
            "nuget-2.8.7-push.form",
        ),
    ]
}

impl Sample {
    /// What a request with a body that was tampered with may still be called: what it was, or, where a packument's
    /// `_attachments` is not called so any longer, one that publishes nothing of the same package.
    fn allows(&self, before: &Publication, after: &Publication) -> bool {
        let same = |publication: &Publication| {
            (
                publication.operation,
                publication.package.clone(),
                publication.version.clone(),
            )
        };
        let only_deprecates = self.protocol == Protocol::Npm
            && after.operation == Operation::Deprecate
            && after.package == before.package
            && after.version.is_none();
        same(before) == same(after) || only_deprecates
    }

    fn send(&self, body: &[u8]) -> Result<Publication, Unreadable> {
        sent(
            self.protocol,
            self.method,
            self.path,
            self.content_type.as_deref(),
            body,
        )
    }
}

#[test]
fn a_body_that_ends_early_is_refused() {
    for sample in samples() {
        assert!(sample.send(&sample.body).is_ok(), "{}", sample.path);
        // The line end of a form, and the blocks of zeros at a gem's end, may be missing.
        let needed = match sample.protocol {
            Protocol::Rubygems => sample.body.len() - 1024,
            _ => sample.body.len() - 2,
        };
        for length in (0..needed).step_by(3).chain([needed - 1]) {
            code(sample.send(&sample.body[..length]));
        }
    }
}

#[test]
fn the_body_must_be_as_long_as_its_header_says() {
    for sample in samples() {
        let head = RequestHead {
            method: sample.method,
            path: sample.path,
            content_type: sample.content_type.as_deref(),
            content_length: Some(sample.body.len() as u64 + 1),
        };
        let request = classify(sample.protocol, &head).unwrap();
        assert_eq!(
            code(read(
                &request,
                &mut Cursor::new(&sample.body),
                &Limits::default()
            )),
            "malformed"
        );
        let small = Limits {
            body: sample.body.len() as u64 - 1,
            ..Limits::default()
        };
        let result = sent_within(
            &small,
            sample.protocol,
            sample.method,
            sample.path,
            sample.content_type.as_deref(),
            &sample.body,
        );
        assert_eq!(code(result), "limit_exceeded");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_body_never_becomes_another_package(which in 0..7_usize, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let sample = samples().remove(which);
        let before = sample.send(&sample.body).unwrap();
        let mut body = sample.body.clone();
        for (index, value) in changes {
            let at = index.index(body.len());
            body[at] = value;
        }
        if let Ok(after) = sample.send(&body) {
            prop_assert!(sample.allows(&before, &after), "{after:?}");
        }
    }

    #[test]
    fn a_body_with_a_piece_moved_never_becomes_another_package(which in 0..7_usize, from in any::<prop::sample::Index>(), length in 1..600_usize, to in any::<prop::sample::Index>()) {
        let sample = samples().remove(which);
        let before = sample.send(&sample.body).unwrap();
        let from = from.index(sample.body.len());
        let piece = sample.body[from..sample.body.len().min(from + length)].to_vec();
        let to = to.index(sample.body.len());
        let mut body = sample.body.clone();
        body.splice(to..to, piece);
        if let Ok(after) = sample.send(&body) {
            prop_assert!(sample.allows(&before, &after), "{after:?}");
        }
    }

    #[test]
    fn random_bytes_are_no_publication(which in 0..7_usize, body in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(samples().remove(which).send(&body).is_err());
    }

    #[test]
    fn random_archives_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut blocks = file("foo_bar-1.0/PKG-INFO", METADATA);
        blocks.extend(&bytes);
        let _ = sdist(&blocks).send();
        prop_assert!(sdist(&bytes).send().is_err());
        let mut wheel = wheel(&[]);
        wheel.content.clone_from(&bytes);
        prop_assert!(wheel.send().is_err());
        prop_assert!(npm(&bytes).send().is_err());
    }

    #[test]
    fn random_texts_in_every_format_are_read_or_refused(text in "[-\\[\\]{}:,!&*|>'\"%#? \n\ta-c<=/]{0,200}") {
        let _ = gem(&format!("--- !ruby/object:Gem::Specification\n{text}"));
        let _ = nuget(&[zipped("foo.nuspec", &text)]);
        let _ = nuget(&[zipped("foo.nuspec", &NUSPEC.replace("Foo.Bar", &text))]);
        let _ = npm(&[]).send_text(&text);
        let _ = wheel(&[zipped("foo_bar-1.0.dist-info/METADATA", &text)]).send();
        let _ = sent(Protocol::CratesIo, "PUT", "/api/v1/crates/new", None, &cargo_body(CARGO_JSON, &gz(&tar(&[file("foo-1.0.0/Cargo.toml", &text)]))));
        let _ = sent(Protocol::Pypi, "POST", "/", Some(&text), &wheel(&good_wheel()).body());
        let _ = sent(Protocol::Rubygems, "DELETE", "/api/v1/gems/yank", None, text.as_bytes());
        for protocol in Protocol::ALL {
            for method in ["PUT", "POST", "DELETE"] {
                let _ = classify(protocol, &RequestHead { method, path: &text, content_type: Some(&text), content_length: None });
            }
        }
    }
}

/// A gzip file whose content repeats a piece: the piece is compressed once.
fn repeated(piece: &[u8], times: usize) -> Vec<u8> {
    let mut compress = Compress::new(Compression::fast(), false);
    let mut packed = Vec::with_capacity(piece.len() + 1000);
    compress
        .compress_vec(piece, &mut packed, FlushCompress::Full)
        .unwrap();
    let mut file = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
    for _ in 0..times {
        file.extend(&packed);
    }
    file
}

#[test]
fn a_million_entries_are_not_all_read() {
    let bomb = repeated(&file("foo_bar-1.0/x", "").repeat(1000), 1000);
    let mut upload = upload("sdist", "foo_bar-1.0.tar.gz", bomb);
    assert_eq!(code(upload.send()), "limit_exceeded");
    // Without a name each: records that belong to no entry count too.
    upload.content = repeated(
        &entry("pax", tar::EntryType::XHeader, b"").repeat(1000),
        1000,
    );
    assert_eq!(code(upload.send()), "limit_exceeded");
}

#[test]
fn an_archive_that_inflates_beyond_the_limit_is_refused() {
    let limits = Limits {
        unpacked: 4 << 20,
        ..Limits::default()
    };
    let send = |upload: &crate::support::Upload| {
        sent_within(
            &limits,
            Protocol::Pypi,
            "POST",
            "/",
            Some(FORM),
            &upload.body(),
        )
    };
    let zeros = "\0".repeat(5 << 20);
    assert_eq!(
        code(send(&sdist(&tar(&[file("foo_bar-1.0/x", &zeros)])))),
        "limit_exceeded"
    );
    // Behind the end of the archive.
    assert_eq!(
        code(send(&sdist(
            &[
                tar(&[file("foo_bar-1.0/PKG-INFO", METADATA)]),
                zeros.clone().into_bytes()
            ]
            .concat()
        ))),
        "limit_exceeded"
    );
    // An entry that says it has eight exabytes, at the default limits.
    let mut header = tar::Header::new_gnu();
    header.set_path("foo_bar-1.0/x").unwrap();
    header.set_size(u64::MAX / 2);
    header.set_cksum();
    assert_eq!(code(sdist(header.as_bytes()).send()), "limit_exceeded");
    // A zip archive is inflated as a whole only where its entries' sizes come behind them.
    let mut entries = good_wheel();
    entries.push(zipped("x", &zeros));
    assert!(send(&wheel(&entries)).is_ok());
    entries[2].described = true;
    assert_eq!(code(send(&wheel(&entries))), "limit_exceeded");
}

#[test]
fn metadata_beyond_the_limit_are_refused() {
    let much = "#".repeat((1 << 20) + 1);
    assert_eq!(
        code(sdist(&tar(&[file("foo_bar-1.0/PKG-INFO", &much)])).send()),
        "limit_exceeded"
    );
    assert_eq!(
        code(wheel(&[zipped("foo_bar-1.0.dist-info/METADATA", &much)]).send()),
        "limit_exceeded"
    );
    assert_eq!(
        code(nuget(&[zipped("foo.nuspec", &much)])),
        "limit_exceeded"
    );
    assert_eq!(code(gem(&format!("{GEMSPEC}{much}"))), "limit_exceeded");
    assert_eq!(
        code(gem_of(&[entry(
            "metadata.gz",
            tar::EntryType::Regular,
            much.as_bytes()
        )])),
        "limit_exceeded"
    );
    assert_eq!(
        code(npm(&gz(&tar(&[file("package/package.json", &much)]))).send()),
        "limit_exceeded"
    );
    let crate_file = gz(&tar(&[file(
        "foo-1.0.0/Cargo.toml",
        &format!("{CARGO_TOML}{much}"),
    )]));
    let send = |body: &[u8]| {
        code(sent(
            Protocol::CratesIo,
            "PUT",
            "/api/v1/crates/new",
            None,
            body,
        ))
    };
    assert_eq!(send(&cargo_body(CARGO_JSON, &crate_file)), "limit_exceeded");
    assert_eq!(send(&cargo_body(&much, &crate_file)), "limit_exceeded");
    let record = entry("pax", tar::EntryType::XHeader, much.as_bytes());
    assert_eq!(code(sdist(&tar(&[record])).send()), "limit_exceeded");
    let mut request = npm(&npm_tarball());
    request.document["readme"] = much.clone().into();
    assert_eq!(code(request.send()), "limit_exceeded");
    request.document["readme"] = "#".repeat(9 << 20).into();
    assert_eq!(code(request.send()), "limit_exceeded");
    let mut upload = wheel(&good_wheel());
    upload
        .more
        .push(part("name=\"attestations\"", much.as_bytes()));
    assert_eq!(code(upload.send()), "limit_exceeded");
}

#[test]
fn nesting_references_and_numbers_of_parts_are_bounded() {
    for nested in [
        "[".repeat(200_000),
        "- ".repeat(200_000),
        "{a: ".repeat(200_000),
        "? ".repeat(200_000),
    ] {
        assert_ne!(
            code(gem(&format!("{GEMSPEC}x: {nested}"))),
            "storage_failure"
        );
        assert_ne!(
            code(gem(&format!("{GEMSPEC}x:\n  {nested}"))),
            "storage_failure"
        );
    }
    assert_eq!(
        code(gem(&format!("{GEMSPEC}x: [{}]", "a,".repeat(200_000)))),
        "limit_exceeded"
    );
    assert_eq!(
        code(gem(&format!("{GEMSPEC}a: &a [x,x]\nb: &b [*a,*a]\n"))),
        "malformed"
    );
    assert_eq!(
        code(nuget(&[zipped("foo.nuspec", &"<a>".repeat(300_000))])),
        "malformed"
    );
    let deep = format!(
        "<package>{}{}</package>",
        "<a>".repeat(20_000),
        "</a>".repeat(20_000)
    );
    assert_eq!(code(nuget(&[zipped("foo.nuspec", &deep)])), "missing_field");
    assert_eq!(
        code(npm(&[]).send_text(&"{\"a\":".repeat(200_000))),
        "limit_exceeded"
    );
    assert_eq!(
        code(npm(&[]).send_text(&"[".repeat(200_000))),
        "limit_exceeded"
    );
    let toml = format!("{CARGO_TOML}x = {}", "[".repeat(200_000));
    let body = cargo_body(
        CARGO_JSON,
        &gz(&tar(&[file("foo-1.0.0/Cargo.toml", &toml)])),
    );
    assert_eq!(
        code(sent(
            Protocol::CratesIo,
            "PUT",
            "/api/v1/crates/new",
            None,
            &body
        )),
        "malformed"
    );
    let parts: Vec<Vec<u8>> = (0..10_000)
        .map(|_| part("name=\"classifiers\"", b""))
        .collect();
    assert_eq!(
        code(sent(Protocol::Pypi, "POST", "/", Some(FORM), &form(&parts))),
        "limit_exceeded"
    );
    let header = part(&format!("name=\"{}\"", "a".repeat(10_000)), b"");
    assert_eq!(
        code(sent(
            Protocol::Pypi,
            "POST",
            "/",
            Some(FORM),
            &form(&[header])
        )),
        "malformed"
    );
    let small = Limits {
        entries: 1,
        ..Limits::default()
    };
    let body = wheel(&good_wheel()).body();
    assert_eq!(
        code(sent_within(
            &small,
            Protocol::Pypi,
            "POST",
            "/",
            Some(FORM),
            &body
        )),
        "limit_exceeded"
    );
    assert!(gem_of(&[metadata_gz(GEMSPEC)]).is_ok());
}

/// A storage that fails after some bytes.
struct Failing<'a> {
    body: Cursor<&'a [u8]>,
    left: usize,
}

impl Read for Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other("the disk is gone"));
        }
        let most = buffer.len().min(self.left).min(100);
        let read = self.body.read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}

impl Seek for Failing<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.body.seek(to)
    }
}

#[test]
fn a_failure_of_the_storage_is_not_the_clients() {
    for sample in samples() {
        for left in (0..sample.body.len()).step_by(97) {
            let head = RequestHead {
                method: sample.method,
                path: sample.path,
                content_type: sample.content_type.as_deref(),
                content_length: None,
            };
            let request = classify(sample.protocol, &head).unwrap();
            let error = read(
                &request,
                &mut Failing {
                    body: Cursor::new(&sample.body),
                    left,
                },
                &Limits::default(),
            )
            .unwrap_err();
            assert!(
                error.is_internal() && error.code() == "storage_failure",
                "{} {left}: {error}",
                sample.path
            );
        }
    }
}
