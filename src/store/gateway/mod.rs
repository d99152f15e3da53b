//! What the gateway records: whose each package is, and every publication.
//!
//! A publication is recorded before the registry sees it, and settled afterwards. The row of its
//! package counts the publications that are open, so that every decision about a package rests on
//! that row alone: on PostgreSQL only the row that a statement locks is read as it is at that
//! moment. See `docs/src/reference/gateway.md`.

mod owners;
mod reserve;
mod settle;

use std::net::IpAddr;

use carnet_entity::gateway_publication;
use carnet_gateway::{Owner, Package, Standing};
use carnet_resource_server::WorkloadClaim;
use sea_orm::FromQueryResult;

use super::{StoreError, json};
use crate::clock::Timestamp;
use crate::ids::PublicationId;

pub use owners::{NotChanged, PackageChange, PackageChanged, PackageFilter, PackagePage, Subject};

/// Whose a package is, as its row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageState {
    /// The row holds only the switch `trusted_only`: nothing is known of an owner.
    Unrecorded,
    /// The first publication is under way, or what became of it is unclear.
    Reserved,
    /// The package exists and has an owner.
    Owned,
    /// The package exists and was first published with the registry's own credentials.
    Unowned,
}

impl PackageState {
    const ALL: [Self; 4] = [Self::Unrecorded, Self::Reserved, Self::Owned, Self::Unowned];

    /// The word used in the database and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unrecorded => "unrecorded",
            Self::Reserved => "reserved",
            Self::Owned => "owned",
            Self::Unowned => "unowned",
        }
    }

    fn from_word(word: &str) -> Result<Self, StoreError> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == word);
        found.ok_or_else(|| StoreError::Corrupt(format!("state {word} of a package")))
    }
}

/// The row of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageRecord {
    /// The resource server, by name.
    pub registry: String,
    /// The folded name.
    pub name: String,
    /// The name as it was spelled first.
    pub spelled: String,
    pub state: PackageState,
    /// The owner, with its name of today.
    pub owner: Option<Owner>,
    /// Whether only trusted publishing may change the package.
    pub trusted_only: bool,
    /// Grows with each change of state, owner and `trusted_only`.
    pub version: i64,
    /// How many publications are under way or unclear.
    pub open: i32,
    /// Since when the package is in this state and has this owner.
    pub since: Timestamp,
    /// The `jti` of the token that made it so; `None` for an operator and for the registry's own
    /// credentials. So are the next two.
    pub token_id: Option<String>,
    /// The principal of that token's entry, by name.
    pub principal: Option<String>,
    /// The rule, or client, of that token's entry.
    pub credential: Option<String>,
}

impl PackageRecord {
    /// The record on which the gateway decides.
    pub fn into_package(self) -> Package {
        let standing = match (self.state, self.owner) {
            (PackageState::Unrecorded, _) => Standing::Unrecorded,
            (PackageState::Reserved, owner) => Standing::Reserved(owner),
            (PackageState::Owned, Some(owner)) => Standing::Owned(owner),
            // The foreign key prevents it; a database that was edited without it may have lost one.
            (PackageState::Owned, None) => Standing::Orphaned,
            (PackageState::Unowned, _) => Standing::Unowned,
        };
        Package {
            standing,
            spelled: Some(self.spelled),
            trusted_only: self.trusted_only,
            version: self.version,
        }
    }
}

/// What is known of the outcome of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicationState {
    /// It was, or is about to be, forwarded.
    UnderWay,
    /// The registry may or may not have taken it.
    Unclear,
    /// The registry accepted it.
    Accepted,
}

impl PublicationState {
    const ALL: [Self; 3] = [Self::UnderWay, Self::Unclear, Self::Accepted];

    /// The word used in the database and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnderWay => "under_way",
            Self::Unclear => "unclear",
            Self::Accepted => "accepted",
        }
    }

    fn from_word(word: &str) -> Result<Self, StoreError> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == word);
        found.ok_or_else(|| StoreError::Corrupt(format!("state {word} of a publication")))
    }
}

