//! `carnet apply`, `carnet export` and `carnet policy lint`: what they show before they act, what a package owner may do, what
//! one failure leaves undone.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{
    Finished, ServerProcess, TestDb, TestKey, carnet, finished, first_start, free_address, may_skip,
};

/// A folder with a server's data, and the environment of its commands.
struct Place {
    db: TestDb,
    settings: Vec<(String, String)>,
}

impl Place {
    async fn new() -> Self {
        let db = TestDb::new().await;
        let settings = [
            ("CARNET_DATABASE__URL", db.url().to_owned()),
            ("CARNET_DATA_DIR", db.folder().display().to_string()),
            ("CARNET_INSECURE__ALLOW_HTTP_LOOPBACK", "true".to_owned()),
        ];
        let settings = settings
            .map(|(name, value)| (name.to_owned(), value))
            .into();
        let place = Self { db, settings };
        let borrowed: Vec<(&str, &str)> = place
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        first_start(place.folder(), &borrowed);
        place
    }

    fn folder(&self) -> &Path {
        self.db.folder()
    }

    fn write(&self, name: &str, text: impl ToString) {
        std::fs::write(self.folder().join(name), text.to_string()).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder().join(name)).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = carnet();
        command
            .current_dir(self.folder())
            .args(arguments)
            .envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    fn carnet(&self, arguments: &[&str]) -> Finished {
        finished(self.command(arguments).output().unwrap())
    }

    /// The same on a terminal, with this answer typed. `None` if the machine has no `script`.
    fn on_terminal(&self, arguments: &[&str], answer: &str) -> Option<Finished> {
        self.on_terminal_after(arguments, answer, None)
    }

