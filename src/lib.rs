//! draft
pub mod assertion;
pub mod client;
pub mod clock;
pub mod ids;
pub mod principal;
pub mod profile;
pub mod reason;
pub mod refusal;
pub mod token;
pub mod trust;
pub mod upstream;
