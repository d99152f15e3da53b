//! Client authentication (RFC 6749 section 2.3, RFC 7521 section 4.2). The assertion grants need no
//! client. A client that is named must be registered, and must authenticate unless it is public.

mod assertion;
mod authenticate;
mod certificate;
mod credentials;

pub use authenticate::Authentication;
pub use carnet_engine::client::{Admitted, AdmittedTo, ClientIdentity, admit};
pub use certificate::thumbprint;
pub use credentials::{AuthorizationHeader, ClientCredentials};
