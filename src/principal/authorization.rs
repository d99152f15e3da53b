//! The step's own type: what a request is granted, together with what that rests on. Minting wants to see one.

use std::sync::Arc;

use carnet_resource_server::AuthorizationDetail;

use super::{AccessRequest, Entitlement, entitle, entitlement};
use crate::model::{Client, Snapshot};
use crate::own_tokens::LiveToken;
use crate::refusal::Refusal;
use crate::trust::{Denial, Permit};

/// What is granted, and on what grounds. Only the functions of this module make one.
#[derive(Debug)]
pub struct Authorization {
    grounds: Grounds,
    entitlement: Entitlement,
}

/// What a token rests on.
#[derive(Debug)]
pub enum Grounds {
    /// An assertion that rules admit.
    Workload(Permit),
    /// A token of ours that is in force.
    Token(Box<LiveToken>),
    /// A client acting for itself.
    Client(Arc<Client>),
}

/// Decides what the permit entitles to for this request.
pub fn authorize(permit: Permit, request: &AccessRequest) -> Result<Authorization, Box<Denial>> {
    let assertion = permit.assertion();
    match entitle(permit.report(), permit.snapshot(), assertion.issuer(), assertion.claims(), request) {
        Ok(entitlement) => Ok(Authorization { grounds: Grounds::Workload(permit), entitlement }),
        Err(refusal) => Err(permit.deny(refusal)),
    }
}

/// Decides how much of a token of ours goes into one that is made from it: never more than stands (RFC 8693 section 2.1.1).
pub fn authorize_token(
    token: LiveToken,
    rules: &Snapshot,
    request: &AccessRequest,
    may_stay: impl Fn(&AuthorizationDetail) -> bool,
) -> Result<Authorization, Refusal> {
    let entitlement = entitlement::of_token(token.claims(), rules, request, may_stay)?;
    Ok(Authorization { grounds: Grounds::Token(Box::new(token)), entitlement })
}

/// Decides what a client gets for itself (RFC 6749 section 4.4).
pub fn authorize_client(
    client: &Arc<Client>,
    rules: &Snapshot,
    request: &AccessRequest,
) -> Result<Authorization, Refusal> {
    let entitlement = entitlement::of_client(client, rules, request)?;
    Ok(Authorization { grounds: Grounds::Client(client.clone()), entitlement })
}

impl Authorization {
    /// What it rests on.
    pub fn grounds(&self) -> &Grounds {
        &self.grounds
    }

    /// What it rests on, given back.
    pub fn into_grounds(self) -> Grounds {
        self.grounds
    }

    /// What is granted.
    pub fn entitlement(&self) -> &Entitlement {
        &self.entitlement
    }
}
