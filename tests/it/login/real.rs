//! The commands against a whole server, at which a person signs in and agrees.

use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use super::{Login, Machine};
use crate::authorize_clients::person::Person;
use crate::people_sessions::browser::People;
use crate::support::TestServer;

/// A server at a loopback address and at the time of this machine, which the commands go by.
#[expect(
    clippy::disallowed_methods,
    reason = "the commands go by the clock of this machine"
)]
async fn served() -> (People, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_secs()).unwrap();
    let settings = [("CARNET_ISSUER", url.as_str())];
    let people = People::at(TestServer::at(now, &settings).await).await;
    let router = people.server.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (people, url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_signs_in_on_the_command_line_changes_a_rule_and_signs_out() {
    let ((people, server), machine) = (served().await, Machine::new());
    let issuer = json!({
        "issuer": "https://ci.test", "profile": "github-actions",
        "keys": { "source": "static", "jwks": { "keys": [crate::support::TestKey::rsa(1).jwk()] } },
    });
    people.put("trusted-issuers/ci", issuer).await;
    let registry = json!({ "resource": "https://registry.test/", "actions": ["publish"], "people": { "owner": ["publish"] } });
    people.put("resource-servers/registry", registry).await;
    let ada = || Person::at(server.clone(), &people, &[]);
    let begin = async |arguments: &[&str]| {
        let mut command = machine.command(&["login", "--no-browser", "--server", &server]);
        Login::of(command.args(arguments)).await
    };
    let login = begin(&[]).await;
    let back = ada().follow(login.url.as_str(), "allow").await;
    let (status, page) = login.visit(&Url::parse(&back).unwrap()).await;
    assert_eq!(status, 200, "{page}");
    let done = login.finish().await;
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.stderr.contains("admin:credentials:octo-org"),
        "{done:?}"
    );
    let shown = machine.run(&["whoami", "--json"]).await;
    let json: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(
        (&json["in_force"], &json["writes"]),
        (&json!(true), &json!("now")),
        "{shown:?}"
    );
    let file = machine.file().with_file_name("rules.json");
    let rules = json!({ "federated_credentials": { "release": {
        "principal": "octo-org", "trusted_issuer": "ci",
        "match": { "repository": "octo-org/octo-repo", "workflow_file": "release.yml" },
        "permissions": [{ "resource_server": "registry", "actions": ["publish"], "packages": ["left-pad"] }],
    } } });
    std::fs::write(&file, rules.to_string()).unwrap();
    let applied = machine
        .run(&["apply", "-f", file.to_str().unwrap(), "--server", &server])
        .await;
    assert_eq!(applied.code, 0, "{applied:?}");
    let events = people
        .server
        .audit("outcome=created&principal=octo-org")
        .await;
    assert_eq!(events[0]["person"], json!(people.person().await));
    // A registry's token, alone.
    let login = begin(&["--resource", "https://registry.test/"]).await;
    let back = ada().follow(login.url.as_str(), "allow").await;
    login.visit(&Url::parse(&back).unwrap()).await;
    let done = login.finish().await;
    assert_eq!(done.code, 0, "{done:?}");
    let token = crate::authorize::claims(done.stdout.trim());
    assert_eq!(
        (&token["aud"], &token["scope"]),
        (&json!("https://registry.test/"), &json!("publish"))
    );
    // Minutes later the token reads, and the command says what to do.
    people.server.clock.advance(901);
    let delete = machine
        .run(&[
            "delete",
            "credential",
            "octo-org:release",
            "--yes",
            "--server",
            &server,
        ])
        .await;
    let advice = format!("prove again who you are: carnet login --server {server}");
    assert!(
        delete.code == 1 && delete.stderr.contains(&advice),
        "{delete:?}"
    );
    assert!(!delete.stderr.contains("no longer in force"), "{delete:?}");
    let out = machine.run(&["logout"]).await;
    assert_eq!(out.code, 0, "{out:?}");
    let revoked = people.server.audit("outcome=revoked").await;
    assert_eq!(revoked.len(), 1, "{revoked:#?}");
    assert_eq!(machine.run(&["whoami"]).await.code, 1);
    // Who declines is told so.
    let login = begin(&[]).await;
    let back = ada().follow(login.url.as_str(), "deny").await;
    login.visit(&Url::parse(&back).unwrap()).await;
    let done = login.finish().await;
    assert!(
        done.code == 1 && done.stderr.contains("the person did not agree"),
        "{done:?}"
    );
}
