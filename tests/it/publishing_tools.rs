//! The tools with which packages are published, unmodified, against the front doors and the example registry: see
//! `docs/src/reference/clients-tested.md`.
//!
//! A tool runs as in a job of GitHub Actions: with an empty home, and with the variables of a runner that gives it identity tokens.
//! It speaks https to the registry, which sends requests for keys on to Carnet.

mod crates_io;
mod direct;
pub(crate) mod npm;
pub(crate) mod nuget;
mod proxy;
pub(crate) mod pypi;
mod registries;
mod releases;
mod replays;
pub(crate) mod rubygems;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use carnet::http::{Serving, serve_on};
use carnet_resource_server::{Introspection, Verifier};
use carnet_stand_ins::{Protocol, Registry, Tls};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use super::documents::read;
use crate::support::{
    Authority, Claims, Finished, Runner, Secure, TestServer, Tool, World, may_skip,
};

/// A host that twine accepts for its trusted publishing. It takes no other.
pub(crate) const PYPI: &str = "upload.pypi.org";

/// A registry with a front door at Carnet, and a job that publishes there.
pub(crate) struct Site {
    pub(crate) world: Carnet,
    pub(crate) runner: Runner,
    /// The registry as `host:port`.
    pub(crate) host: String,
    /// Its URL, which is also the resource URI, with a slash at the end.
    pub(crate) url: String,
    /// Carnet's issuer identifier.
    pub(crate) issuer: String,
    protocol: Protocol,
    /// The scope of its packages, where the protocol has scopes.
    pub(crate) scope: &'static str,
}

/// The server, in plain http behind the registry or with TLS of its own.
pub(crate) enum Carnet {
    Plain { world: World, _serving: Serving },
    Secure(Secure),
}

impl Deref for Carnet {
    type Target = World;

    fn deref(&self) -> &World {
        match self {
            Self::Plain { world, .. } => world,
            Self::Secure(secure) => &secure.world,
        }
    }
}

/// Writes a file of a project, in a folder that may not be there yet.
pub(crate) fn write(folder: &Path, name: &str, text: impl AsRef<str>) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text.as_ref()).unwrap();
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() as i64
}

impl Site {
    /// With TLS.
    async fn new(protocol: Protocol) -> Self {
        Self::with(protocol, true).await
    }

    async fn with(protocol: Protocol, tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls { "https" } else { "http" };
        let site = Self::at(protocol, scheme, port).await;
        let door: Url = site.issuer.parse().unwrap();
        let registry = site.registry().await.with_front_door(&door).unwrap();
        let tls = tls.then(|| site.certificate());
        tokio::spawn(async move { registry.serve(listener, tls).await });
        site
    }

    /// Carnet for a registry that is reached at this port of the machine.
    async fn at(protocol: Protocol, scheme: &str, port: u16) -> Self {
        Self::configured(protocol, scheme, port, &[]).await
    }

    /// The same with these settings.
    pub(crate) async fn configured(
        protocol: Protocol,
        scheme: &str,
        port: u16,
        more: &[(&str, &str)],
    ) -> Self {
        let carnet = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = carnet.local_addr().unwrap().to_string();
        let issuer = format!("http://{address}");
        let settings = [
            ("CARNET_ISSUER", issuer.as_str()),
            ("CARNET_SERVER__LISTEN", &address),
        ];
        let settings = [&settings, more].concat();
        let world = World::on(TestServer::at(now(), &settings).await).await;
        let serving = serve_on(world.server.router.clone(), carnet);
        let host = format!("localhost:{port}");
        Self {
            runner: Runner::start(&world.gh, world.server.clock.clone()).await,
            url: format!("{scheme}://{host}/"),
            host,
            issuer,
            protocol,
            scope: "octo",
            world: Carnet::Plain {
                world,
                _serving: serving,
            },
        }
    }

    /// The registry, with its rules at Carnet.
    async fn registry(&self) -> Registry {
        let secret = self.save_objects().await;
        let verifier = Verifier::new(&self.issuer, &self.url)
            .unwrap()
            .introspecting(Introspection::new("registry", secret));
        Registry::speaking(self.protocol, verifier, self.folder("packages"))
    }

