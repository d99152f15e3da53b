//! Configuration files and variables as `check`, `serve` and `config show` read them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Finished, TestDb, carnet, finished, first_start};

fn run(folder: &Path, settings: &[(&str, &str)], arguments: &[&str]) -> Finished {
    let mut command = carnet();
    command
        .current_dir(folder)
        .args(arguments)
        .envs(settings.iter().copied());
    finished(command.output().unwrap())
}

/// Two folders: the one of the configuration file and another one to work in.
fn folders(db: &TestDb, config: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    let (etc, home) = (db.folder().join("etc"), db.folder().join("home"));
    for folder in [&etc, &home] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(etc.join("carnet.toml"), config).unwrap();
    (etc, home)
}

const CONFIG: [(&str, &str); 1] = [("CARNET_CONFIG", "../etc/carnet.toml")];

#[tokio::test]
async fn new_a5__a_log_level_that_is_none_is_an_error_of_check_and_serve_and_is_named() {
    let db = TestDb::new().await;
    for wrong in ["verbose", "infos,debug", "carnet=noisy", "carnet", ""] {
        for command in ["check", "serve"] {
            let ended = run(db.folder(), &[("CARNET_LOG__LEVEL", wrong)], &[command]);
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert_eq!(ended.code, 1, "{command} {wrong}: {ended:?}");
            assert!(
                said.contains("log.level") && said.contains("CARNET_LOG__LEVEL"),
                "{command} {wrong}: {said}"
            );
            let part = wrong.split(',').next().unwrap();
            assert!(said.contains(&format!("\"{part}\"")), "{wrong}: {said}");
        }
    }
    for right in ["error", "WARN", "carnet=debug,info", "carnet::http=trace"] {
        let ended = run(db.folder(), &[("CARNET_LOG__LEVEL", right)], &["check"]);
        assert_eq!(ended.code, 0, "{right}: {ended:?}");
    }
}

#[tokio::test]
async fn relative_paths_in_the_file_are_relative_to_its_folder() {
    let db = TestDb::new().await;
    let (etc, home) = folders(
        &db,
        "data_dir = \"./data\"\nprofiles_dir = \"profiles\"\nkey_files_dir = \"../keys\"\n\
         [keys]\nencryption_key_file = \"secret.key\"\n[database]\nurl = \"sqlite://rules.db?mode=rwc\"\n",
    );
    std::fs::create_dir(etc.join("profiles")).unwrap();
    std::fs::write(etc.join("secret.key"), "ab".repeat(32)).unwrap();
    let shown = run(&home, &CONFIG, &["config", "show", "--json"]);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    // The file is given relative to the working directory, and so are the paths as they are shown.
    let at = |key: &str| {
        let path = shown[key]["value"].as_str().unwrap().to_owned();
        std::fs::canonicalize(Path::new(&path).parent().unwrap())
            .unwrap()
            .join(Path::new(&path).file_name().unwrap())
    };
    let etc = std::fs::canonicalize(&etc).unwrap();
    for (key, expected) in [
        ("data_dir", etc.join("data")),
        ("profiles_dir", etc.join("profiles")),
        ("key_files_dir", etc.parent().unwrap().join("keys")),
        ("keys.encryption_key_file", etc.join("secret.key")),
        ("database.url", etc.join("rules.db")),
    ] {
        assert_eq!(at(key), expected, "{key}");
    }
    // Variables stay relative to the working directory.
    let variable = [CONFIG[0], ("CARNET_DATA_DIR", "here")];
    let shown = run(&home, &variable, &["config", "show", "--json"]);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(
        shown["data_dir"],
        json!({ "value": "here", "source": { "kind": "variable", "name": "CARNET_DATA_DIR" } })
    );
}

