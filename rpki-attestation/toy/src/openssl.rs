//! The command `openssl`.

use std::path::Path;
use std::process::Command;

pub(crate) const DAY: i64 = 24 * 3600;

/// Runs `openssl` in a directory and gives what it printed.
pub(crate) fn run(dir: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(dir)
        .output()
        .expect("openssl must be installed");
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// A new RSA key of 2048 bits, which is all that the RPKI knows (RFC 7935).
pub(crate) fn new_key(dir: &Path, file: &str) {
    run(
        dir,
        &[
            "genpkey",
            "-quiet",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-out",
            file,
        ],
    );
}

/// A time in seconds since 1970 as `YYYYMMDDHHMMSSZ`.
pub(crate) fn generalized(seconds: i64) -> String {
    let output = Command::new("date")
        .args(["--utc", "--date", &format!("@{seconds}"), "+%Y%m%d%H%M%SZ"])
        .output()
        .expect("date must be installed");
    String::from_utf8(output.stdout)
        .expect("a date is text")
        .trim()
        .to_owned()
}

#[expect(
    clippy::disallowed_methods,
    reason = "openssl signs by the clock of the machine as well"
)]
pub(crate) fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map(|since| i64::try_from(since.as_secs()).expect("a time fits"))
        .expect("the clock is after 1970")
}
