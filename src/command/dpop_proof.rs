//! `carnet dpop-proof`: a DPoP proof (RFC 9449) for one request that a script makes itself.

use std::io::Read as _;
use std::path::PathBuf;

use carnet_exchange::DpopKey;
use clap::Args;
use serde_json::json;
use url::Url;

use super::{CommandError, Conclusion};

/// Longest access token that is read from standard input, in bytes.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;

/// Options of `carnet dpop-proof`.
#[derive(Debug, Args)]
pub struct DpopProofArgs {
    /// File with the private key, as `carnet exchange --dpop-key` made it; made if absent.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Access token that goes along with the request; `-` reads it from standard input, so that it
    /// is in no list of processes.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Nonce that the server gave in the header DPoP-Nonce.
    #[arg(long, value_name = "NONCE")]
    nonce: Option<String>,
    /// Method of the request, such as PUT.
    #[arg(value_parser = method)]
    method: String,
    /// URL that the request is sent to.
    #[arg(value_parser = target)]
    url: Url,
}

/// A method in the letter case that servers compare it in.
fn method(text: &str) -> Result<String, String> {
    let is_method = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_method {
        Ok(text.to_owned())
    } else {
        Err("it must be an HTTP method in capitals, such as PUT".to_owned())
    }
}

fn target(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("it must be a URL: {error}"))?;
    if matches!(url.scheme(), "http" | "https") && url.username().is_empty() {
        Ok(url)
    } else {
        Err("it must be an http or https URL without a user name".to_owned())
    }
}

/// Prints the proof alone.
pub fn run(args: &DpopProofArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let key = DpopKey::open(&args.key)?;
    let token = match args.token.as_deref() {
        Some("-") => Some(read_token()?),
        given => given.map(str::to_owned),
    };
    let request = (args.method.as_str(), args.url.as_str());
    let proof = key.prove(request, token.as_deref(), args.nonce.as_deref())?;
    if as_json {
        println!("{}", json!({ "proof": proof, "jkt": key.thumbprint() }));
    } else {
        println!("{proof}");
    }
    Ok(Conclusion::Yes)
}

fn read_token() -> Result<String, CommandError> {
    let mut text = String::new();
    std::io::stdin()
        .take(MAX_TOKEN_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| CommandError::File("standard input".to_owned(), error))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(CommandError::Usage(
            "--token -: standard input is empty".to_owned(),
        ));
    }
    Ok(token.to_owned())
}
