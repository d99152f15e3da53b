//! Carnet, an OAuth 2.0 authorization server for package registries: it takes the JWT that a CI
//! platform issued to a job and answers with a short-lived access token for what the registry's
//! users allow that job to do.
//!
//! # How a token request is processed
//!
//! [`http`] reads a request into a bounded form in which every parameter occurs once
//! ([`form::TokenForm`]), and [`grant`] reads the request of the grant type from it
//! ([`grant::GrantRequest`]). One pipeline ([`grant::issue`]) then takes every grant type through
//! the same steps. Each step returns a type that only it can construct, and the next step takes
//! that type:
//!
//! 1. context: the rules and the time, read once ([`model::DecisionContext`]);
//! 2. authenticate: which client sends the request ([`client::ClientIdentity`]);
//! 3. prove: of which keys the request proves possession, by a DPoP proof or by the certificate of
//!    its connection ([`possession::ProvedKeys`]);
//! 4. admit: which rules admit that client ([`client::Admitted`]);
//! 5. verify: [`assertion`] parses the JWT, takes the keys of the one trusted issuer that it names
//!    from [`upstream`], and checks signature, header and claims
//!    ([`assertion::VerifiedAssertion`]); the trusted issuer has to allow the grant type
//!    ([`assertion::AcceptedAssertion`]);
//! 6. decide: [`trust`] compares the assertion with the federated credentials that it may match
//!    ([`trust::MatchReport`]) and permits it if one of them matches in every condition
//!    ([`trust::Permit`]), [`principal`] determines target, principal, scope and authorization
//!    details, and [`decision`] combines both ([`decision::Authorization`]);
//! 7. mint: [`token`] signs the access token ([`token::Minted`]);
//! 8. record: the ledger of the [`store`] writes in one transaction that the assertion and the proof
//!    are used, which ids are pinned and what was issued ([`store::Recorded`]). Only a recorded
//!    token can be sent.
//!
//! A refusal at any step is a [`refusal::Refusal`] with one [`reason::Reason`], whose class
//! determines the OAuth error. [`explain`] and [`policy`] call the same [`decision::decide`]
//! without issuing anything; [`audit`] events are written from the same report.
//!
//! # A step that is left out does not compile
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use carnet::{assertion::*, client::*, clock::Timestamp, decision::*, grant_type::GrantType, model::Snapshot, store::Recorded};
//! # use carnet::{possession::ProvedKeys, token::*, trust::*};
//! # fn f(verified: Arc<VerifiedAssertion>, rules: &Snapshot, now: Timestamp, tokens: &TokenIssuer, client: Admitted,
//! #      decided: &Authorization<AcceptedAssertion>, recorded: &Recorded<Minted>) {
//! let accepted = verified.accept(GrantType::JwtBearer).unwrap();
//! let permit = Permit::new(accepted.clone(), rules, now, Consent::Named, |_| true);
//! let presented = Presented::Assertion(accepted);
//! let subject = Subject { grant_type: GrantType::JwtBearer, presented, client, proved: ProvedKeys::default(), actor: None };
//! let minted = tokens.mint(decided, "client".to_owned(), now);
//! let text = recorded.access_token();
//! # }
//! ```
//!
//! Verification: an assertion that was only parsed is not accepted.
//!
//! ```compile_fail
//! # use std::sync::Arc;
//! # use carnet::{assertion::*, grant_type::GrantType};
//! # fn f(unverified: Arc<UnverifiedAssertion<'_>>) {
//! let accepted = unverified.accept(GrantType::JwtBearer).unwrap();
//! # }
//! ```
//!
//! Acceptance: an assertion that was only verified is not compared with rules.
//!
//! ```compile_fail
//! # use std::sync::Arc;
//! # use carnet::{assertion::*, clock::Timestamp, model::Snapshot, trust::*};
//! # fn f(verified: Arc<VerifiedAssertion>, rules: &Snapshot, now: Timestamp) {
//! let permit = Permit::new(verified, rules, now, Consent::Named, |_| true);
//! # }
//! ```
//!
//! Admission: a client that was only authenticated does not take part in a decision.
//!
//! ```compile_fail
//! # use carnet::{assertion::*, client::*, decision::*, grant_type::GrantType, possession::ProvedKeys};
//! # fn f(presented: Presented<AcceptedAssertion>, identity: ClientIdentity) {
//! let subject = Subject { grant_type: GrantType::JwtBearer, presented, client: identity, proved: ProvedKeys::default(), actor: None };
//! # }
//! ```
//!
//! Permit: no token is minted for an assertion whose signature is only assumed.
//!
//! ```compile_fail
//! # use carnet::{assertion::*, clock::Timestamp, decision::*, token::*};
//! # fn f(assumed: &Authorization<AssumedAssertion>, tokens: &TokenIssuer, now: Timestamp) {
//! let minted = tokens.mint(assumed, "client".to_owned(), now);
//! # }
//! ```
//!
//! Record: the text of a token that was only minted cannot be read.
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
//! [`gateway`] is what the gateway asks of the server. [`command`] starts the server from a
//! [`config`]; [`app`] holds what all requests share.
//! [`documents`] are the objects as users write them and as [`admin`] manages them; compiled, they
//! are the [`model`] by which requests are decided. A [`profile`], a data file, describes a CI
//! platform. [`keys`] are the server's own signing keys, [`limits`] keep one caller from slowing
//! down the others, [`load`] bounds how many token requests are worked on, [`tls`] keeps the
//! certificates of the listeners, [`proofs`] the nonces of DPoP proofs, [`attestation`] what the
//! RPKI vouches for, [`telemetry`] the log, the ids of requests and what a collector gets, [`ids`]
//! and [`clock`] provide randomness and time.
//! The dependencies between modules have
//! no cycle, which a test checks.
#![cfg_attr(
    test,
    expect(
        non_snake_case,
        reason = "test names begin with the requirement they show"
    )
)]

pub mod access_request;
pub mod admin;
pub mod app;
pub mod attestation;
pub mod audit;
pub mod authorization;
pub mod client;
pub mod clock;
pub mod command;
pub mod config;
pub mod explain;
pub mod form;
pub mod gateway;
pub mod grant;
pub mod http;
pub mod key_material;
pub mod keys;
pub mod limits;
pub mod load;
pub mod own_tokens;
pub mod people;
pub mod policy;
pub mod proofs;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod token;
pub mod upstream;

pub use carnet_engine::{
    assertion, attested, decision, documents, grant_type, ids, json, model, opaque, possession,
    principal, profile, reason, refusal, scope, snippets, trust,
};
