//! What the fuzz targets do with their inputs (`docs/src/development/testing.md`).

#[cfg(feature = "server")]
pub mod bodies;

/// The targets that need neither the server nor OpenSSL.
#[cfg(not(feature = "server"))]
pub mod bodies {
    mod parsers;
    mod uploads;

    pub use parsers::{jwt, package_names};
    pub use uploads::upload;
}
