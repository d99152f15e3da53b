//! The faults of providers, as they reach a browser.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::browser::Browser;
use super::refused;
use crate::sign_in::LOGIN;
use crate::sign_in_faults::{FAULTS, OF_STEP_UP};
use crate::support::{CLIENT_ID, CLIENT_SECRET, FakeProvider, Fault, TestServer};

const WORK: &str = "/console/sign-in/work";

async fn answered(login: &FakeProvider, browser: &mut Browser<'_>) -> crate::support::Answer {
    let location = browser.begin(WORK).await.parse().unwrap();
    let query = login.answers(&location);
    browser.get(&format!("{WORK}/callback?{query}")).await
}

#[tokio::test]
async fn oidcc_3_1_3_7_1__each_fault_of_a_provider_is_a_page_without_a_session() {
    let server = TestServer::start().await;
    let login = FakeProvider::new(LOGIN, server.now());
    server.network.add_service("login.test", login.router());
    let provider = json!({
        "issuer": LOGIN, "client_id": CLIENT_ID, "auth_method": "client_secret_basic", "client_secret": CLIENT_SECRET,
        "second_factor": { "acr": ["mfa", "hwk"] }, "claims_from": "userinfo", "algorithms": ["RS256", "ES256"],
    });
    server.put("identity-providers/work", provider).await;
    let operators =
        json!({ "identity_provider": "work", "match": { "sub": "p-1" }, "role": "operator" });
    server.put("memberships/operators", operators).await;
    let mut browser = Browser {
        server: &server,
        cookies: BTreeMap::new(),
        seen: Vec::new(),
        address: None,
    };
    let mut of_people: BTreeMap<&str, u64> = BTreeMap::new();
    for (fault, reason, _) in FAULTS {
        // The keys are known, and fetched anew after half a minute at the earliest.
        if OF_STEP_UP.contains(&fault) || fault == Fault::KeysMissing {
            continue;
        }
        login.does(fault);
        let answer = answered(&login, &mut browser).await;
        let status = match reason {
            "provider_mixed_up" => 400,
            "provider_unavailable" => 503,
            _ => 403,
        };
        refused(&answer, status, reason);
        assert!(
            browser.cookies.is_empty(),
            "{fault:?}: {:?}",
            browser.cookies
        );
        let is_person = matches!(
            reason,
            "second_factor_missing" | "groups_incomplete" | "claims_too_large" | "userinfo_invalid"
        );
        if is_person || fault == Fault::FutureAuthTime {
            *of_people.entry(reason).or_default() += 1;
        }
    }
    let rows = async |table: &str| -> i64 {
        let sql = format!("SELECT COUNT(*) FROM {table}");
        server.db.column(&sql).await[0]
    };
    assert_eq!((rows("session").await, rows("person").await), (0, 0));
    let events = server.audit("outcome=sign_in_refused").await;
    let counted: BTreeMap<&str, u64> = events
        .iter()
        .map(|event| {
            assert_eq!(
                (&event["subject"], &event["person"]),
                (&json!("p-1"), &Value::Null)
            );
            let count = event["count"].as_u64().unwrap();
            (event["reason"].as_str().unwrap(), count)
        })
        .collect();
    assert_eq!(counted, of_people);
    // Without a fault the same sign-in succeeds.
    login.does(None);
    let answer = answered(&login, &mut browser).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("https://as.test/console")),
        "{}",
        answer.text()
    );
    assert_eq!((rows("session").await, rows("person").await), (1, 1));
    assert!(browser.session().is_some());
}
