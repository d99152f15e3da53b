//! Delegation (RFC 8693 sections 1.1, 4.1, 4.4; decision D-19; attacks 7.10): who may act for whom, and that nobody forgets who did.

use serde_json::{Value, json};

use super::assertion::payload;
use super::exchange::{change, introspect, with_format};
use crate::support::{
    ACCESS_TOKEN, Answer, CARNET, Claims, FakeIssuer, GH, JWT, R2, TOKEN_EXCHANGE, TestKey, World,
};

/// A second workload of the platform: by its number.
pub fn helper(world: &World, number: u32) -> Claims {
    let repository = format!("octo-org/helper-{number}");
    world
        .claims()
        .in_repository(&repository)
        .with("repository_id", (1000 + number).to_string())
}

pub fn subject_of(number: u32) -> String {
    format!("repo:octo-org/helper-{number}:ref:refs/heads/main")
}

/// Rules for so many helpers, each of a principal of its own, that may act for the usual rule's workload.
pub async fn with_helpers(world: &World, count: u32) {
    for number in 0..count {
        add_helper(world, number).await;
    }
    let names: Vec<String> = (0..count)
        .map(|number| format!("helper-{number}"))
        .collect();
    let mut document = World::rule_document(json!({}));
    document["actors"] = json!(names);
    world
        .server
        .put("federated-credentials/octo-release", document)
        .await;
}

/// A rule for a helper that nobody names as actor.
pub async fn add_helper(world: &World, number: u32) {
    let principal = format!("owner-{number}");
    world
        .server
        .put(
            &format!("principals/{principal}"),
            json!({ "id": format!("pr_{number}"), "kind": "team" }),
        )
        .await;
    let mut document = World::rule_document(json!({
        "repository": format!("octo-org/helper-{number}"), "repository_id": (1000 + number).to_string(),
    }));
    document["principal"] = json!(principal);
    document["permissions"] =
        json!([{ "resource_server": "crates", "actions": ["unlist"], "packages": ["*"] }]);
    world
        .server
        .put(&format!("federated-credentials/helper-{number}"), document)
        .await;
}

/// Another platform, trusted like the first.
pub async fn other_platform(world: &World) -> FakeIssuer {
    let other = FakeIssuer::new("https://other.test", TestKey::rsa(1));
    world.server.network.add(&other);
    world
        .server
        .put(
            "trusted-issuers/other",
            json!({ "profile": "generic", "issuer": "https://other.test" }),
        )
        .await;
    other
}

/// The actor parameters for an assertion.
pub fn acting(assertion: &str) -> [(&str, &str); 2] {
    [("actor_token", assertion), ("actor_token_type", JWT)]
}

/// Lets a helper act with an assertion for whoever this token is of.
async fn act_for(world: &World, token: &str, number: u32) -> Answer {
    world
        .renew(token, &acting(&world.gh.sign(&helper(world, number))))
        .await
}

/// The `act` of helpers, the current one first.
fn act(numbers: &[u32]) -> Value {
    let nest = |inner: Value, number: &u32| {
        let mut act = json!({ "iss": GH, "sub": subject_of(*number) });
        if !inner.is_null() {
            act["act"] = inner;
        }
        act
    };
    numbers.iter().rev().fold(Value::Null, nest)
}

#[tokio::test]
async fn rfc8693_2_1_3__actor_token_and_actor_token_type_are_refused_without_each_other() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    let (assertion, actor) = (world.good(), world.gh.sign(&helper(&world, 0)));
    for ((name, value), missing) in [
        (acting(&actor)[0], "actor_token_type"),
        (acting(&actor)[1], "actor_token"),
        (("actor_token_type", "x"), "actor_token"),
    ] {
        let answer = world.trade(&assertion, &[(name, value)]).await;
        answer.refused(400, "invalid_request", "parameter_missing");
        assert_eq!(answer.json()["parameter"], missing);
    }
    let other = [
        ("actor_token", actor.as_str()),
        ("actor_token_type", "urn:ietf:params:oauth:token-type:saml2"),
    ];
    world
        .trade(&assertion, &other)
        .await
        .refused(400, "invalid_request", "token_type_unsupported");
    assert_eq!(
        payload(&world.trade(&assertion, &acting(&actor)).await.token())["act"],
        act(&[0])
    );
}

