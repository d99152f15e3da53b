//! URLs of trusted issuers: what may stand in `issuer` and where keys may come from.

use carnet_outbound::{has_credentials, is_loopback};
use url::Url;

use crate::documents::ReadContext;

/// Checks an issuer identifier: an https URL that can only be read one way. It is kept and compared as it was written.
pub(super) fn check_issuer(issuer: &str, context: ReadContext<'_>) -> Result<(), String> {
    if issuer.contains('*') {
        return Err("names one issuer exactly; there are no wildcard issuers".to_owned());
    }
    if !issuer.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)) {
        return Err("holds a character that no URL has".to_owned());
    }
    let url = Url::parse(issuer).map_err(|error| format!("is an https URL: {error}"))?;
    check_https(&url, context)?;
    if url.query().is_some() || url.fragment().is_some() || issuer.ends_with(['?', '#']) {
        return Err("has no query and no fragment".to_owned());
    }
    if issuer == context.own.issuer() {
        return Err("is this server itself; its own tokens are never assertions".to_owned());
    }
    Ok(())
}

/// Only https, without user names; http on the loopback interface where that is allowed for trying things out.
pub(in crate::documents) fn check_https(url: &Url, context: ReadContext<'_>) -> Result<(), String> {
    if url.host().is_none() {
        return Err("has a host".to_owned());
    }
    let allowed =
        url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url) && context.allow_http_loopback);
    if !allowed {
        return Err(
            "is an https URL; insecure.allow_http_loopback allows http://127.0.0.1 for trying things out".to_owned()
        );
    }
    if has_credentials(url) {
        return Err("holds no user name".to_owned());
    }
    Ok(())
}
