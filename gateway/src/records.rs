//! What is recorded of packages and of publications.

use std::net::IpAddr;

use carnet_access::{AccessToken, AuthorizationDetail};

/// The principal that owns a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The principal's id, by which the record knows it.
    pub id: String,
    /// The principal's name today.
    pub name: String,
}

/// Whose a package is, as far as the gateway knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no record: the package is new, or older than the gateway.
    Unrecorded,
    /// The first publication is under way, or what became of it is unclear. `None` if it came with
    /// the registry's own credentials.
    Reserved(Option<Owner>),
    /// The package exists and belongs to this principal.
    Owned(Owner),
    /// The package exists, was first published with the registry's own credentials, and belongs to
    /// nobody until its owner is imported.
    Unowned,
    /// The principal that owned or reserved the package no longer exists.
    Orphaned,
}

/// The record of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Whose it is.
    pub standing: Standing,
    /// The name as it was spelled first; `None` without a record.
    pub spelled: Option<String>,
    /// Whether only trusted publishing may change the package, and the registry's own credentials
    /// may not.
    pub trusted_only: bool,
    /// Grows with every change of the record; 0 without a record.
    pub version: i64,
}

impl Package {
    /// The record of a package of which there is none.
    pub const UNRECORDED: Self = Self {
        standing: Standing::Unrecorded,
        spelled: None,
        trusted_only: false,
        version: 0,
    };
}

/// On whose behalf something is published.
#[derive(Clone, Debug, PartialEq)]
pub enum Publisher {
    /// The holder of an access token.
    Token {
        /// The token, which was in force when the publication was decided.
        token: Box<AccessToken>,
        /// The entry that allows the publication. It names owner, principal and rule.
        entry: Box<AuthorizationDetail>,
    },
    /// Somebody with the registry's own credentials, which the registry judges.
    Passthrough {
        /// The user name, if the credentials have one.
        user: Option<String>,
    },
}

/// A publication that was decided and is about to be forwarded.
#[derive(Clone, Debug, PartialEq)]
pub struct NewPublication {
    /// The name of the resource server.
    pub registry: String,
    /// The package's name, folded by the rules of the protocol.
    pub package: String,
    /// The package's name as the client wrote it.
    pub spelled: String,
    /// The version, where the operation concerns one.
    pub version: Option<String>,
    /// The name of the published file, where there is one.
    pub file: Option<String>,
    /// The digest of that file: `sha256:` and 64 hexadecimal digits.
    pub digest: Option<String>,
    /// What is done: [`carnet_publish_protocols::Operation::as_str`].
    pub operation: &'static str,
    /// Whether the operation adds a file or a version, so that the package exists afterwards.
    pub adds: bool,
    /// Who does it.
    pub publisher: Publisher,
    /// The address of the client.
    pub address: Option<IpAddr>,
    /// The record of the package on which the decision rests.
    pub decided_on: Package,
}

/// A publication that is recorded as under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its id in the record and in the audit events: `pub_…`.
    pub id: String,
}

/// The record of the package was changed since the decision, which has to be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed;

/// What became of a publication that was forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The registry accepted it.
    Accepted,
    /// The registry refused it, with this status, or was never reached.
    Refused {
        /// The status of the registry's answer; `None` if no byte reached it.
        status: Option<u16>,
    },
    /// It is not known whether the registry took it. What was reserved stays so.
    Unclear {
        /// What happened, in words for the operator.
        why: String,
    },
}

/// A publication whose outcome is unclear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsettled {
    /// Its id.
    pub id: String,
    /// The name of the resource server.
    pub registry: String,
    /// The package's name as the client wrote it.
    pub spelled: String,
    /// The version, where the operation concerns one.
    pub version: Option<String>,
    /// The name of the published file, where there is one.
    pub file: Option<String>,
    /// The digest of that file.
    pub digest: Option<String>,
}

/// A publication that the gateway refused, for the audit.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusedPublication {
    /// The name of the resource server.
    pub registry: String,
    /// The package's folded name, as far as it could be read.
    pub package: Option<String>,
    /// The version, as far as it could be read.
    pub version: Option<String>,
    /// The digest of the file, as far as it could be read.
    pub digest: Option<String>,
    /// What was to be done, as far as it could be read.
    pub operation: Option<&'static str>,
    /// The token, if it was one that is in force.
    pub token: Option<Box<AccessToken>>,
    /// The user name of the registry's own credentials, if they were presented.
    pub user: Option<String>,
    /// The stable code of the reason.
    pub reason: &'static str,
    /// The sentence that the client was told.
    pub detail: String,
    /// The address of the client.
    pub address: Option<IpAddr>,
}
