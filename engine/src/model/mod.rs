//! The data that requests are decided by: trusted issuers, registries, principals, clients and
//! rules, compiled from the stored documents, immutable and shared. [`Snapshot`] holds all of them
//! and finds them by key.

mod client;
mod context;
mod credential;
mod front_door;
mod identity_provider;
mod membership;
mod principal;
mod resource_server;
mod rule;
mod secret;
mod shards;
mod snapshot;
mod trusted_issuer;
mod webhook_secret;

pub use client::{
    ASSERTION_ALGORITHMS, Client, ClientPermission, FAPI2_ALGORITHMS, Method, RuleReference,
    TokenBinding,
};
pub use context::DecisionContext;
pub use credential::{FederatedCredential, PENDING_DAYS, State, pins_from};
pub use front_door::{FrontDoor, FrontDoorKind, without_port};
pub use identity_provider::{
    ClaimsFrom, Freshness, IdentityProvider, Logout, ProviderAuth, SecondFactor,
};
pub use membership::{Membership, Role};
pub use principal::{Principal, PrincipalKind, acts_for};
pub use resource_server::{PeopleActions, ResourceServer, TokenFormat};
pub use rule::{
    CalledAt, Condition, Expected, MAX_KEYS, Named, PackedRule, Permission, Rule, Scalar, Test,
    Text, scalar,
};
pub use secret::{ClientSecret, StoredSecret, is_one_of};
pub use snapshot::{Snapshot, Wanted};
pub use trusted_issuer::{AttestationTerms, KeySource, TrustedIssuer};
pub use webhook_secret::WebhookSecret;
