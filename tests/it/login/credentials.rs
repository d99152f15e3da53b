//! The credentials file.

use std::os::unix::fs::{PermissionsExt, chown};

use super::Machine;
use super::stand_in::StandIn;

/// Commands that read the file, in all of which it has to be refused.
fn readers(server: &StandIn) -> [Vec<&str>; 5] {
    let url = server.url.as_str();
    [
        vec!["login", "--no-browser", "--server", url],
        vec!["whoami"],
        vec!["logout"],
        vec!["people", "list", "--server", url],
        vec!["export", "--server", url],
    ]
}

async fn refused(machine: &Machine, server: &StandIn, parts: &[&str]) {
    for arguments in readers(server) {
        let done = machine.run(&arguments).await;
        assert_eq!(done.code, 1, "{arguments:?} {done:?}");
        for part in parts {
            assert!(done.stderr.contains(part), "{part}: {done:?}");
        }
        assert!(!done.stderr.contains("canary"), "{done:?}");
    }
    assert!(server.tokens().is_empty());
    // Whoever gives a token needs no file.
    let given = [
        "people",
        "list",
        "--server",
        &server.url,
        "--token",
        "given",
    ];
    assert_eq!(machine.run(&given).await.code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_others_may_use_is_refused_with_what_mends_it() {
    for mode in [0o640, 0o604, 0o620] {
        let (server, machine) = (StandIn::new().await, Machine::new());
        machine.sign_in(&server, &[]).await;
        machine.mode(mode);
        let mend = format!("chmod 600 {}", machine.file().display());
        refused(&machine, &server, &["others than its owner", &mend]).await;
        // It does mend it.
        machine.mode(0o600);
        assert_eq!(machine.run(&["whoami"]).await.code, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_others_may_write_to_is_refused_and_made_private_by_a_sign_in() {
    let (server, machine) = (StandIn::new().await, Machine::new());
    machine.sign_in(&server, &[]).await;
    let folder = machine.file().parent().unwrap().to_owned();
    let mode = |mode| std::fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).unwrap();
    mode(0o770);
    let mend = format!("chmod 700 {}", folder.display());
    refused(&machine, &server, &["may write to the folder", &mend]).await;
    // Others may read the folder, as long as there is no token in it.
    std::fs::remove_file(machine.file()).unwrap();
    mode(0o755);
    assert_eq!(machine.sign_in(&server, &[]).await.code, 0);
    assert_eq!(
        folder.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_another_user_is_refused() {
    let (server, machine) = (StandIn::new().await, Machine::new());
    machine.sign_in(&server, &[]).await;
    if chown(machine.file(), Some(12345), None).is_err() {
        assert!(crate::support::may_skip("the right to change owners"));
        return;
    }
    refused(&machine, &server, &["belongs to another user (uid 12345"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_another_program_is_refused_and_not_quoted() {
    for text in ["", "canary", r#"{"https://as.test": "canary"}"#, "[]"] {
        let (server, machine) = (StandIn::new().await, Machine::new());
        machine.sign_in(&server, &[]).await;
        std::fs::write(machine.file(), text).unwrap();
        refused(&machine, &server, &["remove it and sign in again"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_home_there_are_no_sign_ins() {
    let (server, machine) = (StandIn::new().await, Machine::new());
    let homeless = [("HOME", ""), ("XDG_CONFIG_HOME", "")];
    let nobody = machine.run_with(&["whoami"], &homeless).await;
    assert!(
        nobody.code == 1 && nobody.stderr.contains("nobody is signed in"),
        "{nobody:?}"
    );
    let mut command = machine.command(&["login", "--no-browser", "--server", &server.url]);
    let login = super::Login::of(command.envs(homeless)).await;
    login.visit(&login.callback().await).await;
    let done = login.finish().await;
    assert!(
        done.code == 1 && done.stderr.contains("XDG_CONFIG_HOME"),
        "{done:?}"
    );
}
