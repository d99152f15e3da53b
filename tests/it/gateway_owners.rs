//! `carnet gateway owners import --from-registry`: the built binary, before a registry with lists of
//! owners. The registry answers on a thread of its own while the binary runs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{
    BackRegistry, CARNET, Finished, OPERATORS, TestServer, World, as_setting, carnet, finished,
    machine_time,
};

/// A server, and a registry that it has a gateway for.
struct Ground {
    world: World,
    back: BackRegistry,
    registries: String,
}

impl Ground {
    async fn of(protocol: &str) -> Self {
        Self::with(protocol, json!({})).await
    }

    /// With these members in the registry's entry.
    async fn with(protocol: &str, more: Value) -> Self {
        let world = World::on(TestServer::at(machine_time(), &[]).await).await;
        let folding = match protocol {
            "crates-io" => "cargo",
            "pypi" => "pep503",
            _ => "exact",
        };
        let change = json!({ "package_names": folding });
        let saved = world
            .server
            .admin("PATCH", "resource-servers/pypi", change)
            .await;
        assert_eq!(saved.status, 200, "{}", saved.text());
        for (name, external_id) in [("acme", "1042"), ("globex", "7"), ("initech", "7")] {
            let document = json!({ "kind": "organization", "external_id": external_id });
            let path = format!("principals/{name}");
            world.server.put(&path, document).await;
        }
        let back = BackRegistry::start().await;
        let secret = world.server.db.folder().join("registry-password");
        std::fs::write(&secret, format!("{OPERATORS}\n")).unwrap();
        let basic = json!({ "username": "carnet", "password_file": secret.to_str().unwrap() });
        let mut entry = json!({
            "resource_server": "pypi", "protocol": protocol, "hosts": ["registry.test"],
            "upstream": back.url, "credential": { "basic": basic },
        });
        for (name, value) in more.as_object().unwrap() {
            entry[name] = value.clone();
        }
        Self {
            world,
            back,
            registries: as_setting(&json!([entry])),
        }
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        let db = &self.world.server.db;
        let mut command = carnet();
        command
            .current_dir(db.folder())
            .args(["gateway", "owners"])
            .args(arguments)
            .envs([
                ("CARNET_DATABASE__URL", db.url()),
                ("CARNET_DATA_DIR", db.folder().to_str().unwrap()),
                ("CARNET_ISSUER", CARNET),
                ("CARNET_GATEWAY__REGISTRIES", &self.registries),
            ]);
        finished(command.output().unwrap())
    }

    fn import(&self, packages: &[&str]) -> Finished {
        let arguments = ["import", "pypi", "--from-registry"];
        self.run(&[&arguments, packages].concat())
    }

    /// The owners of crates, by their logins.
    fn crate_is(&self, name: &str, logins: &[&str]) {
        let users: Vec<Value> = logins
            .iter()
            .zip(1..)
            .map(|(login, id)| json!({ "id": id, "login": login, "name": null }))
            .collect();
        let path = format!("/api/v1/crates/{name}/owners");
        let list = json!({ "users": users });
        self.back.answers("GET", &path, 200, list.to_string());
    }

