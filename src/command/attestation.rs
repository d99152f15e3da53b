//! `carnet attestation`: verifies what the RPKI says of a key set.

use std::path::Path;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use url::Url;

use super::{CommandError, Conclusion, ConfigFile, read_file};
use crate::attestation::{AttestationFailure, AttestedDocument, no_verifier, verifier};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::Config;
use crate::upstream::{Egress, Fetch as _, HttpFetch};

/// Bytes of a key set that are read.
const MOST_BYTES: usize = 256 * 1024;

/// Arguments of `carnet attestation`.
#[derive(Debug, Args)]
pub struct AttestationArgs {
    #[command(subcommand)]
    command: AttestationCommand,
}

#[derive(Debug, Subcommand)]
enum AttestationCommand {
    /// Verify the attestation of a key set, and print which AS numbers and prefixes stand behind it
    /// and until when, or the step at which it fails. Experimental.
    ///
    /// Needs the section rpki of the configuration, and a build with the feature rpki. Exits with 0
    /// if the attestation counts, with 1 if not.
    #[command(
        after_help = "Example:\n  carnet attestation verify https://as64496.example/jwks --config /etc/carnet.toml"
    )]
    Verify(VerifyArgs),
}

/// Options of `carnet attestation verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The key set: an https URL, a file, or - for standard input.
    #[arg(value_name = "URL|FILE")]
    set: String,
    /// Whose set it is taken for: a set that says whose it is must agree.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// Verify as at this time (RFC 3339), with the copy of the RPKI of now.
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Timestamp>,
    #[command(flatten)]
    config: ConfigFile,
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text)
        .ok_or_else(|| "must be a time such as 2026-11-30T12:00:00Z".to_owned())
}

pub async fn run(args: &AttestationArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let AttestationCommand::Verify(args) = &args.command;
    let config = args.config.load_for_command()?;
    let verifier = verifier(&config).map_err(CommandError::Other)?;
    let verifier = verifier.ok_or_else(|| CommandError::Other(no_verifier().to_owned()))?;
    let document = read(&args.set, &config).await?;
    let issuer = args.issuer.clone();
    let now = args.at.unwrap_or_else(|| SystemClock.now());
    let outcome = tokio::task::spawn_blocking(move || {
        verifier.verify(&document, issuer.as_deref(), None, now.seconds())
    });
    let outcome = outcome
        .await
        .map_err(|error| CommandError::Other(error.to_string()))?;
    print(&outcome, as_json);
    Ok(outcome.is_ok().into())
}

async fn read(set: &str, config: &Config) -> Result<Vec<u8>, CommandError> {
    let Some(url) = Url::parse(set)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
    else {
        return read_file(Path::new(set)).map(String::into_bytes);
    };
    let egress = Egress {
        allow_http_loopback: config.allow_http_loopback,
        ..Egress::default()
    };
    let network = Arc::new(HttpFetch::of(config));
    let fetched = network.fetch(&url, &egress, None, MOST_BYTES).await;
    let fetched = fetched.map_err(|error| CommandError::Unreachable(error.to_string()))?;
    if fetched.status == 200 {
        Ok(fetched.body)
    } else {
        let status = fetched.status;
        Err(CommandError::Other(format!(
            "{url}: the server answered {status}"
        )))
    }
}

fn print(verified: &Result<AttestedDocument, AttestationFailure>, as_json: bool) {
    match verified {
        Ok(found) if as_json => println!("{:#}", shown(found)),
        Ok(found) => {
            let shown = shown(found);
            let list = |name: &str| {
                let texts = shown.get(name).and_then(Value::as_array);
                let texts = texts.into_iter().flatten().filter_map(Value::as_str);
                texts.collect::<Vec<_>>().join(", ")
            };
            for (label, value) in [
                ("AS numbers", list("asns")),
                ("prefixes", list("prefixes")),
                ("trust anchor", found.attested.trust_anchor.clone()),
                ("signed", at(found.signed_at)),
                ("ends", at(found.not_after)),
                ("holds until", found.attested.use_until.to_string()),
            ] {
                if !value.is_empty() {
                    println!("{label}: {value}");
                }
            }
        }
        Err(failure) if as_json => println!(
            "{:#}",
            json!({ "step": failure.step, "detail": failure.detail, "reason": failure.reason })
        ),
        Err(failure) => eprintln!("carnet: {failure}"),
    }
}

fn at(seconds: i64) -> String {
    Timestamp::from_seconds(seconds).to_string()
}

fn shown(found: &AttestedDocument) -> Value {
    let mut shown = found.attested.shown();
    if let Value::Object(members) = &mut shown {
        members.insert("signed_at".to_owned(), at(found.signed_at).into());
        members.insert("not_after".to_owned(), at(found.not_after).into());
        let use_until = found.attested.use_until.to_string();
        members.insert("use_until".to_owned(), use_until.into());
    }
    shown
}
