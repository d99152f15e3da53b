//! Reads an answer to its end, within a limit.

use std::io::Read as _;

use carnet_outbound::{ReadError, causes};
use flate2::read::MultiGzDecoder;
use url::Url;

use super::fetch::{FetchError, Fetched};

pub(super) fn failed(url: &Url, error: &reqwest::Error) -> FetchError {
    FetchError::Failed(url.to_string(), causes(error))
}

/// Sends a request and reads at most `limit` bytes of the answer. Some servers compress although
/// nobody asked for it: the limit holds before and after.
pub(super) async fn read(
    url: &Url,
    request: reqwest::RequestBuilder,
    limit: usize,
) -> Result<Fetched, FetchError> {
    let mut response = request.send().await.map_err(|error| failed(url, &error))?;
    let body = carnet_outbound::read(&mut response, limit)
        .await
        .map_err(|error| match error {
            ReadError::Failed(error) => failed(url, &error),
            ReadError::TooLarge(limit) => FetchError::TooLarge(url.to_string(), limit),
        })?;
    let header = |name: &str| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let body = match header("content-encoding").map(str::trim) {
        None | Some("") => body,
        Some(coding) if coding.eq_ignore_ascii_case("identity") => body,
        Some(coding)
            if ["gzip", "x-gzip"]
                .iter()
                .any(|gzip| coding.eq_ignore_ascii_case(gzip)) =>
        {
            unzipped(url, &body, limit)?
        }
        Some(_) => {
            let why = "its content-encoding is neither gzip nor identity";
            return Err(FetchError::Failed(url.to_string(), why.to_owned()));
        }
    };
    Ok(Fetched {
        status: response.status().as_u16(),
        body,
        max_age: header("cache-control").and_then(max_age),
    })
}

fn unzipped(url: &Url, body: &[u8], limit: usize) -> Result<Vec<u8>, FetchError> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut plain = Vec::new();
    MultiGzDecoder::new(body)
        .take(most)
        .read_to_end(&mut plain)
        .map_err(|error| FetchError::Failed(url.to_string(), format!("gzip: {error}")))?;
    if plain.len() > limit {
        return Err(FetchError::TooLarge(url.to_string(), limit));
    }
    Ok(plain)
}

/// `max-age` of a `Cache-Control` header (RFC 9111 section 5.2.2.1).
fn max_age(header: &str) -> Option<i64> {
    header.split(',').find_map(|directive| {
        let (name, value) = directive.trim().split_once('=')?;
        if name.eq_ignore_ascii_case("max-age") {
            value.trim_matches('"').parse().ok()
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_age_is_read_from_cache_control() {
        assert_eq!(max_age("public, max-age=600"), Some(600));
        assert_eq!(max_age("Max-Age=\"60\""), Some(60));
        assert_eq!(max_age("no-store"), None);
        assert_eq!(max_age("s-maxage=5"), None);
        assert_eq!(max_age("max-age=x"), None);
    }
}