    /// Names and owners of what is recorded.
    fn recorded(&self) -> Vec<(String, String)> {
        let listed = self.run(&["list", "pypi", "--json"]);
        assert_eq!(listed.code, 0, "{listed:?}");
        let listed: Vec<Value> = serde_json::from_str(&listed.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        listed
            .iter()
            .map(|one| (text(&one["spelled"]), text(&one["owner"])))
            .collect()
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(package, owner): &(&str, &str)| ((*package).to_owned(), (*owner).to_owned());
    pairs.iter().map(owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_come_from_the_registrys_own_list() {
    let ground = Ground::of("crates-io").await;
    ground.crate_is("Widgets", &["joel"]);
    // Its login is the `external_id` of a principal.
    ground.crate_is("gadgets", &["stranger", "1042", "github:acme:core"]);
    let imported = ground.import(&["Widgets", "gadgets"]);
    assert_eq!(
        (imported.code, imported.stdout.as_str()),
        (
            0,
            "Widgets is owned by joel\ngadgets is owned by acme\n2 packages were recorded, 0 were so already\n"
        ),
        "{imported:?}"
    );
    let basic = STANDARD.encode(format!("carnet:{OPERATORS}"));
    let reached = ground.back.reached();
    assert_eq!(reached.len(), 2, "{reached:?}");
    for one in &reached {
        assert_eq!(
            (one.method.as_str(), one.header("authorization")),
            ("GET", Some(format!("Basic {basic}").as_str()))
        );
    }
    ground.crate_is("tools", &["joel"]);
    let arguments = ["import", "pypi", "--json", "--from-registry"];
    let again = ground.run(&[&arguments[..], &["widgets", "tools"]].concat());
    assert_eq!(again.code, 1, "a list of another spelling: {again:?}");
    let again = ground.run(&[&arguments[..], &["Widgets", "tools"]].concat());
    let shown: Value = serde_json::from_str(&again.stdout).unwrap_or_else(|_| panic!("{again:?}"));
    assert_eq!(
        (&shown["changed"], &shown["unchanged"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (
            &shown["packages"][1]["spelled"],
            &shown["packages"][1]["owner"]
        ),
        (&json!("tools"), &json!("joel"))
    );
    assert_eq!(
        ground.recorded(),
        pairs(&[("gadgets", "acme"), ("tools", "joel"), ("Widgets", "joel")])
    );
    let events = ground
        .world
        .server
        .audit("outcome=updated&principal=acme")
        .await;
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(
        (&events[0]["actor"], &events[0]["detail"]["name"]),
        (&json!("carnet-cli"), &json!("pypi/gadgets"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_package_that_cannot_be_imported_keeps_all_others_out() {
    let ground = Ground::of("crates-io").await;
    ground.crate_is("good", &["joel"]);
    ground.crate_is("two", &["joel", "acme", "stranger"]);
    ground.crate_is("strange", &["stranger", "\u{202e}leoj"]);
    ground.crate_is("empty", &[]);
    // Logins that differ by case may be two users.
    ground.crate_is("loud", &["JOEL"]);
    // Two principals have this `external_id`.
    ground.crate_is("shared", &["7"]);
    // The name of one is the `external_id` of another.
    let other = json!({ "kind": "organization", "external_id": "acme" });
    ground.world.server.put("principals/zeta", other).await;
    ground.crate_is("both", &["acme"]);
    let many: Vec<String> = (0..30).map(|number| format!("user{number:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    ground.crate_is("many", &many);
    let refused = ground.import(&[
        "good", "two", "strange", "empty", "loud", "shared", "both", "many", "missing",
    ]);
    assert_eq!(
        (refused.code, refused.stdout.as_str()),
        (1, ""),
        "{refused:?}"
    );
    let lines: Vec<&str> = refused.stderr.lines().collect();
    assert_eq!(
        lines,
        [
            "carnet: two: its owners at the registry are several principals (acme, joel, zeta): acme, joel, stranger",
            "carnet: strange: no owner at the registry is a principal: stranger, \\u{202e}leoj",
            "carnet: empty: the registry names no owner",
            "carnet: loud: no owner at the registry is a principal: JOEL",
            "carnet: shared: its owners at the registry are several principals (globex, initech): 7",
            "carnet: both: its owners at the registry are several principals (acme, zeta): acme",
            "carnet: many: no owner at the registry is a principal: user00, user01, user02, user03, user04, user05, user06, user07, user08, user09 and 20 more",
            "carnet: missing: the registry has no list of its owners",
            "carnet: nothing was changed; say whose such a package is: carnet gateway owners set pypi PACKAGE OWNER",
        ]
    );
    assert_eq!(ground.recorded(), []);
    // A package of another principal, as with a file.
    let set = ground.run(&["set", "pypi", "good", "acme"]);
    assert_eq!(set.code, 0, "{set:?}");
    ground.crate_is("better", &["joel"]);
    let refused = ground.import(&["better", "good"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(
        refused.stderr,
        "carnet: good belongs to acme; nothing was changed\n"
    );
    assert_eq!(ground.recorded(), pairs(&[("good", "acme")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_and_rubygems_have_lists_and_pypi_and_nuget_have_none() {
    let npm = Ground::of("npm").await;
    let list = r#"{"joel":"read-write","acme":"read-only"}"#;
    let path = "/-/package/@octo%2fwidgets/collaborators";
    npm.back.answers("GET", path, 200, list);
    let imported = npm.import(&["@octo/widgets"]);
    assert_eq!(imported.code, 0, "{imported:?}");
    assert_eq!(npm.recorded(), pairs(&[("@octo/widgets", "joel")]));
    let gems = Ground::of("rubygems").await;
    let list = r#"[{"id":1,"handle":"joel","email":"joel@acme.example"},{"id":2}]"#;
    let path = "/api/v1/gems/widgets/owners.json";
    gems.back.answers("GET", path, 200, list);
    let imported = gems.import(&["widgets"]);
    assert_eq!(imported.code, 0, "{imported:?}");
    assert_eq!(gems.recorded(), pairs(&[("widgets", "joel")]));
    for protocol in ["pypi", "nuget"] {
        let ground = Ground::of(protocol).await;
        let refused = ground.import(&["widgets"]);
        assert_eq!(refused.code, 1, "{refused:?}");
        let said = format!("registries of {protocol} have no lists of owners; write a file");
        assert!(refused.stderr.contains(&said), "{refused:?}");
        assert!(ground.back.reached().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_packages_that_are_only_mirrored_are_not_asked_for() {
    let upstream = BackRegistry::start().await;
    let path = "/api/v1/crates/serde/owners";
    let list = r#"{"users":[{"id":1,"login":"joel"}]}"#;
    upstream.answers("GET", path, 200, list);
    let hosted = BackRegistry::start().await;
    let more = json!({ "upstream": upstream.url, "hosted": hosted.url });
    let ground = Ground::with("crates-io", more).await;
    let refused = ground.import(&["serde"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused
            .stderr
            .starts_with("carnet: serde: the registry has no list of its owners\n"),
        "{refused:?}"
    );
    assert!(upstream.reached().is_empty());
    assert_eq!(hosted.reached()[0].target, path);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_list_ends_the_import_with_its_reason() {
    let ground = Ground::of("crates-io").await;
    let path = "/api/v1/crates/widgets/owners";
    ground.crate_is("good", &["joel"]);
    let says = |expected: &str| {
        let refused = ground.import(&["good", "widgets"]);
        assert_eq!(refused.code, 1, "{refused:?}");
        let begins = refused.stderr.starts_with("carnet: widgets: the registry");
        assert!(
            begins && refused.stderr.contains(expected),
            "{expected}: {refused:?}"
        );
        assert!(!refused.stderr.contains(OPERATORS), "{refused:?}");
    };
    for status in [401, 403, 500] {
        ground.back.answers("GET", path, status, "no");
        says(&format!("answers {status} at"));
    }
    for body in [
        "<html>Sign in</html>",
        r#"{"users":[{"login":7}]}"#,
        r#"{"users":[{"login":"joel","login":"acme"}]}"#,
    ] {
        ground.back.answers("GET", path, 200, body);
        says("must be a list of owners");
    }
    let huge = format!("{{\"users\":[],\"x\":\"{}\"}}", "x".repeat(2 * 1024 * 1024));
    ground.back.answers("GET", path, 200, huge);
    says("the answer is too large");
    // The credential does not go where a redirect leads.
    let elsewhere = BackRegistry::start().await;
    let location = format!("{}owners", elsewhere.url);
    let redirect = (302, &[("location", location.as_str())][..], Vec::new());
    ground.back.answers_with("GET", path, redirect);
    says("leads elsewhere");
    assert!(elsewhere.reached().is_empty());
    assert_eq!(ground.recorded(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_cannot_be_asked_is_an_error() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", closed.local_addr().unwrap());
    drop(closed);
    let ground = Ground::with("crates-io", json!({ "upstream": url })).await;
    let unreachable = ground.import(&["widgets"]);
    assert_eq!(unreachable.code, 1, "{unreachable:?}");
    assert!(
        unreachable
            .stderr
            .contains("the registry cannot be reached"),
        "{unreachable:?}"
    );
    for (arguments, code, said) in [
        (
            &["import", "nowhere", "--from-registry", "a"][..],
            1,
            "there is no resource server nowhere",
        ),
        (
            &["import", "pypi", "--from-registry", "a b"],
            2,
            "must be the name of a package",
        ),
        (
            &["import", "pypi", "--from-registry", "a/../b"],
            1,
            "cannot be asked for",
        ),
        (
            &["import", "pypi", "--from-registry"],
            2,
            "value is required",
        ),
        (&["import", "pypi"], 2, "required"),
        (
            &["import", "pypi", "x.csv", "--from-registry", "a"],
            2,
            "cannot be used with",
        ),
    ] {
        let refused = ground.run(arguments);
        assert_eq!(refused.code, code, "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains(said), "{arguments:?}: {refused:?}");
    }
    let none = Ground {
        registries: "[]".to_owned(),
        ..ground
    };
    let refused = none.import(&["widgets"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("gateway.registries has no entry with the resource server pypi"),
        "{refused:?}"
    );
}
