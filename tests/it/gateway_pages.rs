//! `carnet check` on the configuration of gateways: it accepts what the pages about single products show.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::documents::files;
use super::snippets::blocks_in;
use crate::support::{TestDb, carnet_in, first_start};

/// The resource server that a registry of the configuration needs.
fn resource_server(registry: &toml::Value) -> Value {
    let protocol = registry["protocol"].as_str().unwrap();
    let host = registry["hosts"][0].as_str().unwrap();
    let names = match protocol {
        "pypi" => "pep503",
        "crates-io" => "cargo",
        "nuget" => "ascii_case_insensitive",
        _ => "exact",
    };
    json!({
        "resource": format!("https://{host}/"), "actions": ["create", "publish"], "package_names": names,
        "front_door": { "kind": protocol, "hosts": [host] },
    })
}

/// Checks a block of a page as the configuration of an operator who did what the page says; the number of its registries.
fn accepted(folder: &Path, place: &str, text: &str) -> usize {
    let own = format!("{}/", folder.display());
    let text = text.replace("/etc/carnet/", &own);
    let mut configuration: toml::Table = text.parse().unwrap();
    let registries = configuration
        .get("gateway")
        .and_then(|gateway| gateway.get("registries"));
    let Some(registries) = registries.and_then(toml::Value::as_array).cloned() else {
        return 0;
    };
    let mut servers = Map::new();
    for registry in &registries {
        let name = registry["resource_server"].as_str().unwrap();
        servers.insert(name.to_owned(), resource_server(registry));
        let credential = registry["credential"].as_table().unwrap();
        let members = credential
            .values()
            .filter_map(toml::Value::as_table)
            .flatten();
        for (_, file) in members.filter(|(member, _)| member.ends_with("_file")) {
            std::fs::write(file.as_str().unwrap(), "a-secret\n").unwrap();
        }
    }
    let objects = json!({ "resource_servers": servers }).to_string();
    std::fs::write(folder.join("objects.json"), objects).unwrap();
    // That of the test has the objects, and it has no certificates.
    configuration.remove("data_dir");
    if let Some(server) = configuration
        .get_mut("server")
        .and_then(toml::Value::as_table_mut)
    {
        server.remove("tls");
    }
    configuration
        .entry("issuer")
        .or_insert_with(|| "https://carnet.example".into());
    std::fs::write(folder.join("carnet.toml"), configuration.to_string()).unwrap();
    for command in [
        &["apply", "-f", "objects.json", "--prune", "--yes"][..],
        &["check"],
    ] {
        let configured = [command, &["--config", "carnet.toml"]].concat();
        let run = carnet_in(folder, &configured);
        assert_eq!(run.code, 0, "{place}: {run:?}");
        assert!(!run.stdout.contains("front door"), "{place}: {run:?}");
    }
    registries.len()
}

#[tokio::test]
async fn check_warns_of_doors_that_tools_do_not_find_and_of_secrets_that_others_read() {
    let db = TestDb::new().await;
    let folder = db.folder();
    first_start(folder, &[]);
    std::fs::write(folder.join("password"), "a-secret\n").unwrap();
    let configuration = json!({
        "issuer": "https://carnet.example",
        "gateway": { "registries": [{
            "resource_server": "pypi", "protocol": "pypi", "hosts": ["pypi.example"], "upstream": "http://127.0.0.1:9/",
            "credential": { "basic": { "username": "carnet", "password_file": "password" } },
        }] },
    });
    let configuration = toml::to_string(&configuration).unwrap();
    std::fs::write(folder.join("carnet.toml"), configuration).unwrap();
    let with_door = |door: Value| {
        let server = json!({
            "resource": "https://pypi.example/", "actions": ["publish"], "package_names": "pep503", "front_door": door,
        });
        let objects = json!({ "resource_servers": { "pypi": server } }).to_string();
        std::fs::write(folder.join("objects.json"), objects).unwrap();
        for command in [&["apply", "-f", "objects.json", "--yes"][..], &["check"]] {
            let run = carnet_in(folder, &[command, &["--config", "carnet.toml"]].concat());
            assert_eq!(run.code, 0, "{run:?}");
            if command == ["check"] {
                return run.stdout;
            }
        }
        unreachable!()
    };
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt as _;
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(folder.join("password"), permissions).unwrap();
    };
    let expected = [
        (Value::Null, 0o600, "no front door"),
        (
            json!({ "kind": "pypi", "hosts": ["pypi.internal"] }),
            0o600,
            "pypi.example is none of the hosts of the front door (pypi.internal)",
        ),
        (
            json!({ "kind": "pypi", "hosts": ["pypi.example"] }),
            0o644,
            "chmod 600",
        ),
    ];
    for (door, file, warning) in expected {
        mode(file);
        let said = with_door(door);
        let warnings = || {
            said.lines()
                .filter(|line| line.starts_with("warning: gateway.registries: pypi: "))
        };
        assert!(warnings().count() == 1 && said.contains(warning), "{said}");
    }
    mode(0o600);
    let said = with_door(json!({ "kind": "pypi", "hosts": ["pypi.example"] }));
    assert!(!said.contains("gateway.registries: pypi: "), "{said}");
}

#[tokio::test]
async fn check_accepts_the_registries_of_the_pages() {
    let db = TestDb::new().await;
    let folder = db.folder();
    first_start(folder, &[]);
    let mut seen = 0;
    for page in files("docs/src/guides", ".md") {
        let name = page.file_name().unwrap().to_str().unwrap();
        if name.starts_with("gateway") {
            let blocks = blocks_in(&format!("guides/{name}"), "toml");
            let registries = blocks
                .iter()
                .map(|(place, text)| accepted(folder, place, text));
            seen += registries.sum::<usize>();
        }
    }
    assert!(seen >= 15, "{seen}");
}
