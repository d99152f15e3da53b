//! The code blocks of the README and the book. A block that shows a file, or what a command prints, stands below a comment that says
//! so, because readers of the repository see no includes of the book's generator:
//!
//! ```text
//! <!-- shows: docs/samples/apply/clients.toml:registry -->
//! ```
//!
//! `CARNET_WRITE_SNIPPETS=1 cargo test -p carnet --test it -- --test-threads=1 snippets book` brings all copies up to date; without the variable a copy that
//! differs fails. Every other block is parsed or run here.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::documents::{files, read};
use crate::support::{CARNET, TestDb, World, carnet_in, finished, first_start, may_skip};

const WRITE: &str = "CARNET_WRITE_SNIPPETS";

/// A code block of a page.
#[derive(Clone, Debug)]
struct Block {
    page: PathBuf,
    /// The line of the opening fence, from 0.
    at: usize,
    indent: String,
    language: String,
    /// What it shows, if a comment says so.
    shows: Option<String>,
    /// Its lines without the indentation.
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The README files and the pages of the book.
fn pages() -> Vec<PathBuf> {
    let mut pages = files("docs/src", ".md");
    pages.extend(["README.md", "resource-server/README.md"].map(|name| root().join(name)));
    pages
}

fn blocks_of(page: &Path) -> Vec<Block> {
    let text = std::fs::read_to_string(page).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let Some((indent, language)) = lines[at].split_once("```") else {
            at += 1;
            continue;
        };
        assert!(indent.trim().is_empty(), "{}:{}", page.display(), at + 1);
        let length = lines[at + 1..].iter().position(|line| line.trim() == "```");
        let end = at + 1 + length.unwrap_or_else(|| panic!("{}:{}", page.display(), at + 1));
        let shows = at.checked_sub(1).and_then(|above| {
            let above = lines[above].trim().strip_prefix("<!-- shows: ")?;
            Some(above.strip_suffix(" -->")?.to_owned())
        });
        let inner = lines[at + 1..end].iter();
        blocks.push(Block {
            page: page.to_owned(),
            at,
            indent: indent.to_owned(),
            language: language.to_owned(),
            shows,
            text: inner
                .map(|line| line.strip_prefix(indent).unwrap_or(line).to_owned() + "\n")
                .collect(),
        });
        at = end + 1;
    }
    blocks
}

fn blocks() -> Vec<Block> {
    pages().iter().flat_map(|page| blocks_of(page)).collect()
}

/// The texts of the blocks in this language of a page of the book, each with its place.
pub fn blocks_in(page: &str, language: &str) -> Vec<(String, String)> {
    let blocks = blocks_of(&root().join("docs/src").join(page));
    let blocks = blocks
        .into_iter()
        .filter(|block| block.language == language);
    blocks.map(|block| (block.place(), block.text)).collect()
}

impl Block {
    fn place(&self) -> String {
        let page = self.page.strip_prefix(root()).unwrap();
        format!("{}:{}", page.display(), self.at + 1)
    }
}

/// Checks that a block is equal to what it shows, or makes it so.
fn check(block: &Block, expected: &str) {
    let expected = format!("{}\n", expected.trim_end());
    if block.text == expected {
        return;
    }
    let write = std::env::var(WRITE).is_ok();
    assert!(
        write,
        "{} is not what it shows; {WRITE}=1 mends that. Expected:\n{expected}",
        block.place()
    );
    replace(block, None, &expected);
}

/// Replaces the lines of a block, and puts a comment above it.
fn replace(block: &Block, comment: Option<&str>, text: &str) {
    let page = std::fs::read_to_string(&block.page).unwrap();
    let lines: Vec<&str> = page.lines().collect();
    let indented = |line: &str| {
        if line.is_empty() {
            "\n".to_owned()
        } else {
            format!("{}{line}\n", block.indent)
        }
    };
    let mut whole: String = lines[..block.at]
        .iter()
        .map(|line| (*line).to_owned() + "\n")
        .collect();
    whole.extend(comment.map(indented));
    whole += lines[block.at];
    whole.push('\n');
    whole.extend(text.lines().map(indented));
    let end = block.at + 1 + block.text.lines().count();
    whole.extend(lines[end..].iter().map(|line| format!("{line}\n")));
    std::fs::write(&block.page, whole).unwrap();
}

/// The file that a comment names, or the part of it between two anchors.
fn shown(source: &str) -> String {
    let (path, anchor) = source
        .split_once(':')
        .map_or((source, None), |(path, anchor)| (path, Some(anchor)));
    let text = read(path);
    let (begin, end) = anchor.map_or_else(Default::default, |anchor| {
        (format!("ANCHOR: {anchor}"), format!("ANCHOR_END: {anchor}"))
    });
    let mut inside = anchor.is_none();
    let mut part = String::new();
    for line in text.lines() {
        let is_begin = anchor.is_some() && line.ends_with(&begin);
        let is_end = anchor.is_some() && line.ends_with(&end);
        if inside && !is_end && !line.contains("ANCHOR") {
            part += line;
            part.push('\n');
        }
        inside = (inside || is_begin) && !is_end;
    }
    assert!(!part.trim().is_empty(), "{source}");
    part
}

