//! The registry with a certificate.

use std::path::{Path, PathBuf};

use carnet_resource_server::ClientCertificate;
use carnet_stand_ins::{Protocol, Tls};
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509NameBuilder};
use reqwest::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{OPAQUE, Served, TOOLS, entry, present};

/// Sends a request and returns the first line of the answer, empty if there is none.
pub async fn status_line(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.lines().next().unwrap_or_default().to_owned()
}

/// A certificate for 127.0.0.1, signed with its own key, and the files that hold both.
fn certificate() -> (PathBuf, PathBuf, Vec<u8>) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "127.0.0.1").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(1).unwrap())
        .unwrap();
    let names = SubjectAlternativeName::new()
        .ip("127.0.0.1")
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let pem = builder.build().to_pem().unwrap();

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(uuid::Uuid::now_v7().to_string());
    std::fs::create_dir_all(&folder).unwrap();
    let (certificate, private) = (folder.join("certificate.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, &pem).unwrap();
    std::fs::write(&private, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    (certificate, private, pem)
}

#[tokio::test]
async fn with_a_certificate_the_registry_speaks_https_only() {
    let (certificate, key, pem) = certificate();
    let tls = Tls::from_files(&certificate, &key).unwrap();
    let mut registry = Served::serve(Protocol::Pypi, None, Some(tls)).await;
    let root = reqwest::Certificate::from_pem(&pem).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .add_root_certificate(root);
    registry.http = client.build().unwrap();

    // A peer that never begins its handshake keeps nobody waiting.
    let address = registry.url.strip_prefix("https://").unwrap().to_owned();
    let _silent = TcpStream::connect(&address).await.unwrap();
    registry.publish().await;
    let page = registry.text("/simple/octo-widgets/").await;
    assert!(
        page.contains(&format!("<a href=\"{}/packages/", registry.url)),
        "{page}"
    );

    let plain = TcpStream::connect(&address).await.unwrap();
    let line = status_line(plain, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(line, "");
    let request = registry.request("POST", "/legacy/");
    let request = present(Protocol::Npm, request, OPAQUE);
    // PyPI takes `Authorization: Bearer` too, so only the body is wrong here.
    assert_eq!(
        request.send().await.unwrap().status(),
        StatusCode::BAD_REQUEST
    );
    std::fs::remove_dir_all(certificate.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn an_upload_with_a_token_bound_to_a_certificate_needs_it_in_each_protocol() {
    let (file, key, pem) = certificate();
    let (own_file, own_key, own_pem) = certificate();
    let der = X509::from_pem(&own_pem).unwrap().to_der().unwrap();
    let own = ClientCertificate::from_der(&der);
    for protocol in [&[Protocol::Generic][..], &TOOLS].concat() {
        let tls = Tls::from_files(&file, &key).unwrap();
        let mut registry = Served::serve(protocol, None, Some(tls)).await;
        let token =
            registry.certified_token(&[entry(&["*"], &["publish", "create"])], own.thumbprint());
        // By nobody, by somebody else (the registry itself), and by whom it is for.
        for (identity, is_good) in [
            (None, false),
            (Some((&file, &key)), false),
            (Some((&own_file, &own_key)), true),
        ] {
            let root = reqwest::Certificate::from_pem(&pem).unwrap();
            let mut client = reqwest::Client::builder()
                .no_proxy()
                .add_root_certificate(root);
            if let Some((certificate, key)) = identity {
                let read = |file: &PathBuf| std::fs::read(file).unwrap();
                let identity = reqwest::Identity::from_pkcs8_pem(&read(certificate), &read(key));
                client = client.identity(identity.unwrap());
            }
            registry.http = client.build().unwrap();
            let answer = registry.upload(Some(&token)).await;
            assert_eq!(answer.status().is_success(), is_good, "{protocol:?}");
            if !is_good {
                let text = answer.text().await.unwrap();
                assert!(text.contains("client certificate"), "{protocol:?}: {text}");
            }
        }
        let about = registry.text("/.well-known/oauth-protected-resource").await;
        let says = "\"tls_client_certificate_bound_access_tokens\":true";
        assert!(about.contains(says), "{about}");
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let ((certificate, _, _), (_, key, _)) = (self::certificate(), self::certificate());
    assert!(Tls::from_files(&certificate, &key).is_err());
    assert!(Tls::from_files(Path::new("/nowhere"), &key).is_err());
}
