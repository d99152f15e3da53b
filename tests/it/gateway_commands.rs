//! `carnet gateway`, as an operator runs it: the built binary, on the database of a server.

use std::process::Stdio;

use carnet::gateway::GatewayAuthority;
use carnet::ids::PublicationId;
use carnet_gateway::{Authority as _, NewPublication, Outcome, Publisher};
use serde_json::{Value, json};

use crate::support::{
    CARNET, Finished, TestServer, World, carnet, carnet_in, finished, machine_time,
};

async fn ground() -> World {
    let world = World::on(TestServer::at(machine_time(), &[]).await).await;
    let folding = json!({ "package_names": "pep503" });
    let answer = world
        .server
        .admin("PATCH", "resource-servers/pypi", folding)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let acme = json!({ "kind": "organization" });
    world.server.put("principals/acme", acme).await;
    world
}

fn run(world: &World, arguments: &[&str]) -> Finished {
    run_with(world, arguments, "")
}

/// The same with this on standard input.
fn run_with(world: &World, arguments: &[&str], input: &str) -> Finished {
    let db = &world.server.db;
    let mut command = carnet();
    let child = command
        .current_dir(db.folder())
        .arg("gateway")
        .args(arguments)
        .envs([
            ("CARNET_DATABASE__URL", db.url()),
            ("CARNET_DATA_DIR", db.folder().to_str().unwrap()),
            ("CARNET_ISSUER", CARNET),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).ok();
    finished(child.wait_with_output().unwrap())
}

#[track_caller]
fn shown(finished: &Finished) -> Value {
    assert_eq!(finished.code, 0, "{finished:?}");
    serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"))
}

/// A wheel that came with the registry's own credentials, with this outcome, if it has one.
async fn published(world: &World, package: &str, outcome: Option<Outcome>) -> PublicationId {
    let gateway = GatewayAuthority {
        app: world.server.app.clone(),
    };
    world.server.clock.advance(1);
    let new = NewPublication {
        registry: "pypi".to_owned(),
        package: package.to_owned(),
        spelled: package.to_owned(),
        version: Some("1.0".to_owned()),
        file: Some("a.whl".to_owned()),
        digest: None,
        operation: "publish",
        adds: true,
        publisher: Publisher::Passthrough {
            user: Some("old-hand".to_owned()),
        },
        address: None,
        decided_on: gateway.package("pypi", package).await.unwrap(),
    };
    let id = gateway.reserve(&new).await.unwrap().unwrap().id;
    if let Some(outcome) = outcome {
        gateway.settle(&id, &outcome).await.unwrap();
    }
    id.parse().unwrap()
}

#[tokio::test]
async fn every_command_of_the_gateway_has_help_with_an_example() {
    let world = World::new().await;
    for command in [
        "gateway",
        "gateway owners",
        "gateway owners list",
        "gateway owners set",
        "gateway owners transfer",
        "gateway owners import",
        "gateway owners trusted-only",
        "gateway publications",
        "gateway unsettled",
        "gateway settle",
    ] {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = carnet_in(world.server.db.folder(), &words);
        let is_shown = help.stdout.contains("Example:\n  carnet gateway ");
        assert!(help.code == 0 && is_shown, "{command}: {help:?}");
    }
}

#[tokio::test]
async fn owners_are_set_listed_transferred_and_audited() {
    let world = ground().await;
    let set = run(&world, &["owners", "set", "PyPI", "Widgets.Extra", "joel"]);
    assert_eq!(
        (set.code, set.stdout.as_str()),
        (0, "Widgets.Extra is owned by joel\n"),
        "{set:?}"
    );
    let again = run(
        &world,
        &["owners", "set", "pypi", "widgets-extra", "joel", "--json"],
    );
    let again = shown(&again);
    assert_eq!(
        (&again["changed"], &again["package"]["package"]),
        (&json!(false), &json!("widgets-extra"))
    );
    let other = run(&world, &["owners", "set", "pypi", "widgets-extra", "acme"]);
    assert_eq!(other.code, 1);
    assert!(
        other
            .stderr
            .contains("Widgets.Extra belongs to joel; nothing was changed"),
        "{other:?}"
    );
    let wrong = [
        "owners",
        "transfer",
        "pypi",
        "widgets_extra",
        "--from",
        "acme",
        "--to",
        "joel",
    ];
    assert_eq!(run(&world, &wrong).code, 1);
    let right = [
        "owners",
        "transfer",
        "pypi",
        "widgets_extra",
        "--from",
        "joel",
        "--to",
        "acme",
    ];
    assert_eq!(
        run(&world, &right).stdout,
        "Widgets.Extra is owned by acme\n"
    );
    let listed = shown(&run(
        &world,
        &["owners", "list", "pypi", "--owner", "acme", "--json"],
    ));
    assert_eq!(listed[0]["spelled"], "Widgets.Extra");
    let table = run(&world, &["owners", "list"]);
    assert!(
        table.stdout.starts_with("REGISTRY") && table.stdout.contains("acme"),
        "{table:?}"
    );
    assert_eq!(
        shown(&run(
            &world,
            &["owners", "list", "--owner", "joel", "--json"]
        )),
        json!([])
    );
    for usage in [
        &["owners", "set", "pypi", "a b", "joel"][..],
        &["owners", "list", "--after", "x"],
        &["settle", "pub_x", "--published"],
        &["settle", "pub_01KBAV0000000000000000000X"],
        &["owners", "trusted-only", "pypi", "a", "maybe"],
    ] {
        assert_eq!(run(&world, usage).code, 2, "{usage:?}");
    }
    for failing in [
        &["owners", "set", "nowhere", "a", "joel"][..],
        &["owners", "set", "pypi", "a", "nobody"],
        &["owners", "list", "--owner", "nobody"],
        &["publications", "nowhere", "a"],
    ] {
        assert_eq!(run(&world, failing).code, 1, "{failing:?}");
    }
    let events = world.server.audit("outcome=updated&principal=acme").await;
    assert_eq!(events.len(), 1, "{events:#?}");
    let (event, detail) = (&events[0], &events[0]["detail"]);
    assert_eq!(
        (&event["actor"], &event["kind"]),
        (&json!("carnet-cli"), &json!("change"))
    );
    assert_eq!(
        (&detail["kind"], &detail["name"]),
        (&json!("package"), &json!("pypi/Widgets.Extra"))
    );
    assert_eq!(
        (
            &detail["before"]["principal"],
            &detail["after"]["principal"]
        ),
        (&json!("joel"), &json!("acme"))
    );
}

#[tokio::test]
async fn an_import_names_the_line_that_it_cannot_take_and_changes_nothing() {
    let world = ground().await;
    let import = |text: &str| run_with(&world, &["owners", "import", "pypi", "-", "--json"], text);
    let first = import("package,principal\nwidgets,joel\nGadgets,acme\n");
    assert_eq!(shown(&first), json!({ "changed": 2, "unchanged": 0 }));
    let json = r#"[{"package": "widgets", "principal": "joel"}, {"package": "tools", "principal": "joel"}]"#;
    assert_eq!(
        shown(&import(json)),
        json!({ "changed": 1, "unchanged": 1 })
    );
    for (text, place) in [
        (
            "new,joel\ngadgets,joel\n",
            "line 2: Gadgets belongs to acme",
        ),
        (
            "new,joel\nnewer,nobody\n",
            "line 2: there is no principal nobody",
        ),
        (
            "new,joel\nnewer\n",
            "line 2 must be a package and a principal",
        ),
        (
            "new,joel\nn w,joel\n",
            "line 2: \"n w\" must be the name of a package",
        ),
        ("new,joel\nNEW,acme\n", "line 2: new belongs to joel"),
    ] {
        let refused = import(text);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains(place), "{place}: {refused:?}");
    }
    let listed = shown(&run(&world, &["owners", "list", "--json"]));
    assert_eq!(listed.as_array().unwrap().len(), 3, "{listed:#}");
    let page = run(
        &world,
        &[
            "owners",
            "list",
            "--limit",
            "1",
            "--after",
            "pypi/gadgets",
            "--json",
        ],
    );
    assert!(page.stderr.contains("--after pypi/tools"), "{page:?}");
    assert_eq!(shown(&page)[0]["package"], "tools");
}

