//! Reading single values: their types and ranges, and where relative paths lead.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::value::Value;
use ipnet::IpNet;
use serde::de::DeserializeOwned;

use super::{Loader, absolute};
use crate::config::listen::Listens;
use crate::config::telemetry::AuditDestinations;
use crate::config::{
    CertificateFiles, CertificateListeners, ConfigError, DatabaseConfig, DatabaseUrl,
    EncryptionKeySource, Listen, LogFormat, Origin, OwnUrls, ServerConfig, TlsConfig,
};

/// A type of values, and what the message for a value of another type says.
pub(super) trait Expected: DeserializeOwned {
    const MUST: &'static str;
    /// Whether the text of an environment variable is the value, also where it looks like a number
    /// or a truth value.
    const IS_TEXT: bool = false;
}

impl Expected for String {
    const MUST: &'static str = "must be a text";
    const IS_TEXT: bool = true;
}

impl Expected for PathBuf {
    const MUST: &'static str = "must be a path";
    const IS_TEXT: bool = true;
}

impl Expected for bool {
    const MUST: &'static str = "must be true or false";
}

impl Expected for LogFormat {
    const MUST: &'static str = "must be text or json";
}

impl Expected for Listens {
    const MUST: &'static str = "must be an address such as 127.0.0.1:8080, or a list of addresses";
}

impl Expected for AuditDestinations {
    const MUST: &'static str = "must be a destination such as stdout, or a list of destinations";
}

impl Expected for Vec<CertificateFiles> {
    const MUST: &'static str = "must be a list such as [{ certificate_file = \"/etc/carnet/tls.crt\", key_file = \"/etc/carnet/tls.key\" }]";
}

impl Expected for Vec<String> {
    const MUST: &'static str = "must be a list of texts, such as [\"a\", \"b\"]";
}

impl Loader {
    pub(super) fn error(&mut self, key: &str, detail: String) {
        self.errors.push(ConfigError {
            key: key.to_owned(),
            detail,
            origin: self.sources.origin(key),
        });
    }

    /// The value of a key; `None` if it is absent or, with an error noted, of the wrong type.
    pub(super) fn value<T: Expected>(&mut self, key: &'static str) -> Option<T> {
        let value = self.given(key)?;
        let value = match (T::IS_TEXT, value, self.sources.text_of_variable(key)) {
            (true, Value::Num(..) | Value::Bool(..), Some(text)) => Value::from(text),
            (_, value, _) => value,
        };
        let read = value.deserialize().ok();
        if read.is_none() {
            self.error(key, T::MUST.to_owned());
        }
        read
    }

    pub(super) fn given(&mut self, key: &'static str) -> Option<Value> {
        self.origins.insert(key, self.sources.origin(key));
        self.sources.find(key)
    }

    pub(super) fn parsed<T: std::str::FromStr>(&mut self, key: &'static str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        let text: String = self.value(key)?;
        text.parse()
            .map_err(|error| self.error(key, format!("{error}")))
            .ok()
    }

    pub(super) fn in_range(
        &mut self,
        key: &'static str,
        least: u32,
        most: u32,
        default: u32,
    ) -> u32 {
        let Some(given) = self.given(key) else {
            return default;
        };
        match given.deserialize::<u32>() {
            Ok(value) if (least..=most).contains(&value) => value,
            _ => {
                self.error(
                    key,
                    format!("must be a whole number from {least} to {most}"),
                );
                default
            }
        }
    }

