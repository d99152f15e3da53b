//! Archives that two readers could understand differently.

use carnet_publish_protocols::Protocol;
use tar::EntryType;

use crate::support::{
    CARGO_JSON, CARGO_TOML, GEMSPEC, METADATA, NUSPEC, Zipped, cargo, cargo_body, code, entry,
    file, gem_of, good_wheel, gz, metadata_gz, nuget, sdist, sent, tar, wheel, zip, zipped,
};

#[test]
fn a_zip_archive_of_which_headers_and_directory_differ_is_refused() {
    let wheel_with = |change: &dyn Fn(&mut Zipped)| {
        let mut entries = good_wheel();
        change(entries.last_mut().unwrap());
        wheel(&entries).send()
    };
    assert!(wheel_with(&|_| {}).is_ok());
    assert!(wheel_with(&|entry| entry.described = true).is_ok());
    assert!(wheel_with(&|entry| entry.deflated = false).is_ok());
    assert!(wheel_with(&|entry| entry.flags = 1 << 11).is_ok());
    let refused = |change: &dyn Fn(&mut Zipped)| code(wheel_with(change));
    assert_eq!(
        refused(&|entry| entry.local_name = b"foo_bar-1.0.dist-info/METADATB".to_vec()),
        "ambiguous_archive"
    );
    assert_eq!(
        refused(&|entry| entry.gap = b"x".to_vec()),
        "ambiguous_archive"
    );
    assert_eq!(
        refused(&|entry| entry.stated_length = Some(10)),
        "ambiguous_archive"
    );
    assert_eq!(
        refused(&|entry| entry.stated_length = Some(u32::MAX)),
        "ambiguous_archive"
    );
    assert_eq!(
        refused(&|entry| entry.mode = 0o120_777),
        "ambiguous_archive"
    );
    assert_eq!(refused(&|entry| entry.flags = 1), "ambiguous_archive");
    assert_eq!(refused(&|entry| entry.flags = 1 << 13), "ambiguous_archive");
    for kind in [0x0001_u16, 0x7075] {
        let mut extra = kind.to_le_bytes().to_vec();
        extra.extend([4, 0, 1, 2, 3, 4]);
        assert_eq!(
            refused(&|entry| entry.extra.clone_from(&extra)),
            "ambiguous_archive"
        );
        assert_eq!(
            refused(&|entry| entry.local_extra.clone_from(&extra)),
            "ambiguous_archive"
        );
    }
    assert_eq!(refused(&|entry| entry.extra = vec![1]), "malformed");
    assert_eq!(
        refused(&|entry| (entry.deflated, entry.described) = (false, true)),
        "ambiguous_archive"
    );
    // A local header within an entry whose size a reader of local headers learns by inflating it.
    assert_eq!(
        refused(&|entry| {
            entry.described = true;
            entry.stated_length = Some(3);
        }),
        "ambiguous_archive"
    );
}

#[test]
fn a_zip_archive_with_two_entries_of_one_name_is_refused() {
    let also = |name: &str| {
        let mut entries = good_wheel();
        entries.push(zipped(name, METADATA));
        code(wheel(&entries).send())
    };
    assert_eq!(also("foo_bar-1.0.dist-info/METADATA"), "duplicate_field");
    assert_eq!(also("foo_bar-1.0.dist-info/metadata"), "duplicate_field");
    assert_eq!(also("foo_bar-1.0.dist-info/METADATA/"), "ambiguous_archive");
    assert_eq!(also("foo_bar-1.0.dist-info"), "ambiguous_archive");
    assert_eq!(also("bar-1.0.dist-info/METADATA"), "duplicate_field");
    assert_eq!(also("FOO_bar-1.0.dist-INFO/x"), "duplicate_field");
    // The Kelvin sign folds to k.
    assert_eq!(
        code(nuget(&[
            zipped("foo.nuspec", NUSPEC),
            zipped("k", ""),
            zipped("\u{212a}", "")
        ])),
        "duplicate_field"
    );
    for path in [
        "../x", "/x", "a//b", "./x", "a\\b", "c:/x", "a/..", "", "a\0b", "a\nb",
    ] {
        assert_eq!(also(path), "ambiguous_archive", "{path:?}");
    }
}