#[tokio::test]
async fn rfc8693_2_1_5__an_actor_token_is_checked_like_a_subject_token() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    let (assertion, held) = (world.good(), world.exchange(&world.good()).await.token());
    let actor = || helper(&world, 0);
    let past = crate::support::github(world.server.now() - 361);
    let evil = FakeIssuer::new("https://evil.test", TestKey::rsa(1));
    for (token, reason) in [
        (world.gh.sign(&past), "expired"),
        (
            evil.sign(&actor().with("iss", "https://evil.test")),
            "iss_unknown",
        ),
        (
            evil.key().named("rsa-0").sign(&actor().value()),
            "signature_invalid",
        ),
        (
            world
                .gh
                .sign(&actor().with("aud", "https://elsewhere.test")),
            "aud_mismatch",
        ),
        (
            world.gh.sign(&actor().with("cnf", json!({ "jkt": "x" }))),
            "proof_missing",
        ),
        (
            world.gh.sign(&actor().with("repository_id", "99")),
            "actor_not_allowed",
        ),
        ("x".to_owned(), "assertion_malformed"),
    ] {
        world
            .trade(&assertion, &acting(&token))
            .await
            .refused(400, "invalid_request", reason);
        world
            .renew(&held, &acting(&token))
            .await
            .refused(400, "invalid_request", reason);
    }
    let token = world.gh.sign(&actor());
    assert_eq!(
        payload(&world.trade(&assertion, &acting(&token)).await.token())["act"],
        act(&[0])
    );
    world
        .renew(&held, &acting(&token))
        .await
        .refused(400, "invalid_request", "replay");
}

#[tokio::test]
async fn rfc8693_2_1_5__actor_tokens_of_an_issuer_not_for_token_exchange_are_refused() {
    let world = World::new().await;
    let other = other_platform(&world).await;
    change(
        &world,
        "trusted-issuers/other",
        json!({ "grants": ["jwt-bearer"] }),
    )
    .await;
    let rule = json!({
        "principal": "joel", "trusted_issuer": "other", "match": { "subject": "job" },
        "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["x"] }],
    });
    world.server.put("federated-credentials/job", rule).await;
    let mut document = World::rule_document(json!({}));
    document["actors"] = json!(["job"]);
    world
        .server
        .put("federated-credentials/octo-release", document)
        .await;
    let job = || {
        other.sign(
            &world
                .claims()
                .with("iss", "https://other.test")
                .with("sub", "job"),
        )
    };
    let held = world.exchange(&world.good()).await.token();
    for answer in [
        world.trade(&world.good(), &acting(&job())).await,
        world.renew(&held, &acting(&job())).await,
    ] {
        answer.refused(400, "invalid_request", "grant_not_taken");
    }
    change(
        &world,
        "trusted-issuers/other",
        json!({ "grants": ["token-exchange"] }),
    )
    .await;
    world.renew(&held, &acting(&job())).await.token();
}

#[tokio::test]
async fn rfc8693_2_1_5__our_own_unrevoked_undelegated_token_can_be_the_actor_token() {
    let world = World::new().await;
    with_helpers(&world, 2).await;
    let held = world.exchange(&world.good()).await.token();
    let actors = world
        .exchange(&world.gh.sign(&helper(&world, 0)))
        .await
        .token();
    let ours = |token: &str| {
        [
            ("actor_token".to_owned(), token.to_owned()),
            ("actor_token_type".to_owned(), ACCESS_TOKEN.to_owned()),
        ]
    };
    let ask = async |token: &str| {
        let ours = ours(token);
        world
            .renew(
                &held,
                &ours
                    .each_ref()
                    .map(|(name, value)| (name.as_str(), value.as_str())),
            )
            .await
    };
    let delegated = ask(&actors).await.token();
    assert_eq!(
        payload(&delegated)["act"],
        json!({ "iss": CARNET, "sub": "pr_0" })
    );
    let mut bound = payload(&actors);
    bound["cnf"] = json!({ "jkt": "x" });
    let delegated_actor = act_for(&world, &held, 1).await.token();
    ask(&world.sign_as_server(&bound))
        .await
        .refused(400, "invalid_request", "proof_would_be_lost");
    for bad in [
        delegated_actor,
        world.gh.sign(&helper(&world, 0)),
        "x.y.z".to_owned(),
    ] {
        ask(&bad)
            .await
            .refused(400, "invalid_request", "actor_token_invalid");
    }
    assert_eq!(
        world
            .server
            .form("/revoke", &[("token", &actors)])
            .await
            .status,
        200
    );
    ask(&actors)
        .await
        .refused(400, "invalid_request", "actor_token_invalid");
}

