//! Every way to ask gets one answer: the token endpoint, `/explain`, the admin explanation, and `carnet policy test` where a case
//! can say the question.

use carnet::policy::{judge, read_cases};
use carnet::profile::Profiles;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

use super::delegation::{add_helper, helper, with_helpers};
use crate::support::{
    ACCESS_TOKEN, Answer, CLIENT_ASSERTION, Claims, JWT, JWT_BEARER, R1, R2, TOKEN_EXCHANGE, World,
};

/// Questions that are asked, in each world.
const QUESTIONS: usize = 220;

/// One question: what is presented, by whom, and what is asked for.
#[derive(Clone, Debug)]
struct Question {
    presents: Presents,
    grants: &'static [&'static str],
    workload: &'static str,
    capped: bool,
    used: bool,
    client: Option<&'static str>,
    actor: Option<u32>,
    resource: Option<&'static str>,
    scope: Option<&'static str>,
    package: Option<&'static str>,
    principal: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presents {
    Bearer,
    Subject,
    /// An access token that was got before.
    OwnToken,
    /// The assertion of a client without a key of its own.
    ClientAssertion,
    /// A client for itself.
    Client,
}

fn questions() -> impl Strategy<Value = Question> {
    let presents = prop_oneof![
        4 => Just(Presents::Bearer),
        3 => Just(Presents::Subject),
        1 => Just(Presents::OwnToken),
        1 => Just(Presents::ClientAssertion),
        1 => Just(Presents::Client),
    ];
    let grants = prop_oneof![
        6 => Just(["jwt-bearer", "token-exchange"].as_slice()),
        1 => Just(["jwt-bearer"].as_slice()),
        1 => Just(["token-exchange"].as_slice()),
    ];
    let workload = prop_oneof![
        8 => Just("good"), 1 => Just("other workflow"), 1 => Just("other repository"), 1 => Just("renamed"),
        1 => Just("other ids"), 1 => Just("banned"), 1 => Just("expired"), 1 => Just("other audience"), 1 => Just("soon over"),
    ];
    let client = prop_oneof![5 => Just(None), 2 => Just(Some("bot")), 1 => Just(Some("idle")), 1 => Just(Some("few"))];
    let actor = prop_oneof![4 => Just(None), 2 => Just(Some(0)), 1 => Just(Some(7))];
    let resource = prop_oneof![4 => Just(None), 3 => Just(Some(R1)), 1 => Just(Some(R2)), 1 => Just(Some("https://no.test/"))];
    let scope = prop_oneof![4 => Just(None), 2 => Just(Some("publish")), 1 => Just(Some("unlist"))];
    let package =
        prop_oneof![4 => Just(None), 2 => Just(Some("widgets")), 1 => Just(Some("gadgets"))];
    let principal =
        prop_oneof![5 => Just(None), 2 => Just(Some("JOEL")), 1 => Just(Some("nobody"))];
    (
        (
            presents,
            grants,
            workload,
            any::<bool>(),
            prop::bool::weighted(0.15),
        ),
        (client, actor, resource, scope, package, principal),
    )
        .prop_map(
            |(
                (presents, grants, workload, capped, used),
                (client, actor, resource, scope, package, principal),
            )| {
                Question {
                    presents,
                    grants,
                    workload,
                    capped,
                    used,
                    client,
                    actor,
                    resource,
                    scope,
                    package,
                    principal,
                }
            },
        )
}

