//! CircleCI: the program `circleci` requests a token for any audience. The token in the variables
//! has the organization as its audience.

use secrecy::SecretString;
use serde_json::json;

use super::{AmbientError, Seeking, Sign, Source, tool};

pub(super) const LOOKED_FOR: &str =
    "CIRCLECI=true, and the program circleci or CIRCLE_OIDC_TOKEN_V2";

pub(super) const ADVICE: &str =
    "Only the program `circleci` makes tokens for other audiences, and it is not on the PATH.";

const PROGRAM: &str = "circleci";

pub(super) fn sign(seeking: &Seeking<'_>) -> Sign {
    if seeking.environment.is_true("CIRCLECI") {
        Sign::Here
    } else {
        Sign::Absent
    }
}

pub(super) async fn token(seeking: &Seeking<'_>) -> Result<SecretString, AmbientError> {
    let claims = json!({ "aud": seeking.audience }).to_string();
    match tool::run(PROGRAM, &["run", "oidc", "get", "--claims", &claims]).await {
        Ok(token) => Ok(token),
        Err(tool::ToolError::Missing) => variable(seeking),
        Err(error) => Err(error.of(Source::Circleci, PROGRAM)),
    }
}

fn variable(seeking: &Seeking<'_>) -> Result<SecretString, AmbientError> {
    let value = ["CIRCLE_OIDC_TOKEN_V2", "CIRCLE_OIDC_TOKEN"]
        .iter()
        .find_map(|name| seeking.environment.get(name));
    value.map(SecretString::from).ok_or_else(|| {
        let why = "the program `circleci` is not on the PATH, and CIRCLE_OIDC_TOKEN_V2 is not set (a job gets it if it uses at \
                   least one context)";
        AmbientError::Lacking(Source::Circleci.name(), why.to_owned())
    })
}
