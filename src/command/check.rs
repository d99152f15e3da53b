//! `carnet check`: reads everything that a start of the server needs and reports all errors at once.
//! It listens nowhere, and neither creates nor changes anything.

use std::path::Path;

use serde_json::json;

use super::{CommandError, Conclusion, ConfigFile};
use crate::admin::{named_files, shared_workloads};
use crate::app::StartError;
use crate::attestation::{self, VerifyAttestation};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{AuditDestination, Config, ConfigError, EncryptionKeySource};
use crate::documents::{ReadContext, TrustedIssuerDocument};
use crate::gateway;
use crate::key_material::OpenSsl;
use crate::keys::{EncryptionKeys, KeyRing, exposed_key_files};
use crate::model::Snapshot;
use crate::profile::Profiles;
use crate::store::{Found, Store, StoreError};
use crate::telemetry::Telemetry;
use crate::tls::{CertificateSet, proxy_thumbprints};

/// What the check found.
#[derive(Debug, Default)]
struct Findings {
    /// Errors: the server would not start, or not serve as configured.
    problems: Vec<String>,
    /// What an operator should change.
    warnings: Vec<String>,
    /// What the next start of the server does.
    notes: Vec<String>,
}

pub async fn run(file: &ConfigFile, as_json: bool) -> Result<Conclusion, CommandError> {
    let mut found = Findings::default();
    match Config::load(file.config.as_deref()) {
        Err(errors) => found
            .problems
            .extend(errors.iter().map(ConfigError::to_string)),
        Ok(config) => found.examine(&config).await,
    }
    let ok = found.problems.is_empty();
    if as_json {
        println!(
            "{}",
            json!({ "ok": ok, "problems": found.problems, "warnings": found.warnings, "notes": found.notes })
        );
        return Ok(ok.into());
    }
    for problem in &found.problems {
        println!("{problem}");
    }
    for warning in &found.warnings {
        println!("warning: {warning}");
    }
    for note in &found.notes {
        println!("note: {note}");
    }
    if ok {
        println!("the configuration is in order");
    }
    Ok(ok.into())
}

impl Findings {
    async fn examine(&mut self, config: &Config) {
        self.warnings.extend(config.warnings.iter().cloned());
        for file in exposed_key_files(config) {
            self.warnings.push(format!(
                "{}: others than its owner may read or write the encryption key; chmod 600 it",
                file.display()
            ));
        }
        let profiles = match Profiles::load(config.profiles_dir.as_deref()) {
            Ok(profiles) => Some(profiles),
            Err(errors) => {
                self.problems.extend(errors.iter().map(ToString::to_string));
                None
            }
        };
        self.examine_certificates(config);
        self.examine_data_dir(config);
        self.examine_exports(config);
        let attestations = attestation::verifier(config).unwrap_or_else(|error| {
            self.problems.push(error);
            None
        });
        match Store::find(&config.database).await {
            Err(error) => {
                self.problems.push(format!("database.url: {error}"));
                self.problems.extend(error.hint().map(str::to_owned));
            }
            Ok(Found::Nothing) => {
                self.notes.push(format!(
                    "the database is not there yet; `carnet serve` will create it: {}",
                    config.database_place()
                ));
                self.examine_key(config, &[]);
            }
            Ok(Found::Older) => self.notes.push(format!(
                "the database is of an older release; `carnet serve` will migrate it: {}. Its keys and rules are not checked",
                config.database_place()
            )),
            Ok(Found::Store(store)) => {
                let attestations = attestations.as_deref();
                self.examine_store(config, &store, profiles.as_ref(), attestations)
                    .await;
            }
        }
    }

    fn examine_certificates(&mut self, config: &Config) {
        if let Err(error) = proxy_thumbprints(&config.server.client_cert_proxies) {
            self.problems.push(error);
        }
        let Some(tls) = &config.server.tls else {
            return;
        };
        let now = SystemClock.now();
        match CertificateSet::read(tls) {
            Err(errors) => self.problems.extend(errors.iter().map(ToString::to_string)),
            Ok(set) => {
                self.problems.extend(set.expired(now));
                self.warnings.extend(set.expires_soon(now));
                self.warnings
                    .extend(set.warnings(&config.server, &config.own, now));
            }
        }
    }

    /// Whether the server can make its data folder: the nearest folder that exists must be one.
    fn examine_data_dir(&mut self, config: &Config) {
        let folder = &config.data_dir;
        let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
        let nearest = absolute.ancestors().find(|path| path.exists());
        if config.database.url.is_sqlite() && !nearest.is_some_and(Path::is_dir) {
            self.problems.push(format!(
                "data_dir: {} must be a folder, or a place where one can be created",
                folder.display()
            ));
        }
    }

