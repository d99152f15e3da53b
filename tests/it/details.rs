//! Authorization details (RFC 9396; checklist 3.3), the same in every grant.

use serde_json::{Value, json};

use super::assertion::payload;
use super::exchange::{FORMATS, change, introspect, with_format};
use crate::support::{Answer, R1, R2, World};

/// The ways to a token for the same rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Road {
    Bearer,
    Exchange,
    Renewal,
    Client,
}

const ROADS: [Road; 4] = [Road::Bearer, Road::Exchange, Road::Renewal, Road::Client];

/// A world with a client that has the rights of the usual rule.
struct Roads {
    world: World,
    bot: String,
}

impl Roads {
    async fn new() -> Self {
        Self::of(World::new().await).await
    }

    async fn of(world: World) -> Self {
        let permission = json!({ "resource_server": "pypi", "actions": ["create", "publish"], "packages": ["widgets", "widgets-*"], "owner": "joel" });
        let bot = world
            .client("bot", json!({ "permissions": [permission] }))
            .await;
        Self { world, bot }
    }

    async fn ask(&self, road: Road, details: &str, more: &[(&str, &str)]) -> Answer {
        let wish = [&[("authorization_details", details)], more].concat();
        match road {
            Road::Bearer => self.world.exchange_with(&self.world.good(), &wish).await,
            Road::Exchange => self.world.trade(&self.world.good(), &wish).await,
            Road::Renewal => {
                self.world
                    .renew(
                        &self.world.exchange(&self.world.good()).await.token(),
                        &wish,
                    )
                    .await
            }
            Road::Client => {
                let form = [&[("grant_type", "client_credentials")], wish.as_slice()].concat();
                self.world
                    .server
                    .form_with("/token", &[("authorization", &self.bot)], &form)
                    .await
            }
        }
    }

    /// Checks that these details are refused on every road, and that those of [`good`] are granted.
    async fn refuse(&self, details: &str, reason: &str) {
        for road in ROADS {
            let answer = self.ask(road, details, &[]).await;
            assert_eq!(
                (answer.status, answer.reason().as_str()),
                (400, reason),
                "{road:?} {details}"
            );
            answer.refused(400, "invalid_authorization_details", reason);
            self.ask(road, &json!([good()]).to_string(), &[])
                .await
                .token();
        }
    }
}

/// Details that are permitted.
fn good() -> Value {
    json!({ "type": "package", "actions": ["publish"], "packages": ["widgets"] })
}

/// The same with these members changed; `null` takes one away.
fn changed(members: Value) -> String {
    let mut detail = good();
    for (name, value) in members.as_object().unwrap() {
        detail[name] = value.clone();
        if value.is_null() {
            detail.as_object_mut().unwrap().remove(name);
        }
    }
    json!([detail]).to_string()
}

#[tokio::test]
async fn rfc9396_2_1__anything_but_an_array_of_typed_objects_is_refused() {
    let roads = Roads::new().await;
    for details in [
        "{}",
        "\"package\"",
        "[]",
        "[1]",
        "[{}]",
        "not json",
        "[{\"type\":\"\"}]",
        &good().to_string(),
    ] {
        roads.refuse(details, "details_malformed").await;
    }
    roads
        .refuse(&changed(json!({ "type": "" })), "details_malformed")
        .await;
}

#[tokio::test]
async fn rfc9396_5_1__details_of_unknown_type_or_member_or_bad_value_are_refused() {
    let roads = Roads::new().await;
    for members in [
        json!({ "type": "payment_initiation" }),
        json!({ "privileges": ["admin"] }),
        json!({ "packages": "widgets" }),
        json!({ "digest": "sha256:xyz" }),
        json!({ "actions": null }),
    ] {
        roads.refuse(&changed(members), "details_malformed").await;
    }
}

#[tokio::test]
async fn rfc9396_6_1__details_beyond_the_granted_rights_are_refused() {
    let roads = Roads::new().await;
    for (members, reason) in [
        (json!({ "packages": ["gadgets"] }), "package_out_of_scope"),
        (
            json!({ "packages": ["widgets", "gadgets"] }),
            "package_out_of_scope",
        ),
        (json!({ "actions": ["unlist"] }), "action_out_of_scope"),
        (json!({ "owner": "mallory" }), "owner_out_of_scope"),
    ] {
        roads.refuse(&changed(members), reason).await;
    }
    // One that is too wide spoils the others.
    let both =
        json!([good(), { "type": "package", "actions": ["publish"], "packages": ["gadgets"] }])
            .to_string();
    roads.refuse(&both, "package_out_of_scope").await;
}

