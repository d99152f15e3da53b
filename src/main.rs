//! The `carnet` binary.

use std::process::ExitCode;

use carnet::command::{Cli, run};
use clap::Parser as _;
use mimalloc::MiMalloc;

/// A token takes some hundred small allocations; this allocator halves what they cost (`benches/load.rs`).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    run(Cli::parse()).await
}
