//! Rotating a secret that the server shows once: of a client, or of a notification.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use axum::http::Method;
use clap::Args;
use serde_json::{Value, json};

use super::admin_client::{AdminClient, in_path};
use super::{CommandError, Conclusion, ServerArgs};
use crate::documents::Kind;

/// Arguments of the commands that rotate a secret.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// The object's name or id.
    name: String,
    /// Seconds for which the old secret stays valid, 0 to 2592000; 0 also ends the tokens that were
    /// obtained with it. The server's default is a day.
    #[arg(long, value_name = "SECONDS")]
    overlap_seconds: Option<i64>,
    /// Write the secret alone to this file, with mode 0600; an existing file is replaced.
    #[arg(long, value_name = "FILE", conflicts_with = "stdout")]
    secrets_file: Option<PathBuf>,
    /// Print the secret even if standard output is not a terminal.
    #[arg(long)]
    stdout: bool,
    #[command(flatten)]
    target: ServerArgs,
}

/// Where a secret goes, opened before it is made: a secret that cannot be stored is lost.
enum SecretSink {
    Stdout,
    File {
        file: File,
        /// Beside `path`, which it replaces at the end.
        temporary: PathBuf,
        path: PathBuf,
    },
}

impl SecretSink {
    fn open(args: &RotateArgs) -> Result<Self, CommandError> {
        let Some(path) = &args.secrets_file else {
            if args.stdout || std::io::stdout().is_terminal() {
                return Ok(Self::Stdout);
            }
            return Err(CommandError::Usage(
                "standard output is not a terminal, so the secret could end up in a log: give --secrets-file FILE, or \
                 say --stdout"
                    .to_owned(),
            ));
        };
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(|error| CommandError::File(temporary.display().to_string(), error))?;
        Ok(Self::File {
            file,
            temporary,
            path: path.clone(),
        })
    }

    /// Stores the secret and says where it is; `None` for standard output, which the caller prints
    /// to.
    fn store(self, secret: &str) -> Result<Option<PathBuf>, CommandError> {
        let Self::File {
            mut file,
            temporary,
            path,
        } = self
        else {
            return Ok(None);
        };
        let written = writeln!(file, "{secret}")
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&temporary, &path));
        written.map(|()| Some(path.clone())).map_err(|error| {
            CommandError::Other(format!(
                "there is a new secret, which could not be written to {}: {error}; rotate again",
                path.display()
            ))
        })
    }

    fn discard(self) {
        if let Self::File { temporary, .. } = self {
            std::fs::remove_file(temporary).ok();
        }
    }
}

/// Rotates the secret of a client or a notification. The secret goes to a file, or to standard output where that is a
/// terminal or was asked for.
pub async fn rotate_secret(
    kind: Kind,
    args: &RotateArgs,
    as_json: bool,
) -> Result<Conclusion, CommandError> {
    let sink = SecretSink::open(args)?;
    let mut rotated = match rotate(kind, args).await {
        Ok(rotated) => rotated,
        Err(error) => {
            sink.discard();
            return Err(error);
        }
    };
    let (name, member) = match kind {
        Kind::Notification => ("name", "secret"),
        _ => ("client_id", "client_secret"),
    };
    let secret = rotated
        .as_object_mut()
        .and_then(|members| members.shift_remove(member));
    let Some(Value::String(secret)) = secret else {
        sink.discard();
        return Err(CommandError::Other(format!("the answer holds no {member}")));
    };
    let file = sink.store(&secret)?;
    let ends = old_secret_ends(&rotated);
    match (&file, as_json) {
        (_, true) => {
            let shown = file.is_none().then_some(secret);
            let file = file
                .as_deref()
                .map(Path::display)
                .map(|file| file.to_string());
            println!(
                "{}",
                json!({ name: rotated.get(name), member: shown, "secrets_file": file, "old_secret_ends": ends })
            );
        }
        (None, false) => println!("{secret}"),
        (Some(file), false) => println!("the new secret of {} is in {}", args.name, file.display()),
    }
    if let Some(ends) = ends.filter(|_| !as_json) {
        eprintln!("the old secret stays valid until {ends}");
    }
    Ok(Conclusion::Yes)
}

async fn rotate(kind: Kind, args: &RotateArgs) -> Result<Value, CommandError> {
    let client = AdminClient::new(&args.target).await?;
    let path = format!("/{}/{}/rotate-secret", kind.segment(), in_path(&args.name));
    let body = match args.overlap_seconds {
        Some(seconds) => json!({ "overlap_seconds": seconds }),
        None => json!({}),
    };
    let answer = client.send(Method::POST, &path, Some(&body)).await?;
    answer.ok_about(kind.noun(), &args.name)
}

/// When the last secret before the new one ends; `None` if there is none.
fn old_secret_ends(object: &Value) -> Option<String> {
    let secrets = object.get("secrets").and_then(Value::as_array);
    let ends = secrets.into_iter().flatten();
    let mut ends = ends.filter_map(|secret| secret.get("expires_at")?.as_str());
    ends.next_back().map(str::to_owned)
}
