//! `carnet quickstart`: the newcomer's tour.
use super::{Answer, CommandError};
use clap::Args;
/// `carnet quickstart`
#[derive(Debug, Args)]
pub struct QuickstartArgs {
    /// Exit when the tour is over.
    #[arg(long)]
    once: bool,
}
/// Runs the tour.
pub async fn run(_args: &QuickstartArgs) -> Result<Answer, CommandError> {
    Ok(Answer::Yes)
}
