//! The pages about gateways before single products: `carnet check` accepts the configuration that they show.

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
    }
    registries.len()
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
