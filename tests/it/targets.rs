//! Which registry a token is for, and what it may do there (RFC 8707, RFC 9396; checklist 1.4).

use serde_json::{Value, json};

use super::assertion::payload;
use crate::support::{R1, R2, World};

/// Lets the usual rule give rights at both registries.
async fn at_both(world: &World) {
    let mut document = World::rule_document(json!({}));
    document["permissions"] = json!([
        { "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] },
        { "resource_server": "crates", "actions": ["create"], "packages": ["widgets-rs"] },
    ]);
    world
        .server
        .put("federated-credentials/octo-release", document)
        .await;
}

#[tokio::test]
async fn rfc8707_2_1__a_resource_is_an_absolute_uri_without_fragment() {
    let world = World::new().await;
    let assertion = world.good();
    for resource in [
        "registry",
        "/pypi/",
        "https://registry.test/pypi/#",
        "https://registry.test/pypi/#x",
        "https://",
        " ",
    ] {
        let answer = world
            .exchange_with(&assertion, &[("resource", resource)])
            .await;
        answer.refused(400, "invalid_target", "resource_malformed");
        assert_eq!(answer.json()["parameter"], "resource");
    }
    world
        .exchange_with(&assertion, &[("resource", R1)])
        .await
        .token();
}

#[tokio::test]
async fn rfc8707_2_2__a_token_is_for_the_requested_resource_alone() {
    let world = World::new().await;
    at_both(&world).await;
    let token = world
        .exchange_with(&world.good(), &[("resource", R1)])
        .await
        .token();
    let claims = payload(&token);
    assert_eq!(claims["aud"], R1);
    assert!(
        !claims["authorization_details"]
            .to_string()
            .contains("widgets-rs")
    );
}

#[tokio::test]
async fn rfc8707_2_4__unknown_and_missing_resources_are_invalid_targets() {
    let world = World::new().await;
    let assertion = world.good();
    let unknown = world
        .exchange_with(&assertion, &[("resource", "https://elsewhere.test/")])
        .await;
    unknown.refused(400, "invalid_target", "target_unknown");
    let uncovered = world.exchange_with(&assertion, &[("resource", R2)]).await;
    assert_eq!(
        (uncovered.status, &uncovered.json()["error"]),
        (400, &json!("invalid_target"))
    );
    at_both(&world).await;
    world
        .exchange(&assertion)
        .await
        .refused(400, "invalid_target", "target_ambiguous");
    world
        .exchange_with(&assertion, &[("resource", R2)])
        .await
        .token();
}

#[tokio::test]
async fn prof_res_1__resources_are_compared_exactly() {
    let world = World::new().await;
    let assertion = world.good();
    for resource in [
        "https://registry.test/pypi",
        "https://registry.test/x/../pypi/",
        "https://registry.test%2Fpypi/",
        "https://REGISTRY.test/pypi/",
        "https://registry.test:443/pypi/",
        "https://registry.test/pypi/?",
        "https://registry.test/pypi//",
        "https://registry.test/",
    ] {
        let answer = world
            .exchange_with(&assertion, &[("resource", resource)])
            .await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("invalid_target")),
            "{resource}"
        );
    }
    let alias = "https://upload.registry.test/legacy/";
    let answer = world
        .server
        .admin(
            "PATCH",
            "resource-servers/pypi",
            json!({ "aliases": [alias] }),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = world
        .exchange_with(&assertion, &[("resource", alias)])
        .await
        .token();
    assert_eq!(payload(&token)["aud"], R1);
}

#[tokio::test]
async fn rfc8707_2_2_1__the_requested_resource_is_the_audience_of_the_token() {
    let world = World::new().await;
    assert_eq!(
        payload(
            &world
                .exchange_with(&world.good(), &[("resource", R1)])
                .await
                .token()
        )["aud"],
        R1
    );
}

#[tokio::test]
async fn rfc8707_2_2_2__the_scope_holds_only_actions_granted_at_the_resource() {
    let world = World::new().await;
    at_both(&world).await;
    assert_eq!(
        world
            .exchange_with(&world.good(), &[("resource", R1)])
            .await
            .json()["scope"],
        "publish"
    );
    assert_eq!(
        world
            .exchange_with(&world.good(), &[("resource", R2)])
            .await
            .json()["scope"],
        "create"
    );
    let answer = world
        .exchange_with(&world.good(), &[("resource", R1), ("scope", "create")])
        .await;
    answer.refused(400, "invalid_scope", "scope_not_granted");
}

