//! Each platform that comes as a profile, from its own keys to a token (checklist 2.9, attacks 7.9).

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carnet::profile::Profiles;
use serde_json::{Value, json};

use crate::cases_over_http::run_with;
use crate::support::{
    Answer, CARNET, FakeIssuer, JWT_BEARER, R1, TestDb, TestKey, TestServer, carnet_in,
};

/// A server that trusts one platform, with `joel` and one registry.
#[derive(Debug)]
pub struct Platform {
    pub server: TestServer,
    pub issuer: FakeIssuer,
}

impl Platform {
    /// Trusts `url` under this profile, with these members beside.
    pub async fn new(profile: &str, url: &str, members: Value) -> Self {
        Self::on(TestServer::start().await, profile, url, members).await
    }

    /// The same on this server.
    pub async fn on(server: TestServer, profile: &str, url: &str, members: Value) -> Self {
        let issuer = FakeIssuer::new(url, TestKey::rsa(0));
        server.network.add(&issuer);
        let mut document = json!({ "profile": profile, "issuer": url });
        document
            .as_object_mut()
            .unwrap()
            .extend(members.as_object().unwrap().clone());
        server.put("trusted-issuers/platform", document).await;
        server
            .put(
                "principals/joel",
                json!({ "id": "pr_joel", "kind": "user" }),
            )
            .await;
        server
            .put(
                "resource-servers/pypi",
                json!({ "resource": R1, "actions": ["create", "publish"] }),
            )
            .await;
        Self { server, issuer }
    }

    /// Saves the only rule.
    pub async fn rule(&self, matcher: Value) -> Value {
        self.server
            .put("federated-credentials/rule", Self::document(matcher))
            .await
    }

    /// Checks that a rule is refused at `pointer`.
    pub async fn cannot_save(&self, matcher: Value, pointer: &str) {
        let answer = self
            .server
            .admin(
                "PUT",
                "federated-credentials/bad",
                Self::document(matcher.clone()),
            )
            .await;
        let errors = answer.json()["errors"].clone();
        let is_there = errors
            .as_array()
            .unwrap()
            .iter()
            .any(|error| error["pointer"] == pointer);
        assert!(
            answer.status == 422 && is_there,
            "{matcher}: {}",
            answer.text()
        );
    }

    /// Checks that the trusted issuer cannot be changed so, for what stands at `pointer`.
    pub async fn cannot_trust(&self, changed: Value, pointer: &str) {
        let answer = self
            .server
            .admin("PATCH", "trusted-issuers/platform", changed.clone())
            .await;
        let errors = answer.json()["errors"].clone();
        let is_there = errors
            .as_array()
            .is_some_and(|errors| errors.iter().any(|error| error["pointer"] == pointer));
        assert!(
            answer.status == 422 && is_there,
            "{changed}: {}",
            answer.text()
        );
    }

    fn document(matcher: Value) -> Value {
        json!({
            "principal": "joel", "trusted_issuer": "platform", "match": matcher,
            "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] }],
        })
    }

