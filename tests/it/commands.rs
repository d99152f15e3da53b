//! The command line (contract section 2), as users run it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{
    ServerProcess, TestDb, TestKey, carnet, carnet_in, finished, first_start, free_address, github,
};

const OBJECTS: &str = r#"
[trusted_issuers.github]
profile = "github-actions"
issuer = "https://token.actions.githubusercontent.com"

[principals.joel]
kind = "user"
external_id = "42"

[resource_servers.pypi]
resource = "https://registry.test/pypi/"
actions = ["publish", "create"]

[federated_credentials.octo-release]
principal = "Joel"
trusted_issuer = "github"
match = { repository = "https://github.com/Octo-Org/octo-repo", workflow_file = ".github/workflows/release.yml", environment = "pypi" }
permissions = [{ resource_server = "pypi", actions = ["publish"], packages = ["widgets"] }]

[clients.ci-bot]
auth_method = "none"
"#;

/// The objects with keys given, so that nothing has to be fetched.
fn objects(issuer: &str) -> Value {
    let mut objects: Value =
        serde_json::to_value(toml::from_str::<toml::Table>(OBJECTS).unwrap()).unwrap();
    objects["trusted_issuers"]["github"]["issuer"] = json!(issuer);
    objects["trusted_issuers"]["github"]["keys"] =
        json!({ "source": "static", "jwks": { "keys": [TestKey::rsa(0).jwk()] } });
    objects
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

#[test]
fn contract_2__every_command_has_help_with_an_example() {
    let folder = std::env::temp_dir();
    let help = carnet_in(&folder, &["--help"]);
    assert_eq!(help.code, 0);
    let commands = [
        "serve",
        "quickstart",
        "apply",
        "export",
        "login",
        "logout",
        "whoami",
        "audit",
        "get",
        "list",
        "delete",
        "credentials",
        "clients",
        "notifications",
        "issuers",
        "tokens",
        "check",
        "config",
        "profiles",
        "completions",
        "admin-token",
        "keys",
        "exchange",
        "explain",
        "policy",
    ];
    for command in commands {
        assert!(
            help.stdout.contains(&format!("\n  {command} ")),
            "{command} is not in the list"
        );
        let own = carnet_in(&folder, &[command, "--help"]);
        assert!(
            own.code == 0 && own.stdout.contains("Example"),
            "{command}: {}",
            own.stdout
        );
    }
    for (command, inner) in [
        ("keys", "list"),
        ("keys", "rotate"),
        ("keys", "withdraw"),
        ("keys", "reseal"),
        ("config", "show"),
        ("profiles", "list"),
        ("profiles", "show"),
        ("policy", "test"),
        ("policy", "lint"),
        ("credentials", "disable"),
        ("clients", "rotate-secret"),
        ("notifications", "rotate-secret"),
        ("notifications", "test"),
        ("issuers", "status"),
        ("issuers", "refresh-keys"),
        ("tokens", "inspect"),
        ("tokens", "revoke"),
    ] {
        let own = carnet_in(&folder, &[command, inner, "--help"]);
        assert!(
            own.code == 0 && own.stdout.contains("Example"),
            "{command} {inner}: {}",
            own.stdout
        );
    }
    // What is not there yet is not offered.
    for later in ["front-door", "introspect"] {
        assert_eq!(carnet_in(&folder, &[later]).code, 2, "{later}");
    }
}

#[tokio::test]
async fn contract_2__exit_codes_tell_yes_no_and_wrong_usage() {
    let db = TestDb::new().await;
    let folder = db.folder();
    assert_eq!(carnet_in(folder, &["--version"]).code, 0);
    assert_eq!(carnet_in(folder, &["serve", "--no-such-flag"]).code, 2);
    assert_eq!(carnet_in(folder, &["apply"]).code, 2);
    assert_eq!(carnet_in(folder, &["apply", "-f", "missing.toml"]).code, 1);
    assert_eq!(
        carnet_in(folder, &["policy", "test", "missing.json"]).code,
        1
    );
}

#[tokio::test]
async fn contract_2__check_reports_every_error_at_once_and_starts_nothing() {
    let db = TestDb::new().await;
    let folder = db.folder();
    write(
        folder,
        "bad.toml",
        "issuer = \"http://public.test\"\nsurprise = 1\n[server]\nlisten = \"nowhere\"\n[tokens]\nlifetime_seconds = 5\n",
    );
    let bad = carnet_in(folder, &["check", "--config", "bad.toml"]);
    assert_eq!(bad.code, 1);
    for key in [
        "issuer",
        "surprise",
        "server.listen",
        "tokens.lifetime_seconds",
    ] {
        assert!(
            format!("{}{}", bad.stdout, bad.stderr).contains(key),
            "{key}: {bad:?}"
        );
    }
    write(
        folder,
        "good.toml",
        "issuer = \"https://as.test\"\ndata_dir = \"data\"\n",
    );
    let good = carnet_in(folder, &["check", "--config", "good.toml"]);
    assert_eq!(good.code, 0, "{good:?}");
    assert!(!folder.join("data").exists(), "nothing is created");
    let missing = carnet_in(folder, &["check", "--config", "missing.toml"]);
    assert_eq!(missing.code, 1);
}

#[tokio::test]
async fn rfc8414_2_1__check_refuses_issuers_with_query_fragment_user_or_plain_http() {
    let db = TestDb::new().await;
    for issuer in [
        "https://as.test?x",
        "https://as.test#x",
        "http://as.test",
        "as.test",
        "https://u:p@as.test",
    ] {
        let mut check = carnet();
        check
            .current_dir(db.folder())
            .arg("check")
            .env("CARNET_ISSUER", issuer);
        let checked = finished(check.output().unwrap());
        assert!(
            checked.code == 1
                && checked.stderr.contains("issuer") | checked.stdout.contains("issuer"),
            "{issuer}: {checked:?}"
        );
    }
}

#[tokio::test]
async fn contract_2__apply_export_apply_changes_nothing() {
    let db = TestDb::new().await;
    let folder = db.folder();
    let mut run = Commands::new(folder, &[]);
    first_start(folder, &[]);
    write(
        folder,
        "objects.json",
        &objects("https://ci.test").to_string(),
    );
    let planned = run.carnet(&["apply", "-f", "objects.json", "--dry-run"]);
    assert_eq!(planned.code, 1, "there is something to do: {planned:?}");
    assert!(
        planned
            .stdout
            .contains("create federated_credentials.octo-release"),
        "{planned:?}"
    );
    let applied = run.carnet(&["apply", "-f", "objects.json"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    assert!(
        applied.stdout.contains("5 done, 0 unchanged, 0 failed"),
        "{applied:?}"
    );
    for file in ["objects.json", "exported.toml"] {
        if file == "exported.toml" {
            let exported = run.carnet(&["export"]);
            assert_eq!(exported.code, 0);
            write(folder, file, &exported.stdout);
        }
        for arguments in [
            &["apply", "-f", file, "--dry-run"][..],
            &["apply", "-f", file, "--prune"],
        ] {
            let again = run.carnet(arguments);
            assert!(
                again.code == 0 && again.stdout.contains("5 unchanged"),
                "{file}: {again:?}"
            );
        }
    }
    // Fewer objects: the others stay unless they are to go.
    let mut fewer = objects("https://ci.test");
    fewer.as_object_mut().unwrap().remove("clients");
    fewer["principals"]["joel"]["display_name"] = json!("Joel");
    write(folder, "fewer.json", &fewer.to_string());
    let applied = run.carnet(&["apply", "-f", "fewer.json"]);
    assert!(
        applied.code == 0
            && applied
                .stdout
                .starts_with("update principals.joel\n  + /display_name: \"Joel\"\n"),
        "{applied:?}"
    );
    let pruned = run.carnet(&["apply", "-f", "fewer.json", "--prune", "--yes"]);
    assert!(
        pruned.code == 0 && pruned.stdout.contains("delete clients.ci-bot"),
        "{pruned:?}"
    );
}

/// Commands of one configuration.
struct Commands<'a> {
    folder: &'a Path,
    settings: Vec<(&'a str, &'a str)>,
}

impl<'a> Commands<'a> {
    fn new(folder: &'a Path, settings: &[(&'a str, &'a str)]) -> Self {
        Self {
            folder,
            settings: settings.to_vec(),
        }
    }

    fn carnet(&mut self, arguments: &[&str]) -> crate::support::Finished {
        let mut command = carnet();
        command
            .current_dir(self.folder)
            .args(arguments)
            .envs(self.settings.iter().copied());
        finished(command.output().unwrap())
    }
}

#[tokio::test]
async fn contract_2__apply_reports_mistakes_in_a_file_and_counts_them_as_failed() {
    let db = TestDb::new().await;
    let folder = db.folder();
    let mut run = Commands::new(folder, &[]);
    first_start(folder, &[]);
    let mut wrong = objects("https://ci.test");
    wrong["federated_credentials"]["octo-release"]["match"]["enviroment"] = json!("x");
    write(folder, "objects.json", &wrong.to_string());
    let applied = run.carnet(&["apply", "-f", "objects.json"]);
    assert_eq!(applied.code, 1);
    assert!(
        applied.stdout.contains("/match/enviroment") && applied.stdout.contains("1 failed"),
        "{applied:?}"
    );
    let linted = run.carnet(&["policy", "lint", "objects.json"]);
    assert!(
        linted.code == 1 && linted.stdout.contains("enviroment"),
        "{linted:?}"
    );
    write(folder, "table.toml", "[policies.x]\n");
    let table = run.carnet(&["apply", "-f", "table.toml"]);
    assert!(
        table.code == 1 && table.stderr.contains("policies"),
        "{table:?}"
    );
}

#[tokio::test]
async fn contract_2__commands_work_below_an_issuer_with_a_path() {
    let db = TestDb::new().await;
    let folder = db.folder();
    let mut run = Commands::new(
        folder,
        &[
            ("CARNET_ISSUER", "https://as.test/tenant1"),
            ("CARNET_TOKEN", "not-used-without-server"),
        ],
    );
    first_start(folder, &run.settings);
    write(
        folder,
        "objects.json",
        &objects("https://ci.test").to_string(),
    );
    let applied = run.carnet(&["apply", "-f", "objects.json"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    assert_eq!(run.carnet(&["keys", "list"]).code, 0);
    assert!(
        run.carnet(&["export", "--format", "json"])
            .stdout
            .contains("octo-release")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__commands_work_on_a_server() {
    let db = TestDb::new().await;
    let folder = db.folder();
    let settings = [
        ("CARNET_DATABASE__URL", db.url()),
        ("CARNET_DATA_DIR", folder.to_str().unwrap()),
    ];
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let server =
        ServerProcess::start_at(folder, issuer.trim_start_matches("http://"), &settings).await;
    let mut run = Commands::new(
        folder,
        &[
            &settings[..],
            &[
                ("CARNET_ISSUER", issuer.as_str()),
                (
                    "CARNET_SERVER__LISTEN",
                    issuer.trim_start_matches("http://"),
                ),
            ],
        ]
        .concat(),
    );
    let token = run.carnet(&["admin-token", "--ttl", "600"]);
    assert_eq!(token.code, 0, "{token:?}");
    let token = token.stdout.trim().to_owned();
    write(
        folder,
        "objects.json",
        &objects("https://ci.test").to_string(),
    );
    let remote = ["--server", issuer.as_str(), "--token", token.as_str()];
    let with = |arguments: &[&'static str]| -> Vec<String> {
        arguments
            .iter()
            .copied()
            .chain(remote)
            .map(str::to_owned)
            .collect()
    };
    let mut remotely = |arguments: &[&'static str]| {
        let arguments = with(arguments);
        run.carnet(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let applied = remotely(&["apply", "-f", "objects.json"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    let keys = remotely(&["--json", "keys", "list"]);
    let listed: Value = serde_json::from_str(&keys.stdout).unwrap();
    assert!(listed.to_string().contains("active"), "{listed}");
    assert_eq!(remotely(&["keys", "rotate"]).code, 0);
    let withdrawn = remotely(&["keys", "withdraw", "no-such-key"]);
    assert_eq!(withdrawn.code, 1, "{withdrawn:?}");

    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    let claims = github(now)
        .with("aud", issuer.clone())
        .in_repository("octo-org/octo-repo");
    write(
        folder,
        "good.jwt",
        &format!(
            "{}\n",
            TestKey::rsa(0).sign(&claims.clone().in_environment("pypi").value())
        ),
    );
    write(
        folder,
        "bad.jwt",
        &TestKey::rsa(0).sign(&claims.in_environment("other").value()),
    );
    let allowed = remotely(&["explain", "--assertion-file", "good.jwt"]);
    assert!(
        allowed.code == 0 && allowed.stdout.starts_with("allow"),
        "{allowed:?}"
    );
    let denied = remotely(&["explain", "--assertion-file", "bad.jwt"]);
    assert!(
        denied.code == 1
            && denied.stdout.contains("environment")
            && denied.stdout.contains("other"),
        "{denied:?}"
    );
    let publicly = run.carnet(&[
        "explain",
        "--server",
        &issuer,
        "--assertion-file",
        "good.jwt",
    ]);
    assert!(publicly.code == 0, "{publicly:?}");
    let forged = run.carnet(&["export", "--server", &issuer, "--token", "x"]);
    assert_eq!(forged.code, 1);
    let narrow = run
        .carnet(&["admin-token", "--scope", "admin:read"])
        .stdout
        .trim()
        .to_owned();
    assert_eq!(
        run.carnet(&["export", "--server", &issuer, "--token", &narrow])
            .code,
        0
    );
    let refused = run.carnet(&["keys", "rotate", "--server", &issuer, "--token", &narrow]);
    assert!(refused.code == 1, "{refused:?}");
    assert_eq!(run.carnet(&["admin-token", "--scope", "publish"]).code, 1);
    assert_eq!(server.terminate(), 0);
}

#[tokio::test]
async fn review_s3__apply_works_with_profiles_that_only_the_server_knows() {
    let db = TestDb::new().await;
    let (folder, address) = (db.folder(), free_address());
    let issuer = format!("http://{address}");
    let profiles = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/samples/profiles");
    let settings = [
        ("CARNET_DATABASE__URL", db.url()),
        ("CARNET_DATA_DIR", folder.to_str().unwrap()),
        ("CARNET_ISSUER", issuer.as_str()),
        ("CARNET_SERVER__LISTEN", address.as_str()),
        ("CARNET_PROFILES_DIR", profiles),
    ];
    let _server = ServerProcess::start_at(folder, &address, &settings).await;
    let token = Commands::new(folder, &settings)
        .carnet(&["admin-token"])
        .stdout
        .trim()
        .to_owned();
    let mut objects = objects("https://ci.test");
    objects["trusted_issuers"]["acme"] =
        json!({ "profile": "acme-ci", "issuer": "https://ci.acme.example" });
    objects["federated_credentials"]["rel"] = json!({
        "principal": "joel", "trusted_issuer": "acme",
        "permissions": objects["federated_credentials"]["octo-release"]["permissions"],
        "match": { "project": "https://ci.acme.example/tools/widgets/", "file": ".acme/release.yaml" },
    });
    write(folder, "objects.json", &objects.to_string());
    // The command itself knows nothing of the server's profiles.
    let mut elsewhere = Commands::new(folder, &[]);
    let mut apply = |arguments: &[&str]| {
        let all = [
            &[
                "apply",
                "-f",
                "objects.json",
                "--server",
                &issuer,
                "--token",
                &token,
            ],
            arguments,
        ]
        .concat();
        elsewhere.carnet(&all)
    };
    let planned = apply(&["--dry-run"]);
    assert!(
        planned.code == 1
            && planned
                .stdout
                .contains("7 to do, 0 unchanged, 0 would be refused"),
        "{planned:?}"
    );
    let applied = apply(&["--offline"]);
    assert!(
        applied.code == 0 && applied.stdout.contains("7 done, 0 unchanged, 0 failed"),
        "{applied:?}"
    );
    for arguments in [&["--dry-run"][..], &["--prune"]] {
        let again = apply(arguments);
        assert!(
            again.code == 0 && again.stdout.contains("7 unchanged"),
            "{again:?}"
        );
    }
}

/// A server that answers every request with a redirect to another place, and what it was sent.
async fn redirecting(to: &str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (seen, answer) = (
        Arc::new(Mutex::new(Vec::new())),
        format!(
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ),
    );
    let record = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = vec![0; 64 * 1024];
            let length = stream.read(&mut read).await.unwrap_or(0);
            record
                .lock()
                .unwrap()
                .push(String::from_utf8_lossy(&read[..length]).into_owned());
            stream.write_all(answer.as_bytes()).await.ok();
        }
    });
    (url, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn review_s2__commands_follow_no_redirects_and_refuse_insecure_server_urls() {
    let db = TestDb::new().await;
    let folder = db.folder();
    let (elsewhere, seen_elsewhere) = redirecting("http://127.0.0.1:9/").await;
    let (server, seen) = redirecting(&elsewhere).await;
    write(
        folder,
        "token.jwt",
        &TestKey::rsa(0).sign(&github(1_800_000_000).value()),
    );
    write(
        folder,
        "objects.json",
        &objects("https://ci.test").to_string(),
    );
    let mut run = Commands::new(folder, &[]);
    let explain = [
        "explain",
        "--assertion-file",
        "token.jwt",
        "--server",
        server.as_str(),
    ];
    let apply = [
        "apply",
        "-f",
        "objects.json",
        "--server",
        server.as_str(),
        "--token",
        "secret",
    ];
    for arguments in [
        &explain[..],
        &[&explain[..], &["--token", "secret"]].concat(),
        &apply,
    ] {
        let asked = run.carnet(arguments);
        assert!(asked.code != 0 && asked.stderr.contains("307"), "{asked:?}");
    }
    assert_eq!(seen.lock().unwrap().len(), 3);
    assert_eq!(*seen_elsewhere.lock().unwrap(), Vec::<String>::new());
    // Nor to anybody on the way.
    for url in [
        "http://carnet.example",
        "http://10.0.0.1",
        "https://user@carnet.example",
        "ftp://carnet.example",
        "carnet",
    ] {
        let asked = run.carnet(&["explain", "--assertion-file", "token.jwt", "--server", url]);
        assert!(
            asked.code == 2 && asked.stderr.contains("--server"),
            "{url}: {asked:?}"
        );
    }
}

#[tokio::test]
async fn contract_8__policy_test_agrees_with_every_case() {
    let db = TestDb::new().await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/policy-cases.json");
    let all: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(all.len(), 209);
    let tested = carnet_in(db.folder(), &["policy", "test", path.to_str().unwrap()]);
    assert_eq!(tested.code, 0, "{}", tested.stdout);
    let verdicts = tested
        .stdout
        .lines()
        .filter(|line| line.contains(" allow ") || line.contains(" deny "))
        .count();
    assert_eq!(verdicts, all.len(), "a line a case");
    // A rule that cannot be saved would agree with every refusal: only those cases may have one that are about it.
    let invalid: Vec<&str> = tested
        .stdout
        .lines()
        .filter(|line| line.contains(" policy_invalid"))
        .collect();
    assert!(invalid.len() < 20, "{invalid:#?}");
    // A wrong expectation is noticed.
    let mut turned = all[0].clone();
    turned["expect"] = json!(if turned["expect"] == "allow" {
        "deny"
    } else {
        "allow"
    });
    write(db.folder(), "turned.json", &json!([turned]).to_string());
    assert_eq!(
        carnet_in(db.folder(), &["policy", "test", "turned.json"]).code,
        1
    );
}

#[test]
fn contract_2__quickstart_shows_discovery_tokens_exchange_revocation_and_refusals() {
    let shown = carnet_in(&std::env::temp_dir(), &["quickstart", "--once"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    let output = &shown.stdout;
    for part in [
        "oauth-authorization-server",
        "\"token_endpoint\"",
        "grant-type:jwt-bearer",
        "grant-type:token-exchange",
        "\"issued_token_type\"",
        "/revoke",
        "\"access_token\"",
        "\"typ\": \"at+jwt\"",
        "201 Created",
        "\"reason\": \"replay\"",
        "\"reason\": \"ref_mismatch\"",
        "\"mismatches\"",
        "\"error_id\"",
        "$ curl",
        "Signed in as Peter Publisher",
        "widgets, with 1.0.0: this page may publish it",
        "no_membership",
    ] {
        assert!(output.contains(part), "{part} is missing in {output}");
    }
    // Nothing is served any more.
    assert!(!output.contains("In a browser:"), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__the_lines_of_quickstart_can_be_pasted() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;
    let mut child = carnet()
        .arg("quickstart")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The reader stays open: the servers go on only as long as they can print.
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut script: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut invitation = String::new();
    while !line.starts_with("The servers go on until") {
        if !invitation.is_empty() || line.starts_with("In a browser: ") {
            invitation += &line;
        }
        line.clear();
        assert!(
            reader.read_line(&mut line).unwrap() > 0,
            "the tour ended: {script:?}"
        );
        let continued = script.last().is_some_and(|line| line.ends_with('\\'));
        if line.starts_with("$ ") || continued {
            script.push(line.trim_end().trim_start_matches("$ ").to_owned());
        }
    }
    // npm and uv are refused: the version exists, or the branch or the package is another one. `!` hides from `-e`
    // what follows it, so the next line looks.
    let script: Vec<String> = script
        .into_iter()
        .flat_map(|line| {
            if line.starts_with("(cd \"$TOOL/package\"") {
                vec![format!("! {line}")]
            } else if line.starts_with("    npm publish") || line.starts_with("    uv publish") {
                vec![line, "[ $? -eq 0 ]".to_owned()]
            } else {
                vec![line]
            }
        })
        .collect();
    let pages = invitation.split_whitespace().nth(3).unwrap();
    assert!(
        pages.starts_with("http://") && pages.ends_with("/console"),
        "{invitation}"
    );
    for name in ["Olivia Operator", "Peter Publisher", "Vera Viewer"] {
        assert!(invitation.contains(name), "{invitation}");
    }
    let mut script = script;
    script.push(format!("curl -s {pages}/sign-in"));
    let output = std::process::Command::new("sh")
        .args(["-ec", &script.join("\n")])
        .output();
    let ended = std::process::Command::new("kill")
        .arg(child.id().to_string())
        .status();
    assert!(ended.unwrap().success());
    // At SIGTERM the tour removes its folder.
    assert!(child.wait().unwrap().success());
    let output = output.unwrap();
    // uv says on its standard error why it is refused.
    let printed = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&printed).into_owned();
    assert!(output.status.success(), "{}\n{}", script.join("\n"), text);
    for part in [
        "\"token_endpoint\"",
        "\"access_token\"",
        // What the gateway says and has on record.
        "package_out_of_scope",
        "\"run_id\":\"9001\"",
        // The tour has published this version already.
        "this version was published before",
        "\"reason\":\"replay\"",
        "\"reason\":\"ref_mismatch\"",
        // The person who signs in, and out, and the one who may not.
        "Signed in as Peter Publisher\n",
        "joel  owner joel-owners\n",
        "You are signed out here\n",
        "/console/sign-in\n",
        "Reason no_membership\n",
        "Sign in with <bdi>Example Corp (stand-in)</bdi>",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn rfc7521_4_1__check_refuses_a_plain_http_issuer_on_a_public_listen_address() {
    let db = TestDb::new().await;
    for (issuer, listen) in [
        ("http://as.test", "0.0.0.0:8080"),
        ("http://127.0.0.1:8080", "0.0.0.0:8080"),
    ] {
        let mut check = carnet();
        check
            .current_dir(db.folder())
            .arg("check")
            .env("CARNET_ISSUER", issuer)
            .env("CARNET_SERVER__LISTEN", listen);
        let checked = finished(check.output().unwrap());
        assert_eq!(checked.code, 1, "{issuer} {listen}: {checked:?}");
    }
}