#[tokio::test]
async fn rfc8693_4_1_1__an_act_claim_has_exactly_issuer_and_subject() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    let first = world.exchange(&world.good()).await.token();
    let claims = payload(&act_for(&world, &first, 0).await.token());
    let members: Vec<&String> = claims["act"].as_object().unwrap().keys().collect();
    assert_eq!(members, ["iss", "sub"]);
    for odd in [
        json!("x"),
        json!([]),
        json!([act(&[0])]),
        json!({}),
        json!({ "sub": "x" }),
        json!({ "iss": GH, "sub": 7 }),
        json!({ "iss": GH, "sub": "x", "exp": 1 }),
        json!({ "iss": GH, "sub": "x", "act": "y" }),
    ] {
        let mut claims = claims.clone();
        claims["act"] = odd;
        let token = world.sign_as_server(&claims);
        world
            .renew(&token, &[])
            .await
            .refused(400, "invalid_request", "subject_token_invalid");
    }
    world
        .renew(&world.sign_as_server(&claims), &[])
        .await
        .token();
}

#[tokio::test]
async fn rfc8693_4_1_2__the_current_actor_is_outermost() {
    for format in ["jwt", "opaque"] {
        let world = with_format(format).await;
        with_helpers(&world, 3).await;
        let mut token = world.exchange(&world.good()).await.token();
        for (number, expected) in [(0, act(&[0])), (1, act(&[1, 0])), (2, act(&[2, 1, 0]))] {
            token = act_for(&world, &token, number).await.token();
            let told = introspect(&world, "pypi", &token).await;
            assert_eq!((&told["act"], &told["sub"]), (&expected, &json!("pr_joel")));
        }
        let event = &world.server.audit("outcome=issued").await;
        assert!(
            event
                .iter()
                .any(|event| event["detail"]["act"] == act(&[2, 1, 0])),
            "{event:#?}"
        );
    }
}

#[tokio::test]
async fn rfc8693_4_1_3__earlier_actors_do_not_let_a_later_actor_act() {
    let world = World::new().await;
    with_helpers(&world, 2).await;
    add_helper(&world, 2).await;
    let first = act_for(&world, &world.exchange(&world.good()).await.token(), 0)
        .await
        .token();
    // That an earlier actor was allowed helps nobody,
    act_for(&world, &first, 2)
        .await
        .refused(400, "invalid_request", "actor_not_allowed");
    assert_eq!(
        payload(&act_for(&world, &first, 1).await.token())["act"],
        act(&[1, 0])
    );
    // and what was made with it ends with the rule that let it act.
    change(
        &world,
        "federated-credentials/helper-0",
        json!({ "enabled": false }),
    )
    .await;
    act_for(&world, &first, 1)
        .await
        .refused(400, "invalid_request", "subject_token_inactive");
}

#[tokio::test]
async fn rfc8693_4_1_4__an_exchange_without_an_actor_token_keeps_the_act_claim() {
    for format in ["jwt", "opaque"] {
        let world = with_format(format).await;
        with_helpers(&world, 1).await;
        let bot = world.client("bot", json!({})).await;
        let first = world.exchange(&world.good()).await.token();
        let delegated = act_for(&world, &first, 0).await.token();
        for answer in [
            world.renew(&delegated, &[]).await,
            world.renew(&delegated, &[("scope", "create")]).await,
            world.swap_as(&bot, &delegated, ACCESS_TOKEN, &[]).await,
        ] {
            assert_eq!(
                introspect(&world, "pypi", &answer.token()).await["act"],
                act(&[0])
            );
        }
        // The subject's own token has none, and gets none by itself.
        assert!(
            introspect(&world, "pypi", &world.renew(&first, &[]).await.token())
                .await
                .get("act")
                .is_none()
        );
    }
}

#[tokio::test]
async fn rfc8693_4_1_5__a_chain_has_four_actors_at_most() {
    for format in ["jwt", "opaque"] {
        let world = with_format(format).await;
        with_helpers(&world, 5).await;
        let mut token = world.exchange(&world.good()).await.token();
        for number in 0..4 {
            token = act_for(&world, &token, number).await.token();
        }
        let assertion = world.gh.sign(&helper(&world, 4));
        world.renew(&token, &acting(&assertion)).await.refused(
            400,
            "invalid_request",
            "chain_too_long",
        );
        // Narrowing it goes on, and the last actor's assertion is as good as before.
        let narrow = world.renew(&token, &[("scope", "create")]).await.token();
        assert_eq!(
            introspect(&world, "pypi", &narrow).await["act"],
            act(&[3, 2, 1, 0])
        );
        world.exchange(&assertion).await.token();
    }
}

