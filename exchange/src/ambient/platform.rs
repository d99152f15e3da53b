//! Platforms with an endpoint that answers with a token in a member of a JSON object.

use reqwest::{Client, RequestBuilder};
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::{AmbientError, Seeking};
use crate::retry::{Repeat, is_pending, is_temporary, send_again};
use crate::web::{self, WebAnswer, excerpt};

/// Reads the URL that a platform put into a variable, and sets these parameters in its query. Other
/// parameters stay.
pub(super) fn url(
    text: &str,
    variable: &str,
    parameters: &[(&str, &str)],
    from: &str,
) -> Result<Url, AmbientError> {
    let mut url = Url::parse(text).map_err(|error| {
        AmbientError::Failed(from.to_owned(), format!("{variable} is not a URL: {error}"))
    })?;
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| parameters.iter().all(|(given, _)| given != name))
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(kept)
        .extend_pairs(parameters);
    Ok(url)
}

pub(super) fn client(url: &Url, from: &str) -> Result<Client, AmbientError> {
    web::client(url).map_err(|error| AmbientError::Web(from.to_owned(), error))
}

/// Sends the request, again where the platform fails, and reads the token from `member` of the
/// answer. The requests have no effects: a platform issues as many tokens as it is asked for.
pub(super) async fn ask(
    seeking: &Seeking<'_>,
    url: &Url,
    request: RequestBuilder,
    member: &str,
    from: &str,
) -> Result<SecretString, AmbientError> {
    let answer = send_again(url, request, Repeat::PlatformToken, seeking.tries)
        .await
        .map_err(|error| AmbientError::Web(from.to_owned(), error))?;
    if !answer.status.is_success() {
        return Err(failure(&answer, "the platform", from));
    }
    let token = answer
        .json()
        .get(member)
        .and_then(Value::as_str)
        .map(SecretString::from);
    token.ok_or_else(|| {
        AmbientError::Failed(
            from.to_owned(),
            format!("the platform's answer has no `{member}`"),
        )
    })
}

/// The error for an answer that says no, or "later".
pub(super) fn failure(answer: &WebAnswer, who: &str, from: &str) -> AmbientError {
    let WebAnswer { status, tried, .. } = answer;
    let said = excerpt(&String::from_utf8_lossy(&answer.body));
    let why = format!("{who} answered {status}: {said}{tried}");
    if is_temporary(*status) || is_pending(answer) {
        AmbientError::Later(from.to_owned(), why)
    } else {
        AmbientError::Failed(from.to_owned(), why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_added_to_the_query_of_a_url_and_replace_those_of_the_same_name() {
        let joined = |text: &str| {
            url(text, "URL", &[("audience", "https://as.test/?a=b&c")], "x")
                .unwrap()
                .to_string()
        };
        let audience = "audience=https%3A%2F%2Fas.test%2F%3Fa%3Db%26c";
        assert_eq!(
            joined("https://p.test/t?api-version=2.0"),
            format!("https://p.test/t?api-version=2.0&{audience}")
        );
        assert_eq!(
            joined("https://p.test/t"),
            format!("https://p.test/t?{audience}")
        );
        assert_eq!(
            joined("https://p.test/t?audience=other&x"),
            format!("https://p.test/t?x=&{audience}")
        );
        assert!(url("nonsense", "URL", &[], "x").is_err());
    }
}