#[test]
fn a_zip_archive_with_more_around_it_is_refused() {
    let good = zip(&[zipped("foo.nuspec", NUSPEC)]);
    let send = |body: &[u8]| sent(Protocol::Nuget, "PUT", "/api/v2/package", None, body);
    assert!(send(&good).is_ok());
    assert_eq!(code(send(&[b"MZ".as_slice(), &good].concat())), "malformed");
    assert_eq!(code(send(&[&good, b"x".as_slice()].concat())), "malformed");
    // A second archive behind the first, and one in the comment of the first.
    assert_eq!(
        code(send(
            &[good.clone(), zip(&[zipped("bar.nuspec", NUSPEC)])].concat()
        )),
        "malformed"
    );
    let mut commented = good.clone();
    let at = commented.len() - 2;
    commented[at..].copy_from_slice(&(good.len() as u16).to_le_bytes());
    commented.extend(&good);
    assert_eq!(code(send(&commented)), "malformed");
    assert_eq!(code(send(b"")), "malformed");
    assert_eq!(code(send(&zip(&[]))), "missing_field");
}

#[test]
fn a_tar_archive_that_readers_take_apart_differently_is_refused() {
    let good = file("foo_bar-1.0/PKG-INFO", METADATA);
    let bad = METADATA.replace("Foo.Bar", "bar");
    let of = |entries: &[Vec<u8>]| sdist(&tar(entries)).send();
    assert!(of(std::slice::from_ref(&good)).is_ok());
    let refused = |entries: &[Vec<u8>]| code(of(entries));
    let pax = |records: &str| entry("pax", EntryType::XHeader, records.as_bytes());
    let global = |records: &str| entry("pax", EntryType::XGlobalHeader, records.as_bytes());
    // Records that give no other path, as Python and git write them.
    assert!(
        of(&[
            global("13 comment=a\n"),
            pax("14 mtime=1.25\n"),
            good.clone()
        ])
        .is_ok()
    );
    assert!(of(&[pax("29 path=foo_bar-1.0/PKG-INFO\n"), file("x", METADATA)]).is_ok());
    assert_eq!(
        refused(&[
            good.clone(),
            pax("29 path=foo_bar-1.0/PKG-INFO\n"),
            file("foo_bar-1.0/x", &bad)
        ]),
        "duplicate_field"
    );
    assert_eq!(
        refused(&[pax("11 size=10\n"), good.clone()]),
        "ambiguous_archive"
    );
    assert_eq!(
        refused(&[pax("22 GNU.sparse.major=1\n"), good.clone()]),
        "ambiguous_archive"
    );
    assert_eq!(
        refused(&[global("29 path=foo_bar-1.0/PKG-INFO\n"), good.clone()]),
        "ambiguous_archive"
    );
    assert_eq!(refused(&[pax("99 path=a\n"), good.clone()]), "malformed");
    assert_eq!(refused(&[pax("11 path=a\n"), good.clone()]), "malformed");
    assert_eq!(
        refused(&[pax("11 path=ab\n11 path=cd\n"), good.clone()]),
        "duplicate_field"
    );
    assert_eq!(
        refused(&[pax("29 path=foo_bar-1.0/PKG-INFO\n")]),
        "malformed"
    );
    let long = entry(
        "././@LongLink",
        EntryType::GNULongName,
        b"foo_bar-1.0/PKG-INFO\0",
    );
    assert!(of(&[long.clone(), file("x", METADATA)]).is_ok());
    assert_eq!(
        refused(&[
            long.clone(),
            pax("29 path=foo_bar-1.0/PKG-INFO\n"),
            file("x", METADATA)
        ]),
        "ambiguous_archive"
    );
    let cut = entry(
        "././@LongLink",
        EntryType::GNULongName,
        b"foo_bar-1.0/PKG-INFO\0x\0",
    );
    assert_eq!(refused(&[cut, file("x", METADATA)]), "ambiguous_archive");
}

