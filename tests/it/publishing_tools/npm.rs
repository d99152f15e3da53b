//! npm, pnpm and yarn at the front door `npm`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carnet_stand_ins::Protocol;
use serde_json::json;

use super::{Site, write};
use crate::support::{Finished, Packages, Tool, node_and_pnpm};

/// A client of npm's registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// The folder of its version.
    Npm(&'static str),
    Pnpm,
    Yarn,
}

pub(crate) const NPM_11: Client = Client::Npm("npm-11");
pub(crate) const NPM_12: Client = Client::Npm("npm-12");

/// A client with its registry.
pub(crate) struct Node<'s> {
    site: &'s Site,
    client: Client,
    tools: &'s Path,
}

impl<'s> Node<'s> {
    pub(crate) fn new(site: &'s Site, client: Client, tools: &'s Path) -> Self {
        Self {
            site,
            client,
            tools,
        }
    }

    fn tool(&self, in_the_job: bool) -> Tool {
        let site = self.site;
        let (node, pnpm) = node_and_pnpm(self.tools);
        let modules = self.tools.join("node_modules");
        let start = |program: &Path| {
            if in_the_job {
                site.tool(program)
            } else {
                site.tool_outside(program)
            }
        };
        let program = node.join("node");
        let tool = match self.client {
            Client::Npm(version) => {
                start(&program).arguments([modules.join(version).join("bin/npm-cli.js")])
            }
            Client::Pnpm => start(&pnpm),
            Client::Yarn => {
                start(&program).arguments([modules.join("@yarnpkg/cli-dist/bin/yarn.js")])
            }
        };
        let authority = site.authority().display().to_string();
        tool.with_programs_of(&node).variables([
            ("NODE_EXTRA_CA_CERTS", authority.as_str()),
            ("npm_config_registry", &site.url),
            ("npm_config_update_notifier", "false"),
            ("pnpm_config_registry", &site.url),
            ("YARN_NPM_REGISTRY_SERVER", &site.url),
            ("YARN_HTTPS_CA_FILE_PATH", &authority),
            // The stand-in for GitHub has no certificate.
            ("YARN_UNSAFE_HTTP_WHITELIST", "127.0.0.1"),
            ("YARN_ENABLE_TELEMETRY", "0"),
            ("YARN_ENABLE_GLOBAL_CACHE", "0"),
            // It installs no package that is younger than a day.
            ("YARN_NPM_MINIMAL_AGE_GATE", "0"),
            ("YARN_ENABLE_IMMUTABLE_INSTALLS", "0"),
            ("YARN_NODE_LINKER", "node-modules"),
        ])
    }

    /// Writes a package.
    fn package(&self, name: &str, version: &str) -> PathBuf {
        let folder = self.site.folder(&format!("{name}-{version}"));
        self.package_in(&folder, name, version);
        folder
    }

    fn package_in(&self, folder: &Path, name: &str, version: &str) {
        let document = json!({
            "name": self.site.package(name), "version": version, "license": "MIT",
            "repository": { "type": "git", "url": "git+https://github.com/octo-org/octo-repo.git" },
        });
        write(folder, "package.json", document.to_string());
        write(
            folder,
            "index.js",
            format!("module.exports = '{version}'\n"),
        );
        // Where yarn finds that the package is a project of its own.
        write(folder, "yarn.lock", "");
    }

    fn publish_with(&self, tool: Tool, name: &str, version: &str) -> Finished {
        let arguments: &[&str] = match self.client {
            Client::Npm(_) => &["publish", "--access", "public", "--loglevel", "verbose"],
            Client::Pnpm => &["publish", "--access", "public", "--no-git-checks"],
            Client::Yarn => &["npm", "publish", "--access", "public"],
        };
        let folder = self.package(name, version);
        if self.client == Client::Yarn {
            // It publishes nothing that its lockfile does not know.
            let install = self.tool(false).in_folder(&folder);
            install.arguments(["install"]).run().succeeded();
        }
        tool.in_folder(folder).arguments(arguments).run()
    }

    /// Publishes with a token, outside the job.
    pub(crate) fn publish_with_token(&self, token: &str, name: &str, version: &str) -> Finished {
        let npm = format!("npm_config_//{}/:_authToken", self.site.host);
        let variables = [(npm.as_str(), token), ("YARN_NPM_AUTH_TOKEN", token)];
        self.publish_with(self.tool(false).variables(variables), name, version)
    }

    /// Publishes as this user, outside the job.
    pub(crate) fn publish_as(&self, user: (&str, &str), name: &str, version: &str) -> Finished {
        let pair = format!("{}:{}", user.0, user.1);
        let encoded = STANDARD.encode(&pair);
        let npm = format!("npm_config_//{}/:_auth", self.site.host);
        let variables = [
            (npm.as_str(), encoded.as_str()),
            ("YARN_NPM_AUTH_IDENT", &pair),
        ];
        self.publish_with(self.tool(false).variables(variables), name, version)
    }

    pub(crate) fn publish(&self, name: &str, version: &str) -> Finished {
        self.publish_with(self.tool(true), name, version)
    }

    /// Installs a package into a project of its own, from the registry.
    pub(crate) fn installs(&self, name: &str, version: &str) {
        let project = self.site.folder(&format!("project-{name}-{version}"));
        write(&project, "package.json", "{}");
        write(&project, "yarn.lock", "");
        let command = match self.client {
            Client::Npm(_) => "install",
            Client::Pnpm | Client::Yarn => "add",
        };
        let package = self.site.package(name);
        self.tool(false)
            .in_folder(&project)
            .arguments([command, &format!("{package}@{version}")])
            .run()
            .succeeded();
        let module = project.join("node_modules").join(package).join("index.js");
        let text = std::fs::read_to_string(module).unwrap();
        assert_eq!(text, format!("module.exports = '{version}'\n"));
    }

