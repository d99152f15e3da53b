//! The parameters of TLS (RFC 9325): TLS 1.3 and 1.2, forward secrecy and authenticated encryption
//! only, no renegotiation, no compression.
//!
//! A listener may ask for a client certificate. Any is accepted, from whatever authority: what counts
//! is that the client has its private key, which the handshake shows (RFC 8705 section 2.2).
//!
//! There are no session tickets and no other resumption: a client of this server makes few
//! connections and keeps them, and keys of tickets that leak would open recorded connections. A
//! resumed session would also keep a client certificate beyond its time.

use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::ssl::{
    AlpnError, NameType, SniError, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions,
    SslSessionCacheMode, SslVerifyMode, SslVersion, select_next_proto,
};

use super::certificate::Certificate;
use super::{ClientCertificates, choose};

/// ECDHE with authenticated encryption (RFC 9325 section 4.2). The server's order decides, except that
/// a client whose first choice is `ChaCha20` gets it, since it has no AES in hardware.
const TLS_1_2: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
                       ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
                       ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
const TLS_1_3: &str = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
/// Groups for the key exchange. Finite fields are left out, since they cost much more. An OpenSSL before
/// 3.5 does not know the first one.
const GROUPS: [&str; 2] = ["X25519MLKEM768:X25519:P-256:P-384", "X25519:P-256:P-384"];
/// At least 112 bits of security: RSA keys of 2048 bits, no SHA-1.
const SECURITY_LEVEL: u32 = 2;
/// The server's order, in the encoding of RFC 7301 section 3.1.
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";

/// The context of new connections, which serves the certificate that the client's server name selects.
pub(super) fn front(
    certificates: &Arc<[Certificate]>,
    asked: ClientCertificates,
) -> Result<SslContext, ErrorStack> {
    let mut contexts = Vec::with_capacity(certificates.len());
    for certificate in certificates.iter().skip(1) {
        contexts.push(context(certificate, asked)?.build());
    }
    let first = certificates.first().ok_or_else(ErrorStack::get)?;
    let mut front = context(first, asked)?;
    let certificates = certificates.clone();
    front.set_servername_callback(move |ssl, _| {
        let Some(name) = ssl.servername(NameType::HOST_NAME) else {
            return Err(SniError::NOACK);
        };
        // The context that is already set serves the first one.
        let others = choose(&certificates, Some(name)).checked_sub(1);
        match others.and_then(|at| contexts.get(at)) {
            Some(context) => ssl
                .set_ssl_context(context)
                .map_err(|_| SniError::ALERT_FATAL),
            None => Ok(()),
        }
    });
    Ok(front.build())
}

fn context(
    certificate: &Certificate,
    asked: ClientCertificates,
) -> Result<SslContextBuilder, ErrorStack> {
    let mut context = SslContext::builder(SslMethod::tls_server())?;
    context.set_options(
        SslOptions::NO_COMPRESSION
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::NO_TICKET
            | SslOptions::CIPHER_SERVER_PREFERENCE
            | SslOptions::PRIORITIZE_CHACHA,
    );
    // A connection that is idle gives its buffers back. The other modes are those that streams on a
    // non-blocking socket need.
    context.set_mode(
        SslMode::AUTO_RETRY
            | SslMode::ACCEPT_MOVING_WRITE_BUFFER
            | SslMode::ENABLE_PARTIAL_WRITE
            | SslMode::RELEASE_BUFFERS,
    );
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    context.set_num_tickets(0)?;
    context.set_security_level(SECURITY_LEVEL);
    context.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    context.set_cipher_list(TLS_1_2)?;
    context.set_ciphersuites(TLS_1_3)?;
    let [newest, earlier] = GROUPS;
    context
        .set_groups_list(newest)
        .or_else(|_| context.set_groups_list(earlier))?;
    context.set_alpn_select_callback(|_, offered| {
        // No protocol in common ends the handshake (RFC 7301 section 3.2).
        select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::ALERT_FATAL)
    });
    context.set_certificate(&certificate.leaf)?;
    for intermediate in &certificate.chain {
        context.add_extra_chain_cert(intermediate.clone())?;
    }
    context.set_private_key(&certificate.key)?;
    if asked == ClientCertificates::Optional {
        // OpenSSL would verify every certificate that the client sends along, which can cost seconds.
        // At depth 0 it looks at the client's own alone, and finds no authority for it.
        context.set_verify_depth(0);
        context.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
    }
    Ok(context)
}