#[tokio::test]
async fn a_command_finds_the_database_of_the_file_from_any_folder() {
    let db = TestDb::new().await;
    let (etc, home) = folders(&db, "data_dir = \"data\"\n");
    first_start(
        &etc,
        &[("CARNET_DATA_DIR", etc.join("data").to_str().unwrap())],
    );
    for folder in [&home, &etc, &db.folder().to_owned()] {
        let file = etc.join("carnet.toml");
        let arguments = ["export", "--config", file.to_str().unwrap()];
        let exported = run(folder, &[], &arguments);
        assert!(
            exported.code == 0 && exported.stderr.is_empty(),
            "{exported:?}"
        );
    }
}

#[tokio::test]
async fn a_database_at_the_place_of_earlier_releases_is_used_and_warned_of() {
    let db = TestDb::new().await;
    let (etc, home) = folders(&db, "data_dir = \"data\"\n");
    let before = home.join("data");
    first_start(&home, &[("CARNET_DATA_DIR", before.to_str().unwrap())]);
    let exported = run(&home, &CONFIG, &["export"]);
    assert_eq!(exported.code, 0, "{exported:?}");
    for part in ["data_dir", before.to_str().unwrap(), "absolute path"] {
        assert!(exported.stderr.contains(part), "{part}: {exported:?}");
    }
    let checked = run(&home, &CONFIG, &["check"]);
    assert!(
        checked.code == 0 && checked.stdout.contains("warning: data_dir"),
        "{checked:?}"
    );
    // Moved as the message says.
    std::fs::rename(&before, etc.join("data")).unwrap();
    let moved = run(&home, &CONFIG, &["export"]);
    assert!(moved.code == 0 && moved.stderr.is_empty(), "{moved:?}");
}

#[tokio::test]
async fn messages_name_the_wrong_entry_and_the_variable_or_file_that_holds_it() {
    let db = TestDb::new().await;
    std::fs::write(
        db.folder().join("bad.toml"),
        "[server]\nlisten = \"0.0.0.0\"\n[log]\nformat = \"xml\"\n[tokens]\nlifetime_seconds = \"long\"\n",
    )
    .unwrap();
    let settings = [
        ("CARNET_CONFIG", "bad.toml"),
        (
            "CARNET_SERVER__TRUSTED_PROXIES",
            "[\"10.0.0.0/8\", \"10.0.0.300\", \"192.0.2.1\"]",
        ),
        ("CARNET_INSECURE__ALLOW_HTTP_LOOPBACK", "maybe"),
        ("CARNET_FOO", "1"),
    ];
    let checked = run(db.folder(), &settings, &["check"]);
    assert_eq!(checked.code, 1);
    let line = |key: &str| {
        checked
            .stdout
            .lines()
            .find(|line| line.starts_with(&format!("{key}:")))
            .unwrap_or_else(|| panic!("{key}: {checked:?}"))
    };
    for (key, parts) in [
        (
            "server.trusted_proxies",
            &[
                "\"10.0.0.300\" is neither",
                "10.0.0.0/8",
                "CARNET_SERVER__TRUSTED_PROXIES",
            ][..],
        ),
        (
            "server.listen",
            &["must be address:port", "`0.0.0.0`", "bad.toml"],
        ),
        ("log.format", &["must be text or json", "bad.toml"]),
        (
            "tokens.lifetime_seconds",
            &["must be a whole number from 60 to 3600"],
        ),
        (
            "insecure.allow_http_loopback",
            &["must be true or false", "CARNET_INSECURE__"],
        ),
        (
            "foo",
            &["not a configuration key", "environment variable CARNET_FOO"],
        ),
    ] {
        for part in parts {
            assert!(line(key).contains(part), "{key}: {part}: {checked:?}");
        }
    }
    assert_eq!(checked.stdout.lines().count(), 6, "{checked:?}");
}