#[test]
fn a_tar_archive_with_other_entries_than_files_and_directories_is_refused() {
    let good = file("foo_bar-1.0/PKG-INFO", METADATA);
    let refused = |entries: &[Vec<u8>]| code(sdist(&tar(entries)).send());
    for kind in [
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::Continuous,
        EntryType::GNUSparse,
        EntryType::new(b'V'),
    ] {
        assert_eq!(
            refused(&[good.clone(), entry("foo_bar-1.0/x", kind, b"")]),
            "ambiguous_archive",
            "{kind:?}"
        );
    }
    for kind in [EntryType::Symlink, EntryType::Link, EntryType::Directory] {
        assert_eq!(
            refused(&[entry("foo_bar-1.0/PKG-INFO", kind, b"")]),
            "ambiguous_archive",
            "{kind:?}"
        );
        assert_eq!(
            refused(&[good.clone(), entry("foo_bar-1.0/x", kind, &[0; 512])]),
            "ambiguous_archive",
            "{kind:?}"
        );
    }
    assert_eq!(
        refused(&[entry("foo_bar-1.0", EntryType::Symlink, b""), good.clone()]),
        "ambiguous_archive"
    );
    assert_eq!(
        refused(&[good.clone(), file("foo_bar-1.0/x/", "")]),
        "ambiguous_archive"
    );
    assert_eq!(
        refused(&[good.clone(), file("foo_bar-1.0/../x", "")]),
        "ambiguous_archive"
    );
    assert_eq!(
        refused(&[good.clone(), file("foo_bar-1.0/pkg-info", METADATA)]),
        "duplicate_field"
    );
    let mut unsummed = good.clone();
    unsummed[0] = b'g';
    assert_eq!(refused(&[unsummed]), "malformed");
}

#[test]
fn data_behind_the_end_of_an_archive_are_refused() {
    let good = tar(&[file("foo_bar-1.0/PKG-INFO", METADATA)]);
    let second = tar(&[file(
        "foo_bar-1.0/PKG-INFO",
        &METADATA.replace("Foo.Bar", "bar"),
    )]);
    let send = |content: Vec<u8>| {
        let mut upload = sdist(&[]);
        upload.content = content;
        upload.send()
    };
    assert!(send(gz(&[good.clone(), vec![0; 8192]].concat())).is_ok());
    assert_eq!(
        code(send(gz(&[good.clone(), second.clone()].concat()))),
        "ambiguous_archive"
    );
    assert_eq!(
        code(send([gz(&good), gz(&second)].concat())),
        "ambiguous_archive"
    );
    assert_eq!(
        code(send([gz(&good), vec![0; 8]].concat())),
        "ambiguous_archive"
    );
    assert_eq!(code(send(gz(good.get(..1024).unwrap()))), "malformed");
    assert_eq!(code(send(good)), "malformed");
    let mut flipped = gz(&second);
    let crc = flipped.len() - 8;
    flipped[crc] ^= 1;
    assert_eq!(code(send(flipped)), "malformed");
}

#[test]
fn a_crate_with_links_and_a_gem_with_other_files_are_refused() {
    let manifest = file("foo-1.0.0/Cargo.toml", CARGO_TOML);
    assert_eq!(
        code(cargo(
            CARGO_JSON,
            &[manifest, entry("foo-1.0.0/x", EntryType::Symlink, b"")]
        )),
        "ambiguous_archive"
    );
    let body = cargo_body(CARGO_JSON, b"no gzip");
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
    assert!(gem_of(&[metadata_gz(GEMSPEC), file("data.tar.gz", "x")]).is_ok());
    let bar = GEMSPEC.replace("foo", "bar");
    assert_eq!(
        code(gem_of(&[metadata_gz(GEMSPEC), metadata_gz(&bar)])),
        "duplicate_field"
    );
    assert_eq!(
        code(gem_of(&[metadata_gz(GEMSPEC), file("metadata", &bar)])),
        "ambiguous_archive"
    );
    assert_eq!(
        code(gem_of(&[metadata_gz(GEMSPEC), file("./metadata.gz", &bar)])),
        "ambiguous_archive"
    );
    assert_eq!(code(gem_of(&[file("data.tar.gz", "x")])), "missing_field");
    // RubyGems knows no records and would take this one for the specification.
    for kind in [
        EntryType::GNULongName,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
    ] {
        let record = entry("metadata.gz", kind, &gz(bar.as_bytes()));
        assert_eq!(
            code(gem_of(&[metadata_gz(GEMSPEC), record])),
            "ambiguous_archive"
        );
    }
    let two = [gz(GEMSPEC.as_bytes()), gz(bar.as_bytes())].concat();
    assert_eq!(
        code(gem_of(&[entry("metadata.gz", EntryType::Regular, &two)])),
        "ambiguous_archive"
    );
}
