//! What `carnet quickstart` and the tests show Carnet with: a small package registry, which is also
//! the example of how a registry uses `carnet-resource-server`, a stand-in for a CI platform, and one
//! for an OpenID provider.

mod ci;
mod cookies;
mod kept;
mod provider;
mod registry;
mod serve;

pub use ci::StandInCi;
pub use provider::{StandInClient, StandInPerson, StandInProvider};
pub use registry::{NoFrontDoor, NoSignIn, Protocol, Registry};
pub use serve::Tls;
