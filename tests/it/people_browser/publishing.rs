//! A rule from the form to the first package, with npm at the front door.

use std::path::Path;
use std::sync::Arc;

use carnet::clock::{ManualClock, Timestamp};
use carnet_resource_server::{Introspection, Verifier};
use carnet_stand_ins::{Protocol, Registry};
use serde_json::json;
use tokio::net::TcpListener;

use super::console::{PRINCIPAL, add_rule, run, start, write_rule};
use super::{Site, admin};
use crate::publishing_tools::write;
use crate::support::{Finished, Packages, Runner, Tool, node_and_pnpm};

/// A job that publishes with npm in an example registry.
struct Job<'s> {
    site: &'s Site,
    runner: Runner,
    tools: &'s Path,
    /// The registry as `host:port`.
    host: String,
}

impl<'s> Job<'s> {
    /// Starts the registry, and saves it instead of the one that is nowhere.
    async fn start(site: &'s Site, runner: Runner, tools: &'s Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let url = format!("http://{host}/");
        let registry = json!({
            "resource": url, "actions": ["create", "publish"],
            "front_door": { "kind": "npm", "hosts": [host] },
        });
        let address = site.installed.address.clone();
        admin(site, &address, "PUT", "resource-servers/npm", registry).await;
        let client = json!({ "auth_method": "client_secret_basic", "resource_server": "npm" });
        let client = admin(site, &address, "PUT", "clients/registry", client).await;
        let secret = client["client_secret"].as_str().unwrap();
        let verifier = Verifier::new(&site.origin, &url)
            .unwrap()
            .introspecting(Introspection::new("registry", secret));
        let folder = site.installed.db.folder().join("packages");
        std::fs::create_dir(&folder).unwrap();
        let door = site.origin.parse().unwrap();
        let registry = Registry::speaking(Protocol::Npm, verifier, folder);
        let registry = registry.with_front_door(&door).unwrap();
        tokio::spawn(async move { registry.serve(listener, None).await });
        Self {
            site,
            runner,
            tools,
            host,
        }
    }

    fn home(&self) -> std::path::PathBuf {
        let home = self.site.installed.db.folder().join("home");
        std::fs::create_dir_all(&home).unwrap();
        home
    }

    /// The token that the job gets by naming the principal.
    fn named_token(&self) -> String {
        let resource = format!("http://{}/", self.host);
        let arguments = [
            "exchange",
            "--principal",
            "octo-org",
            "--server",
            &self.site.origin,
            "--resource",
            &resource,
        ];
        let tool = Tool::new(env!("CARGO_BIN_EXE_carnet"), &self.home());
        let run = tool
            .variables(self.runner.environment())
            .arguments(arguments)
            .run();
        run.succeeded().stdout.trim_end().to_owned()
    }

    /// npm in the job: with a token, or with none, so that it asks the front door for one.
    fn publishes(&self, version: &str, token: Option<&str>) -> Finished {
        let folder = self.home().join(version);
        let package = json!({
            "name": "@octo/widgets", "version": version, "license": "MIT",
            "repository": { "type": "git", "url": "git+https://github.com/octo-org/octo-repo.git" },
        });
        write(&folder, "package.json", package.to_string());
        let (node, _) = node_and_pnpm(self.tools);
        let npm = self.tools.join("node_modules/npm-11/bin/npm-cli.js");
        let registry = format!("http://{}/", self.host);
        let tool = Tool::new(node.join("node"), &self.home())
            .with_programs_of(&node)
            .variables([
                ("npm_config_registry", registry.as_str()),
                ("npm_config_update_notifier", "false"),
            ])
            .arguments([npm])
            .arguments(["publish", "--access", "public", "--loglevel", "verbose"])
            .in_folder(folder);
        let of_job = self.runner.environment();
        let tool = match token {
            Some(token) => {
                tool.variables([(format!("npm_config_//{}/:_authToken", self.host), token)])
            }
            None => tool.variables(of_job),
        };
        tool.run()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_page_1__a_run_that_names_the_principal_publishes_and_the_page_says_so() {
    let Some((site, _server, platform)) = start().await else {
        return;
    };
    let Some(tools) = Packages::NpmTools.installed() else {
        return;
    };
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = Timestamp::from_seconds(i64::try_from(now.as_secs()).unwrap());
    let runner = Runner::start(&platform, Arc::new(ManualClock::new(now))).await;
    let job = Job::start(&site, runner, tools).await;
    let browser = &site.browser;
    site.sign_in("ada");
    site.is_signed_in("Ada Lovelace");
    write_rule(&site);
    browser.tick("create");
    browser.press("Save");
    browser.shows("Not used yet");

    // npm cannot name anybody by itself, and nobody's rule creates packages for a job that never asked for it.
    let token = job.named_token();
    job.publishes("1.0.0", Some(&token)).succeeded();
    let page = browser.shows("First used by octo-org/octo-repo, run 9001");
    assert!(page.contains("In use"), "{page}");
    browser.examine("rule-first-used");

    // From the first version on, npm gets its key by itself.
    job.publishes("1.1.0", None).succeeded();
    browser.visit(&format!("{PRINCIPAL}/runs?outcome=issued"));
    let runs = browser.shows("octo-org/octo-repo");
    assert_eq!(runs.matches("\tGot a token\t").count(), 2, "{runs}");
    browser.has_no_complaints();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_page_1__a_refused_run_and_the_first_use_are_seen_without_scripts() {
    let Some((site, _server, platform)) = start().await else {
        return;
    };
    let browser = &site.browser;
    browser.open(false);
    add_rule(&site);
    let (status, refused) = run(&site, &platform, "dev").await;
    assert_eq!(status, 400, "{refused}");
    browser.follow("Look again");
    browser.shows("expected refs/heads/main, received refs/heads/dev");
    browser.press_first("tbody th a");
    browser.shows("By the rules of today");
    let (status, token) = run(&site, &platform, "main").await;
    assert_eq!(status, 200, "{token}");
    browser.visit(&format!("{PRINCIPAL}/rules/release"));
    browser.shows("First used by octo-org/octo-repo, run 9001");
    browser.has_no_complaints();
}
