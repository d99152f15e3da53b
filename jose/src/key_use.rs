//! Which keys of a JWK set are wanted.

/// Which keys of a set are wanted, by their `use` member (RFC 7517 section 4.2; SPIFFE Trust Domain
/// and Bundle section 4.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyUse {
    /// Keys whose `use` is `sig` or absent.
    #[default]
    Signature,
    /// Keys whose `use` is `jwt-svid` and that have a `kid`: the JWT keys of a SPIFFE bundle.
    JwtSvid,
    /// Keys whose `use` is `sig`, `jwt-svid` or absent, with or without a `kid`: for a JWK set that
    /// serves a SPIFFE trust domain but is not a bundle.
    SignatureOrJwtSvid,
}
