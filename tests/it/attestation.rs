//! Trusted issuers for whose keys the RPKI vouches. The RPKI is a toy that `openssl` alone has built; the
//! copy of it lies where `rpki-client` would put it.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use carnet_toy_rpki::{
    AUDIENCE, Attestation, CONTENT_TYPE, Holdings, PURPOSE, SignedMessage, ToyRpki, Window,
};
use serde_json::{Value, json};

use crate::support::{Answer, Claims, FakeIssuer, TestKey, TestServer, World, github};

const PEER: &str = "https://as64496.test";
/// The agent for whom the rule is.
const AGENT: &str = "agent-7";

/// A server that trusts the provider of a network, and that network's RPKI.
struct Peering {
    world: World,
    toy: ToyRpki,
    provider: FakeIssuer,
}

fn real_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// The octets that are signed, by code that the server does not share: names sorted at every depth,
/// without white space.
fn octets(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            let members = sorted
                .into_iter()
                .map(|(name, value)| format!("\"{name}\":{}", octets(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(octets).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
}

impl Peering {
    /// The provider publishes an attested set; the rule is for AS64496 and one agent.
    async fn new() -> Self {
        let peering = Self::unattested().await;
        peering.publish(&Attestation::default());
        peering
    }

    async fn unattested() -> Self {
        let toy = ToyRpki::new();
        let cache = toy.cache().display().to_string();
        let tals = toy.tal_dir().display().to_string();
        let server = TestServer::at(
            real_now(),
            &[
                ("CARNET_RPKI__REPOSITORY__LAYOUT", "rpki-client"),
                ("CARNET_RPKI__REPOSITORY__DIR", &cache),
                ("CARNET_RPKI__TAL_DIR", &tals),
                ("CARNET_RPKI__RSM__CONTENT_TYPE", CONTENT_TYPE),
                ("CARNET_RPKI__RSM__AUDIENCE", AUDIENCE),
                ("CARNET_RPKI__RSM__PURPOSE", PURPOSE),
            ],
        )
        .await;
        let world = World::on(server).await;
        let provider = FakeIssuer::new(PEER, TestKey::rsa(1));
        world.server.network.add(&provider);
        let peering = Self {
            world,
            toy,
            provider,
        };
        peering
            .trust(json!({ "asns": ["AS64496-AS64499"], "prefixes": ["192.0.2.0/24"] }))
            .await;
        peering
            .rule("peer", json!({ "asn": "AS64496", "subject": AGENT }))
            .await;
        peering
    }

    async fn trust(&self, speaks_for: Value) {
        let document = json!({
            "profile": "rpki", "issuer": PEER, "attestation": { "speaks_for": speaks_for },
        });
        self.world
            .server
            .put("trusted-issuers/peer?validate=offline", document)
            .await;
    }

    async fn rule(&self, name: &str, matched: Value) {
        let rule = json!({
            "principal": "joel", "trusted_issuer": "peer", "match": matched,
            "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] }],
        });
        let path = format!("federated-credentials/{name}");
        self.world.server.put(&path, rule).await;
    }

    /// The set of the provider's present key.
    fn set(&self) -> Value {
        json!({ "keys": [self.provider.key().jwk()], "issuer": PEER })
    }

    /// Has the present key attested and publishes the set.
    fn publish(&self, attestation: &Attestation) -> SignedMessage {
        let message = self
            .toy
            .network
            .attest(octets(&self.set()).as_bytes(), attestation);
        self.publish_with(&message);
        message
    }

    fn publish_with(&self, message: &SignedMessage) {
        let mut document = self.set();
        document["rpki_attestation"] = json!(message.base64url());
        self.provider.publish_raw(document.to_string());
    }

    fn claims(&self) -> Claims {
        github(self.world.server.now())
            .with("iss", PEER)
            .with("sub", AGENT)
            .with("email", "noc@as64496.example")
    }

    async fn ask(&self) -> Answer {
        self.ask_with(self.claims()).await
    }

    async fn ask_with(&self, claims: Claims) -> Answer {
        self.world.exchange(&self.provider.sign(&claims)).await
    }

    /// So late that keys may be fetched again.
    fn later(&self) {
        self.world.server.clock.advance(31);
    }

    async fn status(&self) -> Value {
        let path = "trusted-issuers/peer/status";
        self.world
            .server
            .admin("GET", path, Value::Null)
            .await
            .json()["attested"]
            .clone()
    }
}

#[tokio::test]
async fn rpki_idp_1__keys_count_only_while_the_rpki_vouches_for_them() {
    let peering = Peering::unattested().await;
    let unattested = peering.ask().await;
    unattested.refused(503, "temporarily_unavailable", "attestation_missing");
    assert!(unattested.header("retry-after").is_some());
    assert_eq!(peering.status().await["step"], "missing");

    peering.later();
    peering.publish(&Attestation::default());
    peering.ask().await.token();
    let status = peering.status().await;
    assert_eq!(status["asns"], json!(["AS64496"]));
    assert_eq!(status["trust_anchor"], "toy");
    assert_eq!(status["step"], Value::Null);

    // A later set without an attestation is not used; the keys of before go on.
    peering.later();
    peering.world.server.clock.advance(600);
    peering.provider.publish_properly();
    peering.ask().await.token();
}

#[tokio::test]
async fn rpki_idp_1__an_attestation_that_does_not_count_is_told_with_its_step() {
    let other = "1.3.6.1.4.1.32473.9".to_owned();
    for (attestation, reason, step) in [
        (
            Attestation {
                purpose: other.clone(),
                ..Attestation::default()
            },
            "attestation_purpose",
            "purpose",
        ),
        (
            Attestation {
                content_type: other,
                ..Attestation::default()
            },
            "attestation_purpose",
            "content_type",
        ),
        (
            Attestation {
                holdings: Holdings::inherit(),
                ..Attestation::default()
            },
            "attestation_malformed",
            "inherit",
        ),
        (
            Attestation {
                window: Window::around_now(7200, -60),
                ..Attestation::default()
            },
            "attestation_expired",
            "time",
        ),
        (
            Attestation {
                window: Window::around_now(60, 91 * 86400),
                ..Attestation::default()
            },
            "attestation_expired",
            "time",
        ),
        (
            Attestation {
                asns: vec!["64498".to_owned()],
                ..Attestation::default()
            },
            "attestation_untrusted",
            "containment",
        ),
    ] {
        let peering = Peering::unattested().await;
        peering.publish(&attestation);
        let answer = peering.ask().await;
        answer.refused(400, "invalid_grant", reason);
        assert!(
            answer.text().contains(&format!("at the step {step}")),
            "{}",
            answer.text()
        );
        assert_eq!(peering.status().await["step"], step);
    }
}

#[tokio::test]
async fn atk_210__keys_are_read_from_what_was_signed() {
    let peering = Peering::unattested().await;
    let message = peering.publish(&Attestation::default());
    // Another key in the set, under the same attestation.
    let mut document = peering.set();
    let stranger = TestKey::rsa(2);
    document["keys"]
        .as_array_mut()
        .unwrap()
        .push(stranger.jwk());
    document["rpki_attestation"] = json!(message.base64url());
    peering.provider.publish_raw(document.to_string());
    peering
        .ask()
        .await
        .refused(400, "invalid_grant", "attestation_mismatch");

    // What was signed for another issuer, published by this one.
    let mut of_other = peering.set();
    of_other["issuer"] = json!("https://as64497.test");
    let signed = octets(&of_other);
    let message = peering
        .toy
        .network
        .attest(signed.as_bytes(), &Attestation::default());
    of_other["rpki_attestation"] = json!(message.base64url());
    peering.provider.publish_raw(of_other.to_string());
    peering.later();
    let answer = peering.ask().await;
    answer.refused(400, "invalid_grant", "attestation_mismatch");
    assert_eq!(peering.status().await["step"], "issuer");
}

#[tokio::test]
async fn atk_192__a_set_that_can_be_written_in_two_ways_is_not_used() {
    let peering = Peering::unattested().await;
    let message = peering.publish(&Attestation::default());
    let stranger = json!([TestKey::rsa(2).jwk()]).to_string();
    let set = octets(&peering.set());
    let attestation = message.base64url();
    for (document, reason) in [
        // What one reader signs, and another one uses.
        (
            format!(
                "{{\"keys\":{stranger},\"rpki_attestation\":\"{attestation}\",{}",
                &set[1..]
            ),
            "attestation_malformed",
        ),
        (
            format!(
                "{{\"x\":1.0,\"rpki_attestation\":\"{attestation}\",{}",
                &set[1..]
            ),
            "attestation_malformed",
        ),
        (
            format!(
                "{{\"\\u0078\":1,\"rpki_attestation\":\"{attestation}\",{}",
                &set[1..]
            ),
            "attestation_malformed",
        ),
    ] {
        peering.provider.publish_raw(document);
        let answer = peering.ask().await;
        assert_eq!(answer.reason(), reason, "{}", answer.text());
        peering.later();
    }
}

#[tokio::test]
async fn rpki_idp_4__newer_attestations_are_looked_for() {
    let peering = Peering::new().await;
    peering.ask().await.token();
    assert_eq!(peering.provider.key_fetches(), 1);
    // The set names no age, so it is fresh for five minutes.
    peering.world.server.clock.advance(299);
    peering.ask().await.token();
    assert_eq!(peering.provider.key_fetches(), 1);
    peering.world.server.clock.advance(302);
    peering.ask().await.token();
    assert_eq!(peering.provider.key_fetches(), 2);
}

#[tokio::test]
async fn rpki_idp_2__a_rule_is_for_what_is_attested_and_no_claim_widens_it() {
    let peering = Peering::new().await;
    peering.rule("peer", json!({ "asn": 64496 })).await;
    peering.ask().await.token();
    for (claim, outcome) in [
        (json!(64496), Ok(())),
        (json!("AS64496"), Ok(())),
        (json!([64496]), Ok(())),
        (json!(64497), Err("resource_not_attested")),
        (json!([64496, 64497]), Err("resource_not_attested")),
        (json!("AS64496-AS64497"), Err("claim_malformed")),
        (json!(true), Err("claim_type")),
        // Whoever presents an assertion is not told which member of a rule it misses.
        (json!([]), Err("no_matching_credential")),
    ] {
        let answer = peering
            .ask_with(peering.claims().with("asn", claim.clone()))
            .await;
        match outcome {
            Ok(()) => drop(answer.token()),
            Err(reason) => assert_eq!(answer.reason(), reason, "{claim}: {}", answer.text()),
        }
    }
    // Attested, but the trusted issuer does not speak for it any more.
    peering.trust(json!({ "asns": ["AS64497"] })).await;
    peering
        .ask()
        .await
        .refused(400, "invalid_grant", "attestation_untrusted");
}

#[tokio::test]
async fn rpki_idp_7__a_claim_does_not_replace_the_verdict() {
    let peering = Peering::new().await;
    peering.rule("peer", json!({ "asn": "AS64497" })).await;
    let attested = json!({ "asns": ["AS64497"], "prefixes": [], "trust_anchor": "toy" });
    let claims = peering
        .claims()
        .with("attested", attested.clone())
        .with("workload", json!({ "attested": attested }));

    let refused = peering.ask_with(claims.clone()).await;
    refused.refused(400, "invalid_grant", "no_matching_credential");
    peering.rule("peer", json!({ "asn": "AS64496" })).await;
    peering
        .ask_with(claims.with("jti", "another"))
        .await
        .token();
}

#[tokio::test]
async fn rpki_idp_2__a_prefix_is_attested_as_a_whole() {
    let peering = Peering::unattested().await;
    peering.publish(&Attestation {
        ipv4: vec!["C00002".to_owned()],
        ..Attestation::default()
    });
    for (prefix, fits) in [
        (json!("192.0.2.0/24"), true),
        (json!("192.0.2.128/25"), true),
        (
            json!({ "any_of": ["198.51.100.0/24", "192.0.2.0/28"] }),
            true,
        ),
        (json!("192.0.0.0/16"), false),
        (json!("198.51.100.0/24"), false),
        (json!("2001:db8::/32"), false),
    ] {
        peering
            .rule("peer", json!({ "prefix": prefix, "subject": AGENT }))
            .await;
        let answer = peering.ask().await;
        assert_eq!(answer.status == 200, fits, "{prefix}");
        assert!(
            fits || answer.reason() == "no_matching_credential",
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn rpki_idp_2__the_token_says_what_is_attested_and_who_asked() {
    let peering = Peering::unattested().await;
    peering.publish(&Attestation {
        asns: vec!["64496-64497".to_owned()],
        ..Attestation::default()
    });
    let token_of = async |claims: Claims| {
        let token = peering.ask_with(claims).await.token();
        let payload = token.split('.').nth(1).unwrap();
        let payload = carnet_jose::from_base64url(payload).unwrap();
        serde_json::from_slice::<Value>(&payload).unwrap()
    };
    let whole = token_of(peering.claims()).await;
    assert_eq!(
        whole["workload"]["attested"]["asns"],
        json!(["AS64496-AS64497"])
    );

    // A claim narrows what is attested, and the token says so.
    let claims = token_of(peering.claims().with("asn", json!(64496))).await;
    assert_eq!(
        claims["workload"]["attested"],
        json!({ "asns": ["AS64496"], "prefixes": [], "trust_anchor": "toy" })
    );
    assert_eq!(claims["workload"]["claims"]["email"], "noc@as64496.example");
    assert_eq!(claims["workload"]["sub"], AGENT);
    let events = peering.world.server.audit("outcome=issued").await;
    let event = events
        .iter()
        .find(|event| event["token_id"] == claims["jti"]);
    let event = event.unwrap();
    assert_eq!(
        event["detail"]["workload"]["attested"]["asns"],
        json!(["AS64496"]),
        "{event}"
    );
}

#[tokio::test]
async fn rpki_idp_6__a_revocation_counts_within_a_minute() {
    let peering = Peering::unattested().await;
    let message = peering.publish(&Attestation::default());
    let replica = peering.world.server.another_node().await;
    let on_replica = async || {
        let assertion = peering.provider.sign(&peering.claims());
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion.as_str()),
        ];
        replica.form("/token", &form).await
    };
    peering.ask().await.token();
    on_replica().await.token();

    peering.toy.network.revoke(&message);
    peering.toy.network.publish(&Window::default());
    peering.world.server.clock.advance(61);
    peering
        .ask()
        .await
        .refused(400, "invalid_grant", "attestation_revoked");
    on_replica()
        .await
        .refused(400, "invalid_grant", "attestation_revoked");
    assert_eq!(peering.status().await["step"], "revoked");

    // A new attestation heals it.
    peering.later();
    peering.publish(&Attestation::default());
    peering.ask().await.token();
}

#[tokio::test]
async fn rpki_idp_3__a_verdict_ends_with_what_it_rests_on() {
    let peering = Peering::new().await;
    // The manifest of the network ends in ten minutes.
    peering.toy.network.publish(&Window::around_now(60, 600));
    let answer = peering.ask().await.json();
    let lives = answer["expires_in"].as_i64().unwrap();
    assert!(
        (400..=660).contains(&lives),
        "no token outlives it: {lives}"
    );

    peering.world.server.clock.advance(700);
    let answer = peering.ask().await;
    answer.refused(503, "temporarily_unavailable", "attestation_stale");
    assert!(answer.text().contains("manifest"), "{}", answer.text());
    // The copy of the repository is current again.
    peering.toy.network.publish(&Window::default());
    peering.later();
    peering.ask().await.token();
}

#[tokio::test]
async fn rpki_idp_3__an_end_counts_between_two_looks_at_the_copy_of_the_rpki() {
    let peering = Peering::new().await;
    peering.toy.network.publish(&Window::around_now(60, 200));
    peering.ask().await.token();
    peering.world.server.clock.advance(190);
    peering.ask().await.token();

    // The last look was less than a minute ago, but what it saw is over. The copy has its successor, and
    // the provider need not answer for that.
    peering.toy.network.publish(&Window::default());
    peering.provider.answer(500);
    peering.world.server.clock.advance(55);
    peering.ask().await.token();
}

#[tokio::test]
async fn rpki_idp_5__an_older_set_is_refused_also_after_a_restart_and_on_another_replica() {
    let peering = Peering::unattested().await;
    let older = peering.publish(&Attestation::default());
    let old_key = peering.provider.key();
    peering.ask().await.token();
    // A second later, another key.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    peering.provider.rotate(TestKey::rsa(3));
    peering.publish(&Attestation::default());
    peering.later();
    peering.ask().await.token();

    // Whoever can answer for the provider brings the old set back.
    peering.provider.rotate(old_key);
    peering.publish_with(&older);
    peering.later();
    let replica = peering.world.server.another_node().await;
    let refresh = "trusted-issuers/peer/refresh-keys";
    for server in [&peering.world.server, &replica] {
        let answer = server.admin("POST", refresh, Value::Null).await;
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert!(answer.text().contains("rolled_back"), "{}", answer.text());
    }
    let event_count = peering.world.server.audit("outcome=updated").await.len();
    let limited = peering
        .world
        .server
        .admin_as(
            "admin:read",
            "POST",
            &format!("{refresh}?forget=true"),
            Value::Null,
        )
        .await;
    assert_eq!(limited.status, 403);
    let answer = peering
        .world
        .server
        .admin("POST", &format!("{refresh}?forget=true"), Value::Null)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    peering.ask().await.token();
    let events = peering.world.server.audit("outcome=updated").await;
    assert_eq!(events.len(), event_count + 1);
    assert_eq!(
        events[0]["detail"]["forgot_newest_keys"], true,
        "{}",
        events[0]
    );
}

#[tokio::test]
async fn rpki_idp_1__documents_need_an_attestation_that_can_be_verified() {
    let peering = Peering::new().await;
    let server = &peering.world.server;
    let put = async |document: Value| {
        let answer = server
            .admin("PUT", "trusted-issuers/other?validate=offline", document)
            .await;
        (answer.status, answer.text())
    };
    let with = |attestation: Value| json!({ "profile": "rpki", "issuer": "https://as64497.test", "attestation": attestation });
    let good = json!({ "speaks_for": { "asns": ["AS64497"] } });

    for (document, needle) in [
        (
            json!({ "profile": "rpki", "issuer": "https://as64497.test" }),
            "must be given",
        ),
        (
            json!({ "profile": "generic", "issuer": "https://as64497.test", "attestation": good }),
            "knows no attestations",
        ),
        (with(json!({})), "speaks_for"),
        (
            with(json!({ "speaks_for": {} })),
            "at least one AS number or prefix",
        ),
        (
            with(json!({ "speaks_for": { "asns": ["64497-64496"] } })),
            "such as AS64496",
        ),
        (
            with(json!({ "speaks_for": { "prefixes": ["192.0.2.1/24"] } })),
            "bits beyond their length",
        ),
        (
            with(json!({ "speaks_for": { "asns": ["AS64497"] }, "forms": [] })),
            "must name rsm",
        ),
        (
            with(json!({ "speaks_for": { "asns": ["AS64497"] }, "forms": ["rsc"] })),
            "rsm",
        ),
        (
            with(json!({ "speaks_for": { "asns": ["AS64497"] }, "trust_anchors": ["ripe"] })),
            "must be among toy",
        ),
        (
            with(json!({ "speaks_for": { "asns": ["AS64497"] }, "trust_anchors": [] })),
            "null for all",
        ),
    ] {
        let (status, text) = put(document.clone()).await;
        assert_eq!(status, 422, "{document}: {text}");
        assert!(text.contains(needle), "{document}: {text}");
    }
    let mut fixed = with(good.clone());
    fixed["keys"] = json!({ "source": "file", "path": "/etc/keys.json" });
    let (status, text) = put(fixed).await;
    assert_eq!(status, 422, "{text}");
    assert_eq!(put(with(good)).await.0, 201);
    // Saving fetches and verifies, unless it is told not to.
    let stranger = FakeIssuer::new("https://as64497.test", TestKey::rsa(4));
    server.network.add(&stranger);
    let online = server
        .admin(
            "PUT",
            "trusted-issuers/other",
            with(json!({ "speaks_for": { "asns": ["AS64497"] } })),
        )
        .await;
    assert_eq!(online.status, 422);
    assert!(
        online.text().contains("attestation: missing"),
        "{}",
        online.text()
    );
}

#[tokio::test]
async fn rpki_idp_2__rules_and_explanations_name_what_is_attested() {
    let peering = Peering::new().await;
    let server = &peering.world.server;
    let refused = async |matched: Value| {
        let rule = json!({ "principal": "joel", "trusted_issuer": "peer", "match": matched, "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] }] });
        let answer = server
            .admin("PUT", "federated-credentials/other", rule)
            .await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        answer.text()
    };
    assert!(
        refused(json!({ "subject": AGENT }))
            .await
            .contains("asn, prefix")
    );
    assert!(
        refused(json!({ "asn": "AS64496-AS64497" }))
            .await
            .contains("one AS number")
    );
    assert!(
        refused(json!({ "asn": { "glob": "AS*" } }))
            .await
            .contains("any_of")
    );
    assert!(
        refused(json!({ "prefix": "192.0.2.1/24" }))
            .await
            .contains("bits beyond")
    );
    let saved = server.put("federated-credentials/any", json!({ "principal": "joel", "trusted_issuer": "peer", "match": { "asn": "64496" }, "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] }] })).await;
    assert_eq!(saved["match"]["asn"], "AS64496");
    assert_eq!(saved["warnings"][0]["code"], "any_agent", "{saved}");
    server
        .admin("DELETE", "federated-credentials/any", Value::Null)
        .await;

    peering
        .rule("peer", json!({ "asn": "AS64497", "subject": AGENT }))
        .await;
    let question = json!({ "trusted_issuer": "peer", "claims": peering.claims().value(), "resource": crate::support::R1 });
    let explained = server.admin("POST", "explanations", question).await;
    assert_eq!(explained.status, 200, "{}", explained.text());
    let text = explained.text();
    assert!(
        text.contains("asn_mismatch") && text.contains("AS64496"),
        "{text}"
    );
}

#[tokio::test]
async fn rpki_idp_1__what_the_keys_rest_on_is_verified_again_after_a_restart() {
    let peering = Peering::unattested().await;
    let message = peering.publish(&Attestation::default());
    peering.ask().await.token();
    let app = &peering.world.server.app;
    let issuer = app.rules().issuer_named("peer").unwrap().id;
    while app.store.key_set(issuer).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    peering.toy.network.revoke(&message);
    peering.toy.network.publish(&Window::default());

    let restarted = peering.world.server.another_node().await;
    let assertion = peering.provider.sign(&peering.claims());
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("assertion", assertion.as_str()),
    ];
    let answer = restarted.form("/token", &form).await;
    answer.refused(400, "invalid_grant", "attestation_revoked");
}

#[tokio::test]
async fn the_sample_of_the_guide_can_be_applied() {
    let peering = Peering::new().await;
    let sample = crate::documents::read("docs/samples/rpki/peer.toml");
    let objects: Value =
        serde_json::to_value(toml::from_str::<toml::Table>(&sample).unwrap()).unwrap();
    for kind in [
        "principals",
        "trusted_issuers",
        "resource_servers",
        "federated_credentials",
    ] {
        for (name, document) in objects[kind].as_object().unwrap() {
            let path = format!("{}/{name}?validate=offline", kind.replace('_', "-"));
            let saved = peering.world.server.put(&path, document.clone()).await;
            assert!(
                saved["warnings"].as_array().is_none_or(Vec::is_empty),
                "{saved}"
            );
        }
    }
}

#[tokio::test]
async fn rpki_path_1__what_our_copy_lacks_is_no_fault_of_the_peer() {
    let peering = Peering::new().await;
    let file = peering.toy.registry.folder().join("network.cer");
    let kept = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let answer = peering.ask().await;
    answer.refused(503, "temporarily_unavailable", "attestation_stale");
    assert!(
        !answer.text().contains("rsync:"),
        "what was found is for the log: {}",
        answer.text()
    );
    let status = peering.status().await;
    assert!(
        status["detail"].as_str().unwrap().contains("network.cer"),
        "{status}"
    );

    std::fs::write(&file, kept).unwrap();
    peering.later();
    peering.ask().await.token();
    // In use, a file that is replaced right now is looked at again after five seconds.
    peering.world.server.clock.advance(61);
    let manifest = std::fs::read(peering.toy.network.manifest()).unwrap();
    std::fs::write(peering.toy.network.manifest(), b"half").unwrap();
    peering
        .ask()
        .await
        .refused(503, "temporarily_unavailable", "attestation_stale");
    std::fs::write(peering.toy.network.manifest(), manifest).unwrap();
    peering.world.server.clock.advance(5);
    peering.ask().await.token();
}

#[tokio::test]
async fn rpki_idp_5__a_replica_that_holds_an_older_set_learns_of_the_newer_one() {
    let peering = Peering::new().await;
    let replica = peering.world.server.another_node().await;
    let old_key = peering.provider.key();
    let form = |assertion: &str| {
        [
            (
                "grant_type".to_owned(),
                "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned(),
            ),
            ("assertion".to_owned(), assertion.to_owned()),
        ]
    };
    let on_replica = async |assertion: String| {
        let form = form(&assertion);
        let form = form
            .each_ref()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        replica.form("/token", &form).await
    };
    on_replica(old_key.sign(&peering.claims().value()))
        .await
        .token();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    peering.provider.rotate(TestKey::rsa(3));
    peering.publish(&Attestation::default());
    // This one fetches the newer set; the other one has the withdrawn key at hand.
    peering.later();
    peering.ask().await.token();

    peering.world.server.clock.advance(61);
    peering.provider.answer(500);
    on_replica(old_key.sign(&peering.claims().value()))
        .await
        .refused(400, "invalid_grant", "attestation_rolled_back");
}

#[tokio::test]
async fn rpki_idp_3__tokens_of_clients_and_actors_end_with_the_attestation_as_well() {
    let peering = Peering::new().await;
    let server = &peering.world.server;
    peering.toy.network.publish(&Window::around_now(60, 600));
    // A client without a key of its own.
    let robot = json!({ "auth_method": "federated", "federated_credentials": ["peer"], "scopes": ["admin:read"] });
    server.put("clients/robot", robot).await;
    let assertion = peering
        .provider
        .sign(&peering.claims().with("aud", crate::support::CARNET));
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "robot"),
        ("resource", "https://as.test/admin"),
        ("client_assertion", assertion.as_str()),
        ("client_assertion_type", crate::support::CLIENT_ASSERTION),
    ];
    let answer = server.form("/token", &form).await;
    answer.token();
    assert!(
        answer.json()["expires_in"].as_i64().unwrap() <= 660,
        "{}",
        answer.text()
    );

    // An actor for whom the RPKI vouches.
    let mut document = World::rule_document(json!({}));
    document["actors"] = json!(["peer"]);
    server
        .put("federated-credentials/octo-release", document)
        .await;
    let actor = peering.provider.sign(&peering.claims());
    let answer = peering
        .world
        .swap(
            &peering.world.good(),
            crate::support::JWT,
            &[
                ("actor_token", actor.as_str()),
                ("actor_token_type", crate::support::JWT),
            ],
        )
        .await;
    answer.token();
    assert!(
        answer.json()["expires_in"].as_i64().unwrap() <= 660,
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn rpki_path_3__check_says_what_is_wrong_with_the_configuration_of_the_rpki() {
    let toy = ToyRpki::new();
    let (cache, tals) = (
        toy.cache().display().to_string(),
        toy.tal_dir().display().to_string(),
    );
    let empty = toy.scratch().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let empty = empty.display().to_string();
    let check = |dir: &str, tal_dir: &str, purpose: &str, layout: &str| {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[rpki]\nrepository = {{ layout = \"{layout}\", dir = \"{dir}\" }}\ntal_dir = \"{tal_dir}\"\n\
             rsm = {{ content_type = \"{CONTENT_TYPE}\", audience = \"{AUDIENCE}\", purpose = \"{purpose}\" }}\n"
        );
        let file = folder.path().join("carnet.toml");
        std::fs::write(&file, text).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_carnet"));
        command
            .arg("check")
            .arg("--config")
            .arg(&file)
            .current_dir(folder.path());
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };

    assert_eq!(check(&cache, &tals, PURPOSE, "rpki-client").0, Some(0));
    for (dir, tal_dir, purpose, layout, needle) in [
        (
            "/nowhere",
            tals.as_str(),
            PURPOSE,
            "rpki-client",
            "rpki.repository.dir: /nowhere is no folder",
        ),
        (
            cache.as_str(),
            "/nowhere",
            PURPOSE,
            "rpki-client",
            "rpki.tal_dir: /nowhere cannot be read",
        ),
        (
            cache.as_str(),
            empty.as_str(),
            PURPOSE,
            "rpki-client",
            "there is no file NAME.tal",
        ),
        (
            cache.as_str(),
            tals.as_str(),
            "oauth",
            "rpki-client",
            "no object identifier",
        ),
        (
            cache.as_str(),
            tals.as_str(),
            PURPOSE,
            "routinator",
            "must be rpki-client",
        ),
    ] {
        let (code, text) = check(dir, tal_dir, purpose, layout);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(needle), "{text}");
    }
}

#[tokio::test]
async fn rpki_idp_1__a_process_that_cannot_verify_does_not_serve_attested_issuers() {
    let peering = Peering::new().await;
    let server = &peering.world.server;
    let mut config = server.app.config.clone();
    config.rpki = None;
    let joined = carnet::app::App::join(config, server.clock.clone(), server.network.clone()).await;

    let why = joined.err().unwrap().to_string();
    assert!(
        why.contains("trusted issuer peer") && why.contains("no section rpki"),
        "{why}"
    );
}
