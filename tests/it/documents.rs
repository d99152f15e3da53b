//! The book tells the truth: requirements, reasons, configuration, metrics, samples.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{TestDb, carnet, carnet_in, finished};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder whose name ends so.
pub fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir()
                && !["target", "node_modules"]
                    .iter()
                    .any(|skipped| path.ends_with(skipped))
            {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The tests that show a requirement, by its id as it stands in test names.
fn named_tests() -> BTreeMap<String, BTreeSet<String>> {
    let mut tests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let crates = [
        "src",
        "engine/src",
        "access/src",
        "dpop/src",
        "exchange/src",
        "outbound/src",
        "jose/src",
        "publish-protocols/src",
        "resource-server/src",
        "rpki-attestation",
        "stand-ins/src",
    ];
    let folders = crates.into_iter().chain(["tests/it"]);
    for path in folders.flat_map(|folder| files(folder, ".rs")) {
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let Some((_, rest)) = line.split_once("fn ") else {
                continue;
            };
            let name = rest.split('(').next().unwrap();
            if let Some((id, _)) = name.split_once("__") {
                tests
                    .entry(id.to_owned())
                    .or_default()
                    .insert(name.to_owned());
            }
        }
    }
    tests
}

#[test]
fn the_table_of_requirements_and_the_tests_agree() {
    let tests = named_tests();
    assert!(tests.len() > 250, "{}", tests.len());
    let mut listed = BTreeSet::new();
    let mut wrong = Vec::new();
    let pages = read("docs/src/requirements.md") + &read("docs/src/development/review.md");
    for line in pages
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| id "))
    {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let (id, shown) = (cells[0], *cells.last().unwrap());
        let key = id.to_lowercase().replace(['-', '.'], "_");
        let names: BTreeSet<String> = shown
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        let there = tests.get(&key).cloned().unwrap_or_default();
        if names != there {
            wrong.push(format!(
                "{id}: the page names {names:?}, the tests are {there:?}"
            ));
        }
        let is_decided = shown.split("; ").any(|part| part.starts_with("decided 20"));
        if there.is_empty() && !shown.starts_with("waits for ") && !is_decided && shown != "open" {
            wrong.push(format!("{id}: has no test and waits for nothing"));
        }
        if !listed.insert(key) {
            wrong.push(format!("{id}: stands there twice"));
        }
    }
    let unlisted = tests.keys().filter(|key| !listed.contains(*key));
    wrong.extend(unlisted.map(|key| format!("{key}: is tested and not on the page")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_page_of_the_reviews_has_every_finding() {
    let expected = ["C1", "C1a", "C1b", "C1c"].into_iter().map(str::to_owned);
    let numbered =
        |letter: char, count: usize| (1..=count).map(move |number| format!("{letter}{number}"));
    let security = expected
        .chain(numbered('H', 3))
        .chain(numbered('M', 7))
        .chain(numbered('L', 12));
    let servers = (1..=41).map(|number| format!("SRV-{number}"));
    let newcomers = numbered('A', 28).map(|id| format!("NEW-{id}"));
    let publishing = numbered('K', 11).map(|id| format!("PUB-{id}"));
    let conditions = numbered('F', 13).map(|id| format!("COND-{id}"));
    let expected: Vec<String> = security
        .map(|id| format!("SEC-{id}"))
        .chain(servers)
        .chain(newcomers)
        .chain(publishing)
        .chain(conditions)
        .collect();
    let page = read("docs/src/development/review.md");
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| id ");
    let rows = page.lines().filter(is_row);
    let listed: Vec<String> = rows
        .map(|line| line.split(" | ").next().unwrap()[2..].to_owned())
        .collect();
    assert_eq!(listed, expected);
}

#[test]
fn the_page_of_reasons_says_what_the_server_says() {
    let page = read("docs/src/reference/reasons.md");
    let start = page.find("\n## `").unwrap() + 1;
    let mut sections = page[start..].split("## `").skip(1);
    let profiles = carnet::profile::Profiles::load(None).unwrap();
    for reason in carnet::reason::Reason::ALL {
        let mut expected = format!(
            "{reason}`\n\n{}\n\n{}\n\n{}",
            reason.sentence(),
            reason.meaning(),
            reason.remedy()
        );
        let of_platforms = profiles.iter().filter_map(|profile| {
            let remedy = profile.remedies.get(reason)?;
            Some(format!("\n\n{}: {remedy}", profile.title))
        });
        expected.extend(of_platforms);
        assert_eq!(sections.next().map(str::trim_end), Some(expected.as_str()));
    }
    assert_eq!(sections.next(), None);
}

/// The names in the first column of a page's tables.
fn first_column(page: &str) -> BTreeSet<String> {
    let rows = read(page);
    let names = rows
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned());
    names.collect()
}

#[test]
fn the_page_of_configuration_has_every_key() {
    // Every key that the configuration looks for is noted there, whether it is given or not.
    let config = carnet::config::Config::from_sources(None, Vec::new()).unwrap();
    let keys: BTreeSet<String> = config.origins.keys().map(|key| (*key).to_owned()).collect();
    assert!(keys.len() >= 32, "{keys:?}");
    assert_eq!(first_column("docs/src/reference/configuration.md"), keys);
    // In the sample as well, those in comments that are alternatives of others.
    let sample = read("docs/samples/config/every-key.toml");
    let missing =
        |key: &&String| !sample.contains(&format!("{} = ", key.rsplit('.').next().unwrap()));
    assert_eq!(keys.iter().find(missing), None);
}

#[test]
fn the_page_of_metrics_has_every_metric() {
    let mut metrics = BTreeSet::new();
    for path in files("src", ".rs") {
        let text = std::fs::read_to_string(path).unwrap();
        for part in text.split("metrics::").skip(1).filter(|part| {
            part.starts_with("counter!(")
                || part.starts_with("histogram!(")
                || part.starts_with("gauge!(")
        }) {
            metrics.insert(part.split('"').nth(1).unwrap().to_owned());
        }
    }
    assert!(metrics.len() >= 5, "{metrics:?}");
    let listed = carnet::http::metrics::METRICS
        .iter()
        .map(|metric| metric.name.to_owned());
    let listed: BTreeSet<String> = listed.collect();
    let unlisted: Vec<&String> = metrics.difference(&listed).collect();
    assert!(unlisted.is_empty(), "{unlisted:?}");
    assert_eq!(first_column("docs/src/reference/metrics.md"), listed);
}

#[test]
fn the_page_of_tested_clients_has_the_pinned_versions() {
    let npm = |folder: &str| -> BTreeSet<String> {
        let npm: Value =
            serde_json::from_str(&read(&format!("tests/{folder}/package.json"))).unwrap();
        // pnpm's own package is a choice among programs for many systems. It is their version that counts.
        let pnpm = &npm["optionalDependencies"]["@pnpm/exe.linux-x64"];
        let pnpm = pnpm.as_str().map(|version| format!("pnpm@{version}"));
        let npm = npm["dependencies"].as_object().unwrap();
        let npm = npm.iter().map(|(name, version)| {
            let version = version.as_str().unwrap();
            // Two versions of one package have names of their own here.
            version
                .strip_prefix("npm:")
                .map_or_else(|| format!("{name}@{version}"), str::to_owned)
        });
        npm.chain(pnpm).collect()
    };
    let pypi = |folder: &str| -> BTreeSet<String> {
        let pypi = read(&format!("tests/{folder}/requirements.in"));
        let pypi = pypi.lines().map(|line| {
            let (name, version) = line.split_once("==").unwrap();
            format!("{}@{version}", name.split('[').next().unwrap())
        });
        pypi.collect()
    };
    let npm_tools = &npm("publishing") | &npm("conformance/mcp");
    let (pypi_tools, pypi, npm) = (pypi("publishing"), pypi("clients"), npm("clients"));
    let go = read("tests/clients/go-oidc/go.mod");
    let crates = read("Cargo.lock");
    let mut rows = BTreeMap::new();
    for line in read("docs/src/reference/clients-tested.md")
        .lines()
        .filter(|line| line.starts_with("| `"))
    {
        let cells: Vec<&str> = line
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        let [name, version, place] = cells.try_into().unwrap();
        let package = format!("{name}@{version}");
        let pinned = match place {
            "Node.js" => npm.contains(&package),
            "Python" => pypi.contains(&package),
            "npm" => npm_tools.contains(&package),
            "PyPI" => pypi_tools.contains(&package),
            "Go" => go.contains(&format!("\t{name} v{version}\n")),
            _ => crates.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")),
        };
        rows.insert((place.to_owned(), package), pinned);
    }
    assert!(rows.values().all(|pinned| *pinned), "{rows:?}");
    let npm = npm.len() + npm_tools.len();
    let pypi = pypi.len() + pypi_tools.len();
    let (crates, modules) = (2, 2);
    assert_eq!(rows.len(), npm + pypi + crates + modules);
}

#[tokio::test]
async fn every_sample_of_the_book_is_accepted() {
    let db = TestDb::new().await;
    let folder = db.folder();
    let profiles = root().join("docs/samples/profiles");
    let profiles = profiles.to_str().unwrap();
    let configs = files("docs/samples/config", ".toml");
    assert!(configs.len() >= 3);
    for path in configs {
        let text = std::fs::read_to_string(&path).unwrap();
        let config = carnet::config::Config::from_sources(Some(&path), []);
        assert!(config.is_ok(), "{}: {config:?}\n{text}", path.display());
    }
    let applied = [
        files("docs/samples/apply", ".toml"),
        files("docs/samples/apply", ".json"),
    ]
    .concat();
    assert!(applied.len() >= 4);
    for (number, path) in applied.iter().enumerate() {
        let linted = carnet_in(
            folder,
            &[
                "policy",
                "lint",
                path.to_str().unwrap(),
                "--profiles-dir",
                profiles,
            ],
        );
        assert_eq!(linted.code, 0, "{}: {linted:?}", path.display());
        let mut apply = carnet();
        let data = folder.join(number.to_string());
        apply
            .current_dir(folder)
            .args(["apply", "--offline", "-f"])
            .arg(path)
            .arg("--secrets-file")
            .arg(folder.join(format!("secrets-{number}.json")));
        apply
            .env("CARNET_DATA_DIR", &data)
            .env("CARNET_PROFILES_DIR", profiles);
        apply
            .env("CARNET_KEY_FILES_DIR", "/etc/carnet/keys")
            .env("CORP_CLIENT_SECRET", "of people.toml");
        for provider in ["ENTRA", "OKTA", "GOOGLE", "GITLAB", "DEX"] {
            apply.env(
                format!("{provider}_CLIENT_SECRET"),
                "of people-providers.toml",
            );
        }
        crate::support::first_start(folder, &[("CARNET_DATA_DIR", data.to_str().unwrap())]);
        let applied = finished(apply.output().unwrap());
        assert_eq!(applied.code, 0, "{}: {applied:?}", path.display());
    }
    let cases = [
        files("docs/samples/cases", ".json"),
        files("docs/samples/cases", ".toml"),
    ]
    .concat();
    assert!(cases.len() >= 22);
    for path in cases {
        let tested = carnet_in(
            folder,
            &[
                "policy",
                "test",
                path.to_str().unwrap(),
                "--profiles-dir",
                profiles,
            ],
        );
        assert_eq!(tested.code, 0, "{}: {tested:?}", path.display());
    }
}

#[test]
fn the_readme_shows_the_samples_as_they_are() {
    let readme = read("README.md");
    for sample in [
        "docs/samples/config/github-actions.toml",
        "docs/samples/apply/github-actions.toml",
    ] {
        assert!(
            readme.contains(read(sample).trim_end()),
            "{sample} differs from the README"
        );
    }
    for command in [
        "cargo run --release -- quickstart",
        "cargo test --workspace",
    ] {
        assert!(readme.contains(command), "{command}");
    }
}

#[test]
fn links_and_includes_of_the_book_lead_somewhere() {
    let mut broken = Vec::new();
    let mut pages = files("docs/src", ".md");
    pages.push(root().join("README.md"));
    pages.push(root().join("resource-server/README.md"));
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        let folder = page.parent().unwrap();
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|part| part.split(')').next());
        let links = links
            .filter(|link| !link.contains("://") && !link.starts_with('#') && !link.is_empty());
        let includes = text
            .split("{{#include ")
            .skip(1)
            .filter_map(|part| part.split("}}").next());
        for target in links.chain(includes) {
            let file = target.split('#').next().unwrap();
            let (file, anchor) = file
                .split_once(':')
                .map_or((file, None), |(file, anchor)| (file, Some(anchor)));
            let target_file = folder.join(file);
            let found = match anchor {
                None => target_file.exists(),
                Some(anchor) => std::fs::read_to_string(target_file)
                    .is_ok_and(|text| text.contains(&format!("ANCHOR: {anchor}\n"))),
            };
            if !found {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    let summary = read("docs/src/SUMMARY.md");
    for page in files("docs/src", ".md") {
        let name = page
            .strip_prefix(root().join("docs/src"))
            .unwrap()
            .to_string_lossy()
            .into_owned();
        if name != "SUMMARY.md" && !summary.contains(&format!("({name})")) {
            broken.push(format!("{name} is not in the summary"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[tokio::test]
async fn the_page_of_the_command_line_has_every_command() {
    let page = read("docs/src/reference/command-line.md");
    let db = TestDb::new().await;
    let help = carnet_in(db.folder(), &["--help"]).stdout;
    let commands = help
        .split("Commands:")
        .nth(1)
        .unwrap()
        .split("Options:")
        .next()
        .unwrap();
    let names = commands
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '));
    let names: Vec<&str> = names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() >= 9, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("carnet {name}")), "{name}");
        let own = carnet_in(db.folder(), &[name, "--help"]).stdout;
        for flag in own
            .split_whitespace()
            .filter(|word| word.starts_with("--"))
            .map(|word| word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-'))
        {
            assert!(
                page.contains(flag) || matches!(flag, "--help" | "--version"),
                "{name}: {flag}"
            );
        }
    }
}

#[tokio::test]
async fn the_pages_of_objects_name_every_member() {
    let page = read("docs/src/reference/admin-api.md");
    let server = crate::support::TestServer::start().await;
    let document = server.get("/admin/v1/openapi.json").await.json();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut missing = Vec::new();
    for (name, schema) in schemas
        .iter()
        .filter(|(name, _)| name.ends_with("Document"))
    {
        for member in schema["properties"]
            .as_object()
            .unwrap_or(&serde_json::Map::<String, Value>::new())
            .keys()
        {
            if !page.contains(&format!("`{member}`")) {
                missing.push(format!("{name}.{member}"));
            }
        }
    }
    assert!(schemas.len() > 5 && missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn an_audit_event_has_the_members_that_schema_and_page_name() {
    let world = crate::support::World::new().await;
    world.accepts().await;
    let members = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<BTreeSet<String>>()
    };
    let document = world.server.get("/admin/v1/openapi.json").await.json();
    let event = members(&world.server.audit("outcome=issued").await[0]);
    assert_eq!(
        event,
        members(&document["components"]["schemas"]["AuditEvent"]["properties"])
    );
    let page = read("docs/src/reference/audit-events.md");
    assert_eq!(
        event
            .iter()
            .find(|member| !page.contains(&format!("`{member}`"))),
        None
    );
}

#[test]
fn the_page_of_numbered_decisions_has_every_number_that_the_code_cites() {
    let page = read("docs/src/development/numbered-decisions.md");
    let crates = [
        "src",
        "engine/src",
        "access/src",
        "exchange/src",
        "outbound/src",
        "jose/src",
        "publish-protocols/src",
        "resource-server/src",
    ];
    let mut cited = BTreeSet::new();
    for path in crates.iter().flat_map(|folder| files(folder, ".rs")) {
        let text = std::fs::read_to_string(path).unwrap();
        for rest in text.split("D-").skip(1) {
            let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
            if number.len() == 2 {
                cited.insert(format!("D-{number}"));
            }
        }
    }
    assert!(cited.len() > 20, "{cited:?}");
    let missing: Vec<&String> = cited
        .iter()
        .filter(|number| !page.contains(&format!("\n| {number} |")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn review_s7__the_guide_of_rules_does_not_say_that_tokens_live_on_until_expiry() {
    let guide = read("docs/src/guides/rules.md");
    assert!(
        !guide.contains("live on until they expire"),
        "introspection drops them, as tests of introspection show"
    );
}

/// The tables of the book have no empty line in them: what stands below one is text with pipes.
#[test]
fn review_s8__every_table_of_the_book_has_a_header_rule() {
    for path in files("docs/src", ".md") {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let begins = line.starts_with('|') && !(at > 0 && lines[at - 1].starts_with('|'));
            let has_rule = lines
                .get(at + 1)
                .is_some_and(|next| next.starts_with("|--") || next.starts_with("| --"));
            assert!(!begins || has_rule, "{}:{}: {line}", path.display(), at + 1);
        }
    }
}
