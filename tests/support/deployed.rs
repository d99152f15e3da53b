//! A server as its users find it: at the present time, on a real socket, behind a proxy that does TLS.

use std::path::PathBuf;

use carnet::http::{Serving, serve_on};
use reqwest::Certificate;
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_native_tls::TlsAcceptor;
use tokio_native_tls::native_tls::{self, Identity};

use super::{Authority, Claims, Flaw, Packages, TestServer, World};

/// A server as its users find it.
#[derive(Debug)]
pub struct Deployed {
    pub world: World,
    /// Its issuer identifier.
    pub url: String,
    authority: Authority,
    _serving: Serving,
}

impl Deployed {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With these environment variables.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        let authority = Authority::new();
        let (outside, inside) = (listener().await, listener().await);
        let url = format!("https://{}", outside.local_addr().unwrap());
        proxy(&authority, outside, inside.local_addr().unwrap());
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs() as i64;
        let settings = [&[("CARNET_ISSUER", url.as_str())], settings].concat();
        let world = World::on(TestServer::at(now, &settings).await).await;
        let serving = serve_on(world.server.router.clone(), inside);
        std::fs::write(
            world.server.db.folder().join("authority.pem"),
            authority.pem(),
        )
        .unwrap();
        Self {
            world,
            url,
            authority,
            _serving: serving,
        }
    }

    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Where programs find the authority of its certificate.
    pub fn authority_file(&self) -> PathBuf {
        self.world.server.db.folder().join("authority.pem")
    }

    /// An HTTP client that knows that authority.
    pub fn http(&self) -> reqwest::Client {
        let authority = Certificate::from_pem(self.authority.pem().as_bytes()).unwrap();
        reqwest::Client::builder()
            .no_proxy()
            .add_root_certificate(authority)
            .build()
            .unwrap()
    }

    /// The claims of a good assertion for this server.
    pub fn claims(&self) -> Claims {
        self.world.claims().with("aud", self.url.clone())
    }

    /// A good assertion for this server.
    pub fn good(&self) -> String {
        self.world.gh.sign(&self.claims())
    }

    /// Runs a script of `tests/clients`; none where the machine lacks what it takes and that is allowed.
    pub fn run(&self, packages: Packages, script: &str, input: &Value) -> Option<Value> {
        packages.run(script, &self.authority_file(), input)
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Takes TLS connections and passes on what is in them.
fn proxy(authority: &Authority, outside: TcpListener, inside: std::net::SocketAddr) {
    let (certificate, key) = authority.issue(Flaw::None);
    let (certificate, key) = (
        certificate.to_pem().unwrap(),
        key.private_key_to_pem_pkcs8().unwrap(),
    );
    let identity = Identity::from_pkcs8(&certificate, &key).unwrap();
    let acceptor = TlsAcceptor::from(native_tls::TlsAcceptor::new(identity).unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = outside.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut server = TcpStream::connect(inside).await.unwrap();
                copy_bidirectional(&mut stream, &mut server).await.ok();
            });
        }
    });
}