    /// Whether traces, metrics and audit events can be sent, as far as this machine knows.
    fn examine_exports(&mut self, config: &Config) {
        let telemetry = config.telemetry.as_ref();
        let telemetry = telemetry.map(|telemetry| Telemetry::new(telemetry, SystemClock.now()));
        if let Some(Err(error)) = telemetry {
            self.problems.push(error.to_string());
        }
        for destination in &config.audit.export {
            if let AuditDestination::File(path) = destination
                && !path.parent().is_some_and(Path::is_dir)
            {
                self.problems.push(format!(
                    "audit.export: {} must be in a folder that exists",
                    path.display()
                ));
            }
        }
    }

    async fn examine_store(
        &mut self,
        config: &Config,
        store: &Store,
        profiles: Option<&Profiles>,
        attestations: Option<&dyn VerifyAttestation>,
    ) {
        match store.signing_keys().await {
            Err(error) => self.failed(&error),
            Ok(stored) if stored.is_empty() => {
                self.notes.push(
                    "the database has no signing keys yet; `carnet serve` will generate them"
                        .to_owned(),
                );
                self.examine_key(config, &[]);
            }
            Ok(stored) => {
                if let Some(sealing) = self.examine_key(config, &stored) {
                    self.examine_ring(config, store, sealing).await;
                }
            }
        }
        let Some(profiles) = profiles else { return };
        let context = ReadContext {
            profiles,
            own: &config.own,
            allow_http_loopback: config.allow_http_loopback,
            token_lifetime_seconds: config.tokens.lifetime_seconds,
            command_line: config.people.command_line,
            material: &OpenSsl,
            attestations: attestation::of_documents(attestations),
        };
        match store.snapshot(context).await {
            Err(error) => self.failed(&error),
            Ok(snapshot) => {
                let mut issuers = snapshot.issuers().filter(|_| attestations.is_none());
                if let Some(issuer) = issuers.find(|issuer| issuer.attestation.is_some()) {
                    let needed = StartError::Attested(issuer.name.clone());
                    self.problems.push(needed.to_string());
                }
                self.examine_objects(config, store, &snapshot).await;
                self.problems.extend(gateway::problems(config, &snapshot));
                self.warnings.extend(gateway::warnings(config, &snapshot));
            }
        }
    }

    /// Reads the encryption keys. The server creates the default file, but only for a database
    /// without signing keys can a new one be right.
    fn examine_key(
        &mut self,
        config: &Config,
        stored: &[crate::store::StoredKey],
    ) -> Option<EncryptionKeys> {
        if let EncryptionKeySource::Generated(path) = &config.encryption_key
            && !path.exists()
            && stored.is_empty()
        {
            self.notes.push(format!(
                "the encryption key is not there yet; `carnet serve` will create it: {}",
                path.display()
            ));
            return None;
        }
        EncryptionKeys::read(config)
            .map_err(|error| self.problems.push(error.to_string()))
            .ok()
    }

    async fn examine_ring(&mut self, config: &Config, store: &Store, sealing: EncryptionKeys) {
        let algorithm = config.tokens.signing_algorithm;
        match KeyRing::existing(store, sealing, algorithm, SystemClock.now()).await {
            Err(error) => self.problems.push(error.to_string()),
            Ok(keys) => match keys.sealed_before(store).await {
                Err(error) => self.failed(&error),
                Ok(before) => {
                    let warnings = before.warnings();
                    if warnings.is_empty() && !config.old_encryption_key_files.is_empty() {
                        self.notes.push(
                            "keys.old_encryption_key_files is not needed any more: everything is sealed under the current encryption key"
                                .to_owned(),
                        );
                    }
                    self.warnings.extend(warnings);
                }
            },
        }
    }

    async fn examine_objects(&mut self, config: &Config, store: &Store, snapshot: &Snapshot) {
        match store.all_objects::<TrustedIssuerDocument>().await {
            Err(error) => self.failed(&error),
            Ok(issuers) => {
                for issuer in issuers {
                    let (name, document) = (&issuer.name, &issuer.document);
                    // Its profile may be missing because `profiles_dir` is not set.
                    if snapshot.issuer_named(name).is_none() {
                        self.problems.push(format!(
                            "trusted issuer {name}: there is no profile {}",
                            document.profile
                        ));
                    }
                    let names_files = |keys| !named_files(keys).is_empty();
                    if config.key_files_dir.is_none()
                        && document.keys.as_ref().is_some_and(names_files)
                    {
                        self.warnings.push(format!(
                            "trusted issuer {name} names a file and key_files_dir is not set: it can be changed by commands on this machine only, which may name any file"
                        ));
                    }
                }
            }
        }
        match shared_workloads(store, snapshot).await {
            Err(error) => self.failed(&error),
            Ok(shared) => self.warnings.extend(shared),
        }
    }

    fn failed(&mut self, error: &StoreError) {
        self.problems.push(format!("database: {error}"));
    }
}
