use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree as _;
use serde_json::{Value, json};

use super::*;
use crate::documents::testing::{in_context, mistakes, read, read_again, shown};
use crate::documents::{ClientState, Document as _, testing};
use crate::ids::ClientRowId;
use crate::scope::ScopeSet;

const URI: &str = "https://app.example/callback";

/// A client of persons with some members changed.
fn client(changed: Value) -> Value {
    let mut document = json!({
        "auth_method": "none", "grant_types": ["authorization_code"], "redirect_uris": [URI],
    });
    let members = document.as_object_mut().unwrap();
    members.extend(changed.as_object().unwrap().clone());
    document
}

fn permission(changed: Value) -> Value {
    let mut permission =
        json!({ "resource_server": "npm", "actions": ["publish"], "packages": ["*"] });
    let members = permission.as_object_mut().unwrap();
    members.extend(changed.as_object().unwrap().clone());
    permission
}

#[test]
fn a_client_of_persons_with_every_member_is_read_and_compiled() {
    let document: ClientDocument = read_again(client(json!({
        "auth_method": "client_secret_basic",
        "grant_types": ["authorization_code", "urn:ietf:params:oauth:grant-type:token-exchange"],
        "redirect_uris": [URI, "http://127.0.0.1/callback", "com.example.app:/callback"],
        "display_name": "Octo’s “desk” – 東京", "homepage": "https://app.example/about?x=1", "first_party": true,
        "scopes": ["openid", "profile", "email", "admin:credentials:octo-org", "admin"],
        "permissions": [permission(json!({ "min_proof": "key", "require_sender_constraint": true }))],
    })));
    assert_eq!(document.warnings_in_test(), ["any_package"]);
    let compiled = in_context(|context| {
        let id = ClientRowId(uuid::Uuid::nil());
        document.compile(id, "desk", 1, &ClientState::default(), context)
    });
    let compiled = compiled.unwrap();
    assert_eq!(compiled.redirect_uris, document.redirect_uris);
    assert_eq!(compiled.display_name, document.display_name);
    assert_eq!(
        compiled.homepage.as_deref(),
        Some("https://app.example/about?x=1")
    );
    assert!(compiled.first_party);
    assert_eq!(compiled.permissions[0].owner, "");
    let scopes = ScopeSet::parse("admin admin:credentials:octo-org email openid profile");
    assert_eq!(compiled.scopes, scopes.ok());
}

#[test]
fn what_a_client_shows_and_exports_is_read_as_the_same_client() {
    for document in [
        json!({}),
        json!({ "auth_method": "client_secret_post" }),
        json!({ "auth_method": "federated", "federated_credentials": ["octo-org:release"] }),
        json!({ "auth_method": "private_key_jwt", "jwks_uri": "https://app.example/jwks", "fapi2": true }),
        json!({
            "auth_method": "client_secret_basic", "scopes": ["admin"],
            "permissions": [permission(json!({ "owner": "octo-org" }))],
        }),
        // Defaults may be given.
        json!({ "redirect_uris": [], "display_name": null, "homepage": null, "first_party": false }),
        client(json!({})),
        client(json!({ "auth_method": "private_key_jwt", "jwks": { "keys": [] } })),
    ] {
        let document: ClientDocument = read_again(document);
        assert_eq!(read(&shown(&document)).as_ref(), Ok(&document));
        assert_eq!(document.redirect_uris.is_empty(), !document.is_of_people());
    }
    // Stored before these members existed.
    let stored = json!({ "auth_method": "none", "grant_types": [], "enabled": true });
    let stored: ClientDocument = serde_json::from_value(stored).unwrap();
    assert!(stored.redirect_uris.is_empty() && stored.display_name.is_none());
    assert!(stored.homepage.is_none() && !stored.first_party);
}

#[test]
fn nobody_gets_the_grant_of_persons_without_asking_for_it() {
    for method in AuthMethod::ALL {
        assert!(!method.grants().contains(&GrantType::AuthorizationCode));
    }
    let default: ClientDocument = read_again(json!({ "auth_method": "client_secret_basic" }));
    assert_eq!(default.grant_types.len(), 3);
    assert!(!default.is_of_people());
}