#[tokio::test]
async fn rfc8707_3_2__a_request_for_two_resources_is_refused() {
    let world = World::new().await;
    at_both(&world).await;
    let answer = world
        .exchange_with(&world.good(), &[("resource", R1), ("resource", R2)])
        .await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &json!("invalid_target"))
    );
    let token = world
        .exchange_with(&world.good(), &[("resource", R1), ("resource", R1)])
        .await
        .token();
    assert_eq!(payload(&token)["aud"], R1);
}

#[tokio::test]
async fn rfc9068_3_2__without_a_resource_the_token_is_for_the_only_registry_of_the_rule() {
    let world = World::new().await;
    assert_eq!(
        payload(&world.exchange(&world.good()).await.token())["aud"],
        R1
    );
    at_both(&world).await;
    world
        .exchange(&world.good())
        .await
        .refused(400, "invalid_target", "target_ambiguous");
}

#[tokio::test]
async fn rfc9068_5_1__two_registries_cannot_have_the_same_identifier() {
    let world = World::new().await;
    let answer = world
        .server
        .admin(
            "PUT",
            "resource-servers/second",
            json!({ "resource": R1, "actions": ["publish"] }),
        )
        .await;
    assert!(matches!(answer.status, 409 | 422), "{}", answer.text());
    let answer = world
        .server
        .admin(
            "PATCH",
            "resource-servers/crates",
            json!({ "aliases": [R1] }),
        )
        .await;
    assert!(matches!(answer.status, 409 | 422), "{}", answer.text());
}

#[tokio::test]
async fn prof_rar_1__authorization_details_narrow_the_grant_and_never_widen_it() {
    let world = World::new().await;
    let ask = async |details: Value| {
        let details = details.to_string();
        world
            .exchange_with(&world.good(), &[("authorization_details", &details)])
            .await
    };
    let narrow = json!([{ "type": "package", "actions": ["publish"], "packages": ["widgets"], "version": "1.2.3", "digest": format!("sha256:{}", "ab".repeat(32)) }]);
    let answer = ask(narrow).await.json();
    let entry = &answer["authorization_details"][0];
    assert_eq!(
        (&entry["version"], &entry["packages"], &entry["actions"]),
        (&json!("1.2.3"), &json!(["widgets"]), &json!(["publish"]))
    );
    assert_eq!(answer["scope"], "publish");
    for wide in [
        json!([{ "type": "package", "actions": ["unlist"], "packages": ["widgets"] }]),
        json!([{ "type": "package", "actions": ["publish"], "packages": ["gadgets"] }]),
        json!([{ "type": "package", "actions": ["publish"], "packages": ["*"] }]),
        json!([{ "type": "package", "actions": ["publish"], "packages": ["widgets"], "owner": "mallory" }]),
        json!([{ "type": "package", "actions": ["publish"], "packages": ["widgets"], "locations": [R2] }]),
        json!([{ "type": "repository", "actions": ["publish"], "packages": ["widgets"] }]),
        json!([{ "type": "package", "actions": ["publish"], "packages": ["widgets"], "extra": 1 }]),
        json!([{ "type": "package", "packages": ["widgets"] }]),
        json!([{ "type": "package", "actions": ["publish"], "packages": ["widgets"], "digest": "md5:00" }]),
        json!({ "type": "package" }),
        json!([7]),
    ] {
        let answer = ask(wide.clone()).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("invalid_authorization_details")),
            "{wide}"
        );
    }
    let doubled =
        r#"[{"type":"package","actions":["publish"],"actions":["create"],"packages":["widgets"]}]"#;
    let answer = world
        .exchange_with(&world.good(), &[("authorization_details", doubled)])
        .await;
    assert_eq!(answer.json()["error"], "invalid_authorization_details");
}

