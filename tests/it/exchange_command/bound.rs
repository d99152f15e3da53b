//! `--dpop-key` and `carnet dpop-proof`: a token that is bound to the job's own key.

use std::os::unix::fs::PermissionsExt as _;

use carnet_dpop::{Expected, ProofKey, RequestUri};
use serde_json::Value;

use super::{Ground, access_token, bare, fails_with, now};
use crate::support::{Finished, finished};

const UPLOAD: &str = "https://registry.test/pypi/widgets/1.0.0";

fn explained(run: &Finished) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_bound_to_the_key_in_the_file_which_is_made_if_absent() {
    let ground = Ground::new().await;
    let path = ground.folder().join("job.jwk");
    let file = path.to_str().unwrap();
    let claims = access_token(&ground.exchange_file(&ground.token(), &["--dpop-key", file]));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = ProofKey::from_jwk(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(claims["cnf"]["jkt"], key.thumbprint());
    assert_eq!(claims["workload"]["proof"], "bearer");
    // The next token is bound to the same key, in the other grant as well.
    let more = ["--dpop-key", file, "--grant", "token-exchange", "--json"];
    let run = ground.exchange_file(&ground.token(), &more);
    let answer = explained(&run);
    assert_eq!(answer["token_type"], "DPoP", "{run:?}");
    // An empty value counts as left out.
    let plain = access_token(&ground.exchange_file(&ground.token(), &["--dpop-key", ""]));
    assert!(plain.get("cnf").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_others_can_read_or_that_are_none_are_wrong_usage() {
    let ground = Ground::new().await;
    let path = ground.write("job.jwk", "not a key");
    let file = path.to_str().unwrap();
    let with_mode = |mode: u32| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        ground.exchange_file(&ground.token(), &["--dpop-key", file])
    };
    fails_with(2, &with_mode(0o640), &["chmod 600", file]);
    fails_with(2, &with_mode(0o600), &["holds no private key", file]);
    let nowhere = ground.folder().join("no/such/job.jwk");
    let run = ground.exchange_file(&ground.token(), &["--dpop-key", nowhere.to_str().unwrap()]);
    fails_with(2, &run, &["the key cannot be made"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explanation_declares_the_key() {
    let ground = Ground::new().await;
    let path = ground.folder().join("job.jwk");
    let strict = r#"{"resource_servers":{"pypi":{"resource":"https://registry.test/pypi/","actions":["create","publish"],"require_sender_constraint":true}}}"#;
    ground.write("strict.json", strict);
    let applied = ground.locally(&["apply", "-f", "strict.json"], &[]);
    assert_eq!(applied.code, 0, "{applied:?}");
    // The server follows within a second.
    let refused = |arguments: &[&str]| {
        let run = ground.exchange_file(&ground.token(), arguments);
        (run.code, run)
    };
    for _ in 0..100 {
        if refused(&[]).0 == 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let (code, run) = refused(&[]);
    assert_eq!(code, 1, "{run:?}");
    assert!(run.stderr.contains("sender_constraint_required") && run.stderr.contains("--dpop-key"));
    let file = path.to_str().unwrap();
    let run = ground.exchange_file(
        &ground.token(),
        &["--explain", "--json", "--dpop-key", file],
    );
    assert_eq!(explained(&run)["verdict"], "allow", "{run:?}");
    access_token(&ground.exchange_file(&ground.token(), &["--dpop-key", file]));
    let assertion = ground.write("assertion.jwt", &ground.token());
    for (proof, verdict) in [
        ("none", "deny"),
        (&*format!("jkt:{}", "A".repeat(43)), "allow"),
    ] {
        let run = ground.locally(
            &[
                "explain",
                "--json",
                "--assertion-file",
                assertion.to_str().unwrap(),
                "--proof",
                proof,
            ],
            &[],
        );
        assert_eq!(explained(&run)["verdict"], verdict, "{run:?}");
    }
}

#[test]
fn dpop_proof_prints_a_proof_for_one_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.jwk");
    let key = ["dpop-proof", "--key", path.to_str().unwrap()];
    let prove = |more: &[&str], input: &str| {
        let given = folder.path().join("input");
        std::fs::write(&given, input).unwrap();
        let mut command = bare(&[]);
        command.args([&key, more].concat());
        command.stdin(std::fs::File::open(given).unwrap());
        finished(command.output().unwrap())
    };
    let uris = [RequestUri::parse(UPLOAD).unwrap()];
    let verified = |text: &str, token: Option<&str>| {
        let expected = Expected {
            method: "PUT",
            uris: &uris,
            token,
            nonces: None,
            now: now(),
        };
        expected.verify(text.trim_end()).unwrap()
    };
    let run = prove(&["PUT", UPLOAD], "");
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    let key_of = verified(&run.stdout, None).thumbprint().to_owned();
    let run = prove(&["--token", "abc", "--json", "PUT", UPLOAD], "");
    let answer: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(answer["jkt"], key_of);
    verified(answer["proof"].as_str().unwrap(), Some("abc"));
    let run = prove(&["--token", "-", "PUT", UPLOAD], "abc\n");
    verified(&run.stdout, Some("abc"));
    for wrong in [
        &["put", UPLOAD] as &[&str],
        &["PUT", "widgets"],
        &["PUT", "ftp://registry.test/"],
        &["--token", "-", "PUT", UPLOAD],
    ] {
        let run = prove(wrong, "");
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{run:?}");
    }
}
