//! Tests of the crate against a small authorization server, over HTTP.

mod bearer;
mod certificates;
mod dpop;
mod introspection;
mod metadata;
mod offline;
pub(crate) mod support;
mod vectors;
