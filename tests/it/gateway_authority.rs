//! What the gateway asks of the server: which tokens it takes, and the audit events of publications.

use std::sync::Arc;

use carnet::app::App;
use carnet::audit::Outcome as Recorded;
use carnet::gateway::{GatewayAuthority, SettledByOperator, settle_by_operator};
use carnet::upstream::HttpFetch;
use carnet_gateway::{
    Authority as _, NewPublication, NoToken, Outcome, Publisher, RefusedPublication, Standing,
};
use carnet_resource_server::{AccessToken, Confirmation, PackageNames};
use serde_json::{Value, json};

use crate::support::{R2, World};

fn gateway(world: &World) -> GatewayAuthority {
    GatewayAuthority {
        app: world.server.app.clone(),
    }
}

/// An access token as a job gets it, and its contents as the gateway reads them.
async fn token(world: &World) -> (String, AccessToken) {
    // Each run has its own assertion.
    world.server.clock.advance(1);
    let text = world.exchange(&world.good()).await.token();
    let token = gateway(world).token("pypi", &text).await.unwrap().unwrap();
    (text, token)
}

/// A wheel of `widgets`, decided on the record of this moment.
async fn wheel(world: &World, publisher: Publisher) -> NewPublication {
    NewPublication {
        registry: "PyPI".to_owned(),
        package: "widgets".to_owned(),
        spelled: "Widgets".to_owned(),
        version: Some("1.0".to_owned()),
        file: Some("widgets-1.0-py3-none-any.whl".to_owned()),
        digest: Some(format!("sha256:{}", "a".repeat(64))),
        operation: "publish",
        adds: true,
        publisher,
        address: Some("192.0.2.7".parse().unwrap()),
        decided_on: gateway(world).package("PYPI", "widgets").await.unwrap(),
    }
}

fn with(token: &AccessToken) -> Publisher {
    Publisher::Token {
        token: Box::new(token.clone()),
        entry: Box::new(token.authorization_details[0].clone()),
    }
}

async fn reserve(world: &World, publisher: Publisher) -> String {
    let new = wheel(world, publisher).await;
    gateway(world).reserve(&new).await.unwrap().unwrap().id
}

fn refused(token: Option<&AccessToken>, version: &str) -> RefusedPublication {
    RefusedPublication {
        registry: "pypi".to_owned(),
        package: Some("widgets".to_owned()),
        version: Some(version.to_owned()),
        digest: None,
        operation: Some("publish"),
        token: token.cloned().map(Box::new),
        user: Some("__token__".to_owned()),
        reason: "package_not_covered",
        detail: "the token does not allow publish for widgets".to_owned(),
        address: Some("192.0.2.7".parse().unwrap()),
    }
}

#[tokio::test]
async fn a_token_counts_while_it_is_in_force_and_for_this_registry() {
    let world = World::new().await;
    let gateway = gateway(&world);
    let (text, token) = token(&world).await;
    assert_eq!(token.principal.unwrap().name, "joel");
    let of = async |registry: &str, text: &str| gateway.token(registry, text).await.unwrap();
    assert_eq!(of("crates", &text).await, Err(NoToken::OtherRegistry));
    let admin = world.server.admin_token("admin");
    assert_eq!(of("pypi", &admin).await, Err(NoToken::OtherRegistry));
    for nothing in ["", "cnt_x", "a.b.c", &text[..text.len() - 2]] {
        assert_eq!(
            of("pypi", nothing).await,
            Err(NoToken::Inactive),
            "{nothing}"
        );
    }
    assert!(gateway.token("nowhere", &text).await.is_err());
    // The entry of a rule that is disabled is void, at once on this replica.
    let off = json!({ "enabled": false });
    world
        .server
        .admin("PATCH", "federated-credentials/octo-release", off)
        .await;
    assert_eq!(of("pypi", &text).await, Err(NoToken::Inactive));
    let on = json!({ "enabled": true });
    world
        .server
        .admin("PATCH", "federated-credentials/octo-release", on)
        .await;
    let (text, _) = self::token(&world).await;
    world.server.clock.advance(901);
    assert_eq!(of("pypi", &text).await, Err(NoToken::Inactive));
}

