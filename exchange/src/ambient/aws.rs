//! AWS: the token in `AWS_WEB_IDENTITY_TOKEN_FILE` if it is for this server, otherwise one of the
//! account's own issuer from `aws sts get-web-identity-token`, which needs the permission
//! `sts:GetWebIdentityToken`.

use std::path::Path;

use secrecy::SecretString;

use super::{AmbientError, Assertion, Seeking, Sign, Source, file, tool};

const FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
/// Variables that AWS sets in its compute services.
const MARKS: [&str; 4] = [
    FILE,
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_EXECUTION_ENV",
];
const PROGRAM: &str = "aws";

pub(super) const LOOKED_FOR: &str = "AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI, AWS_EXECUTION_ENV";

pub(super) fn sign(seeking: &Seeking<'_>) -> Sign {
    if MARKS.iter().any(|mark| seeking.environment.has(mark)) {
        Sign::Here
    } else {
        Sign::Absent
    }
}

pub(super) async fn token(seeking: &Seeking<'_>) -> Result<SecretString, AmbientError> {
    let from = Source::Aws.name();
    if let Some(path) = seeking.environment.get(FILE) {
        let text = file::read(Path::new(path))?;
        // In a cluster the token is usually for STS itself, and `aws` uses it to assume the role.
        if Assertion::read(&text, &from).is_ok_and(|assertion| seeking.accepts(&assertion)) {
            return Ok(text);
        }
    }
    let arguments = [
        "sts",
        "get-web-identity-token",
        "--audience",
        seeking.audience,
        "--signing-algorithm",
        "RS256",
        "--duration-seconds",
        "300",
        "--query",
        "WebIdentityToken",
        "--output",
        "text",
    ];
    tool::run(PROGRAM, &arguments)
        .await
        .map_err(|error| error.of(Source::Aws, PROGRAM))
}
