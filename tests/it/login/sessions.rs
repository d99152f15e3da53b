//! What becomes of a sign-in: `whoami`, `logout`, its end.

use serde_json::{Value, json};

use super::Machine;
use super::stand_in::{Fault, StandIn};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoami_shows_what_the_server_says_of_the_sign_in() {
    let (server, machine) = (StandIn::new().await, Machine::new());
    let nobody = machine.run(&["whoami", "--json"]).await;
    assert_eq!(nobody.code, 1, "{nobody:?}");
    let shown: Value = serde_json::from_str(&nobody.stdout).unwrap();
    assert_eq!(shown, json!({ "in_force": false }));
    machine.sign_in(&server, &[]).await;
    let shown = machine.run(&["whoami"]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert_eq!(
        shown.stdout,
        format!(
            "person   Peter P. (peter, ps_01KB9Y5R3ZJ1V8QW6M2T4N7XCD)\nserver   {}\n\
             scope    openid profile admin:credentials:octo-org\nexpires  2030-01-02T03:04:05Z\n\
             changes  until 2030-01-01T00:00:00Z\n",
            server.url
        )
    );
    let shown = machine
        .run(&["whoami", "--json", "--server", &server.url])
        .await;
    let json: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(
        (&json["in_force"], &json["writes"]),
        (&json!(true), &json!("now"))
    );
    assert!(!shown.stdout.contains("canary"), "{}", shown.stdout);
    let variable = machine
        .run_with(&["whoami"], &[("CARNET_TOKEN", "x")])
        .await;
    assert!(
        variable.stderr.contains("CARNET_TOKEN is set"),
        "{variable:?}"
    );

    // The server ended it.
    server.does(Fault::TokenEnded);
    let ended = machine.run(&["whoami", "--json"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(json["in_force"], false);
    let login = format!("carnet login --server {}", server.url);
    let says =
        format!("Publisher (peter, ps_01KB9Y5R3ZJ1V8QW6M2T4N7XCD) is no longer in force: {login}");
    assert!(ended.stderr.contains(&says), "{}", ended.stderr);
    let people = ["people", "list", "--server", &server.url];
    let ended = machine.run(&people).await;
    assert!(ended.code == 1 && ended.stderr.contains(&says), "{ended:?}");
    // That is no advice for a token of another kind.
    let given = [&people[..], &["--token", "x"]].concat();
    let given = machine.run(&given).await;
    assert!(
        given.code == 1 && !given.stderr.contains("carnet login"),
        "{given:?}"
    );

    server.leave().await;
    assert_eq!(machine.run(&["whoami"]).await.code, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_whose_time_is_over_is_named_and_not_sent() {
    let (server, machine) = (StandIn::new().await, Machine::new());
    machine.sign_in(&server, &[]).await;
    machine.change(|stored| {
        stored[server.url.as_str()]["expires_at"] = "2020-01-01T00:00:00Z".into();
    });
    let says = format!("has expired: carnet login --server {}", server.url);
    for arguments in [
        &["whoami"][..],
        &["people", "list", "--server", &server.url],
        &["apply", "-f", "-", "--server", &server.url],
        &["audit", "--server", &server.url],
        &["explain", "--event", "ev_1", "--server", &server.url],
    ] {
        let done = machine.run(arguments).await;
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.stderr.contains(&says), "{}", done.stderr);
    }
    assert!(server.tokens().is_empty());
    // The public explanation needs nobody.
    let explain = [
        "explain",
        "--server",
        &server.url,
        "--assertion-file",
        "missing",
    ];
    let done = machine.run(&explain).await;
    assert!(done.stderr.contains("asking without it"), "{}", done.stderr);
    // Another sign-in mends it.
    assert_eq!(machine.sign_in(&server, &[]).await.code, 0);
    assert_eq!(machine.run(&["whoami"]).await.code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_for_which_the_proof_is_too_old_says_to_sign_in_again() {
    let (server, machine) = (StandIn::new().await, Machine::new());
    machine.sign_in(&server, &[]).await;
    server.does(Fault::ProofTooOld);
    let says = format!(
        "prove again who you are: carnet login --server {}",
        server.url
    );
    for token in [&[][..], &["--token", "of-a-person"]] {
        let disable = ["people", "disable", "ps_1", "--server", &server.url];
        let done = machine.run(&[&disable[..], token].concat()).await;
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.stderr.contains(&says), "{}", done.stderr);
    }
    assert_eq!(machine.run(&["whoami"]).await.code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_out_ends_the_token_at_the_server_and_forgets_it() {
    let (server, machine) = (StandIn::new().await, Machine::new());
    let nobody = machine.run(&["logout"]).await;
    assert!(
        nobody.code == 1 && nobody.stderr.contains("nobody is signed in"),
        "{nobody:?}"
    );
    assert_eq!(machine.run(&["logout", "--all"]).await.code, 0);
    machine.sign_in(&server, &[]).await;
    let token = machine.stored()[server.url.as_str()]["access_token"].clone();
    let done = machine.run(&["logout", "--json"]).await;
    assert_eq!(done.code, 0, "{done:?}");
    let ended: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(ended, json!([{ "issuer": server.url, "revoked": true }]));
    let revoked = &server.seen("/revoke")[0];
    assert_eq!(revoked["token"], token);
    assert_eq!(revoked["client_id"], "carnet-cli");
    assert_eq!(machine.stored(), json!({}));
    assert_eq!(machine.run(&["whoami"]).await.code, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_out_from_a_server_that_is_away_forgets_the_token_and_says_so() {
    let (server, machine) = (StandIn::new().await, Machine::new());
    machine.sign_in(&server, &[]).await;
    let url = server.url.clone();
    server.leave().await;
    let done = machine.run(&["logout", "--server", &url]).await;
    assert_eq!(done.code, 3, "{done:?}");
    assert!(
        done.stderr.contains("may take its token until 20"),
        "{}",
        done.stderr
    );
    assert_eq!(machine.stored(), json!({}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_sign_ins_at_several_servers_one_has_to_be_named() {
    let (one, two) = (StandIn::new().await, StandIn::new().await);
    let machine = Machine::new();
    machine.sign_in(&one, &[]).await;
    machine.sign_in(&two, &[]).await;
    for command in ["whoami", "logout"] {
        let done = machine.run(&[command]).await;
        assert_eq!(done.code, 2, "{done:?}");
        assert!(
            done.stderr.contains(&one.url) && done.stderr.contains(&two.url),
            "{done:?}"
        );
    }
    let other = ["logout", "--server", "https://other.test"];
    assert_eq!(machine.run(&other).await.code, 1);
    assert_eq!(machine.stored().as_object().unwrap().len(), 2);
    assert_eq!(machine.run(&["logout", "--server", &two.url]).await.code, 0);
    assert_eq!(machine.run(&["whoami"]).await.code, 0);
    machine.sign_in(&two, &[]).await;
    assert_eq!(machine.run(&["logout", "--all"]).await.code, 0);
    assert_eq!(machine.stored(), json!({}));
    let revoked = (one.seen("/revoke").len(), two.seen("/revoke").len());
    assert_eq!(revoked, (1, 2));
}
