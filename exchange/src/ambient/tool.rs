//! Runs a platform's own program that prints a token, for one minute at most.

use std::process::Stdio;
use std::time::Duration;

use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::{AmbientError, Source};
use crate::web::excerpt;

const TIMEOUT: Duration = Duration::from_mins(1);
const MAX_OUTPUT_BYTES: u64 = 64 * 1024;

/// Why a program printed no token.
#[derive(Debug)]
pub(super) enum ToolError {
    /// The program is not on the `PATH`.
    Missing,
    /// The program failed. Holds the reason, which follows the program's name in the message.
    Failed(String),
    /// The program did not end within a minute.
    Slow,
}

impl ToolError {
    /// The error of the source that needs the program.
    pub fn of(self, source: Source, program: &str) -> AmbientError {
        let from = source.name();
        match self {
            Self::Missing => {
                AmbientError::Failed(from, format!("the program `{program}` is not on the PATH"))
            }
            Self::Failed(why) => AmbientError::Failed(from, format!("`{program}` {why}")),
            Self::Slow => {
                AmbientError::Later(from, format!("`{program}` did not end within a minute"))
            }
        }
    }
}

/// Runs a program and returns what it prints to standard output.
pub(super) async fn run(program: &str, arguments: &[&str]) -> Result<SecretString, ToolError> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ToolError::Missing,
        _ => ToolError::Failed(format!("cannot be run: {error}")),
    })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let finished = tokio::time::timeout(TIMEOUT, async {
        let (printed, said) = tokio::join!(read(stdout), read(stderr));
        (printed, said, child.wait().await)
    });
    let Ok((printed, said, status)) = finished.await else {
        return Err(ToolError::Slow);
    };
    match status {
        Ok(status) if status.success() => Ok(printed.into()),
        // Standard output is left out, since it may contain a token.
        Ok(status) => Err(ToolError::Failed(format!(
            "failed ({status}): {}",
            excerpt(&said)
        ))),
        Err(error) => Err(ToolError::Failed(format!("cannot be waited for: {error}"))),
    }
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // Output before a read error is still worth showing.
        stream
            .take(MAX_OUTPUT_BYTES)
            .read_to_end(&mut bytes)
            .await
            .ok();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
