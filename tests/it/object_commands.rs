//! The commands on single objects, tokens and keys, as operators and owners run them: the built binary, over HTTP and on the database.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use super::documents::read;
use crate::support::{
    FakeIssuer, Finished, GH, JWT_BEARER, ServerProcess, TestDb, TestKey, TestServer, World,
    carnet, carnet_in, finished, free_address, github,
};

const REGISTRY: &str = "https://registry.test/pypi/";

/// A server process and the folder of its operator.
struct Ground {
    db: TestDb,
    server: ServerProcess,
    settings: Vec<(String, String)>,
}

fn objects() -> Value {
    let permissions = json!([{ "resource_server": "pypi", "actions": ["create", "publish"], "packages": ["widgets*"] }]);
    let rule = |principal: &str, file: &str| {
        json!({
            "principal": principal, "trusted_issuer": "github", "permissions": permissions,
            "match": {
                "repository": "octo-org/octo-repo", "repository_owner_id": "65", "repository_id": "74",
                "workflow_file": file,
            },
        })
    };
    json!({
        "principals": { "joel": { "id": "pr_joel", "kind": "user" }, "acme": { "kind": "organization", "external_id": "42" } },
        "trusted_issuers": {
            "github": { "profile": "github-actions", "issuer": GH, "keys": { "source": "static", "jwks": { "keys": [TestKey::rsa(0).jwk()] } } },
            "gone": { "profile": "generic", "issuer": "https://127.0.0.1:1", "allow_private": ["127.0.0.0/8"] },
        },
        "resource_servers": { "pypi": { "resource": REGISTRY, "actions": ["create", "publish"] } },
        "federated_credentials": {
            "octo-release": rule("joel", "release.yml"), "other": rule("joel", "other.yml"), "acmes": rule("acme", "acme.yml"),
        },
        "clients": {
            "pypi-registry": { "auth_method": "client_secret_basic", "resource_server": "pypi" },
            "robot": { "auth_method": "federated", "federated_credentials": ["other"] },
        },
    })
}

impl Ground {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(more: &[(&str, &str)]) -> Self {
        let db = TestDb::new().await;
        let address = free_address();
        let issuer = format!("http://{address}");
        let settings = [
            ("CARNET_DATABASE__URL", db.url()),
            ("CARNET_DATA_DIR", db.folder().to_str().unwrap()),
            ("CARNET_ISSUER", issuer.as_str()),
            ("CARNET_SERVER__LISTEN", address.as_str()),
        ];
        let settings: Vec<(&str, &str)> = [settings.as_slice(), more].concat();
        std::fs::write(db.folder().join("objects.json"), objects().to_string()).unwrap();
        let server = ServerProcess::start_at(db.folder(), &address, &settings).await;
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let settings = settings.iter().map(owned).collect();
        let ground = Self {
            db,
            server,
            settings,
        };
        let applied = ground.run(&[
            "apply",
            "-f",
            "objects.json",
            "--offline",
            "--secrets-file",
            "made.json",
        ]);
        assert_eq!(applied.code, 0, "{applied:?}");
        let get = ["get", "credential", "octo-release"];
        settled(async || ground.remotely("admin:credentials:joel", &get).code == 0)
            .await
            .unwrap();
        ground
    }

    fn folder(&self) -> &Path {
        self.db.folder()
    }

    /// Runs a command on the configured database.
    fn run(&self, arguments: &[&str]) -> Finished {
        let settings = self.settings.iter().map(|(name, value)| (name, value));
        let mut command = carnet();
        command
            .current_dir(self.folder())
            .args(arguments)
            .envs(settings);
        finished(command.output().unwrap())
    }

    /// Runs a command over HTTP with a token of this scope.
    fn remotely(&self, scope: &str, arguments: &[&str]) -> Finished {
        let token = self.run(&["admin-token", "--scope", scope]);
        let mut command = carnet();
        command
            .current_dir(self.folder())
            .args(arguments)
            .args(["--server", &self.server.url])
            .env("CARNET_TOKEN", token.stdout.trim());
        finished(command.output().unwrap())
    }

    /// A job's access token, as soon as the server has read what commands changed in its database.
    async fn token(&self) -> String {
        let mut body = Value::Null;
        settled(async || {
            body = self.ask().await;
            body["access_token"].is_string()
        })
        .await
        .unwrap_or_else(|_| panic!("{body}"));
        body["access_token"].as_str().unwrap().to_owned()
    }

