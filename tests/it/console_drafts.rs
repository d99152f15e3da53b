//! One verdict and one stored form, whichever way a rule is written or tried: by a page, or by the API.

use std::collections::BTreeMap;
use std::path::Path;

use carnet::profile::{Form, Profiles};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::cases_over_http::{all_cases, in_all_cases};
use crate::people_sessions::browser::{Browser, People, Provider};
use crate::support::{Answer, CaseRun, JWT_BEARER, World};

const PAGE: &str = "/console/principals/joel";
const DRAFTS: usize = 150;

/// What somebody types into the form of one platform.
#[derive(Debug)]
struct Draft {
    platform: Index,
    /// Fields by their place in the form, their values, or their examples where there is none, and whether their boxes are ticked.
    typed: Vec<(Index, Option<String>, bool)>,
    permissions: Vec<Permission>,
    name: &'static str,
    expires_at: &'static str,
}

#[derive(Debug)]
struct Permission {
    registry: &'static str,
    actions: Vec<&'static str>,
    packages: &'static str,
    owner: &'static str,
    is_proved: bool,
    is_bound: bool,
}

fn permissions() -> impl Strategy<Value = Permission> {
    let actions = vec!["create", "publish", "yank"];
    (
        prop_oneof![9 => Just("pypi"), 1 => Just("crates"), 1 => Just("nowhere")],
        prop_oneof![6 => Just(vec!["publish"]), 2 => subsequence(actions, 0..3)],
        prop_oneof![
            12 => select(vec!["widgets", "widgets\r\nwidgets-*", "*"]),
            1 => select(vec!["", "a b", "**"]),
        ],
        prop_oneof![12 => select(vec!["", "joel"]), 1 => select(vec!["octo-org", "mallory"])],
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |(registry, actions, packages, owner, is_proved, is_bound)| Permission {
                registry,
                actions,
                packages,
                owner,
                is_proved,
                is_bound,
            },
        )
}

fn drafts() -> impl Strategy<Value = Draft> {
    let texts = [
        "octo-org/octo-repo",
        "octo-org",
        "main",
        "v*",
        "refs/heads/main",
        "release.yml",
        ".github/workflows/release.yml",
        "https://github.com/octo-org/x",
        "prod\r\nstaging",
        "74",
        "true",
        "a = b",
        "x y",
        "spiffe://example.org/ns/*",
        "on",
    ];
    let typed = (
        any::<Index>(),
        prop::option::weighted(0.2, select(texts.to_vec()).prop_map(str::to_owned)),
        prop::bool::weighted(0.8),
    );
    (
        any::<Index>(),
        vec(typed, 0..5),
        prop_oneof![3 => vec(permissions(), 1), 1 => vec(permissions(), 2)],
        prop_oneof![20 => select(vec!["release", "nightly.2"]), 1 => select(vec!["", "no spaces"])],
        prop_oneof![20 => select(vec!["", "2031-02-03"]), 1 => select(vec!["2001-02-03", "tomorrow"])],
    )
        .prop_map(
            |(platform, typed, permissions, name, expires_at)| Draft {
                platform,
                typed,
                permissions,
                name,
                expires_at,
            },
        )
}

impl Draft {
    /// What is sent about the jobs: the examples of what the form asks for first, and what was typed instead or besides.
    fn about_jobs(&self, form: &Form) -> Vec<(String, String)> {
        let entries: Vec<_> = form.entries().collect();
        let mut sent = BTreeMap::new();
        for entry in &form.main {
            let example = entry.example.clone().unwrap_or_default();
            sent.insert(entry.key.clone(), example);
        }
        for (at, text, is_ticked) in &self.typed {
            let entry = entries[at.index(entries.len())];
            if let Some(tick) = entry.tick.clone().filter(|_| *is_ticked) {
                sent.insert(tick, "on".to_owned());
            }
            let example = || entry.example.clone().unwrap_or_default();
            let text = text.clone().unwrap_or_else(example);
            sent.insert(entry.key.clone(), text);
        }
        sent.into_iter().collect()
    }