#[tokio::test]
async fn atk_162__act_chains_of_more_than_four_actors_are_refused() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    let mut claims = payload(&world.exchange(&world.good()).await.token());
    let chain = |depth: usize| {
        (0..depth).fold(Value::Null, |inner, _| {
            let mut act = json!({ "iss": GH, "sub": subject_of(0) });
            if !inner.is_null() {
                act["act"] = inner;
            }
            act
        })
    };
    claims["act"] = chain(4);
    assert_eq!(
        payload(
            &world
                .renew(&world.sign_as_server(&claims), &[])
                .await
                .token()
        )["act"],
        chain(4)
    );
    for (depth, reason) in [(5, "chain_too_long"), (1000, "subject_token_invalid")] {
        // serde_json would not write such a text itself.
        let act = format!(
            "{}{}",
            r#"{"iss":"https://ci.test","sub":"x","act":"#.repeat(depth - 1),
            r#"{"iss":"a","sub":"b"}"#
        ) + &"}".repeat(depth - 1);
        claims["act"] = json!("HERE");
        let text = claims.to_string().replace("\"HERE\"", &act);
        let token = world
            .server
            .app
            .keys
            .ring()
            .unwrap()
            .active()
            .sign(text.as_bytes())
            .unwrap();
        for answer in [
            world.renew(&token, &[]).await,
            act_for(&world, &token, 0).await,
        ] {
            assert_eq!(
                (answer.status, &answer.json()["error"]),
                (400, &json!("invalid_request")),
                "{depth}"
            );
            answer.refused(400, "invalid_request", reason);
        }
        // A platform may write what it likes: it is not copied, and too deep is too deep.
        let mut of_platform = world.claims().value();
        of_platform["act"] = json!("HERE");
        let text = of_platform.to_string().replace("\"HERE\"", &act);
        let assertion = world.gh.key().sign_raw(
            world.gh.key().header().to_string().as_bytes(),
            text.as_bytes(),
        );
        let answer = world.trade(&assertion, &[]).await;
        if depth == 5 {
            assert!(payload(&answer.token()).get("act").is_none());
        } else {
            answer.refused(400, "invalid_request", "assertion_malformed");
        }
    }
    // An actor inside itself is a chain like any other.
    claims["act"] = chain(2);
    assert_eq!(
        payload(
            &act_for(&world, &world.sign_as_server(&claims), 0)
                .await
                .token()
        )["act"],
        chain(3)
    );
}

#[tokio::test]
async fn rfc8693_4_4_1__the_may_act_claim_admits_only_the_actor_that_it_names() {
    let world = World::new().await;
    for number in 0..2 {
        add_helper(&world, number).await;
    }
    let ask = async |may_act: Value, number: u32| {
        let subject = world.gh.sign(&world.claims().with("may_act", may_act));
        world
            .trade(&subject, &acting(&world.gh.sign(&helper(&world, number))))
            .await
    };
    let named = json!({ "sub": subject_of(0) });
    assert_eq!(
        payload(&ask(named.clone(), 0).await.token())["act"],
        act(&[0])
    );
    ask(named, 1)
        .await
        .refused(400, "invalid_request", "actor_not_allowed");
    ask(
        json!({ "iss": GH, "sub": subject_of(0), "repository_id": "1000" }),
        0,
    )
    .await
    .token();
    for other in [
        json!({ "iss": "https://other.test", "sub": subject_of(0) }),
        json!({ "sub": subject_of(0), "department": "release" }),
        json!({ "sub": subject_of(0), "repository_id": 1000 }),
    ] {
        ask(other, 0)
            .await
            .refused(400, "invalid_request", "actor_not_allowed");
    }
    // It limits rules as well: whoever the rule names has to be the one.
    with_helpers(&world, 2).await;
    ask(json!({ "sub": subject_of(0) }), 1).await.refused(
        400,
        "invalid_request",
        "actor_not_allowed",
    );
    ask(json!({ "sub": subject_of(1) }), 1).await.token();
}

#[tokio::test]
async fn rfc8693_4_4_1__without_an_actor_token_may_act_has_to_name_the_client() {
    let world = World::new().await;
    let (bot, other) = (
        world.client("bot", json!({})).await,
        world.client("other", json!({})).await,
    );
    let ask = async |client: &str, may_act: Value| {
        world
            .swap_as(
                client,
                &world.gh.sign(&world.claims().with("may_act", may_act)),
                JWT,
                &[],
            )
            .await
    };
    for may_act in [
        json!({ "sub": "bot" }),
        json!({ "client_id": "bot" }),
        json!({ "iss": CARNET, "sub": "bot" }),
    ] {
        assert_eq!(
            payload(&ask(&bot, may_act.clone()).await.token())["client_id"],
            "bot"
        );
        ask(&other, may_act)
            .await
            .refused(400, "invalid_request", "actor_not_allowed");
    }
    for may_act in [json!({}), json!("bot"), json!({ "iss": GH, "sub": "bot" })] {
        ask(&bot, may_act)
            .await
            .refused(400, "invalid_request", "actor_not_allowed");
    }
}