    /// The same for a number of things.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        least: u32,
        most: u32,
        default: u32,
    ) -> usize {
        usize::try_from(self.in_range(key, least, most, default)).unwrap_or(usize::MAX)
    }

    /// A list of networks. An address without a prefix length stands for itself alone.
    pub(super) fn networks(&mut self, key: &'static str) -> Vec<IpNet> {
        let texts: Vec<String> = self.value(key).unwrap_or_default();
        let mut networks = Vec::with_capacity(texts.len());
        for text in texts {
            match text
                .parse()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            {
                Ok(network) => networks.push(network),
                Err(_) => self.error(
                    key,
                    format!(
                        "every entry must be a network such as 10.0.0.0/8 or 2001:db8::/32, or an \
                         address; \"{text}\" is neither"
                    ),
                ),
            }
        }
        networks
    }

    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let path: PathBuf = self.value(key)?;
        Some(self.placed(key, path, Path::exists))
    }

    pub(super) fn paths(&mut self, key: &'static str) -> Vec<PathBuf> {
        let paths: Vec<String> = self.value(key).unwrap_or_default();
        paths
            .into_iter()
            .map(|path| self.placed(key, path.into(), Path::exists))
            .collect()
    }

    /// Where a path leads that was given for this key. A relative path in the configuration file is
    /// relative to the folder of the file, any other one to the working directory.
    ///
    /// Earlier releases took the working directory for the file as well. A place there is used,
    /// with a warning, where `is_there` finds something at it and nothing at the right place.
    pub(super) fn placed(
        &mut self,
        key: &str,
        given: PathBuf,
        is_there: impl Fn(&Path) -> bool,
    ) -> PathBuf {
        let Origin::File(file) = self.sources.origin(key) else {
            return given;
        };
        let folder = absolute(&file);
        let folder = folder.parent().unwrap_or(Path::new("/"));
        let (place, before) = (absolute(&folder.join(&given)), absolute(&given));
        if is_there(&place) || !is_there(&before) {
            return place;
        }
        self.warnings.push(format!(
            "{key}: {} is used, because {} does not exist. Relative paths in {} are relative to its \
             folder now; a later release will not look in the working directory. Write the absolute \
             path",
            before.display(),
            place.display(),
            file.display()
        ));
        before
    }

    /// The listeners for clients with certificates, by their two keys.
    pub(super) fn certificate_listeners(
        &mut self,
        (direct, proxies): (&'static str, &'static str),
    ) -> CertificateListeners {
        let given = self.value::<Listens>(direct).map(Listens::parse);
        let given = given.transpose().unwrap_or_else(|detail| {
            self.error(direct, detail);
            None
        });
        let found = CertificateListeners {
            direct: given.unwrap_or_default(),
            proxies: self.parsed(proxies),
        };
        if !found.direct.iter().all(Listen::is_tcp) {
            let detail =
                "must name TCP addresses: a Unix socket has no TLS to ask for a certificate";
            self.error(direct, detail.to_owned());
        }
        found
    }

    /// Checks that no address is named twice, as an ordinary one and for clients with certificates.
    pub(super) fn check_distinct(&mut self, listen: &[Listen], mtls: &CertificateListeners) {
        let direct = mtls.direct.iter().map(|one| ("server.mtls_listen", one));
        let proxies = mtls.proxies.iter();
        let proxies = proxies.map(|one| ("server.client_cert_listen", one));
        let twice = direct.chain(proxies).find(|(_, one)| listen.contains(one));
        if let Some((key, one)) = twice {
            self.error(
                key,
                format!("must be another address than those of server.listen, which has {one}"),
            );
        }
    }

    /// Checks what the listeners for clients with certificates need.
    pub(super) fn check_certificate_listeners(
        &mut self,
        server: &ServerConfig,
        gateway: &CertificateListeners,
    ) {
        let of_server = [
            (
                "server.mtls_listen",
                "server.client_cert_listen",
                &server.mtls,
            ),
            ("gateway.mtls_listen", "gateway.client_cert_listen", gateway),
        ];
        let no_tls = "must be left out, since server.tls.certificates is not set";
        let over_tls = |listeners: &CertificateListeners| {
            listeners.proxies.as_ref().is_some_and(Listen::is_tcp)
        };
        if !server.client_cert_proxies.is_empty() && !over_tls(&server.mtls) && !over_tls(gateway) {
            let detail = "must be left out, since no client_cert_listen is a TCP address";
            self.error("server.client_cert_proxies", detail.to_owned());
        }
        for (direct, proxies, listeners) in of_server {
            if server.tls.is_none() && !listeners.direct.is_empty() {
                self.error(direct, no_tls.to_owned());
            }
            if !over_tls(listeners) {
                continue;
            }
            if server.tls.is_none() {
                self.error(proxies, no_tls.to_owned());
            }
            if server.client_cert_proxies.is_empty() {
                let detail = "must be unix:/path, unless server.client_cert_proxies names the certificates of the proxies: anybody could connect, and write the header";
                self.error(proxies, detail.to_owned());
            }
        }
    }

    /// Adds the URL at which the server takes client certificates, if it takes any.
    pub(super) fn mtls_url(&mut self, own: OwnUrls, server: &ServerConfig) -> OwnUrls {
        let key = "server.mtls_url";
        let with_url = match (self.value::<String>(key), server.mtls.is_empty()) {
            (None, true) => return own,
            (Some(url), false) => own.clone().with_mtls(&url),
            (None, false) => Err("must be set: the https URL at which clients reach server.mtls_listen, or the proxy before server.client_cert_listen".to_owned()),
            (Some(_), true) => Err("must be left out, since neither server.mtls_listen nor server.client_cert_listen is set".to_owned()),
        };
        with_url.unwrap_or_else(|detail| {
            self.error(key, detail);
            own
        })
    }

    pub(super) fn tls(&mut self, has_tcp: bool) -> Option<TlsConfig> {
        let key = "server.tls.certificates";
        let given = self.value::<Vec<CertificateFiles>>("server.tls.certificates")?;
        let placed = given
            .into_iter()
            .map(|files| CertificateFiles {
                certificate_file: self.placed(key, files.certificate_file, Path::exists),
                key_file: self.placed(key, files.key_file, Path::exists),
            })
            .collect();
        TlsConfig::new(placed, has_tcp)
            .map_err(|detail| self.error(key, detail))
            .ok()
    }

    pub(super) fn data_dir(&mut self) -> PathBuf {
        let Some(given) = self.value::<PathBuf>("data_dir") else {
            return PathBuf::from("./carnet-data");
        };
        let holds_data = |folder: &Path| {
            ["carnet.db", "encryption.key"]
                .iter()
                .any(|file| folder.join(file).exists())
        };
        self.placed("data_dir", given, holds_data)
    }

    pub(super) fn database(&mut self, data_dir: &Path) -> DatabaseConfig {
        let default = DatabaseUrl::of_file(&data_dir.join("carnet.db"));
        let given = self.value::<String>("database.url");
        let file = self.path("database.url_file");
        if given.is_some() && file.is_some() {
            self.error(
                "database.url",
                "must not be given together with database.url_file".to_owned(),
            );
        }
        let key = if given.is_some() {
            "database.url"
        } else {
            "database.url_file"
        };
        let from_file = file.as_ref().and_then(|file| {
            let read = std::fs::read_to_string(file);
            read.map_err(|error| self.error(key, format!("{}: {error}", file.display())))
                .ok()
        });
        let url = match given.or(from_file).map(|url| url.trim().parse()) {
            None => default,
            Some(Ok(url)) => self.placed_url(key, url),
            Some(Err(detail)) => {
                self.error(key, detail.to_owned());
                default
            }
        };
        DatabaseConfig {
            url,
            url_file: file,
            max_connections: self.in_range("database.max_connections", 2, 1000, 16),
            wait: Duration::from_secs(self.in_range("database.wait_seconds", 0, 3600, 60).into()),
        }
    }

    pub(super) fn placed_url(&mut self, key: &str, url: DatabaseUrl) -> DatabaseUrl {
        match url.file() {
            Some(path) if path.is_relative() => {
                let place = self.placed(key, path, Path::exists);
                url.with_file(&place)
            }
            _ => url,
        }
    }

    pub(super) fn encryption_key(&mut self, data_dir: &Path) -> EncryptionKeySource {
        let given = self.value::<String>("keys.encryption_key");
        let file = self.path("keys.encryption_key_file");
        match (given, file) {
            (Some(_), Some(_)) => {
                let detail = "must not be given together with keys.encryption_key_file".to_owned();
                self.error("keys.encryption_key", detail);
                EncryptionKeySource::Generated(data_dir.join("encryption.key"))
            }
            (Some(key), None) => EncryptionKeySource::Given(key.into()),
            (None, Some(file)) => EncryptionKeySource::File(file),
            (None, None) => EncryptionKeySource::Generated(data_dir.join("encryption.key")),
        }
    }

    pub(super) fn key_files_dir(&mut self, own_files: &[PathBuf]) -> Option<PathBuf> {
        let folder = absolute(&self.path("key_files_dir")?);
        if own_files.iter().any(|own| own.starts_with(&folder)) {
            let detail = "must not hold data_dir, an encryption key or a TLS key: trusted issuers may name every file in it";
            self.error("key_files_dir", detail.to_owned());
        }
        Some(folder)
    }
}
