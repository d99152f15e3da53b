//! Registries in other languages: the modules of the book in Python and Node.js answer as `docs/decision-vectors.json` says, which the
//! tests of `resource-server` write, and accept the tokens of a real server. The pages show these modules as they are.

use carnet_resource_server::DenialReason;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::assertion::payload;
use super::documents::read;
use crate::support::{Deployed, Packages, R1, R2, World};

const VECTORS: &str = "docs/decision-vectors.json";
const DECISION_PAGE: &str = "docs/src/reference/registry-decision.md";
const MODES: [&str; 4] = ["exact", "ascii_case_insensitive", "pep503", "cargo"];

/// What a case expects, as far as a registry answers it.
fn expected(case: &Value) -> Value {
    let members = case.as_object().unwrap().iter();
    let answers = [
        "folded",
        "is_name",
        "is_pattern",
        "expect",
        "entry",
        "principal",
        "owner",
        "reason",
        "usable_entries",
        "error",
    ];
    members
        .filter(|(name, _)| answers.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// An issuer identifier at which nothing listens.
async fn away() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("https://{}", listener.local_addr().unwrap())
}

/// Runs the registry in another language against the vectors and a server that signs with an algorithm.
async fn registry(packages: Packages, script: &str, algorithm: &str) {
    let vectors: Value = serde_json::from_str(&read(VECTORS)).unwrap();
    let deployed = Deployed::with(&[("CARNET_TOKENS__SIGNING_ALGORITHM", algorithm)]).await;
    let tokens = deployed.tokens().await;
    let samples = format!("{}/docs/samples/registry", env!("CARGO_MANIFEST_DIR"));
    let input = json!({
        "vectors": vectors, "samples": samples, "issuer": deployed.url, "resource": R1, "tokens": tokens,
        "away": [away().await, format!("{}/tenant", deployed.url)], "uploads": uploads(&deployed, &tokens).await,
        "packages": { R1: { "widgets": ["joel"], "widgets-core": ["mallory"], "gadgets": ["joel"], "widgets-old": [] }, R2: {} },
    });
    let Some(seen) = deployed.run(packages, script, &input) else {
        return;
    };
    for list in ["names", "tokens", "decisions"] {
        let cases = vectors[list].as_array().unwrap();
        assert_eq!(seen[list].as_object().unwrap().len(), cases.len());
        for case in cases {
            assert_eq!(
                seen[list][case["id"].as_str().unwrap()],
                expected(case),
                "{case}"
            );
        }
    }
    let good = tokens["good"].as_str().unwrap();
    let entries = payload(good)["authorization_details"].clone();
    let usable: Vec<usize> = (0..entries.as_array().unwrap().len()).collect();
    assert_eq!(
        seen["real"]["good"],
        json!({ "expect": "accept", "usable_entries": usable })
    );
    for kind in ["elsewhere", "forged", "platforms"] {
        assert_eq!(
            seen["real"][kind],
            json!({ "expect": "reject", "error": "invalid_token" }),
            "{kind}"
        );
    }
    assert_eq!(seen["decided"], entries[0]);
    assert_eq!(seen["outages"], json!(["outage", "outage"]));
    // Keys are fetched once, and for an unknown kid again only when 30 seconds are over: here at once, and after 31, 32 and 62.
    assert_eq!(seen["fetched"], json!([1, 1, 2, 2, 3]));
    assert_eq!(seen["stranger"]["expect"], "reject");
    answers(&seen["uploads"]);
}

/// What is uploaded to the registry of the book: to the registry with this URI, a package, with this header.
async fn uploads(deployed: &Deployed, tokens: &Value) -> Value {
    let away = away().await;
    let upload = |issuer: &str, resource: &str, name: &str, authorization: Value| json!({ "issuer": issuer, "resource": resource, "name": name, "authorization": authorization });
    let bearer = |kind: &str| json!(format!("Bearer {}", tokens[kind].as_str().unwrap()));
    let here = |name: &str, kind: &str| upload(&deployed.url, R1, name, bearer(kind));
    json!([
        here("widgets", "good"),
        here("widgets-new", "good"),
        here("gadgets", "good"),
        here("widgets-core", "good"),
        here("widgets-old", "good"),
        here("widgets-*", "good"),
        // This token has no `create`, and there is no package yet.
        upload(&deployed.url, R2, "widgets", bearer("elsewhere")),
        here("widgets", "forged"),
        upload(&deployed.url, R1, "widgets", Value::Null),
        upload(&deployed.url, R1, "widgets", json!("Basic am9lbDo=")),
        upload(&away, R1, "widgets", bearer("good")),
    ])
}

/// Checks the answers to these uploads: status, headers, reason, and who owns the package then.
fn answers(seen: &Value) {
    let refused = |status: u16, challenge: &str| {
        (
            status,
            Some(format!("Bearer realm=\"registry\"{challenge}")),
        )
    };
    let denied = |scope: &str| {
        refused(
            403,
            &format!(", error=\"insufficient_scope\", scope=\"{scope}\""),
        )
    };
    let expected = [
        ((201, None), None, json!(["joel"])),
        ((201, None), None, json!(["joel"])),
        (
            denied("publish"),
            Some("package_out_of_scope"),
            json!(["joel"]),
        ),
        (denied("publish"), Some("owner_lost"), json!(["mallory"])),
        (denied("publish"), Some("owner_lost"), json!([])),
        (denied("publish"), Some("package_out_of_scope"), Value::Null),
        (denied("create publish"), Some("create_denied"), Value::Null),
        (
            refused(401, ", error=\"invalid_token\""),
            None,
            json!(["joel"]),
        ),
        (refused(401, ""), None, json!(["joel"])),
        (refused(401, ""), None, json!(["joel"])),
        ((503, None), None, json!(["joel"])),
    ];
    assert_eq!(seen.as_array().unwrap().len(), expected.len());
    for (answer, ((status, challenge), reason, owners)) in
        seen.as_array().unwrap().iter().zip(expected)
    {
        assert_eq!(answer[0], status, "{answer}");
        assert_eq!(
            answer[1]["WWW-Authenticate"].as_str(),
            challenge.as_deref(),
            "{answer}"
        );
        assert_eq!(
            answer[1]["Retry-After"].as_str(),
            (status == 503).then_some("30"),
            "{answer}"
        );
        assert_eq!(answer[2]["reason"].as_str(), reason, "{answer}");
        assert_eq!(answer[3], owners, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_a18__a_registry_in_python_answers_as_the_vectors_say() {
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        registry(Packages::Pypi, "joserfc/registry.py", algorithm).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_a18__a_registry_in_node_answers_as_the_vectors_say() {
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        registry(Packages::Npm, "jose/registry.mjs", algorithm).await;
    }
}

/// Readers of the repository see no includes, so the pages hold copies.
#[test]
fn the_pages_for_registries_show_the_samples_as_they_are() {
    for (page, sample) in [
        ("registry.md", "resource-server/examples/axum.rs"),
        ("registry.md", "resource-server/examples/opaque_keys.rs"),
        (
            "registry-python.md",
            "docs/samples/registry/carnet_tokens.py",
        ),
        (
            "registry-python.md",
            "docs/samples/registry/carnet_decision.py",
        ),
        ("registry-python.md", "docs/samples/registry/registry.py"),
        ("registry-python.md", "docs/samples/registry/serve.py"),
        (
            "registry-node.md",
            "docs/samples/registry/carnet-tokens.mjs",
        ),
        (
            "registry-node.md",
            "docs/samples/registry/carnet-decision.mjs",
        ),
        ("registry-node.md", "docs/samples/registry/registry.mjs"),
        ("registry-node.md", "docs/samples/registry/serve.mjs"),
    ] {
        let text = read(sample);
        assert!(
            read(&format!("docs/src/guides/{page}"))
                .contains(&format!("\n{}\n```\n", text.trim_end())),
            "{page} shows another {sample}"
        );
        let code = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("//"));
        assert!(code.count() < 60, "{sample}");
    }
}

#[test]
fn new_a17__the_page_of_the_decision_has_its_reasons_in_order() {
    let page = read(DECISION_PAGE);
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter(|row| row.starts_with(|first: char| first.is_ascii_digit()));
    let reasons: Vec<String> = rows
        .filter_map(|row| {
            row.split(" | ")
                .nth(2)?
                .trim_end_matches(" |")
                .split('`')
                .nth(1)
        })
        .map(str::to_owned)
        .collect();
    let all = [
        DenialReason::PackageOutOfScope,
        DenialReason::ActionOutOfScope,
        DenialReason::CreateDenied,
        DenialReason::VersionMismatch,
        DenialReason::DigestMismatch,
        DenialReason::OwnerLost,
        DenialReason::OwnerLost,
        DenialReason::OwnerAmbiguous,
    ];
    assert!(all.is_sorted());
    assert_eq!(reasons, all.map(DenialReason::code));
}

#[test]
fn new_a18__the_page_of_the_decision_defines_the_modes_as_the_vectors_do() {
    let page = read(DECISION_PAGE);
    let vectors: Value = serde_json::from_str(&read(VECTORS)).unwrap();
    let definitions = vectors["definitions"]["package_names"].as_object().unwrap();
    assert_eq!(definitions.len(), MODES.len());
    for mode in MODES {
        let definition = definitions[mode].as_str().unwrap();
        assert!(
            page.contains(&format!("\n| `{mode}` | {definition} |")),
            "{mode}"
        );
    }
    // The other pages that name the modes lead to this one.
    for other in [
        "docs/src/reference/admin-api.md",
        "docs/src/guides/rules.md",
        "docs/src/guides/registry.md",
    ] {
        let text = read(other);
        assert!(
            text.contains("registry-decision.md#package-names"),
            "{other}"
        );
    }
}

#[tokio::test]
async fn crates_are_compared_as_at_crates_io() {
    let world = World::new().await;
    let server = &world.server;
    let wish = json!([{ "type": "package", "actions": ["publish"], "packages": ["Widgets_Core"] }])
        .to_string();
    let asked = [("authorization_details", wish.as_str())];
    world.exchange_with(&world.good(), &asked).await.refused(
        400,
        "invalid_authorization_details",
        "package_out_of_scope",
    );
    let unknown = server
        .admin(
            "PATCH",
            "resource-servers/pypi",
            json!({ "package_names": "npm" }),
        )
        .await;
    assert_eq!(unknown.status, 422);
    let detail = unknown.json()["errors"][0]["detail"].clone();
    for mode in MODES {
        assert!(detail.as_str().unwrap().contains(mode), "{detail}");
    }
    let saved = server
        .admin(
            "PATCH",
            "resource-servers/pypi",
            json!({ "package_names": "cargo" }),
        )
        .await;
    assert_eq!(
        (saved.status, &saved.json()["package_names"]),
        (200, &json!("cargo"))
    );
    let token = world.exchange_with(&world.good(), &asked).await.token();
    assert_eq!(
        payload(&token)["authorization_details"][0]["packages"],
        json!(["Widgets_Core"])
    );
}
