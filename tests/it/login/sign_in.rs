//! Signing in as it is meant to be.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};

use serde_json::{Value, json};

use super::stand_in::StandIn;
use super::{Login, Machine};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_and_the_token_is_stored_for_its_owner_alone() {
    let (server, machine) = (StandIn::new().await, Machine::new());
    let login = machine.begin(&server, &[]).await;
    for (name, value) in [
        ("response_type", "code".to_owned()),
        ("client_id", "carnet-cli".to_owned()),
        ("scope", "openid profile".to_owned()),
        ("resource", format!("{}/admin", server.url)),
        ("code_challenge_method", "S256".to_owned()),
    ] {
        assert_eq!(login.parameter(name), value, "{name}");
    }
    // 256 bits each.
    let secrets = ["state", "nonce", "code_challenge"].map(|name| login.parameter(name));
    assert!(
        secrets.iter().all(|secret| secret.len() == 43),
        "{secrets:?}"
    );
    let redirect = login.parameter("redirect_uri");
    assert!(
        redirect.starts_with("http://127.0.0.1:") && redirect.ends_with("/callback"),
        "{redirect}"
    );

    let callback = login.callback().await;
    let answer = reqwest::get(callback).await.unwrap();
    assert_eq!(answer.status(), 200);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert!(header("content-security-policy").starts_with("default-src 'none';"));
    let page = answer.text().await.unwrap();
    assert!(
        page.contains("You can close this page.") && !page.contains("<script"),
        "{page}"
    );
    let done = login.finish().await;
    assert_eq!((done.code, done.stdout.as_str()), (0, ""), "{done:?}");
    for part in [
        "as Peter Publisher (peter, ps_01KB9Y5R3ZJ1V8QW6M2T4N7XCD)",
        "scope: openid profile admin:credentials:octo-org\n",
        "until: 20",
    ] {
        assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
    }
    assert!(!done.stderr.contains("canary"), "{}", done.stderr);

    let stored = machine.stored();
    let of_server = &stored[server.url.as_str()];
    let token = of_server["access_token"].as_str().unwrap();
    assert!(token.starts_with("canary.token-"), "{stored}");
    assert_eq!(
        of_server["person"],
        json!({ "id": "ps_01KB9Y5R3ZJ1V8QW6M2T4N7XCD", "name": "Peter Publisher", "username": "peter" })
    );
    let until = of_server["expires_at"].as_str().unwrap();
    assert!(done.stderr.contains(until), "{until}: {}", done.stderr);
    let folder = machine.file().parent().unwrap().to_owned();
    assert_eq!(machine.file().metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o700);

    // Nothing half written is left.
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["credentials.json", "credentials.lock"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_use_the_option_then_the_variable_then_the_sign_in() {
    let (server, machine) = (StandIn::new().await, Machine::new());
    let people = ["people", "list", "--server", &server.url];
    let nobody = machine.run(&people).await;
    assert!(
        nobody.code == 1
            && nobody
                .stderr
                .contains(&format!("sign in: carnet login --server {}", server.url)),
        "{nobody:?}"
    );
    assert!(server.tokens().is_empty());
    machine.sign_in(&server, &[]).await;
    let stored = machine.stored()[server.url.as_str()]["access_token"].clone();
    let both = [("CARNET_TOKEN", "of-the-variable")];
    assert_eq!(machine.run(&people).await.code, 0);
    assert_eq!(machine.run_with(&people, &both).await.code, 0);
    let option = [&people[..], &["--token", "of-the-option"]].concat();
    assert_eq!(machine.run_with(&option, &both).await.code, 0);
    // An empty variable is none, and a slash at the end makes no other server.
    let empty = [("CARNET_TOKEN", "")];
    let slash = format!("{}/", server.url);
    let slash = ["people", "list", "--server", &slash];
    assert_eq!(machine.run_with(&slash, &empty).await.code, 0);
    let stored = stored.as_str().unwrap();
    assert_eq!(
        server.tokens(),
        [stored, "of-the-variable", "of-the-option", stored]
    );
    // Nor does the token of one server go to another.
    let other = StandIn::new().await;
    let at_other = machine
        .run(&["people", "list", "--server", &other.url])
        .await;
    assert_eq!(at_other.code, 1, "{at_other:?}");
    assert!(other.tokens().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_of_a_registry_is_printed_alone_and_not_stored() {
    let (server, machine) = (StandIn::new().await, Machine::new());
    let registry = [
        "--resource",
        "https://registry.test/pypi/",
        "--principal",
        "octo-org",
    ];
    let login = machine.begin(&server, &registry).await;
    assert_eq!(login.parameter("resource"), "https://registry.test/pypi/");
    assert_eq!(login.parameter("principal"), "octo-org");
    assert!(!login.url.as_str().contains("scope=") && !login.url.as_str().contains("nonce="));
    login.visit(&login.callback().await).await;
    let done = login.finish().await;
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.starts_with("canary.token-") && done.stdout.lines().count() == 1);
    assert!(!machine.file().exists());

    let scope = [&registry[..], &["--scope", "publish openid", "--json"]].concat();
    let done = machine.sign_in(&server, &scope).await;
    let answer: Value = serde_json::from_str(&done.stdout).unwrap();
    assert!(answer["id_token"].is_string(), "{answer}");
    assert_eq!(server.seen("/authorize")[1]["scope"], "publish openid");
    assert!(!machine.file().exists());

    let relative = machine
        .run(&["login", "--server", &server.url, "--resource", "registry"])
        .await;
    assert_eq!(relative.code, 2, "{relative:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scope_is_asked_for_beside_the_identity() {
    let (server, machine) = (StandIn::new().await, Machine::new());
    let scope = ["--scope", "admin:read  profile", "--json"];
    let done = machine.sign_in(&server, &scope).await;
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(
        server.seen("/authorize")[0]["scope"],
        "openid profile admin:read"
    );
    let shown: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(shown["issuer"], server.url.as_str());
    assert_eq!(shown["person"]["username"], "peter");
    assert!(!done.stdout.contains("canary"), "{}", done.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sign_ins_at_two_servers_at_once_are_both_kept() {
    let servers = [StandIn::new().await, StandIn::new().await];
    let machine = Machine::new();
    let (one, two) = tokio::join!(
        machine.sign_in(&servers[0], &[]),
        machine.sign_in(&servers[1], &[])
    );
    assert_eq!((one.code, two.code), (0, 0), "{one:?} {two:?}");
    assert_eq!(machine.stored().as_object().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_is_opened_in_the_browser_of_the_desktop() {
    let (server, machine) = (StandIn::new().await, Machine::new());
    let programs = machine.home.path().join("programs");
    std::fs::create_dir(&programs).unwrap();
    let xdg_open = programs.join("xdg-open");
    std::fs::write(&xdg_open, "#!/bin/sh\nprintf '%s' \"$1\" > \"$HOME/opening\"\nmv \"$HOME/opening\" \"$HOME/opened\"\n").unwrap();
    std::fs::set_permissions(&xdg_open, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let begin = async |display: &str| {
        let mut command = machine.command(&["login", "--server", &server.url]);
        command
            .env("PATH", &path)
            .env("HOME", machine.home.path())
            .env("DISPLAY", display)
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("BROWSER");
        Login::of(&mut command).await
    };
    let opened = machine.home.path().join("opened");
    let login = begin(":0").await;
    while !opened.exists() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(
        std::fs::read_to_string(&opened).unwrap(),
        login.url.as_str()
    );
    std::fs::remove_file(&opened).unwrap();
    // Without a desktop there is only the URL, and a program that is missing is no error.
    let login = begin("").await;
    login.visit(&login.callback().await).await;
    assert_eq!(login.finish().await.code, 0);
    assert!(!opened.exists());
    std::fs::remove_file(&xdg_open).unwrap();
    let login = begin(":0").await;
    login.visit(&login.callback().await).await;
    assert_eq!(login.finish().await.code, 0);
}
