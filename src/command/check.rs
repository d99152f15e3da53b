//! `carnet check`: loads everything that a start of the server needs and reports all errors at
//! once, without listening.
//!
//! Like a start, it creates a missing data folder and missing keys, and brings the database schema
//! up to date.

use serde_json::json;

use super::{CommandError, Conclusion, ConfigFile};
use crate::admin::shared_workloads;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, create_private};
use crate::documents::ReadContext;
use crate::key_material::OpenSsl;
use crate::keys::{self, KeyRing};
use crate::profile::Profiles;
use crate::store::Store;

pub async fn run(file: &ConfigFile, as_json: bool) -> Result<Conclusion, CommandError> {
    let (problems, warnings) = match Config::load(file.config.as_deref()) {
        Err(errors) => (errors.iter().map(ToString::to_string).collect(), Vec::new()),
        Ok(config) => examine(&config).await,
    };
    if as_json {
        println!(
            "{}",
            json!({ "ok": problems.is_empty(), "problems": problems, "warnings": warnings })
        );
    } else {
        for problem in &problems {
            println!("{problem}");
        }
        for warning in &warnings {
            println!("warning: {warning}");
        }
        if problems.is_empty() {
            println!("the configuration is in order");
        }
    }
    Ok(problems.is_empty().into())
}

/// Returns the problems, which make the command fail, and the warnings, which do not.
async fn examine(config: &Config) -> (Vec<String>, Vec<String>) {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let profiles = match Profiles::load(config.profiles_dir.as_deref()) {
        Ok(profiles) => Some(profiles),
        Err(errors) => {
            problems.extend(errors.iter().map(ToString::to_string));
            None
        }
    };
    if config.database.url.is_sqlite()
        && let Err(error) = create_private(&config.data_dir)
    {
        problems.push(format!("data_dir {}: {error}", config.data_dir.display()));
    }
    let sealing = keys::sealing_key(&config.encryption_key)
        .map_err(|error| problems.push(error.to_string()))
        .ok();
    let store = match Store::open(&config.database).await {
        Ok(store) => store,
        Err(error) => {
            problems.push(format!("database.url: {error}"));
            problems.extend(error.hint().map(str::to_owned));
            return (problems, warnings);
        }
    };
    if let Some(sealing) = sealing
        && let Err(error) = KeyRing::open(
            &store,
            sealing,
            config.tokens.signing_algorithm,
            SystemClock.now(),
        )
        .await
    {
        problems.push(error.to_string());
    }
    if let Some(profiles) = profiles {
        let context = ReadContext {
            profiles: &profiles,
            own: &config.own,
            allow_http_loopback: config.allow_http_loopback,
            token_lifetime_seconds: config.tokens.lifetime_seconds,
            material: &OpenSsl,
        };
        match store.snapshot(context).await {
            Err(error) => problems.push(format!("database: {error}")),
            Ok(snapshot) => {
                problems.extend(orphans(&store, &snapshot).await);
                match shared_workloads(&store, &snapshot).await {
                    Err(error) => problems.push(format!("database: {error}")),
                    Ok(shared) => warnings.extend(shared),
                }
            }
        }
    }
    (problems, warnings)
}

/// Trusted issuers in the database whose profile is not loaded, for example because `profiles_dir`
/// is not set.
async fn orphans(store: &Store, snapshot: &crate::model::Snapshot) -> Vec<String> {
    match store
        .all_objects::<crate::documents::TrustedIssuerDocument>()
        .await
    {
        Err(error) => vec![format!("database: {error}")],
        Ok(issuers) => issuers
            .iter()
            .filter(|issuer| snapshot.issuer_named(&issuer.name).is_none())
            .map(|issuer| {
                format!(
                    "trusted issuer {}: there is no profile {}",
                    issuer.name, issuer.document.profile
                )
            })
            .collect(),
    }
}