    /// The other fields, as the page names them.
    fn others(&self) -> Vec<(String, String)> {
        let mut sent = vec![
            ("name".to_owned(), self.name.to_owned()),
            ("expires_at".to_owned(), self.expires_at.to_owned()),
        ];
        for (number, permission) in self.permissions.iter().enumerate() {
            let mut add = |field: &str, value: &str| {
                sent.push((format!("permission.{number}.{field}"), value.to_owned()));
            };
            add("registry", permission.registry);
            for action in &permission.actions {
                add("action", action);
            }
            add("packages", permission.packages);
            add("owner", permission.owner);
            if permission.is_proved {
                add("proved", "on");
            }
            if permission.is_bound {
                add("bound", "on");
            }
        }
        sent
    }

    /// The same rule, as somebody writes it who knows the API.
    fn document(&self, trusted_issuer: &str, matched: Value) -> Value {
        let filled = self.permissions.iter().enumerate();
        // A block of the form in which nothing was typed is none.
        let filled = filled.filter(|(number, permission)| {
            *number == 0 || !permission.packages.is_empty() || !permission.actions.is_empty()
        });
        let permissions = filled.map(|(_, permission)| {
            let packages: Vec<&str> = permission.packages.lines().collect();
            let mut written = json!({
                "resource_server": permission.registry, "actions": permission.actions, "packages": packages,
            });
            if !["", "joel"].contains(&permission.owner) {
                written["owner"] = permission.owner.into();
            }
            if permission.is_proved {
                written["min_proof"] = "key".into();
            }
            if permission.is_bound {
                written["require_sender_constraint"] = true.into();
            }
            written
        });
        let mut document = json!({
            "principal": "joel", "trusted_issuer": trusted_issuer, "match": matched, "vouched": false,
            "permissions": permissions.collect::<Vec<_>>(),
        });
        if !self.expires_at.is_empty() {
            document["expires_at"] = format!("{}T00:00:00Z", self.expires_at).into();
        }
        document
    }
}

/// The usual world with people, and a trusted issuer of every profile that comes with the server, by name.
async fn site() -> (World, People, Vec<(String, String)>) {
    let people = People::new().await;
    let world = World::on(people.server.clone()).await;
    let own = json!({ "identity_provider": "corp", "match": { "groups": ["owners"] }, "principal": "joel", "role": "owner" });
    people.put("memberships/joels", own).await;
    let mut issuers = BTreeMap::from([("github-actions".to_owned(), "github".to_owned())]);
    let bundled = Profiles::load(None).unwrap();
    for (_, case) in all_cases() {
        let of_case = case["objects"]["trusted_issuers"].as_object();
        for (_, document) in of_case.into_iter().flatten() {
            let profile = document["profile"].as_str().unwrap_or_default();
            if bundled.get(profile).is_none() || issuers.contains_key(profile) {
                continue;
            }
            let path = format!("trusted-issuers/{profile}?validate=offline");
            let saved = world.server.admin("PUT", &path, document.clone()).await;
            if saved.status == 201 {
                issuers.insert(profile.to_owned(), profile.to_owned());
            }
        }
    }
    assert!(issuers.len() > 15, "{issuers:?}");
    (world, people, issuers.into_iter().collect())
}

