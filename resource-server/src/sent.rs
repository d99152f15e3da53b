//! Finds the one token of a request (RFC 6750 section 2, RFC 9449 section 7.1).

use carnet_dpop::SentProof;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Request, Uri};

use crate::{ClientCertificate, Rejection};

/// The parameter name of the two methods that are not accepted: form and query (RFC 6750 sections
/// 2.2 and 2.3).
const PARAMETER: &str = "access_token";
/// The scheme of tokens that are bound to a key.
const DPOP: &str = "dpop";

/// The parts of a request in which an access token may be, and of which a proof of possession is.
///
/// A token is accepted in the `Authorization` header and, if there is one, in the header of
/// [`Verifier::also_in_header`]. A token in the query or in a form is not accepted; together with
/// one in a header it makes the request invalid, because two parts of a registry could each look at
/// a different token. Cookies are not searched.
///
/// [`Verifier::also_in_header`]: crate::Verifier::also_in_header
#[derive(Clone, Copy)]
pub struct Sent<'r> {
    method: &'r Method,
    uri: &'r Uri,
    headers: &'r HeaderMap,
    form: Option<&'r [u8]>,
    certificate: Option<&'r ClientCertificate>,
}

/// The one token of a request, with the scheme that it came under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential<'r> {
    /// `Authorization: Bearer`, or a header of its own.
    Bearer(&'r str),
    /// `Authorization: DPoP`.
    Dpop(&'r str),
}

impl<'r> Sent<'r> {
    /// A request with this method, URI and headers. Of the URI only path and query count. The path
    /// has to be as the client sent it: proofs of possession are compared with it.
    #[must_use]
    pub fn new(method: &'r Method, uri: &'r Uri, headers: &'r HeaderMap) -> Self {
        Self {
            method,
            uri,
            headers,
            form: None,
            certificate: None,
        }
    }

    /// Method, URI and headers of `request`, and the [`ClientCertificate`] among its extensions. Its
    /// body is not read.
    #[must_use]
    pub fn by<B>(request: &'r Request<B>) -> Self {
        let sent = Self::new(request.method(), request.uri(), request.headers());
        Self {
            certificate: request.extensions().get(),
            ..sent
        }
    }

    /// Adds the certificate with which the client made its TLS connection.
    #[must_use]
    pub fn with_certificate(self, certificate: &'r ClientCertificate) -> Self {
        Self {
            certificate: Some(certificate),
            ..self
        }
    }

    /// Adds the body of the request, which has to be a form (`application/x-www-form-urlencoded`),
    /// so that a second token in it is noticed.
    #[must_use]
    pub fn with_form(self, body: &'r [u8]) -> Self {
        Self {
            form: Some(body),
            ..self
        }
    }

    /// Whether the request has the scheme `Authorization: DPoP` (RFC 9449 section 7.1), for
    /// registries that find other credentials themselves.
    #[must_use]
    pub fn has_dpop_scheme(&self) -> bool {
        let values = self.headers.get_all(AUTHORIZATION).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .any(|value| scheme(value).0.eq_ignore_ascii_case(DPOP))
    }

    /// The one token of the request. `key_header` is the second header in which it may be, and
    /// `takes_proofs` says whether the DPoP scheme counts.
    ///
    /// # Errors
    ///
    /// [`Rejection::NoToken`] if there is none in an accepted place, [`Rejection::InvalidRequest`]
    /// if there is more than one or it cannot be read.
    pub(crate) fn credential(
        &self,
        key_header: Option<&HeaderName>,
        takes_proofs: bool,
    ) -> Result<Credential<'r>, Rejection> {
        let authorization = only(self.headers, &AUTHORIZATION)?;
        let key = key_header
            .map_or(Ok(None), |name| only(self.headers, name))?
            .map(b64token)
            .transpose()?;
        let credential = match key {
            None if takes_proofs && self.has_dpop_scheme() => dpop(authorization),
            None => bearer(authorization).map(Credential::Bearer),
            // Two different tokens: one part of a registry could judge the first and another the
            // second.
            Some(key) if authorization.is_some() && bearer(authorization) != Ok(key) => {
                Err(Rejection::InvalidRequest("more than one credential"))
            }
            Some(key) => Ok(Credential::Bearer(key)),
        };
        let query = self.uri.query();
        let elsewhere = query.is_some_and(|query| has_token(query.as_bytes()))
            || self.form.is_some_and(has_token);
        match credential {
            Ok(_) if elsewhere => Err(Rejection::InvalidRequest(
                "the token was sent in more than one way",
            )),
            credential => credential,
        }
    }

    pub(crate) fn method(&self) -> &'r str {
        self.method.as_str()
    }

    pub(crate) fn path(&self) -> &'r str {
        self.uri.path()
    }

    pub(crate) fn certificate(&self) -> Option<&'r ClientCertificate> {
        self.certificate
    }

    pub(crate) fn proof(&self) -> SentProof<'r> {
        SentProof::of(self.headers)
    }
}

