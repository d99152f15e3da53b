//! Reading `gateway`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use figment::value::Value;
use serde::Deserialize;
use url::Url;

use super::Loader;
use super::values::Expected;
use crate::config::gateway::{RegistryEntry, named_once};
use crate::config::listen::Listens;
use crate::config::{CertificateListeners, GatewayConfig, GatewayRegistry, Listen, OwnUrls};

/// The default of `gateway.listen`.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8090);
/// The default of `gateway.max_upload`, in bytes.
const MAX_UPLOAD: u64 = 1 << 30;
/// The default of `gateway.spool_quota`, in bytes.
const SPOOL_QUOTA: u64 = 10 << 30;
/// The greatest value of both: what SQLite's and TOML's integers hold is more than any disk.
const GREATEST: u64 = 1 << 50;

/// The entries of `gateway.registries`, each of which is read by itself so that its error names it.
#[derive(Deserialize)]
struct Registries(Vec<Value>);

impl Expected for Registries {
    const MUST: &'static str = "must be a list of registries: one [[gateway.registries]] for each";
}

impl Loader {
    pub(super) fn gateway(
        &mut self,
        data_dir: &Path,
        own: Option<&OwnUrls>,
        mtls: CertificateListeners,
    ) -> GatewayConfig {
        let listen = self.value::<Listens>("gateway.listen").map(Listens::parse);
        let listen = listen.transpose().unwrap_or_else(|detail| {
            self.error("gateway.listen", detail);
            None
        });
        let server = self.parsed::<Url>("gateway.server");
        let issuer = own.and_then(|own| Url::parse(own.issuer()).ok());
        if let Some(server) = server.as_ref().filter(|url| !carnet_outbound::is_safe(url)) {
            self.warnings.push(format!(
                "gateway.server: assertions and tokens go to {server} without TLS: whoever can read that network can use them"
            ));
        }
        let spool_dir = self.path("gateway.spool_dir");
        GatewayConfig {
            mtls,
            listen: listen.unwrap_or_else(|| vec![Listen::Address(DEFAULT_LISTEN)]),
            metrics_listen: self.parsed("gateway.metrics_listen"),
            spool_dir: spool_dir.unwrap_or_else(|| data_dir.join("spool")),
            max_upload: self.bytes("gateway.max_upload", MAX_UPLOAD),
            spool_quota: self.bytes("gateway.spool_quota", SPOOL_QUOTA),
            server: server.or(issuer),
            ca_file: self.path("gateway.ca_file"),
            registries: self
                .value::<Registries>("gateway.registries")
                .map_or_else(Vec::new, |given| self.registries(given, own)),
        }
    }

    fn bytes(&mut self, key: &'static str, default: u64) -> u64 {
        let Some(given) = self.given(key) else {
            return default;
        };
        match given.deserialize::<u64>() {
            Ok(value) if (1..=GREATEST).contains(&value) => value,
            _ => {
                let detail = format!("must be a whole number of bytes from 1 to {GREATEST}");
                self.error(key, detail);
                default
            }
        }
    }

    fn registries(
        &mut self,
        Registries(entries): Registries,
        own: Option<&OwnUrls>,
    ) -> Vec<GatewayRegistry> {
        let key = "gateway.registries";
        let mut registries = Vec::with_capacity(entries.len());
        for (place, entry) in (1..).zip(entries) {
            match self.registry(&entry, own) {
                Ok(registry) => registries.extend(registry),
                Err(detail) => self.error(key, format!("registry {place}: {detail}")),
            }
        }
        if let Err(detail) = named_once(&registries) {
            self.error(key, detail);
        }
        let warnings = registries.iter().flat_map(GatewayRegistry::warnings);
        self.warnings.extend(warnings);
        registries
    }

    /// One registry; `None` if the issuer, with which its hosts are compared, has an error of its
    /// own.
    fn registry(
        &mut self,
        entry: &Value,
        own: Option<&OwnUrls>,
    ) -> Result<Option<GatewayRegistry>, String> {
        let read = entry.deserialize::<RegistryEntry>();
        let entry = read.map_err(|error| error.kind.to_string())?;
        let Some(own) = own else { return Ok(None) };
        let mut registry = GatewayRegistry::new(entry, own)?;
        if let Some(credential) = &mut registry.credential {
            credential.place(|file| self.placed("gateway.registries", file, Path::exists));
        }
        Ok(Some(registry))
    }
}
