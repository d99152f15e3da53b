//! The names of cookies.

use crate::config::OwnUrls;

/// The prefix for cookies that no subdomain and no http page can set (RFC 6265bis section 4.1.3.2).
const HOST_PREFIX: &str = "__Host-";

/// The name of a cookie of the pages. Browsers take the prefix over https only, and http is for a
/// loopback issuer only.
pub(super) fn cookie_name(own: &OwnUrls, name: &str) -> String {
    let prefix = if own.is_https() { HOST_PREFIX } else { "" };
    format!("{prefix}{name}")
}
