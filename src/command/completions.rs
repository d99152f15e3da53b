//! `carnet completions`: scripts that complete commands and options in a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Conclusion};

/// Arguments of `carnet completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that reads the script.
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(args: &CompletionsArgs) -> Conclusion {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "carnet", &mut script);
    print!("{}", String::from_utf8_lossy(&script));
    Conclusion::Yes
}
