//! A server that speaks TLS itself: its files, and clients that see everything of a connection.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use carnet::config::{ConnectionLimits, Listen};
use carnet::http::{self, Serving};
use openssl::pkey::{PKey, Private};
use openssl::ssl::{Ssl, SslContext, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::{Authority, TestServer, World, free_address};

/// A world whose listener speaks TLS.
#[derive(Debug)]
pub struct Secure {
    pub world: World,
    pub authority: Authority,
    pub address: SocketAddr,
    /// The files of its certificates.
    pub files: Vec<[PathBuf; 2]>,
    folder: PathBuf,
    serving: Option<Serving>,
}

impl Drop for Secure {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// How a client makes its handshake.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tls<'t> {
    pub server_name: Option<&'t str>,
    /// As in RFC 7301 section 3.1.
    pub protocols: &'t [u8],
    pub only_1_2: bool,
}

/// Writes a certificate and its key into a folder, and returns the files.
pub fn write(
    folder: &Path,
    name: &str,
    (certificate, key): &(X509, PKey<Private>),
) -> [PathBuf; 2] {
    let files = ["crt", "key"].map(|ending| folder.join(format!("{name}.{ending}")));
    std::fs::write(&files[0], certificate.to_pem().unwrap()).unwrap();
    std::fs::write(&files[1], key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    std::fs::set_permissions(&files[1], std::fs::Permissions::from_mode(0o600)).unwrap();
    files
}

/// The value of `CARNET_SERVER__TLS__CERTIFICATES` for these files.
pub fn setting(files: &[[PathBuf; 2]]) -> String {
    let entries = files.iter().map(|[certificate, key]| {
        format!(
            "{{certificate_file = \"{}\", key_file = \"{}\"}}",
            certificate.display(),
            key.display()
        )
    });
    format!("[{}]", entries.collect::<Vec<_>>().join(", "))
}

impl Secure {
    /// With one certificate for each list of names.
    pub async fn new(certificates: &[&[&str]]) -> Self {
        let authority = Authority::new();
        let certificates: Vec<_> = certificates
            .iter()
            .map(|names| authority.certify(names, 300 * 86_400))
            .collect();
        Self::with(authority, &certificates, ConnectionLimits::default(), &[]).await
    }

    pub async fn with(
        authority: Authority,
        certificates: &[(X509, PKey<Private>)],
        limits: ConnectionLimits,
        settings: &[(&str, &str)],
    ) -> Self {
        let folder = std::env::temp_dir().join(format!(
            "carnet-tls-{}",
            uuid::Uuid::from_bytes(carnet::ids::random())
        ));
        std::fs::create_dir(&folder).unwrap();
        let files: Vec<_> = certificates
            .iter()
            .enumerate()
            .map(|(number, pair)| write(&folder, &number.to_string(), pair))
            .collect();
        let setting = setting(&files);
        let settings = [
            &[("CARNET_SERVER__TLS__CERTIFICATES", setting.as_str())],
            settings,
        ]
        .concat();
        let world = World::on(TestServer::with(&settings).await).await;
        let app = &world.server.app;
        let tls = http::Tls::new(
            app.certificates.clone().unwrap(),
            &app.config.server.trusted_proxies,
        );
        let address: SocketAddr = free_address().parse().unwrap();
        let router = world.server.router.clone();
        let serving = http::serve(router, &Listen::Address(address), limits, Some(&tls)).await;
        Self {
            world,
            authority,
            address,
            files,
            folder,
            serving: Some(serving.unwrap()),
        }
    }

    /// Ends it as `carnet serve` does.
    pub async fn stop(&mut self) {
        self.serving.take().unwrap().stop().await;
    }

    /// Makes a handshake.
    pub async fn connect(&self, tls: Tls<'_>) -> Result<SslStream<TcpStream>, openssl::ssl::Error> {
        connect(self.address, &self.authority, tls).await
    }

    /// Sends a request for this host over a new connection with this server name, by HTTP/1.1, and returns
    /// the status.
    pub async fn status(&self, server_name: Option<&str>, host: &str) -> u16 {
        let tls = Tls {
            server_name,
            ..Tls::default()
        };
        let mut stream = self.connect(tls).await.unwrap();
        status(&mut stream, host).await
    }
}

/// Makes a handshake with whoever listens there.
pub async fn connect(
    address: SocketAddr,
    authority: &Authority,
    tls: Tls<'_>,
) -> Result<SslStream<TcpStream>, openssl::ssl::Error> {
    // Not a connector, which reads the authorities of this machine each time.
    let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
    let root = X509::from_pem(authority.pem().as_bytes()).unwrap();
    context.cert_store_mut().add_cert(root).unwrap();
    context.set_verify(SslVerifyMode::PEER);
    if !tls.protocols.is_empty() {
        context.set_alpn_protos(tls.protocols).unwrap();
    }
    if tls.only_1_2 {
        context
            .set_max_proto_version(Some(SslVersion::TLS1_2))
            .unwrap();
    }
    let mut ssl = Ssl::new(&context.build()).unwrap();
    // What is served is looked at by the tests.
    if let Some(name) = tls.server_name {
        ssl.set_hostname(name).unwrap();
    }
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = SslStream::new(ssl, stream).unwrap();
    Pin::new(&mut stream).connect().await?;
    Ok(stream)
}

/// The first name in the certificate that was served.
pub fn names_of(stream: &SslStream<TcpStream>) -> String {
    let certificate = stream.ssl().peer_certificate().unwrap();
    let names = certificate.subject_alt_names().unwrap();
    names[0].dnsname().unwrap().to_owned()
}

/// Sends a request for this host and returns the status of the answer.
pub async fn status(stream: &mut SslStream<TcpStream>, host: &str) -> u16 {
    let request = format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"}") {
        let mut some = [0; 1024];
        let count = stream.read(&mut some).await.unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&some[..count]);
    }
    let text = String::from_utf8(read).unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}
