//! Where tokens come from: each platform's way, spoken by a stand-in.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Ground, access_token, fails, fails_with, github, now, stand_in, token_for};
use crate::support::TestKey;

/// The sources, in the order in which they are looked for.
const SOURCES: [&str; 12] = [
    "github-actions",
    "gitlab-ci",
    "buildkite",
    "circleci",
    "azure-devops",
    "bitbucket",
    "codefresh",
    "kubernetes",
    "spiffe",
    "aws",
    "azure",
    "google",
];

/// What a stand-in was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Asked {
    fn query(&self) -> Vec<(String, String)> {
        let query = self.uri.query().unwrap_or_default();
        url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect()
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// An endpoint that notes what it was asked and makes its answer from the `audience` in the query.
pub(super) async fn endpoint(
    answer: impl Fn(&str) -> Response + Send + Sync + 'static,
) -> (String, Arc<Mutex<Vec<Asked>>>) {
    let notes: Arc<Mutex<Vec<Asked>>> = Arc::default();
    let (written, answer) = (notes.clone(), Arc::new(answer));
    let router = Router::new().fallback(move |request: Request<Body>| {
        let asked = Asked {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        };
        let audience = asked
            .query()
            .into_iter()
            .find(|(name, _)| name == "audience")
            .map(|(_, value)| value);
        written.lock().unwrap().push(asked);
        let response = answer(&audience.unwrap_or_default());
        async move { response }
    });
    (format!("http://{}", stand_in(router).await), notes)
}

fn last(notes: &Mutex<Vec<Asked>>) -> Asked {
    notes.lock().unwrap().last().unwrap().clone()
}

pub(super) fn github_token(audience: &str) -> String {
    TestKey::rsa(0).sign(
        &github(now())
            .with("aud", audience)
            .in_environment("release")
            .value(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__exchange_asks_github_for_a_token_for_the_server() {
    let ground = Ground::new().await;
    let (platform, notes) =
        endpoint(|audience| axum::Json(json!({ "value": github_token(audience) })).into_response())
            .await;
    let url = format!("{platform}/token?api-version=2.0");
    let asking = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ask-me"),
    ];
    let run = ground.exchange(&[], &[&asking[..], &[("GITHUB_ACTIONS", "true")]].concat());
    assert_eq!(access_token(&run)["sub"], "pr_joel");
    // The runner is told what to hide on the other stream.
    assert_eq!(run.stderr, format!("::add-mask::{}", run.stdout));
    let asked = last(&notes);
    assert_eq!(
        (asked.method.as_str(), asked.header("authorization")),
        ("GET", "Bearer ask-me")
    );
    let expected = [
        ("api-version", "2.0"),
        ("audience", ground.server.url.as_str()),
    ];
    assert_eq!(
        asked.query(),
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    // Forgejo and Gitea speak the same protocol and are not GitHub; the name forces the source.
    let run = ground.exchange(&["--source", "forgejo"], &asking);
    assert!(
        access_token(&run)["sub"] == "pr_joel" && run.stderr.is_empty(),
        "{run:?}"
    );
    let run = ground.exchange(
        &["--json"],
        &[&asking[..], &[("GITHUB_ACTIONS", "true")]].concat(),
    );
    let answer: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        run.stderr,
        format!("::add-mask::{}\n", answer["access_token"].as_str().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__exchange_names_what_the_job_lacks() {
    let ground = Ground::new().await;
    let tokens = ground.write("pod.jwt", &ground.token());
    let tokens = tokens.to_str().unwrap();
    for (environment, says) in [
        (
            &[("GITHUB_ACTIONS", "true")][..],
            &[
                "github-actions: ",
                "permissions: id-token: write",
                "id-token: write\n",
            ][..],
        ),
        (
            &[("GITHUB_ACTIONS", "true"), ("FORGEJO_ACTIONS", "true")],
            &["enable-openid-connect: true"],
        ),
        (
            &[("GITLAB_CI", "true")],
            &[
                "gitlab-ci: ",
                "id_tokens:\n    CARNET_ID_TOKEN:\n      aud: http://127.0.0.1",
            ],
        ),
        (
            &[
                ("TF_BUILD", "True"),
                ("SYSTEM_OIDCREQUESTURI", "https://dev.test/"),
            ],
            &["SYSTEM_ACCESSTOKEN: $(System.AccessToken)"],
        ),
        (
            &[("BITBUCKET_BUILD_NUMBER", "7")],
            &[
                "bitbucket: ",
                "oidc:\n    audiences:\n      - http://127.0.0.1",
            ],
        ),
        (
            &[("BUILDKITE", "true"), ("PATH", "/nonexistent")],
            &["buildkite: the program `buildkite-agent` is not on the PATH"],
        ),
        (
            &[("CIRCLECI", "true"), ("PATH", "/nonexistent")],
            &["`circleci` is not on the PATH", "CIRCLE_OIDC_TOKEN_V2"],
        ),
    ] {
        // The pod that the runner lives in has a token; it is not the job's.
        fails(
            &ground.exchange(&["--kubernetes-token-file", tokens], environment),
            says,
        );
    }
    for (source, says) in [
        ("github-actions", "ACTIONS_ID_TOKEN_REQUEST_URL"),
        ("gitlab-ci", "CARNET_ID_TOKEN"),
        ("azure-devops", "SYSTEM_OIDCREQUESTURI"),
        ("bitbucket", "BITBUCKET_STEP_OIDC_TOKEN"),
        ("codefresh", "CF_OIDC_REQUEST_URL"),
        ("kubernetes", "/var/run/secrets/carnet/token"),
        ("spiffe", "SPIFFE_ENDPOINT_SOCKET"),
        ("azure", "AZURE_FEDERATED_TOKEN_FILE"),
    ] {
        fails(
            &ground.exchange(&["--source", source], &[]),
            &[&format!("{source}: "), says],
        );
    }
    // With nothing at all, everything that was looked for. (A developer's machine may be one of Google's.)
    let on_google = std::fs::read_to_string("/sys/class/dmi/id/product_name")
        .is_ok_and(|name| name.starts_with("Google"));
    if !on_google {
        let run = ground.exchange(&[], &[("HOME", "/")]);
        fails(
            &run,
            &[
                "no ambient credential was found",
                "--assertion-file",
                "--assertion-env",
                "--source",
            ],
        );
        let sources = run
            .stderr
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.split_once(": "));
        assert_eq!(
            sources.map(|(source, _)| source).collect::<Vec<_>>(),
            SOURCES
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__exchange_reads_tokens_from_variables_and_files() {
    let ground = Ground::new().await;
    access_token(&ground.exchange(
        &[],
        &[("GITLAB_CI", "true"), ("CARNET_ID_TOKEN", &ground.token())],
    ));
    access_token(&ground.exchange(
        &["--assertion-env", "NPM_ID_TOKEN"],
        &[("GITLAB_CI", "true"), ("NPM_ID_TOKEN", &ground.token())],
    ));
    access_token(&ground.exchange(&[], &[("BITBUCKET_STEP_OIDC_TOKEN", &ground.token())]));
    let path = ground.write("token", &ground.token());
    let path = path.to_str().unwrap();
    access_token(&ground.exchange(&["--kubernetes-token-file", path], &[]));
    for variable in ["AWS_WEB_IDENTITY_TOKEN_FILE", "AZURE_FEDERATED_TOKEN_FILE"] {
        ground.write("token", &ground.token());
        access_token(&ground.exchange(&[], &[(variable, path)]));
    }
    // What these hold for their own clouds is not sent unless that is said.
    let entra = token_for("api://AzureADTokenExchange");
    ground.write("token", &entra);
    let run = ground.exchange(&[], &[("AZURE_FEDERATED_TOKEN_FILE", path)]);
    fails(
        &run,
        &[
            "azure: the token is for `api://AzureADTokenExchange`",
            "kubernetes",
        ],
    );
    let run = ground.exchange(
        &["--audience", "api://AzureADTokenExchange"],
        &[("AZURE_FEDERATED_TOKEN_FILE", path)],
    );
    fails(&run, &["aud_mismatch"]);
    let run = ground.exchange(&[], &[("BITBUCKET_STEP_OIDC_TOKEN", &entra)]);
    fails(&run, &["`oidc: audiences:`"]);
    // The job's own token counts, not the machine's.
    let environment = [
        ("CARNET_ID_TOKEN", entra.as_str()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", path),
    ];
    fails(&ground.exchange(&[], &environment), &["gitlab-ci: "]);
}

/// A program on the PATH that notes its arguments and does this.
fn program(ground: &Ground, name: &str, body: &str) -> String {
    let folder = ground.folder().join("bin");
    std::fs::create_dir_all(&folder).unwrap();
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" > '{}'\n{body}\n",
        folder.join("arguments").display()
    );
    std::fs::write(folder.join(name), script).unwrap();
    std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:/usr/bin:/bin", folder.display())
}

fn arguments(ground: &Ground) -> Vec<String> {
    let text = std::fs::read_to_string(ground.folder().join("bin/arguments")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__exchange_runs_the_platforms_own_programs() {
    let ground = Ground::new().await;
    let server = ground.server.url.clone();
    let path = program(
        &ground,
        "buildkite-agent",
        &format!("echo 'some notes' >&2; echo {}", ground.token()),
    );
    let run = ground.exchange(&[], &[("BUILDKITE", "true"), ("PATH", &path)]);
    assert!(
        access_token(&run)["sub"] == "pr_acme" && run.stderr.is_empty(),
        "{run:?}"
    );
    let expected = [
        "oidc",
        "request-token",
        "--audience",
        &server,
        "--claim",
        "organization_id",
        "--claim",
        "pipeline_id",
    ];
    assert_eq!(arguments(&ground), expected);

    let path = program(&ground, "circleci", &format!("echo {}", ground.token()));
    access_token(&ground.exchange(&[], &[("CIRCLECI", "true"), ("PATH", &path)]));
    assert_eq!(
        arguments(&ground),
        [
            "run",
            "oidc",
            "get",
            "--claims",
            &json!({ "aud": server }).to_string()
        ]
    );
    // Without the program there is the variable, which is for the organization.
    let organization = token_for("0b5c7a0e-8a1e-4b7e-9f70-cc1f5a4f3f11");
    let environment = [
        ("CIRCLECI", "true"),
        ("PATH", "/nonexistent"),
        ("CIRCLE_OIDC_TOKEN_V2", &organization),
    ];
    fails(
        &ground.exchange(&[], &environment),
        &["circleci: the token is for `0b5c7a0e", "not on the PATH"],
    );
    let environment = [
        ("CIRCLECI", "true"),
        ("PATH", "/nonexistent"),
        ("CIRCLE_OIDC_TOKEN_V2", &ground.token()),
    ];
    access_token(&ground.exchange(&[], &environment));

    let path = program(&ground, "aws", &format!("echo {}", ground.token()));
    access_token(&ground.exchange(&["--source", "aws"], &[("PATH", &path)]));
    assert_eq!(
        arguments(&ground)[..4],
        [
            "sts",
            "get-web-identity-token",
            "--audience",
            server.as_str()
        ]
    );
    // The file of a cluster is for STS: the program uses it, and it is not sent anywhere else.
    let file = ground.write("sts.jwt", &token_for("sts.amazonaws.com"));
    let path = program(&ground, "aws", &format!("echo {}", ground.token()));
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
        ("PATH", &path),
    ];
    access_token(&ground.exchange(&[], &environment));

    // What a program prints is not shown when it fails, nor a token among what it says.
    let failing = format!(
        "echo hunter2; echo \"no such job: {}\" >&2; exit 3",
        ground.token()
    );
    let path = program(&ground, "buildkite-agent", &failing);
    let run = ground.exchange(&[], &[("BUILDKITE", "true"), ("PATH", &path)]);
    fails(
        &run,
        &[
            "buildkite: `buildkite-agent` failed",
            "no such job: (a token)",
        ],
    );
    assert!(!run.stderr.contains("hunter2"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__exchange_asks_azure_devops_codefresh_and_google() {
    let ground = Ground::new().await;
    let fixed = ground.token();
    let (platform, notes) =
        endpoint(move |_| axum::Json(json!({ "oidcToken": fixed })).into_response()).await;
    let url = format!("{platform}/org/_apis/distributedtask/oidctoken");
    let run = ground.exchange(
        &[],
        &[
            ("SYSTEM_OIDCREQUESTURI", &url),
            ("SYSTEM_ACCESSTOKEN", "pipeline"),
        ],
    );
    access_token(&run);
    let asked = last(&notes);
    assert_eq!(
        (asked.method.as_str(), asked.header("authorization")),
        ("POST", "Bearer pipeline")
    );
    assert_eq!(
        (asked.header("x-tfs-fedauthredirect"), asked.uri.query()),
        ("Suppress", Some("api-version=7.1"))
    );

    let answer =
        |audience: &str| axum::Json(json!({ "id_token": token_for(audience) })).into_response();
    let (platform, notes) = endpoint(answer).await;
    let run = ground.exchange(
        &[],
        &[
            ("CF_OIDC_REQUEST_URL", &platform),
            ("CF_OIDC_REQUEST_TOKEN", "bare"),
        ],
    );
    access_token(&run);
    assert_eq!(last(&notes).header("authorization"), "bare");

    let answer =
        |audience: &str| ([("metadata-flavor", "Google")], token_for(audience)).into_response();
    let (platform, notes) = endpoint(answer).await;
    let host = platform.trim_start_matches("http://");
    access_token(&ground.exchange(&[], &[("GCE_METADATA_HOST", host)]));
    let asked = last(&notes);
    assert_eq!(asked.header("metadata-flavor"), "Google");
    assert_eq!(
        asked.uri.path(),
        "/computeMetadata/v1/instance/service-accounts/default/identity"
    );
    assert!(
        asked
            .query()
            .contains(&("format".to_owned(), "full".to_owned()))
    );
    // A machine that only has the name.
    let (platform, _) = endpoint(|audience| token_for(audience).into_response()).await;
    let run = ground.exchange(
        &[],
        &[("GCE_METADATA_HOST", platform.trim_start_matches("http://"))],
    );
    fails(&run, &["not Google's metadata server"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__exchange_shows_a_platforms_error_and_follows_no_redirect() {
    let ground = Ground::new().await;
    let said = format!("not allowed {}", ground.token());
    let (platform, notes) =
        endpoint(move |_| (StatusCode::FORBIDDEN, said.clone()).into_response()).await;
    let environment = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", platform.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t"),
    ];
    fails(
        &ground.exchange(&[], &environment),
        &[
            "github-actions: the platform answered 403",
            "not allowed (a token)",
        ],
    );
    assert_eq!(notes.lock().unwrap().len(), 1);
    let elsewhere = platform.clone();
    let (platform, _) =
        endpoint(move |_| axum::response::Redirect::temporary(&elsewhere).into_response()).await;
    let environment = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", platform.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t"),
    ];
    fails(
        &ground.exchange(&[], &environment),
        &["the platform answered 307"],
    );
    assert_eq!(notes.lock().unwrap().len(), 1, "the redirect was followed");
    let environment = [
        (
            "ACTIONS_ID_TOKEN_REQUEST_URL",
            "http://u:SEKRET@ci.test/?tok=QSECRET",
        ),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t"),
    ];
    let refused = ground.exchange(&[], &environment);
    fails(&refused, &["`http://ci.test/`", "is not https"]);
    let said = format!("{refused:?}");
    assert!(
        !said.contains("SEKRET") && !said.contains("QSECRET"),
        "{said}"
    );
}

/// A Workload API that has this answer for `FetchJWTSVID`: a message, or a status.
async fn workload_api(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    audience: String,
    status: &'static str,
) {
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let audience = audience.clone();
        async move {
            assert_eq!(request.uri().path(), "/SpiffeWorkloadAPI/FetchJWTSVID");
            for (name, value) in [
                ("workload.spiffe.io", "true"),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
            ] {
                assert_eq!(request.headers()[name], value);
            }
            let body = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(
                &body[7..],
                audience.as_bytes(),
                "the audience is the one field"
            );
            let svid = token_for(json!([audience]));
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", status.parse().unwrap());
            trailers.insert("grpc-message", "no identity issued".parse().unwrap());
            // Without an identity real agents answer with the head alone.
            let head = if status == "16" {
                std::mem::take(&mut trailers)
            } else {
                HeaderMap::new()
            };
            let message = if status == "0" {
                jwt_svids(&svid)
            } else {
                Vec::new()
            };
            let body =
                Full::new(Bytes::from(message)).with_trailers(async move { Some(Ok(trailers)) });
            let mut response = hyper::Response::builder()
                .header("content-type", "application/grpc")
                .body(body)?;
            response.headers_mut().extend(head);
            Ok::<_, axum::http::Error>(response)
        }
    });
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}

/// A framed `JWTSVIDResponse` with one document.
fn jwt_svids(token: &str) -> Vec<u8> {
    let field = |number: u8, value: &[u8]| {
        let mut field = vec![number << 3 | 2];
        let mut length = value.len();
        while length >= 0x80 {
            field.push(length as u8 & 0x7f | 0x80);
            length >>= 7;
        }
        field.push(length as u8);
        [field, value.to_vec()].concat()
    };
    let document = [
        field(1, b"spiffe://acme.test/builds"),
        field(2, token.as_bytes()),
    ]
    .concat();
    let message = field(1, &document);
    [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__exchange_fetches_a_jwt_svid() {
    let ground = Ground::new().await;
    let server = ground.server.url.clone();
    let path = ground.folder().join("agent.sock");
    let unix = tokio::net::UnixListener::bind(&path).unwrap();
    let audience = server.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = unix.accept().await {
            tokio::spawn(workload_api(stream, audience.clone(), "0"));
        }
    });
    let socket = format!("unix://{}", path.display());
    assert_eq!(
        access_token(&ground.exchange(&[], &[("SPIFFE_ENDPOINT_SOCKET", &socket)]))["sub"],
        "pr_acme"
    );

    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = format!("tcp://{}", tcp.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = tcp.accept().await.unwrap();
        tokio::spawn(workload_api(stream, server.clone(), "0"));
        for status in ["7", "16", "0"] {
            let (stream, _) = tcp.accept().await.unwrap();
            let audience = if status == "0" {
                "https://other.test".to_owned()
            } else {
                server.clone()
            };
            workload_api(stream, audience, status).await;
        }
    });
    let environment = [("SPIFFE_ENDPOINT_SOCKET", socket.as_str())];
    access_token(&ground.exchange(&["--source", "spiffe"], &environment));
    for status in ["7", "16"] {
        let says = format!("(gRPC status {status}): no identity issued");
        fails(&ground.exchange(&[], &environment), &["spiffe: ", &says]);
    }
    let run = ground.exchange(&["--audience", "https://other.test"], &environment);
    fails(&run, &["the server refused: aud_mismatch"]);
    for (code, wrong) in [(3, "tcp://127.0.0.1:1"), (1, "agent.sock")] {
        fails_with(
            code,
            &ground.exchange(&[], &[("SPIFFE_ENDPOINT_SOCKET", wrong)]),
            &["spiffe: ", wrong],
        );
    }
}

#[test]
fn contract_2__the_book_lists_the_sources_of_exchange_in_their_order() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src/reference/command-line.md");
    let page = std::fs::read_to_string(page).unwrap();
    let table = page
        .split("| source | found by | the token |")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let named = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(named.collect::<Vec<_>>(), SOURCES);
}
