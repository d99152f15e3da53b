//! Publishing tools as a job runs them, without anything of the user who runs the tests: an empty home, and no variables but those
//! that a test names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Finished, finished};

/// A tool to be run.
#[derive(Debug)]
pub struct Tool {
    command: Command,
}

impl Tool {
    /// A program that finds its home in this folder and other programs on this machine's usual paths.
    pub fn new(program: impl AsRef<OsStr>, home: &Path) -> Self {
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            .env_clear()
            .env("HOME", home)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("NO_COLOR", "1")
            .env("COLUMNS", "500")
            .current_dir(home);
        Self { command }
    }

    #[must_use]
    pub fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    #[must_use]
    pub fn variables<A: AsRef<OsStr>, B: AsRef<OsStr>>(
        mut self,
        variables: impl IntoIterator<Item = (A, B)>,
    ) -> Self {
        self.command.envs(variables);
        self
    }

    /// Finds other programs in this folder first.
    #[must_use]
    pub fn with_programs_of(mut self, folder: &Path) -> Self {
        self.command.env(
            "PATH",
            format!("{}:/usr/local/bin:/usr/bin:/bin", folder.display()),
        );
        self
    }

    #[must_use]
    pub fn in_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.command.current_dir(folder.into());
        self
    }

    pub fn run(mut self) -> Finished {
        let name = self.command.get_program().to_owned();
        let output = self.command.output();
        finished(output.unwrap_or_else(|error| panic!("{}: {error}", name.display())))
    }
}

impl Finished {
    /// All that was printed, with single spaces and without colours: some tools break lines at the width of the screen, and some
    /// draw a line at their left.
    pub fn said(&self) -> String {
        let both = format!("{} {}", self.stdout, self.stderr).replace('│', " ");
        // An escape sequence ends with a letter.
        let mut plain = String::new();
        let mut parts = both.split("\x1b[");
        plain.extend(parts.next());
        for part in parts {
            let end = part.find(|c: char| c.is_ascii_alphabetic()).unwrap();
            plain += &part[end + 1..];
        }
        plain.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    pub fn succeeded(&self) -> &Self {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    /// Checks that it failed and said all of this.
    #[track_caller]
    pub fn failed_saying(&self, parts: &[&str]) -> &Self {
        assert!(self.code != 0, "{}{}", self.stdout, self.stderr);
        let said = self.said();
        for part in parts {
            assert!(
                said.contains(part),
                "{part} is missing:\n{}{}",
                self.stdout,
                self.stderr
            );
        }
        self
    }
}
