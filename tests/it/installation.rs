//! Which commands create and migrate a database: `carnet serve` and `quickstart`, and no other.

use std::path::Path;

use crate::support::{
    Finished, ServerProcess, TestDb, carnet, carnet_in, finished, first_start, free_address,
};

/// Commands that work on the database, as a user runs them before the server ever ran.
const ON_THE_DATABASE: [&[&str]; 10] = [
    &["admin-token"],
    &["apply", "-f", "objects.toml"],
    &["apply", "-f", "objects.toml", "--dry-run"],
    &["export"],
    &["keys", "list"],
    &["keys", "rotate"],
    &["keys", "withdraw", "x"],
    &["keys", "reseal"],
    &["explain", "--assertion-file", "token.jwt"],
    &["check"],
];

fn write_inputs(folder: &Path) {
    std::fs::write(
        folder.join("objects.toml"),
        "[principals.joel]\nkind = \"user\"\n",
    )
    .unwrap();
    // In the form of a JWT, without claims.
    std::fs::write(folder.join("token.jwt"), "eyJhbGciOiJSUzI1NiJ9.e30.c2ln").unwrap();
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn run(folder: &Path, settings: &[(&str, &str)], arguments: &[&str]) -> Finished {
    let mut command = carnet();
    command
        .current_dir(folder)
        .args(arguments)
        .envs(settings.iter().copied());
    finished(command.output().unwrap())
}

#[tokio::test]
async fn no_command_but_serve_creates_a_database_and_each_says_where_it_looked() {
    let db = TestDb::new().await;
    let folder = db.folder();
    write_inputs(folder);
    std::fs::write(
        folder.join("carnet.toml"),
        "issuer = \"https://as.test\"\ndata_dir = \"data\"\n",
    )
    .unwrap();
    std::fs::write(folder.join("short.toml"), "issuer = \"https://as.test\"\n").unwrap();
    let before = entries(folder);
    for arguments in ON_THE_DATABASE {
        let by_default = carnet_in(folder, arguments);
        let named = run(folder, &[("CARNET_CONFIG", "carnet.toml")], arguments);
        let by_variable = run(folder, &[("CARNET_DATA_DIR", "/nowhere")], arguments);
        let unnamed = run(folder, &[("CARNET_CONFIG", "short.toml")], arguments);
        assert_eq!(entries(folder), before, "{arguments:?}");
        let is_check = arguments == ["check"];
        for (ended, parts) in [
            (
                by_default,
                ["carnet-data/carnet.db", "working directory"].as_slice(),
            ),
            (
                named,
                &["data/carnet.db", "named by data_dir", "carnet.toml"],
            ),
            (
                unnamed,
                &[
                    "carnet-data/carnet.db",
                    "short.toml sets neither data_dir nor database.url",
                ],
            ),
            (
                by_variable,
                &[
                    "/nowhere/carnet.db",
                    "data_dir, environment variable CARNET_DATA_DIR",
                ],
            ),
        ] {
            let said = if is_check {
                &ended.stdout
            } else {
                &ended.stderr
            };
            assert_eq!(ended.code, i32::from(!is_check), "{arguments:?}: {ended:?}");
            for part in parts.iter().chain(&["carnet serve"]) {
                assert!(said.contains(part), "{arguments:?}: {part}: {ended:?}");
            }
            assert!(
                is_check || said.contains("--config"),
                "{arguments:?}: {ended:?}"
            );
        }
    }
}

#[tokio::test]
async fn after_one_start_of_the_server_every_command_finds_the_database() {
    let db = TestDb::new().await;
    let folder = db.folder();
    write_inputs(folder);
    let address = free_address();
    let settings = [
        ("CARNET_DATABASE__URL", db.url()),
        ("CARNET_DATA_DIR", folder.to_str().unwrap()),
        ("CARNET_SERVER__LISTEN", address.as_str()),
    ];
    // An empty file, or a PostgreSQL database without tables, is no database either.
    let empty = run(folder, &settings, &["export"]);
    assert!(
        empty.code == 1 && empty.stderr.contains("there is no database yet"),
        "{empty:?}"
    );
    assert!(
        empty.stderr.contains("database.url, environment variable"),
        "{empty:?}"
    );
    let server = ServerProcess::start_at(folder, &address, &settings).await;
    assert_eq!(server.terminate(), 0);
    for arguments in ON_THE_DATABASE {
        let ended = run(folder, &settings, arguments);
        let is_unmet = arguments.contains(&"x") || arguments[0] == "explain";
        assert!(
            is_unmet || ended.code == 0 || arguments.contains(&"--dry-run"),
            "{arguments:?}: {ended:?}"
        );
        assert!(
            !ended.stderr.contains("no database"),
            "{arguments:?}: {ended:?}"
        );
    }
}

#[tokio::test]
async fn no_command_but_serve_migrates_a_database_of_an_older_release() {
    let db = TestDb::new().await;
    let folder = db.folder();
    write_inputs(folder);
    let settings = [
        ("CARNET_DATABASE__URL", db.url()),
        ("CARNET_DATA_DIR", folder.to_str().unwrap()),
    ];
    first_start(folder, &settings);
    let migrations = "SELECT version FROM seaql_migrations ORDER BY version";
    // What a release before the last migration left.
    let all = db.column::<String>(migrations).await;
    db.execute(
        "DELETE FROM seaql_migrations WHERE version = (SELECT max(version) FROM seaql_migrations)",
    )
    .await;
    let before = db.column::<String>(migrations).await;
    assert_eq!(before, all[..all.len() - 1], "{before:?}");
    for arguments in ON_THE_DATABASE {
        let ended = run(folder, &settings, arguments);
        if arguments == ["check"] {
            assert!(
                ended.code == 0 && ended.stdout.contains("`carnet serve` will migrate it"),
                "{ended:?}"
            );
        } else {
            assert!(
                ended.code == 1
                    && ended.stderr.contains("of an older release")
                    && ended.stderr.contains("--server"),
                "{arguments:?}: {ended:?}"
            );
        }
        assert_eq!(
            db.column::<String>(migrations).await,
            before,
            "{arguments:?}"
        );
    }
}

#[tokio::test]
async fn a_lost_encryption_key_is_not_replaced_by_a_new_one() {
    let db = TestDb::new().await;
    let folder = db.folder();
    let settings = [
        ("CARNET_DATABASE__URL", db.url()),
        ("CARNET_DATA_DIR", folder.to_str().unwrap()),
    ];
    first_start(folder, &settings);
    let key = folder.join("encryption.key");
    std::fs::remove_file(&key).unwrap();
    for arguments in [&["check"][..], &["keys", "list"], &["admin-token"]] {
        let ended = run(folder, &settings, arguments);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(
            ended.code == 1 && said.contains("encryption.key"),
            "{ended:?}"
        );
        assert!(!key.exists(), "{arguments:?}");
    }
}

#[tokio::test]
async fn the_log_of_a_start_says_what_runs_where_and_nothing_of_libraries() {
    let db = TestDb::new().await;
    let metrics = free_address();
    let settings = [
        ("CARNET_DATABASE__URL", db.url()),
        ("CARNET_SERVER__METRICS_LISTEN", metrics.as_str()),
    ];
    for start in ["first", "second"] {
        let server = ServerProcess::start(db.folder(), &settings).await;
        let listen = server.url.trim_start_matches("http://").to_owned();
        assert_eq!(server.terminate(), 0);
        let log = std::fs::read_to_string(db.folder().join("server.log")).unwrap();
        std::fs::remove_file(db.folder().join("server.log")).unwrap();
        let ready = log.lines().find(|line| line.contains("ready")).unwrap();
        for part in [
            env!("CARGO_PKG_VERSION"),
            &listen,
            &metrics,
            "database=",
            "rules=0",
        ] {
            assert!(ready.contains(part), "{start}: {part}: {ready}");
        }
        for foreign in ["seaql_migrations", "sea_orm", "sqlx"] {
            assert!(!log.contains(foreign), "{start}: {foreign}: {log}");
        }
        assert_eq!(log.contains("a new database"), start == "first", "{log}");
    }
}
