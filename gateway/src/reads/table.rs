//! The paths that the tools of each protocol read, as the registries serve them below the URL that
//! is configured as their upstream.

use carnet_publish_protocols::Protocol;

pub(super) fn of(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::Pypi => PYPI,
        Protocol::Npm => NPM,
        Protocol::CratesIo => CARGO,
        Protocol::Nuget => NUGET,
        Protocol::Rubygems => RUBYGEMS,
    }
}

const PYPI: &[&str] = &[
    // The simple index (PEP 503, PEP 691), with or without the slash at its end.
    "/simple",
    "/simple/",
    "/simple/{}",
    "/simple/{}/",
    // Files: PyPI, pypiserver, Nexus; Gitea; Artifactory, which has them at `NAME/VERSION/FILE` too.
    "/packages/**",
    "/files/{}/{}/{}",
    "/{}/{}/{}.whl",
    "/{}/{}/{}.whl.metadata",
    "/{}/{}/{}.tar.gz",
    "/{}/{}/{}.zip",
    // The JSON API and the provenance of files (PEP 740).
    "/pypi/{}/json",
    "/pypi/{}/{}/json",
    "/{}/json",
    "/integrity/{}/{}/{}/provenance",
    // devpi, below the URL of an index.
    "/+api",
    "/+simple",
    "/+simple/",
    "/+simple/{}",
    "/+simple/{}/",
    // pip encodes the plus of devpi's folders.
    "/%2Bsimple/{}/",
    "/%2Bf/**",
    "/+f/**",
    "/+e/**",
];

const NPM: &[&str] = &[
    // Packuments and single versions. `/{}/{}` is a package in a scope, too.
    "/{}",
    "/{}/{}",
    "/@{}/{}/{}",
    // Tarballs; the scope or the version may stand before the file's name.
    "/{}/-/{}",
    "/{}/-/{}/{}",
    "/@{}/{}/-/{}",
    "/@{}/{}/-/{}/{}",
    "/-/package/{}/dist-tags",
    "/-/package/@{}/{}/dist-tags",
    "/-/package/{}/visibility",
    "/-/package/@{}/{}/visibility",
    "/-/v1/search",
    "/-/all",
    "/-/ping",
    "/-/whoami",
    // Signatures and provenance.
    "/-/npm/v1/keys",
    "/-/npm/v1/attestations/{}",
    "/-/npm/v1/attestations/@{}/{}",
];

const CARGO: &[&str] = &[
    // The sparse index in a folder of its own.
    "/index/**",
    // At the root: Gitea, Nexus.
    "/config.json",
    "/1/{}",
    "/2/{}",
    "/3/{}/{}",
    "/{2}/{2}/{}",
    // Among the paths of the web API: kellnr.
    "/api/v1/crates/config.json",
    "/api/v1/crates/1/{}",
    "/api/v1/crates/2/{}",
    "/api/v1/crates/3/{}/{}",
    "/api/v1/crates/{2}/{2}/{}",
    // Downloads: crates.io and Gitea; kellnr; Artifactory; Nexus; small registries.
    "/api/v1/crates/{}/{}/download",
    "/api/v1/crates/dl/{}/{}/download",
    "/v1/crates/{}/{}/download",
    "/crates/{}/{}/download",
    "/crates/{}/{}.crate",
    "/crates/{}/{}/{}.crate",
    "/dl/**",
    // Search, and `cargo owner --list`.
    "/api/v1/crates",
    "/api/v1/crates/{}",
    "/api/v1/crates/{}/owners",
];

const NUGET: &[&str] = &[
    // The service index of version 3: nuget.org and most; Nexus, Artifactory and Gitea.
    "/v3/**",
    "/index.json",
    // The resources that it names: package content, registrations, search.
    "/v3-flatcontainer/**",
    "/flatcontainer/**",
    "/package/{}/index.json",
    "/package/{}/{}/{}",
    "/registration/**",
    "/registrations/**",
    "/registration-semver2/**",
    "/registrations-gz-semver2/**",
    "/query",
    "/query/",
    "/search",
    "/search/",
    "/autocomplete",
    "/symbols/{}/{}/{}",
    // The feed of version 2, below `api/v2` and at the root, with the download of a package.
    "/",
    "/api/v2",
    "/api/v2/**",
    "/$metadata",
    "/Packages",
    "/Packages({})",
    "/Packages()",
    "/Packages()/$count",
    "/FindPackagesById()",
    "/FindPackagesById()/$count",
    "/Search()",
    "/Search()/$count",
];

const RUBYGEMS: &[&str] = &[
    // RubyGems asks for the root before it takes an address as a source.
    "/",
    // The compact index, which Bundler reads.
    "/versions",
    "/names",
    "/info/{}",
    // The older indexes.
    "/specs.4.8.gz",
    "/latest_specs.4.8.gz",
    "/prerelease_specs.4.8.gz",
    "/specs.4.8",
    "/latest_specs.4.8",
    "/prerelease_specs.4.8",
    "/quick/Marshal.4.8/{}",
    "/api/v1/dependencies",
    "/api/v1/dependencies.json",
    "/gems/{}",
    "/downloads/{}",
    // What is known of a gem.
    "/api/v1/gems/{}.json",
    "/api/v1/versions/{}.json",
    "/api/v1/versions/{}/latest.json",
    "/api/v1/search.json",
    "/api/v2/rubygems/{}/versions/{}.json",
];
