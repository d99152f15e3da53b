//! The pages on which owners write rules, see what they do, and why a run was refused.

use serde_json::{Value, json};

use crate::people_sessions::browser::{Browser, People, token_in};
use crate::support::{Answer, R1, World};

const NEW: &str = "/console/principals/joel/add-rule";
const RULE: &str = "/console/principals/joel/rules/release";

/// A form that joel's owner fills in, without the token of the session.
fn release() -> Vec<(&'static str, &'static str)> {
    vec![
        ("trusted_issuer", "github"),
        ("match.repository", "https://github.com/octo-org/octo-repo"),
        ("match.workflow_file.on", "on"),
        ("match.workflow_file", "release.yml"),
        ("match.ref.branch.on", "on"),
        ("match.ref.branch", "main"),
        ("permission.0.registry", "pypi"),
        ("permission.0.action", "publish"),
        ("permission.0.action", "create"),
        ("permission.0.packages", "widgets\r\nwidgets-*"),
        ("name", "release"),
    ]
}

/// The usual world, in which people sign in: `owners` own joel and octo-org, `viewers` view joel, `operators` operate.
struct Site {
    world: World,
    people: People,
}

async fn site() -> Site {
    let people = People::new().await;
    let world = World::on(people.server.clone()).await;
    let answer = world
        .server
        .admin("DELETE", "federated-credentials/octo-release", Value::Null)
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    for (name, group, role, principal) in [
        ("joels", "owners", "owner", Some("joel")),
        ("viewers", "viewers", "viewer", Some("joel")),
        ("operators", "operators", "operator", None),
        ("auditors", "auditors", "auditor", None),
    ] {
        let mut membership =
            json!({ "identity_provider": "corp", "match": { "groups": [group] }, "role": role });
        if let Some(principal) = principal {
            membership["principal"] = principal.into();
        }
        people.put(&format!("memberships/{name}"), membership).await;
    }
    Site { world, people }
}

impl Site {
    /// The browser of a person of this group, signed in.
    async fn browser(&self, group: &str) -> Browser<'_> {
        let mut browser = self.people.browser();
        let claims = json!({ "sub": format!("{group}-1"), "name": group, "groups": [group] });
        let answer = browser.sign_in(&self.people, &claims).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        browser
    }

    /// What the job gets that names joel.
    async fn run(&self, changed: &[(&str, Value)]) -> Answer {
        let mut claims = self.world.claims();
        for (name, value) in changed {
            claims = claims.with(name, value.clone());
        }
        let assertion = self.world.gh.sign(&claims);
        self.world
            .exchange_with(&assertion, &[("principal", "joel"), ("resource", R1)])
            .await
    }

    async fn stored(&self, name: &str) -> Value {
        let path = format!("federated-credentials/joel:{name}");
        self.world
            .server
            .admin("GET", &path, Value::Null)
            .await
            .json()
    }
}

/// Sends a form with the token of the session and this button.
async fn press(browser: &mut Browser<'_>, path: &str, form: &[(&str, &str)]) -> Answer {
    let csrf = browser.csrf().await;
    let form = [form, &[("csrf", csrf.as_str())]].concat();
    browser.post(path, &form).await
}

async fn save(browser: &mut Browser<'_>, form: &[(&str, &str)]) -> Answer {
    let form = [form, &[("do", "save"), ("accept_warnings", "on")]].concat();
    press(browser, NEW, &form).await
}

#[track_caller]
fn leads_to(answer: &Answer, path: &str) {
    let location = answer.header("location");
    assert_eq!(
        (answer.status, location),
        (303, Some(path)),
        "{}",
        answer.text()
    );
}