    /// The same, and the answer is typed once the plan was shown and this was done.
    fn on_terminal_after(
        &self,
        arguments: &[&str],
        answer: &str,
        before: Option<&dyn Fn(&Self)>,
    ) -> Option<Finished> {
        let binary = carnet().get_program().to_str().unwrap().to_owned();
        let line = [&[binary.as_str()], arguments].concat().join(" ");
        let mut script = Command::new("script");
        script
            .current_dir(self.folder())
            .args(["-qec", &line, "/dev/null"])
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let Ok(mut child) = script.spawn() else {
            may_skip("script (util-linux)");
            return None;
        };
        let mut typed = child.stdin.take().unwrap();
        if let Some(before) = before {
            let shown = child.stdout.as_mut().unwrap();
            let (mut text, mut byte) = (Vec::new(), [0]);
            while !text.ends_with(b"[y/N]") && shown.read(&mut byte).unwrap() == 1 {
                text.push(byte[0]);
            }
            before(self);
        }
        typed.write_all(format!("{answer}\n").as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        drop(typed);
        Some(finished(done))
    }

    /// Starts a server here and returns it with its URL.
    async fn serve(&mut self) -> ServerProcess {
        let address = free_address();
        self.settings
            .push(("CARNET_ISSUER".to_owned(), format!("http://{address}")));
        let settings: Vec<(&str, &str)> = self
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        ServerProcess::start_at(self.folder(), &address, &settings).await
    }

    /// Applies a file over the server, which then knows the objects at once.
    fn apply_at(&self, server: &ServerProcess, file: &str) {
        let token = self.token("admin");
        let applied = self.carnet(&[
            "apply",
            "-f",
            file,
            "--server",
            &server.url,
            "--token",
            &token,
        ]);
        assert_eq!(applied.code, 0, "{applied:?}");
    }

    fn token(&self, scope: &str) -> String {
        let made = self.carnet(&["admin-token", "--scope", scope]);
        assert_eq!(made.code, 0, "{made:?}");
        made.stdout.trim().to_owned()
    }
}

/// A platform whose keys need not be fetched, two principals, a registry and a rule of each.
fn objects() -> Value {
    let keys = json!({ "source": "static", "jwks": { "keys": [TestKey::rsa(0).jwk()] } });
    let rule = |principal: &str, repository: &str| {
        json!({
            "principal": principal, "trusted_issuer": "github",
            "match": { "workflow_file": "release.yml", "repository": repository, "environment": "pypi" },
            "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] }],
        })
    };
    json!({
        "principals": { "octo-org": { "kind": "organization" }, "eve": { "kind": "user" } },
        "trusted_issuers": { "github": { "profile": "github-actions", "issuer": "https://ci.test", "keys": keys } },
        "resource_servers": { "pypi": { "resource": "https://registry.test/pypi/", "actions": ["publish", "create"] } },
        "federated_credentials": {
            "octo-release": rule("octo-org", "octo-org/octo-repo"), "eve-release": rule("eve", "eve/repo"),
        },
    })
}

/// Changes some values, by JSON Pointer.
fn with(mut document: Value, changed: &[(&str, Value)]) -> Value {
    for (pointer, value) in changed {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[name] = value.clone();
    }
    document
}

const RULE: &str = "/federated_credentials/octo-release";

#[tokio::test]
async fn apply_shows_each_changed_member_before_it_is_made() {
    let place = Place::new().await;
    place.write("a.json", objects());
    let made = place.carnet(&["apply", "-f", "a.json"]);
    assert_eq!(made.code, 0, "{made:?}");
    for line in [
        "create principals.octo-org\n  + /kind: \"organization\"\n",
        "create federated_credentials.octo-release\n  + /principal: \"octo-org\"\n",
        "  + /match: {\"workflow_file\":\"release.yml\",\"repository\":\"octo-org/octo-repo\",\"environment\":\"pypi\"}\n",
    ] {
        assert!(made.stdout.contains(line), "{line}: {}", made.stdout);
    }
    let changed = with(
        objects(),
        &[
            (
                &format!("{RULE}/permissions/0/packages"),
                json!(["widgets", "evil-*"]),
            ),
            (&format!("{RULE}/match/environment"), json!("other")),
            (&format!("{RULE}/match/ref"), json!("refs/heads/main")),
            (&format!("{RULE}/permissions/0/actions"), json!([])),
            (&format!("{RULE}/permissions/0/actions"), json!(["create"])),
            ("/resource_servers/pypi/token_lifetime_seconds", json!(600)),
        ],
    );
    place.write("b.json", &changed);
    let expected = "update resource_servers.pypi\n  ~ /token_lifetime_seconds: 900 -> 600\n";
    let lines = [
        "  + /permissions/0/packages/1: \"evil-*\"\n",
        "  - /permissions/0/actions/0: \"publish\"\n  + /permissions/0/actions/0: \"create\"\n",
        "  ~ /match/environment: \"pypi\" -> \"other\"\n",
        "  + /match/ref: \"refs/heads/main\"\n",
    ];
    let planned = place.carnet(&["apply", "-f", "b.json", "--dry-run"]);
    let applied = place.carnet(&["apply", "-f", "b.json"]);
    assert!(
        (planned.code, applied.code) == (1, 0),
        "{planned:?} {applied:?}"
    );
    for shown in [&planned.stdout, &applied.stdout] {
        let rule = shown
            .split("update federated_credentials.octo-release\n")
            .nth(1);
        assert!(shown.contains(expected), "{shown}");
        for line in lines {
            assert!(rule.unwrap().contains(line), "{line}: {shown}");
        }
        assert!(
            !shown.contains("updated_at") && !shown.contains("eve-release"),
            "{shown}"
        );
    }
    assert!(
        planned
            .stdout
            .contains("2 to do, 4 unchanged, 0 would be refused"),
        "{planned:?}"
    );
    assert!(
        applied
            .stdout
            .contains("2 done, 4 unchanged, 0 failed, 0 skipped"),
        "{applied:?}"
    );

    // For programs, the same as JSON Pointers and values.
    place.write("a.json", objects());
    let back = place.carnet(&["apply", "-f", "a.json", "--dry-run", "--json"]);
    let back: Value = serde_json::from_str(&back.stdout).unwrap();
    let rule = &back["steps"][1];
    assert_eq!(
        (&rule["name"], &rule["action"]),
        (&json!("octo-release"), &json!("update"))
    );
    let changes = rule["changes"].as_array().unwrap();
    for change in [
        json!({ "pointer": "/match/environment", "old": "other", "new": "pypi" }),
        json!({ "pointer": "/match/ref", "old": "refs/heads/main" }),
        json!({ "pointer": "/permissions/0/packages/1", "old": "evil-*" }),
    ] {
        assert!(changes.contains(&change), "{change}: {changes:?}");
    }
}

#[tokio::test]
async fn a_change_that_drops_pins_and_an_object_that_needs_a_new_one_are_shown_too() {
    let place = Place::new().await;
    place.write("a.json", objects());
    assert_eq!(place.carnet(&["apply", "-f", "a.json"]).code, 0);
    // The rule moves to a registry that the same plan makes, with an action that the plan adds to the old one.
    let changed = with(
        objects(),
        &[
            (
                "/resource_servers/crates",
                json!({ "resource": "https://registry.test/crates/", "actions": ["publish"] }),
            ),
            (
                "/resource_servers/pypi/actions",
                json!(["publish", "create", "yank"]),
            ),
            (
                &format!("{RULE}/permissions/0/resource_server"),
                json!("crates"),
            ),
            (
                "/federated_credentials/eve-release/permissions/0/actions",
                json!(["yank"]),
            ),
        ],
    );
    place.write("b.json", &changed);
    let planned = place.carnet(&["apply", "-f", "b.json", "--dry-run"]);
    assert!(
        planned
            .stdout
            .contains("4 to do, 3 unchanged, 0 would be refused")
            && planned
                .stdout
                .contains("~ /permissions/0/resource_server: \"pypi\" -> \"crates\""),
        "{planned:?}"
    );
    let applied = place.carnet(&["apply", "-f", "b.json"]);
    assert!(
        applied.code == 0 && applied.stdout.contains("4 done"),
        "{applied:?}"
    );
}

#[tokio::test]
async fn withdrawing_vouched_is_a_change_that_apply_shows_and_makes() {
    let place = Place::new().await;
    place.write("a.json", objects());
    assert_eq!(place.carnet(&["apply", "-f", "a.json"]).code, 0);
    let changed = with(objects(), &[(&format!("{RULE}/vouched"), json!(false))]);
    place.write("b.json", &changed);
    let applied = place.carnet(&["apply", "-f", "b.json"]);
    assert!(
        applied.code == 0
            && applied.stdout.contains(
                "update federated_credentials.octo-release\n  ~ /vouched: true -> false\n"
            ),
        "{applied:?}"
    );
    // A file without the member changes nothing.
    let same = place.carnet(&["apply", "-f", "a.json"]);
    assert!(same.stdout.contains("0 done, 6 unchanged"), "{same:?}");
}

#[tokio::test]
async fn without_a_terminal_only_deletions_need_yes() {
    let place = Place::new().await;
    place.write("a.json", objects());
    assert_eq!(place.carnet(&["apply", "-f", "a.json"]).code, 0);
    let mut fewer = with(
        objects(),
        &[("/principals/octo-org/display_name", json!("Octo"))],
    );
    fewer["federated_credentials"]
        .as_object_mut()
        .unwrap()
        .remove("eve-release");
    place.write("fewer.json", &fewer);
    let refused = place.carnet(&["apply", "-f", "fewer.json", "--prune"]);
    assert!(
        refused.code == 1
            && refused
                .stdout
                .contains("delete federated_credentials.eve-release\n  - /principal: \"eve\"\n")
            && refused.stdout.contains("  - /match: {")
            && refused.stderr.contains("--yes")
            && refused.stderr.contains("nothing was changed"),
        "{refused:?}"
    );
    // Nothing at all was done, not even the update.
    let planned = place.carnet(&["apply", "-f", "fewer.json", "--prune", "--dry-run"]);
    assert!(planned.stdout.contains("2 to do"), "{planned:?}");
    let pruned = place.carnet(&["apply", "-f", "fewer.json", "--prune", "--yes"]);
    assert!(
        pruned.code == 0 && pruned.stdout.contains("2 done"),
        "{pruned:?}"
    );
}

#[tokio::test]
async fn on_a_terminal_apply_asks_and_shows_secrets() {
    let place = Place::new().await;
    place.write(
        "a.json",
        json!({ "clients": { "bot": { "auth_method": "client_secret_basic" } } }),
    );
    for answer in ["n", "", "yess"] {
        let Some(declined) = place.on_terminal(&["apply", "-f", "a.json"], answer) else {
            return;
        };
        assert!(
            declined.code == 1
                && declined.stdout.contains("create clients.bot")
                && declined.stdout.contains("Apply these changes? [y/N]")
                && declined.stdout.contains("nothing was changed")
                && !declined.stdout.contains("cns_"),
            "{answer}: {declined:?}"
        );
    }
    let applied = place.on_terminal(&["apply", "-f", "a.json"], "y").unwrap();
    assert!(
        applied.code == 0
            && applied.stdout.contains("client_secret clients.bot: cns_")
            && applied.stdout.contains("1 done"),
        "{applied:?}"
    );
    place.write(
        "b.json",
        json!({ "principals": { "joel": { "kind": "user" } } }),
    );
    let unasked = place
        .on_terminal(&["apply", "-f", "b.json", "--yes"], "n")
        .unwrap();
    assert!(
        unasked.code == 0 && !unasked.stdout.contains("[y/N]"),
        "{unasked:?}"
    );
}

#[tokio::test]
async fn what_others_changed_after_the_plan_was_shown_is_left_as_it_is() {
    let place = Place::new().await;
    let user = |name: &str| json!({ "kind": "user", "display_name": name });
    let principals = |names: &[(&str, &str)]| {
        let members = names
            .iter()
            .map(|(key, name)| ((*key).to_owned(), user(name)));
        json!({ "principals": members.collect::<serde_json::Map<_, _>>() })
    };
    let before = [
        ("kept", "a"),
        ("edited", "a"),
        ("pruned", "a"),
        ("pruned-too", "a"),
    ];
    place.write("before.json", principals(&before));
    assert_eq!(place.carnet(&["apply", "-f", "before.json"]).code, 0);
    let mine = [("kept", "mine"), ("edited", "mine"), ("new", "mine")];
    place.write("mine.json", principals(&mine));
    let theirs = [
        ("edited", "theirs"),
        ("pruned", "theirs"),
        ("new", "theirs"),
    ];
    place.write("theirs.json", principals(&theirs));
    let arguments = ["apply", "-f", "mine.json", "--prune"];
    let others_apply = |place: &Place| {
        let theirs = place.carnet(&["apply", "-f", "theirs.json", "--yes"]);
        assert_eq!(theirs.code, 0, "{theirs:?}");
    };
    let applied = place.on_terminal_after(&arguments, "y", Some(&others_apply));
    let Some(applied) = applied else { return };
    assert_eq!(applied.code, 1, "{applied:?}");
    for name in ["edited", "pruned", "new"] {
        let failed = format!("failed principals.{name}");
        assert!(applied.stdout.contains(&failed), "{name}: {applied:?}");
    }
    assert!(
        applied.stdout.contains("since the plan was made")
            && applied.stdout.contains("2 done, 0 unchanged, 3 failed"),
        "{applied:?}"
    );
    let exported = place.carnet(&["--json", "export"]);
    let exported: Value = serde_json::from_str(&exported.stdout).unwrap();
    let expected = [
        ("edited", "theirs"),
        ("kept", "mine"),
        ("new", "theirs"),
        ("pruned", "theirs"),
    ];
    let there = exported["principals"].as_object().unwrap();
    let there: Vec<_> = there
        .iter()
        .map(|(key, of)| (key.as_str(), of["display_name"].as_str().unwrap()))
        .collect();
    assert_eq!(there, expected);
    // The next plan shows what there is now.
    let again = place.carnet(&["apply", "-f", "mine.json", "--prune", "--yes"]);
    assert!(
        again.stdout.contains("3 done, 1 unchanged, 0 failed"),
        "{again:?}"
    );
}

#[tokio::test]
async fn client_secrets_go_to_a_new_file_and_into_no_log() {
    let place = Place::new().await;
    let bot = json!({ "auth_method": "client_secret_basic" });
    place.write("a.json", json!({ "clients": { "bot": bot, "other": bot }, "principals": { "joel": { "kind": "user" } } }));
    for json in [&[][..], &["--json"]] {
        let refused = place.carnet(&[&["apply", "-f", "a.json"], json].concat());
        assert!(
            refused.code == 1
                && refused.stderr.contains("--secrets-file FILE")
                && refused.stderr.contains("clients.bot, clients.other"),
            "{refused:?}"
        );
    }
    let planned = place.carnet(&["apply", "-f", "a.json", "--dry-run"]);
    assert!(
        planned.stdout.contains("3 to do"),
        "nothing was made: {planned:?}"
    );
    place.write("old.json", "{}");
    let refused = place.carnet(&["apply", "-f", "a.json", "--secrets-file", "old.json"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("exists already"),
        "{refused:?}"
    );
    assert!(
        (
            place.read("old.json"),
            place
                .carnet(&["apply", "-f", "a.json", "--dry-run"])
                .stdout
                .contains("3 to do")
        ) == ("{}".to_owned(), true)
    );
    let applied = place.carnet(&["apply", "-f", "a.json", "--secrets-file", "s.json"]);
    assert!(
        applied.code == 0 && !applied.stdout.contains("cns_") && !applied.stderr.contains("cns_"),
        "{applied:?}"
    );
    let secrets: Value = serde_json::from_str(&place.read("s.json")).unwrap();
    for client in ["bot", "other"] {
        assert!(
            secrets[client].as_str().unwrap().starts_with("cns_"),
            "{secrets}"
        );
    }
    let mode = std::fs::metadata(place.folder().join("s.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    // TOML by its name; a file is made only for secrets; a client gets one when its method changes to one.
    place.write(
        "b.json",
        json!({ "clients": { "third": { "auth_method": "none" } } }),
    );
    let none = place.carnet(&["apply", "-f", "b.json", "--secrets-file", "s.toml"]);
    assert!(
        none.code == 0 && !place.folder().join("s.toml").exists(),
        "{none:?}"
    );
    place.write("b.json", json!({ "clients": { "third": bot } }));
    assert_eq!(place.carnet(&["apply", "-f", "b.json"]).code, 1);
    let applied = place.carnet(&[
        "apply",
        "-f",
        "b.json",
        "--secrets-file",
        "s.toml",
        "--json",
    ]);
    let summary: Value = serde_json::from_str(&applied.stdout).unwrap();
    assert_eq!(
        (applied.code, &summary["secrets"]),
        (0, &json!([])),
        "{applied:?}"
    );
    assert!(
        place.read("s.toml").starts_with("third = \"cns_"),
        "{}",
        place.read("s.toml")
    );
    // A plan that fails leaves no empty file behind.
    place.write("c.json", json!({ "clients": { "pr": { "auth_method": "client_secret_basic", "resource_server": "none" } } }));
    let failed = place.carnet(&["apply", "-f", "c.json", "--secrets-file", "c-secrets.json"]);
    assert!(
        failed.code == 1 && !place.folder().join("c-secrets.json").exists(),
        "{failed:?}"
    );
}

#[tokio::test]
async fn one_failure_stops_only_what_depends_on_it() {
    let place = Place::new().await;
    // Nothing listens at port 1, so the keys of one platform cannot be fetched.
    let broken = with(
        objects(),
        &[
            (
                "/trusted_issuers/github/keys",
                json!({ "source": "jwks_uri", "uri": "http://127.0.0.1:1/jwks" }),
            ),
            (
                "/trusted_issuers/other",
                objects()["trusted_issuers"]["github"].clone(),
            ),
            ("/trusted_issuers/other/issuer", json!("https://other.test")),
            (
                "/federated_credentials/eve-release/trusted_issuer",
                json!("other"),
            ),
            (
                "/federated_credentials/octo-release/actors",
                json!(["octo-second"]),
            ),
            (
                "/federated_credentials/octo-second",
                objects()["federated_credentials"]["octo-release"].clone(),
            ),
            (
                "/clients",
                json!({ "bot": { "auth_method": "federated", "federated_credentials": ["octo-release"] }, "free": {} }),
            ),
        ],
    );
    place.write("a.json", &broken);
    let applied = place.carnet(&["apply", "-f", "a.json"]);
    assert_eq!(applied.code, 1);
    for line in [
        "failed trusted_issuers.github\n  the keys or the metadata cannot be fetched or used; the document has no other mistake (422)\n",
        "/keys must lead to usable keys: ",
        "skipped federated_credentials.octo-second because trusted issuer github failed\n",
        "skipped federated_credentials.octo-release because trusted issuer github failed\n",
        "skipped clients.bot because trusted issuer github failed\n",
        "6 done, 0 unchanged, 1 failed, 3 skipped",
    ] {
        assert!(applied.stdout.contains(line), "{line}: {}", applied.stdout);
    }
    assert!(!applied.stdout.contains("mistakes"), "{}", applied.stdout);
    let again = place.carnet(&["apply", "-f", "a.json", "--json"]);
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(
        (&again["unchanged"], &again["failed"], &again["done"]),
        (&json!(6), &json!(1), &json!(0))
    );
    assert_eq!(
        again["skipped"][2],
        json!({ "object": "clients.bot", "because": "trusted issuer github failed" })
    );
    let offline = place.carnet(&["apply", "-f", "a.json", "--offline"]);
    assert!(
        offline.code == 0 && offline.stdout.contains("4 done"),
        "{offline:?}"
    );

    // What a rule refers to stays if the rule cannot be deleted or changed.
    let mut gone = broken.clone();
    for (table, name) in [
        ("trusted_issuers", "other"),
        ("principals", "eve"),
        ("federated_credentials", "octo-second"),
    ] {
        gone[table].as_object_mut().unwrap().remove(name);
    }
    // The same name for a rule of another principal: one is made, the other deleted.
    gone["federated_credentials"]["eve-release"]["principal"] = json!("octo-org");
    gone["federated_credentials"]["eve-release"]["trusted_issuer"] = json!("github");
    gone["federated_credentials"]["octo-release"]["match"] = json!({});
    place.write("b.json", &gone);
    let pruned = place.carnet(&["apply", "-f", "b.json", "--prune", "--yes", "--offline"]);
    assert!(
        pruned.code == 1
            && pruned.stdout.contains("4 done, 5 unchanged, 1 failed, 1 skipped")
            && pruned.stdout.contains("failed federated_credentials.octo-release\n  the document has mistakes (422)")
            && pruned.stdout.contains("skipped federated_credentials.octo-second because federated credential octo-release failed"),
        "{pruned:?}"
    );
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_refused_and_skipped() {
    let place = Place::new().await;
    let wrong = with(
        objects(),
        &[
            ("/resource_servers/pypi/actions", json!("publish")),
            (
                "/federated_credentials/eve-release/permissions/0/resource_server",
                json!("nowhere"),
            ),
        ],
    );
    place.write("a.json", &wrong);
    let planned = place.carnet(&["apply", "-f", "a.json", "--dry-run"]);
    assert!(
        planned.code == 1
            && planned.stdout.contains("would be refused resource_servers.pypi\n  /actions must be")
            && planned.stdout.contains("would be refused federated_credentials.eve-release\n  /permissions/0/resource_server must be")
            && planned.stdout.contains(
                "would be skipped federated_credentials.octo-release because resource server pypi would be refused"
            )
            && planned.stdout.contains("6 to do, 0 unchanged, 2 would be refused, 1 would be skipped"),
        "{planned:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_a6__an_owner_lints_exports_and_applies_with_the_owners_token_alone() {
    let mut place = Place::new().await;
    let server = place.serve().await;
    place.write("all.json", objects());
    place.apply_at(&server, "all.json");
    let own = with(
        json!({ "federated_credentials": { "octo-release": objects()["federated_credentials"]["octo-release"] } }),
        &[
            (
                &format!("{RULE}/permissions/0/packages"),
                json!(["widgets", "gadgets"]),
            ),
            (
                "/federated_credentials/octo-nightly",
                objects()["federated_credentials"]["octo-release"].clone(),
            ),
        ],
    );
    place.write("own.json", &own);
    let linted = place.carnet(&["policy", "lint", "own.json"]);
    assert!(
        linted.code == 0 && linted.stdout.contains("nothing to complain about"),
        "{linted:?}"
    );

    for (scope, others) in [("admin:credentials:octo-org", 0), ("admin:credentials", 1)] {
        let token = place.token(scope);
        let remote = ["--server", &server.url, "--token", &token];
        let run = |arguments: &[&str]| place.carnet(&[arguments, &remote].concat());
        let planned = run(&["apply", "-f", "own.json", "--dry-run"]);
        assert!(
            planned.stdout.contains("/permissions/0/packages/1") || scope == "admin:credentials",
            "{planned:?}"
        );
        let applied = run(&["apply", "-f", "own.json"]);
        assert!(
            applied.code == 0 && applied.stdout.contains("0 failed, 0 skipped"),
            "{scope}: {applied:?}"
        );
        let again = run(&["apply", "-f", "own.json"]);
        assert!(
            again.stdout.contains("0 done, 2 unchanged"),
            "{scope}: {again:?}"
        );
        let exported = run(&["export"]);
        assert!(
            exported.code == 0
                && exported
                    .stdout
                    .contains("[federated_credentials.octo-nightly")
                && exported
                    .stdout
                    .matches("[federated_credentials.eve-release]")
                    .count()
                    == others
                && exported.stdout.contains("only federated credentials")
                && !exported.stdout.contains("[trusted_issuers"),
            "{scope}: {exported:?}"
        );
        let of_one = run(&["export", "--principal", "octo-org"]);
        assert!(
            of_one.code == 0 && !of_one.stdout.contains("eve-release"),
            "{of_one:?}"
        );
        place.write("exported.toml", &of_one.stdout);
        let same = run(&["apply", "-f", "exported.toml"]);
        assert!(
            same.code == 0 && same.stdout.contains("0 done, 2 unchanged"),
            "{scope}: {same:?}"
        );
    }

    // Another's objects are refused by name, and the own ones are saved all the same.
    let token = place.token("admin:credentials:octo-org");
    let remote = ["--server", &server.url, "--token", &token];
    let run = |arguments: &[&str]| place.carnet(&[arguments, &remote].concat());
    place.write(
        "changed.json",
        with(
            objects(),
            &[(&format!("{RULE}/match/environment"), json!("new"))],
        ),
    );
    let mixed = run(&["apply", "-f", "changed.json"]);
    assert!(
        mixed.code == 1
            && mixed.stdout.contains(
                "failed trusted_issuers.github\n  the token's scope does not allow this: it is "
            )
            && mixed
                .stdout
                .contains("failed federated_credentials.eve-release\n")
            && mixed
                .stdout
                .contains("1 done, 0 unchanged, 5 failed, 0 skipped"),
        "{mixed:?}"
    );
    let foreign = run(&["export", "--principal", "eve"]);
    assert!(
        foreign.code == 1
            && foreign
                .stderr
                .contains("federated_credentials: the token may not read those of principal eve"),
        "{foreign:?}"
    );
    // Pruning removes the owner's other rules alone, and says what it did not look at.
    let pruned = run(&["apply", "-f", "own.json", "--prune", "--yes"]);
    assert!(
        pruned.code == 0 && pruned.stdout.contains("1 done, 1 unchanged"),
        "{pruned:?}"
    );
    let mut fewer = own.clone();
    fewer["federated_credentials"]
        .as_object_mut()
        .unwrap()
        .remove("octo-nightly");
    place.write("fewer.json", &fewer);
    let pruned = run(&["apply", "-f", "fewer.json", "--prune", "--yes"]);
    assert!(
        pruned.code == 0
            && pruned
                .stdout
                .contains("delete federated_credentials.octo-nightly")
            && pruned.stdout.contains(
                "note: trusted_issuers are not pruned, since the token may not read them"
            )
            && pruned.stdout.contains("1 done, 1 unchanged, 0 failed"),
        "{pruned:?}"
    );
    let left = place.carnet(&["export"]).stdout;
    assert!(
        left.contains("eve-release") && left.contains("[trusted_issuers.github]"),
        "{left}"
    );
    assert_eq!(server.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_a6__no_request_is_made_for_kinds_that_the_owners_token_may_not_read() {
    let mut place = Place::new().await;
    let server = place.serve().await;
    place.write("all.json", objects());
    place.apply_at(&server, "all.json");
    let rule = objects()["federated_credentials"]["octo-release"].clone();
    place.write(
        "own.json",
        json!({ "federated_credentials": { "octo-release": rule } }),
    );
    let token = place.token("admin:credentials:octo-org");
    let remote = ["--server", &server.url, "--token", &token];
    for arguments in [
        &["apply", "-f", "own.json"][..],
        &["apply", "-f", "own.json", "--prune"],
        &["export"],
    ] {
        let done = place.carnet(&[arguments, &remote].concat());
        assert_eq!(done.code, 0, "{done:?}");
    }
    let all = place.token("admin:read");
    let url = format!("{}/admin/v1/audit-events?outcome=refused", server.url);
    let events = reqwest::Client::builder()
        .build()
        .unwrap()
        .get(url)
        .bearer_auth(all);
    let events: Value = events.send().await.unwrap().json().await.unwrap();
    assert_eq!(events["items"], json!([]));
    assert_eq!(server.terminate(), 0);
}

#[tokio::test]
async fn new_a6__rules_are_linted_without_their_trusted_issuer() {
    let place = Place::new().await;
    let rule = |issuer: &str, matcher: Value| {
        json!({ "federated_credentials": { "r": {
            "principal": "joel", "trusted_issuer": issuer, "match": matcher,
            "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] }],
        } } })
    };
    let github = json!({ "repository": "o/r", "workflow_file": "release.yml" });
    let gitlab = json!({ "namespace": "group", "project": "project", "ci_config_path": ".gitlab-ci.yml", "ref": "main", "ref_type": "branch" });
    let typo = json!({ "repository": "o/r", "enviroment": "x" });
    for (issuer, matcher, options, code, told) in [
        (
            "github",
            &github,
            &[][..],
            0,
            "judged by profile github-actions, since trusted issuer github is in no file",
        ),
        (
            "GitHub",
            &github,
            &[],
            0,
            "judged by profile github-actions",
        ),
        (
            "github-actions",
            &github,
            &[],
            0,
            "judged by profile github-actions",
        ),
        ("gitlab", &gitlab, &[], 0, "judged by profile gitlab-ci"),
        ("forge", &gitlab, &[], 0, "judged by profile gitlab-ci"),
        (
            "github",
            &typo,
            &[],
            1,
            "error federated_credentials.r/match/enviroment [invalid]: must be left out",
        ),
        (
            "forge",
            &typo,
            &[],
            0,
            "note federated_credentials.r [not_judged]: not judged: trusted issuer forge is in no file",
        ),
        (
            "forge",
            &typo,
            &["--profile", "github-actions"],
            1,
            "/match/enviroment",
        ),
        (
            "forge",
            &github,
            &["--profile", "github-actions"],
            0,
            "[any_ref]",
        ),
        (
            "forge",
            &github,
            &["--profile", "github"],
            1,
            "there is no such profile; there are aws, ",
        ),
    ] {
        place.write("r.json", rule(issuer, matcher.clone()));
        let linted = place.carnet(&[&["policy", "lint", "r.json"], options].concat());
        let all = format!("{}{}", linted.stdout, linted.stderr);
        assert!(
            linted.code == code && all.contains(told),
            "{issuer} {matcher} {options:?}: {linted:?}"
        );
    }
    // The file of the operator may stand beside the owner's.
    place.write("r.json", rule("forge", typo));
    place.write("op.json", json!({ "trusted_issuers": { "Forge": { "profile": "github-actions", "issuer": "https://f.test" } } }));
    let linted = place.carnet(&["--json", "policy", "lint", "r.json", "op.json"]);
    let findings: Value = serde_json::from_str(&linted.stdout).unwrap();
    let first = &findings["findings"][0];
    assert_eq!(
        (linted.code, &first["is_error"], &first["pointer"]),
        (1, &json!(true), &json!("/match/enviroment"))
    );
}

#[tokio::test]
async fn clients_of_persons_are_linted_with_what_persons_may_do_at_their_registries() {
    let place = Place::new().await;
    let registry = |people: Value| json!({ "resource": "https://registry.test/pypi/", "actions": ["publish", "create"], "people": people });
    let client = |changed: (&str, Value)| {
        let mut client = json!({
            "grant_types": ["authorization_code"], "redirect_uris": ["https://desk.example/callback"],
            "permissions": [{ "resource_server": "PyPI", "actions": ["publish"], "packages": ["widgets"] }],
        });
        client[changed.0] = changed.1;
        json!({ "clients": { "desk": client } })
    };
    let good = || client(("enabled", json!(true)));
    let localhost = client(("redirect_uris", json!(["http://localhost/callback"])));
    for (clients, people, code, told) in [
        (
            good(),
            json!({ "owner": ["publish"] }),
            0,
            "nothing to complain about",
        ),
        (
            good(),
            Value::Null,
            0,
            "warning clients.desk [people_unset]: no token of a person",
        ),
        (
            good(),
            json!({ "owner": ["create"] }),
            0,
            "at PyPI: `people` of the resource server",
        ),
        (
            good(),
            json!({ "owner": ["fly"] }),
            1,
            "error resource_servers.pypi/people/owner [invalid]: must be among",
        ),
        (
            localhost,
            Value::Null,
            1,
            "error clients.desk/redirect_uris/0 [invalid]: must begin with https://",
        ),
    ] {
        place.write("clients.json", clients);
        place.write(
            "servers.json",
            json!({ "resource_servers": { "pypi": registry(people) } }),
        );
        let linted = place.carnet(&["policy", "lint", "clients.json", "servers.json"]);
        assert!(
            linted.code == code && linted.stdout.contains(told),
            "{told}: {linted:?}"
        );
    }
    // Nothing is known of a registry that is in no file.
    place.write("clients.json", good());
    let linted = place.carnet(&["policy", "lint", "clients.json"]);
    assert!(
        linted.stdout.contains("nothing to complain about"),
        "{linted:?}"
    );
}

#[tokio::test]
async fn new_a26__export_is_the_same_text_after_a_round_trip_and_says_what_it_leaves_out() {
    let (here, there) = (Place::new().await, Place::new().await);
    // The members of `match` in one order here and in another there, with a client and its secret, and
    // with one that acts for persons.
    let desk = json!({
        "auth_method": "none", "grant_types": ["authorization_code"], "redirect_uris": ["http://127.0.0.1/callback"],
        "display_name": "Octo’s \"desk\"", "homepage": "https://desk.example/", "first_party": true, "scopes": ["openid"],
        "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] }],
    });
    let clients = json!({ "bot": { "auth_method": "client_secret_basic" }, "desk": desk });
    let people = json!({ "owner": ["publish"], "viewer": [] });
    let changed = [
        ("/clients", clients),
        ("/resource_servers/pypi/people", people),
    ];
    here.write("a.json", with(objects(), &changed));
    let turned = json!({ "environment": "pypi", "repository_owner_id": "65", "repository": "octo-org/octo-repo", "repository_id": "74", "workflow_file": "release.yml" });
    let rule = format!("{RULE}/match");
    here.write("b.json", with(objects(), &[(&rule, turned)]));
    for file in ["a.json", "b.json"] {
        let applied = here.carnet(&["apply", "-f", file, "--secrets-file", "s.json"]);
        assert_eq!(applied.code, 0, "{applied:?}");
    }
    let first = here.carnet(&["export"]).stdout;
    for left_out in [
        "client secrets",
        "signing keys",
        "tokens",
        "audit record",
        "used assertions",
    ] {
        assert!(
            first
                .lines()
                .take_while(|line| line.starts_with('#'))
                .any(|line| line.contains(left_out)),
            "{left_out}: {first}"
        );
    }
    assert!(!first.contains(&here.read("s.json")[15..30]));
    for kept in [
        "redirect_uris = [\"http://127.0.0.1/callback\"]",
        "first_party = true",
        "homepage = ",
    ] {
        assert!(first.contains(kept), "{kept}: {first}");
    }
    for place in [&here, &there] {
        place.write("first.toml", &first);
        let applied = place.carnet(&["apply", "-f", "first.toml", "--secrets-file", "again.json"]);
        assert_eq!(applied.code, 0, "{applied:?}");
        assert_eq!(place.carnet(&["export"]).stdout, first);
    }
    // And from JSON.
    let json = here.carnet(&["export", "--format", "json"]).stdout;
    let third = Place::new().await;
    third.write("first.json", &json);
    let applied = third.carnet(&["apply", "-f", "first.json", "--secrets-file", "s.json"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    assert_eq!(
        (
            third.carnet(&["export", "--format", "json"]).stdout,
            third.carnet(&["export"]).stdout
        ),
        (json, first)
    );
}

#[tokio::test]
async fn apply_says_how_far_it_is_when_it_takes_long() {
    let place = Place::new().await;
    let many: Value = (0..800)
        .map(|n| (format!("p{n}"), json!({ "kind": "user" })))
        .collect::<serde_json::Map<_, _>>()
        .into();
    place.write("a.json", json!({ "principals": many }));
    assert_eq!(place.carnet(&["export"]).code, 0);
    let quiet = place.carnet(&["apply", "-f", "a.json", "--dry-run"]);
    assert_eq!(quiet.stderr, "", "nobody looks: {}", quiet.stderr);
    let told = place.carnet(&["apply", "-f", "a.json", "--progress", "--json"]);
    assert!(
        told.stderr.contains(" of 800 steps executed")
            || told.stderr.contains(" of 800 objects compared"),
        "{}",
        told.stderr
    );
    let summary: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(summary["done"], 800);
}