#[tokio::test]
async fn rfc9396_6_1_1__each_member_is_compared_in_its_own_way() {
    let roads = Roads::new().await;
    for (members, reason) in [
        (
            json!({ "actions": ["publish", "unlist"] }),
            "action_out_of_scope",
        ),
        (json!({ "locations": [R1, R2] }), "owner_out_of_scope"),
        (json!({ "packages": ["*"] }), "package_out_of_scope"),
        (json!({ "packages": ["widgets*"] }), "package_out_of_scope"),
        // Narrower than the permitted pattern, and still no pattern that the rule has.
        (
            json!({ "packages": ["widgets-a*"] }),
            "package_out_of_scope",
        ),
    ] {
        roads.refuse(&changed(members), reason).await;
    }
    for members in [
        json!({ "packages": ["widgets-*"] }),
        json!({ "packages": ["widgets-core", "widgets"], "actions": ["publish", "create"] }),
        json!({ "locations": [R1], "owner": "JOEL" }),
    ] {
        for road in ROADS {
            roads
                .ask(road, &changed(members.clone()), &[])
                .await
                .token();
        }
    }
}

#[tokio::test]
async fn rfc9396_7_1__the_answer_says_what_was_granted() {
    for format in FORMATS {
        let roads = Roads::of(with_format(format).await).await;
        let wish = changed(json!({ "packages": ["widgets-core"], "version": "1.2.3" }));
        for road in ROADS {
            let answer = roads.ask(road, &wish, &[]).await.json();
            let entry = &answer["authorization_details"][0];
            assert_eq!(
                (
                    &entry["type"],
                    &entry["actions"],
                    &entry["packages"],
                    &entry["version"],
                    &entry["locations"]
                ),
                (
                    &json!("package"),
                    &json!(["publish"]),
                    &json!(["widgets-core"]),
                    &json!("1.2.3"),
                    &json!([R1])
                ),
                "{road:?}"
            );
            assert_eq!(
                (&entry["owner"], &entry["principal"]),
                (&json!("joel"), &json!("joel"))
            );
            assert_eq!(answer["authorization_details"].as_array().unwrap().len(), 1);
        }
    }
}

#[tokio::test]
async fn rfc9396_3_1__scope_and_details_limit_together() {
    let roads = Roads::new().await;
    let both = changed(json!({ "actions": ["create", "publish"] }));
    for road in ROADS {
        let answer = roads.ask(road, &both, &[("scope", "publish")]).await.json();
        assert_eq!(
            (
                &answer["scope"],
                &answer["authorization_details"][0]["actions"]
            ),
            (&json!("publish"), &json!(["publish"]))
        );
        let empty = roads
            .ask(road, &changed(json!({})), &[("scope", "create")])
            .await;
        empty.refused(400, "invalid_scope", "scope_not_granted");
        let wide = roads
            .ask(road, &changed(json!({})), &[("scope", "publish unlist")])
            .await;
        wide.refused(400, "invalid_scope", "scope_not_granted");
    }
}

#[tokio::test]
async fn rfc9396_3_2__naming_the_resource_changes_nothing_of_the_details() {
    let roads = Roads::new().await;
    for road in ROADS {
        let wish = changed(json!({ "packages": ["widgets-core"] }));
        let plain = roads.ask(road, &wish, &[]).await.json();
        let named = roads.ask(road, &wish, &[("resource", R1)]).await.json();
        assert_eq!(
            plain["authorization_details"],
            named["authorization_details"]
        );
        let elsewhere = roads.ask(road, &wish, &[("resource", R2)]).await;
        elsewhere.refused(400, "invalid_target", "target_not_granted");
    }
}