/// Where the files that blocks show are loaded or run by other tests.
const SHOWN_FROM: [&str; 11] = [
    "docs/samples/apply/",
    "docs/samples/cases/",
    "docs/samples/config/",
    "docs/samples/deployment/",
    "docs/samples/jobs/",
    "docs/samples/profiles/",
    "docs/samples/registry/",
    "docs/samples/rpki/",
    "integrations/",
    "resource-server/examples/",
    "tests/clients/",
];

/// The names of what [`generated`] makes.
const GENERATED: [&str; 2] = ["explain of the guide", "lint of two rules"];

#[test]
fn blocks_that_show_files_are_equal_to_them() {
    let write = std::env::var(WRITE).is_ok();
    // A block that still includes becomes a copy. Each change moves the blocks below it, so the page is read again.
    while write
        && let Some(block) = blocks()
            .iter()
            .find(|block| block.text.starts_with("{{#include "))
    {
        let target = block
            .text
            .trim()
            .trim_start_matches("{{#include ")
            .trim_end_matches("}}");
        let (file, anchor) = target.split_once(':').unwrap_or((target, ""));
        let file = block
            .page
            .parent()
            .unwrap()
            .join(file)
            .canonicalize()
            .unwrap();
        let mut source = file.strip_prefix(root()).unwrap().display().to_string();
        if !anchor.is_empty() {
            source = format!("{source}:{anchor}");
        }
        replace(
            block,
            Some(&format!("<!-- shows: {source} -->")),
            &shown(&source),
        );
    }
    let mut copies = 0;
    for page in pages() {
        let count = blocks_of(&page).len();
        for number in 0..count {
            let block = blocks_of(&page)[number].clone();
            assert!(
                !block.text.contains("{{#include"),
                "{}: {WRITE}=1 makes a copy of it",
                block.place()
            );
            match block.shows.as_deref() {
                Some(source) if !GENERATED.contains(&source) => {
                    let from = SHOWN_FROM.iter().any(|folder| source.starts_with(folder));
                    assert!(from, "{}: no test loads {source}", block.place());
                    check(&block, &shown(source));
                    copies += 1;
                }
                _ => {}
            }
        }
    }
    assert!(copies >= 45, "{copies}");
}

/// Checks the blocks that show what a command prints.
pub fn generated(name: &str, text: &str) {
    assert!(GENERATED.contains(&name), "{name}");
    let blocks: Vec<Block> = blocks()
        .into_iter()
        .filter(|block| block.shows.as_deref() == Some(name))
        .collect();
    assert_eq!(blocks.len(), 1, "{name}: {blocks:?}");
    check(&blocks[0], text);
}

#[tokio::test]
async fn the_guide_of_rules_shows_what_lint_prints() {
    let rules = r#"
[federated_credentials.open]
principal = "octo-org"
trusted_issuer = "github"
match = { workflow_file = "release.yml" }
permissions = [{ resource_server = "registry", actions = ["publish"], packages = ["octo-*"] }]

[federated_credentials.weak]
principal = "octo-org"
trusted_issuer = "github"
match = { repository = "octo-org/octo-repo", workflow_file = "release.yml" }
permissions = [{ resource_server = "registry", actions = ["publish"], packages = ["octo-*"] }]
"#;
    let db = TestDb::new().await;
    std::fs::write(db.folder().join("rules.toml"), rules).unwrap();
    let linted = carnet_in(db.folder(), &["policy", "lint", "rules.toml"]);
    assert_eq!(linted.code, 1, "{linted:?}");
    generated("lint of two rules", &linted.stdout);
}

/// The languages of blocks, and what checks those that show no file.
#[test]
fn every_other_block_is_of_a_kind_that_is_checked() {
    // nginx: surroundings.rs and deployment.rs. haproxy: mtls.rs. http: below. yaml: the workflow of the README, in book.rs.
    let by_test = BTreeSet::from(["console", "json", "toml", "nginx", "haproxy", "http"]);
    for block in blocks().iter().filter(|block| block.shows.is_none()) {
        let place = block.place();
        let language = block.language.as_str();
        let known = by_test.contains(language)
            // Drawings and differences that commands print.
            || language == "text"
            || (language == "yaml" && place.starts_with("README.md:"));
        assert!(known, "{place}: {language}");
    }
}

