//! Platforms are asked again where they fail. The durations are short ones of the test where many tries are made.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use carnet_exchange::{ExchangeArgs, ExchangeError, Job, Patience, Tries};
use clap::Parser as _;
use hyper::body::{Bytes, Frame};
use serde_json::{Map, Value, json};

use super::hostile::exchange_in;
use super::platforms::{endpoint, github_token};
use super::{Ground, REGISTRY, access_token, fails_with, token_for};

#[derive(Debug, clap::Parser)]
struct Cli {
    #[command(flatten)]
    exchange: ExchangeArgs,
}

/// A thousandth of what jobs wait, so that a test can wait for all of it.
pub(super) const SHORT: Tries = Tries {
    count: 3,
    each: Duration::from_millis(300),
    total: Duration::from_secs(3),
    pause: Duration::from_millis(10),
};

/// Runs `carnet exchange` in this process with the tries of the test.
pub(super) async fn exchange(
    server: &str,
    environment: &[(&str, &str)],
    lookups: Tries,
) -> Result<Map<String, Value>, ExchangeError> {
    let args = Cli::parse_from(["x", "--server", server, "--resource", REGISTRY]);
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let tokens = Tries {
        each: Duration::from_secs(5),
        ..SHORT
    };
    let job = Job {
        environment: environment.collect(),
        patience: Patience { lookups, tokens },
    };
    carnet_exchange::exchange(&args.exchange, &job).await
}

/// How a platform fails before it gives a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Status(u16),
    /// GitHub has not registered that the job runs.
    Pending,
    Hang,
}

impl Failure {
    fn respond(self) -> Response {
        match self {
            Self::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
            Self::Pending => {
                let message = "Unable to generate ID Token: job is in 'Pending' state";
                (
                    StatusCode::FORBIDDEN,
                    axum::Json(json!({ "message": message })),
                )
                    .into_response()
            }
            // The head comes at once and the body never.
            Self::Hang => Response::new(Body::new(NeverEnds)),
        }
    }
}

/// A body that never comes.
struct NeverEnds;

impl hyper::body::Body for NeverEnds {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }
}