#[tokio::test]
async fn atk_153__malformed_and_near_miss_may_act_claims_admit_no_actor() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    let (sub, held) = (subject_of(0), act(&[0]));
    for may_act in [
        json!([held]),
        json!(sub),
        json!({}),
        json!(true),
        json!({ "sub": &sub[..sub.len() - 1] }),
        json!({ "sub": format!("{sub}/x") }),
        json!({ "sub": [sub] }),
        json!({ "sub": null }),
        json!({ "sub": sub.to_uppercase() }),
    ] {
        let subject = world
            .gh
            .sign(&world.claims().with("may_act", may_act.clone()));
        let answer = world
            .trade(&subject, &acting(&world.gh.sign(&helper(&world, 0))))
            .await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (400, "actor_not_allowed"),
            "{may_act}"
        );
    }
    // In a token of ours it says nothing: who may act is a matter of the rule.
    let mut claims = payload(&world.exchange(&world.good()).await.token());
    claims["may_act"] = json!({ "sub": "nobody" });
    act_for(&world, &world.sign_as_server(&claims), 0)
        .await
        .token();
}

#[tokio::test]
async fn rfc8693_4_4_2__an_actor_that_the_subjects_rule_does_not_name_is_refused() {
    for format in ["jwt", "opaque"] {
        let world = with_format(format).await;
        add_helper(&world, 0).await;
        let assertion = world.good();
        let actor = world.gh.sign(&helper(&world, 0));
        world.trade(&assertion, &acting(&actor)).await.refused(
            400,
            "invalid_request",
            "actor_not_allowed",
        );
        let held = world.exchange(&assertion).await.token();
        world.renew(&held, &acting(&actor)).await.refused(
            400,
            "invalid_request",
            "actor_not_allowed",
        );
        // The other way round it is no matter of consent either.
        let mut document = world
            .server
            .admin("GET", "federated-credentials/helper-0", Value::Null)
            .await
            .json();
        document["actors"] = json!(["octo-release"]);
        world
            .server
            .put("federated-credentials/helper-0", document)
            .await;
        world.renew(&held, &acting(&actor)).await.refused(
            400,
            "invalid_request",
            "actor_not_allowed",
        );
        with_helpers(&world, 1).await;
        let held = world.exchange(&world.good()).await.token();
        world.renew(&held, &acting(&actor)).await.token();
    }
}

#[tokio::test]
async fn wimsecx_obo_1__delegation_needs_an_actor_token_and_a_rule_that_names_the_actor() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    // Whoever presents the subject's token without an actor's is not recorded as one, allowed or not.
    let bot = world.client("bot", json!({})).await;
    for token in [
        world.trade(&world.good(), &[]).await.token(),
        world.swap_as(&bot, &world.good(), JWT, &[]).await.token(),
    ] {
        assert!(payload(&token).get("act").is_none());
    }
    // Without the name in the rule the same request is refused.
    let ask = async || {
        world
            .trade(&world.good(), &acting(&world.gh.sign(&helper(&world, 0))))
            .await
    };
    ask().await.token();
    world.rule("octo-release", json!({})).await;
    ask()
        .await
        .refused(400, "invalid_request", "actor_not_allowed");
}

