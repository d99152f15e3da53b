mod scope;
pub use scope::{InvalidScope, ScopeSet};
