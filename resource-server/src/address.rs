//! The URLs of well-known documents (RFC 8615).

use url::Url;

/// Inserts `/.well-known/<name>` between the host of `of` and `path` (RFC 8414 section 3.1, RFC
/// 9728 section 3.1). `path` is empty or begins with a slash.
pub(crate) fn well_known(name: &str, of: &Url, path: &str) -> Url {
    let mut url = of.clone();
    url.set_path(&format!("/.well-known/{name}{path}"));
    url
}
