//! `carnet-exchange`: the client for CI jobs alone, without server and database.

use std::process::ExitCode;

use carnet_exchange::ExchangeArgs;
use clap::Parser;

/// Trade the token that a CI platform gave the job for an access token of a registry, and print it alone.
#[derive(Debug, Parser)]
#[command(name = "carnet-exchange", version, max_term_width = 100)]
#[command(
    after_help = "Example:\n  token=$(carnet-exchange --server https://carnet.example --resource https://registry.example/ --principal octo-org)"
)]
struct Cli {
    /// Print machine-readable output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    exchange: ExchangeArgs,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match carnet_exchange::run(&cli.exchange, cli.json).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("carnet-exchange: {error}");
            ExitCode::from(1)
        }
    }
}
