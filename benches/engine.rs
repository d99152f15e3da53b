//! Measures the parts of issuing a token: verifying the assertion, matching the rules, minting and
//! signing the access token.
//!
//! Run `cargo bench --bench engine`. The keys of the trusted issuer are in memory, as for nearly
//! every request in production.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a benchmark that fails may panic, and it has to read the real clock"
)]

mod support;

use std::hint::black_box;
use std::sync::Arc;

use carnet::app::{App, Background};
use carnet::assertion::Recipient;
use carnet::client::Admitted;
use carnet::clock::SystemClock;
use carnet::config::Config;
use carnet::decision::{Decision, Mode, Presented, Subject, decide};
use carnet::grant;
use carnet::grant_type::GrantType;
use carnet::model::DecisionContext;
use carnet::possession::ProvedKeys;
use carnet::principal::AccessRequest;
use carnet::trust::{Consent, Door, match_credentials};
use carnet::upstream::HttpFetch;
use criterion::{Criterion, criterion_group, criterion_main};
use support::{ISSUER_URL, Population, RawCrypto};
use tokio::runtime::Runtime;

/// Rules in the database. The cost of matching must not grow with their number.
const CREDENTIALS: usize = 1000;
/// Self-service rules of another principal for the same job: the limit for one principal and one
/// trusted issuer.
const OF_A_STRANGER: usize = 1000;
const CONSENT: Consent<'_> = Consent::Workload {
    principal: None,
    door: Door::Token,
    others: 5,
};

fn start(runtime: &Runtime, population: &Population) -> (Arc<App>, Background) {
    let settings = [
        ("CARNET_ISSUER", ISSUER_URL.to_owned()),
        ("CARNET_DATA_DIR", population.folder.display().to_string()),
        ("CARNET_DATABASE__URL", population.database_url.clone()),
    ];
    let config =
        Config::from_sources(None, settings.map(|(name, value)| (name.to_owned(), value))).unwrap();
    runtime
        .block_on(App::start(
            config,
            Arc::new(SystemClock),
            Arc::new(HttpFetch::default()),
        ))
        .unwrap()
}

fn engine(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let population = runtime.block_on(Population::new(CREDENTIALS, 0));
    let (app, background) = start(&runtime, &population);
    let assertion = population.assertion(1);
    let verify = |app: &App, context: &DecisionContext<'_>, assertion: &str| {
        let (presented, mut turn) = ((assertion, Recipient::TokenEndpoint), None);
        let verified = grant::verify_assertion(app, context, presented, &mut turn);
        runtime.block_on(verified).unwrap()
    };
    let context = app.decision_context();
    let verified = Arc::new(verify(&app, &context, &assertion));
    let accepted = verified.accept(GrantType::JwtBearer).unwrap();
    let now = app.clock.now();
    let subject = Subject {
        grant_type: GrantType::JwtBearer,
        presented: Presented::Assertion(accepted),
        client: Admitted::nobody(),
        proved: ProvedKeys::default(),
        actor: None,
    };
    let mode = Mode::Issue(&app.limits);
    let decided = || decide(&context, &subject, &AccessRequest::default(), mode).unwrap();
    let Decision::Registry(authorization) = decided() else {
        unreachable!("an assertion is for a registry")
    };
    let raw = RawCrypto::new();

    criterion.bench_function(
        "raw: one RSA-2048 verification and one P-256 signature",
        |bencher| {
            bencher.iter(|| {
                raw.verify();
                raw.sign();
            });
        },
    );
    criterion.bench_function("verify an assertion (RS256)", |bencher| {
        bencher.iter(|| verify(&app, &context, black_box(&assertion)));
    });
    criterion.bench_function("match it against 1000 rules", |bencher| {
        let rules = app.rules();
        bencher.iter(|| {
            match_credentials(
                &rules,
                verified.issuer(),
                black_box(verified.claims()),
                now,
                CONSENT,
                |_| true,
            )
        });
    });
    criterion.bench_function("match it and work out what it permits", |bencher| {
        bencher.iter(|| black_box(decided()));
    });
    let crowded = runtime.block_on(Population::new(CREDENTIALS, OF_A_STRANGER));
    let (beside, its_background) = start(&runtime, &crowded);
    let context_beside = beside.decision_context();
    let assertion = crowded.assertion(1);
    let verified = verify(&beside, &context_beside, &assertion);
    let presented = Presented::Assertion(Arc::new(verified).accept(GrantType::JwtBearer).unwrap());
    let subject = Subject {
        presented,
        ..subject
    };
    criterion.bench_function(
        "the same beside 1000 rules of a stranger for the same job",
        |bencher| {
            bencher.iter(|| {
                decide(
                    &context_beside,
                    &subject,
                    &AccessRequest::default(),
                    Mode::Issue(&beside.limits),
                )
                .unwrap()
            });
        },
    );
    drop(its_background);
    criterion.bench_function("make and sign the token (ES256)", |bencher| {
        bencher.iter(|| {
            app.tokens
                .mint(black_box(&authorization), "federated:x".to_owned(), now)
                .unwrap()
        });
    });
    drop(background);
}

criterion_group!(benches, engine);
criterion_main!(benches);