/// A publication: the provenance of what a registry has.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    pub id: PublicationId,
    /// The resource server, by name.
    pub registry: String,
    /// The folded name of the package.
    pub package: String,
    /// The name as the client wrote it.
    pub spelled: String,
    pub version: Option<String>,
    pub file: Option<String>,
    pub digest: Option<String>,
    pub operation: String,
    pub state: PublicationState,
    /// The owner in whose name it was published, as it was called then.
    pub owner: Option<Owner>,
    /// The principal of the token's entry, as it was called then.
    pub principal: Option<Owner>,
    /// The rule, or client, of that entry.
    pub credential: Option<String>,
    pub revision: Option<u32>,
    pub token_id: Option<String>,
    pub client_id: Option<String>,
    /// The workload of the token, with the claims that its profile passes on.
    pub workload: Option<WorkloadClaim>,
    /// Whether it came with the registry's own credentials.
    pub passthrough: bool,
    /// The user name of these credentials.
    pub passthrough_user: Option<String>,
    pub address: Option<IpAddr>,
    /// Why it is, or was, unclear.
    pub unclear_why: Option<String>,
    /// Whether an operator settled it.
    pub by_operator: bool,
    pub created_at: Timestamp,
    pub settled_at: Option<Timestamp>,
}

/// The columns of [`PackageRow`]. The owner's name is that of today.
const PACKAGE: &str = "SELECT p.resource_server, p.name, p.spelled, p.state, o.id AS owner_id, o.name AS owner_name, \
                       p.trusted_only, p.version, p.open, p.since, p.token_id, p.principal, p.credential \
                       FROM gateway_package p LEFT JOIN principal o ON o.id = p.owner";

#[derive(Debug, FromQueryResult)]
struct PackageRow {
    resource_server: String,
    name: String,
    spelled: String,
    state: String,
    owner_id: Option<String>,
    owner_name: Option<String>,
    trusted_only: bool,
    version: i64,
    open: i32,
    since: i64,
    token_id: Option<String>,
    principal: Option<String>,
    credential: Option<String>,
}

impl TryFrom<PackageRow> for PackageRecord {
    type Error = StoreError;

    fn try_from(row: PackageRow) -> Result<Self, StoreError> {
        Ok(Self {
            state: PackageState::from_word(&row.state)?,
            owner: owner(row.owner_id, row.owner_name),
            registry: row.resource_server,
            name: row.name,
            spelled: row.spelled,
            trusted_only: row.trusted_only,
            version: row.version,
            open: row.open,
            since: Timestamp::from_millis(row.since),
            token_id: row.token_id,
            principal: row.principal,
            credential: row.credential,
        })
    }
}

fn owner(id: Option<String>, name: Option<String>) -> Option<Owner> {
    Some(Owner {
        id: id?,
        name: name?,
    })
}

impl TryFrom<gateway_publication::Model> for Publication {
    type Error = StoreError;

    fn try_from(row: gateway_publication::Model) -> Result<Self, StoreError> {
        Ok(Self {
            id: PublicationId(row.id),
            state: PublicationState::from_word(&row.state)?,
            workload: row.workload.as_deref().map(json).transpose()?,
            owner: owner(row.owner_id, row.owner),
            principal: owner(row.principal_id, row.principal),
            registry: row.resource_server,
            package: row.package,
            spelled: row.spelled,
            version: row.version,
            file: row.file,
            digest: row.digest,
            operation: row.operation,
            credential: row.credential,
            revision: row.revision.and_then(|revision| revision.try_into().ok()),
            token_id: row.token_id,
            client_id: row.client_id,
            passthrough: row.passthrough,
            passthrough_user: row.passthrough_user,
            address: row.address.and_then(|address| address.parse().ok()),
            unclear_why: row.unclear_why,
            by_operator: row.by_operator,
            created_at: Timestamp::from_millis(row.created_at),
            settled_at: row.settled_at.map(Timestamp::from_millis),
        })
    }
}