    /// Saves the registry with its front door, the client that it is, and its rules; the client's secret.
    pub(crate) async fn save_objects(&self) -> String {
        let server = &self.world.server;
        let kind = match self.protocol {
            Protocol::Pypi => "pypi",
            Protocol::Npm => "npm",
            Protocol::CratesIo => "crates-io",
            Protocol::Rubygems => "rubygems",
            Protocol::Nuget => "nuget",
            Protocol::Generic => panic!("a protocol without a front door"),
        };
        let mut hosts = vec![self.host.as_str()];
        hosts.extend((self.protocol == Protocol::Pypi).then_some(PYPI));
        let names = match self.protocol {
            Protocol::Pypi => "pep503",
            Protocol::CratesIo => "cargo",
            Protocol::Nuget => "ascii_case_insensitive",
            _ => "exact",
        };
        let document = json!({
            "resource": self.url, "actions": ["create", "publish"], "package_names": names,
            "front_door": { "kind": kind, "hosts": hosts },
        });
        server.put("resource-servers/ours", document).await;
        self.rule("octo-release", &["widgets", "widgets-*"], true)
            .await;
        let client = json!({ "auth_method": "client_secret_basic", "resource_server": "ours" });
        let saved = server.put("clients/registry", client).await;
        saved["client_secret"].as_str().unwrap().to_owned()
    }

    /// A package of this registry: npm's are in a scope, NuGet's have a prefix.
    pub(crate) fn package(&self, name: &str) -> String {
        match self.protocol {
            Protocol::Npm => format!("@{}/{name}", self.scope),
            Protocol::Nuget => format!("Octo.{name}"),
            _ => name.to_owned(),
        }
    }

    /// Saves a rule: who may publish these packages, vouched for by an administrator or not.
    pub(crate) async fn rule(&self, name: &str, packages: &[&str], vouched: bool) {
        let packages: Vec<String> = packages.iter().map(|name| self.package(name)).collect();
        let mut document = World::rule_document(json!({}));
        document["permissions"] = json!([{ "resource_server": "ours", "actions": ["create", "publish"], "packages": packages }]);
        document["vouched"] = json!(vouched);
        let path = format!("federated-credentials/{name}");
        self.world.server.put(&path, document).await;
    }

