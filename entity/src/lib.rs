//! The tables, one module each. Only `carnet::store` uses them. All times are in milliseconds since
//! 1970-01-01 UTC.

pub mod acts_for;
pub mod audit_event;
pub mod audit_key;
pub mod audit_part;
pub mod change;
pub mod change_counter;
pub mod client;
pub mod client_reference;
pub mod consumed;
pub mod credential_actor;
pub mod exchanged_token;
pub mod federated_credential;
pub mod front_door_issuer;
pub mod gateway_package;
pub mod gateway_publication;
pub mod key_set;
pub mod notification;
pub mod notification_delivery;
pub mod opaque_token;
pub mod permission;
pub mod principal;
pub mod resource_server;
pub mod revoked_token;
pub mod signing_key;
pub mod trusted_issuer;
