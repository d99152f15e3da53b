//! `carnet keys` on the database and over HTTP: withdrawing the key that signs, and a new encryption
//! key in place.

use std::path::Path;

use serde_json::Value;

use crate::support::{
    Finished, ServerProcess, TestDb, carnet, finished, first_start, free_address,
};

fn run(folder: &Path, settings: &[(&str, &str)], arguments: &[&str]) -> Finished {
    let mut command = carnet();
    command
        .current_dir(folder)
        .args(arguments)
        .envs(settings.iter().copied());
    finished(command.output().unwrap())
}

/// Rows of a table of keys: `kid` and state, without the header.
fn rows(listing: &str) -> Vec<(String, String)> {
    let mut lines = listing.lines();
    let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(
        header.join(" "),
        "KID ALGORITHM STATE CREATED AT ACTIVATED AT PUBLISHED UNTIL"
    );
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(cells.len(), 6, "{line}");
            (cells[0].to_owned(), cells[2].to_owned())
        })
        .collect()
}

fn active(listing: &str) -> String {
    let found: Vec<String> = rows(listing)
        .into_iter()
        .filter(|(_, state)| state == "active")
        .map(|(kid, _)| kid)
        .collect();
    let [kid] = found.try_into().unwrap();
    kid
}

#[tokio::test]
async fn new_a4__withdrawing_the_active_key_succeeds_and_prints_the_keys_on_the_database() {
    let db = TestDb::new().await;
    let settings = [
        ("CARNET_DATABASE__URL", db.url()),
        ("CARNET_DATA_DIR", db.folder().to_str().unwrap()),
    ];
    first_start(db.folder(), &settings);
    let listed = run(db.folder(), &settings, &["keys", "list"]);
    let kid = active(&listed.stdout);
    let withdrawn = run(db.folder(), &settings, &["keys", "withdraw", &kid]);
    assert!(
        withdrawn.code == 0 && withdrawn.stderr.is_empty(),
        "{withdrawn:?}"
    );
    assert!(!withdrawn.stdout.contains(&kid), "{withdrawn:?}");
    assert_eq!(rows(&withdrawn.stdout).len(), 2);
    let later = run(db.folder(), &settings, &["keys", "list"]);
    assert_eq!(later.stdout, withdrawn.stdout);
}

#[tokio::test]
async fn new_a4__withdrawing_the_active_key_succeeds_and_prints_the_keys_over_http() {
    let db = TestDb::new().await;
    let address = free_address();
    let issuer = format!("http://{address}");
    let settings = [
        ("CARNET_DATABASE__URL", db.url()),
        ("CARNET_DATA_DIR", db.folder().to_str().unwrap()),
        ("CARNET_ISSUER", issuer.as_str()),
        ("CARNET_SERVER__LISTEN", address.as_str()),
    ];
    let _server = ServerProcess::start_at(db.folder(), &address, &settings).await;
    let token = run(db.folder(), &settings, &["admin-token"]).stdout;
    let remotely = |arguments: &[&str]| {
        let target = ["--server", &issuer, "--token", token.trim()];
        run(db.folder(), &[], &[arguments, &target].concat())
    };
    let kid = active(&remotely(&["keys", "list"]).stdout);
    let withdrawn = remotely(&["keys", "withdraw", &kid, "--json"]);
    assert_eq!(withdrawn.code, 0, "{withdrawn:?}");
    let keys: Value = serde_json::from_str(&withdrawn.stdout).unwrap();
    assert!(
        !withdrawn.stdout.contains(&kid) && keys["items"].as_array().unwrap().len() == 2,
        "{keys}"
    );
    // The token was signed by that key.
    let later = remotely(&["keys", "list"]);
    assert!(later.code == 1 && later.stderr.contains("401"), "{later:?}");
}

/// An installation whose encryption key can be changed.
struct Sealed {
    db: TestDb,
    address: String,
}

impl Sealed {
    async fn new() -> Self {
        let db = TestDb::new().await;
        for (name, byte) in [("a", "aa"), ("b", "bb")] {
            std::fs::write(db.folder().join(name), byte.repeat(32)).unwrap();
        }
        Self {
            db,
            address: free_address(),
        }
    }

    /// The settings with this current encryption key and these old ones.
    fn settings(&self, current: &str, old: &[&str]) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.db.folder().join(name).display().to_string();
        let old: Vec<String> = old.iter().map(|name| path(name)).collect();
        vec![
            ("CARNET_DATABASE__URL", self.db.url().to_owned()),
            ("CARNET_DATA_DIR", path("")),
            ("CARNET_ISSUER", format!("http://{}", self.address)),
            ("CARNET_SERVER__LISTEN", self.address.clone()),
            ("CARNET_KEYS__ENCRYPTION_KEY_FILE", path(current)),
            ("CARNET_KEYS__OLD_ENCRYPTION_KEY_FILES", format!("{old:?}")),
        ]
    }

    fn first_start(&self) {
        let settings = self.settings("a", &[]);
        first_start(self.db.folder(), &borrowed(&settings));
    }

    fn run(&self, current: &str, old: &[&str], arguments: &[&str]) -> Finished {
        let settings = self.settings(current, old);
        run(self.db.folder(), &borrowed(&settings), arguments)
    }

    async fn sealed(&self) -> Vec<String> {
        self.db
            .column("SELECT sealed_private FROM signing_key ORDER BY kid")
            .await
    }
}

