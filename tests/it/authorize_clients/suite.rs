//! The scenarios for authorization servers of the conformance suite of the Model Context Protocol.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::Site;
use crate::authorize::REGISTRY;
use crate::support::{Packages, free_address, node_and_pnpm};

/// The suite while it runs. It is killed at the end, since it waits five minutes for a browser.
struct Suite(Child);

impl Drop for Suite {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Suite {
    fn start(site: &Site, packages: &Path, arguments: &[&str]) -> Self {
        let suite = packages.join("node_modules/@modelcontextprotocol/conformance/dist/index.js");
        let child = Command::new(node_and_pnpm(packages).0.join("node"))
            .arg(suite)
            .args(["authorization", "--url", &site.deployed.url])
            .args(["--client-id", "tool"])
            .args(arguments)
            .env("NODE_EXTRA_CA_CERTS", site.deployed.authority_file())
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    /// Lets the person open the URL that the suite prints, and waits for its end.
    async fn run(mut self, site: &Site) -> String {
        let mut stdout = BufReader::new(self.0.stdout.take().unwrap());
        let (mut said, begin) = (String::new(), format!("{}/authorize?", site.deployed.url));
        let url = loop {
            let from = said.len();
            assert!(stdout.read_line(&mut said).unwrap() > 0, "{said}");
            if said[from..].starts_with(&begin) {
                break said[from..].trim().to_owned();
            }
        };
        let back = site.person().follow(&url, "allow").await;
        let browser = reqwest::Client::builder().no_proxy().build().unwrap();
        let page = browser.get(back).send().await.unwrap();
        assert_eq!(page.status(), 200);
        stdout.read_to_string(&mut said).unwrap();
        assert!(self.0.wait().unwrap().success(), "{said}");
        said
    }
}

/// The id, status and message of each check of a scenario: the suite ends well where it skipped one.
fn checks(results: &Path, scenario: &str) -> Vec<Value> {
    let folders = std::fs::read_dir(results).unwrap();
    let names = folders.map(|folder| folder.unwrap().file_name().into_string().unwrap());
    let found: Vec<String> = names.filter(|name| name.contains(scenario)).collect();
    let [folder] = found.as_slice() else {
        panic!("{scenario}: {found:?}");
    };
    let text = std::fs::read(results.join(folder).join("checks.json")).unwrap();
    let checks: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let checks = checks.iter();
    checks
        .map(|check| json!([check["id"], check["status"], check["errorMessage"]]))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scenarios_of_a_foreign_suite_succeed() {
    let Some(packages) = Packages::Conformance.installed() else {
        return;
    };
    let site = Site::new().await;
    for resource in [None, Some(REGISTRY)] {
        let results = site.deployed.world.server.db.folder();
        let results = results.join(resource.map_or("without", |_| "with"));
        let address = free_address();
        let port = address.rsplit(':').next().unwrap();
        let mut arguments = vec!["--port", port, "--output-dir", results.to_str().unwrap()];
        if let Some(resource) = resource {
            arguments.extend(["--resource", resource]);
        }
        let said = Suite::start(&site, packages, &arguments).run(&site).await;
        let metadata = checks(&results, "authorization-server-metadata-endpoint");
        assert_eq!(
            metadata,
            [
                json!(["authorization-server-metadata", "SUCCESS", null]),
                // A warning: such documents are not taken.
                json!([
                    "authorization-server-metadata-cimd",
                    "WARNING",
                    "Authorization server metadata does not include \"client_id_metadata_document_supported\""
                ]),
            ],
            "{said}"
        );
        let grant = checks(&results, "authorization-code-grant");
        assert_eq!(
            grant,
            [json!(["authorization-code-grant", "SUCCESS", null])],
            "{said}"
        );
    }
}
