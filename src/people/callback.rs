//! What a provider sends back through the browser (OpenID Connect Core 1.0 section 3.1.2.5 and RFC
//! 6749 section 4.1.2.1).

use url::form_urlencoded;

use super::SignInRefusal;
use crate::reason::Reason;

/// The longest query, in bytes.
const MOST_BYTES: usize = 16 * 1024;

/// The parameters of a callback. Each occurs at most once.
#[derive(Default)]
pub(crate) struct Callback {
    pub state: Option<String>,
    pub code: Option<String>,
    /// The issuer that answers (RFC 9207 section 2).
    pub iss: Option<String>,
    pub error: Option<String>,
    /// Any text of the provider's.
    pub error_description: Option<String>,
}

impl Callback {
    pub(crate) fn read(query: &str) -> Result<Self, SignInRefusal> {
        let malformed = |why: &str| SignInRefusal::new(Reason::SignInExpired, why);
        if query.len() > MOST_BYTES {
            return Err(malformed("the query is too long"));
        }
        let mut callback = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "state" => &mut callback.state,
                "code" => &mut callback.code,
                "iss" => &mut callback.iss,
                "error" => &mut callback.error,
                "error_description" => &mut callback.error_description,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return Err(malformed("a parameter occurs twice"));
            }
        }
        Ok(callback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_has_each_parameter_once() {
        let callback = Callback::read("code=a%2Bb&state=s&session_state=x&iss=https%3A%2F%2Fi")
            .ok()
            .unwrap();
        assert_eq!(callback.code.as_deref(), Some("a+b"));
        assert_eq!(callback.iss.as_deref(), Some("https://i"));
        for query in ["code=a&code=b&state=s", "state=s&state=s", "iss=a&iss=b"] {
            assert!(Callback::read(query).is_err(), "{query}");
        }
        assert!(Callback::read(&format!("code={}", "a".repeat(MOST_BYTES))).is_err());
    }
}