#[tokio::test]
async fn atk_151__an_unrelated_actor_is_refused() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    let stranger = world
        .claims()
        .in_repository("mallory/x")
        .with("repository_owner_id", "6")
        .with("repository_id", "7");
    let (assertion, stranger) = (world.good(), world.gh.sign(&stranger));
    world.trade(&assertion, &acting(&stranger)).await.refused(
        400,
        "invalid_request",
        "actor_not_allowed",
    );
    let bot = world.client("bot", json!({ "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["x"], "owner": "joel" }] })).await;
    let itself = world
        .server
        .form_with(
            "/token",
            &[("authorization", &bot)],
            &[("grant_type", "client_credentials")],
        )
        .await;
    let own = [
        (
            "actor_token",
            itself.json()["access_token"].as_str().unwrap().to_owned(),
        ),
        ("actor_token_type", ACCESS_TOKEN.to_owned()),
    ];
    let own = own.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = world.swap_as(&bot, &assertion, JWT, &own).await;
    answer.refused(400, "invalid_request", "actor_not_allowed");
    world
        .trade(&assertion, &acting(&world.gh.sign(&helper(&world, 0))))
        .await
        .token();
}

#[tokio::test]
async fn atk_152__a_workload_cannot_be_its_own_actor_unless_its_rule_names_it() {
    let world = World::new().await;
    let assertion = world.good();
    world.trade(&assertion, &acting(&assertion)).await.refused(
        400,
        "invalid_request",
        "actor_not_allowed",
    );
    let held = world.exchange(&assertion).await.token();
    let own = |token| [("actor_token", token), ("actor_token_type", ACCESS_TOKEN)];
    world
        .renew(&held, &own(&held))
        .await
        .refused(400, "invalid_request", "actor_not_allowed");
    let mut document = World::rule_document(json!({}));
    document["actors"] = json!(["octo-release"]);
    world
        .server
        .put("federated-credentials/octo-release", document)
        .await;
    let held = world.exchange(&world.good()).await.token();
    let token = world.renew(&held, &own(&held)).await.token();
    assert_eq!(
        payload(&token)["act"],
        json!({ "iss": CARNET, "sub": "pr_joel" })
    );
    // One assertion is still not two.
    let assertion = world.good();
    world
        .trade(&assertion, &acting(&assertion))
        .await
        .refused(400, "invalid_request", "replay");
    world
        .trade(&assertion, &acting(&world.good()))
        .await
        .token();
}

#[tokio::test]
async fn atk_161__a_client_cannot_present_the_actor_token_of_another_client() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    let (mine, other) = (
        world.client("mine", json!({})).await,
        world.client("other", json!({})).await,
    );
    let actor = world
        .swap_as(&mine, &world.gh.sign(&helper(&world, 0)), JWT, &[])
        .await
        .token();
    let own = [
        ("actor_token", actor.as_str()),
        ("actor_token_type", ACCESS_TOKEN),
    ];
    for stranger in ["", &other] {
        let answer = world.swap_as(stranger, &world.good(), JWT, &own).await;
        answer.refused(400, "invalid_request", "token_of_another_client");
    }
    world.swap_as(&mine, &world.good(), JWT, &own).await.token();
}

#[tokio::test]
async fn wimsecx_life_1__a_delegated_token_ends_with_subject_token_actor_token_and_actor_rule() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    let held = world.exchange(&world.good()).await.token();
    let actors = world
        .exchange(&world.gh.sign(&helper(&world, 0)))
        .await
        .token();
    world.server.clock.advance(840);
    assert_eq!(act_for(&world, &held, 0).await.json()["expires_in"], 60);
    let own = [
        ("actor_token", actors.as_str()),
        ("actor_token_type", ACCESS_TOKEN),
    ];
    assert_eq!(
        world.trade(&world.good(), &own).await.json()["expires_in"],
        60
    );
    // Nor does a token outlive the rule of its actor.
    let end = carnet::clock::Timestamp::from_seconds(world.server.now() + 30).to_string();
    change(
        &world,
        "federated-credentials/helper-0",
        json!({ "expires_at": end }),
    )
    .await;
    let by_assertion = world
        .trade(&world.good(), &acting(&world.gh.sign(&helper(&world, 0))))
        .await;
    assert_eq!(by_assertion.json()["expires_in"], 30);
}

#[tokio::test]
async fn rfc8693_4_1_3__a_delegated_token_has_only_the_rights_of_rules_that_name_the_actor() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    // A second rule of the same workload names nobody: what it gives stays with the subject.
    let mut second = World::rule_document(json!({}));
    second["permissions"] =
        json!([{ "resource_server": "pypi", "actions": ["unlist"], "packages": ["gadgets"] }]);
    world
        .server
        .put("federated-credentials/second", second)
        .await;
    let held = world.exchange(&world.good()).await;
    assert_eq!(held.json()["scope"], "create publish unlist");
    let by_assertion = world
        .trade(&world.good(), &acting(&world.gh.sign(&helper(&world, 0))))
        .await;
    for answer in [act_for(&world, &held.token(), 0).await, by_assertion] {
        assert_eq!(answer.json()["scope"], "create publish");
        assert_eq!(
            answer.json()["authorization_details"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }
    let assertion = world.gh.sign(&helper(&world, 0));
    let wish = [&acting(&assertion)[..], &[("scope", "unlist")]].concat();
    world
        .renew(&held.token(), &wish)
        .await
        .refused(400, "invalid_scope", "scope_not_granted");
}

#[tokio::test]
async fn contract_7__explaining_a_delegation_uses_up_neither_assertion() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    add_helper(&world, 1).await;
    let (assertion, held) = (world.good(), world.exchange(&world.good()).await.token());
    let explain = async |subject: [(&str, &str); 2], actor: &str| {
        let form = [
            &[("grant_type", TOKEN_EXCHANGE)],
            subject.as_slice(),
            &acting(actor),
        ]
        .concat();
        world.server.form("/explain", &form).await.json()
    };
    let (allowed, stranger) = (
        world.gh.sign(&helper(&world, 0)),
        world.gh.sign(&helper(&world, 1)),
    );
    for subject in [
        [
            ("subject_token", assertion.as_str()),
            ("subject_token_type", JWT),
        ],
        [
            ("subject_token", held.as_str()),
            ("subject_token_type", ACCESS_TOKEN),
        ],
    ] {
        assert_eq!(explain(subject, &allowed).await["verdict"], "allow");
        assert_eq!(
            explain(subject, &stranger).await["reason"],
            "actor_not_allowed"
        );
    }
    world.trade(&assertion, &acting(&allowed)).await.token();
}

