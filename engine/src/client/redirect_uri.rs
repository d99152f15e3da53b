//! The redirect URIs of clients: which may be registered (RFC 8252 section 7), and which registered
//! one a request names (RFC 9700 section 2.1).

use url::Url;

/// Longest redirect URI, in bytes.
const MAX_BYTES: usize = 2048;

/// The addresses at which an app on the person's own machine may listen (RFC 8252 section 7.3).
/// `localhost` is not among them: a name server may lead it elsewhere (section 8.3).
const LOOPBACK: [&str; 2] = ["http://127.0.0.1", "http://[::1]"];

/// The parameters that an answer of the authorization endpoint adds (RFC 6749 sections 4.1.2 and
/// 4.1.2.1, RFC 9207 section 2).
const OF_ANSWER: [&str; 6] = [
    "code",
    "state",
    "iss",
    "error",
    "error_description",
    "error_uri",
];

/// Checks a redirect URI that is to be registered.
///
/// # Errors
///
/// What is wrong, as the end of a sentence: "must be …".
pub fn check_redirect_uri(uri: &str) -> Result<(), String> {
    check_characters(uri)?;
    let portless = loopback(uri).map(|(address, path)| format!("{address}{path}"));
    let fixed = portless.as_deref().unwrap_or(uri);
    if portless.is_none() && !uri.starts_with("https://") && !has_private_scheme(uri) {
        return Err(
            "must begin with https://, with http://127.0.0.1 or http://[::1] and perhaps a port, \
             or with a private-use scheme that has a dot in it, such as com.example.app:/"
                .to_owned(),
        );
    }
    let authority = fixed.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("must not hold a user name or password".to_owned());
    }
    let url = Url::parse(fixed).map_err(|error| format!("must be a URI: {error}"))?;
    // Where a browser goes must be what the administrator reads and what is compared.
    if url.as_str() != fixed && url.as_str().strip_suffix('/') != Some(fixed) {
        return Err(format!("must be written as browsers write it: {url}"));
    }
    let mut names = url.query_pairs().map(|(name, _)| name);
    if let Some(name) = names.find(|name| OF_ANSWER.contains(&name.as_ref())) {
        return Err(format!(
            "must not hold the parameter {name}, which this server adds"
        ));
    }
    Ok(())
}

fn check_characters(uri: &str) -> Result<(), String> {
    if uri.len() > MAX_BYTES {
        return Err(format!("must be at most {MAX_BYTES} bytes long"));
    }
    if uri.contains('#') {
        return Err("must have no fragment (RFC 6749 section 3.1.2)".to_owned());
    }
    if uri.contains('*') {
        return Err(
            "must not hold `*`: redirect URIs are compared as they are, without patterns"
                .to_owned(),
        );
    }
    let is_of_uri =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&()+,;=%".contains(&byte);
    let mut after_percent = uri.split('%').skip(1);
    let is_encoded = |rest: &str| {
        let mut digits = rest.bytes().take(2).filter(u8::is_ascii_hexdigit);
        digits.by_ref().count() == 2
    };
    if uri.bytes().all(is_of_uri) && after_percent.all(is_encoded) {
        Ok(())
    } else {
        Err(
            "must hold only the characters of URIs (RFC 3986 section 2), without quotation marks"
                .to_owned(),
        )
    }
}

/// Whether a URI begins with a scheme that an app claims for itself, by the name of a domain in
/// reverse order, and a path or an authority follows (RFC 8252 section 7.1).
fn has_private_scheme(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once(':') else {
        return false;
    };
    let is_of_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_of_label);
    rest.starts_with('/')
        && scheme.contains('.')
        && scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.split('.').all(is_label)
}

/// Whether the redirect URI that a request sends is this registered one: equal byte for byte, but for
/// the port of a loopback address, which an app learns when it starts (RFC 8252 section 7.3).
///
/// `registered` is one that [`check_redirect_uri`] accepts.
pub fn redirect_uri_matches(registered: &str, sent: &str) -> bool {
    let at_any_port = || loopback(registered).filter(|_| loopback(registered) == loopback(sent));
    registered == sent || at_any_port().is_some()
}

/// The address and the path of an http URI at a loopback address, without its port; `None` for any
/// other URI.
fn loopback(uri: &str) -> Option<(&'static str, &str)> {
    LOOPBACK.into_iter().find_map(|address| {
        let rest = uri.strip_prefix(address)?;
        let path = match rest.strip_prefix(':') {
            None => rest,
            Some(rest) => {
                let (port, path) = rest.split_at(rest.find('/')?);
                is_port(port).then_some(path)?
            }
        };
        path.starts_with('/').then_some((address, path))
    })
}

/// Whether a text is a port from 1 to 65535, in its only spelling.
fn is_port(text: &str) -> bool {
    // `parse` alone accepts a sign and zeros in front.
    !text.starts_with(['+', '0']) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests;
