//! The scopes of OpenID Connect (OpenID Connect Core section 5.4): what a client may learn of the
//! person who signed in.

/// Asks for an ID token.
pub const OPENID: &str = "openid";
/// Asks for the person's name and user name.
pub const PROFILE: &str = "profile";
/// Asks for the person's address.
pub const EMAIL: &str = "email";

/// All scopes of OpenID Connect that this server knows.
pub const OPENID_SCOPES: [&str; 3] = [OPENID, PROFILE, EMAIL];

/// Whether `scope` is one of [`OPENID_SCOPES`].
pub fn is_openid_scope(scope: &str) -> bool {
    OPENID_SCOPES.contains(&scope)
}