#[test]
fn every_document_in_the_book_can_be_parsed() {
    let mut reasons = 0;
    for block in blocks() {
        let place = block.place();
        if block.language == "toml" {
            let parsed = block.text.parse::<toml::Table>();
            assert!(parsed.is_ok(), "{place}: {parsed:?}");
        } else if block.language == "json" {
            let document: Value = serde_json::from_str(&block.text)
                .unwrap_or_else(|error| panic!("{place}: {error}"));
            let Some(reason) = document["reason"].as_str() else {
                continue;
            };
            // An answer says what the server says of its reason.
            let known: carnet::reason::Reason = reason
                .parse()
                .unwrap_or_else(|_| panic!("{place}: {reason}"));
            let (description, uri) = (&document["error_description"], &document["error_uri"]);
            assert!(
                description.as_str().unwrap().starts_with(known.sentence()),
                "{place}: {description}"
            );
            assert!(
                uri.as_str()
                    .unwrap()
                    .ends_with(&format!("/reasons/{reason}")),
                "{place}"
            );
            reasons += 1;
        }
    }
    assert!(reasons >= 3, "{reasons}");
}

/// Programs of examples that are not run here. Any other program of a block is a mistake of the block or missing here.
const NOT_RUN: [&str; 12] = [
    "cargo", "npm", "pip", "uv", "gem", "docker", "kubectl", "openssl", ".ci/run", "sleep",
    "chmod", "jq",
];

/// Runs the commands of a block in a shell, with programs that say how they were called in place of the real ones: `carnet` checks its
/// options by the real binary, `curl` notes its arguments.
fn run_in_shell(folder: &Path, script: &str) -> (crate::support::Finished, Vec<Vec<String>>) {
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let write = |name: &str, text: String| {
        std::fs::write(bin.join(name), text).unwrap();
        std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let binary = env!("CARGO_BIN_EXE_carnet");
    write(
        "carnet",
        format!("#!/bin/sh\nexec '{binary}' \"$@\" --help > /dev/null\n"),
    );
    let calls = folder.join("calls");
    std::fs::write(&calls, "").unwrap();
    write(
        "curl",
        format!(
            "#!/bin/sh\nfor argument; do printf '%s\\037' \"$argument\" >> '{0}'; done\nprintf '\\n' >> '{0}'\n",
            calls.display()
        ),
    );
    for name in NOT_RUN.iter().filter(|name| !name.contains('/')) {
        write(name, "#!/bin/sh\nexit 0\n".to_owned());
    }
    let script = script
        .replace("cd tests/clients", "true")
        .replace(".ci/run", "true");
    let mut shell = Command::new("bash");
    shell
        .args(["-ec", &script])
        .current_dir(folder)
        .env_clear()
        .envs([("PATH", format!("{}:/usr/bin:/bin", bin.display()))]);
    let run = finished(shell.output().unwrap());
    let calls = std::fs::read_to_string(calls).unwrap();
    let calls = calls
        .split_terminator('\n')
        .map(|call| call.split_terminator('\u{1f}').map(str::to_owned).collect());
    (run, calls.collect())
}

/// The commands of a block of a terminal: the lines after the prompt, with those that continue them.
fn commands(text: &str) -> String {
    let mut script = String::new();
    let mut continues = false;
    let mut document: Option<String> = None;
    for line in text.lines() {
        let begins = line.strip_prefix("$ ");
        if begins.is_some() || continues || document.is_some() {
            script += begins.unwrap_or(line);
            script.push('\n');
        }
        continues = (begins.is_some() || continues) && line.ends_with('\\');
        if document.as_deref() == Some(line) {
            document = None;
        } else if let Some((_, word)) = begins.and_then(|line| line.split_once("<<")) {
            document = Some(word.trim().to_owned());
        }
    }
    script
}

#[tokio::test]
async fn the_commands_of_the_book_are_known_and_their_requests_lead_somewhere() {
    let db = TestDb::new().await;
    let world = World::new().await;
    let (mut scripts, mut requests) = (0, 0);
    for name in ["registry.toml", "octo-org.toml", "old-cases.json"] {
        std::fs::write(db.folder().join(name), "").unwrap();
    }
    for block in blocks().iter().filter(|block| block.language == "console") {
        let script = commands(&block.text);
        assert!(!script.is_empty(), "{}: no command", block.place());
        let (run, calls) = run_in_shell(db.folder(), &script);
        assert_eq!(run.code, 0, "{}: {script}{run:?}", block.place());
        scripts += 1;
        for call in calls {
            answered(&world, &block.place(), &call).await;
            requests += 1;
        }
    }
    assert!(scripts >= 45 && requests >= 11, "{scripts} {requests}");
}

/// Checks that a request of curl is for a path and a method that the server has, and that its body can be read.
async fn answered(world: &World, place: &str, call: &[String]) {
    let after = |option: &str| {
        call.windows(2)
            .find(|pair| pair[0] == option)
            .map(|pair| pair[1].as_str())
    };
    let url = call
        .iter()
        .find(|argument| argument.starts_with("http"))
        .unwrap_or_else(|| panic!("{place}: {call:?}"));
    let path = url
        .split_once("://")
        .unwrap()
        .1
        .split_once('/')
        .map_or("/".to_owned(), |(_, path)| format!("/{path}"));
    let data = after("-d");
    let method = after("-X").unwrap_or(if data.is_some() { "POST" } else { "GET" });
    if path.starts_with("/admin/") && data.is_some_and(|data| !data.contains('…')) {
        let parsed = serde_json::from_str::<Value>(data.unwrap());
        assert!(parsed.is_ok(), "{place}: {data:?}");
    }
    let request = axum::http::Request::builder()
        .method(method)
        .uri(format!("{CARNET}{path}"))
        .body(axum::body::Body::empty())
        .unwrap();
    let answer = world.server.send(request).await;
    assert!(
        ![404, 405].contains(&answer.status),
        "{place}: {method} {path}: {}",
        answer.text()
    );
}

#[tokio::test]
async fn commands_that_need_no_server_print_what_the_book_shows() {
    let db = TestDb::new().await;
    let folder = db.folder();
    for (name, sample) in [
        ("carnet.toml", "config/github-actions.toml"),
        ("registry.toml", "apply/github-actions.toml"),
        ("first.toml", "cases/first.toml"),
        ("generic.json", "cases/generic.json"),
    ] {
        std::fs::write(folder.join(name), read(&format!("docs/samples/{sample}"))).unwrap();
    }
    // The cases name the file of the objects by its place in the samples.
    let first = read("docs/samples/cases/first.toml")
        .replace("../apply/github-actions.toml", "registry.toml");
    std::fs::write(folder.join("first.toml"), first).unwrap();
    first_start(folder, &[]);
    let mut compared = 0;
    for block in blocks().iter().filter(|block| block.language == "console") {
        let mut lines = block.text.lines().peekable();
        while let Some(line) = lines.next() {
            let mut printed = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
                printed.push(line);
            }
            let Some(arguments) = line
                .strip_prefix("$ carnet ")
                .filter(|_| !printed.is_empty())
            else {
                continue;
            };
            let mut arguments: Vec<&str> = arguments.split_whitespace().collect();
            match arguments[0] {
                // The keys of the platform are not fetched here.
                "apply" => arguments.push("--offline"),
                "policy" | "check" => {}
                _ => continue,
            }
            let run = carnet_in(folder, &arguments);
            let whole = format!("{}{}", run.stdout, run.stderr);
            let shown: Vec<&str> = printed
                .iter()
                .copied()
                .filter(|line| *line != "…")
                .collect();
            let printed: Vec<&str> = whole.lines().take(shown.len()).collect();
            assert_eq!(printed, shown, "{}: {line}: {run:?}", block.place());
            compared += 1;
        }
    }
    assert!(compared >= 5, "{compared}");
}