#[tokio::test]
async fn d_57__scope_and_authorization_details_both_limit_the_token() {
    let world = World::new().await;
    let details =
        json!([{ "type": "package", "actions": ["create", "publish"], "packages": ["widgets"] }])
            .to_string();
    let both = world
        .exchange_with(
            &world.good(),
            &[("authorization_details", &details), ("scope", "publish")],
        )
        .await
        .json();
    assert_eq!(
        (&both["scope"], &both["authorization_details"][0]["actions"]),
        (&json!("publish"), &json!(["publish"]))
    );
    let create =
        json!([{ "type": "package", "actions": ["create"], "packages": ["widgets"] }]).to_string();
    let answer = world
        .exchange_with(
            &world.good(),
            &[("authorization_details", &create), ("scope", "publish")],
        )
        .await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &json!("invalid_scope"))
    );
}

#[tokio::test]
async fn rfc8707_2_4__a_registry_can_require_that_requests_name_the_principal() {
    let world = World::new().await;
    let answer = world
        .server
        .admin(
            "PATCH",
            "resource-servers/pypi",
            json!({ "require_principal": true }),
        )
        .await;
    assert_eq!(answer.status, 200);
    let assertion = world.good();
    world
        .exchange(&assertion)
        .await
        .refused(400, "invalid_request", "principal_required");
    world
        .exchange_with(&assertion, &[("principal", "joel")])
        .await
        .token();
}

#[tokio::test]
async fn wimse_clm_2__a_registry_can_require_a_protected_ref_or_environment() {
    let world = World::new().await;
    let answer = world
        .server
        .admin(
            "PATCH",
            "resource-servers/pypi",
            json!({ "require_protected_ref_or_environment": true }),
        )
        .await;
    assert_eq!(answer.status, 200);
    world.accepts().await;
    let open = world.claims().with("ref_protected", "false");
    let answer = world.exchange_claims(&open).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (400, "ref_unprotected")
    );
    // An environment that no rule binds proves nothing.
    let answer = world
        .exchange_claims(
            &world
                .claims()
                .with("ref_protected", "false")
                .in_environment("prod"),
        )
        .await;
    assert_eq!(answer.status, 400);
    world
        .rule("octo-release", json!({ "environment": "prod" }))
        .await;
    world
        .exchange_claims(
            &world
                .claims()
                .with("ref_protected", "false")
                .in_environment("prod"),
        )
        .await
        .token();
}

#[tokio::test]
async fn nuget_pol_8__a_version_is_read_from_the_ref() {
    let world = World::new().await;
    world
        .rule(
            "octo-release",
            json!({ "ref_template": "refs/tags/v{version}" }),
        )
        .await;
    let tagged = || world.claims().on_ref("refs/tags/v1.2.3", "tag");
    let answer = world.exchange_claims(&tagged()).await.json();
    assert_eq!(answer["authorization_details"][0]["version"], "1.2.3");
    let details = |version: &str| {
        json!([{ "type": "package", "actions": ["publish"], "packages": ["widgets"], "version": version }]).to_string()
    };
    world
        .exchange_with(
            &world.gh.sign(&tagged()),
            &[("authorization_details", &details("1.2.3"))],
        )
        .await
        .token();
    let answer = world
        .exchange_with(
            &world.gh.sign(&tagged()),
            &[("authorization_details", &details("1.2.4"))],
        )
        .await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(world.exchange(&world.good()).await.status, 400);
}

#[tokio::test]
async fn rfc9068_3_3__a_scope_that_could_mean_two_registries_is_refused() {
    let world = World::new().await;
    at_both(&world).await;
    let answer = world
        .exchange_with(&world.good(), &[("scope", "publish create")])
        .await;
    answer.refused(400, "invalid_target", "target_ambiguous");
}

#[tokio::test]
async fn prof_rar_1__the_packages_of_all_entries_are_bounded_together() {
    let world = World::new().await;
    let ask = async |entries: usize| {
        let names: Vec<String> = (0..100).map(|n| format!("widgets-{n}")).collect();
        let details = json!(vec![
            json!({ "type": "package", "actions": ["publish"], "packages": names });
            entries
        ])
        .to_string();
        world
            .exchange_with(&world.good(), &[("authorization_details", &details)])
            .await
    };
    assert_eq!(ask(5).await.status, 200);
    ask(6)
        .await
        .refused(400, "invalid_authorization_details", "details_malformed");
}
