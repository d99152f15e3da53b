//! Statements of the book that a review found wrong, held against the server.

use std::process::Stdio;

use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use serde_json::{Value, json};

use super::documents::read;
use crate::support::{
    Claims, Finished, ServerProcess, TestDb, TestKey, World, carnet, finished, first_start,
    free_address, github, may_skip,
};

#[tokio::test]
async fn new_a21__the_page_of_pins_says_what_the_job_and_what_the_audit_event_is_told() {
    let world = World::new().await;
    let unpinned = json!({ "repository_id": null, "repository_owner_id": null });
    world.rule("octo-release", unpinned).await;
    world.accepts().await;
    world.server.app.refresh().await.unwrap();
    let page = read("docs/src/explanation/pins.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| the repository was "))
        .map(|line| line.split(" | ").collect())
        .collect();
    let changed: [fn(Claims) -> Claims; 3] = [
        |claims| claims.in_repository("octo-org/renamed"),
        |claims| claims.with("repository_id", "75"),
        |claims| claims.with("repository_owner_id", "66"),
    ];
    assert_eq!(rows.len(), changed.len(), "{page}");
    for (row, change) in rows.iter().zip(changed) {
        // Equal refusals within an hour are one event, and these are equal but for the id.
        world.server.clock.advance(3601);
        let answer = world.exchange_claims(&change(world.claims())).await;
        assert_eq!(format!("`{}`", answer.reason()), row[2], "{row:?}");
        let id = answer.json()["error_id"].as_str().unwrap().to_owned();
        world.server.app.flush_audit().await;
        let event = &world.server.audit(&format!("error_id={id}")).await[0];
        let mismatches = event["detail"]["mismatches"].as_array().unwrap();
        let mut told: Vec<String> = mismatches
            .iter()
            .map(|mismatch| format!("`{}`", mismatch["reason"].as_str().unwrap()))
            .collect();
        told.push(format!("`{}`", event["reason"].as_str().unwrap()));
        assert!(told.contains(&row[3].to_owned()), "{row:?}: {event:#}");
    }
}