#[tokio::test]
async fn atk_082__a_refused_delegation_uses_up_neither_assertion() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    let (assertion, actor) = (world.good(), world.gh.sign(&helper(&world, 0)));
    let wish = |more| [&acting(&actor)[..], &[more]].concat();
    world
        .trade(&assertion, &wish(("scope", "unlist")))
        .await
        .refused(400, "invalid_scope", "scope_not_granted");
    world
        .trade(&assertion, &wish(("resource", R2)))
        .await
        .refused(400, "invalid_target", "target_not_granted");
    let used = world.good();
    world.exchange(&used).await.token();
    world
        .trade(&used, &acting(&actor))
        .await
        .refused(400, "invalid_request", "replay");
    world.trade(&assertion, &acting(&actor)).await.token();
}

#[tokio::test]
async fn wimse_ten_2__the_first_delegation_pins_the_repository_ids_of_the_actors_rule() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    let named = json!({ "repository": "octo-org/helper-0", "repository_id": null, "repository_owner_id": null });
    let mut document = World::rule_document(named);
    document["principal"] = json!("owner-0");
    let saved = world
        .server
        .put("federated-credentials/helper-0", document)
        .await;
    assert_eq!(
        (&saved["state"], &saved["pinned"]),
        (&json!("pending"), &json!({}))
    );
    let held = world.exchange(&world.good()).await.token();
    act_for(&world, &held, 0).await.token();
    let saved = world
        .server
        .admin("GET", "federated-credentials/helper-0", Value::Null)
        .await
        .json();
    assert_eq!(
        saved["pinned"],
        json!({ "repository_owner_id": "65", "repository_id": "1000" })
    );
    // Whoever has the name next is somebody else.
    let squatter = world
        .gh
        .sign(&helper(&world, 0).with("repository_id", "2000"));
    world.renew(&held, &acting(&squatter)).await.refused(
        400,
        "invalid_request",
        "actor_not_allowed",
    );
}

#[tokio::test]
async fn prof_tok_3__unreachable_keys_of_an_actors_issuer_are_answered_503() {
    let world = World::new().await;
    let away = json!({ "profile": "github-actions", "issuer": "https://away.test" });
    world
        .server
        .put("trusted-issuers/away?validate=offline", away)
        .await;
    let assertion = world.good();
    let actor = world
        .gh
        .sign(&world.claims().with("iss", "https://away.test"));
    let answer = world.trade(&assertion, &acting(&actor)).await;
    answer.refused(503, "temporarily_unavailable", "upstream_unavailable");
    assert!(answer.header("retry-after").is_some());
    world.trade(&assertion, &[]).await.token();
}

#[tokio::test]
async fn atk_153__may_act_does_not_admit_an_equal_subject_of_another_issuer() {
    let world = World::new().await;
    let other = other_platform(&world).await;
    let twin = || other.sign(&helper(&world, 0).with("iss", "https://other.test"));
    let ask = async |may_act: Value| {
        let subject = world.gh.sign(&world.claims().with("may_act", may_act));
        world.trade(&subject, &acting(&twin())).await
    };
    let sub = subject_of(0);
    ask(json!({ "sub": sub }))
        .await
        .refused(400, "invalid_request", "actor_not_allowed");
    ask(json!({ "iss": GH, "sub": sub })).await.refused(
        400,
        "invalid_request",
        "actor_not_allowed",
    );
    let named = ask(json!({ "iss": "https://other.test", "sub": sub }))
        .await
        .token();
    assert_eq!(
        payload(&named)["act"],
        json!({ "iss": "https://other.test", "sub": sub })
    );
}