#[test]
fn mistakes_of_a_client_of_persons_are_told_with_their_places() {
    let with = |changed| mistakes::<ClientDocument>(client(changed));
    let secret = "client_secret_basic";
    // The grant.
    let both = json!({ "auth_method": secret, "grant_types": ["authorization_code", "client_credentials"] });
    assert_eq!(with(both), ["/grant_types"]);
    let federated =
        json!({ "auth_method": "federated", "federated_credentials": ["octo-org:release"] });
    assert_eq!(with(federated), ["/grant_types"]);
    let fapi = json!({ "auth_method": "private_key_jwt", "jwks_uri": "https://app.example/jwks", "fapi2": true });
    assert_eq!(with(fapi), ["/fapi2"]);
    // Redirect URIs.
    for none in [json!([]), Value::Null] {
        assert_eq!(with(json!({ "redirect_uris": none })), ["/redirect_uris"]);
    }
    assert_eq!(
        with(json!({ "redirect_uris": [URI, URI] })),
        ["/redirect_uris"]
    );
    assert_eq!(
        with(json!({ "redirect_uris": URI })),
        ["/redirect_uris", "/redirect_uris"]
    );
    let many: Vec<String> = (0..=20).map(|at| format!("{URI}/{at}")).collect();
    assert_eq!(with(json!({ "redirect_uris": many })), ["/redirect_uris"]);
    let _: ClientDocument = read_again(client(json!({ "redirect_uris": many[1..] })));
    let bad = json!({ "redirect_uris": [URI, "http://localhost/", "https://app.example/*"] });
    assert_eq!(with(bad), ["/redirect_uris/1", "/redirect_uris/2"]);
    // Scopes and permissions.
    assert_eq!(
        with(json!({ "scopes": ["openid", "publish"] })),
        ["/scopes"]
    );
    assert_eq!(with(json!({ "scopes": ["offline_access"] })), ["/scopes"]);
    let owned = json!({ "permissions": [permission(json!({})), permission(json!({ "owner": "octo-org" }))] });
    assert_eq!(with(owned), ["/permissions/1/owner"]);
    // Texts.
    for homepage in [
        "http://app.example/",
        "https://user@app.example/",
        "https://app.example/#x",
        "https:app.example",
        "https://",
        "javascript:alert(1)",
        "app.example",
        &format!("https://app.example/{}", "a".repeat(2048)),
    ] {
        assert_eq!(
            with(json!({ "homepage": homepage })),
            ["/homepage"],
            "{homepage}"
        );
    }
    for first_party in [json!("true"), json!(1)] {
        assert_eq!(
            with(json!({ "first_party": first_party })),
            ["/first_party"]
        );
    }
}

#[test]
fn a_client_that_is_not_of_persons_has_no_member_about_them() {
    let with = |mut document: Value, (name, value): (&str, Value)| {
        document[name] = value;
        mistakes::<ClientDocument>(document)
    };
    for document in [
        json!({ "auth_method": "none" }),
        json!({ "auth_method": "client_secret_basic" }),
        json!({ "auth_method": "client_secret_basic", "grant_types": ["client_credentials"] }),
    ] {
        for member in [
            ("redirect_uris", json!([URI])),
            ("display_name", json!("Desk")),
            ("homepage", json!("https://app.example/")),
            ("first_party", json!(true)),
        ] {
            let place = format!("/{}", member.0);
            assert_eq!(with(document.clone(), member), [place], "{document}");
        }
    }
    let secret = json!({ "auth_method": "client_secret_basic" });
    assert_eq!(
        with(secret.clone(), ("scopes", json!(["openid"]))),
        ["/scopes"]
    );
    let ceiling = ("permissions", json!([permission(json!({}))]));
    assert_eq!(with(secret, ceiling), ["/permissions/0/owner"]);
    let exchange = json!({ "auth_method": "client_secret_basic", "grant_types": ["urn:ietf:params:oauth:grant-type:token-exchange"] });
    assert_eq!(
        with(exchange.clone(), ("scopes", json!(["admin"]))),
        ["/scopes"]
    );
    let owned = (
        "permissions",
        json!([permission(json!({ "owner": "octo-org" }))]),
    );
    assert_eq!(with(exchange, owned), ["/permissions"]);
}

#[test]
fn a_display_name_hides_nothing() {
    let longest = "é".repeat(MAX_DISPLAY_NAME);
    for name in ["x", "Octo’s 'desk' \"2\" \\ 東京 e\u{301}", &longest] {
        let document: ClientDocument = read_again(client(json!({ "display_name": name })));
        assert_eq!(document.display_name.as_deref(), Some(name));
    }
    for name in [
        "",
        " ",
        " x",
        "x ",
        "x\u{a0}",
        "x\n",
        "a\tb",
        "a\u{0}b",
        "a\u{7f}b",
        "a\u{9b}b",
        "a\u{ad}b",
        "a\u{61c}b",
        "a\u{200b}b",
        "a\u{200d}b",
        "a\u{200e}b",
        "a\u{2028}b",
        "a\u{202e}b",
        "a\u{2060}b",
        "a\u{2066}b",
        "a\u{3000}b",
        "a\u{feff}b",
        "a\u{e000}b",
        "a\u{e0041}b",
        &format!("{longest}x"),
    ] {
        let told = mistakes::<ClientDocument>(client(json!({ "display_name": name })));
        assert_eq!(told, ["/display_name"], "{name:?}");
    }
}

