//! uv and twine through the gateway to pypiserver and devpi-server.

use std::path::Path;

use carnet_stand_ins::Protocol;

use super::{Gated, Screens, Tools, holds};
use crate::publishing_tools::pypi::{Paths, Python};
use crate::publishing_tools::write;
use crate::support::registries::{Upstream, devpi, pypiserver};
use crate::support::{Finished, Packages};

const PYPISERVER: Paths = Paths {
    upload: "legacy/",
    simple: "simple/",
};
const DEVPI: Paths = Paths {
    upload: "",
    simple: "+simple/",
};

/// Another content of the same version.
fn change(gated: &Gated, name: &str, version: &str) {
    let module = format!("src/{}/more.py", name.replace('-', "_"));
    let folder = gated.folder(&format!("{name}-{version}"));
    write(&folder, &module, "MORE = True\n");
}

struct Uv<'g>(&'g Gated, Python<'g>);

impl Tools for Uv<'_> {
    fn publishes(&self, name: &str, version: &str) -> Finished {
        self.1.uv_publish(name, version)
    }

    fn publishes_again(&self, name: &str, version: &str) -> Finished {
        change(self.0, name, version);
        self.publishes(name, version)
    }

    fn installs(&self, name: &str, version: &str) {
        self.1.uv_installs(name, version);
    }
}

struct Twine<'g>(&'g Gated, Python<'g>);

impl Tools for Twine<'_> {
    fn publishes(&self, name: &str, version: &str) -> Finished {
        self.1.twine_upload(name, version)
    }

    fn publishes_again(&self, name: &str, version: &str) -> Finished {
        change(self.0, name, version);
        self.publishes(name, version)
    }

    fn installs(&self, name: &str, version: &str) {
        self.1.pip_installs(name, version);
    }
}

async fn uv(upstream: &Upstream, paths: Paths, tools: &'static Path, exists: &[&str]) {
    let gated = Gated::before(Protocol::Pypi, upstream).await;
    let python = Python::with(&gated, tools, paths).await;
    let screens = Screens {
        second_use: &["invalid-reuse-token", "the assertion was used before"],
        wrong_workflow: &["workflow_file expected release.yml"],
        outside: &[
            "403 Forbidden",
            "Server says",
            "through-uvx",
            "package_out_of_scope",
        ],
        foreign: &[
            "403 Forbidden",
            "Server says",
            "through-uv-acme",
            "owner_lost",
        ],
        exists,
    };
    holds(&gated, &Uv(&gated, python), "through-uv", &screens).await;
}

async fn twine(upstream: &Upstream, paths: Paths, tools: &'static Path, exists: &[&str]) {
    let gated = Gated::before(Protocol::Pypi, upstream).await;
    let python = Python::with(&gated, tools, paths).await;
    let screens = Screens {
        second_use: &["invalid-reuse-token", "the assertion was used before"],
        wrong_workflow: &["workflow_file expected release.yml"],
        outside: &["HTTPError: 403", "through-twinex", "package_out_of_scope"],
        foreign: &["HTTPError: 403", "through-twine-acme", "owner_lost"],
        exists,
    };
    holds(&gated, &Twine(&gated, python), "through-twine", &screens).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uv_publishes_through_the_gateway_to_pypiserver() {
    let (Some(upstream), Some(tools)) = (pypiserver().await, Packages::PypiTools.installed())
    else {
        return;
    };
    let exists = ["409 Conflict", "already exists!"];
    uv(upstream, PYPISERVER, tools, &exists).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uv_publishes_through_the_gateway_to_devpi() {
    let (Some(upstream), Some(tools)) = (devpi().await, Packages::PypiTools.installed()) else {
        return;
    };
    let exists = ["409 Conflict", "already exists in non-volatile index"];
    uv(upstream, DEVPI, tools, &exists).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twine_publishes_through_the_gateway_to_pypiserver() {
    let (Some(upstream), Some(tools)) = (pypiserver().await, Packages::PypiTools.installed())
    else {
        return;
    };
    // It knows twine by its User-Agent.
    twine(upstream, PYPISERVER, tools, &["HTTPError: 400"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twine_publishes_through_the_gateway_to_devpi() {
    let (Some(upstream), Some(tools)) = (devpi().await, Packages::PypiTools.installed()) else {
        return;
    };
    // The reason is in the first line of devpi's answer.
    let exists = ["HTTPError: 409", "already exists in non-volatile index"];
    twine(upstream, DEVPI, tools, &exists).await;
}