#[tokio::test]
async fn a_token_is_judged_by_what_another_process_has_just_changed() {
    let world = World::new().await;
    let server = &world.server;
    let config = server.app.config.clone();
    let network = Arc::new(HttpFetch::of(&config));
    let clock = server.app.clock.clone();
    let (app, background) = App::beside(config, clock, network).await.unwrap();
    // Nothing brings its rules up to date any more.
    drop(background);
    let beside = GatewayAuthority { app };
    let (text, _) = token(&world).await;
    assert!(beside.token("pypi", &text).await.unwrap().is_ok());
    for (enabled, expected) in [(false, false), (true, true)] {
        let change = json!({ "enabled": enabled });
        let path = "federated-credentials/octo-release";
        let saved = server.admin("PATCH", path, change).await;
        assert_eq!(saved.status, 200, "{}", saved.text());
        let text = if enabled {
            token(&world).await.0
        } else {
            text.clone()
        };
        let found = beside.token("pypi", &text).await.unwrap();
        assert_eq!(found.is_ok(), expected, "{enabled}");
    }
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_is_told_with_its_key() {
    let world = World::new().await;
    let (_, token) = token(&world).await;
    let mut claims = serde_json::to_value(&token).unwrap();
    let plain = world.sign_as_server(&claims);
    let found = gateway(&world).token("pypi", &plain).await.unwrap();
    assert_eq!(found.unwrap().cnf, None);
    let thumbprint = "A".repeat(43);
    claims["cnf"] = json!({ "jkt": thumbprint });
    let bound = world.sign_as_server(&claims);
    let found = gateway(&world).token("pypi", &bound).await.unwrap();
    assert_eq!(found.unwrap().cnf, Some(Confirmation::Key(thumbprint)));
    claims["cnf"] = json!({ "kid": "unknown" });
    let odd = world.sign_as_server(&claims);
    assert_eq!(
        gateway(&world).token("pypi", &odd).await.unwrap(),
        Err(NoToken::Inactive)
    );
}

#[tokio::test]
async fn what_looks_like_our_token_is_known_by_prefix_or_issuer_even_after_its_end() {
    let world = World::new().await;
    let opaque = json!({ "resource": "https://registry.test/npm/", "token_format": "opaque", "token_prefix": "acme_", "actions": ["publish"] });
    world.server.put("resource-servers/npm", opaque).await;
    let gateway = gateway(&world);
    let (text, _) = token(&world).await;
    world.server.clock.advance(100_000);
    let ours = [
        text.as_str(),
        "cnt_anything",
        "acme_anything",
        &format!("{text}forged"),
    ];
    for ours in ours {
        assert!(gateway.is_own_form(ours), "{ours}");
    }
    let foreign = world.gh.sign(&world.claims());
    for other in ["", "pypi-AgEIcHlwaS5vcmc", "x", "a.b", &foreign] {
        assert!(!gateway.is_own_form(other), "{other}");
    }
}

#[tokio::test]
async fn terms_and_ownership_are_those_of_the_objects() {
    let world = World::new().await;
    let acme = json!({ "kind": "organization" });
    world.server.put("principals/acme", acme).await;
    let joel = json!({ "acts_for": ["acme"] });
    let answer = world.server.admin("PATCH", "principals/joel", joel).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let folding = json!({ "package_names": "pep503" });
    world
        .server
        .admin("PATCH", "resource-servers/pypi", folding)
        .await;
    let gateway = gateway(&world);
    assert_eq!(
        gateway.terms("PyPI").unwrap().package_names,
        PackageNames::Pep503
    );
    assert!(gateway.terms("nowhere").is_none());
    assert!(gateway.may_act_for("Joel", "ACME") && gateway.may_act_for("joel", "joel"));
    assert!(!gateway.may_act_for("acme", "joel") && !gateway.may_act_for("nobody", "nobody"));
}

#[tokio::test]
async fn an_accepted_publication_is_an_event_with_all_that_the_run_says_of_itself() {
    let world = World::new().await;
    let (_, token) = token(&world).await;
    let id = reserve(&world, with(&token)).await;
    let gateway = gateway(&world);
    assert_eq!(gateway.unsettled(-1, None).await.unwrap()[0].id, id);
    assert_eq!(gateway.unsettled(60, None).await.unwrap(), []);
    for _ in 0..2 {
        gateway.settle(&id, &Outcome::Accepted).await.unwrap();
    }
    let standing = gateway.package("pypi", "widgets").await.unwrap().standing;
    assert!(matches!(standing, Standing::Owned(owner) if owner.id == "pr_joel"));
    let events = world.server.audit("outcome=published").await;
    assert_eq!(events.len(), 1, "{events:#?}");
    let event = &events[0];
    let expected = json!({
        "kind": "publication", "reason": null, "principal": "joel", "credential_name": "octo-release", "trusted_issuer": "github",
        "resource": token.aud, "client_id": token.client_id, "token_id": token.jti, "subject": token.workload.as_ref().unwrap().sub,
        "repository": "octo-org/octo-repo", "address": "192.0.2.7",
    });
    for (member, value) in expected.as_object().unwrap() {
        assert_eq!(&event[member], value, "{member}: {event:#}");
    }
    let detail = &event["detail"];
    let expected = json!({
        "publication": id, "registry": "pypi", "package": "Widgets", "version": "1.0", "file": "widgets-1.0-py3-none-any.whl",
        "digest": format!("sha256:{}", "a".repeat(64)), "operation": "publish", "owner": "joel", "workload": token.workload,
    });
    assert_eq!(detail, &expected, "{detail:#}");
    // Found by what it says, and by the principal itself.
    for query in [
        "repository=octo-org/octo-repo&outcome=published",
        &format!("token_id={}&outcome=published", token.jti),
        "address=192.0.2.7",
        "principal=joel&outcome=published",
        "credential=octo-release&outcome=published",
    ] {
        let found = world.server.audit(query).await;
        assert!(
            found.iter().any(|found| found["id"] == event["id"]),
            "{query}"
        );
    }
    let path = "audit-events?outcome=published";
    let own = world
        .server
        .admin_as("admin:credentials:joel", "GET", path, Value::Null)
        .await
        .json();
    assert_eq!(
        own["items"][0]["detail"]["workload"]["claims"]["repository"],
        "octo-org/octo-repo"
    );
    world
        .server
        .put("principals/mallory", json!({ "kind": "user" }))
        .await;
    let other = world
        .server
        .admin_as("admin:credentials:mallory", "GET", path, Value::Null)
        .await
        .json();
    assert_eq!(other["items"], json!([]));
}

#[tokio::test]
async fn what_the_registry_refuses_and_what_is_unclear_are_events_and_an_operator_settles_them() {
    let world = World::new().await;
    let (_, token) = token(&world).await;
    let gateway = gateway(&world);
    let id = reserve(&world, with(&token)).await;
    gateway
        .settle(&id, &Outcome::Refused { status: Some(409) })
        .await
        .unwrap();
    assert_eq!(
        gateway.package("pypi", "widgets").await.unwrap().standing,
        Standing::Unrecorded
    );
    let events = world.server.audit("outcome=publication_refused").await;
    assert_eq!(events.len(), 1);
    assert_eq!(
        (
            &events[0]["reason"],
            &events[0]["detail"]["upstream_status"]
        ),
        (&json!("refused_by_registry"), &json!(409))
    );
    assert_eq!(events[0]["detail"]["detail"], "the registry answered 409");
    let id = reserve(&world, with(&token)).await;
    let why = "the connection ended before the answer".to_owned();
    gateway
        .settle(&id, &Outcome::Unclear { why: why.clone() })
        .await
        .unwrap();
    let events = world.server.audit("outcome=publication_unclear").await;
    assert_eq!(events[0]["detail"]["unclear"], why);
    let app = &world.server.app;
    let parsed = id.parse().unwrap();
    let said = async |published| settle_by_operator(app, parsed, published).await.unwrap();
    assert_eq!(said(true).await, SettledByOperator::Settled);
    assert_eq!(said(false).await, SettledByOperator::NotOpen);
    let events = world.server.audit("outcome=published").await;
    assert_eq!(
        (events.len(), &events[0]["detail"]["settled_by"]),
        (1, &json!("carnet-cli"))
    );
    // What may still be on its way to the registry is the gateway's to settle, for an hour.
    let mine = reserve(&world, with(&token)).await.parse().unwrap();
    assert_eq!(
        settle_by_operator(app, mine, false).await.unwrap(),
        SettledByOperator::MayBeForwarded
    );
    world.server.clock.advance(3600);
    assert_eq!(
        settle_by_operator(app, mine, false).await.unwrap(),
        SettledByOperator::Settled
    );
    assert!(
        app.store
            .publication(parsed)
            .await
            .unwrap()
            .unwrap()
            .by_operator
    );
}

#[tokio::test]
async fn equal_refusals_of_the_gateway_are_counted_in_one_event_and_strangers_leave_none() {
    let world = World::new().await;
    let (_, token) = token(&world).await;
    let gateway = gateway(&world);
    for _ in 0..3 {
        gateway.refused(refused(Some(&token), "1.0")).await;
    }
    world.server.clock.advance(1);
    gateway.refused(refused(Some(&token), "2.0")).await;
    gateway.refused(refused(None, "1.0")).await;
    let events = world.server.audit("outcome=publication_refused").await;
    assert_eq!(events.len(), 2, "{events:#?}");
    assert_eq!(
        (&events[1]["count"], &events[0]["count"]),
        (&json!(3), &json!(1))
    );
    let first = &events[1];
    assert_eq!(
        (&first["reason"], &first["detail"]["version"]),
        (&json!("package_not_covered"), &json!("1.0"))
    );
    assert_eq!(first["repository"], "octo-org/octo-repo");
    assert!(first["detail"].get("reason").is_none(), "{first:#}");
    world.server.clock.advance(1);
    // However many versions a job tries, the events stay few.
    for version in 0..40 {
        gateway
            .refused(refused(Some(&token), &format!("3.{version}")))
            .await;
    }
    let events = world.server.audit("outcome=publication_refused").await;
    assert_eq!(events.len(), 11);
    let of_the_rest = events
        .iter()
        .find(|event| event["count"].as_u64() > Some(3))
        .unwrap();
    assert_eq!(of_the_rest["detail"]["different_requests"], true);
    assert!(of_the_rest["detail"].get("version").is_none());
}

#[tokio::test]
async fn a_publication_with_the_registrys_own_credentials_says_so() {
    let world = World::new().await;
    let user = Some("old-hand".to_owned());
    let id = reserve(&world, Publisher::Passthrough { user }).await;
    gateway(&world)
        .settle(&id, &Outcome::Accepted)
        .await
        .unwrap();
    let standing = gateway(&world)
        .package("pypi", "widgets")
        .await
        .unwrap()
        .standing;
    assert_eq!(standing, Standing::Unowned);
    let events = world.server.audit("outcome=published").await;
    let detail = &events[0]["detail"];
    assert_eq!(
        (&detail["passthrough"], &detail["user"]),
        (&json!(true), &json!("old-hand"))
    );
    assert_eq!(events[0]["token_id"], Value::Null);
    assert_eq!(Recorded::from_word("published"), Some(Recorded::Published));
}

#[tokio::test]
async fn the_principal_of_a_nameless_door_sees_no_claims_of_a_run_that_did_not_ask_for_it() {
    let world = World::new().await;
    let door = json!({ "front_door": { "kind": "pypi", "hosts": ["pypi.test"] } });
    let answer = world
        .server
        .admin("PATCH", "resource-servers/pypi", door)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = world
        .server
        .admin(
            "PATCH",
            "federated-credentials/octo-release",
            json!({ "vouched": false }),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // Over /token the principal is named.
    world.server.clock.advance(1);
    let text = world
        .exchange_with(&world.good(), &[("principal", "joel")])
        .await
        .token();
    let token = gateway(&world).token("pypi", &text).await.unwrap().unwrap();
    let id = reserve(&world, with(&token)).await;
    gateway(&world)
        .settle(&id, &Outcome::Accepted)
        .await
        .unwrap();
    let path = "audit-events?outcome=published";
    let own = world
        .server
        .admin_as("admin:credentials:joel", "GET", path, Value::Null)
        .await
        .json();
    assert_eq!(own["items"][0]["detail"], json!({}), "{own:#}");
    assert_eq!(
        world.server.audit("outcome=published").await[0]["detail"]["registry"],
        "pypi"
    );
    assert_ne!(token.aud, R2);
}