    fn certificate(&self) -> Tls {
        let authority = Authority::new();
        let (certificate, key) = authority.certify(&["localhost", PYPI], 3600);
        let save = |name: &str, bytes: Vec<u8>| {
            let path = self.path(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        save("authority.pem", authority.pem().into_bytes());
        let certificate = save("certificate.pem", certificate.to_pem().unwrap());
        let key = save("key.pem", key.private_key_to_pem_pkcs8().unwrap());
        Tls::from_files(&certificate, &key).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.world.server.db.folder().join(name)
    }

    /// An empty folder, or one that was made before.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Where tools find the authority of the registry's certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.path("authority.pem")
    }

    /// A tool in the job, with a home of its own.
    pub(crate) fn tool(&self, program: impl AsRef<Path>) -> Tool {
        self.tool_outside(program)
            .variables(self.runner.environment())
    }

    /// A tool on somebody's own machine.
    fn tool_outside(&self, program: impl AsRef<Path>) -> Tool {
        let program = program.as_ref();
        let name = program.file_stem().unwrap().display();
        let home = self.folder(&format!("home-{name}"));
        Tool::new(program, &home).variables([("SSL_CERT_FILE", self.authority())])
    }

    /// What the job does for the first version of a package of a rule that nobody vouched for: it exchanges its token by itself,
    /// naming the principal.
    pub(crate) fn named_token(&self) -> String {
        let exchange = ["exchange", "--principal", "joel", "--server", &self.issuer];
        let run = self
            .tool(env!("CARGO_BIN_EXE_carnet"))
            .arguments(exchange)
            .arguments(["--resource", &self.url])
            .run();
        run.succeeded().stdout.trim_end().to_owned()
    }

    /// The job that the server offers for new packages of a rule, as a script in bash. None where the machine lacks what it takes
    /// and that is allowed.
    pub(crate) async fn offered_job(&self, rule: &str, client: &str) -> Option<String> {
        let path = format!("federated-credentials/{rule}/snippets");
        let found = self.world.server.admin("GET", &path, Value::Null).await;
        let found = found.json();
        let mut snippets = found["snippets"].as_array().unwrap().iter();
        let named = |snippet: &&Value| {
            snippet["client"] == client && snippet["packages"] == "new_and_existing"
        };
        let snippet = snippets.find(named).unwrap_or_else(|| panic!("{found}"));
        let [language, text] =
            ["language", "text"].map(|member| snippet[member].as_str().unwrap().to_owned());
        let scripts = crate::snippets_offered::scripts(&[(language, text)])?;
        let script = scripts[0].last().unwrap().clone();
        if !crate::surroundings::is_installed("jq") {
            may_skip("jq");
            return None;
        }
        Some(script)
    }

    /// A script as a step of the job.
    pub(crate) fn step(&self, script: &str) -> Tool {
        let step = self.tool("/usr/bin/bash");
        step.arguments(["-eo", "pipefail", "-c", script])
    }

    /// The runs from now on are of another workflow.
    pub(crate) fn wrong_workflow(&self) {
        self.runner.claims(|claims: Claims| {
            let other = "octo-org/octo-repo/.github/workflows/nightly.yml@refs/heads/main";
            claims
                .with("workflow_ref", other)
                .with("job_workflow_ref", other)
        });
    }

    /// The runs from now on are of the workflow of the rule.
    pub(crate) fn right_workflow(&self) {
        self.runner.claims(|claims| claims);
    }

    /// Checks that a refusal for this reason was recorded.
    pub(crate) async fn has_refused_for(&self, reason: &str) {
        let query = format!("outcome=refused&reason={reason}");
        let events = self.world.server.audit(&query).await;
        assert!(!events.is_empty(), "{reason}");
    }

    /// Checks that a tool failed and printed what the page of the tool shows of this case.
    #[track_caller]
    pub(crate) fn fails_as_shown(&self, page: &str, case: &str, run: &Finished) {
        run.failed_saying(&[]);
        self.prints_as_shown(page, case, &run.said());
    }

    /// Checks that a text has the parts of the block that a page shows below this comment, in its order. An ellipsis stands for
    /// whatever is not shown.
    #[track_caller]
    pub(crate) fn prints_as_shown(&self, page: &str, case: &str, printed: &str) {
        let text = read(&format!("docs/src/guides/{page}.md"));
        let block = text
            .split_once(&format!("<!-- screen: {case} -->\n"))
            .and_then(|(_, rest)| rest.split("```").nth(1))
            .and_then(|block| block.trim_start().strip_prefix("text\n"))
            .unwrap_or_else(|| panic!("{page} shows no {case}"));
        let shown = block
            .replace("https://carnet.example", &self.issuer)
            .replace("https://registry.example/", &self.url)
            .replace("registry.example", &self.host);
        let mut rest = printed;
        for part in shown.split('…') {
            let part = part.split_whitespace().collect::<Vec<_>>().join(" ");
            let (_, after) = rest
                .split_once(&part)
                .unwrap_or_else(|| panic!("{page}, {case}: {part}\nis not in\n{rest}"));
            rest = after;
        }
    }
}

#[tokio::test]
async fn a_tool_finds_nothing_of_the_user_who_runs_the_tests() {
    let site = Site::at(Protocol::Npm, "https", 1).await;
    let run = site.tool_outside("/usr/bin/env").run();
    let seen: BTreeSet<&str> = run
        .succeeded()
        .stdout
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    let given = [
        "COLUMNS",
        "HOME",
        "LANG",
        "NO_COLOR",
        "PATH",
        "SSL_CERT_FILE",
    ];
    assert_eq!(seen, BTreeSet::from(given));
    let home = site.folder("home-env");
    assert!(run.stdout.contains(&format!("HOME={}\n", home.display())));
    assert_eq!(std::fs::read_dir(home).unwrap().count(), 0);
}