fn borrowed<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

#[tokio::test]
async fn the_encryption_key_is_changed_in_place_while_a_server_runs_and_tokens_stay_valid() {
    let installed = Sealed::new().await;
    installed.first_start();
    let hook = "[notifications.ops]\nurl = \"https://hooks.test/ops\"\n\
                [identity_providers.corp]\nissuer = \"https://login.test\"\nclient_id = \"carnet\"\n\
                client_secret = \"of the provider\"\nsecond_factor = \"enforced_by_provider\"\n";
    std::fs::write(installed.db.folder().join("hook.toml"), hook).unwrap();
    let apply = [
        "apply",
        "-f",
        "hook.toml",
        "--offline",
        "--secrets-file",
        "made.json",
    ];
    let applied = installed.run("a", &[], &apply);
    assert_eq!(applied.code, 0, "{applied:?}");
    let token = installed.run("a", &[], &["admin-token"]).stdout;
    let keys = installed.run("a", &[], &["keys", "list"]).stdout;
    let before = installed.sealed().await;

    // Without the old key nothing can be opened, and nothing is changed.
    for arguments in [&["keys", "reseal"][..], &["keys", "list"]] {
        let lost = installed.run("b", &[], arguments);
        assert!(
            lost.code == 1 && lost.stderr.contains("encryption_key_file"),
            "{lost:?}"
        );
    }
    assert_eq!(installed.sealed().await, before);

    let settings = installed.settings("b", &["a"]);
    let (folder, address) = (installed.db.folder(), installed.address.as_str());
    let server = ServerProcess::start_at(folder, address, &borrowed(&settings)).await;
    let checked = installed.run("b", &["a"], &["check"]);
    assert!(
        checked.code == 0 && checked.stdout.contains("keys reseal"),
        "{checked:?}"
    );
    let resealed = installed.run("b", &["a"], &["keys", "reseal", "--json"]);
    assert_eq!(
        resealed.stdout.trim(),
        "{\"resealed\":2,\"signing_keys\":2,\"webhook_secrets\":1,\"webhook_secrets_left\":0,\"provider_secrets\":1,\"provider_secrets_left\":0}",
        "{resealed:?}"
    );
    let after = installed.sealed().await;
    assert!(after.iter().all(|sealed| !before.contains(sealed)));

    // The server goes on with the same keys, and takes tokens of before.
    let url = server.url.as_str();
    let target = ["--server", url, "--token", token.trim()];
    let remotely = run(folder, &[], &[&["keys", "list"], &target[..]].concat());
    assert_eq!(remotely.stdout, keys, "{remotely:?}");
    let rotated = run(folder, &[], &[&["keys", "rotate"], &target[..]].concat());
    assert_eq!(rotated.code, 0, "{rotated:?}");
    assert_eq!(server.terminate(), 0);

    // Now the new key alone is enough, and the old one is worth nothing.
    let alone = installed.run("b", &[], &["keys", "list"]);
    assert_eq!(alone.stdout, rotated.stdout, "{alone:?}");
    assert_eq!(installed.run("a", &[], &["keys", "list"]).code, 1);
    let again = installed.run("b", &["a"], &["keys", "reseal"]);
    assert!(
        again.code == 0
            && again
                .stdout
                .starts_with("0 of 3 signing keys and 0 secrets "),
        "{again:?}"
    );
    let checked = installed.run("b", &["a"], &["check"]);
    assert!(
        checked.stdout.contains("not needed any more"),
        "{checked:?}"
    );
    let recorded: Vec<String> = installed
        .db
        .column("SELECT detail FROM audit_event WHERE detail LIKE '%resealed%'")
        .await;
    assert_eq!(recorded.len(), 1, "the second time changed nothing");
}

#[tokio::test]
async fn a_reseal_that_cannot_open_one_key_changes_none() {
    let installed = Sealed::new().await;
    installed.first_start();
    installed
        .db
        .execute("UPDATE signing_key SET sealed_private = 'x' WHERE state = 'next'")
        .await;
    let kid: Vec<String> = installed
        .db
        .column("SELECT kid FROM signing_key WHERE state = 'next'")
        .await;
    let before = installed.sealed().await;
    let failed = installed.run("b", &["a"], &["keys", "reseal"]);
    assert!(
        failed.code == 1 && failed.stderr.contains(&kid[0]),
        "{failed:?}"
    );
    assert_eq!(installed.sealed().await, before);
    // Withdrawn, it is no hindrance.
    let withdrawn = installed.run("b", &["a"], &["keys", "withdraw", &kid[0]]);
    assert_eq!(withdrawn.code, 0, "{withdrawn:?}");
    let resealed = installed.run("b", &["a"], &["keys", "reseal"]);
    assert!(resealed.stdout.starts_with("1 of 2 "), "{resealed:?}");
}