impl<'r> From<&'r Parts> for Sent<'r> {
    fn from(parts: &'r Parts) -> Self {
        let sent = Self::new(&parts.method, &parts.uri, &parts.headers);
        Self {
            certificate: parts.extensions.get(),
            ..sent
        }
    }
}

/// The value of a header that may occur at most once.
fn only<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Option<&'r str>, Rejection> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(Rejection::InvalidRequest(
            "a header with credentials came twice",
        ));
    }
    value
        .map(|value| value.to_str().map_err(|_| UNREADABLE))
        .transpose()
}

const UNREADABLE: Rejection = Rejection::InvalidRequest("the header with the token cannot be read");

/// The token in `Bearer <token>` (RFC 6750 section 2.1). The scheme is read without regard to case,
/// and one or more spaces follow it.
pub(crate) fn bearer(authorization: Option<&str>) -> Result<&str, Rejection> {
    let value = authorization.unwrap_or_default();
    let (scheme, rest) = scheme(value);
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Rejection::NoToken);
    }
    b64token(rest)
}

/// The token in `DPoP <token>` (RFC 9449 section 7.1), which has the syntax of the other scheme.
fn dpop(authorization: Option<&str>) -> Result<Credential<'_>, Rejection> {
    let (_, rest) = scheme(authorization.unwrap_or_default());
    b64token(rest)
        .map(Credential::Dpop)
        .map_err(Rejection::under_dpop)
}

/// The scheme in the value of an `Authorization` header, and what follows it.
fn scheme(authorization: &str) -> (&str, &str) {
    let value = authorization.trim();
    value.split_once(' ').unwrap_or((value, ""))
}

fn b64token(text: &str) -> Result<&str, Rejection> {
    let is_allowed = |b: u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
    };
    let token = text.trim_matches(' ');
    if token.is_empty() || !token.bytes().all(is_allowed) {
        return Err(UNREADABLE);
    }
    Ok(token)
}

fn has_token(form: &[u8]) -> bool {
    url::form_urlencoded::parse(form).any(|(name, _)| name == PARAMETER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6750_2_1_1__the_bearer_scheme_is_read_in_any_letter_case() {
        for value in ["Bearer abc", "bearer abc", "BEARER  abc", " Bearer abc "] {
            assert_eq!(bearer(Some(value)), Ok("abc"), "{value:?}");
        }
        for value in [
            None,
            Some(""),
            Some(" "),
            Some("Basic abc"),
            Some("DPoP abc"),
            Some("Bearerabc"),
        ] {
            assert_eq!(bearer(value), Err(Rejection::NoToken), "{value:?}");
        }
        for value in [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a\u{7f}",
            "Bearer a\tb",
            "Bearer \u{e9}",
            "Bearer a,b",
        ] {
            assert_eq!(bearer(Some(value)), Err(UNREADABLE), "{value:?}");
        }
    }
}
