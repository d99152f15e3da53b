//! The part of a client's document that is about persons: the client sends them to the authorization
//! endpoint and acts for them (RFC 6749 section 4.1, RFC 8252).

use std::collections::BTreeSet;

use super::{AuthMethod, ClientDocument, FAPI2};
use crate::client::check_redirect_uri;
use crate::documents::reader::Reader;
use crate::documents::{PermissionDocument, is_resource};
use crate::grant_type::GrantType;
use crate::trust::Warning;

#[cfg(test)]
mod tests;

/// Most redirect URIs of a client.
const MAX_REDIRECT_URIS: usize = 20;
/// Longest `display_name`, in characters.
const MAX_DISPLAY_NAME: usize = 100;

/// Reads `redirect_uris`.
pub(super) fn redirect_uris(reader: &mut Reader<'_>) -> Vec<String> {
    let uris = reader.texts("redirect_uris").unwrap_or_default();
    if uris.len() > MAX_REDIRECT_URIS {
        let (most, given) = (MAX_REDIRECT_URIS, uris.len());
        let detail = format!("must hold at most {most} URIs; these are {given}");
        reader.problem("redirect_uris", detail);
    }
    for (at, uri) in uris.iter().enumerate().take(MAX_REDIRECT_URIS) {
        if let Err(detail) = check_redirect_uri(uri) {
            reader.problem(&format!("redirect_uris/{at}"), detail);
        }
    }
    uris
}

/// Reads `display_name`, which stands in pages beside our own words.
pub(super) fn display_name(reader: &mut Reader<'_>) -> Option<String> {
    let name = reader.text("display_name")?;
    if name.chars().count() > MAX_DISPLAY_NAME || name.trim() != name || !is_printable(&name) {
        let detail = format!(
            "must be 1 to {MAX_DISPLAY_NAME} printable characters, without space at the beginning and end"
        );
        reader.problem("display_name", detail);
    }
    Some(name)
}

/// Whether every character has a shape of its own, or is a space: no control characters, and none
/// that hide text or change its direction.
fn is_printable(text: &str) -> bool {
    // `Debug` escapes these characters (and three visible ones), by the Unicode tables of the
    // standard library.
    let text = text.replace(['"', '\'', '\\'], " ");
    text.escape_debug().eq(text.chars())
}

/// Reads `homepage`, which becomes a link.
pub(super) fn homepage(reader: &mut Reader<'_>) -> Option<String> {
    reader.parsed("homepage", |text| {
        if text.starts_with("https://") && is_resource(text) {
            Ok(text.to_owned())
        } else {
            Err("must be an https URL of at most 2048 bytes, without user name and fragment")
        }
    })
}

impl ClientDocument {
    /// Whether persons sign in for the client.
    pub fn is_of_people(&self) -> bool {
        self.grant_types.contains(&GrantType::AuthorizationCode)
    }

    /// Warns of permissions that no token of a person can have. `is_open` tells whether persons may
    /// do any of a permission's actions at its registry; it is true of a registry that is not known.
    pub fn people_unset(&self, is_open: impl Fn(&PermissionDocument) -> bool) -> Option<Warning> {
        let void = self.permissions.iter().filter(|it| !is_open(it));
        let servers: BTreeSet<&str> = void.map(|it| it.resource_server.as_str()).collect();
        if servers.is_empty() || !self.is_of_people() {
            return None;
        }
        let servers: Vec<&str> = servers.into_iter().collect();
        let detail = format!(
            "no token of a person can have the permissions at {}: `people` of the resource server lists none of their actions",
            servers.join(", ")
        );
        Some(Warning::new("people_unset", detail))
    }

    pub(super) fn check_of_people(&self, reader: &mut Reader<'_>) {
        if !self.is_of_people() {
            self.check_without_people(reader);
            return;
        }
        if self.grant_types.contains(&GrantType::ClientCredentials) {
            let detail = "must not hold authorization_code beside client_credentials: a client acts for persons or for itself";
            reader.problem("grant_types", detail);
        }
        if self.auth_method == AuthMethod::Federated {
            let detail = "must not hold authorization_code for the method federated, whose clients are workloads";
            reader.problem("grant_types", detail);
        }
        if self.fapi2 {
            let detail = "must not be true with the grant type authorization_code: the profile asks for pushed authorization requests, which this server does not take";
            reader.problem(FAPI2, detail);
        }
        if self.redirect_uris.is_empty() {
            let detail = "must hold at least one URI for the grant type authorization_code";
            reader.problem("redirect_uris", detail);
        }
    }

    fn check_without_people(&self, reader: &mut Reader<'_>) {
        let given = [
            ("redirect_uris", !self.redirect_uris.is_empty()),
            ("display_name", self.display_name.is_some()),
            ("homepage", self.homepage.is_some()),
            ("first_party", self.first_party),
        ];
        for (name, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
            let detail = "must not be given without the grant type authorization_code";
            reader.problem(name, detail);
        }
    }
}