    /// The codes of the warnings of the rule.
    pub async fn warnings(&self) -> Vec<String> {
        let shown = self
            .server
            .admin("GET", "federated-credentials/rule", Value::Null)
            .await
            .json();
        shown["warnings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w["code"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Presents an assertion with these claims, signed by the platform.
    pub async fn present(&self, claims: &Value) -> Answer {
        self.present_text(&self.issuer.key().sign(claims)).await
    }

    pub async fn present_text(&self, assertion: &str) -> Answer {
        self.server
            .form(
                "/token",
                &[("grant_type", JWT_BEARER), ("assertion", assertion)],
            )
            .await
    }

    pub async fn accepts(&self, claims: &Value) -> Value {
        let answer = self.present(claims).await;
        assert_eq!(answer.status, 200, "{claims}: {}", answer.text());
        answer.json()
    }

    pub async fn refuses(&self, claims: &Value, reason: &str) {
        self.present(claims)
            .await
            .refused(400, "invalid_grant", reason);
    }

    /// The claims of every token, with these beside; each has an id of its own.
    pub fn claims(&self, own: Value) -> Value {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let now = self.server.now();
        let id = format!("id-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let claims = json!({ "iss": self.issuer.url, "aud": CARNET, "iat": now, "nbf": now, "exp": now + 300, "jti": id });
        changed(&claims, own)
    }
}

/// These members changed; `null` takes one away, and objects are changed inside.
pub fn changed(claims: &Value, changes: Value) -> Value {
    let mut claims = claims.clone();
    for (name, value) in changes.as_object().unwrap() {
        match (value, claims.get(name)) {
            (Value::Null, _) => drop(claims.as_object_mut().unwrap().remove(name)),
            (Value::Object(_), Some(present @ Value::Object(_))) => {
                claims[name] = changed(present, value.clone());
            }
            _ => claims[name] = value.clone(),
        }
    }
    claims
}

// === GitLab ===

fn gitlab(platform: &Platform, changes: Value) -> Value {
    let job = platform.claims(json!({
        "sub": "project_path:acme/tools/widgets:ref_type:branch:ref:main", "namespace_id": "72",
        "namespace_path": "acme/tools", "project_id": "20", "project_path": "acme/tools/widgets", "ref": "main",
        "ref_type": "branch", "ref_path": "refs/heads/main", "ref_protected": "true", "sha": "a".repeat(40),
        "pipeline_source": "push", "job_id": "302", "job_project_id": "20", "runner_id": 1,
        "environment": "Production", "environment_protected": "true",
        "ci_config_ref_uri": "gitlab.test/acme/tools/widgets//.gitlab-ci.yml@refs/heads/main",
    }));
    changed(&job, changes)
}

async fn gitlab_platform() -> Platform {
    let platform = Platform::new("gitlab-ci", "https://gitlab.test", json!({})).await;
    platform
        .rule(json!({
            "namespace": "acme/tools", "namespace_id": "72", "project": "widgets", "project_id": "20",
            "ci_config_path": ".gitlab-ci.yml",
        }))
        .await;
    platform
}

#[tokio::test]
async fn atk_140__gitlab_ids_and_protected_claims_decide() {
    let platform = gitlab_platform().await;
    let answer = platform.accepts(&gitlab(&platform, json!({}))).await;
    assert_eq!(
        answer["authorization_details"][0]["packages"],
        json!(["widgets"])
    );
    platform
        .refuses(
            &gitlab(&platform, json!({ "namespace_id": "73" })),
            "no_matching_credential",
        )
        .await;
    let other = json!({ "project_id": "21", "job_project_id": "21" });
    platform
        .refuses(&gitlab(&platform, other), "no_matching_credential")
        .await;
    // A fork's job runs elsewhere; a group of the same last name is another; the last part is no path.
    platform
        .refuses(
            &gitlab(&platform, json!({ "job_project_id": "21" })),
            "claim_inconsistent",
        )
        .await;
    platform
        .refuses(
            &gitlab(&platform, json!({ "project_path": "acme/tools/x/widgets" })),
            "claim_inconsistent",
        )
        .await;
    platform
        .refuses(
            &gitlab(&platform, json!({ "project_id": 20 })),
            "claim_type",
        )
        .await;
    platform
        .refuses(
            &gitlab(&platform, json!({ "ref_type": "merge_request" })),
            "claim_malformed",
        )
        .await;
    platform
        .refuses(
            &gitlab(
                &platform,
                json!({ "pipeline_source": "merge_request_event" }),
            ),
            "event_denied",
        )
        .await;
    for wrong in [
        "gitlab.test/acme/tools/widgets//.gitlab-ci.yml@refs/heads/other",
        "gitlab.test/acme/tools/widgets//x/.gitlab-ci.yml@refs/heads/main",
        "gitlab.test/evil/x//.gitlab-ci.yml@refs/heads/main",
        "gitlab.evil/acme/tools/widgets//.gitlab-ci.yml@refs/heads/main",
    ] {
        platform
            .refuses(
                &gitlab(&platform, json!({ "ci_config_ref_uri": wrong })),
                "workflow_mismatch",
            )
            .await;
    }
    let rule = json!({
        "namespace_id": "72", "project_id": "20", "environment": "Production", "require_environment_protected": true,
        "ref": "main", "ref_type": "branch", "require_ref_protected": true,
    });
    platform.rule(rule).await;
    platform.accepts(&gitlab(&platform, json!({}))).await;
    for (changes, reason) in [
        (json!({ "ref_protected": "false" }), "ref_unprotected"),
        (
            json!({ "environment_protected": "false" }),
            "env_unprotected",
        ),
        (json!({ "environment": "production" }), "env_mismatch"),
        (json!({ "environment": null }), "env_missing"),
        (json!({ "ref_type": "tag" }), "ref_mismatch"),
    ] {
        platform.refuses(&gitlab(&platform, changes), reason).await;
    }
}

#[tokio::test]
async fn contract_6__gitlab_names_are_pinned_to_ids_and_a_rename_is_named_in_the_refusal() {
    let platform = gitlab_platform().await;
    let names = json!({ "namespace": "https://gitlab.com/Acme/Tools/", "project": "widgets", "ci_config_path": "/.gitlab-ci.yml" });
    let saved = platform.rule(names).await;
    assert_eq!(
        (&saved["state"], &saved["match"]["namespace"]),
        (&json!("pending"), &json!("Acme/Tools")),
        "{saved}"
    );
    platform.accepts(&gitlab(&platform, json!({}))).await;
    let shown = platform
        .server
        .admin("GET", "federated-credentials/rule", Value::Null)
        .await
        .json();
    assert_eq!(
        shown["pinned"],
        json!({ "namespace_id": "72", "project_id": "20" })
    );
    // Any change through this node lets it read all that happened before.
    platform
        .server
        .put(
            "principals/joel",
            json!({ "kind": "user", "display_name": "Joel" }),
        )
        .await;
    let moved = json!({
        "namespace_path": "acme/new", "project_path": "acme/new/widgets",
        "ci_config_ref_uri": "gitlab.test/acme/new/widgets//.gitlab-ci.yml@refs/heads/main",
    });
    platform.refuses(&gitlab(&platform, moved), "renamed").await;
    platform
        .cannot_save(
            json!({ "namespace": "acme", "project": "tools/widgets", "ref": "x", "ref_type": "tag" }),
            "/match/project",
        )
        .await;
    platform
        .cannot_save(json!({ "namespace": "acme", "ref": "main" }), "/match/ref")
        .await;
    platform
        .rule(json!({ "namespace_id": "72", "project_id": "20", "ref": "refs/heads/main", "ref_type": "branch" }))
        .await;
    assert_eq!(platform.warnings().await, ["full_ref"]);
    platform
        .cannot_save(
            json!({ "project": "widgets", "ref": "main", "ref_type": "tag" }),
            "/match",
        )
        .await;
}

// === Kubernetes ===

fn pod(platform: &Platform, changes: Value) -> Value {
    let token = platform.claims(json!({
        "aud": [CARNET], "sub": "system:serviceaccount:ci:publisher",
        "kubernetes.io": {
            "namespace": "ci", "serviceaccount": { "name": "publisher", "uid": "f5720c1d-e152-4356-a897-11b07aff165d" },
            "pod": { "name": "publish-abc", "uid": "49ad3572-b3dd-43a6-8d77-5858d3660275" },
        },
    }));
    changed(&token, changes)
}

async fn cluster(url: &str) -> Platform {
    let platform = Platform::new("kubernetes", url, json!({})).await;
    platform
        .rule(json!({ "namespace": "ci", "service_account": "publisher" }))
        .await;
    platform
}

#[tokio::test]
async fn k8s_tok_1__a_projected_token_without_one_of_its_claims_is_refused() {
    let platform = cluster("https://cluster.test/").await;
    let token = pod(&platform, json!({}));
    platform.accepts(&token).await;
    // It is handed out again while it lives, so it may be used again.
    platform.accepts(&token).await;
    for claim in ["iss", "aud", "exp", "iat", "sub", "kubernetes.io"] {
        platform
            .refuses(&pod(&platform, json!({ claim: null })), "claim_missing")
            .await;
    }
}

#[tokio::test]
async fn k8s_tok_2__a_subject_that_contradicts_the_names_is_refused() {
    let platform = cluster("https://cluster.test").await;
    platform
        .refuses(
            &pod(
                &platform,
                json!({ "sub": "system:serviceaccount:kube-system:admin" }),
            ),
            "claim_inconsistent",
        )
        .await;
    platform
        .refuses(
            &pod(&platform, json!({ "sub": "publisher" })),
            "claim_inconsistent",
        )
        .await;
}

#[tokio::test]
async fn fulcio_k8s_1__namespace_and_service_account_come_from_the_structured_claim() {
    let platform = cluster("https://cluster.test").await;
    let names = |namespace: Value, name: Value| json!({ "kubernetes.io": { "namespace": namespace, "serviceaccount": { "name": name } } });
    for (changes, reason) in [
        (names(Value::Null, json!("publisher")), "claim_missing"),
        (names(json!("ci"), Value::Null), "claim_missing"),
        (names(json!(""), json!("publisher")), "claim_malformed"),
        (names(json!("ci"), json!("")), "claim_malformed"),
        (names(json!(["ci"]), json!("publisher")), "claim_type"),
    ] {
        platform.refuses(&pod(&platform, changes), reason).await;
    }
    platform
        .cannot_save(json!({ "namespace": "ci" }), "/match")
        .await;
    platform
        .cannot_save(json!({ "service_account": "publisher" }), "/match")
        .await;
}

#[tokio::test]
async fn k8s_tok_3__a_rule_can_name_the_uid_of_the_service_account() {
    let platform = cluster("https://cluster.test").await;
    let rule = json!({
        "namespace": "ci", "service_account": "publisher", "service_account_uid": "F5720C1D-e152-4356-a897-11b07aff165d",
    });
    let saved = platform.rule(rule).await;
    assert_eq!(saved["state"], "active", "{saved}");
    platform.accepts(&pod(&platform, json!({}))).await;
    let again = json!({ "kubernetes.io": { "serviceaccount": { "uid": "00000000-e152-4356-a897-11b07aff165d" } } });
    platform
        .refuses(&pod(&platform, again), "no_matching_credential")
        .await;
}

#[tokio::test]
async fn contract_6__alternatives_of_two_names_do_not_multiply_without_bound() {
    let platform = cluster("https://cluster.test").await;
    let names =
        |count: usize| json!({ "any_of": (0..count).map(|n| format!("n{n}")).collect::<Vec<_>>() });
    platform
        .rule(json!({ "namespace": names(16), "service_account": names(16) }))
        .await;
    platform
        .cannot_save(
            json!({ "namespace": names(16), "service_account": names(17) }),
            "/match/namespace",
        )
        .await;
    platform
        .cannot_save(
            json!({ "namespace": names(101), "service_account": "a" }),
            "/match/namespace",
        )
        .await;
}

#[tokio::test]
async fn k8s_tok_4__a_token_is_bound_to_a_pod_unless_the_rule_says_otherwise() {
    let platform = cluster("https://cluster.test").await;
    let unbound = || pod(&platform, json!({ "kubernetes.io": { "pod": null } }));
    platform.refuses(&unbound(), "no_matching_credential").await;
    platform.rule(json!({ "namespace": "ci", "service_account": "publisher", "require_pod_binding": false })).await;
    platform.accepts(&unbound()).await;
}

#[tokio::test]
async fn k8s_aud_1__tokens_for_the_api_server_are_refused() {
    let platform = cluster("https://cluster.test").await;
    for api in [
        "https://kubernetes.default.svc",
        "https://kubernetes.default.svc.cluster.local",
        "https://cluster.test",
    ] {
        for (audience, reason) in [
            (json!([api]), "aud_mismatch"),
            (json!([CARNET, api]), "aud_not_single"),
        ] {
            platform
                .refuses(&pod(&platform, json!({ "aud": audience })), reason)
                .await;
        }
    }
}

#[tokio::test]
async fn wimse_aud_4__the_api_servers_audience_cannot_be_configured_as_ours() {
    let platform = cluster("https://cluster.test").await;
    for api in ["https://kubernetes.default.svc", "https://cluster.test"] {
        platform
            .cannot_trust(json!({ "audiences": [api] }), "/audiences")
            .await;
        platform
            .cannot_trust(
                json!({ "audiences": [CARNET], "extra_audiences": [api] }),
                "/extra_audiences",
            )
            .await;
    }
    let platform = Platform::new(
        "spiffe",
        "https://oidc.test",
        json!({ "trust_domain": "td.test" }),
    )
    .await;
    platform
        .cannot_trust(json!({ "audiences": ["spiffe://td.test"] }), "/audiences")
        .await;
}

#[tokio::test]
async fn atk_148__kubernetes_names_with_colons_or_capitals_are_refused() {
    let platform = cluster("https://cluster.test").await;
    let shifted = json!({
        "sub": "system:serviceaccount:ci:publisher",
        "kubernetes.io": { "namespace": "system:serviceaccount:ci", "serviceaccount": { "name": "publisher" } },
    });
    platform
        .refuses(&pod(&platform, shifted), "claim_malformed")
        .await;
    let colon = json!({
        "sub": "system:serviceaccount:a:ci:publisher",
        "kubernetes.io": { "namespace": "a:ci", "serviceaccount": { "name": "publisher" } },
    });
    platform
        .refuses(&pod(&platform, colon), "claim_malformed")
        .await;
    let upper = json!({ "sub": "system:serviceaccount:CI:publisher", "kubernetes.io": { "namespace": "CI" } });
    platform
        .refuses(&pod(&platform, upper), "claim_malformed")
        .await;
    platform
        .cannot_save(
            json!({ "namespace": "a:b", "service_account": "x" }),
            "/match/namespace",
        )
        .await;
    platform
        .cannot_save(
            json!({ "namespace": "ci", "service_account": { "glob": "*" } }),
            "/match/service_account",
        )
        .await;
}

#[tokio::test]
async fn k8s_key_1__a_clusters_keys_come_from_a_file_that_may_change() {
    let platform = cluster("https://cluster.test").await;
    let path = platform.server.db.key_files().join("cluster-keys.json");
    let write =
        |key: &TestKey| std::fs::write(&path, json!({ "keys": [key.jwk()] }).to_string()).unwrap();
    write(&TestKey::rsa(1));
    let keys = json!({ "keys": { "source": "file", "path": path } });
    let answer = platform
        .server
        .admin("PATCH", "trusted-issuers/platform", keys)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let signed = |number: usize| TestKey::rsa(number).sign(&pod(&platform, json!({})));
    platform.present_text(&signed(1)).await.token();
    platform
        .present_text(&signed(2))
        .await
        .refused(400, "invalid_grant", "key_unknown");
    write(&TestKey::rsa(2));
    platform.server.clock.advance(31);
    platform.present_text(&signed(2)).await.token();
    platform
        .present_text(&signed(1))
        .await
        .refused(400, "invalid_grant", "key_unknown");
    assert!(
        platform
            .server
            .network
            .fetched()
            .iter()
            .all(|url| !url.contains("cluster-keys"))
    );
    let keys = |path: &str| json!({ "keys": { "source": "file", "path": path } });
    platform.cannot_trust(keys("keys.json"), "/keys/path").await;
}

#[tokio::test]
async fn key_files_are_read_from_the_configured_folder_only() {
    let platform = cluster("https://cluster.test").await;
    let folder = platform.server.db.key_files();
    let text = json!({ "keys": [TestKey::rsa(1).jwk()] }).to_string();
    std::fs::write(folder.join("inside.json"), &text).unwrap();
    let outside = platform.server.db.folder().join("outside.json");
    std::fs::write(&outside, &text).unwrap();
    std::os::unix::fs::symlink("inside.json", folder.join("linked.json")).unwrap();
    std::os::unix::fs::symlink(&outside, folder.join("leads-out.json")).unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(folder.join("pipe"))
            .status()
            .unwrap()
            .success()
    );
    std::fs::write(
        folder.join("large.json"),
        format!("{text}{}", " ".repeat(1024 * 1024)),
    )
    .unwrap();
    let named = |path: &std::path::Path| json!({ "keys": { "source": "file", "path": path } });
    for outside in [
        outside,
        folder.join("../outside.json"),
        "/dev/zero".into(),
        "/etc/hostname".into(),
        folder.with_extension("x"),
    ] {
        platform.cannot_trust(named(&outside), "/keys/path").await;
        let review = |changes: Value| {
            let review = json!({ "source": "token_review", "api_server": "https://api.test", "token_file": folder.join("t") });
            json!({ "keys": changed(&review, changes) })
        };
        platform
            .cannot_trust(review(json!({ "token_file": outside })), "/keys/token_file")
            .await;
        platform
            .cannot_trust(review(json!({ "ca_file": outside })), "/keys/ca_file")
            .await;
    }
    for wrong in ["leads-out.json", "pipe", "large.json", "missing.json", "."] {
        platform
            .cannot_trust(named(&folder.join(wrong)), "/keys")
            .await;
    }
    for good in ["inside.json", "linked.json"] {
        let saved = platform
            .server
            .admin(
                "PATCH",
                "trusted-issuers/platform",
                named(&folder.join(good)),
            )
            .await;
        assert_eq!(saved.status, 200, "{good}: {}", saved.text());
    }
    // What leads out later is not read any more.
    let token = TestKey::rsa(1).sign(&pod(&platform, json!({})));
    platform.present_text(&token).await.token();
    std::fs::remove_file(folder.join("linked.json")).unwrap();
    std::os::unix::fs::symlink(
        platform.server.db.folder().join("outside.json"),
        folder.join("linked.json"),
    )
    .unwrap();
    let refreshed = platform
        .server
        .admin("POST", "trusted-issuers/platform/refresh-keys", Value::Null)
        .await;
    assert_eq!(refreshed.status, 502, "{}", refreshed.text());
}

#[tokio::test]
async fn without_a_folder_for_key_files_no_file_can_be_named() {
    let empty = [("CARNET_KEY_FILES_DIR", "")];
    let platform = Platform::on(
        TestServer::with(&empty).await,
        "kubernetes",
        "https://cluster.test",
        json!({}),
    )
    .await;
    let own = platform.server.db.folder();
    let other = TestServer::start().await;
    let elsewhere = other.db.folder();
    let text = json!({ "keys": [TestKey::rsa(1).jwk()] }).to_string();
    for folder in [own, elsewhere] {
        std::fs::write(folder.join("keys.json"), &text).unwrap();
    }
    std::os::unix::fs::symlink(own.join("keys.json"), elsewhere.join("leads-in.json")).unwrap();
    let named = |path: &std::path::Path| json!({ "keys": { "source": "file", "path": path } });
    platform
        .cannot_trust(named(&own.join("keys.json")), "/keys/path")
        .await;
    platform
        .cannot_trust(named(&elsewhere.join("../x/keys.json")), "/keys/path")
        .await;
    platform
        .cannot_trust(named(&elsewhere.join("leads-in.json")), "/keys/path")
        .await;
    let path = named(&elsewhere.join("keys.json"));
    // Over the network no file can be named at all without a folder for them, as the review's M2 asks.
    platform.cannot_trust(path, "/keys/path").await;
}

#[tokio::test]
async fn k8s_ten_1__two_clusters_of_one_issuer_name_are_told_apart_by_audience() {
    let platform = cluster("https://cluster.local").await;
    let keys = json!({ "source": "static", "jwks": { "keys": [TestKey::rsa(1).jwk()] } });
    let other = |audience: &str| json!({ "profile": "kubernetes", "issuer": "https://cluster.local", "keys": keys, "audiences": [audience] });
    let clash = platform
        .server
        .admin("PUT", "trusted-issuers/other", other(CARNET))
        .await;
    assert_eq!(clash.status, 422, "{}", clash.text());
    platform
        .server
        .put("trusted-issuers/other", other("https://as.test/other"))
        .await;
    let token = |number: usize, aud: &str| {
        TestKey::rsa(number).sign(&pod(&platform, json!({ "aud": [aud] })))
    };
    platform.present_text(&token(0, CARNET)).await.token();
    // The other cluster has no rule, and its keys prove nothing about this one.
    platform
        .present_text(&token(1, "https://as.test/other"))
        .await
        .refused(400, "invalid_grant", "no_matching_credential");
    platform
        .present_text(&token(1, CARNET))
        .await
        .refused(400, "invalid_grant", "key_unknown");
}

#[tokio::test]
async fn the_issuer_and_profile_of_a_platform_cannot_change_while_it_has_rules() {
    let world = Platform::new("github-actions", "https://ci.test", json!({})).await;
    let owner = json!({ "repository_owner_id": "65", "repository_id": "74" });
    let rule = changed(
        &json!({ "repository": "octo-org/octo-repo", "workflow_file": "release.yml" }),
        owner,
    );
    world.rule(rule).await;
    world
        .cannot_trust(json!({ "issuer": "https://other.test" }), "/issuer")
        .await;
    world
        .cannot_trust(json!({ "profile": "gitea" }), "/profile")
        .await;
    let audiences = json!({ "audiences": ["https://as.test/other"] });
    assert_eq!(
        world
            .server
            .admin("PATCH", "trusted-issuers/platform", audiences)
            .await
            .status,
        200
    );
    assert_eq!(
        world
            .server
            .admin("DELETE", "federated-credentials/rule", Value::Null)
            .await
            .status,
        204
    );
    let moved = json!({ "issuer": "https://other.test" });
    let moved = world
        .server
        .admin("PATCH", "trusted-issuers/platform?validate=offline", moved)
        .await;
    assert_eq!(moved.status, 200, "{}", moved.text());
}

// === clouds ===

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const APP: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";

#[tokio::test]
async fn atk_150__a_cloud_token_of_another_account_matches_nothing() {
    let aws = Platform::new("aws", "https://abc.tokens.sts.global.api.aws", json!({})).await;
    let role = "arn:aws:iam::123456789012:role/Publisher";
    aws.rule(json!({ "subject": role })).await;
    let account = |account: Value| {
        aws.claims(json!({ "sub": role, "https://sts.amazonaws.com/": { "aws_account": account, "request_tags": { "job": "1" } } }))
    };
    aws.accepts(&account(json!("123456789012"))).await;
    aws.refuses(&account(json!("999999999999")), "claim_inconsistent")
        .await;
    aws.refuses(&account(json!(123_456_789_012_i64)), "claim_type")
        .await;
    aws.refuses(&account(json!(123_456_789_012.0)), "claim_type")
        .await;
    aws.cannot_save(
        json!({ "claims": { "/https:~1~1sts.amazonaws.com~1/request_tags/job": "1" } }),
        "/match",
    )
    .await;
    aws.cannot_save(
        json!({ "subject": { "glob": "arn:aws:iam::*:role/Publisher" } }),
        "/match/subject",
    )
    .await;

    let google = Platform::new("google", "https://accounts.google.test", json!({})).await;
    google
        .rule(json!({ "email": "p@x.iam.gserviceaccount.com", "sub": 110_169 }))
        .await;
    let account = |changes: Value| {
        let token =
            google.claims(json!({ "sub": "110169", "email": "p@x.iam.gserviceaccount.com", "email_verified": true }));
        changed(&token, changes)
    };
    google.accepts(&account(json!({ "jti": null }))).await;
    google
        .refuses(
            &account(json!({ "sub": "110170" })),
            "no_matching_credential",
        )
        .await;
    google
        .refuses(&account(json!({ "sub": 110_169.0 })), "claim_type")
        .await;
    google
        .refuses(
            &account(json!({ "email_verified": false })),
            "email_unverified",
        )
        .await;
    google
        .rule(json!({ "email": "1-compute@developer.gserviceaccount.com" }))
        .await;
    assert_eq!(
        google.warnings().await,
        ["no_immutable_id", "default_service_account"]
    );

    let url = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
    let entra = Platform::new("entra", &url, json!({})).await;
    entra
        .rule(json!({ "tenant_id": TENANT, "object_id": APP.to_uppercase() }))
        .await;
    let app = |changes: Value| {
        let token =
            entra.claims(json!({ "sub": APP, "oid": APP, "tid": TENANT, "azpacr": "2", "idtyp": "app", "uti": "u" }));
        changed(&token, changes)
    };
    entra.accepts(&app(json!({}))).await;
    let other = "00000000-bbbb-cccc-dddd-eeeeeeeeeeee";
    for (changes, reason) in [
        (json!({ "tid": other }), "claim_inconsistent"),
        (json!({ "sub": other }), "claim_inconsistent"),
        (
            json!({ "sub": other, "oid": other }),
            "no_matching_credential",
        ),
        (json!({ "idtyp": "user" }), "principal_type"),
        (json!({ "azpacr": "1" }), "credential_strength"),
        (json!({ "azpacr": null }), "claim_missing"),
    ] {
        entra.refuses(&app(changes), reason).await;
    }
    entra
        .cannot_save(json!({ "tenant_id": TENANT }), "/match")
        .await;
}

// === other build systems ===

#[tokio::test]
async fn nuget_pol_1__a_rule_for_a_forge_needs_a_repository_or_an_id_and_a_filter() {
    for profile in ["forgejo", "gitea"] {
        let forge = Platform::new(profile, "https://forge.test", json!({})).await;
        let file = "release.yml";
        forge
            .cannot_save(
                json!({ "repository_owner": "acme", "workflow_file": file }),
                "/match",
            )
            .await;
        forge
            .cannot_save(json!({ "repository": "acme/widgets" }), "/match")
            .await;
        for named in ["repository", "repository_id", "repository_owner_id"] {
            let value = if named == "repository" {
                "acme/widgets"
            } else {
                "9"
            };
            for (filter, wanted) in [
                ("workflow_file", json!(file)),
                ("ref", json!({ "glob": "refs/tags/v*" })),
                ("ref_template", json!("refs/tags/v{version}")),
            ] {
                forge.rule(json!({ named: value, filter: wanted })).await;
            }
        }
    }
}

#[tokio::test]
async fn nuget_pol_1__conditions_that_every_token_of_an_issuer_meets_cannot_be_saved() {
    let generic = Platform::new("generic", "https://builds.test", json!({})).await;
    for claims in [
        json!({ "iss": "https://builds.test" }),
        json!({ "/iss": "https://builds.test" }),
        json!({ "aud": CARNET, "exp": { "any_of": [1, 2] }, "nbf": 1, "iat": 1, "jti": "x", "/aud/0": CARNET }),
        json!({}),
    ] {
        generic
            .cannot_save(json!({ "claims": claims }), "/match")
            .await;
    }
    for glob in ["*", "**", "**:**", "-*", "*e*", "*@example.com", "p*"] {
        generic
            .cannot_save(json!({ "subject": { "glob": glob } }), "/match/subject")
            .await;
    }
    generic
        .rule(json!({ "claims": { "iss": "https://builds.test", "project": "acme" } }))
        .await;
    generic
        .rule(json!({ "subject": { "glob": "project:*" } }))
        .await;
    let github = Platform::new("github-actions", "https://github.test", json!({})).await;
    for glob in ["repo:**", "repo:*", "repo**", "**:pull_request", "*:o/r"] {
        let rule = json!({ "repository_owner_id": "65", "subject": { "glob": glob } });
        github.cannot_save(rule, "/match/subject").await;
    }
    for glob in [
        "repo:octo-org/*",
        "repo:octo-org/octo-repo:ref:refs/tags/v*",
    ] {
        github
            .rule(json!({ "repository_owner_id": "65", "subject": { "glob": glob } }))
            .await;
    }
}

#[tokio::test]
async fn contract_6__ids_that_are_sent_are_pinned_and_the_rule_is_active_at_once() {
    let buildkite = Platform::new("buildkite", "https://agent.buildkite.test", json!({})).await;
    let saved = buildkite
        .rule(json!({ "organization_slug": "acme", "pipeline_slug": "release" }))
        .await;
    assert_eq!(saved["state"], "active", "{saved}");
    assert_eq!(
        buildkite.warnings().await,
        ["any_source", "no_immutable_id"]
    );
    let job = |changes: Value| {
        let token = buildkite.claims(json!({
            "sub": "organization:acme:pipeline:release", "organization_slug": "acme", "pipeline_slug": "release",
            "build_number": 7, "step_key": null,
        }));
        changed(&token, changes)
    };
    buildkite.accepts(&job(json!({}))).await;
    buildkite
        .accepts(&job(
            json!({ "organization_id": "o-1", "pipeline_id": "p-1" }),
        ))
        .await;
    let shown = buildkite
        .server
        .admin("GET", "federated-credentials/rule", Value::Null)
        .await
        .json();
    assert_eq!(
        shown["pinned"],
        json!({ "organization_id": "o-1", "pipeline_id": "p-1" })
    );
    buildkite
        .refuses(
            &job(json!({ "organization_id": "o-2", "pipeline_id": "p-1" })),
            "no_matching_credential",
        )
        .await;
    buildkite
        .refuses(
            &job(json!({ "aud": "https://buildkite.com/acme" })),
            "aud_mismatch",
        )
        .await;
}

#[tokio::test]
async fn contract_6__a_shared_audience_is_warned_about() {
    let azure = Platform::new(
        "azure-devops",
        "https://vstoken.dev.azure.test/o-1",
        json!({}),
    )
    .await;
    let shown = azure
        .server
        .admin("GET", "trusted-issuers/platform", Value::Null)
        .await
        .json();
    assert_eq!(shown["audiences"], json!(["api://AzureADTokenExchange"]));
    assert_eq!(shown["warnings"][0]["code"], "shared_audience");
    azure
        .rule(json!({ "definition_id": "7", "org_id": "o-1" }))
        .await;
    let run = azure.claims(json!({
        "aud": "api://AzureADTokenExchange", "sub": "p://acme/core/release", "org_id": "o-1", "prj_id": "p-1",
        "def_id": "7", "rpo_id": "r-1",
    }));
    azure.accepts(&run).await;
    azure.refuses(&run, "replay").await;
}

#[tokio::test]
async fn contract_8__circleci_contexts_are_a_list_and_ssh_reruns_can_be_refused() {
    let circle = Platform::new("circleci", "https://oidc.circleci.test/org/o-1", json!({})).await;
    circle
        .rule(json!({ "project_id": "P-1", "context_ids": ["ctx-1"], "deny_ssh_rerun": true }))
        .await;
    let job = |changes: Value| {
        let token = circle.claims(json!({
            "sub": "org/o-1/project/p-1/user/u", "jti": null, "oidc.circleci.com/org-id": "o-1",
            "oidc.circleci.com/project-id": "p-1", "oidc.circleci.com/context-ids": ["ctx-9", "ctx-1"],
            "oidc.circleci.com/ssh-rerun": false,
        }));
        changed(&token, changes)
    };
    circle.accepts(&job(json!({}))).await;
    circle.refuses(&job(json!({})), "replay").await;
    circle
        .accepts(&job(json!({ "oidc.circleci.com/ssh-rerun": "false" })))
        .await;
    for (claim, value, reason) in [
        ("ssh-rerun", json!(true), "runner_denied"),
        ("ssh-rerun", json!("true"), "runner_denied"),
        ("ssh-rerun", Value::Null, "claim_missing"),
        ("context-ids", json!(["ctx-2"]), "context_mismatch"),
        ("context-ids", json!("ctx-1"), "claim_type"),
    ] {
        circle
            .refuses(
                &job(json!({ format!("oidc.circleci.com/{claim}"): value })),
                reason,
            )
            .await;
    }
    circle
        .cannot_save(json!({ "vcs_origin": "github.com/acme/widgets" }), "/match")
        .await;
}

// === the book ===

#[test]
fn the_page_of_profiles_has_every_profile_and_field() {
    let page = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/src/reference/profiles.md"
    ))
    .unwrap();
    let profiles = carnet::profile::Profiles::load(None).unwrap();
    assert!(profiles.iter().count() >= 19);
    for profile in profiles.iter() {
        let section = page
            .split("\n## ")
            .find(|section| section.starts_with(&format!("`{}`\n", profile.name)));
        let section = section.unwrap_or_else(|| panic!("{} has no section", profile.name));
        for field in &profile.fields {
            assert!(
                section.contains(&format!("| `{}` |", field.name)),
                "{}.{}",
                profile.name,
                field.name
            );
        }
        let cases = format!(
            "{}/docs/samples/cases/{}.json",
            env!("CARGO_MANIFEST_DIR"),
            profile.name
        );
        assert!(
            profile.people.is_some()
                || profile.name == "github-actions"
                || std::path::Path::new(&cases).exists(),
            "{cases}"
        );
    }
}

