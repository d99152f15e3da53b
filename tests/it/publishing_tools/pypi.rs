//! uv and twine at the front door `pypi`.

use std::path::{Path, PathBuf};

use carnet_stand_ins::Protocol;

use super::{Site, write};
use crate::support::{Finished, Packages, Tool, tunnel_to};

/// The paths of an index, below its URL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paths {
    pub(crate) upload: &'static str,
    pub(crate) simple: &'static str,
}

/// As PyPI has them.
const OF_PYPI: Paths = Paths {
    upload: "legacy/",
    simple: "simple/",
};

/// The two tools and pip, with a registry.
pub(crate) struct Python<'s> {
    site: &'s Site,
    tools: &'static Path,
    paths: Paths,
    /// Leads twine, which publishes this way at PyPI alone, to the registry.
    tunnel: String,
}

impl<'s> Python<'s> {
    pub(crate) async fn new(site: &'s Site, tools: &'static Path) -> Self {
        Self::with(site, tools, OF_PYPI).await
    }

    /// With an index that has these paths.
    pub(crate) async fn with(site: &'s Site, tools: &'static Path, paths: Paths) -> Self {
        let port: u16 = site.host.split_once(':').unwrap().1.parse().unwrap();
        let tunnel = tunnel_to(([127, 0, 0, 1], port).into()).await;
        Self {
            site,
            tools,
            paths,
            tunnel,
        }
    }

    fn upload_url(&self) -> String {
        format!("{}{}", self.site.url, self.paths.upload)
    }

    fn with_uv(&self, tool: Tool) -> Tool {
        tool.variables([
            ("UV_PUBLISH_URL", self.upload_url()),
            ("UV_PYTHON", self.program("python")),
            ("UV_NO_CONFIG", "1".to_owned()),
        ])
    }

    fn uv(&self) -> Tool {
        self.with_uv(self.site.tool(self.tools.join("bin/uv")))
    }

    fn program(&self, name: &str) -> String {
        self.tools.join("bin").join(name).display().to_string()
    }

    /// Builds the wheel and the source distribution of a package.
    pub(crate) fn built(&self, name: &str, version: &str) -> Vec<PathBuf> {
        let folder = self.site.folder(&format!("{name}-{version}"));
        let project = format!(
            "[project]\nname = \"{name}\"\nversion = \"{version}\"\n\n\
             [build-system]\nrequires = [\"uv_build\"]\nbuild-backend = \"uv_build\"\n"
        );
        write(&folder, "pyproject.toml", project);
        let module = format!("src/{}/__init__.py", name.replace('-', "_"));
        write(&folder, &module, format!("VERSION = \"{version}\"\n"));
        let build = self.uv().arguments(["build", "--offline"]);
        build.in_folder(&folder).run().succeeded();
        let built = std::fs::read_dir(folder.join("dist")).unwrap();
        let mut built: Vec<PathBuf> = built.map(|entry| entry.unwrap().path()).collect();
        built.retain(|path| {
            path.extension()
                .is_some_and(|end| end == "whl" || end == "gz")
        });
        assert_eq!(built.len(), 2, "{built:?}");
        built
    }

    /// `uv publish`, without anything else that could authenticate it.
    pub(crate) fn uv_publish(&self, name: &str, version: &str) -> Finished {
        let publish = ["publish", "--trusted-publishing", "always"];
        let files = self.built(name, version);
        self.uv().arguments(publish).arguments(files).run()
    }

    fn twine(&self) -> Tool {
        let twine = self.site.tool(self.tools.join("bin/twine"));
        twine.variables([("REQUESTS_CA_BUNDLE", self.site.authority())])
    }

    pub(crate) fn twine_upload(&self, name: &str, version: &str) -> Finished {
        let upload = ["upload", "--non-interactive"];
        let twine = self.twine().variables([("HTTPS_PROXY", &self.tunnel)]);
        twine
            .arguments(upload)
            .arguments(self.built(name, version))
            .run()
    }

    /// `uv publish` with this user and password.
    pub(crate) fn uv_publish_as(&self, user: (&str, &str), files: &[PathBuf]) -> Finished {
        let uv = self.with_uv(self.site.tool_outside(self.tools.join("bin/uv")));
        uv.variables([
            ("UV_PUBLISH_USERNAME", user.0),
            ("UV_PUBLISH_PASSWORD", user.1),
        ])
        .arguments(["publish", "--trusted-publishing", "never"])
        .arguments(files)
        .run()
    }

    /// `twine upload` with this user and password.
    pub(crate) fn twine_upload_as(&self, user: (&str, &str), files: &[PathBuf]) -> Finished {
        let upload = ["upload", "--non-interactive", "--repository-url"];
        self.twine()
            .variables([("TWINE_USERNAME", user.0), ("TWINE_PASSWORD", user.1)])
            .arguments(upload)
            .arguments([self.upload_url()])
            .arguments(files)
            .run()
    }

    /// Installs a package with uv.
    pub(crate) fn uv_installs(&self, name: &str, version: &str) {
        self.installed_by(self.uv().arguments(["pip"]), name, version);
    }

    /// Installs a package with pip.
    pub(crate) fn pip_installs(&self, name: &str, version: &str) {
        let python = self.site.tool(self.tools.join("bin/python"));
        let pip = python.arguments(["-m", "pip", "--isolated", "--cert"]);
        self.installed_by(pip.arguments([self.site.authority()]), name, version);
    }

