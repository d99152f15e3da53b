//! Webhooks: which events their owners are told of, and the delivery of the messages.
//!
//! Both are background work on what the database holds already. Requests write nothing for it and
//! wait for nothing, whatever becomes of a receiver. [`watch()`] looks through audit events, rules
//! and the state of keys, and queues messages; [`deliver()`] sends what is queued. Several replicas
//! share the work by leases in the database.

mod alarms;
mod deliver;
mod message;
mod send;
mod told;
mod watch;

pub use deliver::deliver;
pub use send::{Tried, egress, try_now};
pub use watch::watch;