    /// What a job is answered that presents a new assertion.
    async fn ask(&self) -> Value {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs() as i64;
        let claims = github(now).with("aud", self.server.url.clone());
        let assertion = TestKey::rsa(0).sign(&claims.value());
        let form = [
            ("grant_type", JWT_BEARER),
            ("assertion", assertion.as_str()),
        ];
        let url = format!("{}/token", self.server.url);
        let answer = reqwest::Client::new()
            .post(url)
            .form(&form)
            .send()
            .await
            .unwrap();
        answer.json().await.unwrap()
    }
}

/// Waits until the server has read what a command changed in its database, which takes a second.
async fn settled(mut is_known: impl AsyncFnMut() -> bool) -> Result<(), &'static str> {
    for _ in 0..100 {
        if is_known().await {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Err("the server does not know the change after 5 seconds")
}

#[test]
fn the_commands_on_objects_have_help_with_an_example() {
    let folder = std::env::temp_dir();
    for command in [
        "get",
        "show",
        "list",
        "delete",
        "credentials",
        "credentials enable",
        "credentials disable",
        "clients",
        "clients rotate-secret",
        "issuers",
        "issuers refresh-keys",
        "issuers status",
        "tokens",
        "tokens inspect",
        "tokens revoke",
    ] {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = carnet_in(&folder, &words);
        let is_shown = help.stdout.contains("Example:\n  carnet ");
        assert!(help.code == 0 && is_shown, "{command}: {help:?}");
    }
}

fn parsed(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"))
}

#[tokio::test]
async fn objects_of_every_kind_are_listed_and_shown_locally_and_over_http() {
    let ground = Ground::new().await;
    let kinds = [
        ("principals", "principal", "acme", "external_id"),
        ("trusted-issuers", "issuer", "github", "profile"),
        ("resource-servers", "registry", "pypi", "resource"),
        (
            "federated-credentials",
            "credential",
            "octo-release",
            "match",
        ),
        ("clients", "client", "pypi-registry", "auth_method"),
    ];
    for (plural, short, name, member) in kinds {
        for local in [true, false] {
            let run = |arguments: &[&str]| {
                let finished = if local {
                    ground.run(arguments)
                } else {
                    ground.remotely("admin:read", arguments)
                };
                assert_eq!(finished.code, 0, "{arguments:?}: {finished:?}");
                finished
            };
            let listed = run(&["list", plural]);
            let lines: Vec<&str> = listed.stdout.lines().collect();
            assert!(lines[0].starts_with("NAME "), "{listed:?}");
            assert!(
                lines.iter().any(|line| line.starts_with(name)),
                "{listed:?}"
            );
            let items = parsed(&run(&["list", short, "--json"]));
            assert_eq!(items.as_array().unwrap().len() + 1, lines.len(), "{items}");
            let shown = run(&["show", short, name]);
            assert_eq!(shown.stdout, run(&["get", plural, name]).stdout);
            let object = parsed(&run(&["get", short, name, "--json"]));
            assert!(
                object[member] != Value::Null && object["id"] != Value::Null,
                "{object}"
            );
            // What is shown can be applied again, and changes nothing.
            std::fs::write(ground.folder().join("one.toml"), &shown.stdout).unwrap();
            let applied = ground.run(&["apply", "-f", "one.toml", "--dry-run", "--offline"]);
            assert_eq!(applied.code, 0, "{applied:?}\n{}", shown.stdout);
            assert!(shown.stdout.contains("# id: "), "{shown:?}");
        }
    }
    let rules = ground
        .run(&["list", "credentials", "--principal", "joel"])
        .stdout;
    assert!(rules.contains("octo-release") && rules.contains("other") && !rules.contains("acmes"));
    for column in ["PRINCIPAL", "STATE", "LAST USED", "WARNINGS"] {
        assert!(rules.lines().next().unwrap().contains(column), "{rules}");
    }
    let columns = |line: &str| line.find("joel");
    let places: Vec<_> = rules.lines().skip(1).map(columns).collect();
    assert!(
        places.iter().all(|place| *place == rules.find("PRINCIPAL")),
        "{rules}"
    );
    let none = ground.run(&["list", "credentials", "--trusted-issuer", "gone"]);
    assert_eq!((none.code, none.stdout.as_str()), (0, ""), "{none:?}");
    let empty = ground.run(&["list", "credentials", "--trusted-issuer", "gone", "--json"]);
    assert_eq!(parsed(&empty), json!([]));
    // Without a name, get lists.
    let all = ground.run(&["get", "rules"]);
    assert_eq!(all.stdout, ground.run(&["list", "rules"]).stdout);
}

#[tokio::test]
async fn a_kind_is_listed_by_its_own_command_as_well() {
    let ground = Ground::new().await;
    for kind in ["credentials", "clients", "issuers", "notifications"] {
        let (own, general) = (ground.run(&[kind, "list"]), ground.run(&["list", kind]));
        assert_eq!((own.code, &own.stdout), (0, &general.stdout), "{own:?}");
        assert!(
            own.stdout.lines().count() > 1 || kind == "notifications",
            "{own:?}"
        );
    }
}

#[tokio::test]
async fn a_webhook_is_tested_and_its_secret_rotated() {
    let ground = Ground::new().await;
    let hook = json!({ "notifications": { "ops": { "url": "https://hooks.invalid/ops" } } });
    std::fs::write(ground.folder().join("hook.json"), hook.to_string()).unwrap();
    let made = ground.run(&["apply", "-f", "hook.json", "--secrets-file", "first.json"]);
    assert_eq!(made.code, 0, "{made:?}");
    let tried = ground.run(&["notifications", "test", "ops"]);
    assert!(
        tried.code == 1 && tried.stdout.starts_with("not delivered: "),
        "{tried:?}"
    );
    let shown = ground.run(&["get", "notification", "ops"]);
    assert!(
        shown.stdout.contains("# failing_since: ") && shown.stdout.contains("# last_error: "),
        "{shown:?}"
    );
    let rotate = [
        "notifications",
        "rotate-secret",
        "ops",
        "--secrets-file",
        "next",
    ];
    let rotated = ground.run(&rotate);
    let secret = std::fs::read_to_string(ground.folder().join("next")).unwrap();
    let first = std::fs::read_to_string(ground.folder().join("first.json")).unwrap();
    assert!(
        rotated.code == 0 && secret.starts_with("whsec_") && !first.contains(secret.trim()),
        "{rotated:?}"
    );
    assert!(
        rotated.stderr.contains("the old secret stays valid until"),
        "{rotated:?}"
    );
}

#[tokio::test]
async fn lists_follow_pages_to_their_end() {
    let ground = Ground::new().await;
    let principals: serde_json::Map<String, Value> = (0..700)
        .map(|number| (format!("p{number:03}"), json!({ "kind": "user" })))
        .collect();
    let many = json!({ "principals": principals });
    std::fs::write(ground.folder().join("many.json"), many.to_string()).unwrap();
    assert_eq!(ground.run(&["apply", "-f", "many.json"]).code, 0);
    let listed = ground.run(&["list", "principals"]);
    assert_eq!(listed.stdout.lines().count(), 1 + 702);
    let items = parsed(&ground.run(&["list", "principals", "--json"]));
    assert_eq!(items.as_array().unwrap().len(), 702);
}

#[tokio::test]
async fn wrong_usage_of_object_commands_exits_with_2_and_a_no_with_1() {
    let ground = Ground::new().await;
    let unknown = ground.run(&["list", "keys"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
    for kind in [
        "principals",
        "trusted-issuers",
        "resource-servers",
        "federated-credentials",
        "clients",
    ] {
        assert!(unknown.stderr.contains(kind), "{kind}: {unknown:?}");
    }
    for wrong in [
        &["list"][..],
        &["delete", "client"],
        &["delete", "client", "robot"],
        &["list", "clients", "--principal", "joel"],
        &["tokens", "revoke"],
        &["tokens", "revoke", "--token-id", "x", "--principal", "joel"],
        &["credentials", "enable"],
        &["clients", "rotate-secret", "pypi-registry"],
        &[
            "clients",
            "rotate-secret",
            "pypi-registry",
            "--stdout",
            "--secrets-file",
            "x",
        ],
    ] {
        let finished = ground.run(wrong);
        assert_eq!(finished.code, 2, "{wrong:?}: {finished:?}");
    }
    for (no, word) in [
        (&["get", "client", "nobody"][..], "client nobody"),
        (&["get", "client", "a/b?c#d"], "client a/b?c#d"),
        (
            &["delete", "principal", "nobody", "--yes"],
            "principal nobody",
        ),
        (
            &["credentials", "disable", "nobody"],
            "federated credential nobody",
        ),
        (
            &["issuers", "refresh-keys", "nobody"],
            "trusted issuer nobody",
        ),
        (&["issuers", "status", "nobody"], "trusted issuer nobody"),
        (&["tokens", "revoke", "--token-id", "x"], "token x"),
        (
            &["clients", "rotate-secret", "robot", "--stdout"],
            "client robot",
        ),
    ] {
        let finished = ground.run(no);
        assert_eq!(finished.code, 1, "{no:?}: {finished:?}");
        assert!(finished.stderr.contains(word), "{no:?}: {finished:?}");
    }
}

#[tokio::test]
async fn a_deletion_is_confirmed_and_names_what_refers_to_the_object() {
    let ground = Ground::new().await;
    let unsaid = ground.run(&["delete", "client", "robot"]);
    assert!(
        unsaid.code == 2 && unsaid.stderr.contains("--yes"),
        "{unsaid:?}"
    );
    for (arguments, named) in [
        (
            ["principal", "joel"],
            "federated credential joel:octo-release",
        ),
        (["registry", "pypi"], "client pypi-registry"),
        (["issuer", "github"], "federated credential acme:acmes"),
        (["credential", "other"], "client robot"),
    ] {
        let refused = ground.remotely(
            "admin",
            &[&["delete", "--yes"], arguments.as_slice()].concat(),
        );
        assert!(
            refused.code == 1 && refused.stderr.contains(named),
            "{named}: {refused:?}"
        );
        let json = ground.run(&[&["delete", "--yes", "--json"], arguments.as_slice()].concat());
        assert_eq!(
            (json.code, &parsed(&json)["code"]),
            (1, &json!("in_use")),
            "{json:?}"
        );
    }
    let deleted = ground.run(&["delete", "client", "robot", "--yes"]);
    assert_eq!(
        (deleted.code, deleted.stdout.trim()),
        (0, "deleted client robot")
    );
    let deleted = ground.run(&["delete", "rule", "joel:other", "--yes", "--json"]);
    assert_eq!(parsed(&deleted)["deleted"]["kind"], "federated-credentials");
    assert_eq!(ground.run(&["get", "credential", "other"]).code, 1);
}

#[tokio::test]
async fn an_object_in_use_names_all_that_refers_to_it_as_far_as_the_token_may_read() {
    let world = World::new().await;
    for number in 0..7 {
        world.rule(&format!("more-{number}"), json!({})).await;
    }
    let client = json!({ "auth_method": "federated", "federated_credentials": ["octo-release"] });
    world.server.put("clients/robot", client).await;
    let acme = json!({ "kind": "organization", "acts_for": ["joel"] });
    world.server.put("principals/acme", acme).await;
    let own = json!({ "profile": "generic", "issuer": "https://own.test", "owner": "joel" });
    world
        .server
        .admin("PUT", "trusted-issuers/own?validate=offline", own)
        .await;
    let delete = async |scope: &str, path: &str| {
        let answer = world
            .server
            .admin_as(scope, "DELETE", path, Value::Null)
            .await;
        assert_eq!(answer.status, 409, "{}", answer.text());
        answer.json()
    };
    let answer = delete("admin", "principals/joel").await;
    let kinds: Vec<&str> = answer["referrers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds.len(), 10, "{answer}");
    for kind in ["federated-credentials", "principals", "trusted-issuers"] {
        assert!(kinds.contains(&kind), "{answer}");
    }
    let detail = answer["detail"].as_str().unwrap();
    assert!(
        detail.contains("joel:more-0") && detail.contains("5 more"),
        "{detail}"
    );
    let answer = delete("admin", "resource-servers/pypi").await;
    assert_eq!(answer["referrers"].as_array().unwrap().len(), 8, "{answer}");
    // An owner's token does not learn of clients and of the rules of others.
    let owners = delete(
        "admin:credentials:joel",
        "federated-credentials/octo-release",
    )
    .await;
    assert_eq!(owners["referrers"], Value::Null);
    let detail = owners["detail"].as_str().unwrap();
    assert!(
        !detail.contains("robot") && detail.contains("may not read"),
        "{detail}"
    );
}

#[tokio::test]
async fn a_credential_is_switched_off_and_on_again() {
    let ground = Ground::new().await;
    let owner = "admin:credentials:joel";
    let off = ground.remotely(owner, &["credentials", "disable", "octo-release"]);
    assert_eq!(
        off.stdout.trim(),
        "joel:octo-release: active -> disabled",
        "{off:?}"
    );
    let again = parsed(&ground.run(&["credentials", "disable", "joel:octo-release", "--json"]));
    assert_eq!(
        (&again["before"], &again["after"]),
        (&json!("disabled"), &json!("disabled"))
    );
    let on = ground.remotely(owner, &["credentials", "enable", "octo-release"]);
    assert_eq!(
        on.stdout.trim(),
        "joel:octo-release: disabled -> active",
        "{on:?}"
    );
    let stranger = ground.remotely(owner, &["credentials", "disable", "acmes"]);
    assert_eq!(stranger.code, 1, "{stranger:?}");
}

#[tokio::test]
async fn an_owners_token_is_enough_for_the_owners_objects() {
    let ground = Ground::new().await;
    let owner = |arguments: &[&str]| ground.remotely("admin:credentials:joel", arguments);
    let listed = owner(&["list", "credentials"]);
    assert!(
        listed.code == 0 && listed.stdout.contains("octo-release"),
        "{listed:?}"
    );
    assert!(!listed.stdout.contains("acme"), "{listed:?}");
    assert_eq!(owner(&["get", "credential", "octo-release"]).code, 0);
    assert_eq!(owner(&["get", "credential", "acmes"]).code, 1);
    let clients = owner(&["list", "clients"]);
    assert!(
        clients.code == 1 && clients.stderr.contains("scope"),
        "{clients:?}"
    );
    let token = ground.token().await;
    std::fs::write(ground.folder().join("token.txt"), format!("{token}\n")).unwrap();
    let inspected = owner(&["tokens", "inspect", "--token-file", "token.txt"]);
    assert!(
        inspected.code == 0 && inspected.stdout.starts_with("in force\n"),
        "{inspected:?}"
    );
    let revoked = owner(&["tokens", "revoke", "--token-file", "token.txt"]);
    assert!(
        revoked.code == 0 && revoked.stdout.starts_with("ended token "),
        "{revoked:?}"
    );
    assert_eq!(
        owner(&["tokens", "revoke", "--credential", "octo-release"]).code,
        0
    );
    assert_eq!(owner(&["tokens", "revoke", "--principal", "joel"]).code, 0);
    assert_eq!(owner(&["tokens", "revoke", "--principal", "acme"]).code, 1);
    assert_eq!(
        owner(&["delete", "credential", "octo-release", "--yes"]).code,
        0
    );
}

#[tokio::test]
async fn a_rotated_secret_goes_to_a_private_file_or_where_it_was_asked_for() {
    let ground = Ground::new().await;
    let rotate = |more: &[&str]| {
        ground.run(&[&["clients", "rotate-secret", "pypi-registry"], more].concat())
    };
    let silent = rotate(&[]);
    assert!(
        silent.code == 2 && silent.stderr.contains("--secrets-file"),
        "{silent:?}"
    );
    let file = ground.folder().join("secret");
    let rotated = rotate(&["--secrets-file", "secret", "--overlap-seconds", "60"]);
    assert_eq!(rotated.code, 0, "{rotated:?}");
    let first = std::fs::read_to_string(&file).unwrap();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!rotated.stdout.contains(first.trim()) && !rotated.stderr.contains(first.trim()));
    assert!(rotated.stderr.contains("stays valid until"), "{rotated:?}");
    let works = async |secret: &str| {
        let ask = async || {
            let request = reqwest::Client::new()
                .post(format!("{}/introspect", ground.server.url))
                .basic_auth("pypi-registry", Some(secret))
                .form(&[("token", "x")]);
            request.send().await.unwrap().status().as_u16() == 200
        };
        settled(ask).await
    };
    assert_eq!(works(first.trim()).await, Ok(()));
    // Over an existing file, which others may read.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(rotate(&["--secrets-file", "secret", "--json"]).code, 0);
    let second = std::fs::read_to_string(&file).unwrap();
    assert_ne!(first, second);
    assert_eq!(works(second.trim()).await, Ok(()));
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let printed = rotate(&["--stdout"]);
    assert_eq!(works(printed.stdout.trim()).await, Ok(()), "{printed:?}");
    let printed = parsed(&rotate(&["--stdout", "--json"]));
    let secret = printed["client_secret"].as_str().unwrap();
    assert_eq!(works(secret).await, Ok(()));
    // Where the file cannot be made nothing is rotated, and a refusal leaves no file.
    let before = std::fs::read_to_string(&file).unwrap();
    assert_eq!(rotate(&["--secrets-file", "missing/secret"]).code, 1);
    let refused = ground.run(&[
        "clients",
        "rotate-secret",
        "robot",
        "--secrets-file",
        "other",
    ]);
    assert_eq!(refused.code, 1);
    assert!(!ground.folder().join("other").exists() && !ground.folder().join("other.new").exists());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    let secrets = parsed(&ground.run(&["get", "client", "pypi-registry", "--json"]));
    assert_eq!(secrets["secrets"].as_array().unwrap().len(), 2, "{secrets}");
}

#[tokio::test]
async fn the_state_of_keys_says_which_platform_fails_since_when() {
    let ground = Ground::new().await;
    let status = ground.run(&["issuers", "status"]);
    assert_eq!(status.code, 1, "{status:?}");
    let line = |name: &str| {
        let line = status.stdout.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{status:?}")).to_owned()
    };
    assert!(line("github ").contains(" ok "), "{status:?}");
    assert!(line("gone ").contains(" failing "), "{status:?}");
    assert!(line("gone: ").contains("127.0.0.1:1"), "{status:?}");
    assert_eq!(ground.run(&["issuers", "status", "github"]).code, 0);
    // A server process says what it knows itself: nothing was needed yet.
    let remote = ground.remotely("admin:read", &["issuers", "status", "--json"]);
    assert_eq!(remote.code, 0, "{remote:?}");
    assert!(
        parsed(&remote)
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["state"] == "not_fetched")
    );
    ground.token().await;
    let failed = ground.remotely("admin", &["issuers", "refresh-keys", "gone"]);
    assert!(
        failed.code == 1 && failed.stderr.contains("trusted issuer gone"),
        "{failed:?}"
    );
    let remote = ground.remotely("admin:read", &["issuers", "status", "--json"]);
    let states = parsed(&remote);
    assert_eq!(
        (remote.code, &states[0]["state"], &states[1]["state"]),
        (1, &json!("ok"), &json!("failing")),
        "{states}"
    );
    let refreshed = ground.remotely("admin", &["issuers", "refresh-keys", "github"]);
    assert!(
        refreshed.code == 0 && refreshed.stdout.starts_with("key "),
        "{refreshed:?}"
    );
}

#[tokio::test]
async fn the_state_of_keys_is_kept_beside_them() {
    let server = TestServer::start().await;
    let platform = FakeIssuer::new(GH, TestKey::rsa(0));
    server.network.add(&platform);
    let document = json!({ "profile": "github-actions", "issuer": GH });
    server.put("trusted-issuers/github", document).await;
    let status = async |server: &TestServer| {
        server
            .admin("GET", "trusted-issuers/github/status", Value::Null)
            .await
            .json()
    };
    let refresh = async || {
        server
            .admin("POST", "trusted-issuers/github/refresh-keys", Value::Null)
            .await
            .status
    };
    let at = |seconds: i64| {
        json!(carnet::clock::Timestamp::from_seconds(server.now() + seconds).to_string())
    };
    let none = status(&server).await;
    assert_eq!(
        (&none["state"], &none["keys"], &none["last_fetch_at"]),
        (&json!("not_fetched"), &Value::Null, &Value::Null)
    );
    assert_eq!(refresh().await, 200);
    let good = status(&server).await;
    assert_eq!(
        (&good["state"], &good["keys"], &good["last_success_at"]),
        (&json!("ok"), &json!(1), &at(0)),
        "{good}"
    );
    assert_eq!(
        (&good["next_fetch_at"], &good["usable_until"]),
        (&at(300), &at(86_400))
    );
    let succeeded = good["last_success_at"].clone();
    platform.answer(500);
    server.clock.advance(600);
    let since = at(0);
    for _ in 0..2 {
        assert_eq!(refresh().await, 502);
        let bad = status(&server).await;
        assert_eq!(
            (
                &bad["state"],
                &bad["failing_since"],
                &bad["last_success_at"]
            ),
            (&json!("failing"), &since, &succeeded),
            "{bad}"
        );
        assert_eq!(
            (&bad["last_fetch_at"], &bad["next_fetch_at"], &bad["keys"]),
            (&at(0), &at(30), &json!(1))
        );
        assert!(bad["last_error"].as_str().unwrap().contains("500"), "{bad}");
        server.clock.advance(60);
    }
    // Keys that are too old are no keys.
    server.clock.advance(86_400);
    assert_eq!(status(&server).await["keys"], 0);
    platform.answer(200);
    assert_eq!(refresh().await, 200);
    let good = status(&server).await;
    assert_eq!(
        (&good["state"], &good["failing_since"], &good["last_error"]),
        (&json!("ok"), &Value::Null, &Value::Null)
    );
    // Each process has its own, and a change of the trusted issuer begins anew.
    let other = server.another_node().await;
    assert_eq!(status(&other).await["state"], "not_fetched");
    server
        .admin(
            "PATCH",
            "trusted-issuers/github",
            json!({ "leeway_seconds": 5 }),
        )
        .await;
    assert_eq!(status(&server).await["state"], "not_fetched");
    // The list says the same, page by page.
    for name in ["a", "b", "z"] {
        let document = json!({ "profile": "generic", "issuer": format!("https://{name}.test"), "enabled": name != "b" });
        server
            .admin(
                "PUT",
                &format!("trusted-issuers/{name}?validate=offline"),
                document,
            )
            .await;
    }
    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server
            .admin(
                "GET",
                &format!("trusted-issuer-status?limit=3{cursor}"),
                Value::Null,
            )
            .await
            .json();
        names.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["trusted_issuer"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(names, ["a", "b", "github", "z"]);
    for wrong in ["limit=0", "limit=501", "limit=x", "who=me"] {
        assert_eq!(
            server
                .admin(
                    "GET",
                    &format!("trusted-issuer-status?{wrong}"),
                    Value::Null
                )
                .await
                .status,
            400
        );
    }
    for scope in ["admin:credentials", "admin:credentials:x"] {
        let answer = server
            .admin_as(
                "admin:credentials",
                "GET",
                "trusted-issuers/github/status",
                Value::Null,
            )
            .await;
        assert_eq!(answer.status, 403, "{scope}");
    }
}

#[tokio::test]
async fn tokens_are_inspected_from_a_file_an_option_or_standard_input_and_never_printed() {
    let ground = Ground::new().await;
    let token = ground.token().await;
    std::fs::write(ground.folder().join("token.txt"), &token).unwrap();
    let piped = |more: &[&str]| {
        let settings = ground.settings.iter().map(|(name, value)| (name, value));
        let input = std::fs::File::open(ground.folder().join("token.txt")).unwrap();
        let mut command = carnet();
        command
            .current_dir(ground.folder())
            .args(["tokens", "inspect"])
            .args(more)
            .envs(settings)
            .stdin(Stdio::from(input));
        finished(command.output().unwrap())
    };
    let ways = [
        piped(&[]),
        piped(&["--json"]),
        piped(&["--token-file", "-"]),
        ground.run(&["tokens", "inspect", "--token-file", "token.txt"]),
        ground.run(&["tokens", "inspect", "--access-token", &token]),
        ground.remotely(
            "admin:read",
            &["tokens", "inspect", "--token-file", "token.txt"],
        ),
    ];
    for way in &ways {
        assert_eq!(way.code, 0, "{way:?}");
        assert!(
            way.stdout.contains(REGISTRY) && way.stdout.contains("joel"),
            "{way:?}"
        );
        assert!(!way.stdout.contains(&token) && !way.stderr.contains(&token));
    }
    let claims = parsed(&ways[1])["claims"].clone();
    assert_eq!(claims["principal"]["name"], "joel");
    let id = claims["jti"].as_str().unwrap();
    let revoked = ground.run(&["tokens", "revoke", "--token-id", id]);
    assert!(
        revoked.stdout.contains(id) && revoked.stdout.contains("may accept them until"),
        "{revoked:?}"
    );
    let again = ground.run(&["tokens", "revoke", "--token-id", id]);
    assert!(
        again.code == 0 && again.stdout.contains("had ended before"),
        "{again:?}"
    );
    let over = piped(&[]);
    assert!(
        over.code == 1 && over.stdout.contains("was revoked"),
        "{over:?}"
    );
    let empty = ground.run(&["tokens", "inspect"]);
    assert_eq!(empty.code, 1, "{empty:?}");
    let foreign = ground.run(&["tokens", "inspect", "--access-token", "x.y.z"]);
    assert!(
        foreign.code == 1 && foreign.stdout.starts_with("not a token of this server"),
        "{foreign:?}"
    );
}

#[tokio::test]
async fn new_a14__the_commands_of_the_production_guide_end_a_leaked_token() {
    let guide = read("docs/src/guides/production.md");
    assert!(!guide.contains("cannot be revoked one by one"));
    let section = guide.split("## A token leaked\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let commands: Vec<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("$ carnet "))
        .collect();
    assert!(commands.len() >= 5, "{commands:?}");
    let ground = Ground::new().await;
    for command in commands {
        let token = ground.token().await;
        std::fs::write(ground.folder().join("leaked.txt"), &token).unwrap();
        let claims = parsed(&ground.run(&[
            "tokens",
            "inspect",
            "--token-file",
            "leaked.txt",
            "--json",
        ]))["claims"]
            .clone();
        let command = command
            .replace("JTI", claims["jti"].as_str().unwrap())
            .replace("octo-org:release", "joel:octo-release")
            .replace("octo-org", "joel");
        let arguments: Vec<&str> = command.split_whitespace().collect();
        let run = ground.run(&arguments);
        assert_eq!(run.code, 0, "{command}: {run:?}");
        let inspected = ground.run(&["tokens", "inspect", "--token-file", "leaked.txt"]);
        let ends = command.contains("revoke") || command.contains("disable");
        assert_eq!(inspected.code, i32::from(ends), "{command}: {inspected:?}");
        if command.contains("disable") {
            assert_eq!(
                ground
                    .run(&["credentials", "enable", "joel:octo-release"])
                    .code,
                0
            );
        }
    }
    // As the guide says of an admin token.
    let admin = ground.run(&["admin-token"]).stdout.trim().to_owned();
    let form = [("token", admin.as_str())];
    let answer = reqwest::Client::new()
        .post(format!("{}/revoke", ground.server.url))
        .form(&form);
    assert_eq!(answer.send().await.unwrap().status().as_u16(), 200);
    let inspected = ground.run(&["tokens", "inspect", "--access-token", &admin]);
    assert!(
        inspected.code == 1 && inspected.stdout.contains("was revoked"),
        "{inspected:?}"
    );
}

#[tokio::test]
async fn new_a15__a_repeated_revocation_is_counted_once() {
    let metrics = free_address();
    let ground = Ground::with(&[("CARNET_SERVER__METRICS_LISTEN", &metrics)]).await;
    let counted = async || {
        let text = reqwest::get(format!("http://{metrics}/metrics"))
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("carnet_tokens_revoked_total "));
        line.map_or(0, |count| count.parse::<u32>().unwrap())
    };
    let revoke = async |token: &str| {
        let answer = reqwest::Client::new()
            .post(format!("{}/revoke", ground.server.url))
            .form(&[("token", token)]);
        assert_eq!(answer.send().await.unwrap().status().as_u16(), 200);
    };
    let (first, second) = (ground.token().await, ground.token().await);
    for _ in 0..3 {
        revoke(&first).await;
    }
    assert_eq!(counted().await, 1);
    std::fs::write(ground.folder().join("token.txt"), &second).unwrap();
    for _ in 0..2 {
        let run = ground.remotely("admin", &["tokens", "revoke", "--token-file", "token.txt"]);
        assert_eq!(run.code, 0, "{run:?}");
    }
    assert_eq!(counted().await, 2);
}
