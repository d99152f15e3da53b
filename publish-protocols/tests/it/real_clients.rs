//! Bodies that unmodified clients sent, recorded from the socket (`tests/fixtures`; the file names say client and version).

use std::io::{Cursor, Read};

use carnet_publish_protocols::{
    Encoding, GemDependency, Metadata, NugetDependencyGroup, Operation, Protocol, Publication,
    PypiFileType, RequestHead, classify,
};
use sha2::Digest as _;

use crate::support::{form_type, hex, recorded, sent};

/// Each file's digest and length are those of the bytes that it opens to.
#[track_caller]
fn check_files(publication: &Publication, body: &[u8]) -> Vec<Vec<u8>> {
    publication
        .files
        .iter()
        .map(|file| {
            let mut content = Vec::new();
            file.open(&mut Cursor::new(body))
                .unwrap()
                .read_to_end(&mut content)
                .unwrap();
            assert_eq!(content.len() as u64, file.length);
            assert_eq!(hex(&sha2::Sha256::digest(&content)), file.sha256);
            content
        })
        .collect()
}

#[test]
fn twine_and_uv_upload_wheels_and_source_distributions() {
    for (fixture, name, file_name, file_type) in [
        (
            "pypi-twine-7.0.0-wheel.form",
            "Carnet.Fixture",
            "Carnet.Fixture-1.0.0rc1-py3-none-any.whl",
            PypiFileType::Wheel,
        ),
        (
            "pypi-twine-7.0.0-sdist.form",
            "Carnet.Fixture",
            "Carnet.Fixture-1.0.0rc1.tar.gz",
            PypiFileType::Sdist,
        ),
        (
            "pypi-uv-0.13.9-wheel.form",
            "carnet-fixture",
            "carnet_fixture-1.0.0rc1-py3-none-any.whl",
            PypiFileType::Wheel,
        ),
    ] {
        let body = recorded(fixture);
        let publication = sent(
            Protocol::Pypi,
            "POST",
            "/legacy/",
            Some(&form_type(&body)),
            &body,
        )
        .unwrap();
        assert_eq!(
            (
                publication.operation,
                publication.package.as_str(),
                publication.version.as_deref()
            ),
            (Operation::Publish, name, Some("1.0.0rc1"))
        );
        assert_eq!(publication.files[0].name, file_name);
        let Metadata::Pypi(metadata) = &publication.metadata else {
            panic!("{publication:?}")
        };
        assert_eq!(
            (metadata.file_type, metadata.requires_python.as_deref()),
            (file_type, Some(">=3.9"))
        );
        assert!(metadata.metadata.contains("Summary: A fixture"));
        assert_eq!(check_files(&publication, &body).len(), 1);
    }
}

#[test]
fn npm_and_pnpm_publish() {
    let body = recorded("pnpm-12.21.0-publish.json");
    let path = "/@carnet%2ffixture";
    let publication = sent(Protocol::Npm, "PUT", path, Some("application/json"), &body).unwrap();
    assert_eq!(publication.version.as_deref(), Some("1.0.0"));
    check_files(&publication, &body);
    let body = recorded("npm-11.19.1-publish.json");
    let publication = sent(
        Protocol::Npm,
        "PUT",
        "/@carnet%2ffixture",
        Some("application/json"),
        &body,
    )
    .unwrap();
    assert_eq!(
        (
            publication.operation,
            publication.package.as_str(),
            publication.version.as_deref()
        ),
        (Operation::Publish, "@carnet/fixture", Some("1.0.0"))
    );
    let Metadata::Npm(metadata) = &publication.metadata else {
        panic!("{publication:?}")
    };
    assert_eq!(metadata.manifest["dependencies"]["left-pad"], "^1.3.0");
    assert_eq!(
        metadata.manifest["dist"]["integrity"],
        metadata.integrity.as_str()
    );
    assert_eq!(
        metadata.manifest["dist"]["shasum"],
        metadata.shasum.as_str()
    );
    assert_eq!(metadata.dist_tags["latest"], "1.0.0");
    assert_eq!(
        (metadata.access.as_deref(), metadata.provenance.as_deref()),
        (Some("public"), None)
    );
    assert_eq!(
        (
            publication.files[0].name.as_str(),
            publication.files[0].encoding
        ),
        ("@carnet/fixture-1.0.0.tgz", Encoding::Base64)
    );
    assert!(check_files(&publication, &body)[0].starts_with(b"\x1f\x8b"));
}

