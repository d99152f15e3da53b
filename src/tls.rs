//! The certificates of the listeners, kept up to date with their files.
//!
//! They are read when the server starts, on SIGHUP, and when a file changes. A change is taken as a
//! whole: if one certificate cannot be served, the earlier ones stay in use. New handshakes get the
//! new certificates, and open connections go on.

mod certificate;
mod client;
mod context;
mod files;
pub mod jwk;
mod names;

use std::sync::Arc;

use arc_swap::ArcSwap;
use openssl::ssl::{SslContext, SslContextRef};
use parking_lot::Mutex;

pub use certificate::{Certificate, CertificateError};
pub use client::{ClientCertificate, proxy_thumbprints};
use files::Stamp;
pub use names::{Host, Names};

use crate::clock::Timestamp;
use crate::config::{CertificateFiles, OwnUrls, ServerConfig, TlsConfig};

/// How long before the end of a certificate `/readyz` and `carnet check` begin to warn, in seconds.
const WARN_BEFORE: i64 = 14 * 86_400;

/// Whether the handshakes of a listener ask for a client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    Unasked,
    /// They ask, and go on without.
    Optional,
}

/// The certificates of one reading.
pub struct CertificateSet {
    certificates: Arc<[Certificate]>,
    context: SslContext,
    /// The same, for handshakes that ask for a client certificate.
    asking: SslContext,
}

impl std::fmt::Debug for CertificateSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.certificates.iter().map(|one| &one.names))
            .finish()
    }
}

/// The index of the certificate for a server name: one that names it, else one whose wildcard covers
/// it, else the first one.
fn choose(certificates: &[Certificate], server_name: Option<&str>) -> usize {
    let Some(host) = server_name.map(Host::of) else {
        return 0;
    };
    let mut all = certificates.iter();
    all.clone()
        .position(|one| one.names.name_exactly(&host))
        .or_else(|| all.position(|one| one.names.cover(&host)))
        .unwrap_or(0)
}