#[track_caller]
fn shows(answer: &Answer, parts: &[&str]) {
    let text = answer.text();
    for part in parts {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[tokio::test]
async fn an_owner_adds_a_rule_and_sees_what_becomes_of_it() {
    let site = site().await;
    let mut browser = site.browser("owners").await;
    shows(
        &browser.get("/console").await,
        &["/console/principals/joel\">joel</a>"],
    );
    shows(
        &browser.get("/console/principals/joel").await,
        &[
            "No job acts for joel yet",
            "Nothing happened in the last 7 days",
        ],
    );
    shows(
        &browser.get(NEW).await,
        &["GitHub Actions", "?trusted_issuer=github\""],
    );
    shows(
        &browser.get(&format!("{NEW}?trusted_issuer=github")).await,
        &[
            "Repository",
            "Filter by branch",
            "Filter by environment",
            "Filter by workflow",
            "Tick at least one",
        ],
    );

    // Every mistake is at its field.
    let checked = press(
        &mut browser,
        NEW,
        &[
            ("trusted_issuer", "github"),
            ("match.ref.branch.on", "on"),
            ("do", "save"),
        ],
    )
    .await;
    assert_eq!(checked.status, 422);
    shows(
        &checked,
        &[
            "<a href=\"#match.ref.branch\">Branch</a>: must be filled in",
            "<a href=\"#name\">Name of the rule</a>: must be given",
            "<a href=\"#permission.0.packages\">Packages</a>",
            "aria-describedby=\"match.ref.branch.help match.ref.branch.problem\" aria-invalid=\"true\"></textarea>",
        ],
    );

    // What it would do is said before it is saved.
    let form = [release(), vec![("do", "check")]].concat();
    let checked = press(&mut browser, NEW, &form).await;
    assert_eq!(checked.status, 200, "{}", checked.text());
    shows(
        &checked,
        &[
            "in “octo-org/octo-repo”",
            "from the branch “main”",
            "in any environment",
            "May publish to pypi: widgets, widgets-*, and create new packages there.",
        ],
    );
    assert_eq!(site.stored("release").await["code"], "not_found");

    leads_to(&save(&mut browser, &release()).await, RULE);
    let stored = site.stored("release").await;
    assert_eq!(stored["vouched"], false);
    assert_eq!(stored["match"]["ref"], "refs/heads/main");
    let page = browser.get(RULE).await;
    shows(
        &page,
        &[
            "Not used yet",
            "It counts for jobs that name <strong>joel</strong>",
            "What the job contains",
            "principal",
        ],
    );

    // To save a rule is no run.
    let runs = browser.get("/console/principals/joel/runs").await;
    shows(&runs, &["No run was recorded"]);

    // A job that does not name joel is no business of joel's; one that does is shown with what failed.
    let other = site
        .world
        .gh
        .sign(&site.world.claims().with("ref", json!("refs/heads/else")));
    assert_eq!(site.world.exchange(&other).await.status, 400);
    let page = browser.get(RULE).await;
    shows(
        &page,
        &["Nothing that names joel was refused since the rule was saved"],
    );
    assert!(!page.text().contains("refs/heads/else"));
    let refused = site
        .run(&[
            ("ref", json!("refs/heads/dev")),
            (
                "workflow_ref",
                json!("octo-org/octo-repo/.github/workflows/release.yml@refs/heads/dev"),
            ),
            (
                "job_workflow_ref",
                json!("octo-org/octo-repo/.github/workflows/release.yml@refs/heads/dev"),
            ),
        ])
        .await;
    assert_eq!(refused.status, 400);
    let page = browser.get(RULE).await;
    shows(
        &page,
        &[
            "What arrived since, and was refused",
            "octo-org/octo-repo",
            "ref_mismatch",
            "expected <bdi>refs/heads/main</bdi>, received <bdi>refs/heads/dev</bdi>",
        ],
    );
    let run = page.text();
    let run = run
        .split("/console/principals/joel/runs/ev_")
        .nth(1)
        .unwrap();
    let run = format!(
        "/console/principals/joel/runs/ev_{}",
        run.split('"').next().unwrap()
    );
    shows(
        &browser.get(&run).await,
        &[
            "Refused: <bdi>octo-org/octo-repo</bdi>",
            "What failed then",
            "By the rules of today",
            "release: does not match",
            "<strong>fails</strong> (<code>ref_mismatch</code>)",
        ],
    );

    for run in ["9001", "9002"] {
        let good = site.run(&[("run_id", json!(run))]).await;
        assert_eq!(good.status, 200, "{}", good.text());
        site.world.server.clock.advance(1);
        // The ids that a first use pins are in the rules of this process a moment later.
        site.world.server.app.refresh().await.unwrap();
    }
    let page = browser.get(RULE).await;
    shows(
        &page,
        &[
            "In use",
            "First used by <a href=",
            "octo-org/octo-repo</bdi>, <bdi>run 9001</bdi></a>, on ",
            "octo-org/octo-repo</bdi>, <bdi>run 9002</bdi></a>. <a href=",
            "pinned by the first use",
        ],
    );
    shows(
        &browser
            .get("/console/principals/joel/runs?outcome=issued")
            .await,
        &["Got a token", "octo-org/octo-repo"],
    );
    let page = browser.get("/console/principals/joel").await;
    shows(&page, &["<rect class=\"done\"", "<td>2</td><td>1</td>"]);
    assert!(
        !page.text().contains("Only events since"),
        "{}",
        page.text()
    );
    shows(
        &browser.get(&format!("{RULE}/history")).await,
        &["Made on", "+ /permissions", "By <code>ps_"],
    );
    shows(
        &browser.get(&format!("{RULE}/snippets")).await,
        &["carnet exchange", "data-copy"],
    );
}

#[tokio::test]
async fn people_see_1__runs_and_rules_of_others_are_on_no_page() {
    let site = site().await;
    let mut owner = site.browser("owners").await;
    leads_to(&save(&mut owner, &release()).await, RULE);
    site.people
        .put("principals/mallory", json!({ "kind": "user" }))
        .await;
    let theirs = json!({ "identity_provider": "corp", "match": { "groups": ["hers"] }, "role": "owner", "principal": "mallory" });
    site.people.put("memberships/hers", theirs).await;
    let mut mallory = site.browser("hers").await;
    // Her rule for joel's job learns nothing of it, for the job never names her.
    let form: Vec<_> = release()
        .into_iter()
        .map(|(name, value)| {
            if value == "main" {
                (name, "else")
            } else {
                (name, value)
            }
        })
        .collect();
    let form = [form, vec![("do", "save"), ("accept_warnings", "on")]].concat();
    let saved = press(&mut mallory, "/console/principals/mallory/add-rule", &form).await;
    leads_to(&saved, "/console/principals/mallory/rules/release");
    assert_eq!(site.run(&[]).await.status, 200);
    let anybody = site.world.exchange(&site.world.good()).await;
    assert_eq!(anybody.status, 400, "{}", anybody.text());
    for path in [
        "/console/principals/mallory",
        "/console/principals/mallory/runs",
        "/console/principals/mallory/rules/release",
    ] {
        let page = mallory.get(path).await;
        assert_eq!(page.status, 200);
        assert!(!page.text().contains("repo:octo-org"), "{}", page.text());
        assert!(!page.text().contains("<td>Got a token"), "{}", page.text());
    }
    // What is joel's does not exist for her.
    let run = owner.get("/console/principals/joel/runs").await.text();
    let id = run
        .split("/runs/ev_")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    for path in [
        "/console/principals/joel".to_owned(),
        RULE.to_owned(),
        format!("/console/principals/mallory/runs/ev_{id}"),
        "/console/principals/nobody".to_owned(),
        NEW.to_owned(),
    ] {
        assert_eq!(mallory.get(&path).await.status, 404, "{path}");
    }
    let pressed = press(
        &mut mallory,
        &format!("{RULE}/change"),
        &[("do", "disable"), ("version", "1")],
    )
    .await;
    assert_eq!(pressed.status, 404);
    assert_eq!(site.stored("release").await["enabled"], true);
}

#[tokio::test]
async fn viewers_and_auditors_find_no_form_and_change_nothing() {
    let site = site().await;
    let mut owner = site.browser("owners").await;
    leads_to(&save(&mut owner, &release()).await, RULE);
    for group in ["viewers", "auditors"] {
        let mut browser = site.browser(group).await;
        let page = browser.get("/console/principals/joel").await;
        shows(&page, &["release"]);
        assert!(!page.text().contains("Add a trusted publisher"));
        let page = browser.get(RULE).await;
        assert!(!page.text().contains("name=\"do\""), "{}", page.text());
        assert_eq!(browser.get(NEW).await.status, 403);
        assert_eq!(browser.get(&format!("{RULE}/edit")).await.status, 403);
        let form = [release(), vec![("do", "save"), ("name", "other")]].concat();
        let csrf = browser.csrf().await;
        let with = |form: &[(&'static str, &'static str)]| {
            form.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .chain([("csrf".to_owned(), csrf.clone())])
                .collect::<Vec<_>>()
        };
        for (path, form) in [
            (NEW.to_owned(), with(&form)),
            (format!("{RULE}/edit"), with(&form)),
            (
                format!("{RULE}/change"),
                with(&[("do", "disable"), ("version", "1")]),
            ),
            (
                format!("{RULE}/change"),
                with(&[("do", "vouch"), ("version", "1")]),
            ),
            (
                format!("{RULE}/delete"),
                with(&[("name", "release"), ("version", "1")]),
            ),
        ] {
            let form: Vec<(&str, &str)> = form
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            let answer = browser.post(&path, &form).await;
            assert_eq!(answer.status, 403, "{group} {path}: {}", answer.text());
        }
    }
    let stored = site.stored("release").await;
    assert_eq!(
        (&stored["enabled"], &stored["vouched"], &stored["revision"]),
        (&json!(true), &json!(false), &json!(1))
    );
}

#[tokio::test]
async fn people_2fa_1__a_rule_is_saved_with_a_recent_proof_and_what_was_typed_is_kept() {
    let site = site().await;
    let mut browser = site.browser("owners").await;
    let claims = json!({ "sub": "owners-1", "name": "owners", "groups": ["owners"] });
    site.world.server.clock.advance(901);
    let page = browser.get(&format!("{NEW}?trusted_issuer=github")).await;
    assert_eq!(page.status, 403);
    shows(
        &page,
        &[
            "Confirm that it is you",
            "value=\"/console/principals/joel/add-rule?trusted_issuer=github\"",
        ],
    );

    // The form was open already.
    let form = [release(), vec![("do", "save"), ("accept_warnings", "on")]].concat();
    let kept = press(&mut browser, NEW, &form).await;
    assert_eq!(kept.status, 409);
    shows(
        &kept,
        &[
            "Your proof of identity is too old",
            "value=\"https://github.com/octo-org/octo-repo\"",
            "widgets-*</textarea>",
        ],
    );
    assert_eq!(site.stored("release").await["code"], "not_found");

    // After the step-up in another tab, the first form is of a session that is gone.
    let old = token_in(&kept.text()).unwrap();
    browser.step_up(&site.people, &claims).await;
    let with_old = [form.clone(), vec![("csrf", old.as_str())]].concat();
    let kept = browser.post(NEW, &with_old).await;
    assert_eq!(kept.status, 409, "{}", kept.text());
    shows(
        &kept,
        &[
            "You signed in again after this form was shown",
            "value=\"release.yml\"",
        ],
    );
    assert_eq!(site.stored("release").await["code"], "not_found");
    // Whoever says nothing of the page that it comes from is not believed.
    let silent = browser.post_with(NEW, &[], &with_old).await;
    assert_eq!(silent.status, 403);
    let new = token_in(&kept.text()).unwrap();
    let with_new = [form, vec![("csrf", new.as_str())]].concat();
    leads_to(&browser.post(NEW, &with_new).await, RULE);

    // To take rights away needs no proof, to give them back does.
    site.world.server.clock.advance(901);
    let change = format!("{RULE}/change");
    let pressed = press(
        &mut browser,
        &change,
        &[("do", "disable"), ("version", "1")],
    )
    .await;
    leads_to(&pressed, RULE);
    assert_eq!(site.stored("release").await["state"], "disabled");
    let pressed = press(&mut browser, &change, &[("do", "enable"), ("version", "2")]).await;
    assert_eq!(pressed.status, 403);
    assert_eq!(site.stored("release").await["state"], "disabled");
}

#[tokio::test]
async fn a_rule_is_changed_as_it_was_seen_and_deleted_by_its_name() {
    let site = site().await;
    let mut browser = site.browser("owners").await;
    leads_to(&save(&mut browser, &release()).await, RULE);
    let edit = format!("{RULE}/edit");
    let page = browser.get(&edit).await;
    shows(
        &page,
        &[
            "value=\"octo-org/octo-repo\"",
            "name=\"version\" value=\"1\"",
            ">main</textarea>",
        ],
    );

    // Somebody else changes it meanwhile.
    let patch = json!({ "review_at": "2030-01-02T03:04:05Z" });
    let changed = site
        .world
        .server
        .admin("PATCH", "federated-credentials/joel:release", patch)
        .await;
    assert_eq!(changed.status, 200);
    let form = [
        release(),
        vec![("do", "save"), ("accept_warnings", "on"), ("version", "1")],
    ]
    .concat();
    let late = press(&mut browser, &edit, &form).await;
    assert_eq!(late.status, 422, "{}", late.text());
    shows(
        &late,
        &["Somebody changed the rule after this form was shown"],
    );

    // The time of day that the form does not show is kept.
    let mut form = [
        release(),
        vec![
            ("do", "save"),
            ("accept_warnings", "on"),
            ("version", "2"),
            ("review_at", "2030-01-02"),
        ],
    ]
    .concat();
    form.retain(|(name, _)| *name != "permission.0.action");
    form.push(("permission.0.action", "publish"));
    leads_to(&press(&mut browser, &edit, &form).await, RULE);
    let stored = site.stored("release").await;
    assert_eq!(stored["review_at"], "2030-01-02T03:04:05Z");
    assert_eq!(stored["permissions"][0]["actions"], json!(["publish"]));
    shows(
        &browser.get(&format!("{RULE}/history")).await,
        &["- /permissions/0/actions/1: &#34;create&#34;"],
    );
    // What is too long for the record is in it by its size.
    let packages = |from: usize| -> Vec<String> {
        (from..from + 300).map(|n| format!("widgets-{n}")).collect()
    };
    for from in [0, 1] {
        let mut permission = stored["permissions"][0].clone();
        permission["packages"] = json!(packages(from));
        let patch = json!({ "permissions": [permission] });
        let path = "federated-credentials/joel:release";
        let answer = site.world.server.admin("PATCH", path, patch).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let history = browser.get(&format!("{RULE}/history")).await;
    shows(
        &history,
        &["~ /permissions: ", "bytes, too long for the record"],
    );

    let delete = format!("{RULE}/delete");
    let wrong = press(
        &mut browser,
        &delete,
        &[("name", "releases"), ("version", "5")],
    )
    .await;
    assert_eq!(wrong.status, 400);
    shows(&wrong, &["type its name: release."]);
    let gone = press(
        &mut browser,
        &delete,
        &[("name", "release"), ("version", "5")],
    )
    .await;
    leads_to(&gone, "/console/principals/joel");
    assert_eq!(site.stored("release").await["code"], "not_found");
}

#[tokio::test]
async fn warnings_are_to_be_read_before_a_rule_is_saved() {
    let site = site().await;
    let mut browser = site.browser("owners").await;
    let mut form = release();
    form.retain(|(name, _)| !name.starts_with("match.ref"));
    let unread = press(
        &mut browser,
        NEW,
        &[form.clone(), vec![("do", "save")]].concat(),
    )
    .await;
    assert_eq!(unread.status, 200);
    shows(
        &unread,
        &[
            "The rule has warnings",
            "<code>any_ref</code>",
            "name=\"accept_warnings\"",
        ],
    );
    assert_eq!(site.stored("release").await["code"], "not_found");
    let read = box_in(&unread.text());
    // Who has read these has not read others.
    let mut wider = form.clone();
    wider.retain(|(name, _)| *name != "permission.0.packages");
    wider.push(("permission.0.packages", "*"));
    let tick = [("do", "save"), ("accept_warnings", read.as_str())];
    let other = press(&mut browser, NEW, &[wider, tick.to_vec()].concat()).await;
    assert_eq!(other.status, 200);
    shows(&other, &["The rule has warnings"]);
    assert_eq!(site.stored("release").await["code"], "not_found");
    let saved = press(&mut browser, NEW, &[form, tick.to_vec()].concat()).await;
    leads_to(&saved, RULE);
}

/// What the box beside the warnings stands for.
fn box_in(page: &str) -> String {
    let rest = page.split("name=\"accept_warnings\" value=\"").nth(1);
    let value = rest.and_then(|rest| rest.split('"').next());
    value.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn an_operator_vouches_by_a_press_of_its_own() {
    let site = site().await;
    let mut owner = site.browser("owners").await;
    leads_to(&save(&mut owner, &release()).await, RULE);
    assert!(!owner.get(RULE).await.text().contains("value=\"vouch\""));
    let mut operator = site.browser("operators").await;
    shows(&operator.get(RULE).await, &["value=\"vouch\""]);
    let change = format!("{RULE}/change");
    leads_to(
        &press(&mut operator, &change, &[("do", "vouch"), ("version", "1")]).await,
        RULE,
    );
    assert_eq!(site.stored("release").await["vouched"], true);
    // A job that names nobody gets a token now.
    let good = site.world.exchange(&site.world.good()).await;
    assert_eq!(good.status, 200, "{}", good.text());

    // What an operator changes in the form is not vouched for by that.
    let mut form = [release(), vec![("do", "save"), ("accept_warnings", "on")]].concat();
    form.retain(|(name, _)| *name != "permission.0.packages");
    let version = site
        .world
        .server
        .admin("GET", "federated-credentials/joel:release", Value::Null)
        .await;
    let version = version.header("etag").unwrap().trim_matches('"').to_owned();
    let form = [
        form,
        vec![
            ("permission.0.packages", "widgets"),
            ("version", version.as_str()),
        ],
    ]
    .concat();
    leads_to(
        &press(&mut operator, &format!("{RULE}/edit"), &form).await,
        RULE,
    );
    assert_eq!(site.stored("release").await["vouched"], false);
    // Five minutes later an operator has to prove anew who they are.
    site.world.server.clock.advance(301);
    let page = operator.get(&format!("{RULE}/edit")).await;
    assert_eq!(page.status, 403);
    shows(&page, &["Confirm that it is you"]);
    let events = site
        .world
        .server
        .admin("GET", "audit-events?outcome=updated", Value::Null)
        .await
        .json();
    let events = events["items"].as_array().unwrap();
    let of_person = events.iter().filter(|event| event["person"].is_string());
    assert_eq!(of_person.count(), 2, "{events:#?}");
}

#[tokio::test]
async fn people_one_1__test_it_explain_and_token_give_one_verdict() {
    let site = site().await;
    let mut browser = site.browser("owners").await;
    leads_to(&save(&mut browser, &release()).await, RULE);
    let test = "/console/principals/joel/test";
    for (changed, reason) in [
        (vec![], None),
        (
            vec![("event_name", json!("pull_request_target"))],
            Some("event_denied"),
        ),
        (vec![("repository_owner_id", json!("66"))], None),
        (
            vec![("aud", json!("https://github.com/octo-org"))],
            Some("aud_mismatch"),
        ),
        (
            vec![
                ("environment", json!("x")),
                ("repository", json!("octo-org/other")),
            ],
            Some("repo_mismatch"),
        ),
    ] {
        let mut claims = site.world.claims();
        for (name, value) in &changed {
            claims = claims.with(name, value.clone());
        }
        let assertion = site.world.gh.sign(&claims);
        let fields = [
            ("pasted", assertion.as_str()),
            ("trusted_issuer", "github"),
            ("resource", R1),
            ("named", "on"),
        ];
        let page = press(&mut browser, test, &fields).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let asked = [
            ("grant_type", crate::support::JWT_BEARER),
            ("assertion", assertion.as_str()),
            ("principal", "joel"),
            ("resource", R1),
        ];
        let explained = site.world.server.form("/explain", &asked).await.json();
        let answer = site.world.server.form("/token", &asked).await;
        let is_allowed = answer.status == 200;
        assert_eq!(
            explained["verdict"] == "allow",
            is_allowed,
            "{explained} {}",
            answer.text()
        );
        let heading = if is_allowed {
            "It would get a token"
        } else {
            "It would be refused"
        };
        shows(&page, &[heading]);
        if let Some(reason) = reason {
            assert!(!is_allowed, "{changed:?}");
            shows(&page, &[&format!("<code>{reason}</code>")]);
        }
        // What was tried before was not used up by it.
        assert_eq!(
            is_allowed,
            changed.is_empty(),
            "{changed:?} {}",
            answer.text()
        );
        // The ids that a first use pins are in the rules of this process a moment later.
        site.world.server.app.refresh().await.unwrap();
    }
    // Claims, and what is neither. Nothing of it is on record.
    let events = async || {
        site.world.server.app.flush_audit().await;
        site.people.count("audit_event").await
    };
    let before = events().await;
    let claims = json!({ "sub": "x" }).to_string();
    let fields = [
        ("pasted", claims.as_str()),
        ("trusted_issuer", "github"),
        ("resource", R1),
    ];
    shows(
        &press(&mut browser, test, &fields).await,
        &["It would be refused"],
    );
    for (pasted, problem) in [
        ("", "Paste a token"),
        ("{\"a\":", "The claims are not JSON"),
        ("x", "assertion"),
    ] {
        let answer = press(
            &mut browser,
            test,
            &[
                ("pasted", pasted),
                ("trusted_issuer", "github"),
                ("resource", R1),
            ],
        )
        .await;
        shows(&answer, &[problem]);
    }
    assert_eq!(events().await, before);
}

#[tokio::test]
async fn pages_lead_to_the_sign_in_and_back_and_a_poll_does_not_use_the_session() {
    let site = site().await;
    let mut browser = site.people.browser();
    let answer = browser
        .get("/console/principals/joel/runs?outcome=issued")
        .await;
    let sign_in =
        "/console/sign-in?return_to=%2Fconsole%2Fprincipals%2Fjoel%2Fruns%3Foutcome%3Dissued";
    leads_to(&answer, sign_in);
    let mut browser = site.browser("owners").await;
    leads_to(&save(&mut browser, &release()).await, RULE);
    let used = async || {
        let all: Vec<i64> = site
            .world
            .server
            .db
            .column("SELECT last_used_at FROM session")
            .await;
        all
    };
    let before = used().await;
    site.world.server.clock.advance(120);
    assert_eq!(browser.get(&format!("{RULE}?poll=1")).await.status, 200);
    assert_eq!(used().await, before);
    assert_eq!(browser.get(RULE).await.status, 200);
    assert_ne!(used().await, before);
}

#[tokio::test]
async fn the_pages_are_off_by_a_switch_and_have_a_title_of_their_own() {
    let people = People::with(&[("CARNET_CONSOLE__ENABLED", "false")]).await;
    for path in ["/console", "/console/sign-in", "/console/assets/icon.svg"] {
        assert_eq!(people.browser().get(path).await.status, 404, "{path}");
    }
    let named = [
        ("CARNET_CONSOLE__TITLE", "Example <Packages>"),
        ("CARNET_CONSOLE__SUPPORT_URL", "https://help.example/"),
    ];
    let people = People::with(&named).await;
    let page = people.browser().get("/console/sign-in").await;
    shows(
        &page,
        &[
            "<title>Sign in – Example &#60;Packages&#62;</title>",
            "<a href=\"https://help.example/\">Help</a>",
        ],
    );
}

/// What a browser sends of the first form with this attribute, if nobody changes it.
fn unchanged(page: &str, attribute: &str) -> Vec<(String, String)> {
    let form = page
        .split("<form")
        .find(|form| form.split('>').next().unwrap().contains(attribute))
        .unwrap();
    let form = form.split("</form>").next().unwrap();
    let decoded = |text: &str| {
        let entities = [
            ("&#34;", "\""),
            ("&#39;", "'"),
            ("&#60;", "<"),
            ("&#62;", ">"),
            ("&#38;", "&"),
        ];
        entities
            .iter()
            .fold(text.to_owned(), |text, (entity, character)| {
                text.replace(entity, character)
            })
    };
    let value_of = |tag: &str, name: &str| {
        let rest = tag.split(&format!(" {name}=\"")).nth(1)?;
        Some(decoded(rest.split('"').next().unwrap()))
    };
    let mut fields = Vec::new();
    for tag in form.split('<').skip(1) {
        let (head, text) = tag.split_once('>').unwrap();
        let name = value_of(head, "name");
        match head.split_whitespace().next().unwrap() {
            "input" if head.contains("type=\"checkbox\"") => {
                let value = value_of(head, "value").unwrap_or_else(|| "on".to_owned());
                let ticked = head.contains(" checked").then_some((name.unwrap(), value));
                fields.extend(ticked);
            }
            "input" => fields.push((name.unwrap(), value_of(head, "value").unwrap_or_default())),
            "textarea" => fields.push((name.unwrap(), decoded(text))),
            "select" => fields.push((name.unwrap(), "\0".to_owned())),
            // The first option is chosen where none says so.
            "option" => {
                let (_, chosen) = fields.last_mut().unwrap();
                if head.contains(" selected") || chosen == "\0" {
                    *chosen = value_of(head, "value").unwrap();
                }
            }
            _ => {}
        }
    }
    fields
}

fn as_sent(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// Opens the form of the rule `release`, and saves it with these fields besides.
async fn save_unchanged(site: &Site, browser: &mut Browser<'_>) -> (Value, Value) {
    let before = site.stored("release").await;
    let edit = format!("{RULE}/edit");
    let page = browser.get(&edit).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let mut fields = unchanged(&page.text(), "data-rule");
    let csrf = fields
        .iter()
        .find(|(name, _)| name == "csrf")
        .unwrap()
        .clone();
    fields.retain(|(name, _)| name != "do");
    let mut asked = fields.clone();
    asked.push(("do".to_owned(), "check".to_owned()));
    let checked = browser.post(&edit, &as_sent(&asked)).await.text();
    assert!(checked.contains(&csrf.1), "{checked}");
    fields.push(("do".to_owned(), "save".to_owned()));
    fields.push(("accept_warnings".to_owned(), box_in(&checked)));
    leads_to(&browser.post(&edit, &as_sent(&fields)).await, RULE);
    (before, site.stored("release").await)
}

#[tokio::test]
async fn people_one_1__a_form_that_is_saved_unchanged_changes_nothing() {
    let site = site().await;
    let server = &site.world.server;
    for name in ["nightly", "helper"] {
        let mut rule = World::rule_document(json!({}));
        rule["match"]["environment"] = json!(name);
        server
            .put(&format!("federated-credentials/joel:{name}"), rule)
            .await;
    }
    // More than the form shows: an owner that joel does not act for, a registry that is disabled meanwhile, demands of
    // proofs, actors, times of the day, and conditions of every kind.
    let rule = json!({
        "principal": "joel", "trusted_issuer": "github", "vouched": true, "actors": ["joel:helper"],
        "expires_at": "2031-02-03T04:05:06Z", "review_at": "2030-01-02T03:04:05Z",
        "match": {
            "repository": "octo-org/octo-repo", "repository_id": "74", "workflow_file": "release.yml",
            "ref": { "any_of": ["refs/heads/main", "refs/tags/v1"] }, "environment": { "glob": "prod-*" },
            "events": ["push", "release"], "runner_environment": "github-hosted", "require_ref_protected": true,
            "claims": { "actor": "octo\"cat", "run_number": { "any_of": ["1", "2"] } },
        },
        "permissions": [
            { "resource_server": "pypi", "actions": ["publish"], "packages": ["a", "b-*"], "owner": "octo-org", "min_proof": "key" },
            { "resource_server": "crates", "actions": ["unlist", "create"], "packages": ["c"], "require_sender_constraint": true },
        ],
    });
    server.put("federated-credentials/joel:release", rule).await;
    let gone = server
        .admin(
            "PATCH",
            "resource-servers/crates",
            json!({ "enabled": false }),
        )
        .await;
    assert_eq!(gone.status, 200);
    let mut operator = site.browser("operators").await;
    let (before, after) = save_unchanged(&site, &mut operator).await;
    assert_eq!(before, after);

    // Nor does one without any of it, of each platform condition by itself.
    let conditions = [
        json!({ "ref": "refs/heads/main" }),
        json!({ "ref": { "glob": "refs/tags/v*" } }),
        json!({ "ref_type": "tag" }),
        json!({ "ref_template": "refs/tags/v{version}" }),
        json!({ "environment": { "any_of": ["a", "b"] } }),
        json!({ "subject": "repo:octo-org/octo-repo:ref:refs/heads/main" }),
        json!({ "called_workflow": { "path": "octo-org/shared/.github/workflows/x.yml", "ref": "refs/heads/main" } }),
        json!({ "match_names": false }),
        json!({ "workflow_binding": "called" }),
        json!({ "events": ["push"] }),
        json!({ "actor_id": { "any_of": ["1", "2"] } }),
        json!({ "repository_visibility": "private" }),
        json!({ "claims": { "head_ref": "x" } }),
    ];
    for condition in conditions {
        let mut rule = World::rule_document(condition.clone());
        rule["vouched"] = json!(true);
        let path = "federated-credentials/joel:release";
        let saved = server.admin("PUT", path, rule).await;
        assert!(
            [200, 201].contains(&saved.status),
            "{condition}: {}",
            saved.text()
        );
        let (before, after) = save_unchanged(&site, &mut operator).await;
        assert_eq!(before, after, "{condition}");
    }
}

#[tokio::test]
async fn what_is_done_by_a_press_is_on_record_and_a_rule_can_always_be_stopped() {
    let site = site().await;
    let server = &site.world.server;
    let mut owner = site.browser("owners").await;
    leads_to(&save(&mut owner, &release()).await, RULE);
    let mut operator = site.browser("operators").await;
    let change = format!("{RULE}/change");
    leads_to(
        &press(&mut operator, &change, &[("do", "vouch"), ("version", "1")]).await,
        RULE,
    );
    shows(
        &owner.get(&format!("{RULE}/history")).await,
        &["~ /vouched: false -&#62; true"],
    );

    // Rights are taken away whatever the page showed that was still open, and given as it was seen.
    let old = [("do", "unvouch"), ("version", "1")];
    leads_to(&press(&mut operator, &change, &old).await, RULE);
    assert_eq!(site.stored("release").await["vouched"], false);
    let old = [("do", "vouch"), ("version", "1")];
    assert_eq!(press(&mut operator, &change, &old).await.status, 409);
    let now = [("do", "vouch"), ("version", "3")];
    leads_to(&press(&mut operator, &change, &now).await, RULE);

    // The registry has lost the action meanwhile, so that the rule could not be saved as it is.
    let less = json!({ "actions": ["unlist"] });
    let answer = server.admin("PATCH", "resource-servers/pypi", less).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    leads_to(
        &press(&mut owner, &change, &[("do", "disable"), ("version", "1")]).await,
        RULE,
    );
    let stored = site.stored("release").await;
    assert_eq!(
        (&stored["enabled"], &stored["revision"]),
        (&json!(false), &json!(3))
    );
    let enabled = press(&mut owner, &change, &[("do", "enable"), ("version", "5")]).await;
    assert_eq!(enabled.status, 400, "{}", enabled.text());
}

#[tokio::test]
async fn who_owns_a_platform_says_whose_jobs_are_meant_and_owns_no_packages_of_others() {
    let site = site().await;
    let server = &site.world.server;
    let own = json!({ "owner": "joel" });
    assert_eq!(
        server
            .admin("PATCH", "trusted-issuers/github", own)
            .await
            .status,
        200
    );
    let mut owner = site.browser("owners").await;
    let form = [release(), vec![("do", "check")]].concat();
    shows(
        &press(&mut owner, NEW, &form).await,
        &["It counts for every job that it matches, also one that does not name joel"],
    );
    let foreign = [
        release(),
        vec![("permission.0.owner", "octo-org"), ("do", "save")],
    ]
    .concat();
    let refused = press(&mut owner, NEW, &foreign).await;
    assert_eq!(refused.status, 422);
    shows(
        &refused,
        &["must be the rule&#39;s principal or one of its acts_for"],
    );
    leads_to(&save(&mut owner, &release()).await, RULE);
    let mut operator = site.browser("operators").await;
    assert!(
        !operator.get(RULE).await.text().contains("ouch"),
        "nothing to vouch for"
    );

    // An administrator may still name an owner; who owns the platform takes that to no other rule.
    let mut rule = World::rule_document(json!({}));
    rule["permissions"][0]["owner"] = json!("octo-org");
    rule["vouched"] = json!(true);
    server
        .put("federated-credentials/joel:other", rule.clone())
        .await;
    let token = server
        .form(
            "/token",
            &[
                ("grant_type", crate::support::JWT_BEARER),
                ("assertion", &site.world.good()),
                ("principal", "joel"),
                ("resource", R1),
            ],
        )
        .await;
    let details = token.json()["authorization_details"].clone();
    assert!(details.to_string().contains("octo-org"), "{details}");
    let withdrawn = server
        .admin(
            "PATCH",
            "federated-credentials/joel:other",
            json!({ "vouched": false }),
        )
        .await;
    assert_eq!(withdrawn.status, 200, "{}", withdrawn.text());
    let token = server
        .form(
            "/token",
            &[
                ("grant_type", crate::support::JWT_BEARER),
                ("assertion", &site.world.good()),
                ("principal", "joel"),
                ("resource", R1),
            ],
        )
        .await;
    let details = token.json()["authorization_details"].clone();
    assert!(!details.to_string().contains("octo-org\""), "{details}");

    // To others the platform does not exist.
    site.people
        .put("principals/mallory", json!({ "kind": "user" }))
        .await;
    let theirs = json!({ "identity_provider": "corp", "match": { "groups": ["hers"] }, "role": "viewer", "principal": "mallory" });
    site.people.put("memberships/hers", theirs).await;
    let mut mallory = site.browser("hers").await;
    let claims = [
        ("pasted", "{\"sub\": \"x\"}"),
        ("trusted_issuer", "github"),
        ("resource", R1),
    ];
    let answer = press(&mut mallory, "/console/principals/mallory/test", &claims).await;
    assert_eq!(answer.status, 422);
    shows(&answer, &["must be the name of an existing trusted issuer"]);
}
