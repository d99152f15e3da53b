//! Carnet, an OAuth 2.0 authorization server: it takes the JWT that a CI platform gave a job and answers with a short-lived
//! access token for what the users of a package registry allow that job to do.
//!
//! # The one road
//!
//! A request walks one way through the modules, and each hands the next a type that only it can make: a skipped check does
//! not compile. [`command`] starts the server from a [`config`]; [`app`] holds what all requests share.
//!
//! [`http`] reads the request into a bounded form in which every name stands once ([`form::TokenForm`]). [`client`] says who
//! sends it ([`client::ClientIdentity`]), [`grant`] what is asked for ([`grant::GrantRequest`]). [`assertion`] takes the JWT
//! apart ([`assertion::UnverifiedAssertion`]), asks [`upstream`] for the keys of the one trusted issuer it names, and
//! checks signature, header and claims ([`assertion::VerifiedAssertion`]). [`trust`] holds it against the federated
//! credentials that it may match and says of every condition whether it holds ([`trust::MatchReport`]); if one of them
//! matches as a whole, that is a [`trust::Permit`]. [`principal`] decides for whom and for what it is good: target,
//! principal, scope, details ([`principal::Authorization`]). [`token`] signs the access token ([`token::Minted`]), and the
//! ledger of the [`store`] writes down, in one transaction and before the token leaves, that the assertion is used, which
//! ids are pinned and what was issued. A no anywhere is a [`refusal::Refusal`] with one [`reason::Reason`], and one place
//! in [`http`] knows which OAuth error that is.
//!
//! [`explain`], [`policy`] and the [`audit`] events walk the same road and read the same report; there is no second matcher.
//! Matching, entitlement and the claim checks are pure functions of claims, rules and time: no database, no network.
//!
//! # Beside the road
//!
//! [`objects`] are the documents people write and [`admin`] is their life; compiled, they are the snapshot that trust is
//! decided from. What is known of a platform is a [`profile`], a data file. [`keys`] are our own signing keys, [`limits`]
//! keep one caller from slowing the others, [`ids`] and [`clock`] hand in randomness and time.
#![cfg_attr(
    test,
    expect(
        clippy::needless_pass_by_value,
        non_snake_case,
        reason = "helpers of tests take what is written down; test names begin with the requirement they show"
    )
)]

pub mod admin;
pub mod app;
pub mod assertion;
pub mod audit;
pub mod client;
pub mod clock;
pub mod command;
pub mod config;
pub mod decision;
pub mod explain;
pub mod form;
pub mod grant;
pub mod grant_type;
pub mod http;
pub mod ids;
pub mod keys;
pub mod limits;
pub mod model;
pub mod objects;
pub mod opaque;
pub mod own_tokens;
pub mod policy;
pub mod principal;
pub mod profile;
pub mod reason;
pub mod refusal;
pub mod scope;
pub mod store;
pub mod token;
pub mod trust;
pub mod upstream;