/// A world with clients, and helpers that may act for the usual workload, of which the last may not.
async fn world(settings: &[(&str, &str)]) -> (World, Vec<(&'static str, String)>) {
    let world = World::with(settings).await;
    with_helpers(&world, 1).await;
    add_helper(&world, 7).await;
    let all = json!([JWT_BEARER, TOKEN_EXCHANGE, "client_credentials"]);
    let own = json!([{ "resource_server": "pypi", "actions": ["publish"], "packages": ["*"], "owner": "joel" }]);
    let mut secrets = Vec::new();
    for (name, document) in [
        ("bot", json!({ "grant_types": all, "permissions": own })),
        (
            "idle",
            json!({ "grant_types": all, "permissions": own, "enabled": false }),
        ),
        (
            "few",
            json!({ "grant_types": ["client_credentials"], "permissions": own }),
        ),
    ] {
        secrets.push((name, world.client(name, document).await));
    }
    let federated =
        json!({ "auth_method": "federated", "federated_credentials": ["octo-release"] });
    world.server.put("clients/robot", federated).await;
    (world, secrets)
}

impl Question {
    fn claims(&self, world: &World) -> Claims {
        let claims = world.claims();
        let workflow =
            |file: &str| format!("octo-org/octo-repo/.github/workflows/{file}@refs/heads/main");
        match self.workload {
            "other workflow" => claims.with("workflow_ref", workflow("other.yml")),
            "other repository" => helper(world, 3),
            "renamed" => claims.in_repository("octo-org/new-name"),
            "other ids" => claims.with("repository_id", "75"),
            "banned" => claims.with("event_name", "pull_request_target"),
            "expired" => claims
                .with("iat", world.server.now() - 900)
                .with("exp", world.server.now() - 600),
            "other audience" => claims.with("aud", "https://elsewhere.test"),
            "soon over" => claims.with("exp", world.server.now() + 100),
            _ => claims,
        }
    }

    /// The parameters that say what is wanted.
    fn wanted(&self) -> Vec<(&'static str, String)> {
        let details = self.package.map(|package| {
            json!([{ "type": "package", "actions": ["publish"], "packages": [package] }])
                .to_string()
        });
        [
            ("resource", self.resource.map(str::to_owned)),
            ("scope", self.scope.map(str::to_owned)),
            ("authorization_details", details),
            ("principal", self.principal.map(str::to_owned)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    /// The form of the token request, but for the secret of its client, which the other ways to ask do without.
    fn form(&self, world: &World, own_token: &str) -> Vec<(&'static str, String)> {
        let assertion = || world.gh.sign(&self.claims(world));
        let (grant, mut form) = match self.presents {
            Presents::Bearer => (JWT_BEARER, vec![("assertion", assertion())]),
            Presents::Subject => (
                TOKEN_EXCHANGE,
                vec![
                    ("subject_token", assertion()),
                    ("subject_token_type", JWT.to_owned()),
                ],
            ),
            Presents::OwnToken => (
                TOKEN_EXCHANGE,
                vec![
                    ("subject_token", own_token.to_owned()),
                    ("subject_token_type", ACCESS_TOKEN.to_owned()),
                ],
            ),
            Presents::ClientAssertion => (
                "client_credentials",
                vec![
                    ("client_id", "robot".to_owned()),
                    ("client_assertion", assertion()),
                    ("client_assertion_type", CLIENT_ASSERTION.to_owned()),
                ],
            ),
            Presents::Client => ("client_credentials", Vec::new()),
        };
        form.push(("grant_type", grant.to_owned()));
        if let Some(number) = self.actor.filter(|_| grant == TOKEN_EXCHANGE) {
            form.push(("actor_token", world.gh.sign(&helper(world, number))));
            form.push(("actor_token_type", JWT.to_owned()));
        }
        form.extend(self.wanted());
        form
    }

    fn client(&self) -> Option<&'static str> {
        match self.presents {
            Presents::ClientAssertion => None,
            Presents::Client => self.client.or(Some("bot")),
            _ => self.client,
        }
    }

    /// The same question as a case file asks it, if it can: a case presents one token, and no client.
    fn case(&self, claims: &Value, now: i64) -> Option<Value> {
        let grant = match self.presents {
            Presents::Bearer => JWT_BEARER,
            Presents::Subject if self.actor.is_none() => TOKEN_EXCHANGE,
            _ => return None,
        };
        if self.client.is_some() {
            return None;
        }
        let mut request: Map<String, Value> = self
            .wanted()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        request.insert("grant_type".to_owned(), json!(grant));
        let rule = json!({
            "principal": "joel", "trusted_issuer": "gh",
            "match": {
                "repository": "octo-org/octo-repo", "repository_owner_id": "65", "repository_id": "74",
                "workflow_file": "release.yml",
            },
            "permissions": [{
                "resource_server": "pypi", "actions": ["create", "publish"], "packages": ["widgets", "widgets-*"],
            }],
        });
        let issuer = json!({
            "profile": "github-actions", "issuer": claims["iss"], "audiences": [crate::support::CARNET],
            "grants": self.grants, "cap_at_assertion_expiry": self.capped,
        });
        Some(json!({
            "id": "question", "expect": "allow", "claims": claims, "request": request,
            "objects": {
                "principals": { "joel": { "kind": "user" } },
                "resource_servers": {
                    "pypi": { "resource": R1, "actions": ["create", "publish", "unlist"] },
                    "crates": { "resource": R2, "actions": ["create", "publish", "unlist"] },
                },
                "trusted_issuers": { "gh": issuer },
                "federated_credentials": { "octo-release": rule },
            },
            "context": { "now": now, "used": if self.used { json!(["this"]) } else { json!([]) } },
        }))
    }
}

/// A verdict, its reason, and how long the token lives.
type Said = (bool, Option<String>, Option<i64>);

/// What an answer says, be it a token, a refusal or an explanation.
fn said(answer: &Answer) -> Said {
    let body = answer.json();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(verdict) = body["verdict"].as_str() {
        // What the caller is told, where that is less than what is explained.
        let reason = text(&body["caller_reason"]).or_else(|| text(&body["reason"]));
        return (
            verdict == "allow",
            reason,
            body["granted"]["expires_in"].as_i64(),
        );
    }
    (
        answer.status == 200,
        text(&body["reason"]),
        body["expires_in"].as_i64(),
    )
}

/// Asks in every way; the answers have to agree.
async fn ask(
    world: &World,
    secrets: &[(&str, String)],
    own_token: &str,
    question: &Question,
) -> Said {
    world
        .trust(json!({ "grants": question.grants, "cap_at_assertion_expiry": question.capped }))
        .await;
    let form = question.form(world, own_token);
    let fields: Vec<(&str, &str)> = form
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let client = question.client();
    let secret = client.map(|client| {
        secrets
            .iter()
            .find(|(name, _)| *name == client)
            .unwrap()
            .1
            .as_str()
    });
    let headers: Vec<(&str, &str)> = secret
        .map(|secret| ("authorization", secret))
        .into_iter()
        .collect();
    if question.used {
        world.server.form_with("/token", &headers, &fields).await;
    }
    let explained = world.server.form_with("/explain", &headers, &fields).await;
    let mut body: Map<String, Value> = form
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    if let Some(details) = body.get("authorization_details").and_then(Value::as_str) {
        body["authorization_details"] = serde_json::from_str(details).unwrap();
    }
    if let Some(client) = client {
        body.insert("client_id".to_owned(), json!(client));
    }
    let disclosed = world
        .server
        .admin("POST", "explanations", Value::Object(body))
        .await;
    let answered = world.server.form_with("/token", &headers, &fields).await;
    let token = said(&answered);
    let all = || {
        format!(
            "{question:#?}\n/token {}\n/explain {}\nadmin {}",
            answered.text(),
            explained.text(),
            disclosed.text()
        )
    };
    assert_eq!(said(&explained), token, "/explain differs: {}", all());
    assert_eq!(
        said(&disclosed),
        token,
        "the admin explanation differs: {}",
        all()
    );
    let presented = form
        .iter()
        .find(|(name, _)| matches!(*name, "assertion" | "subject_token"));
    let payload = || presented.map(|(_, text)| super::assertion::payload(text));
    let is_foreign = matches!(question.presents, Presents::Bearer | Presents::Subject);
    if let Some(case) = is_foreign
        .then(payload)
        .flatten()
        .and_then(|claims| question.case(&claims, world.server.now()))
    {
        let case = read_cases(&json!([case]).to_string(), |_| unreachable!())
            .unwrap()
            .remove(0);
        let profiles = Profiles::load(None).unwrap();
        let verdict = judge(&case, &profiles).0;
        let whole = disclosed.json();
        let reason = whole["reason"].as_str().unwrap_or("ok");
        // A case has no limits.
        let agrees = (verdict.word() == "allow", verdict.reason()) == (token.0, reason);
        assert!(
            agrees || reason == "rate_limited",
            "policy test says {}: {}",
            verdict.reason(),
            all()
        );
    }
    token
}

fn runner() -> TestRunner {
    TestRunner::new_with_rng(
        Config::default(),
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    )
}

/// A token that can be exchanged.
async fn own_token(world: &World) -> String {
    world.exchange(&world.good()).await.token()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_7__every_way_to_ask_gets_the_same_answer() {
    let (world, secrets) = world(&[]).await;
    let token = own_token(&world).await;
    let mut runner = runner();
    let (mut allowed, mut reasons, mut lifetimes) = (
        0,
        std::collections::BTreeSet::new(),
        std::collections::BTreeSet::new(),
    );
    for _ in 0..QUESTIONS {
        let question = questions().new_tree(&mut runner).unwrap().current();
        let (verdict, reason, expires_in) = ask(&world, &secrets, &token, &question).await;
        allowed += usize::from(verdict);
        reasons.extend(reason);
        lifetimes.extend(expires_in);
    }
    // The questions reach what they are meant to reach.
    assert!(
        (QUESTIONS / 10..QUESTIONS * 9 / 10).contains(&allowed),
        "{allowed} of {QUESTIONS}"
    );
    for reason in [
        "grant_not_taken",
        "replay",
        "no_matching_credential",
        "actor_not_allowed",
        "scope_not_granted",
        "target_unknown",
        "package_out_of_scope",
        "client_authentication_failed",
        "client_not_allowed",
        "event_denied",
        "aud_mismatch",
    ] {
        assert!(
            reasons.contains(reason),
            "{reason} was never the answer: {reasons:?}"
        );
    }
    assert!(lifetimes.len() > 2, "{lifetimes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_7__every_way_to_ask_reports_the_same_rate_limits() {
    let limits = [
        ("CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CREDENTIAL", "1"),
        ("CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CLIENT", "1"),
    ];
    let (world, secrets) = world(&limits).await;
    let token = own_token(&world).await;
    let mut runner = runner();
    let mut limited = 0;
    for _ in 0..QUESTIONS / 2 {
        let question = questions().new_tree(&mut runner).unwrap().current();
        let (_, reason, _) = ask(&world, &secrets, &token, &question).await;
        limited += usize::from(reason.as_deref() == Some("rate_limited"));
    }
    assert!(limited > QUESTIONS / 20, "{limited}");
    // The limit is a line of the explanation, beside the conditions of the rule.
    let explained = world
        .server
        .admin("POST", "explanations", json!({ "assertion": world.good() }))
        .await
        .json();
    let conditions = explained["candidates"][0]["conditions"].as_array().unwrap();
    let line = conditions
        .iter()
        .find(|condition| condition["field"] == "rate_limit")
        .unwrap();
    assert_eq!(
        (&line["met"], &line["reason"]),
        (&json!(false), &json!("rate_limited")),
        "{explained:#}"
    );
}

#[tokio::test]
async fn review_s1__the_admin_explanation_refuses_what_the_grants_of_the_issuer_refuse() {
    let world = World::new().await;
    world.trust(json!({ "grants": ["token-exchange"] })).await;
    let assertion = world.good();
    for question in [
        json!({ "assertion": assertion }),
        json!({ "trusted_issuer": "github", "claims": world.claims().value() }),
    ] {
        let explained = world
            .server
            .admin("POST", "explanations", question.clone())
            .await
            .json();
        assert_eq!(
            (&explained["verdict"], &explained["reason"]),
            (&json!("deny"), &json!("grant_not_taken")),
            "{explained:#}"
        );
        // Which grants would take it is a line of the explanation, and the rules are judged all the same.
        let line = &explained["checks"][0];
        assert_eq!(
            (&line["field"], &line["expected"], &line["met"]),
            (
                &json!("grants"),
                &json!({ "any_of": ["token-exchange"] }),
                &json!(false)
            )
        );
        assert_eq!(explained["candidates"][0]["matches"], true, "{explained:#}");
        let mut exchanged = question;
        exchanged["grant_type"] = json!("token-exchange");
        let explained = world
            .server
            .admin("POST", "explanations", exchanged)
            .await
            .json();
        assert_eq!(
            (&explained["verdict"], &explained["checks"][0]["met"]),
            (&json!("allow"), &json!(true)),
            "{explained:#}"
        );
    }
    world
        .exchange(&assertion)
        .await
        .refused(400, "invalid_grant", "grant_not_taken");
}

#[tokio::test]
async fn review_s4__an_explanation_writes_no_audit_events() {
    let world = World::new().await;
    let other =
        World::rule_document(json!({ "repository": "octo-org/other", "repository_id": "99" }));
    world.server.put("federated-credentials/other", other).await;
    let robot = json!({ "auth_method": "federated", "federated_credentials": ["other"] });
    world.server.put("clients/robot", robot).await;
    let refused = async || {
        world.server.app.flush_audit().await;
        let events = world
            .server
            .admin("GET", "audit-events?outcome=refused", Value::Null)
            .await
            .json();
        events["items"].as_array().unwrap().len()
    };
    let (client, subject) = (world.good(), world.good());
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", subject.as_str()),
        ("client_id", "robot"),
        ("client_assertion_type", CLIENT_ASSERTION),
        ("client_assertion", client.as_str()),
    ];
    // The rules of the client do not admit it, and no rule matches the workload below: neither leaves a trace.
    assert_eq!(world.server.form("/explain", &form).await.status, 401);
    let strange = world.gh.sign(&world.claims().with("repository_id", "75"));
    let asked = world
        .server
        .form(
            "/explain",
            &[("grant_type", JWT_BEARER), ("assertion", &strange)],
        )
        .await;
    assert_eq!(asked.json()["verdict"], "deny");
    for question in [
        json!({ "assertion": strange }),
        json!({ "assertion": subject, "client_id": "robot", "client_assertion": client, "client_assertion_type": CLIENT_ASSERTION }),
    ] {
        assert_eq!(
            world
                .server
                .admin("POST", "explanations", question)
                .await
                .json()["verdict"],
            "deny"
        );
    }
    assert_eq!(refused().await, 0);
    // The same requests for a token do.
    world.server.form("/token", &form).await.refused(
        401,
        "invalid_client",
        "no_matching_credential",
    );
    world
        .exchange(&strange)
        .await
        .refused(400, "invalid_grant", "no_matching_credential");
    assert_eq!(refused().await, 2);
}

#[tokio::test]
async fn review_s5__an_explanation_tells_the_lifetime_that_the_token_has() {
    let world = World::new().await;
    let lives = async |assertion: &str, form: &[(&str, &str)], capped: i64| {
        let explained = world.server.form("/explain", form).await.json();
        let disclosed = world
            .server
            .admin("POST", "explanations", json!({ "assertion": assertion }))
            .await
            .json();
        let token = world.server.form("/token", form).await.json();
        for lifetime in [
            &explained["granted"]["expires_in"],
            &disclosed["granted"]["expires_in"],
            &token["expires_in"],
        ] {
            assert_eq!(*lifetime, capped, "{explained:#}\n{disclosed:#}\n{token:#}");
        }
    };
    let soon = |seconds: i64| {
        world
            .gh
            .sign(&world.claims().with("exp", world.server.now() + seconds))
    };
    let assertion = soon(100);
    lives(
        &assertion,
        &[("grant_type", JWT_BEARER), ("assertion", &assertion)],
        900,
    )
    .await;
    // Cut by the assertion, and by the end of the rule.
    world
        .trust(json!({ "cap_at_assertion_expiry": true }))
        .await;
    let assertion = soon(100);
    lives(
        &assertion,
        &[("grant_type", JWT_BEARER), ("assertion", &assertion)],
        100,
    )
    .await;
    let mut rule = World::rule_document(json!({}));
    rule["expires_at"] =
        json!(carnet::clock::Timestamp::from_seconds(world.server.now() + 70).to_string());
    world
        .server
        .put("federated-credentials/octo-release", rule)
        .await;
    let assertion = soon(100);
    lives(
        &assertion,
        &[("grant_type", JWT_BEARER), ("assertion", &assertion)],
        70,
    )
    .await;
}

#[tokio::test]
async fn contract_7__every_way_to_ask_refuses_a_used_actor_token() {
    let (world, _) = world(&[]).await;
    let actor = world.gh.sign(&helper(&world, 0));
    world.exchange(&actor).await;
    let subject = world.good();
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", subject.as_str()),
        ("subject_token_type", JWT),
        ("actor_token", actor.as_str()),
        ("actor_token_type", JWT),
    ];
    let question: Map<String, Value> = form
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    for answer in [
        world.server.form("/explain", &form).await,
        world
            .server
            .admin("POST", "explanations", Value::Object(question))
            .await,
        world.server.form("/token", &form).await,
    ] {
        assert_eq!(
            said(&answer),
            (false, Some("replay".to_owned()), None),
            "{}",
            answer.text()
        );
    }
    // The subject is as good as before.
    world.accepts().await;
    assert_eq!(world.trade(&subject, &[]).await.status, 200);
}

#[tokio::test]
async fn contract_7__every_way_to_ask_refuses_one_assertion_as_subject_and_actor() {
    let (world, _) = world(&[]).await;
    let assertion = world.gh.sign(&helper(&world, 0));
    let mut rule =
        World::rule_document(json!({ "repository": "octo-org/helper-0", "repository_id": "1000" }));
    rule["actors"] = json!(["helper-0"]);
    rule["principal"] = json!("owner-0");
    world
        .server
        .put("federated-credentials/helper-0", rule)
        .await;
    let both = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", assertion.as_str()),
        ("subject_token_type", JWT),
        ("actor_token", assertion.as_str()),
        ("actor_token_type", JWT),
    ];
    let question: Map<String, Value> = both
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    for answer in [
        world.server.form("/explain", &both).await,
        world
            .server
            .admin("POST", "explanations", Value::Object(question))
            .await,
        world.server.form("/token", &both).await,
    ] {
        assert_eq!(
            said(&answer),
            (false, Some("replay".to_owned()), None),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn contract_7__explain_shows_no_rules_for_a_used_assertion_under_another_grant() {
    let world = World::new().await;
    let used = world.good();
    assert_eq!(world.exchange(&used).await.status, 200);
    world.trust(json!({ "grants": ["jwt-bearer"] })).await;
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", used.as_str()),
        ("subject_token_type", JWT),
    ];
    let explained = world.server.form("/explain", &form).await.json();
    assert_eq!(
        (&explained["reason"], &explained["candidates"]),
        (&json!("grant_not_taken"), &json!([])),
        "{explained:#}"
    );
    assert!(
        !explained.to_string().contains("unused\",\"met\":true"),
        "{explained:#}"
    );
    let fresh = world.good();
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", fresh.as_str()),
        ("subject_token_type", JWT),
    ];
    let explained = world.server.form("/explain", &form).await.json();
    assert_eq!(
        explained["candidates"][0]["name"], "octo-release",
        "{explained:#}"
    );
}

#[tokio::test]
async fn contract_7__the_admin_explanation_judges_a_client_as_the_token_endpoint_would() {
    let (world, _) = world(&[]).await;
    let ask = async |question: Value| world.server.admin("POST", "explanations", question).await;
    // A public client proves nothing, so `may_act` does not bind it.
    let public = json!({ "auth_method": "none", "grant_types": [JWT_BEARER, TOKEN_EXCHANGE] });
    world.server.put("clients/public", public).await;
    let meant = world.claims().with(
        "may_act",
        json!({ "sub": "somebody else", "client_id": "other" }),
    );
    let subject = world.gh.sign(&meant);
    let explained =
        ask(json!({ "grant_type": "token-exchange", "assertion": subject, "client_id": "public" }))
            .await;
    let form = [("client_id", "public")];
    assert_eq!(
        said(&explained),
        said(&world.trade(&subject, &form).await),
        "{}",
        explained.text()
    );
    let explained = ask(
        json!({ "grant_type": "token-exchange", "assertion": world.gh.sign(&meant.with("jti", "j2")), "client_id": "bot" }),
    );
    assert_eq!(explained.await.json()["reason"], "actor_not_allowed");
    // One that proves itself by its rules is nothing without its assertion.
    for question in [
        json!({ "grant_type": "client_credentials", "client_id": "robot" }),
        json!({ "assertion": world.good(), "client_id": "robot" }),
    ] {
        let answer = ask(question).await;
        assert_eq!(answer.status, 422);
        assert_eq!(
            answer.json()["errors"][0]["pointer"],
            "/client_assertion",
            "{}",
            answer.text()
        );
    }
    // Absent is absent, and what cannot be meant is said.
    let claims = world.claims().value();
    let by_claims =
        ask(json!({ "assertion": null, "client_id": null, "trusted_issuer": "github", "claims": claims })).await;
    assert_eq!(by_claims.json()["verdict"], "allow", "{}", by_claims.text());
    for (question, pointer) in [
        (
            json!({ "trusted_issuer": "github", "claims": claims, "client_id": "bot" }),
            "/client_id",
        ),
        (
            json!({ "grant_type": "token-exchange", "assertion": "x", "subject_token_type": ACCESS_TOKEN }),
            "/subject_token_type",
        ),
        (
            json!({ "assertion": "x", "resource": "relative" }),
            "/resource",
        ),
        (
            json!({ "assertion": "x", "grant_type": "password" }),
            "/grant_type",
        ),
        (json!({}), ""),
    ] {
        let answer = ask(question).await;
        assert_eq!(answer.status, 422, "{pointer}: {}", answer.text());
        assert_eq!(
            answer.json()["errors"][0]["pointer"],
            pointer,
            "{}",
            answer.text()
        );
    }
    // A trusted issuer that is switched off is none.
    world.trust(json!({ "enabled": false })).await;
    let explained = ask(json!({ "trusted_issuer": "github", "claims": claims })).await;
    assert_eq!(
        said(&explained),
        said(&world.exchange(&world.good()).await),
        "{}",
        explained.text()
    );
}

#[tokio::test]
async fn contract_7__the_rate_limit_of_a_trusted_issuer_counts_tokens_of_all_its_rules() {
    let (world, _) = world(&[(
        "CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_TRUSTED_ISSUER",
        "2",
    )])
    .await;
    for _ in 0..2 {
        world.exchange(&world.good()).await.token();
    }
    // Another rule of the same trusted issuer is over the limit as well, whoever asks.
    let assertion = world.gh.sign(&helper(&world, 7));
    let explained = world
        .server
        .admin("POST", "explanations", json!({ "assertion": assertion }))
        .await;
    let answered = world.exchange(&assertion).await;
    answered.refused(429, "temporarily_unavailable", "rate_limited");
    assert_eq!(said(&explained), said(&answered), "{}", explained.text());
}

#[tokio::test]
async fn contract_7__explain_shows_a_rule_without_ids_only_to_a_workload_it_admits() {
    let (world, _) = world(&[]).await;
    let other = super::delegation::other_platform(&world).await;
    let mut rule = World::rule_document(json!({}));
    rule["trusted_issuer"] = json!("other");
    rule["match"] = json!({ "subject": "job-7" });
    world.server.put("federated-credentials/plain", rule).await;
    let now = world.server.now();
    let claims = |subject: &str| json!({ "iss": "https://other.test", "aud": crate::support::CARNET, "sub": subject, "jti": subject, "iat": now, "exp": now + 60 });
    let asked = async |subject: &str| {
        let assertion = other.key().sign(&claims(subject));
        world
            .server
            .form(
                "/explain",
                &[("grant_type", JWT_BEARER), ("assertion", &assertion)],
            )
            .await
            .json()
    };
    assert_eq!(asked("job-7").await["candidates"][0]["name"], "plain");
    assert_eq!(asked("job-8").await["candidates"], json!([]));
}

#[tokio::test]
async fn contract_6__the_scope_admin_credentials_may_not_ask_about_clients() {
    let (world, _) = world(&[]).await;
    let question = json!({ "grant_type": "client_credentials", "client_id": "bot" });
    let asked = async |scope: &str| {
        world
            .server
            .admin_as(scope, "POST", "explanations", question.clone())
            .await
    };
    assert_eq!(asked("admin:credentials").await.status, 422);
    assert_eq!(asked("admin:read").await.json()["verdict"], "allow");
}

#[tokio::test]
async fn contract_5__a_used_client_assertion_is_refused_and_recorded_as_replay() {
    let (world, _) = world(&[]).await;
    let client = world.good();
    let form = |scope: &'static str| {
        [
            ("grant_type", "client_credentials"),
            ("client_id", "robot"),
            ("client_assertion_type", CLIENT_ASSERTION),
            ("client_assertion", client.as_str()),
            ("scope", scope),
        ]
    };
    assert_eq!(
        world.server.form("/token", &form("publish")).await.status,
        200
    );
    world
        .server
        .form("/token", &form("unlist"))
        .await
        .refused(401, "invalid_client", "replay");
    world.server.app.flush_audit().await;
    let events = world
        .server
        .admin("GET", "audit-events?outcome=refused", Value::Null)
        .await
        .json();
    assert_eq!(events["items"][0]["reason"], "replay", "{events:#}");
    assert!(
        events["items"][0]["detail"]
            .to_string()
            .contains("scope_not_granted"),
        "{events:#}"
    );
}

#[tokio::test]
async fn contract_6__a_manager_of_one_principals_rules_may_ask_about_these_rules_alone() {
    let (world, _) = world(&[]).await;
    let token = own_token(&world).await;
    for (name, value) in [
        ("client_id", "bot"),
        ("actor_token", token.as_str()),
        ("client_assertion", token.as_str()),
        ("subject_token", token.as_str()),
    ] {
        let mut question = json!({ "assertion": world.good() });
        if name == "subject_token" {
            question = json!({ "grant_type": TOKEN_EXCHANGE, "subject_token_type": ACCESS_TOKEN });
        }
        question[name] = json!(value);
        let answer = world
            .server
            .admin_as("admin:credentials:joel", "POST", "explanations", question)
            .await;
        assert_eq!(answer.status, 422, "{name}: {}", answer.text());
        assert!(
            answer.text().contains(&format!("/{name}")),
            "{}",
            answer.text()
        );
    }
    let own = world
        .server
        .admin_as(
            "admin:credentials:joel",
            "POST",
            "explanations",
            json!({ "assertion": world.good() }),
        )
        .await;
    assert_eq!(
        (&own.json()["verdict"], &own.json()["candidates"][0]["name"]),
        (&json!("allow"), &json!("octo-release"))
    );
}