#[tokio::test]
async fn rfc9396_9_1__a_registry_gets_the_details_that_are_for_it() {
    for format in FORMATS {
        let world = with_format(format).await;
        let mut document = World::rule_document(json!({}));
        document["permissions"] = json!([
            { "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] },
            { "resource_server": "crates", "actions": ["create"], "packages": ["widgets-rs"] },
        ]);
        world
            .server
            .put("federated-credentials/octo-release", document)
            .await;
        let wish = [("resource", R1)];
        let first = world.exchange_with(&world.good(), &wish).await;
        for answer in [
            world.renew(&first.token(), &[]).await,
            world.trade(&world.good(), &wish).await,
            first,
        ] {
            let told = introspect(&world, "pypi", &answer.token()).await;
            assert_eq!(
                told["authorization_details"],
                answer.json()["authorization_details"]
            );
            assert_eq!(
                told["authorization_details"][0]["packages"],
                json!(["widgets"])
            );
            assert_eq!(told["authorization_details"].as_array().unwrap().len(), 1);
            if format == "jwt" {
                assert_eq!(
                    payload(&answer.token())["authorization_details"],
                    told["authorization_details"]
                );
            }
            assert_eq!(
                introspect(&world, "crates", &answer.token()).await,
                json!({ "active": false })
            );
        }
    }
}

#[tokio::test]
async fn rfc9396_10_1__the_metadata_lists_the_one_type() {
    let world = World::new().await;
    let metadata = world
        .server
        .get("/.well-known/oauth-authorization-server")
        .await
        .json();
    assert_eq!(
        metadata["authorization_details_types_supported"],
        json!(["package"])
    );
}

#[tokio::test]
async fn rfc9396_12_1__hostile_texts_in_details_are_compared_literally_and_not_echoed() {
    let roads = Roads::new().await;
    for package in [
        "WIDGETS",
        "widgets ",
        " widgets",
        "widgets\u{0}",
        "widgets\n",
        "widgets/../widgets",
        "\u{ff57}idgets",
        "widgets\u{200b}",
        "widgets' OR '1'='1",
        "<script>alert(1)</script>",
        "${jndi:ldap://x}",
        "%77idgets",
    ] {
        let reason = |answer: &Answer| (answer.status, answer.json()["error"].clone());
        for road in ROADS {
            let answer = roads
                .ask(road, &changed(json!({ "packages": [package] })), &[])
                .await;
            assert_eq!(
                reason(&answer),
                (400, json!("invalid_authorization_details")),
                "{road:?} {package:?}"
            );
            assert!(!answer.text().contains("<script") && !answer.text().contains("jndi"));
        }
    }
    // What may be any text comes out as it went in.
    let (package, version) = (
        "widgets-<script>%41'--",
        "1.0\"}],\"scope\":\"unlist\",\"x\":\"\u{1f600}",
    );
    for road in ROADS {
        let answer = roads
            .ask(
                road,
                &changed(json!({ "packages": [package], "version": version })),
                &[],
            )
            .await;
        let claims = payload(&answer.token());
        let entry = &claims["authorization_details"][0];
        assert_eq!(
            (&entry["packages"], &entry["version"]),
            (&json!([package]), &json!(version)),
            "{road:?}"
        );
        assert_eq!(claims["scope"], "publish");
    }
}

#[tokio::test]
async fn prof_rar_1__a_registry_honours_narrowed_details() {
    use carnet_resource_server::{
        AuthorizationDetail, Operation, PackageNames, RegistryState, allows,
    };
    let roads = Roads::new().await;
    let everything = |_: &str| true;
    let same = |principal: &str, owner: &str| principal == owner;
    let state = RegistryState {
        exists: true,
        owned_by: &everything,
        may_act_for: &same,
    };
    for road in ROADS {
        let first = roads
            .ask(road, &changed(json!({ "version": "1.0.0" })), &[])
            .await
            .token();
        let claims = payload(&first);
        let entries: Vec<AuthorizationDetail> =
            serde_json::from_value(claims["authorization_details"].clone()).unwrap();
        let may = |action, package, version| {
            let operation = Operation {
                action,
                package,
                version: Some(version),
                digest: None,
            };
            allows(&entries, PackageNames::Exact, &operation, &state).is_ok()
        };
        assert!(may("publish", "widgets", "1.0.0"));
        assert!(!may("publish", "widgets-core", "1.0.0") && !may("create", "widgets", "1.0.0"));
        assert!(!may("publish", "widgets", "1.0.1"));
    }
}

#[tokio::test]
async fn rfc9396_3_2__details_with_another_location_are_refused() {
    let roads = Roads::new().await;
    change(
        &roads.world,
        "resource-servers/pypi",
        json!({ "aliases": ["https://alias.test/"] }),
    )
    .await;
    for place in [R2, "https://alias.test/", "https://registry.test/pypi"] {
        roads
            .refuse(
                &changed(json!({ "locations": [place] })),
                "owner_out_of_scope",
            )
            .await;
    }
}