#[test]
fn npm_tags_deprecates_and_unpublishes() {
    let json = Some("application/json");
    let publication = sent(
        Protocol::Npm,
        "PUT",
        "/@carnet%2ffixture",
        json,
        &recorded("npm-11.19.1-deprecate.json"),
    )
    .unwrap();
    assert_eq!(
        (publication.operation, publication.version),
        (Operation::Deprecate, None)
    );
    let Metadata::NpmPackument {
        versions,
        revision: None,
    } = publication.metadata
    else {
        panic!()
    };
    assert_eq!(
        (versions["1.0.0"].as_deref(), versions["0.9.0"].as_deref()),
        (None, Some("old news"))
    );

    let publication = sent(
        Protocol::Npm,
        "PUT",
        "/@carnet%2ffixture/-rev/3-abc",
        json,
        &recorded("npm-11.19.1-unpublish.json"),
    )
    .unwrap();
    assert_eq!(publication.operation, Operation::Unpublish);
    let Metadata::NpmPackument { versions, revision } = publication.metadata else {
        panic!()
    };
    assert_eq!((versions.len(), revision.as_deref()), (1, Some("3-abc")));

    let publication = sent(
        Protocol::Npm,
        "DELETE",
        "/@carnet/fixture/-/fixture-0.9.0.tgz/-rev/3-abc",
        None,
        b"",
    )
    .unwrap();
    assert_eq!(
        (publication.operation, publication.version.as_deref()),
        (Operation::Unpublish, Some("0.9.0"))
    );
    let publication = sent(
        Protocol::Npm,
        "DELETE",
        "/@carnet%2ffixture/-rev/3-abc",
        None,
        b"",
    )
    .unwrap();
    assert_eq!(
        (publication.operation, publication.version),
        (Operation::Unpublish, None)
    );

    let path = "/-/package/@carnet%2ffixture/dist-tags/beta";
    let publication = sent(
        Protocol::Npm,
        "PUT",
        path,
        json,
        &recorded("npm-11.19.1-dist-tag.json"),
    )
    .unwrap();
    assert_eq!(
        (
            publication.operation,
            publication.package.as_str(),
            publication.version.as_deref()
        ),
        (Operation::Tag, "@carnet/fixture", Some("1.0.0"))
    );
    assert_eq!(
        publication.metadata,
        Metadata::NpmTag { tag: "beta".into() }
    );
    assert_eq!(
        sent(Protocol::Npm, "DELETE", path, None, b"")
            .unwrap()
            .operation,
        Operation::Untag
    );
}

#[test]
fn cargo_publishes_and_yanks() {
    let body = recorded("cargo-1.95.0-publish.body");
    let publication = sent(Protocol::CratesIo, "PUT", "/api/v1/crates/new", None, &body).unwrap();
    assert_eq!(
        (
            publication.operation,
            publication.package.as_str(),
            publication.version.as_deref()
        ),
        (Operation::Publish, "carnet-fixture", Some("1.0.0"))
    );
    assert_eq!(publication.files[0].name, "carnet-fixture-1.0.0.crate");
    let Metadata::Cargo(metadata) = &publication.metadata else {
        panic!("{publication:?}")
    };
    assert!(metadata.json["features"]["a"].is_array());
    check_files(&publication, &body);

    let yanked = sent(
        Protocol::CratesIo,
        "DELETE",
        "/api/v1/crates/carnet-fixture/1.0.0/yank",
        None,
        b"",
    )
    .unwrap();
    assert_eq!(
        (
            yanked.operation,
            yanked.package.as_str(),
            yanked.version.as_deref()
        ),
        (Operation::Yank, "carnet-fixture", Some("1.0.0"))
    );
    let unyanked = sent(
        Protocol::CratesIo,
        "PUT",
        "/api/v1/crates/carnet-fixture/1.0.0/unyank",
        Some("application/json"),
        b"",
    )
    .unwrap();
    assert_eq!(unyanked.operation, Operation::Unyank);
}

#[test]
fn gem_pushes_and_yanks() {
    let body = recorded("rubygems-3.3.15-push.gem");
    let publication = sent(
        Protocol::Rubygems,
        "POST",
        "/api/v1/gems",
        Some("application/octet-stream"),
        &body,
    )
    .unwrap();
    assert_eq!(
        (
            publication.operation,
            publication.package.as_str(),
            publication.version.as_deref()
        ),
        (Operation::Publish, "carnet-fixture", Some("1.0.0.rc1"))
    );
    assert_eq!(publication.files[0].name, "carnet-fixture-1.0.0.rc1.gem");
    let Metadata::Gem(metadata) = &publication.metadata else {
        panic!("{publication:?}")
    };
    assert_eq!(metadata.platform, "ruby");
    assert_eq!(
        metadata.dependencies,
        [
            GemDependency {
                name: "rake".into(),
                requirements: vec!["~> 13.0".into(), ">= 13.0.1".into()],
                runtime: true
            },
            GemDependency {
                name: "minitest".into(),
                requirements: vec!["< 6".into()],
                runtime: false
            },
        ]
    );
    assert_eq!(
        (
            metadata.required_ruby_version.as_slice(),
            metadata.required_rubygems_version.as_slice()
        ),
        (&[">= 2.7".to_owned()][..], &["> 1.3.1".to_owned()][..])
    );
    check_files(&publication, &body);

    let form = Some("application/x-www-form-urlencoded");
    let yanked = sent(
        Protocol::Rubygems,
        "DELETE",
        "/api/v1/gems/yank",
        form,
        &recorded("rubygems-3.3.15-yank.form"),
    )
    .unwrap();
    assert_eq!(
        (
            yanked.operation,
            yanked.package.as_str(),
            yanked.version.as_deref()
        ),
        (Operation::Yank, "carnet-fixture", Some("1.0.0.rc1"))
    );
    assert_eq!(yanked.metadata, Metadata::GemYank { platform: None });
}