#[tokio::test]
async fn contract_7__a_refusal_hints_at_letter_case_and_at_stars_that_stop_at_slashes() {
    let platform = gitlab_platform().await;
    let rule = json!({ "namespace_id": "72", "project_id": "20", "environment": "production", "ref": { "glob": "release/*" }, "ref_type": "branch" });
    platform.rule(rule).await;
    let claims = gitlab(&platform, json!({ "ref": "release/1/2" }));
    let answer = platform.present(&claims).await;
    let hints: Vec<Value> = answer.json()["mismatches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["hint"].clone())
        .collect();
    assert_eq!(
        hints,
        [
            json!("differs only in letter case"),
            json!("`*` stops at a slash; `**` does not")
        ],
        "{}",
        answer.text()
    );
    let asked = json!({ "trusted_issuer": "platform", "claims": claims });
    let explained = platform
        .server
        .admin("POST", "explanations", asked)
        .await
        .json();
    let conditions = explained["candidates"][0]["conditions"].as_array().unwrap();
    assert_eq!(
        conditions
            .iter()
            .filter(|condition| condition.get("hint").is_some())
            .count(),
        2,
        "{explained:#}"
    );
}

// === a platform that nobody has heard of ===

const SMITHY: &str = r#"
title = "Smithy"
index = [["smith", "forge_id"]]
event_claim = "struck_by"
pins = "required"

[defaults]
algorithms = ["ES256"]
types = ["JWT"]
max_assertion_lifetime_seconds = 600
replay = "required"
replay_claim = "heat"
banned_events = ["passer-by"]

[workload]
id = "{forge_id}"

[claims]
forge_id = { path = "/forge/id", required = true, type = "integer", forward = true }
smith = { required = true, case = "name" }
anvil = { case = "fold", forward = true }
mark = {}
struck_by = { required = true }

[[pairs]]
claim = "mark"
starts_with = "{anvil}/"

[[fields]]
name = "smith"
role = "name"
ids = ["forge_id"]
mismatch = "repo_mismatch"
check.equals = { claim = "smith" }

[[fields]]
name = "forge_id"
role = "id"
mismatch = "owner_id_mismatch"
check.equals = { claim = "forge_id", digits = true }

[[fields]]
name = "anvil"
mismatch = "env_mismatch"
missing = "env_missing"
check.equals = { claim = "anvil", glob = true }

[[at_least]]
any_of = ["smith", "forge_id"]
detail = "every forge shares this issuer"
"#;

/// The case file of the platform: one token, and what becomes of it when one claim is another (`null`: when it is not sent).
fn smithy_cases(now: i64) -> Vec<Value> {
    let claims = json!({
        "iss": "https://smithy.test", "aud": CARNET, "sub": "forge/7", "heat": "h-1", "iat": now, "exp": now + 300,
        "forge": { "id": 7 }, "smith": "wayland", "anvil": "Great/One", "mark": "Great/One/x", "struck_by": "owner",
    });
    let case = |id: &str, changes: Value, (expect, reason): (&str, &str)| {
        json!({
            "id": id, "description": "the great anvils of forge 7", "expect": expect, "reason": reason,
            "objects": {
                "principals": { "joel": { "kind": "user" } },
                "resource_servers": { "pypi": { "resource": R1, "actions": ["publish"] } },
                "trusted_issuers": {
                    "smithy": { "profile": "smithy", "issuer": "https://smithy.test", "audiences": [CARNET] },
                },
                "federated_credentials": { "great": {
                    "principal": "joel", "trusted_issuer": "smithy",
                    "match": { "forge_id": "7", "anvil": { "glob": "Great/*" } },
                    "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["horseshoe"] }],
                } },
            },
            "claims": changed(&claims, changes),
            "context": { "now": now, "registry": { "action": "publish", "package": "horseshoe" } },
        })
    };
    vec![
        case("good", json!({}), ("allow", "ok")),
        case(
            "other-forge",
            json!({ "forge": { "id": 8 } }),
            ("deny", "owner_id_mismatch"),
        ),
        case(
            "forge-as-text",
            json!({ "forge": { "id": "7" } }),
            ("deny", "claim_type"),
        ),
        case(
            "deeper",
            json!({ "anvil": "Great/One/Two", "mark": null }),
            ("deny", "env_mismatch"),
        ),
        case(
            "no-anvil",
            json!({ "anvil": null }),
            ("deny", "env_missing"),
        ),
        case(
            "two-words",
            json!({ "mark": "Small/x" }),
            ("deny", "claim_inconsistent"),
        ),
        case(
            "stranger",
            json!({ "struck_by": "Passer-By" }),
            ("deny", "event_denied"),
        ),
        case(
            "no-heat",
            json!({ "heat": null }),
            ("deny", "claim_missing"),
        ),
        case(
            "long",
            json!({ "exp": now + 601 }),
            ("deny", "lifetime_too_long"),
        ),
    ]
}

#[tokio::test]
async fn contract_8__a_made_up_platform_is_one_data_file_and_one_case_file() {
    let db = TestDb::new().await;
    let (profiles, file) = (
        db.folder().join("profiles"),
        db.folder().join("smithy.json"),
    );
    std::fs::create_dir(&profiles).unwrap();
    std::fs::write(profiles.join("smithy.toml"), SMITHY).unwrap();
    let settings = [("CARNET_PROFILES_DIR", profiles.to_str().unwrap())];
    let server = TestServer::with(&settings).await;
    let cases = smithy_cases(server.now());
    std::fs::write(&file, json!(cases).to_string()).unwrap();

    let test = [
        "policy",
        "test",
        file.to_str().unwrap(),
        "--profiles-dir",
        profiles.to_str().unwrap(),
    ];
    let tested = carnet_in(db.folder(), &test);
    let verdict = |case: &Value| {
        format!("{} {} {}", case["id"], case["expect"], case["reason"]).replace('"', "")
    };
    let expected: Vec<String> = cases.iter().map(verdict).collect();
    assert_eq!(
        (tested.code, tested.stdout.lines().collect::<Vec<_>>()),
        (0, expected.iter().map(|line| &**line).collect())
    );
    assert_eq!(
        carnet_in(db.folder(), &test[..3]).code,
        1,
        "no such profile without the data file"
    );

    let known = Profiles::load(Some(&profiles)).unwrap();
    for case in &cases {
        let (word, reason) = run_with(case, db.folder(), &profiles, &known)
            .await
            .unwrap();
        assert_eq!(
            (case["expect"].as_str(), case["reason"].as_str()),
            (Some(word), Some(&*reason)),
            "{}",
            case["id"]
        );
    }

    let smithy = FakeIssuer::new("https://smithy.test", TestKey::ec("hammer", "ES256"));
    let trusted = json!({ "profile": "smithy", "issuer": smithy.url });
    let stranger = TestServer::start().await;
    stranger.network.add(&smithy);
    let refused = stranger
        .admin("PUT", "trusted-issuers/smithy", trusted.clone())
        .await;
    assert!(
        refused.status == 422 && refused.text().contains("/profile"),
        "{}",
        refused.text()
    );
    server.network.add(&smithy);
    server.put("trusted-issuers/smithy", trusted).await;
    server
        .put("principals/joel", json!({ "kind": "user" }))
        .await;
    server
        .put(
            "resource-servers/pypi",
            json!({ "resource": R1, "actions": ["publish"] }),
        )
        .await;
    let rule = json!({
        "principal": "joel", "trusted_issuer": "smithy", "match": { "smith": "Wayland", "anvil": "great/one" },
        "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["horseshoe"] }],
    });
    assert_eq!(
        server.put("federated-credentials/great", rule).await["state"],
        "pending"
    );
    let exchange = async |claims: &Value| {
        let form = [
            ("grant_type", JWT_BEARER),
            ("assertion", &smithy.key().sign(claims)),
        ];
        server.form("/token", &form).await
    };
    let token = exchange(&cases[0]["claims"]).await.token();
    let payload = URL_SAFE_NO_PAD
        .decode(token.split('.').nth(1).unwrap())
        .unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    let workload = json!({
        "iss": smithy.url, "sub": "forge/7", "profile": "smithy", "claims": { "anvil": "Great/One", "forge_id": 7 },
        "proof": "bearer",
    });
    assert_eq!(payload["workload"], workload);
    exchange(&cases[0]["claims"])
        .await
        .refused(400, "invalid_grant", "replay");
    let shown = server
        .admin("GET", "federated-credentials/great", Value::Null)
        .await
        .json();
    assert_eq!(
        (&shown["state"], &shown["pinned"]),
        (&json!("active"), &json!({ "forge_id": "7" }))
    );
    exchange(&changed(&cases[0]["claims"], json!({ "heat": "h-2" })))
        .await
        .token();
    let namesake = changed(
        &cases[0]["claims"],
        json!({ "heat": "h-3", "forge": { "id": 8 } }),
    );
    exchange(&namesake)
        .await
        .refused(400, "invalid_grant", "no_matching_credential");
}
