//! Secrets of webhooks, in the form of the Standard Webhooks convention: `whsec_` and the key in
//! base64.

use std::fmt;

use carnet_jose::base64;

use crate::ids;

/// The prefix of webhook secrets, which the libraries of the convention know.
const PREFIX: &str = "whsec_";

/// The key by which messages to one webhook are signed. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Vec<u8>);

impl WebhookSecret {
    /// 256 random bits; the convention asks for 24 to 64 bytes.
    pub fn generate() -> Self {
        Self(ids::random::<32>().to_vec())
    }

    /// The key of the signatures (HMAC-SHA256).
    pub fn key(&self) -> &[u8] {
        &self.0
    }

    /// The clear text, for the one answer that shows it.
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}", base64(&self.0))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_secret_is_shown_as_the_convention_writes_it_and_never_by_debug() {
        let secret = WebhookSecret(vec![0xfb; 32]);
        let shown = secret.expose();
        assert_eq!(shown, format!("whsec_{}", base64([0xfb; 32])));
        assert_eq!(format!("{secret:?}"), "WebhookSecret(…)");
        let (one, other) = (WebhookSecret::generate(), WebhookSecret::generate());
        assert!(one != other && one.key().len() == 32);
    }
}