    /// The text of the package's module, as an installer gets it from the registry.
    fn installed_by(&self, installer: Tool, name: &str, version: &str) {
        let target = self.site.folder(&format!("target-{name}-{version}"));
        let index = format!("{}{}", self.site.url, self.paths.simple);
        let wanted = format!("{name}=={version}");
        installer
            .arguments(["install", "--index-url", &index, "--target"])
            .arguments([target.as_os_str(), wanted.as_ref()])
            .run()
            .succeeded();
        let module = target.join(name.replace('-', "_")).join("__init__.py");
        let text = std::fs::read_to_string(module).unwrap();
        assert_eq!(text, format!("VERSION = \"{version}\"\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uv_publishes_installs_ends_its_key_and_says_why_it_was_refused() {
    let Some(tools) = Packages::PypiTools.installed() else {
        return;
    };
    let site = Site::new(Protocol::Pypi).await;
    let python = Python::new(&site, tools).await;
    python.uv_publish("widgets", "1.0.0").succeeded();
    assert_eq!(site.runner.asked(), [site.host.as_str()]);
    // Its key ends with the upload.
    assert_eq!(site.world.server.audit("outcome=revoked").await.len(), 1);
    python.uv_installs("widgets", "1.0.0");

    site.runner.repeats(true);
    let again = python.uv_publish("widgets", "1.1.0");
    site.fails_as_shown("tools-uv", "second use", &again);
    site.runner.repeats(false);
    python.uv_publish("widgets", "1.1.0").succeeded();

    site.wrong_workflow();
    let wrong = python.uv_publish("widgets", "1.2.0");
    site.fails_as_shown("tools-uv", "wrong workflow", &wrong);
    site.right_workflow();
    let other = python.uv_publish("gadgets", "1.0.0");
    site.fails_as_shown("tools-uv", "other package", &other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uv_publishes_the_first_version_of_a_self_service_rule_with_a_token_that_names_the_principal()
 {
    let Some(tools) = Packages::PypiTools.installed() else {
        return;
    };
    let site = Site::new(Protocol::Pypi).await;
    let python = Python::new(&site, tools).await;
    site.rule("fresh", &["fresh"], false).await;
    let refused = python.uv_publish("fresh", "1.0.0");
    site.fails_as_shown("tools-uv", "first version", &refused);
    site.fails_as_shown("tools", "first version", &refused);
    let files = python.built("fresh", "1.0.0");
    let uv = python.with_uv(site.tool_outside(tools.join("bin/uv")));
    uv.variables([("UV_PUBLISH_TOKEN", site.named_token())])
        .arguments(["publish"])
        .arguments(files)
        .run()
        .succeeded();
    // From then on the tool needs no help.
    python.uv_publish("fresh", "1.1.0").succeeded();
    python.uv_installs("fresh", "1.1.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_snippets_of_uv_and_twine_publish_new_packages_of_a_self_service_rule() {
    let Some(tools) = Packages::PypiTools.installed() else {
        return;
    };
    let site = Site::new(Protocol::Pypi).await;
    let python = Python::new(&site, tools).await;
    site.rule("fresh", &["fresh", "other"], false).await;
    for (client, name) in [("uv", "fresh"), ("twine", "other")] {
        let Some(script) = site.offered_job("fresh", client).await else {
            return;
        };
        python.built(name, "1.0.0");
        // Python's program for builds is not among the tools.
        let script = script.replace("python -m build\n", "");
        let step = python.with_uv(site.step(&script));
        step.with_programs_of(&tools.join("bin"))
            .variables([("REQUESTS_CA_BUNDLE", site.authority())])
            .in_folder(site.folder(&format!("{name}-1.0.0")))
            .run()
            .succeeded();
        python.uv_installs(name, "1.0.0");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twine_publishes_and_says_why_it_was_refused() {
    let Some(tools) = Packages::PypiTools.installed() else {
        return;
    };
    let site = Site::new(Protocol::Pypi).await;
    let python = Python::new(&site, tools).await;
    python.twine_upload("widgets", "1.0.0").succeeded();
    // The name of the audience comes from the door, and not from the host that the tool asked.
    assert_eq!(site.runner.asked(), [site.host.as_str()]);
    python.pip_installs("widgets", "1.0.0");

    site.runner.repeats(true);
    let again = python.twine_upload("widgets", "1.1.0");
    site.fails_as_shown("tools-twine", "second use", &again);
    site.runner.repeats(false);
    site.wrong_workflow();
    let wrong = python.twine_upload("widgets", "1.1.0");
    site.fails_as_shown("tools-twine", "wrong workflow", &wrong);
    site.right_workflow();
    let other = python.twine_upload("gadgets", "1.0.0");
    site.fails_as_shown("tools-twine", "other package", &other);

    site.rule("fresh", &["fresh"], false).await;
    let refused = python.twine_upload("fresh", "1.0.0");
    site.fails_as_shown("tools-twine", "first version", &refused);
    let key = site.named_token();
    let files = python.built("fresh", "1.0.0");
    python
        .twine_upload_as(("__token__", &key), &files)
        .succeeded();
    python.twine_upload("fresh", "1.1.0").succeeded();
    python.pip_installs("fresh", "1.1.0");
}
