//! What `carnet quickstart` shows Carnet with: a small package registry, which is also the example of
//! how a registry uses `carnet-resource-server`, and a stand-in for a CI platform.

mod ci;
mod registry;

pub use ci::StandInCi;
pub use registry::Registry;