#[tokio::test]
async fn atk_158__revoking_an_actor_token_ends_the_tokens_made_with_it() {
    for format in ["jwt", "opaque"] {
        let world = with_format(format).await;
        with_helpers(&world, 1).await;
        let actors = world
            .exchange(&world.gh.sign(&helper(&world, 0)))
            .await
            .token();
        let own = [
            ("actor_token", actors.as_str()),
            ("actor_token_type", ACCESS_TOKEN),
        ];
        let held = world.exchange(&world.good()).await.token();
        let made = [
            world.renew(&held, &own).await.token(),
            world.trade(&world.good(), &own).await.token(),
        ];
        let further = world.renew(&made[0], &[]).await.token();
        assert_eq!(
            world
                .server
                .form("/revoke", &[("token", &actors)])
                .await
                .status,
            200
        );
        for token in made.iter().chain([&further]) {
            world
                .renew(token, &[])
                .await
                .refused(400, "invalid_request", "subject_token_inactive");
            assert_eq!(
                introspect(&world, "pypi", token).await,
                json!({ "active": false })
            );
        }
        world.renew(&held, &[]).await.token();
    }
}

#[tokio::test]
async fn wimsecx_life_2__a_delegated_token_can_be_made_to_end_with_the_actors_assertion() {
    let world = World::new().await;
    let other = other_platform(&world).await;
    let subject = || {
        world.gh.sign(&world.claims().with(
            "may_act",
            json!({ "iss": "https://other.test", "sub": "job" }),
        ))
    };
    let now = world.server.now();
    let job = || {
        other.sign(
            &world
                .claims()
                .with("iss", "https://other.test")
                .with("sub", "job")
                .with("exp", now + 90),
        )
    };
    assert_eq!(
        world.trade(&subject(), &acting(&job())).await.json()["expires_in"],
        900
    );
    change(
        &world,
        "trusted-issuers/other",
        json!({ "cap_at_assertion_expiry": true }),
    )
    .await;
    assert_eq!(
        world.trade(&subject(), &acting(&job())).await.json()["expires_in"],
        90
    );
}

#[tokio::test]
async fn sec_c1b__self_service_rules_for_an_actors_workload_do_not_change_the_token() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    let act = async || {
        world
            .trade(&world.good(), &acting(&world.gh.sign(&helper(&world, 0))))
            .await
    };
    let before = act().await;
    world
        .server
        .put(
            "principals/mallory",
            json!({ "id": "pr_mallory", "kind": "user" }),
        )
        .await;
    for number in 0..60 {
        let mut document = World::rule_document(
            json!({ "repository": "octo-org/helper-0", "repository_id": "1000" }),
        );
        document["principal"] = json!("mallory");
        let path = format!("federated-credentials/hers-{number}");
        assert_eq!(
            world
                .server
                .admin_as("admin:credentials:mallory", "PUT", &path, document)
                .await
                .status,
            201
        );
    }
    let after = act().await;
    assert_eq!(after.token().len(), before.token().len());
    assert_eq!(
        after.json()["authorization_details"],
        before.json()["authorization_details"]
    );
    let held = world.exchange(&world.good()).await.token();
    act_for(&world, &held, 0).await.token();
}

#[tokio::test]
async fn contract_6__the_owner_of_an_actors_rule_sees_that_it_acted_and_no_details() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    world
        .trade(&world.good(), &acting(&world.gh.sign(&helper(&world, 0))))
        .await
        .token();
    let seen = async |principal: &str| {
        let path = format!("audit-events?outcome=issued&principal={principal}");
        let page = world
            .server
            .admin_as(
                &format!("admin:credentials:{principal}"),
                "GET",
                &path,
                Value::Null,
            )
            .await;
        page.json()["items"][0].clone()
    };
    let (joels, lenders) = (seen("joel").await, seen("owner-0").await);
    assert!(
        joels["detail"]["workload"]["sub"].is_string() && joels["token_id"].is_string(),
        "{joels}"
    );
    assert_eq!(lenders["id"], joels["id"]);
    for hidden in [
        "address",
        "subject",
        "assertion",
        "client_id",
        "token_id",
        "trusted_issuer",
        "resource",
    ] {
        assert_eq!(lenders[hidden], Value::Null, "{lenders}");
    }
    assert_eq!(
        (&lenders["detail"], &lenders["principal"]),
        (&json!({}), &json!("owner-0"))
    );
    let rule = world
        .server
        .admin("GET", "federated-credentials/helper-0", Value::Null)
        .await
        .json();
    assert_eq!(lenders["credential"], rule["id"]);
}