#[test]
fn new_a22__the_tour_prints_the_requests_that_it_made_and_leaves_nothing_behind() {
    let folder = std::env::temp_dir().join(format!("tour-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut quickstart = carnet();
    quickstart
        .args(["quickstart", "--once"])
        .env("TMPDIR", &folder)
        .current_dir(&folder);
    let tour = finished(quickstart.output().unwrap());
    assert_eq!(tour.code, 0, "{tour:?}");
    let upload = tour
        .stdout
        .split("=== ")
        .find(|part| part.contains("-X PUT") && part.contains("/packages/"));
    let upload = upload.unwrap();
    assert!(
        upload.contains("/packages/widgets/1.0.0'") && upload.contains("\"version\": \"1.0.0\""),
        "{upload}"
    );
    // The second use of the first assertion is printed as such.
    let again = tour
        .stdout
        .split("=== ")
        .find(|part| part.contains("\"replay\""))
        .unwrap();
    assert!(again.contains("assertion=$FIRST"), "{again}");
    let revoked = tour
        .stdout
        .split("=== ")
        .find(|part| part.contains("/revoke'"))
        .unwrap();
    assert!(
        revoked.contains("would accept this one until it expires"),
        "{revoked}"
    );
    // Paths lie in the tour's own folder.
    let own = format!("{}/carnet-quickstart-", folder.display());
    assert!(!tour.stdout.replace(&own, "").contains("/tmp/"), "{tour:?}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    std::fs::remove_dir(&folder).unwrap();
}

/// A server that has the objects of the guide, with the platform's keys given and this issuer.
async fn server_of_the_guide(db: &TestDb, key: &TestKey) -> ServerProcess {
    let address = free_address();
    let issuer = format!("http://{address}");
    let settings = [
        ("CARNET_DATABASE__URL", db.url()),
        ("CARNET_DATA_DIR", db.folder().to_str().unwrap()),
        ("CARNET_ISSUER", issuer.as_str()),
        ("CARNET_SERVER__LISTEN", address.as_str()),
    ];
    first_start(db.folder(), &settings);
    let objects = read("docs/samples/apply/github-actions.toml");
    let mut objects: toml::Table = objects.parse().unwrap();
    let keys = json!({ "source": "static", "jwks": { "keys": [key.jwk()] } });
    let keys = toml::Value::try_from(&keys).unwrap();
    let github = objects["trusted_issuers"]["github"].as_table_mut().unwrap();
    github.insert("keys".to_owned(), keys);
    std::fs::write(db.folder().join("registry.toml"), objects.to_string()).unwrap();
    let mut apply = carnet();
    apply
        .current_dir(db.folder())
        .args(["apply", "-f", "registry.toml"])
        .envs(settings);
    let applied = finished(apply.output().unwrap());
    assert_eq!(applied.code, 0, "{applied:?}");
    ServerProcess::start_at(db.folder(), &address, &settings).await
}

/// Where a job asks GitHub for its token: a run of the guide's workflow for a tag, in this environment.
async fn runner_in(environment: &'static str, key: TestKey) -> String {
    let answer = move |Query(query): Query<Vec<(String, String)>>| {
        let audience = query.into_iter().find(|(name, _)| name == "audience");
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let claims = github(now as i64)
            .with("iss", "https://token.actions.githubusercontent.com")
            .with("aud", audience.unwrap().1)
            .on_ref("refs/tags/v1.2.3", "tag")
            .in_environment(environment)
            .with(
                "sub",
                format!("repo:octo-org/octo-repo:environment:{environment}"),
            );
        let token = key.sign(&claims.value());
        async move { axum::Json(json!({ "value": token })) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/", get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/?x")
}

fn in_the_job(db: &TestDb, runner: &str, arguments: &[&str]) -> Finished {
    let mut command = carnet();
    command
        .current_dir(db.folder())
        .args(arguments)
        .env("GITHUB_ACTIONS", "true")
        .env("ACTIONS_ID_TOKEN_REQUEST_URL", runner)
        .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ask-me")
        .stderr(Stdio::piped());
    finished(command.output().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_a25__the_github_guide_shows_what_explain_prints_for_its_own_rule() {
    let (db, key) = (TestDb::new().await, TestKey::rsa(0));
    let server = server_of_the_guide(&db, &key).await;
    let runner = runner_in("staging", key).await;
    let explained = in_the_job(&db, &runner, &["explain", "--server", &server.url]);
    assert_eq!(explained.code, 1, "{explained:?}");
    let printed = explained
        .stdout
        .replace(&server.url, "https://carnet.example");
    let printed: String = printed
        .lines()
        .map(|line| with_id_of_the_book(line) + "\n")
        .collect();
    let whole = format!("$ carnet explain --server https://carnet.example\n{printed}");
    super::snippets::generated("explain of the guide", &whole);
}

/// A line with the rule's id and the end of its pending state as the book has them; here they are others each time.
fn with_id_of_the_book(line: &str) -> String {
    let replaced = |line: &str, before: &str, after: char, with: &str| {
        let (head, rest) = line.split_once(before)?;
        let (_, tail) = rest.split_once(after)?;
        Some(format!("{head}{before}{with}{after}{tail}"))
    };
    replaced(line, "(fc_", ')', "01M812TJE5FS1TZ07R8CG3F0AM")
        .or_else(|| replaced(line, "pending until ", '"', "2026-12-05T10:15:00Z"))
        .unwrap_or_else(|| line.to_owned())
}

/// A registry that takes uploads and notes the token of each.
async fn registry(uploads: std::sync::Arc<parking_lot::Mutex<Vec<String>>>) -> String {
    let take = move |headers: axum::http::HeaderMap| {
        let sent = headers["authorization"].to_str().unwrap().to_owned();
        uploads.lock().push(sent);
        async { axum::http::StatusCode::CREATED }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/packages/{name}/{version}", axum::routing::put(take));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/")
}

/// The script of the workflow in the README.
fn script_of_the_readme() -> String {
    let readme = read("README.md");
    let yaml = readme
        .split("```yaml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let script = yaml.split("        run: |\n").nth(1).unwrap();
    script
        .lines()
        .map(|line| line.trim_start_matches("          ").to_owned() + "\n")
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scripts_with_curl_publish_in_a_job_of_the_rule_and_show_the_refusal_of_another() {
    if !super::surroundings::is_installed("jq") {
        may_skip("jq");
        return;
    }
    let (db, key) = (TestDb::new().await, TestKey::rsa(0));
    let server = server_of_the_guide(&db, &key).await;
    let uploads = std::sync::Arc::default();
    let registry = registry(std::sync::Arc::clone(&uploads)).await;
    std::fs::write(db.folder().join("octo-core-1.2.3.tar.gz"), "content").unwrap();
    let upload = "\ncurl -sS --fail-with-body -X PUT -H \"Authorization: Bearer $token\" https://registry.example/packages/octo-core/1.2.3\n";
    let with_curl = read("docs/samples/jobs/with-curl.sh") + upload;
    for script in [script_of_the_readme(), with_curl] {
        for (environment, code) in [("release", 0), ("staging", 1)] {
            let runner = runner_in(environment, key.clone()).await;
            let script = script
                .replace("https://carnet.example", &server.url)
                .replace(
                    "https://registry.example/packages",
                    &format!("{registry}packages"),
                );
            let mut bash = std::process::Command::new("bash");
            // As GitHub runs the steps of a workflow.
            bash.args(["-e", "-c", &script])
                .current_dir(db.folder())
                .env_clear()
                .envs([
                    ("PATH", "/usr/bin:/bin"),
                    ("ACTIONS_ID_TOKEN_REQUEST_URL", runner.as_str()),
                    ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ask-me"),
                ]);
            let run = finished(bash.output().unwrap());
            assert_eq!(run.code, code, "{environment}: {run:?}");
            if code == 0 {
                let token = uploads.lock().pop().unwrap().replace("Bearer ", "");
                assert!(
                    run.stdout.contains(&format!("::add-mask::{token}")),
                    "{run:?}"
                );
            } else {
                assert!(
                    run.stdout.contains("\"reason\": \"env_mismatch\""),
                    "{run:?}"
                );
                assert!(uploads.lock().is_empty());
            }
        }
    }
}

#[tokio::test]
async fn new_a25__the_narrow_request_of_the_guide_is_good_for_the_first_version_of_a_package() {
    let guide = read("docs/src/guides/github-actions.md");
    let details = guide.split("--authorization-details '").nth(1).unwrap();
    let details: Value = serde_json::from_str(details.split('\'').next().unwrap()).unwrap();
    let world = World::new().await;
    let mut asked = details;
    asked[0]["packages"] = json!(["widgets"]);
    let answer = world
        .exchange_with(
            &world.good(),
            &[("authorization_details", &asked.to_string())],
        )
        .await;
    let entry = &answer.json()["authorization_details"][0];
    // A registry asks for `create` too where the package is new.
    assert_eq!(
        entry["actions"],
        json!(["create", "publish"]),
        "{}",
        answer.text()
    );
    assert!(guide.contains("`create_denied`"));
}

#[tokio::test]
async fn new_a27__reasons_without_a_target_fit_clients_without_rules() {
    let world = World::new().await;
    let scopes_only = world
        .client(
            "site",
            json!({ "grant_types": ["client_credentials"], "scopes": ["admin:read"] }),
        )
        .await;
    let permission = json!([{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"], "owner": "joel" }]);
    let publisher = world
        .client(
            "bot",
            json!({ "grant_types": ["client_credentials"], "permissions": permission }),
        )
        .await;
    let token = ("grant_type", "client_credentials");
    for (client, form, reason) in [
        (&scopes_only, &[token][..], "target_not_granted"),
        (
            &publisher,
            &[token, ("resource", crate::support::R2)],
            "target_not_granted",
        ),
        (
            &publisher,
            &[token, ("resource", "https://nowhere.example/")],
            "target_unknown",
        ),
    ] {
        let header = [("authorization", client.as_str())];
        let answer = world.server.form_with("/token", &header, form).await;
        answer.refused(400, "invalid_target", reason);
        let page = world.server.get(&format!("/reasons/{reason}")).await.json();
        let told = format!(
            "{} {} {}",
            answer.json()["error_description"],
            page["meaning"],
            page["remedy"]
        );
        assert!(!told.contains("assertion"), "{told}");
        assert!(
            reason == "target_unknown" || told.contains("client's own permissions"),
            "{told}"
        );
        assert!(
            reason == "target_unknown" || told.contains("/admin"),
            "{told}"
        );
    }
    // What the remedy says works.
    let resource = format!("{}/admin", crate::support::CARNET);
    let form = [
        token,
        ("resource", resource.as_str()),
        ("scope", "admin:read"),
    ];
    let header = [("authorization", scopes_only.as_str())];
    let answer = world.server.form_with("/token", &header, &form).await;
    answer.token();
}

#[tokio::test]
async fn new_a13__a_trusted_issuer_without_single_use_warns_whether_or_not_the_document_says_so() {
    let world = World::new().await;
    for (profile, issuer, warns) in [
        ("kubernetes", "https://cluster.test", true),
        ("google", "https://accounts.google.com", true),
        ("github-actions", "https://other.test", false),
    ] {
        for (replay, warns) in [
            (Value::Null, warns),
            (json!("off"), true),
            (json!("jti_or_token_hash"), false),
        ] {
            let mut document = json!({ "profile": profile, "issuer": issuer });
            if !replay.is_null() {
                document["replay"] = replay.clone();
            }
            let path = format!("trusted-issuers/{profile}-2?validate=offline");
            let saved = world.server.put(&path, document).await;
            let codes: Vec<&str> = saved["warnings"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|warning| warning["code"].as_str())
                .collect();
            assert_eq!(
                codes.contains(&"no_single_use"),
                warns,
                "{profile} {replay}: {saved:#}"
            );
        }
    }
}
