//! A gateway on a real socket, in front of a registry that remembers what reached it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use carnet::gateway::GatewayAuthority;
use carnet::http::Serving;
use carnet_gateway::Gateway;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Answer, TestServer, World};

/// A request that reached the registry.
#[derive(Clone, Debug)]
pub struct Reached {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reached {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

type Said = (u16, Vec<(&'static str, String)>, Vec<u8>);

#[derive(Debug, Default)]
struct Memory {
    reached: Vec<Reached>,
    /// Answers by method and path. Others are 404 for reads, and 200 for everything else.
    answers: BTreeMap<(String, String), Said>,
}

/// The registry behind a gateway. It knows nothing of Carnet.
#[derive(Clone, Debug)]
pub struct BackRegistry {
    pub url: String,
    memory: Arc<Mutex<Memory>>,
}

impl BackRegistry {
    pub async fn start() -> Self {
        let memory = Arc::new(Mutex::new(Memory::default()));
        let router = Router::new().fallback(answer).with_state(memory.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, memory }
    }

    /// From now on it answers so.
    pub fn answers(&self, method: &str, path: &str, status: u16, body: impl Into<Vec<u8>>) {
        self.answers_with(method, path, (status, &[], body.into()));
    }

    pub fn answers_with(
        &self,
        method: &str,
        path: &str,
        (status, headers, body): (u16, &[(&'static str, &str)], Vec<u8>),
    ) {
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let key = (method.to_owned(), path.to_owned());
        let mut memory = self.memory.lock().unwrap();
        memory.answers.insert(key, (status, headers, body));
    }

    /// The documents by which the index of this protocol is found. There is no package in it.
    fn has_index(&self, protocol: &str) {
        let url = &self.url;
        match protocol {
            "crates-io" => {
                let config = json!({ "dl": format!("{url}api/v1/crates"), "api": url.trim_end_matches('/') });
                self.answers("GET", "/index/config.json", 200, config.to_string());
            }
            "nuget" => {
                let base = json!({ "@id": format!("{url}v3/content/"), "@type": "PackageBaseAddress/3.0.0" });
                let index = json!({ "version": "3.0.0", "resources": [base] });
                self.answers("GET", "/v3/index.json", 200, index.to_string());
            }
            "rubygems" => self.answers("GET", "/versions", 200, "created_at: 2026-11-29\n---\n"),
            _ => {}
        }
    }

    /// What reached it, in order.
    pub fn reached(&self) -> Vec<Reached> {
        self.memory.lock().unwrap().reached.clone()
    }

    /// What reached it and was no read.
    pub fn written(&self) -> Vec<Reached> {
        let mut reached = self.reached();
        reached.retain(|one| !matches!(one.method.as_str(), "GET" | "HEAD"));
        reached
    }
}

async fn answer(State(memory): State<Arc<Mutex<Memory>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut memory = memory.lock().unwrap();
    let target = parts.uri.path_and_query().unwrap().to_string();
    let key = (parts.method.to_string(), parts.uri.path().to_owned());
    memory.reached.push(Reached {
        method: key.0.clone(),
        target,
        headers: parts.headers,
        body: body.to_bytes(),
    });
    let is_read = matches!(key.0.as_str(), "GET" | "HEAD");
    let otherwise = if is_read {
        (404, Vec::new(), b"{\"error\":\"not found\"}".to_vec())
    } else {
        (200, Vec::new(), Vec::new())
    };
    let (status, headers, body) = memory.answers.get(&key).cloned().unwrap_or(otherwise);
    let mut response = body.into_response();
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        let name = HeaderName::from_static(name);
        let value = HeaderValue::from_str(&value).unwrap();
        response.headers_mut().append(name, value);
    }
    response
}

/// A gateway before one registry.
#[derive(Debug)]
pub struct GatewayServer {
    pub world: World,
    pub back: BackRegistry,
    pub gateway: Arc<Gateway<GatewayAuthority>>,
    pub address: SocketAddr,
    _serving: Serving,
}

/// The password with which gateways of tests publish.
pub const OPERATORS: &str = "0perators-passw0rd";
/// The host of the registry in tests.
pub const HOST: &str = "registry.test";

impl GatewayServer {
    /// In front of a registry of this protocol.
    pub async fn of(protocol: &str) -> Self {
        Self::with(protocol, json!({}), &[]).await
    }

    /// With these members in the registry's entry, and these settings.
    pub async fn with(protocol: &str, more: Value, settings: &[(&str, &str)]) -> Self {
        let back = BackRegistry::start().await;
        back.has_index(protocol);
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), format!("{OPERATORS}\n")).unwrap();
        let file = secret.path().display().to_string();
        let mut entry = json!({
            "resource_server": "pypi", "protocol": protocol, "hosts": [HOST], "upstream": back.url,
            "credential": { "basic": { "username": "carnet", "password_file": file } },
        });
        for (name, value) in more.as_object().unwrap() {
            entry[name] = value.clone();
        }
        let registries = as_setting(&json!([entry]));
        let mut all = vec![("CARNET_GATEWAY__REGISTRIES", registries.as_str())];
        all.extend(settings);
        let world = World::with(&all).await;
        let names = match protocol {
            "pypi" => "pep503",
            "crates-io" => "cargo",
            "nuget" => "ascii_case_insensitive",
            _ => "exact",
        };
        let change =
            json!({ "package_names": names, "actions": ["create", "publish", "unlist", "delete"] });
        let saved = world
            .server
            .admin("PATCH", "resource-servers/pypi", change)
            .await;
        assert_eq!(saved.status, 200, "{}", saved.text());
        let (gateway, address, serving) = serve(&world.server).await;
        Self {
            world,
            back,
            gateway,
            address,
            _serving: serving,
        }
    }

    /// A token of the usual job that may do everything with every package.
    pub async fn token(&self) -> String {
        self.token_for(json!({})).await
    }

    /// The same, where the permission of the rule has these members.
    pub async fn token_for(&self, changed: Value) -> String {
        let mut rule = World::rule_document(json!({}));
        let permission = &mut rule["permissions"][0];
        permission["packages"] = json!(["*"]);
        permission["actions"] = json!(["create", "publish", "unlist", "delete"]);
        for (name, value) in changed.as_object().unwrap() {
            permission[name] = value.clone();
        }
        let path = "federated-credentials/octo-release";
        self.world.server.put(path, rule).await;
        self.world.exchange(&self.world.good()).await.token()
    }

    /// Sends a request with its `Host`, and reads the answer.
    pub async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut request = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
        let named = |wanted: &str| {
            let mut names = headers.iter();
            names.any(|(name, _)| name.eq_ignore_ascii_case(wanted))
        };
        if !named("host") {
            request.push_str("Host: registry.test\r\n");
        }
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        if !body.is_empty() && !named("content-length") && !named("transfer-encoding") {
            write!(request, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        request.push_str("\r\n");
        self.raw(&[request.as_bytes(), body].concat()).await
    }

    /// Sends bytes, and reads the answer until the connection ends.
    pub async fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let (mut reading, mut writing) = stream.split();
        let mut answer = Vec::new();
        // The gateway may answer, and close, before it has read everything.
        let (_, read) = tokio::join!(writing.write_all(bytes), reading.read_to_end(&mut answer));
        assert!(!answer.is_empty(), "no answer: {read:?}");
        parsed(&answer)
    }
}

/// A gateway of this server on a socket of its own.
pub async fn serve(server: &TestServer) -> (Arc<Gateway<GatewayAuthority>>, SocketAddr, Serving) {
    let gateway = carnet::gateway::set_up(&server.app).unwrap();
    let router = carnet::http::gateway_router(server.app.clone(), gateway.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (gateway, address, carnet::http::serve_on(router, listener))
}

fn parsed(answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.unwrap() + 4);
    let head = std::str::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let mut headers = HeaderMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap();
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, value.trim().parse().unwrap());
    }
    let is_chunked = headers
        .get("transfer-encoding")
        .is_some_and(|value| value == "chunked");
    let body = if is_chunked {
        unchunked(body)
    } else {
        body.to_vec()
    };
    Answer {
        status: status.parse().unwrap(),
        headers,
        body: body.into(),
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 2 + size + 2..];
        if size == 0 {
            break;
        }
    }
    whole
}

/// A value as environment variables spell it.
pub fn as_setting(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(as_setting).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => {
            let members = members.iter();
            let members: Vec<String> = members
                .map(|(name, value)| format!("{name} = {}", as_setting(value)))
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
        other => other.to_string(),
    }
}
