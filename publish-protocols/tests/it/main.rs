//! What requests say about themselves, with bodies of real clients and with bodies that no client would send.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "archives made by hand are small"
)]

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod hostile_archives;
#[cfg(test)]
mod mismatches;
#[cfg(test)]
mod npm;
#[cfg(test)]
mod real_clients;
#[cfg(test)]
mod support;