/// A platform that fails so often and then gives a token in the member `name` of its answer, or alone without a name.
async fn failing(
    failure: Failure,
    times: usize,
    name: Option<&'static str>,
) -> (String, Arc<AtomicUsize>) {
    let count: Arc<AtomicUsize> = Arc::default();
    let asked = count.clone();
    let (url, _) = endpoint(move |audience| {
        if asked.fetch_add(1, Ordering::SeqCst) < times {
            return failure.respond();
        }
        match name {
            Some(name) => axum::Json(json!({ name: token_for(audience) })).into_response(),
            None => ([("metadata-flavor", "Google")], token_for(audience)).into_response(),
        }
    })
    .await;
    (url, count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pub_k8__a_platform_that_fails_twice_is_asked_a_third_time() {
    let ground = Ground::new().await;
    let temporary = [408, 425, 429, 500, 501, 502, 503, 504, 529]
        .map(Failure::Status)
        .into_iter()
        .chain([Failure::Pending, Failure::Hang]);
    for failure in temporary {
        for (platform, member) in [("github", Some("value")), ("codefresh", Some("id_token"))] {
            let (url, asked) = failing(failure, 2, member).await;
            let environment = match platform {
                "github" => [
                    ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
                    ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t"),
                ],
                _ => [
                    ("CF_OIDC_REQUEST_URL", url.as_str()),
                    ("CF_OIDC_REQUEST_TOKEN", "t"),
                ],
            };
            let answer = exchange(&ground.server.url, &environment, SHORT).await;
            assert!(answer.is_ok(), "{platform}: {failure:?}: {answer:?}");
            assert_eq!(asked.load(Ordering::SeqCst), 3, "{platform}: {failure:?}");
        }
    }
    // Google's metadata server and Azure DevOps, whose tokens have an audience of their own, alike.
    let (url, asked) = failing(Failure::Status(503), 2, None).await;
    let host = url.trim_start_matches("http://");
    let answer = exchange(&ground.server.url, &[("GCE_METADATA_HOST", host)], SHORT).await;
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    let (url, asked) = failing(Failure::Status(500), 2, Some("oidcToken")).await;
    let environment = [
        ("SYSTEM_OIDCREQUESTURI", url.as_str()),
        ("SYSTEM_ACCESSTOKEN", "t"),
    ];
    let error = exchange(&ground.server.url, &environment, SHORT).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("the token is for ``"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pub_k8__a_platform_that_keeps_failing_is_exit_code_3_and_a_no_is_exit_code_1() {
    let ground = Ground::new().await;
    for (failure, code, times, says) in [
        (Failure::Status(500), 3, 3, "500 Internal Server Error"),
        (Failure::Status(429), 3, 3, "429 Too Many Requests"),
        (Failure::Pending, 3, 3, "job is in 'Pending' state"),
        (Failure::Hang, 3, 3, "it took longer than 0.3 s"),
        (Failure::Status(400), 1, 1, "400 Bad Request"),
        (Failure::Status(401), 1, 1, "401 Unauthorized"),
        (Failure::Status(403), 1, 1, "403 Forbidden"),
        (Failure::Status(404), 1, 1, "404 Not Found"),
    ] {
        let (url, asked) = failing(failure, 100, Some("value")).await;
        let environment = [
            ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t"),
        ];
        let error = exchange(&ground.server.url, &environment, SHORT)
            .await
            .unwrap_err();
        let text = error.to_string();
        assert_eq!(
            (error.exit_code(), asked.load(Ordering::SeqCst)),
            (code, times),
            "{failure:?}: {text}"
        );
        assert!(
            text.contains(says) && text.contains("github-actions: "),
            "{failure:?}: {text}"
        );
        assert_eq!(text.contains("tried 3 times"), times == 3, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pub_k8__all_tries_together_are_limited_and_retry_after_is_respected_within_the_limit() {
    let ground = Ground::new().await;
    let hangs = Tries {
        each: Duration::from_millis(400),
        total: Duration::from_millis(600),
        ..SHORT
    };
    let (url, asked) = failing(Failure::Hang, 100, Some("value")).await;
    let environment = |url: &str| {
        [
            ("ACTIONS_ID_TOKEN_REQUEST_URL", url.to_owned()),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t".to_owned()),
        ]
    };
    let ask = async |url: &str, tries: Tries| {
        let environment = environment(url);
        let environment = environment
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        exchange(&ground.server.url, &environment, tries).await
    };
    let begin = Instant::now();
    let error = ask(&url, hangs).await.unwrap_err();
    // The second try has what the first has left; for a third nothing is left.
    assert_eq!(error.exit_code(), 3, "{error}");
    assert!(asked.load(Ordering::SeqCst) < 3 && begin.elapsed() < Duration::from_secs(3));

    let waiting = async |seconds: &'static str, tries: Tries| {
        let count: Arc<AtomicUsize> = Arc::default();
        let asked = count.clone();
        let (url, _) = endpoint(move |audience| {
            if asked.fetch_add(1, Ordering::SeqCst) == 0 {
                return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds)]).into_response();
            }
            axum::Json(json!({ "value": token_for(audience) })).into_response()
        })
        .await;
        let begin = Instant::now();
        let answer = ask(&url, tries).await;
        (answer, begin.elapsed(), count.load(Ordering::SeqCst))
    };
    let (answer, took, asked) = waiting("1", SHORT).await;
    assert!(answer.is_ok(), "{answer:?}");
    assert!(
        took >= Duration::from_secs(1) && asked == 2,
        "{took:?}, {asked}"
    );
    // Longer than the command waits at all: it does not wait, and says so.
    let (answer, _, asked) = waiting("3600", SHORT).await;
    let error = answer.unwrap_err();
    assert_eq!((error.exit_code(), asked), (3, 1), "{error}");
    assert!(error.to_string().contains("asks to wait 3600 s"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pub_k8__the_job_survives_a_platform_that_is_not_ready_and_its_log_says_what_happened() {
    let ground = Ground::new().await;
    let count: Arc<AtomicUsize> = Arc::default();
    let (url, _) = endpoint(move |audience| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Failure::Pending.respond(),
        1 => (StatusCode::BAD_GATEWAY, [("retry-after", "0")]).into_response(),
        _ => axum::Json(json!({ "value": github_token(audience) })).into_response(),
    })
    .await;
    let environment = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t"),
    ];
    let run = ground.exchange(&[], &environment);
    assert_eq!(access_token(&run)["sub"], "pr_joel");
    assert_eq!(
        run.stderr,
        format!(
            "{url}/: 403 Forbidden; trying again in 1 s\n{url}/: 502 Bad Gateway; trying again in 0 s\n"
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pub_k8__options_with_empty_values_count_as_left_out_and_a_server_without_scheme_is_explained()
 {
    let ground = Ground::new().await;
    let empty = [
        "--source",
        "",
        "--assertion-file",
        "",
        "--assertion-env",
        "",
        "--audience",
        "",
        "--scope",
        "",
        "--principal",
        "",
        "--authorization-details",
        "",
        "--grant",
        "",
        "--kubernetes-token-file",
        "",
    ];
    let token = ground.token();
    access_token(&ground.exchange(&empty, &[("CARNET_ID_TOKEN", &token)]));
    let token = ground.token();
    let named = [
        "--source",
        "",
        "--assertion-env",
        "OTHER",
        "--assertion-file=",
    ];
    access_token(&ground.exchange(&named, &[("OTHER", &token)]));
    // Two that are given contradict each other.
    let run = ground.exchange(&["--source", "gitlab", "--assertion-env", "OTHER"], &[]);
    fails_with(
        2,
        &run,
        &["at most one of --source, --assertion-file and --assertion-env"],
    );
    for (server, says) in [
        ("carnet.example:8443", "such as https://carnet.example:8443"),
        ("127.0.0.1:8080", "such as http://127.0.0.1:8080"),
        ("", "such as https://carnet.example"),
    ] {
        let mut command = super::bare(&[]);
        command.args(["exchange", "--server", server, "--resource", REGISTRY]);
        let run = crate::support::finished(command.output().unwrap());
        fails_with(2, &run, &["--server", says]);
    }
    let run = exchange_in(&format!("{}/", ground.server.url), &[]);
    fails_with(
        2,
        &run,
        &[&format!(
            "Only the spelling differs: write --server {}\n",
            ground.server.url
        )],
    );
}
