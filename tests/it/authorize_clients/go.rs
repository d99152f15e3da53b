//! Go's `golang.org/x/oauth2` and `github.com/coreos/go-oidc`, by the program in `tests/clients/go-oidc`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go 1.26, which downloads the two modules"]
async fn go_oidc_discovers_us_and_verifies_what_it_gets() {
    let site = Site::new().await;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/go-oidc");
    let program = site.deployed.world.server.db.folder().join("go-oidc");
    let built = Command::new("go")
        .args(["build", "-mod=readonly", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(source)
        .status();
    assert!(built.unwrap().success());
    let (browser, _serving) = site.at_a_browser().await;
    let mut child = Command::new(program)
        .env("SSL_CERT_FILE", site.deployed.authority_file())
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    write!(stdin, "{}", site.input(&browser)).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    for client in ["shop", "tool"] {
        let shown = &seen[client];
        site.knows_ada(&shown["claims"], &shown["userinfo"]).await;
        let said = shown["otherAudience"].as_str().unwrap();
        assert!(said.contains("expected audience"), "{said}");
        assert_eq!(shown["again"], "invalid_grant");
    }
}