#[test]
fn permissions_that_no_token_of_a_person_can_have_are_warned_of() {
    let here = |names: &[&str]| {
        let permissions = names
            .iter()
            .map(|name| permission(json!({ "resource_server": name })));
        client(json!({ "permissions": permissions.collect::<Vec<_>>() }))
    };
    let document: ClientDocument = read_again(here(&["npm", "pypi", "gems", "npm"]));
    let warning = document.people_unset(|permission| permission.resource_server == "pypi");
    let warning = warning.unwrap();
    assert_eq!(warning.code, "people_unset");
    assert!(
        warning.detail.contains("at gems, npm:"),
        "{}",
        warning.detail
    );
    assert_eq!(document.people_unset(|_| true), None);
    let without: ClientDocument = read_again(client(json!({})));
    assert_eq!(without.people_unset(|_| false), None);
    // The tokens of a client for itself are no tokens of persons.
    let owned = permission(json!({ "owner": "octo-org" }));
    let itself = json!({ "auth_method": "client_secret_basic", "permissions": [owned] });
    let itself: ClientDocument = read_again(itself);
    assert_eq!(itself.people_unset(|_| false), None);
}

#[test]
fn the_secret_of_a_client_of_persons_opens_nothing_alone() {
    let scopes = json!(["admin"]);
    let of_people: ClientDocument = read_again(client(
        json!({ "auth_method": "client_secret_basic", "scopes": scopes }),
    ));
    assert_eq!(of_people.warnings_in_test(), [""; 0]);
    let itself = json!({ "auth_method": "client_secret_basic", "scopes": scopes });
    let itself: ClientDocument = read_again(itself);
    assert_eq!(itself.warnings_in_test(), ["long_lived_secret"]);
}

impl ClientDocument {
    fn warnings_in_test(&self) -> Vec<String> {
        let warnings = in_context(|context| self.warnings(context));
        warnings.into_iter().map(|warning| warning.code).collect()
    }
}

fn documents() -> impl Strategy<Value = Value> {
    let grants = [
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "client_credentials",
        "authorization_code",
    ];
    let uris = [
        URI,
        "http://127.0.0.1:8080/callback",
        "http://[::1]/callback",
        "com.example.app:/callback",
        "http://localhost/callback",
    ];
    let scopes = ["openid", "email", "admin", "admin:read"];
    let owner = select(vec![Value::Null, json!("octo-org")]);
    let permissions = prop::collection::vec(owner, 0..2).prop_map(|owners| {
        let of = |owner| permission(json!({ "owner": owner }));
        owners.into_iter().map(of).collect::<Vec<_>>()
    });
    // Most clients of this kind have none of them.
    let texts = (
        select(vec![Value::Null, Value::Null, json!("Desk")]),
        select(vec![
            Value::Null,
            Value::Null,
            json!("https://app.example/"),
        ]),
        select(vec![Value::Null, json!(false), json!(true)]),
    );
    let lists = (
        prop::option::of(subsequence(grants.to_vec(), 0..=2)),
        subsequence(uris.to_vec(), 0..=2),
        subsequence(scopes.to_vec(), 0..=2),
    );
    let method = select(AuthMethod::ALL.map(AuthMethod::as_str).to_vec());
    (method, lists, permissions, texts).prop_map(
        |(method, (grants, uris, scopes), permissions, (name, homepage, first_party))| {
            let keys = method == "private_key_jwt" || method == "self_signed_tls_client_auth";
            json!({
                "auth_method": method, "grant_types": grants, "redirect_uris": uris, "scopes": scopes,
                "jwks_uri": keys.then_some("https://app.example/jwks"),
                "federated_credentials": if method == "federated" { json!(["octo-org:release"]) } else { json!([]) },
                "permissions": permissions, "display_name": name, "homepage": homepage, "first_party": first_party,
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn an_accepted_client_is_shown_exported_and_stored_as_it_is(document in documents()) {
        let Ok(read) = read::<ClientDocument>(document.as_object().unwrap()) else {
            return Ok(());
        };
        let again: ClientDocument = read_again(document);
        prop_assert_eq!(&read, &again);
        let shown = testing::read::<ClientDocument>(&shown(&read));
        prop_assert_eq!(shown.as_ref(), Ok(&read));
        let stored: ClientDocument = serde_json::from_value(json!(read)).unwrap();
        prop_assert_eq!(&stored, &read);
        // What is accepted is either of persons or of a client for itself.
        let for_itself = read.grant_types.contains(&GrantType::ClientCredentials);
        prop_assert!(!(for_itself && read.is_of_people()));
        prop_assert_eq!(read.redirect_uris.is_empty(), !read.is_of_people());
        prop_assert!(read.permissions.iter().all(|it| it.owner.is_none() == read.is_of_people()));
        prop_assert!(read.is_of_people() || !(read.first_party || read.homepage.is_some() || read.display_name.is_some()));
    }
}

#[test]
fn the_random_clients_are_of_both_kinds() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut found = [0, 0];
    for _ in 0..1_000 {
        let document = documents().new_tree(&mut runner).unwrap().current();
        if let Ok(read) = read::<ClientDocument>(document.as_object().unwrap()) {
            found[usize::from(read.is_of_people())] += 1;
        }
    }
    assert!(found.iter().all(|count| *count >= 5), "{found:?}");
}
