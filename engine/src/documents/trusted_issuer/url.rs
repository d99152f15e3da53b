//! Checks of the URLs in trusted issuers and clients: issuer identifiers, and URLs that keys are
//! fetched from.

use carnet_outbound::{has_credentials, is_loopback};
use url::Url;

use crate::documents::ReadContext;

/// Checks an issuer identifier: an https URL without query and fragment, of URL characters only. It
/// is stored and compared as written.
pub(in crate::documents) fn check_issuer(
    issuer: &str,
    context: ReadContext<'_>,
) -> Result<(), String> {
    if issuer.contains('*') {
        return Err("must name one issuer exactly; there are no wildcard issuers".to_owned());
    }
    if !issuer
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte))
    {
        return Err("must hold only characters that a URL may have".to_owned());
    }
    let url = Url::parse(issuer).map_err(|error| format!("must be an https URL: {error}"))?;
    check_https(&url, context)?;
    if url.query().is_some() || url.fragment().is_some() || issuer.ends_with(['?', '#']) {
        return Err("must have no query and no fragment".to_owned());
    }
    if issuer == context.own.issuer() {
        return Err(
            "must not be this server itself, whose own tokens are never assertions".to_owned(),
        );
    }
    Ok(())
}

/// Checks a URL: https without user name; or http on the loopback interface if
/// `insecure.allow_http_loopback` is set.
pub(in crate::documents) fn check_https(url: &Url, context: ReadContext<'_>) -> Result<(), String> {
    if url.host().is_none() {
        return Err("must have a host".to_owned());
    }
    let allowed = url.scheme() == "https"
        || (url.scheme() == "http" && is_loopback(url) && context.allow_http_loopback);
    if !allowed {
        return Err(
            "must be an https URL; insecure.allow_http_loopback allows http://127.0.0.1 for local tests".to_owned()
        );
    }
    if has_credentials(url) {
        return Err("must not hold a user name or password".to_owned());
    }
    Ok(())
}