fn as_sent(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    let fields = fields.iter();
    fields
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

async fn press(browser: &mut Browser<'_>, fields: &[(String, String)], button: &str) -> Answer {
    let csrf = browser.csrf().await;
    let more = [("csrf", csrf.as_str()), ("do", button)];
    let form = [as_sent(fields), more.to_vec()].concat();
    browser.seen.clear();
    browser.post(&format!("{PAGE}/add-rule"), &form).await
}

/// What a page shows, without its marks.
fn shown(page: &str) -> String {
    [
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#38;", "&"),
    ]
    .iter()
    .fold(page.to_owned(), |text, (mark, character)| {
        text.replace(mark, character)
    })
}

/// The mistakes that a page lists.
fn listed(page: &str) -> Vec<String> {
    let Some((_, rest)) = page.split_once("<h2>The rule cannot be saved like this</h2>") else {
        return Vec::new();
    };
    let list = rest.split("</ul>").next().unwrap();
    let items = list.split("<li>").skip(1);
    let texts = items.map(|item| item.split("</li>").next().unwrap());
    texts
        .map(|text| text.rsplit("</a>: ").next().unwrap().to_owned())
        .collect()
}

fn texts(list: &Value, member: &str) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items
        .map(|item| item[member].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn people_one_1__random_drafts_are_stored_the_same_by_the_page_and_by_the_api() {
    let (world, people, issuers) = site().await;
    let server = &world.server;
    let mut browser = people.signed_in().await;
    let profiles = Profiles::load(None).unwrap();
    let mut runner = TestRunner::new(Config::default());
    let (mut stored, mut refused, mut unread) = (0, 0, 0);
    for _ in 0..DRAFTS {
        // Nobody writes as much in a minute.
        server.clock.advance(60);
        let claims = People::ada();
        browser.step_up(&people, &claims).await;
        let draft = drafts().new_tree(&mut runner).unwrap().current();
        let (profile, issuer) = &issuers[draft.platform.index(issuers.len())];
        let form = profiles.get(profile).unwrap().form();
        let about_jobs = draft.about_jobs(form);
        let read = form.read(&about_jobs);
        let fields = [
            about_jobs,
            draft.others(),
            vec![("trusted_issuer".to_owned(), issuer.clone())],
        ]
        .concat();
        let document = draft.document(issuer, Value::Object(read.matched));
        let path = format!(
            "federated-credentials/joel:{}",
            draft.name.replace(' ', "%20")
        );
        let scope = "admin:credentials:joel";
        let dry = format!("{path}?dry_run=true");
        let tried = server.admin_as(scope, "PUT", &dry, document.clone()).await;
        let checked = shown(&press(&mut browser, &fields, "check").await.text());
        let saved = press(&mut browser, &fields, "save").await;
        let problems = listed(&shown(&saved.text()));
        assert_eq!(listed(&checked), problems, "{draft:?}");
        if !read.problems.is_empty() || draft.name.is_empty() {
            // Nothing of it is a document that the API could be sent.
            unread += 1;
            assert_eq!(saved.status, 422, "{draft:?}: {}", saved.text());
            for problem in read.problems {
                assert!(
                    problems.contains(&problem.text),
                    "{problem:?}: {problems:?}"
                );
            }
            continue;
        }
        let tried = tried.json();
        let errors = texts(&tried["errors"], "detail");
        if !errors.is_empty() {
            refused += 1;
            assert_eq!(saved.status, 422, "{draft:?}: {}", saved.text());
            assert_eq!(problems.len(), errors.len(), "{errors:?} {problems:?}");
            for error in errors {
                let is_told = problems.iter().any(|problem| problem.ends_with(&error));
                assert!(is_told, "{draft:?}: {error}: {problems:?}");
            }
            continue;
        }
        stored += 1;
        let warnings = tried["warnings"].as_array().unwrap();
        for warning in warnings {
            let detail = warning["detail"].as_str().unwrap();
            assert!(checked.contains(detail), "{detail}: {checked}");
        }
        for sentence in tried["preview"].as_array().unwrap() {
            let sentence = sentence.as_str().unwrap();
            assert!(checked.contains(sentence), "{sentence}: {checked}");
        }
        let saved = if warnings.is_empty() {
            saved
        } else {
            let text = saved.text();
            let read = text.split("name=\"accept_warnings\" value=\"").nth(1);
            let read = read.unwrap().split('"').next().unwrap().to_owned();
            let accepted = [("accept_warnings".to_owned(), read)];
            let fields = [fields.as_slice(), &accepted].concat();
            press(&mut browser, &fields, "save").await
        };
        assert_eq!(saved.status, 303, "{draft:?}: {}", saved.text());
        let by_page = server.admin("GET", &path, Value::Null).await.json();
        server.admin("DELETE", &path, Value::Null).await;
        let by_api = server.admin_as(scope, "PUT", &path, document).await;
        assert_eq!(by_api.status, 201, "{draft:?}: {}", by_api.text());
        let by_api = by_api.json();
        for (member, value) in by_page.as_object().unwrap() {
            if !["id", "created_at", "updated_at"].contains(&member.as_str()) {
                assert_eq!(by_api[member], *value, "{draft:?}: {member}");
            }
        }
        assert_eq!(by_page["warnings"], tried["warnings"]);
        server.admin("DELETE", &path, Value::Null).await;
    }
    assert!(
        stored > 15 && refused > 15 && unread > 5,
        "{stored} {refused} {unread}"
    );
}

/// What the page for trying rules says of a case, and what else is asked.
async fn try_case(case: &Value) -> Result<bool, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/samples");
    let run = CaseRun::new(case, &folder.join("cases"), &folder.join("profiles")).await;
    let provider = Provider::new();
    let network = &run.server.network;
    network.add_service("login.test", provider.router());
    let people = People {
        server: run.server.clone(),
        provider,
    };
    people.put_provider(json!({})).await;
    let principal = run.principal();
    let owners = json!({ "identity_provider": "corp", "match": { "groups": ["owners"] }, "principal": principal, "role": "owner" });
    people.put("memberships/owners", owners).await;
    let mut browser = people.signed_in().await;

    let (assertion, resource) = (run.token(), run.resource());
    let named = run.named_principal();
    let csrf = browser.csrf().await;
    let mut fields = vec![
        ("csrf", csrf.as_str()),
        ("pasted", assertion.as_str()),
        ("resource", resource.as_str()),
    ];
    fields.extend(named.is_some().then_some(("named", "on")));
    let path = format!("/console/principals/{principal}/test");
    let page = browser.post(&path, &fields).await;
    let text = page.text();
    let heading = text.split("<h2 id=\"verdict\">").nth(1);
    let heading = heading.and_then(|rest| rest.split('<').next());
    let reason = text.split("<a href=\"").find_map(|link| {
        let (_, rest) = link.split_once("\"><code>")?;
        rest.split('<').next().map(str::to_owned)
    });

    let mut form = vec![
        ("grant_type", JWT_BEARER),
        ("assertion", assertion.as_str()),
        ("resource", resource.as_str()),
    ];
    form.extend(named.as_deref().map(|name| ("principal", name)));
    let explained = run.server.form("/explain", &form).await.json();
    let answered = run.server.form("/token", &form).await;
    let is_allowed = answered.status == 200;
    let said = || {
        format!(
            "{text}\n/explain: {explained:#}\n/token: {}",
            answered.text()
        )
    };
    let expected = if is_allowed {
        "It would get a token"
    } else {
        "It would be refused"
    };
    if heading != Some(expected) || (explained["verdict"] == "allow") != is_allowed {
        return Err(said());
    }
    let told = answered.json()["reason"].as_str().map(str::to_owned);
    // Who owns the rules is told which condition fails, where the job learns that no rule matches.
    let is_more = told.as_deref() == Some("no_matching_credential") && reason.is_some();
    if !is_allowed && reason != told && !is_more {
        return Err(format!("{reason:?} {told:?} {}", said()));
    }
    Ok(is_allowed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_one_1__every_case_has_the_verdict_of_the_token_endpoint_on_the_page_that_tries_rules()
 {
    let allowed = in_all_cases(all_cases(), |_, case| async move { try_case(&case).await });
    let allowed = allowed.await;
    let count = allowed.iter().filter(|is_allowed| **is_allowed).count();
    let refused = allowed.len() - count;
    assert!(count > 50 && refused > 200, "{count} {refused}");
}
