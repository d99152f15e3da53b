//! `carnet-exchange`: `carnet exchange` as a program of its own, without server and database, for
//! the images of CI jobs.

use std::process::ExitCode;

use carnet_exchange::{ExchangeArgs, Verdict};
use clap::Parser;

/// Exchange the token that a CI platform issues to the job for an access token of a registry, and
/// print the access token alone.
#[derive(Debug, Parser)]
#[command(name = "carnet-exchange", version, max_term_width = 100)]
#[command(
    after_help = "Example:\n  token=$(carnet-exchange --server https://carnet.example --resource https://registry.example/ --principal octo-org)"
)]
struct Cli {
    /// Print the server's whole answer as JSON, also if it refuses.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    exchange: ExchangeArgs,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match carnet_exchange::run(&cli.exchange, cli.json).await {
        Ok(Verdict::Allowed) => ExitCode::SUCCESS,
        Ok(Verdict::Denied) => ExitCode::from(1),
        Err(error) => {
            eprintln!("carnet-exchange: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
