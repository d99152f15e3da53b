//! The tools with which packages are published, unmodified, through the gateway to registries that know nothing of Carnet. See
//! `docs/src/guides/gateway.md`.

mod npm;
mod nuget;
mod pypi;
mod rubygems;

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use carnet::config::{CertificateFiles, ConnectionLimits, Listen, TlsConfig};
use carnet::http::{self, Serving};
use carnet::tls::Certificates;
use carnet_stand_ins::Protocol;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::publishing_tools::{PYPI, Site};
use crate::support::registries::{OperatorCredential, Upstream, credential_of_example, example};
use crate::support::{Authority, Finished, World, as_setting, free_address, write};

/// A registry behind a gateway, and a job that publishes there.
struct Gated {
    site: Site,
    _serving: Serving,
    _files: TempDir,
}

impl Deref for Gated {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

/// The addresses and files of a gateway that is not there yet.
struct Plan {
    protocol: Protocol,
    address: SocketAddr,
    has_tls: bool,
    authority: Authority,
    files: TempDir,
}

impl Plan {
    fn new(protocol: Protocol, has_tls: bool) -> Self {
        Self {
            protocol,
            address: free_address().parse().unwrap(),
            has_tls,
            authority: Authority::new(),
            files: tempfile::tempdir().unwrap(),
        }
    }

    fn scheme(&self) -> &'static str {
        if self.has_tls { "https" } else { "http" }
    }

    fn certificates(&self) -> Option<Arc<Certificates>> {
        if !self.has_tls {
            return None;
        }
        let certificate = self.authority.certify(&["localhost", PYPI], 3600);
        let [certificate_file, key_file] = write(self.files.path(), "gateway", &certificate);
        let certificates = vec![CertificateFiles {
            certificate_file,
            key_file,
        }];
        let opened = Certificates::open(&TlsConfig { certificates });
        Some(Arc::new(opened.unwrap()))
    }

    /// The entry of the registry in the gateway's configuration.
    fn entry(&self, upstream: &str, credential: &OperatorCredential) -> Value {
        let host = format!("localhost:{}", self.address.port());
        let file = self.files.path().join("credential");
        // It may be another one when the gateway starts.
        std::fs::write(&file, credential.secret()).unwrap();
        let credential = match credential {
            OperatorCredential::Basic { user, .. } => {
                json!({ "basic": { "username": user, "password_file": file } })
            }
            OperatorCredential::Bearer(_) => json!({ "bearer": { "token_file": file } }),
            OperatorCredential::Header(name, _) => {
                json!({ "header": { "name": name, "value_file": file } })
            }
        };
        let (kind, hosts) = match self.protocol {
            Protocol::Pypi => ("pypi", vec![host.as_str(), PYPI]),
            Protocol::Npm => ("npm", vec![host.as_str()]),
            Protocol::Nuget => ("nuget", vec![host.as_str()]),
            Protocol::Rubygems => ("rubygems", vec![host.as_str()]),
            other => panic!("{other:?} is not tested here"),
        };
        json!({
            "resource_server": "ours", "protocol": kind, "hosts": hosts, "upstream": upstream,
            "public_url": format!("{}://{host}/", self.scheme()), "credential": credential,
        })
    }

    /// The server, with the gateway's settings.
    async fn site(&self, entry: &Value) -> Site {
        let registries = as_setting(&json!([entry]));
        let settings = [("CARNET_GATEWAY__REGISTRIES", registries.as_str())];
        let port = self.address.port();
        let site = Site::configured(self.protocol, self.scheme(), port, &settings).await;
        std::fs::write(site.authority(), self.authority.pem()).unwrap();
        site.save_objects().await;
        site
    }

    async fn start(self, site: Site) -> Gated {
        let app = &site.world.server.app;
        let gateway = carnet::gateway::set_up(app).unwrap();
        let router = http::gateway_router(app.clone(), gateway);
        let proxies = &app.config.server.trusted_proxies;
        let tls = self.certificates();
        let tls = tls.map(|certificates| http::Tls::new(certificates, proxies));
        let listen = Listen::Address(self.address);
        let limits = ConnectionLimits::default();
        let serving = http::serve(router, &listen, limits, tls.as_ref()).await;
        Gated {
            site,
            _serving: serving.unwrap(),
            _files: self.files,
        }
    }
}

