//! `carnet-exchange` has the exit codes of `carnet exchange`.

use std::process::Command;

#[test]
fn wrong_usage_is_2_and_a_server_that_nobody_reaches_is_3() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_carnet-exchange"))
            .env_clear()
            .args(arguments)
            .output()
            .unwrap()
    };
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&[]).status.code(), Some(2));
    let nobody = [
        "--server",
        "http://127.0.0.1:1",
        "--resource",
        "https://registry.test/",
    ];
    let contradiction = ["--source", "google", "--assertion-env", "X"];
    let output = run(&[&nobody[..], &contradiction].concat());
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let output = run(&nobody);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("carnet-exchange: http://127.0.0.1:1/")
            && said.ends_with(" (tried 3 times)\n"),
        "{said}"
    );
}

#[test]
fn a_resource_without_its_scheme_is_refused_with_the_uri_to_write() {
    for (resource, says) in [
        ("registry.test", "such as https://registry.test"),
        (
            "registry.test:8443/pypi",
            "such as https://registry.test:8443/pypi",
        ),
        ("localhost:8080", "such as https://localhost:8080"),
        ("", "such as https://registry.example/"),
        ("https://", "such as https://registry.example/"),
        ("https://registry.test/#x", "no fragment"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_carnet-exchange"))
            .env_clear()
            .args(["--server", "https://as.test", "--resource", resource])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{resource}: {said}");
        assert!(said.contains(says), "{resource}: {said}");
    }
}