impl CertificateSet {
    /// Reads all files. Errors with everything that keeps a certificate from being served.
    pub fn read(config: &TlsConfig) -> Result<Self, Vec<CertificateError>> {
        let (mut certificates, mut errors) = (Vec::new(), Vec::new());
        for files in &config.certificates {
            match Certificate::read(files) {
                Ok(certificate) => certificates.push(certificate),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let certificates: Arc<[Certificate]> = certificates.into();
        // What OpenSSL refuses here is a key too short, or a signature too weak.
        let contexts =
            context::front(&certificates, ClientCertificates::Unasked).and_then(|plain| {
                let asking = context::front(&certificates, ClientCertificates::Optional)?;
                Ok((plain, asking))
            });
        let (context, asking) = contexts.map_err(|error| {
            let what = format!("the certificates cannot be served: {error}");
            let named = config.certificates.iter();
            let file = named.map(|files| files.certificate_file.display().to_string());
            let all = file.collect::<Vec<_>>().join(", ");
            vec![CertificateError::new(all.as_ref(), what)]
        })?;
        Ok(Self {
            certificates,
            context,
            asking,
        })
    }

    /// The context for the handshake of a new connection.
    pub fn context(&self, asked: ClientCertificates) -> &SslContextRef {
        match asked {
            ClientCertificates::Unasked => &self.context,
            ClientCertificates::Optional => &self.asking,
        }
    }

    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The names of the certificate that a handshake with this server name serves.
    pub fn served_for(&self, server_name: Option<&str>) -> Option<&Names> {
        let at = choose(&self.certificates, server_name);
        self.certificates.get(at).map(|one| &one.names)
    }

    /// Whether any certificate covers this host.
    pub fn cover(&self, host: &Host) -> bool {
        self.certificates.iter().any(|one| one.names.cover(host))
    }

    /// The certificates whose time is over.
    pub fn expired(&self, now: Timestamp) -> Vec<String> {
        let expired = self.certificates.iter().filter(|one| one.has_expired(now));
        expired
            .map(|one| {
                format!(
                    "the TLS certificate of {} expired at {}",
                    one.names.first(),
                    one.not_after
                )
            })
            .collect()
    }

    /// The certificates whose time will be over within 14 days.
    pub fn expires_soon(&self, now: Timestamp) -> Vec<String> {
        let soon = now.plus_seconds(WARN_BEFORE);
        let ends_soon = |one: &&Certificate| !one.has_expired(now) && one.not_after <= soon;
        let ending = self.certificates.iter().filter(ends_soon);
        ending
            .map(|one| {
                format!(
                    "the TLS certificate of {} expires at {}",
                    one.names.first(),
                    one.not_after
                )
            })
            .collect()
    }

    /// What an operator should change, beside the certificates whose time is, or will soon be, over.
    pub fn warnings(&self, server: &ServerConfig, own: &OwnUrls, now: Timestamp) -> Vec<String> {
        let mut warnings = Vec::new();
        for one in self.certificates.iter().filter(|one| one.not_before > now) {
            warnings.push(format!(
                "the TLS certificate of {} is not valid before {}",
                one.names.first(),
                one.not_before
            ));
        }
        let with_certificates = own.mtls_host().filter(|_| !server.mtls.direct.is_empty());
        for (host, key) in [
            (Some(own.host()), "issuer"),
            (with_certificates, "server.mtls_url"),
        ] {
            if let Some(host) = host.filter(|host| !self.cover(&Host::of(host))) {
                warnings.push(format!(
                    "no TLS certificate covers {host}, the host of {key}: clients refuse the connection"
                ));
            }
        }
        let files = server.tls.iter().flat_map(|tls| &tls.certificates);
        for file in files.map(|files| &files.key_file) {
            if files::is_exposed(file) {
                warnings.push(format!(
                    "{}: others than its owner and group may read or write the TLS key; chmod 640 it",
                    file.display()
                ));
            }
        }
        warnings
    }
}

/// The certificates in use. Cheap to share; each handshake takes the current set.
#[derive(Debug)]
pub struct Certificates {
    config: TlsConfig,
    current: ArcSwap<CertificateSet>,
    reading: Mutex<Reading>,
}

/// What is known of the files.
#[derive(Debug)]
struct Reading {
    /// The state of the files when the set in use was read.
    loaded: Vec<Stamp>,
    /// The state at the last look, to see whether a change is complete.
    seen: Vec<Stamp>,
    /// The last failure, so that it is logged once.
    failure: Option<String>,
}

impl Certificates {
    /// Reads the configured certificates. Errors with everything that keeps one from being served.
    pub fn open(config: &TlsConfig) -> Result<Self, Vec<CertificateError>> {
        // Before the content, so that a change meanwhile is seen as one.
        let loaded = stamps(config);
        Ok(Self {
            current: ArcSwap::from_pointee(CertificateSet::read(config)?),
            config: config.clone(),
            reading: Mutex::new(Reading {
                seen: loaded.clone(),
                loaded,
                failure: None,
            }),
        })
    }

    pub fn current(&self) -> Arc<CertificateSet> {
        self.current.load_full()
    }

    /// Reads the files again, whether they have changed or not. A failure is logged.
    pub fn reload(&self, now: Timestamp) {
        let mut reading = self.reading.lock();
        reading.failure = None;
        self.read_again(&mut reading, now);
    }

    /// Reads the files again if they have changed since they were read, and not since the last call:
    /// a certificate and its key are rarely written at once.
    pub fn follow(&self, now: Timestamp) {
        let mut reading = self.reading.lock();
        let stamps = stamps(&self.config);
        let before = std::mem::replace(&mut reading.seen, stamps.clone());
        if stamps != reading.loaded && stamps == before {
            self.read_again(&mut reading, now);
        }
    }

    fn read_again(&self, reading: &mut Reading, now: Timestamp) {
        let stamps = stamps(&self.config);
        match self.newer_set(now) {
            Ok(set) => {
                for one in set.certificates() {
                    tracing::info!(names = %one.names, serial = one.serial, expires = %one.not_after, "a TLS certificate was read again");
                }
                self.current.store(Arc::new(set));
                (reading.loaded, reading.failure) = (stamps, None);
            }
            Err(errors) => {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                let errors = errors.join("; ");
                if reading.failure.as_ref() != Some(&errors) {
                    tracing::error!(
                        error = errors,
                        "the TLS certificates cannot be read again: the earlier ones stay in use"
                    );
                }
                reading.failure = Some(errors);
            }
        }
    }

    /// The set of what the files hold now. A certificate that has expired does not take the place of
    /// one that is valid.
    fn newer_set(&self, now: Timestamp) -> Result<CertificateSet, Vec<CertificateError>> {
        let set = CertificateSet::read(&self.config)?;
        let current = self.current();
        let errors: Vec<CertificateError> = set
            .certificates()
            .iter()
            .zip(current.certificates())
            .zip(&self.config.certificates)
            .filter(|((new, old), _)| new.has_expired(now) && !old.has_expired(now))
            .map(|((new, _), files)| {
                let what = format!("the certificate expired at {}", new.not_after);
                CertificateError::new(&files.certificate_file, what)
            })
            .collect();
        if errors.is_empty() {
            Ok(set)
        } else {
            Err(errors)
        }
    }
}

/// The state of all files.
fn stamps(config: &TlsConfig) -> Vec<Stamp> {
    let files =
        |one: &CertificateFiles| [&one.certificate_file, &one.key_file].map(|file| Stamp::of(file));
    config.certificates.iter().flat_map(files).collect()
}
