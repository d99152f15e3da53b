//! Where well-known documents are.

use url::Url;

/// Puts the well-known path of `name` between host and `path` (RFC 8414 section 3.1, RFC 9728 section 3.1).
pub(crate) fn well_known(name: &str, of: &Url, path: &str) -> Url {
    let mut url = of.clone();
    url.set_path(&format!("/.well-known/{name}{path}"));
    url
}