#[test]
fn nuget_pushes_unlists_and_relists() {
    let body = recorded("nuget-2.8.7-push.form");
    let publication = sent(
        Protocol::Nuget,
        "PUT",
        "/api/v2/package/",
        Some(&form_type(&body)),
        &body,
    )
    .unwrap();
    assert_eq!(
        (
            publication.operation,
            publication.package.as_str(),
            publication.version.as_deref()
        ),
        (Operation::Publish, "Carnet.Fixture", Some("1.0.0-rc1"))
    );
    assert_eq!(publication.files[0].name, "Carnet.Fixture.1.0.0-rc1.nupkg");
    let Metadata::Nuget(metadata) = &publication.metadata else {
        panic!("{publication:?}")
    };
    assert_eq!(
        (
            metadata.symbols,
            metadata.description.as_str(),
            metadata.authors.as_str()
        ),
        (false, "A fixture", "A")
    );
    assert_eq!(
        metadata.dependencies,
        [
            NugetDependencyGroup {
                target_framework: None,
                dependencies: vec![("Other".into(), None)]
            },
            NugetDependencyGroup {
                target_framework: Some(".NETFramework4.5".into()),
                dependencies: vec![("Newtonsoft.Json".into(), Some("[9.0, 10.0)".into()))]
            },
        ]
    );
    let package = check_files(&publication, &body).remove(0);

    // The same as the body itself, and as `dotnet nuget push` sends it: unquoted parameters, and `filename*` beside `filename`.
    let raw = sent(
        Protocol::Nuget,
        "PUT",
        "/api/v2/package",
        Some("application/octet-stream"),
        &package,
    )
    .unwrap();
    assert_eq!(
        (raw.package.as_str(), &raw.metadata),
        ("Carnet.Fixture", &publication.metadata)
    );
    let mut form = b"--0a-1b\r\nContent-Type: application/octet-stream\r\nContent-Disposition: form-data; name=package; filename=package.nupkg; filename*=utf-8''package.nupkg\r\n\r\n".to_vec();
    form.extend(&package);
    form.extend(b"\r\n--0a-1b--\r\n");
    let dotnet = sent(
        Protocol::Nuget,
        "PUT",
        "/api/v2/symbolpackage",
        Some("multipart/form-data; boundary=\"0a-1b\""),
        &form,
    )
    .unwrap();
    assert_eq!(dotnet.files[0].name, "Carnet.Fixture.1.0.0-rc1.snupkg");
    assert_eq!(check_files(&dotnet, &form), [package]);

    let path = "/api/v2/package/Carnet.Fixture/1.0.0-rc1";
    for (method, operation) in [("DELETE", Operation::Unlist), ("POST", Operation::Relist)] {
        let publication = sent(Protocol::Nuget, method, path, Some("text/html"), b"").unwrap();
        assert_eq!(
            (
                publication.operation,
                publication.package.as_str(),
                publication.version.as_deref()
            ),
            (operation, "Carnet.Fixture", Some("1.0.0-rc1"))
        );
    }
}

#[test]
fn registries_whose_root_is_their_push_address_get_the_same_requests() {
    for (method, path) in [
        ("PUT", "/"),
        ("PUT", "/symbolpackage"),
        ("DELETE", "/Carnet.Fixture/1.0.0"),
    ] {
        let head = RequestHead {
            method,
            path,
            content_type: None,
            content_length: None,
        };
        assert!(
            classify(Protocol::Nuget, &head).is_some(),
            "{method} {path}"
        );
    }
}

#[test]
fn requests_that_no_protocol_knows_are_none() {
    for (protocol, method, path) in [
        (Protocol::Pypi, "GET", "/legacy/"),
        (Protocol::Pypi, "POST", "/legacy/?:action=file_upload"),
        (Protocol::Pypi, "POST", "/simple/"),
        (Protocol::CratesIo, "PUT", "/api/v1/crates/a/owners"),
        (Protocol::CratesIo, "DELETE", "/api/v1/crates/a/owners"),
        (Protocol::CratesIo, "PUT", "/api/v1/crates/new/"),
        (
            Protocol::CratesIo,
            "DELETE",
            "/api/v1/crates/a/../b/1.0.0/yank",
        ),
        (Protocol::Rubygems, "POST", "/api/v1/gems/a/owners"),
        (Protocol::Rubygems, "DELETE", "/api/v1//gems/yank"),
        (Protocol::Nuget, "PUT", "/api/v2/package/a/1.0"),
        (Protocol::Nuget, "DELETE", "/api/v2/package/a"),
        (Protocol::Nuget, "put", "/api/v2/package"),
        (Protocol::Nuget, "POST", "/a/1.0"),
        (Protocol::Nuget, "PUT", "/a/1.0"),
        (Protocol::Nuget, "DELETE", "/a"),
    ] {
        let head = RequestHead {
            method,
            path,
            content_type: None,
            content_length: None,
        };
        assert!(classify(protocol, &head).is_none(), "{method} {path}");
    }
}