#[tokio::test]
async fn the_token_request_of_the_reference_is_read() {
    let world = World::new().await;
    let blocks = blocks();
    let request = blocks
        .iter()
        .find(|block| block.text.starts_with("POST /token HTTP/1.1\n"))
        .unwrap();
    let (head, body) = request.text.split_once("\n\n").unwrap();
    assert!(head.contains("x-www-form-urlencoded"), "{head}");
    let answer = world
        .server
        .form_text("/token", body.trim().trim_end_matches('…'))
        .await;
    // Its assertion is cut off, and everything else can be read.
    answer.refused(400, "invalid_grant", "assertion_malformed");
}

/// Python's YAML, where it is there, reads every YAML file that the book and `integrations` hold.
#[test]
fn every_yaml_file_can_be_read() {
    let mut all = files("docs/samples", ".yml");
    for (folder, ending) in [
        ("docs/samples", ".yaml"),
        ("integrations", ".yml"),
        ("integrations", ".yaml"),
    ] {
        all.extend(files(folder, ending));
    }
    assert!(all.len() >= 15, "{}", all.len());
    let script = "import sys, yaml\nfor path in sys.argv[1:]:\n    assert list(yaml.safe_load_all(open(path))), path\n";
    let has_yaml = Command::new("python3").args(["-c", "import yaml"]).output();
    if !has_yaml.is_ok_and(|output| output.status.success()) {
        may_skip("PyYAML");
        return;
    }
    let run = finished(
        Command::new("python3")
            .args(["-c", script])
            .args(all)
            .output()
            .unwrap(),
    );
    assert_eq!(run.code, 0, "{run:?}");
}
