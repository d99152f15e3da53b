//! cargo with a key of the front door `crates-io`, which `crates-io-auth-action` asks for.

use std::path::{Path, PathBuf};

use carnet_stand_ins::Protocol;

use super::replays::Replayed;
use super::{Site, write};
use crate::support::{Finished, Tool};

impl Site {
    /// The first call of the action, with a new token.
    fn asks_for_a_crates_key(&self) -> Replayed {
        self.sends_for_a_crates_key(&self.runner.token(&self.host))
    }

    fn sends_for_a_crates_key(&self, jwt: &str) -> Replayed {
        self.replay("crates-io-auth-action-exchange", &[("jwt", jwt)])
    }

    fn crates_key(&self) -> String {
        let answer = self.asks_for_a_crates_key();
        answer.says(200, &["token"]);
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    fn cargo(&self, key: &str) -> Tool {
        let cargo = Path::new(env!("CARGO"));
        let index = format!("sparse+{}index/", self.url);
        self.tool(cargo)
            .with_programs_of(cargo.parent().unwrap())
            .variables([
                ("CARGO_HOME", self.path("cargo-home").display().to_string()),
                ("CARGO_HTTP_CAINFO", self.authority().display().to_string()),
                ("CARGO_REGISTRIES_OURS_INDEX", index),
                ("CARGO_REGISTRIES_OURS_TOKEN", key.to_owned()),
            ])
    }

    /// Writes a crate with these dependencies.
    fn crate_folder(&self, name: &str, version: &str, dependencies: &str) -> PathBuf {
        let folder = self.folder(&format!("{name}-{version}"));
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2024\"\nlicense = \"MIT\"\n\
             description = \"A crate of a test\"\n\n[dependencies]\n{dependencies}\n[workspace]\n"
        );
        write(&folder, "Cargo.toml", manifest);
        write(
            &folder,
            "src/lib.rs",
            "/// Its version.\npub const VERSION: &str = env!(\"CARGO_PKG_VERSION\");\n",
        );
        folder
    }

    fn cargo_publish(&self, key: &str, name: &str, version: &str) -> Finished {
        let publish = ["publish", "--registry", "ours", "--allow-dirty"];
        let folder = self.crate_folder(name, version, "");
        self.cargo(key).in_folder(folder).arguments(publish).run()
    }

    /// Builds and runs a program that depends on the crate.
    fn cargo_runs_with(&self, name: &str, version: &str) {
        let dependency = format!("{name} = {{ version = \"={version}\", registry = \"ours\" }}\n");
        let folder = self.crate_folder("program", "0.1.0", &dependency);
        let program = format!("fn main() {{ println!(\"{{}}\", {name}::VERSION); }}\n");
        write(&folder, "src/main.rs", program);
        let run = self.cargo("").in_folder(folder).arguments(["run"]).run();
        assert_eq!(run.succeeded().stdout, format!("{version}\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cargo_publishes_with_a_key_of_the_action_and_the_program_that_depends_on_it_runs() {
    let site = Site::new(Protocol::CratesIo).await;
    let key = site.crates_key();
    site.cargo_publish(&key, "widgets", "1.0.0").succeeded();
    site.cargo_runs_with("widgets", "1.0.0");
    let other = site.cargo_publish(&key, "gadgets", "1.0.0");
    site.fails_as_shown("tools-cargo", "other package", &other);
    // The step after the job. It may come twice.
    for _ in 0..2 {
        let ended = site.replay("crates-io-auth-action-revoke", &[("key", &key)]);
        assert_eq!(ended.status, 204, "{ended:?}");
    }
    let revoked = site.world.server.audit("outcome=revoked").await;
    assert_eq!(revoked.len(), 1, "{revoked:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_action_for_cargo_is_told_why_it_was_refused() {
    let site = Site::new(Protocol::CratesIo).await;
    let jwt = site.runner.token(&site.host);
    site.sends_for_a_crates_key(&jwt).says(200, &["token"]);
    let again = site.sends_for_a_crates_key(&jwt);
    again.says(400, &[]);
    // What the action prints.
    let detail = |answer: &Replayed| {
        answer.json()["errors"][0]["detail"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    site.prints_as_shown("tools-cargo", "second use", &detail(&again));
    site.wrong_workflow();
    let wrong = site.asks_for_a_crates_key();
    wrong.says(400, &[]);
    site.prints_as_shown("tools-cargo", "wrong workflow", &detail(&wrong));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cargo_publishes_the_first_version_of_a_self_service_rule_with_a_token_that_names_the_principal()
 {
    let site = Site::new(Protocol::CratesIo).await;
    site.rule("fresh", &["fresh"], false).await;
    let refused = site.cargo_publish(&site.crates_key(), "fresh", "1.0.0");
    site.fails_as_shown("tools-cargo", "first version", &refused);
    site.cargo_publish(&site.named_token(), "fresh", "1.0.0")
        .succeeded();
    site.cargo_publish(&site.crates_key(), "fresh", "1.1.0")
        .succeeded();
}