impl Gated {
    /// Waits until a refusal for this reason is on record, by the server or by the gateway, whose
    /// queue is its own.
    async fn comes_to_refuse_for(&self, reason: &str) {
        // All events are of one time, so that the latest of them are any.
        for _ in 0..500 {
            for outcome in ["refused", "publication_refused"] {
                let query = format!("outcome={outcome}&limit=100");
                let events = self.world.server.audit(&query).await;
                if events.iter().any(|event| event["reason"] == reason) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{reason} is not on record");
    }

    /// In front of a registry that runs already.
    async fn before(protocol: Protocol, upstream: &Upstream) -> Self {
        let plan = Plan::new(protocol, true);
        let entry = plan.entry(&upstream.url, &upstream.credential);
        let site = plan.site(&entry).await;
        plan.start(site).await
    }

    /// In front of an example registry.
    async fn before_example(protocol: Protocol, has_tls: bool) -> Self {
        let plan = Plan::new(protocol, has_tls);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let none_yet = credential_of_example(protocol, String::new());
        let site = plan.site(&plan.entry(&url, &none_yet)).await;
        let upstream = example(protocol, listener, &site.world, &site.issuer).await;
        plan.entry(&upstream.url, &upstream.credential);
        plan.start(site).await
    }

    /// Lets runs of the other workflow publish this package, for another principal.
    async fn has_packages_of_another(&self, name: &str) {
        let server = &self.world.server;
        server
            .put("principals/acme", json!({ "kind": "organization" }))
            .await;
        let mut rule = World::rule_document(json!({ "workflow_file": "nightly.yml" }));
        rule["principal"] = json!("acme");
        rule["vouched"] = json!(true);
        rule["permissions"] = json!([{
            "resource_server": "ours", "actions": ["create", "publish"], "packages": [self.package(name)],
        }]);
        server.put("federated-credentials/acme-release", rule).await;
    }
}

/// A tool that gets its own keys, and the installer of its ecosystem.
trait Tools {
    fn publishes(&self, name: &str, version: &str) -> Finished;

    /// The same version once more, with another content where the tool can have one.
    fn publishes_again(&self, name: &str, version: &str) -> Finished;

    fn installs(&self, name: &str, version: &str);
}

/// What a tool prints when it is refused, in parts.
struct Screens<'s> {
    second_use: &'s [&'s str],
    wrong_workflow: &'s [&'s str],
    outside: &'s [&'s str],
    foreign: &'s [&'s str],
    /// The version is there already: the registry's own answer, or the tool's.
    exists: &'s [&'s str],
}

/// What has to hold for each tool, with packages of this family in a registry that other tests use, too.
async fn holds(gated: &Gated, tools: &impl Tools, family: &str, screens: &Screens<'_>) {
    gated
        .rule("octo-release", &[family, &format!("{family}-*")], true)
        .await;
    tools.publishes(family, "1.0.0").succeeded();
    tools.installs(family, "1.0.0");
    tools
        .publishes_again(family, "1.0.0")
        .failed_saying(screens.exists);

    gated.runner.repeats(true);
    let again = tools.publishes(family, "1.1.0");
    again.failed_saying(screens.second_use);
    gated.has_refused_for("replay").await;
    gated.runner.repeats(false);
    gated.wrong_workflow();
    let wrong = tools.publishes(family, "1.1.0");
    wrong.failed_saying(screens.wrong_workflow);
    gated.has_refused_for("workflow_mismatch").await;

    let foreign = format!("{family}-acme");
    gated.has_packages_of_another(&foreign).await;
    tools.publishes(&foreign, "1.0.0").succeeded();
    gated.right_workflow();
    let stolen = tools.publishes(&foreign, "1.1.0");
    stolen.failed_saying(screens.foreign);
    let outside = tools.publishes(&format!("{family}x"), "1.0.0");
    outside.failed_saying(screens.outside);
    gated.comes_to_refuse_for("package_out_of_scope").await;

    tools.publishes(family, "1.1.0").succeeded();
    tools.installs(family, "1.1.0");
}
