//! What the gateway needs of the authorization server.

use std::future::Future;

use carnet_access::{AccessToken, PackageNames};
use carnet_dpop::{Nonces, Proof};

use crate::records::{
    Changed, NewPublication, Outcome, Package, RefusedPublication, Reservation, Unsettled,
};

/// What the authorization server knows of a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How the registry compares package names.
    pub package_names: PackageNames,
}

/// Why a token gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoToken {
    /// It is not one of the server's, or it ended.
    Inactive,
    /// It is for another registry.
    OtherRegistry,
}

/// The authorization server cannot answer now. The text is for the log alone.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Tokens, owners and records. The server implements it on its database, where several gateways
/// may share them.
pub trait Authority: Send + Sync + 'static {
    /// The terms of an enabled resource server; `None` if there is none of this name.
    fn terms(&self, registry: &str) -> Option<Terms>;

    /// Whether a text has the form of one of the server's tokens, in force or not: the prefix of
    /// opaque tokens, or our issuer as `iss`.
    fn is_own_form(&self, text: &str) -> bool;

    /// Whether a principal may act for an owner: it is the owner, or the owner is in its
    /// `acts_for`.
    fn may_act_for(&self, principal: &str, owner: &str) -> bool;

    /// The time, in seconds since 1970.
    fn now(&self) -> i64;

    /// The contents of a token that is in force and for this registry. Whether the caller proves the
    /// key that it may be bound to is checked by the gateway.
    fn token(
        &self,
        registry: &str,
        text: &str,
    ) -> impl Future<Output = Result<Result<AccessToken, NoToken>, Unavailable>> + Send;

    /// The nonces that proofs of possession have to have (RFC 9449 section 9); `None` if none is asked
    /// for.
    fn nonces(&self) -> Option<&Nonces>;

    /// Records that a proof of possession is used; `false` if it was before.
    fn spend(&self, proof: &Proof) -> impl Future<Output = Result<bool, Unavailable>> + Send;

    /// The record of a package, by its folded name.
    fn package(
        &self,
        registry: &str,
        name: &str,
    ) -> impl Future<Output = Result<Package, Unavailable>> + Send;

    /// Records a publication as under way, durably, before it is forwarded. The first publication of
    /// a new package reserves its name for the owner.
    fn reserve(
        &self,
        publication: &NewPublication,
    ) -> impl Future<Output = Result<Result<Reservation, Changed>, Unavailable>> + Send;

    /// Records what became of a publication. Accepting makes a reserved package its owner's;
    /// refusing gives a name back that nothing else holds.
    fn settle(
        &self,
        id: &str,
        outcome: &Outcome,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Publications that were forwarded more than `seconds` ago and are not settled, the oldest first
    /// of those after the one with the id `after`, at most 100.
    fn unsettled(
        &self,
        seconds: i64,
        after: Option<&str>,
    ) -> impl Future<Output = Result<Vec<Unsettled>, Unavailable>> + Send;

    /// Records a publication that the gateway refused.
    fn refused(&self, refused: RefusedPublication) -> impl Future<Output = ()> + Send;
}