#[tokio::test]
async fn the_switch_and_publications_are_shown_and_an_operator_settles_what_is_unclear() {
    let world = ground().await;
    let on = run(&world, &["owners", "trusted-only", "pypi", "widgets", "on"]);
    assert_eq!(
        on.stdout, "widgets is unrecorded, trusted publishing only\n",
        "{on:?}"
    );
    let off = run(
        &world,
        &["owners", "trusted-only", "pypi", "widgets", "off"],
    );
    assert_eq!(off.stdout, "widgets has no record\n", "{off:?}");
    let first = published(&world, "widgets", Some(Outcome::Accepted)).await;
    let why = "the connection broke".to_owned();
    let second = published(&world, "widgets", Some(Outcome::Unclear { why })).await;
    let third = published(&world, "gadgets", None).await;
    let (first, second, third) = (first.to_string(), second.to_string(), third.to_string());
    let all = shown(&run(&world, &["publications", "pypi", "WIDGETS", "--json"]));
    let ids: Vec<&str> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [second.as_str(), first.as_str()]);
    assert_eq!(
        (&all[0]["unclear"], &all[1]["user"]),
        (&json!("the connection broke"), &json!("old-hand"))
    );
    let page = run(&world, &["publications", "pypi", "widgets", "--limit", "1"]);
    assert!(
        page.stdout.contains("user old-hand")
            && page.stderr.contains(&format!("--before {second}")),
        "{page:?}"
    );
    let open = shown(&run(&world, &["unsettled", "--json"]));
    assert_eq!(
        (&open[0]["id"], &open[1]["id"]),
        (&json!(second), &json!(third))
    );
    let early = run(&world, &["settle", &third, "--not-published"]);
    assert_eq!(early.code, 1);
    assert!(
        early.stderr.contains("may still be forwarding"),
        "{early:?}"
    );
    let settled = run(&world, &["settle", &second, "--published"]);
    assert_eq!(
        (settled.code, settled.stdout),
        (0, format!("{second} is settled: published\n"))
    );
    assert_eq!(run(&world, &["settle", &second, "--not-published"]).code, 1);
    let left = shown(&run(&world, &["unsettled", "--json"]));
    assert_eq!(left.as_array().unwrap().len(), 1);
    let mut audit = carnet();
    let db = &world.server.db;
    audit
        .current_dir(db.folder())
        .args(["audit", "--outcome", "published"])
        .envs([
            ("CARNET_DATABASE__URL", db.url()),
            ("CARNET_DATA_DIR", db.folder().to_str().unwrap()),
            ("CARNET_ISSUER", CARNET),
        ]);
    let printed = finished(audit.output().unwrap());
    for line in [
        "publish widgets 1.0, at pypi, file a.whl".to_owned(),
        format!(
            "publication {second}, the registry's own credentials of old-hand, settled by carnet-cli"
        ),
    ] {
        assert!(printed.stdout.contains(&line), "{line}: {printed:?}");
    }
}
