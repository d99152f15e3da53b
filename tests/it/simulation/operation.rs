//! What is done to the servers: requests of jobs, of registries and of administrators, and the upkeep of a server.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::random::Random;
use super::replica::{Done, Replica, Work, send};
use super::template::{
    DOOR, HERS, PENDING, RELEASE, Template, Workload, admin, document, path_of, scope_of,
};
use crate::support::{ACCESS_TOKEN, CARNET, JWT, JWT_BEARER, TOKEN_EXCHANGE, encode, github};

/// One request, or one piece of upkeep. Numbers are those of assertions, proofs, rules and issued tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Token {
        assertion: usize,
        proof: Option<usize>,
        named: Option<&'static str>,
        by: Grant,
    },
    Exchange {
        token: usize,
        proof: Option<usize>,
    },
    Introspect {
        token: usize,
    },
    Revoke {
        token: usize,
        by_administrator: bool,
    },
    Change {
        rule: usize,
        change: Change,
    },
    Refresh,
    Prune,
    Start,
}

/// How an assertion is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    JwtBearer,
    TokenExchange,
    FrontDoor,
}

/// A change of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Enable(bool),
    Vouch(bool),
    Delete,
    /// Saves the rule as it was at first.
    Save,
    /// Ends its tokens.
    End,
}

/// A step of the plan.
#[derive(Clone, Debug)]
pub enum Action {
    Begin(Operation),
    /// The process of this number ends at once, and starts again.
    Crash(usize),
    Lock,
    Refuse(usize),
    RefuseNothing,
    /// Moves the clock by so many seconds.
    Clock(i64),
}

impl Action {
    /// The next step of a plan in which so many assertions and processes are used.
    pub fn choose(random: &mut Random, assertions: usize, replicas: usize) -> Self {
        match random.below(100) {
            0..3 => Self::Crash(random.below(replicas)),
            3..8 => Self::Lock,
            8..11 => Self::Refuse(random.below(super::outsider::REFUSED.len())),
            11..20 => Self::RefuseNothing,
            20..24 => Self::Clock(random.of(&[1, 20, 100, -40, 400, 4000, -4000])),
            _ => Self::Begin(Operation::choose(random, assertions)),
        }
    }
}

impl Operation {
    fn choose(random: &mut Random, assertions: usize) -> Self {
        let proof = |random: &mut Random| random.chance(30).then(|| random.below(2));
        // Which of the tokens there are is settled when the operation begins.
        let token = random.below(1000);
        match random.below(100) {
            0..45 => {
                let by = random.of(&[
                    Grant::JwtBearer,
                    Grant::JwtBearer,
                    Grant::TokenExchange,
                    Grant::FrontDoor,
                ]);
                Self::Token {
                    assertion: random.below(assertions),
                    proof: proof(random).filter(|_| by != Grant::FrontDoor),
                    named: random.of(&[None, None, Some("joel"), Some("mallory")]),
                    by,
                }
            }
            45..55 => Self::Exchange {
                token,
                proof: proof(random),
            },
            55..67 => Self::Introspect { token },
            67..75 => Self::Revoke {
                token,
                by_administrator: random.chance(30),
            },
            75..92 => Self::Change {
                rule: random.of(&[RELEASE, RELEASE, PENDING, HERS, HERS]),
                change: random.of(&[
                    Change::Enable(false),
                    Change::Enable(true),
                    Change::Vouch(true),
                    Change::Vouch(false),
                    Change::Delete,
                    Change::Save,
                    Change::Save,
                    Change::End,
                ]),
            },
            92..98 => Self::Refresh,
            _ => Self::Prune,
        }
    }

    /// Begins the work on a replica that is up. `tokens` are the texts of the tokens.
    pub fn begin(&self, replica: &Replica, assertions: &[Assertion], tokens: &[String]) -> Work {
        let template = Template::get();
        let request = match self {
            Self::Token {
                assertion,
                proof,
                named,
                by,
            } => present(&assertions[*assertion], *proof, *named, *by),
            Self::Exchange { token, proof } => {
                let form = [
                    ("grant_type", TOKEN_EXCHANGE),
                    ("subject_token", &tokens[*token]),
                    ("subject_token_type", ACCESS_TOKEN),
                ];
                post("/token", &proof_header(&assertions[0], *proof), &form)
            }
            Self::Introspect { token } => {
                let header = [("authorization", template.registry.clone())];
                post("/introspect", &header, &[("token", &tokens[*token])])
            }
            Self::Revoke {
                token,
                by_administrator: false,
            } => post("/revoke", &[], &[("token", &tokens[*token])]),
            Self::Revoke { token, .. } => {
                let body = json!({ "token": tokens[*token] });
                admin(replica, "POST", "tokens/revoke", "admin", body)
            }
            Self::Change { rule, change } => change_request(replica, *rule, *change),
            Self::Refresh | Self::Prune | Self::Start => return self.upkeep(replica),
        };
        let router = replica.router().clone();
        Box::pin(async move { Done::Answered(send(router, request).await) })
    }

