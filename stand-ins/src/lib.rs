//! What `carnet quickstart` and the tests show Carnet with: a small package registry, which is also
//! the example of how a registry uses `carnet-resource-server`, and a stand-in for a CI platform.

mod ci;
mod registry;
mod serve;

pub use ci::StandInCi;
pub use registry::{NoFrontDoor, Protocol, Registry};
pub use serve::Tls;
