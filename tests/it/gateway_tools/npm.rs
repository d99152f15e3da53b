//! npm, pnpm and yarn through the gateway to Verdaccio.

use carnet_stand_ins::Protocol;

use super::{Gated, Screens, Tools, holds};
use crate::publishing_tools::npm::{Client, NPM_11, NPM_12, Node};
use crate::support::registries::verdaccio;
use crate::support::{Finished, Packages};

impl Tools for Node<'_> {
    fn publishes(&self, name: &str, version: &str) -> Finished {
        self.publish(name, version)
    }

    fn publishes_again(&self, name: &str, version: &str) -> Finished {
        self.publish(name, version)
    }

    fn installs(&self, name: &str, version: &str) {
        Node::installs(self, name, version);
    }
}

async fn publishes(client: Client, scope: &'static str, screens: &Screens<'_>) {
    let (Some(upstream), Some(tools)) = (verdaccio().await, Packages::NpmTools.installed()) else {
        return;
    };
    let mut gated = Gated::before(Protocol::Npm, upstream).await;
    gated.site.scope = scope;
    let node = Node::new(&gated, client, tools);
    holds(&gated, &node, "widgets", screens).await;
}

/// npm asks for the versions before it publishes.
const OF_NPM: Screens<'_> = Screens {
    second_use: &["the assertion was used before", "ENEEDAUTH"],
    wrong_workflow: &["workflow_file expected release.yml", "ENEEDAUTH"],
    outside: &["widgetsx", "package_out_of_scope", "ENEEDAUTH"],
    foreign: &["E403", "widgets-acme", "owner_lost"],
    exists: &["You cannot publish over the previously published versions: 1.0.0."],
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn npm_11_publishes_through_the_gateway_to_verdaccio() {
    publishes(NPM_11, "npm-11", &OF_NPM).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn npm_12_publishes_through_the_gateway_to_verdaccio() {
    publishes(NPM_12, "npm-12", &OF_NPM).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pnpm_publishes_through_the_gateway_to_verdaccio() {
    // It goes on without a key when it gets none.
    let screens = Screens {
        second_use: &[
            "the assertion was used before",
            "status 403 Forbidden",
            "publishing needs a token",
        ],
        wrong_workflow: &["workflow_file expected release.yml", "status 403 Forbidden"],
        outside: &["package_out_of_scope", "status 403 Forbidden"],
        foreign: &["status 403 Forbidden", "widgets-acme", "owner_lost"],
        exists: &["status 409 Conflict", "this package is already present"],
    };
    publishes(Client::Pnpm, "pnpm", &screens).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yarn_publishes_through_the_gateway_to_verdaccio() {
    // It shows no answer of the exchange.
    let no_key: &[&str] = &["No authentication configured for request"];
    let screens = Screens {
        second_use: no_key,
        wrong_workflow: no_key,
        outside: no_key,
        foreign: &["YN0035", "widgets-acme", "owner_lost"],
        exists: &["this package is already present", "409 (Conflict)"],
    };
    publishes(Client::Yarn, "yarn", &screens).await;
}
