//! Carnet, an OAuth 2.0 authorization server: it takes the JWT that a CI platform gave a job and answers with a short-lived
//! access token for what the users of a package registry allow that job to do.
//!
//! # How a token request is processed
//!
//! [`http`] reads a request into a bounded form in which every name stands once ([`form::TokenForm`]), and [`grant`] reads what it
//! asks for ([`grant::GrantRequest`]). From there one pipeline ([`grant::issue`]) takes every grant through the same steps, each
//! of which hands the next a type that only it can make:
//!
//! 1. context: the rules and the time, looked at once ([`model::DecisionContext`]);
//! 2. authenticate: who sends it ([`client::ClientIdentity`]);
//! 3. admit: which rules let the client in ([`client::Admitted`]);
//! 4. verify: [`assertion`] takes the JWT apart, asks [`upstream`] for the keys of the one trusted issuer it names, and checks
//!    signature, header and claims ([`assertion::VerifiedAssertion`]); its trusted issuer has to take the grant
//!    ([`assertion::AcceptedAssertion`]);
//! 5. decide: [`trust`] holds the assertion against the federated credentials it may match ([`trust::MatchReport`]) and permits
//!    it if one matches as a whole ([`trust::Permit`]), [`principal`] works out target, principal, scope and details, and
//!    [`decision`] puts both together ([`decision::Authorization`]);
//! 6. mint: [`token`] signs the access token ([`token::Minted`]);
//! 7. record: the ledger of the [`store`] writes down, in one transaction, that the assertion is used, which ids are pinned and
//!    what was issued ([`store::Recorded`]). Only what it gives back can leave.
//!
//! A no anywhere is a [`refusal::Refusal`] with one [`reason::Reason`], whose class says which OAuth error it is. [`explain`] and
//! [`policy`] ask the same [`decision::decide`], without consequences; [`audit`] events are written from the same report.
//!
//! # A step that is left out does not compile
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use carnet::{assertion::*, client::*, clock::Timestamp, decision::*, grant_type::GrantType, model::Snapshot, store::*};
//! # use carnet::{token::*, trust::*};
//! # fn f(verified: Arc<VerifiedAssertion>, rules: &Snapshot, now: Timestamp, tokens: &TokenIssuer, client: Admitted,
//! #      decided: &Authorization<AcceptedAssertion>, recorded: &Recorded<Minted>) {
//! let accepted = verified.accept(GrantType::JwtBearer).unwrap();
//! let permit = Permit::new(accepted.clone(), rules, now, Consent::Named, |_| true);
//! let presented = Presented::Assertion(accepted);
//! let subject = Subject { grant_type: GrantType::JwtBearer, presented, client, actor: None };
//! let minted = tokens.mint(decided, "client".to_owned(), now);
//! let text = recorded.access_token();
//! # }
//! ```
//!
//! Verification: what was only taken apart is not accepted.
//!
//! ```compile_fail
//! # use std::sync::Arc;
//! # use carnet::{assertion::*, grant_type::GrantType};
//! # fn f(unverified: Arc<UnverifiedAssertion<'_>>) {
//! let accepted = unverified.accept(GrantType::JwtBearer).unwrap();
//! # }
//! ```
//!
//! Acceptance: what was only verified is held against no rules.
//!
//! ```compile_fail
//! # use std::sync::Arc;
//! # use carnet::{assertion::*, clock::Timestamp, model::Snapshot, trust::*};
//! # fn f(verified: Arc<VerifiedAssertion>, rules: &Snapshot, now: Timestamp) {
//! let permit = Permit::new(verified, rules, now, Consent::Named, |_| true);
//! # }
//! ```
//!
//! Admission: a client that was only authenticated is no part of a decision.
//!
//! ```compile_fail
//! # use carnet::{assertion::*, client::*, decision::*, grant_type::GrantType};
//! # fn f(presented: Presented<AcceptedAssertion>, identity: ClientIdentity) {
//! let subject = Subject { grant_type: GrantType::JwtBearer, presented, client: identity, actor: None };
//! # }
//! ```
//!
//! The permit: of what is only assumed to be signed no token is minted.
//!
//! ```compile_fail
//! # use carnet::{assertion::*, clock::Timestamp, decision::*, token::*};
//! # fn f(assumed: &Authorization<AssumedAssertion>, tokens: &TokenIssuer, now: Timestamp) {
//! let minted = tokens.mint(assumed, "client".to_owned(), now);
//! # }
//! ```
//!
//! The record: the text of a token that was only minted cannot be read.
//!
//! ```compile_fail
//! # use carnet::token::*;
//! # fn f(minted: &Minted) {
//! let text = minted.access_token();
//! # }
//! ```
//!
//! # Beside the pipeline
//!
//! [`command`] starts the server from a [`config`]; [`app`] holds what all requests share. [`documents`] are the documents people
//! write and [`admin`] manages; compiled, they are the [`model`] that requests are decided by. What is known of a platform is a
//! [`profile`], a data file. [`keys`] are our own signing keys, [`limits`] keep one caller from slowing the others, [`ids`] and
//! [`clock`] hand in randomness and time. No module depends on one that depends on it; a test computes the graph.
#![cfg_attr(test, expect(non_snake_case, reason = "test names begin with the requirement they show"))]

pub mod admin;
pub mod app;
pub mod audit;
pub mod client;
pub mod clock;
pub mod command;
pub mod config;
pub mod decision;
pub mod documents;
pub mod explain;
pub mod form;
pub mod grant;
pub mod http;
pub mod keys;
pub mod limits;
pub mod own_tokens;
pub mod policy;
pub mod store;
pub mod token;
pub mod upstream;

pub use carnet_engine::{
    assertion, grant_type, ids, json, model, opaque, principal, profile, reason, refusal, scope, trust,
};
