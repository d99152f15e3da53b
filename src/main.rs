//! The `carnet` binary.

use std::process::ExitCode;

use carnet::command::{Cli, run};
use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    run(Cli::parse()).await
}