    /// What the page of these tools calls this one.
    fn name(&self) -> &'static str {
        match self.client {
            Client::Npm(_) => "npm",
            Client::Pnpm => "pnpm",
            Client::Yarn => "yarn",
        }
    }

    /// Checks that a publication failed because the door gave no key for this reason, and what the client shows of it.
    async fn got_no_key(&self, run: &Finished, reason: &str, case: &str) {
        match self.client {
            Client::Npm(_) => {}
            // It goes on without a key.
            Client::Pnpm => {
                run.failed_saying(&["no access token was presented"]);
            }
            // It shows no answer of the exchange.
            Client::Yarn => {
                run.failed_saying(&["No authentication configured for request"]);
            }
        }
        if self.client != Client::Yarn || case == "wrong workflow" {
            self.fails_as_shown(case, run);
        }
        self.site.has_refused_for(reason).await;
    }

    fn fails_as_shown(&self, case: &str, run: &Finished) {
        let case = format!("{} {case}", self.name());
        self.site.fails_as_shown("tools-npm", &case, run);
    }
}

/// What has to hold for each client.
async fn publishes(client: Client, audience: fn(&Site) -> String) {
    let Some(tools) = Packages::NpmTools.installed() else {
        return;
    };
    let site = Site::new(Protocol::Npm).await;
    let node = Node::new(&site, client, tools);
    node.publish("widgets", "1.0.0").succeeded();
    assert_eq!(site.runner.asked(), [audience(&site)]);
    node.installs("widgets", "1.0.0");

    site.runner.repeats(true);
    let again = node.publish("widgets", "1.1.0");
    node.got_no_key(&again, "replay", "second use").await;
    site.runner.repeats(false);
    site.wrong_workflow();
    let wrong = node.publish("widgets", "1.1.0");
    node.got_no_key(&wrong, "workflow_mismatch", "wrong workflow")
        .await;
    site.right_workflow();
    // The door knows the package.
    let other = node.publish("gadgets", "1.0.0");
    node.got_no_key(&other, "package_out_of_scope", "other package")
        .await;

    site.rule("fresh", &["fresh"], false).await;
    let refused = node.publish("fresh", "1.0.0");
    node.fails_as_shown("first version", &refused);
    let token = site.named_token();
    node.publish_with_token(&token, "fresh", "1.0.0")
        .succeeded();
    node.publish("fresh", "1.1.0").succeeded();
    node.installs("fresh", "1.1.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_snippet_of_npm_publishes_new_packages_of_a_self_service_rule() {
    let Some(tools) = Packages::NpmTools.installed() else {
        return;
    };
    let site = Site::new(Protocol::Npm).await;
    site.rule("fresh", &["fresh"], false).await;
    let Some(script) = site.offered_job("fresh", "npm").await else {
        return;
    };
    let client = Node::new(&site, NPM_12, tools);
    let (node, program) = (
        node_and_pnpm(tools).0,
        tools.join("node_modules/npm-12/bin/npm-cli.js"),
    );
    let programs = site.folder("programs");
    // Not by a shell: some drop variables that are no names of theirs, such as those of npm's settings.
    let npm = format!(
        "#!{}\nrequire('{}')\n",
        node.join("node").display(),
        program.display()
    );
    write(&programs, "npm", npm);
    let may_run = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(programs.join("npm"), may_run).unwrap();
    site.step(&script)
        .with_programs_of(&programs)
        .variables([("NODE_EXTRA_CA_CERTS", site.authority())])
        .in_folder(client.package("fresh", "1.0.0"))
        .run()
        .succeeded();
    client.installs("fresh", "1.0.0");
}

/// The audience that npm and pnpm ask for: the host without its port.
fn host_alone(_: &Site) -> String {
    "npm:localhost".to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn npm_11_publishes_and_says_why_it_was_refused() {
    publishes(NPM_11, host_alone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn npm_12_publishes_and_says_why_it_was_refused() {
    publishes(NPM_12, host_alone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pnpm_publishes_and_says_why_it_was_refused() {
    publishes(Client::Pnpm, host_alone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yarn_publishes_and_fails_when_it_was_refused() {
    publishes(Client::Yarn, |site| format!("npm:{}", site.host)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_token_publishes_each_package_of_npms_workspaces_once() {
    let Some(tools) = Packages::NpmTools.installed() else {
        return;
    };
    let site = Site::new(Protocol::Npm).await;
    let node = Node::new(&site, NPM_12, tools);
    let names = ["widgets", "widgets-a", "widgets-b"];
    let folder = site.folder("monorepo");
    let workspaces = names.map(|name| format!("packages/{name}"));
    let document = json!({ "name": "monorepo", "private": true, "workspaces": workspaces });
    let token = site.runner.token("npm:localhost");
    let publish = |version: &str| {
        write(&folder, "package.json", document.to_string());
        for name in names {
            node.package_in(&folder.join("packages").join(name), name, version);
        }
        // The variable of GitLab and CircleCI, which npm reads on GitHub too.
        node.tool(true)
            .variables([("NPM_ID_TOKEN", &token)])
            .in_folder(&folder)
            .arguments(["publish", "--workspaces", "--access", "public"])
            .arguments(["--loglevel", "verbose"])
            .run()
    };
    publish("1.0.0").succeeded();
    assert_eq!(site.runner.asked().len(), 1);
    for name in names {
        node.installs(name, "1.0.0");
    }
    publish("1.1.0").failed_saying(&["replay", "ENEEDAUTH"]);
}