    fn upkeep(&self, replica: &Replica) -> Work {
        let (app, prunes) = (
            replica.up.as_ref().unwrap().app.clone(),
            *self == Self::Prune,
        );
        Box::pin(async move {
            let kept = if prunes {
                app.store.prune(app.clock.now(), 400).await.is_ok()
            } else {
                app.refresh().await.is_ok()
            };
            if kept { Done::Kept } else { Done::Failed }
        })
    }
}

/// An assertion that jobs present, in the form for the token endpoint and in that for the front door, and the proofs that go with
/// requests.
#[derive(Clone, Debug)]
pub struct Assertion {
    pub id: String,
    pub workload: Workload,
    text: String,
    at_door: String,
    proofs: [String; 2],
}

impl Assertion {
    pub fn new(seed: u64, number: usize) -> Self {
        let template = Template::get();
        let workload = [Workload::Release, Workload::First, Workload::Second][number % 3];
        let id = format!("job-{seed}-{number}");
        let claims = github(super::START).with("jti", id.as_str());
        let claims = match workload {
            Workload::Release => claims,
            Workload::First => claims
                .in_repository("octo-org/pin-repo")
                .with("repository_id", "80"),
            Workload::Second => claims
                .in_repository("octo-org/pin-repo")
                .with("repository_id", "81"),
        };
        Self {
            text: template.platform.sign(&claims),
            at_door: template.platform.sign(&claims.with("aud", DOOR)),
            proofs: [0, 1].map(|proof| template.proof(&format!("proof-{seed}-{proof}"))),
            id,
            workload,
        }
    }
}

fn present(
    assertion: &Assertion,
    proof: Option<usize>,
    named: Option<&str>,
    by: Grant,
) -> Request<Body> {
    let mut form = match by {
        Grant::FrontDoor => {
            let body = json!({ "token": assertion.at_door }).to_string();
            return Request::post("/_/oidc/mint-token")
                .header("content-type", "application/json")
                .header("host", DOOR)
                .body(Body::from(body))
                .unwrap();
        }
        Grant::JwtBearer => vec![
            ("grant_type", JWT_BEARER),
            ("assertion", assertion.text.as_str()),
        ],
        Grant::TokenExchange => vec![
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", assertion.text.as_str()),
            ("subject_token_type", JWT),
        ],
    };
    form.extend(named.map(|principal| ("principal", principal)));
    post("/token", &proof_header(assertion, proof), &form)
}

/// The request by which an assertion is presented when everything is over.
pub fn present_plainly(assertion: &Assertion) -> Request<Body> {
    present(assertion, None, Some("joel"), Grant::JwtBearer)
}

fn proof_header(assertion: &Assertion, proof: Option<usize>) -> Vec<(&'static str, String)> {
    proof
        .map(|proof| ("dpop", assertion.proofs[proof].clone()))
        .into_iter()
        .collect()
}

fn post(path: &str, headers: &[(&'static str, String)], form: &[(&str, &str)]) -> Request<Body> {
    let request = Request::post(path)
        .header("host", CARNET.trim_start_matches("https://"))
        .header("content-type", "application/x-www-form-urlencoded");
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, value)
    });
    request.body(Body::from(encode(form))).unwrap()
}

fn change_request(replica: &Replica, rule: usize, change: Change) -> Request<Body> {
    let path = path_of(rule);
    match change {
        Change::Enable(enabled) => admin(
            replica,
            "PATCH",
            &path,
            "admin",
            json!({ "enabled": enabled }),
        ),
        Change::Vouch(vouched) => admin(
            replica,
            "PATCH",
            &path,
            "admin",
            json!({ "vouched": vouched }),
        ),
        Change::Delete => admin(replica, "DELETE", &path, "admin", Value::Null),
        Change::Save => admin(replica, "PUT", &path, scope_of(rule), document(rule)),
        Change::End => {
            let body = json!({ "credential": super::template::RULES[rule] });
            admin(replica, "POST", "tokens/revoke", "admin", body)
        }
    }
}
