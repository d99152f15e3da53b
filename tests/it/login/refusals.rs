//! Answers that are not taken.

use std::os::unix::process::ExitStatusExt as _;

use reqwest::header::HOST;
use url::Url;

use super::Machine;
use super::stand_in::{Fault, StandIn};

/// The URL with other values of its parameters; an empty one takes the parameter away.
fn with(url: &Url, changed: &[(&str, &str)]) -> Url {
    let mut other = url.clone();
    other.set_query(None);
    for (name, value) in url.query_pairs() {
        let changed = changed.iter().find(|(of, _)| *of == name);
        let value = changed.map_or(&*value, |(_, value)| value);
        if !value.is_empty() {
            other.query_pairs_mut().append_pair(&name, value);
        }
    }
    other
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_answer_to_the_request_is_refused_and_the_command_waits_on() {
    let (server, machine) = (StandIn::new().await, Machine::new());
    let login = machine.begin(&server, &[]).await;
    let good = login.callback().await;
    let state = login.parameter("state");
    let mut elsewhere = good.clone();
    elsewhere.set_path("/callback/more");
    let mut twice = good.clone();
    twice.query_pairs_mut().append_pair("code", "another");
    let mut bare = good.clone();
    bare.set_query(None);
    for (url, status) in [
        (elsewhere, 404),
        (bare, 400),
        (twice, 400),
        (with(&good, &[("state", "")]), 400),
        (with(&good, &[("state", &state[1..])]), 400),
        (with(&good, &[("state", &state.to_lowercase())]), 400),
        (with(&good, &[("code", "")]), 400),
        (
            with(&good, &[("state", "x"), ("iss", "https://other.test")]),
            400,
        ),
    ] {
        let (answered, page) = login.visit(&url).await;
        assert_eq!(answered, status, "{url}");
        assert!(!page.contains("close this page"), "{url}");
    }
    let http = reqwest::Client::new();
    let posted = http.post(good.clone()).send().await.unwrap();
    assert_eq!(posted.status(), 405);
    // A name of another site that leads to this machine.
    let rebound = http.get(good.clone()).header(HOST, "evil.test");
    assert_eq!(rebound.send().await.unwrap().status(), 404);
    // Nothing was sent to the server for these.
    assert!(server.seen("/token").is_empty());

    assert_eq!(login.visit(&good).await.0, 200);
    let done = login.finish().await;
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(server.seen("/token").len(), 1);
    // The listener is gone.
    assert!(reqwest::get(good).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_another_issuer_ends_the_sign_in() {
    for (fault, says) in [
        (Fault::OtherIss, "of the issuer `https://other.test`"),
        (Fault::NoIss, "does not say that it is of"),
    ] {
        let (server, machine) = (StandIn::doing(fault).await, Machine::new());
        let login = machine.begin(&server, &[]).await;
        let (status, page) = login.visit(&login.callback().await).await;
        assert!(
            status == 200 && page.contains("You are not signed in"),
            "{page}"
        );
        let done = login.finish().await;
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.stderr.contains(says), "{}", done.stderr);
        // The code stays unused.
        assert!(server.seen("/token").is_empty() && !machine.file().exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_server_is_printed_with_its_description() {
    let hint = "--scope admin:credentials:<principal>";
    for (error, code, has_hint) in [
        ("access_denied", 1, true),
        ("invalid_scope", 1, true),
        ("login_required", 1, false),
        ("temporarily_unavailable", 3, false),
        ("server_error", 3, false),
    ] {
        let (server, machine) = (StandIn::doing(Fault::Error(error)).await, Machine::new());
        let done = machine.sign_in(&server, &[]).await;
        assert_eq!(done.code, code, "{done:?}");
        let line = format!("refused: {error} - not today, \\u{{1b}}[31mPeter\n");
        assert!(done.stderr.contains(&line), "{}", done.stderr);
        assert_eq!(done.stderr.contains(hint), has_hint, "{}", done.stderr);
        assert!(!machine.file().exists());
    }
    let server = StandIn::doing(Fault::Error("access_denied")).await;
    let machine = Machine::new();
    let done = machine.sign_in(&server, &["--scope", "admin"]).await;
    assert!(done.stderr.contains("without --scope"), "{}", done.stderr);
    let done = machine
        .sign_in(&server, &["--resource", "https://registry.test/"])
        .await;
    assert!(
        done.code == 1 && !done.stderr.contains("--scope"),
        "{done:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_the_token_endpoint_is_printed() {
    let machine = Machine::new();
    for (fault, code, says) in [
        (
            Fault::Refuses("invalid_grant"),
            1,
            "invalid_grant - said the stand-in",
        ),
        (
            Fault::Refuses("invalid_scope"),
            1,
            "--scope admin:credentials:<principal>",
        ),
        (Fault::OtherTokenType, 3, "of the type `mac`"),
        (Fault::NoExpiry, 1, "when the token ends"),
    ] {
        let server = StandIn::doing(fault).await;
        let done = machine.sign_in(&server, &[]).await;
        assert_eq!(done.code, code, "{done:?}");
        assert!(done.stderr.contains(says), "{says}: {}", done.stderr);
        assert!(!machine.file().exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_token_with_anything_wrong_signs_nobody_in() {
    let machine = Machine::new();
    for (fault, says) in [
        (Fault::NoIdToken, "sent none"),
        (Fault::WrongNonce, "nonce: "),
        (Fault::NoNonce, "nonce: "),
        (Fault::WrongAudience, "aud: "),
        (Fault::TwoAudiences, "aud: "),
        (Fault::WrongIssuer, "iss: "),
        (Fault::Expired, "exp: "),
        (Fault::ForeignKey, "kid: "),
        (Fault::WrongAccessTokenHash, "at_hash: "),
        (Fault::Unsigned, "the ID token is not valid: "),
    ] {
        let server = StandIn::doing(fault).await;
        let done = machine.sign_in(&server, &[]).await;
        assert_eq!(done.code, 1, "{fault:?} {done:?}");
        let said = format!("{says}: {}", done.stderr);
        assert!(done.stderr.contains("the ID token is not valid"), "{said}");
        assert!(done.stderr.contains(says), "{said}");
        assert!(!machine.file().exists(), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_that_cannot_be_used_opens_no_page() {
    let machine = Machine::new();
    for (fault, code, says) in [
        (
            Fault::AnotherIssuer,
            2,
            "of the issuer `https://other.test`",
        ),
        (Fault::NoProvider, 1, "nobody can sign in"),
    ] {
        let server = StandIn::doing(fault).await;
        let done = machine.run(&["login", "--server", &server.url]).await;
        assert_eq!(done.code, code, "{done:?}");
        assert!(done.stderr.contains(says), "{}", done.stderr);
    }
    let server = StandIn::new().await;
    let slash = format!("{}/", server.url);
    let done = machine.run(&["login", "--server", &slash]).await;
    assert_eq!(done.code, 2, "the issuer is compared exactly: {done:?}");
    let plain = machine.run(&["login", "--server", "http://as.test"]).await;
    assert_eq!(plain.code, 2, "{plain:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_ever_and_a_login_that_is_stopped_leaves_nothing() {
    let (server, machine) = (StandIn::new().await, Machine::new());
    let login = machine.begin(&server, &["--timeout", "1"]).await;
    let done = login.finish().await;
    assert_eq!(done.code, 3, "{done:?}");
    assert!(
        done.stderr.contains("nobody signed in within 1 s"),
        "{done:?}"
    );

    // Shells let what runs in the background ignore the interrupt of the keyboard, and tests inherit that.
    let mut login = machine.begin(&server, &[]).await;
    let id = login.child.id().unwrap().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-TERM", &id])
        .status();
    assert!(killed.unwrap().success());
    let status = login.child.wait().await.unwrap();
    assert_eq!(status.signal(), Some(15), "{status:?}");
    assert!(!machine.file().exists());
}
