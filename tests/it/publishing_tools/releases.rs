//! Releases of many packages at the front door `npm`, by the requests that npm sends, while the clock moves.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carnet_resource_server::{
    Introspection, Operation, PackageNames, RegistryState, Verifier, allows,
};
use carnet_stand_ins::Protocol;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use openssl::hash::{MessageDigest, hash};
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};

use super::Site;

/// How long a release takes, in seconds.
const RELEASE_SECONDS: i64 = 45 * 60;
/// The longest life of a key, in seconds.
const KEY_SECONDS: i64 = 15 * 60;

/// A tar archive with one file, compressed.
fn tarball(path: &str, text: &str) -> Vec<u8> {
    let mut header = vec![0_u8; 512];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, path);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", text.len()));
    put(136, "00000000000\0");
    // The sum is of the header with spaces in its place.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = [header, text.as_bytes().to_vec()].concat();
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&archive).unwrap();
    gzip.finish().unwrap()
}

/// The document of `npm publish`.
fn document(site: &Site, name: &str, version: &str) -> Value {
    let manifest = json!({ "name": name, "version": version, "license": "MIT" });
    let archive = tarball("package/package.json", &manifest.to_string());
    let digest = |kind: MessageDigest| hash(kind, &archive).unwrap();
    let mut sha1 = String::new();
    for byte in digest(MessageDigest::sha1()).iter() {
        write!(sha1, "{byte:02x}").unwrap();
    }
    let integrity = format!(
        "sha512-{}",
        STANDARD.encode(digest(MessageDigest::sha512()))
    );
    let file = format!("{name}-{version}.tgz");
    let mut described = manifest;
    described["_id"] = json!(format!("{name}@{version}"));
    described["dist"] = json!({
        "integrity": integrity, "shasum": sha1, "tarball": format!("{}{name}/-/{file}", site.url),
    });
    let attachment = json!({ "content_type": "application/octet-stream", "data": STANDARD.encode(&archive), "length": archive.len() });
    json!({
        "_id": name, "name": name, "dist-tags": { "latest": version }, "versions": { version: described },
        "access": "public", "_attachments": { file: attachment },
    })
}

impl Site {
    pub(crate) fn http(&self) -> reqwest::Client {
        let authority = std::fs::read(self.authority()).unwrap();
        let authority = reqwest::Certificate::from_pem(&authority).unwrap();
        reqwest::Client::builder()
            .no_proxy()
            .add_root_certificate(authority)
            .build()
            .unwrap()
    }

    /// A key for one package, asked for as npm does, and when it was made.
    async fn npm_key(&self, http: &reqwest::Client, name: &str) -> (String, i64) {
        let escaped = self.package(name).replace('/', "%2f");
        let token = self.runner.token("npm:localhost");
        let exchange = format!("{}-/npm/v1/oidc/token/exchange/package/{escaped}", self.url);
        let request = http
            .post(exchange)
            .header(AUTHORIZATION, format!("Bearer {token}"));
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(status, 201, "{name}: {body}");
        let text = |member: &str| body[member].as_str().unwrap().to_owned();
        let time = |member: &str| -> Timestamp { text(member).parse().unwrap() };
        let (created, expires) = (time("created").as_second(), time("expires").as_second());
        assert_eq!(expires - created, KEY_SECONDS, "{name}: {body}");
        (text("token"), created)
    }

    /// Publishes one package with a key of its own, as npm does.
    pub(crate) async fn npm_publishes(&self, http: &reqwest::Client, name: &str, version: &str) {
        let package = self.package(name);
        let (key, _) = self.npm_key(http, name).await;
        let upload = http
            .put(format!("{}{}", self.url, package.replace('/', "%2f")))
            .header(AUTHORIZATION, format!("Bearer {key}"))
            .json(&document(self, &package, version));
        let answer = upload.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{name}: {status} {text}");
    }

    /// A release of this many packages in 45 minutes. The registry verifies each key by the clock that is moved.
    async fn release_of(&self, count: usize) {
        let http = self.http();
        let client = json!({ "auth_method": "client_secret_basic", "resource_server": "ours" });
        let saved = self.world.server.put("clients/reader", client).await;
        let secret = saved["client_secret"].as_str().unwrap();
        let verifier = Verifier::new(&self.issuer, &self.url)
            .unwrap()
            .introspecting(Introspection::new("reader", secret));
        let begin = self.world.server.now();
        let mut published = BTreeSet::new();
        for number in 0..count {
            let name = format!("widgets-{number}");
            let (key, created) = self.npm_key(&http, &name).await;
            let now = self.world.server.now();
            assert!(now - created < KEY_SECONDS, "{name}");
            let token = verifier.verify_at(&key, now).await.unwrap();
            let package = self.package(&name);
            let new = RegistryState {
                exists: false,
                owned_by: &|_| false,
                may_act_for: &|principal, owner| principal == owner,
            };
            let operation = |package| Operation {
                action: "publish",
                package,
                version: Some("1.0.0"),
                digest: None,
            };
            let details = &token.authorization_details;
            let allowed = allows(details, PackageNames::Exact, &operation(&package), &new);
            assert_eq!(allowed.unwrap().owner, "joel", "{name}");
            // It is good for this package only.
            let other = operation("@octo/widgets");
            assert!(allows(details, PackageNames::Exact, &other, &new).is_err());
            published.insert(package);
            let due = RELEASE_SECONDS * (number as i64 + 1) / count as i64;
            self.world.server.clock.advance(due - (now - begin));
        }
        assert_eq!(published.len(), count);
        assert_eq!(self.world.server.now() - begin, RELEASE_SECONDS);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_of_60_packages_publishes_each_with_a_young_key() {
    Site::new(Protocol::Npm).await.release_of(60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_of_500_packages_publishes_each_with_a_young_key() {
    Site::new(Protocol::Npm).await.release_of(500).await;
}
