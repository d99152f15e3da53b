//! The tools speak https to Carnet itself, as where a registry's host leads to both: Carnet does TLS in process.

use carnet_stand_ins::Protocol;

use super::npm::{Client, NPM_12, Node};
use super::pypi::Python;
use super::{Carnet, Site};
use crate::support::{Packages, Runner, Secure};

impl Site {
    /// Carnet at the registry's host, with nothing else there.
    async fn of_carnet_alone(protocol: Protocol) -> Self {
        let secure = Secure::new(&[&["localhost"]]).await;
        let host = format!("localhost:{}", secure.address.port());
        let site = Self {
            runner: Runner::start(&secure.world.gh, secure.world.server.clock.clone()).await,
            url: format!("https://{host}/"),
            host,
            issuer: crate::support::CARNET.to_owned(),
            protocol,
            scope: "octo",
            world: Carnet::Secure(secure),
        };
        let Carnet::Secure(secure) = &site.world else {
            unreachable!("it was made here")
        };
        std::fs::write(site.authority(), secure.authority.pem()).unwrap();
        site.save_objects().await;
        site
    }

    async fn keys_issued(&self) -> usize {
        self.world.server.audit("outcome=issued").await.len()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uv_and_the_clients_of_npm_get_their_keys_from_carnet_over_its_own_tls() {
    let (Some(python), Some(node)) = (
        Packages::PypiTools.installed(),
        Packages::NpmTools.installed(),
    ) else {
        return;
    };
    let site = Site::of_carnet_alone(Protocol::Pypi).await;
    let python = Python::new(&site, python).await;
    // There is no registry, so that the upload fails.
    let run = python.uv_publish("widgets", "1.0.0");
    run.failed_saying(&["404"]);
    assert_eq!(site.keys_issued().await, 1);

    let site = Site::of_carnet_alone(Protocol::Npm).await;
    for (number, client) in [NPM_12, Client::Pnpm, Client::Yarn].into_iter().enumerate() {
        let node = Node::new(&site, client, node);
        node.publish("widgets", &format!("1.0.{number}"))
            .failed_saying(&["404"]);
        assert_eq!(site.keys_issued().await, number + 1, "{client:?}");
    }
}
