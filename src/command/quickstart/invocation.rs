//! A program as a process that sees nothing of the user who runs the tour: of the environment it
//! gets `PATH` and what it is given here, and its home folder is one of the tour.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::shell::quoted;

/// The longest time that a program may run.
pub const LIMIT: Duration = Duration::from_mins(1);

/// The width at which printed variables go on in the next line.
const WIDTH: usize = 120;

/// An installed program, and where it works.
#[derive(Debug)]
pub struct Program {
    pub name: &'static str,
    pub file: PathBuf,
    /// The value of `PATH`.
    pub path: String,
    /// The folder that its settings are relative to. It runs in `package` below it.
    pub folder: PathBuf,
}

/// A program's arguments and variables.
#[derive(Debug)]
pub struct Invocation<'p> {
    pub program: &'p Program,
    /// Beside `PATH`.
    pub variables: Vec<(&'static str, Setting)>,
    pub arguments: Vec<String>,
}

/// The value of a variable.
#[derive(Debug)]
pub enum Setting {
    Text(String),
    /// This name in the program's folder.
    Within(&'static str),
}

/// How a program ended, and what it printed.
#[derive(Debug)]
pub struct Ended {
    pub succeeded: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Why a program did not end by itself.
#[derive(Debug, thiserror::Error)]
pub enum NotEnded {
    #[error("did not end within {} seconds and was stopped", .0.as_secs())]
    Stopped(Duration),
    #[error("cannot be run: {0}")]
    NotRun(#[from] std::io::Error),
}

impl Setting {
    pub fn text(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl Invocation<'_> {
    /// The invocation as a command for a shell, in which `TOOL` is the program's folder.
    pub fn line(&self) -> String {
        let mut text = String::new();
        let mut line = "(cd \"$TOOL/package\" && env -i PATH=\"$PATH\"".to_owned();
        for (name, setting) in &self.variables {
            let variable = match setting {
                Setting::Text(value) => format!("{name}={}", quoted(value)),
                Setting::Within(file) => format!("{name}=\"$TOOL/{file}\""),
            };
            if line.len().saturating_add(variable.len()) > WIDTH {
                writeln!(text, "{line} \\").unwrap_or_default();
                line = format!("    {variable}");
            } else {
                write!(line, " {variable}").unwrap_or_default();
            }
        }
        write!(text, "{line} \\\n    {}", self.program.name).unwrap_or_default();
        for argument in &self.arguments {
            write!(text, " {}", quoted(argument)).unwrap_or_default();
        }
        text.push(')');
        text
    }

    /// Runs the program. It is killed if it has not ended within this time.
    pub async fn run(&self, limit: Duration) -> Result<Ended, NotEnded> {
        let output = tokio::time::timeout(limit, self.command().output())
            .await
            .map_err(|_| NotEnded::Stopped(limit))??;
        Ok(Ended {
            succeeded: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Starts the program, which writes what it prints into this file. It is killed when the child
    /// is dropped.
    pub fn start(&self, log: File) -> std::io::Result<Child> {
        let errors = log.try_clone()?;
        self.command().stdout(log).stderr(errors).spawn()
    }

    fn command(&self) -> Command {
        let folder = &self.program.folder;
        let variables = self.variables.iter().map(|(name, setting)| match setting {
            Setting::Text(value) => (name, OsString::from(value)),
            Setting::Within(file) => (name, folder.join(file).into_os_string()),
        });
        let mut command = Command::new(&self.program.file);
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", &self.program.path)
            .envs(variables)
            .current_dir(folder.join("package"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_hangs_is_stopped() {
        let folder = std::env::temp_dir().join(format!("invocation-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("package")).unwrap();
        let program = Program {
            name: "sh",
            file: "/bin/sh".into(),
            path: "/usr/bin:/bin".to_owned(),
            folder: folder.clone(),
        };
        let invocation = |script: &str| Invocation {
            program: &program,
            variables: Vec::new(),
            arguments: ["-c", script].map(str::to_owned).into(),
        };
        let started = folder.join("package/started");
        let hangs = "echo $$ > started; exec sleep 600";
        let ended = invocation(hangs).run(Duration::from_secs(2)).await;
        assert!(matches!(ended, Err(NotEnded::Stopped(_))), "{ended:?}");
        let id = std::fs::read_to_string(started).unwrap();
        // The process is gone, or waits to be collected, as soon as the signal has arrived.
        let status = format!("/proc/{}/status", id.trim());
        let lives =
            || std::fs::read_to_string(&status).is_ok_and(|status| !status.contains("State:\tZ"));
        for _ in 0..500 {
            if !lives() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!lives(), "{id}");
        let ended = invocation("echo here; exit 3").run(LIMIT).await.unwrap();
        assert_eq!(
            (ended.succeeded, ended.stdout.as_str()),
            (false, "here\n"),
            "{ended:?}"
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_printed_command_sets_the_same_variables() {
        let program = Program {
            name: "npm",
            file: "/usr/bin/npm".into(),
            path: "/usr/bin".to_owned(),
            folder: "/tmp/tour".into(),
        };
        let invocation = Invocation {
            program: &program,
            variables: vec![
                ("HOME", Setting::Within("home")),
                ("WORD", Setting::text("a b")),
            ],
            arguments: vec!["publish".to_owned()],
        };
        assert_eq!(
            invocation.line(),
            "(cd \"$TOOL/package\" && env -i PATH=\"$PATH\" HOME=\"$TOOL/home\" WORD='a b' \\\n    npm publish)"
        );
    }
}