#[tokio::test]
async fn check_warns_of_an_encryption_key_that_others_can_read() {
    let db = TestDb::new().await;
    let settings = [
        ("CARNET_DATABASE__URL", db.url()),
        ("CARNET_DATA_DIR", db.folder().to_str().unwrap()),
    ];
    first_start(db.folder(), &settings);
    let key = db.folder().join("encryption.key");
    let checked = run(db.folder(), &settings, &["check"]);
    assert!(
        checked.code == 0 && !checked.stdout.contains("warning"),
        "{checked:?}"
    );
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let checked = run(db.folder(), &settings, &["check", "--json"]);
    let checked: Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!(checked["ok"], true, "{checked}");
    let warning = checked["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("encryption.key") && warning.contains("chmod 600"),
        "{warning}"
    );
}

#[tokio::test]
async fn check_speaks_of_key_files_where_a_trusted_issuer_names_one() {
    let db = TestDb::new().await;
    let settings = [
        ("CARNET_DATABASE__URL", db.url()),
        ("CARNET_DATA_DIR", db.folder().to_str().unwrap()),
    ];
    first_start(db.folder(), &settings);
    let said = |more: &[(&'static str, &'static str)]| {
        let settings: Vec<(&str, &str)> = settings.iter().chain(more).copied().collect();
        run(db.folder(), &settings, &["check"]).stdout
    };
    assert!(!said(&[]).contains("key_files_dir"));
    std::fs::write(
        db.folder().join("objects.json"),
        json!({ "trusted_issuers": { "cluster": {
            "profile": "kubernetes", "issuer": "https://k.test", "keys": { "source": "file", "path": "/keys/k.json" },
        } } })
        .to_string(),
    )
    .unwrap();
    let applied = run(
        db.folder(),
        &settings,
        &["apply", "--offline", "-f", "objects.json"],
    );
    assert_eq!(applied.code, 0, "{applied:?}");
    let warned = said(&[]);
    assert!(
        warned.contains("trusted issuer cluster") && warned.contains("key_files_dir"),
        "{warned}"
    );
    assert!(!said(&[("CARNET_KEY_FILES_DIR", "/keys")]).contains("key_files_dir"));
}

#[tokio::test]
async fn config_show_names_the_source_of_each_value_and_prints_no_secret() {
    let db = TestDb::new().await;
    let (_, home) = folders(
        &db,
        "issuer = \"https://as.test\"\n[log]\nlevel = \"warn\"\n",
    );
    let key = "ab".repeat(32);
    let settings = [
        CONFIG[0],
        ("CARNET_KEYS__ENCRYPTION_KEY", key.as_str()),
        (
            "CARNET_DATABASE__URL",
            "postgres://carnet:hunter2@db.test/c",
        ),
        ("CARNET_LOG__LEVEL", "debug"),
    ];
    let shown = run(&home, &settings, &["config", "show"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(
        !shown.stdout.contains("hunter2") && !shown.stdout.contains(&key),
        "{shown:?}"
    );
    let row = |key: &str| {
        let line = shown
            .stdout
            .lines()
            .find(|line| line.split_whitespace().next() == Some(key));
        line.unwrap_or_else(|| panic!("{key}: {shown:?}"))
    };
    for (key, value, source) in [
        ("issuer", "https://as.test", "../etc/carnet.toml"),
        (
            "log.level",
            "debug",
            "environment variable CARNET_LOG__LEVEL",
        ),
        (
            "database.url",
            "postgres://db.test/c",
            "environment variable CARNET_DATABASE__URL",
        ),
        (
            "keys.encryption_key",
            "(set)",
            "environment variable CARNET_KEYS__ENCRYPTION_KEY",
        ),
        ("server.metrics_listen", "-", "default"),
        ("audit.retention_days", "400", "default"),
    ] {
        let row = row(key);
        assert!(
            row.contains(&format!(" {value} ")) && row.ends_with(source),
            "{row}"
        );
    }
    let wrong = run(&home, &[("CARNET_SURPRISE", "1")], &["config", "show"]);
    assert!(
        wrong.code == 1 && wrong.stderr.contains("CARNET_SURPRISE"),
        "{wrong:?}"
    );
}
