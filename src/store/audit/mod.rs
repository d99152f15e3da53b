//! Audit events. Each is one row, and rows of two indexes that are written later: one for each
//! principal with a part in it, and one for each key that people search by. Refusals that are counted
//! in an event have a row each, up to a number. Events are read page by page.

mod chunk;
mod counted;
mod counts;
mod export;
mod filter;
mod issued;
mod keys;
mod parts;
mod record;
mod rows;
mod search;
mod upkeep;

pub use chunk::PrincipalView;
pub use counts::EventCounts;
pub use filter::AuditFilter;
pub(super) use rows::{event, insert, outcome, read_parts};
pub use search::AuditPage;
