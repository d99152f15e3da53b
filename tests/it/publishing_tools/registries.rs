//! The registries that gateways are tested with, before there is a gateway: each takes what its operator publishes with the tools of
//! its ecosystem, gives it back, and takes nothing from anybody else.

use std::path::Path;

use carnet_stand_ins::Protocol;
use tokio::net::TcpListener;

use super::Site;
use super::npm::{Client, NPM_12, Node};
use super::nuget::nuget_5_tools;
use super::pypi::{Paths, Python};
use super::rubygems::has_gem;
use crate::support::registries::{
    OperatorCredential, Upstream, devpi, example, pypiserver, verdaccio,
};
use crate::support::{Authority, Packages};

impl Site {
    /// Tools that speak to this registry itself.
    async fn at_upstream(protocol: Protocol, upstream: &Upstream) -> Self {
        let (_, port) = upstream.url.rsplit_once(':').unwrap();
        let port = port.split('/').next().unwrap().parse().unwrap();
        let mut site = Self::at(protocol, "http", port).await;
        site.url = format!("{}/", upstream.url);
        site.host = site.url.split('/').nth(2).unwrap().to_owned();
        // Some tools read it even where they speak http.
        std::fs::write(site.authority(), Authority::new().pem()).unwrap();
        site
    }
}

/// A user that no registry knows.
const STRANGER: (&str, &str) = ("stranger", "a-guess");

/// Checks it for an index that has its packages at this path and refuses strangers with this status.
async fn takes_python_packages(
    upstream: &Upstream,
    tools: &'static Path,
    simple: &'static str,
    refusal: &str,
) {
    let site = Site::at_upstream(Protocol::Pypi, upstream).await;
    let paths = Paths { upload: "", simple };
    let python = Python::with(&site, tools, paths).await;
    let operator = upstream.credential.basic();
    let first = python.built("direct", "1.0.0");
    let stranger = python.uv_publish_as(STRANGER, &first);
    stranger.failed_saying(&[refusal]);
    python.uv_publish_as(operator, &first).succeeded();
    python.uv_installs("direct", "1.0.0");
    let second = python.built("direct", "1.1.0");
    let stranger = python.twine_upload_as(STRANGER, &second);
    stranger.failed_saying(&[refusal]);
    python.twine_upload_as(operator, &second).succeeded();
    python.pip_installs("direct", "1.1.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pypiserver_takes_packages_of_its_operator_and_of_nobody_else() {
    let (Some(upstream), Some(tools)) = (pypiserver().await, Packages::PypiTools.installed())
    else {
        return;
    };
    takes_python_packages(upstream, tools, "simple/", "403 Forbidden").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devpi_takes_packages_of_its_operator_and_of_nobody_else() {
    let (Some(upstream), Some(tools)) = (devpi().await, Packages::PypiTools.installed()) else {
        return;
    };
    takes_python_packages(upstream, tools, "+simple/", "401 Unauthorized").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verdaccio_takes_packages_of_its_operator_and_of_nobody_else() {
    let (Some(upstream), Some(tools)) = (verdaccio().await, Packages::NpmTools.installed()) else {
        return;
    };
    let site = Site::at_upstream(Protocol::Npm, upstream).await;
    let operator = upstream.credential.basic();
    for (client, version, refusal) in [
        (NPM_12, "1.0.0", "E401"),
        (Client::Pnpm, "1.1.0", "401 Unauthorized"),
        (Client::Yarn, "1.2.0", "Invalid authentication"),
    ] {
        let node = Node::new(&site, client, tools);
        let stranger = node.publish_as(STRANGER, "direct", version);
        stranger.failed_saying(&[refusal]);
        node.publish_as(operator, "direct", version).succeeded();
        node.installs("direct", version);
    }
}

/// A site with the example registry that another registry's operator would run.
async fn at_example(protocol: Protocol) -> (Site, Upstream) {
    let carnet = Site::at(protocol, "http", 1).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = example(protocol, listener, &carnet.world, &carnet.issuer).await;
    let mut site = Site::at_upstream(protocol, &upstream).await;
    // The tokens are those of the server that the registry asks.
    (site.world, site.issuer, site.runner) = (carnet.world, carnet.issuer, carnet.runner);
    (site, upstream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_registry_takes_gems_and_nuget_packages_of_its_operator_and_of_nobody_else() {
    if has_gem() {
        let (site, upstream) = at_example(Protocol::Rubygems).await;
        let OperatorCredential::Bearer(key) = &upstream.credential else {
            panic!("gems come with a key");
        };
        let stranger = site.gem_push("a-guess", "direct", "1.0.0");
        stranger.failed_saying(&["the access token is not valid here"]);
        site.gem_push(key, "direct", "1.0.0").succeeded();
        site.gem_installs("direct", "1.0.0");
    }
    let Some(tools) = nuget_5_tools() else {
        return;
    };
    let (site, upstream) = at_example(Protocol::Nuget).await;
    let OperatorCredential::Header("X-NuGet-ApiKey", key) = &upstream.credential else {
        panic!("NuGet's key has a header of its own");
    };
    let stranger = site.nuget_5_pushes(tools, "a-guess", "direct", "1.0.0");
    stranger.failed_saying(&["the access token is not valid here"]);
    site.nuget_5_pushes(tools, key, "direct", "1.0.0")
        .succeeded();
    site.nuget_5_installs(tools, "direct", "1.0.0");
}
