//! `carnet config show`: the effective configuration, and the source of each value.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::table::table;
use super::{CommandError, Conclusion, ConfigFile};
use crate::config::{Origin, Setting};

/// Arguments of `carnet config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every key with its value and where the value comes from: the default, the file or an
    /// environment variable. Secrets are printed as `(set)`.
    #[command(after_help = "Example:\n  carnet config show --config /etc/carnet.toml")]
    Show(ConfigFile),
}

pub fn run(args: &ConfigArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let ConfigCommand::Show(file) = &args.command;
    let settings = file.load_for_command()?.settings();
    if as_json {
        println!(
            "{}",
            Value::Object(settings.into_iter().map(member).collect())
        );
    } else {
        let rows: Vec<Vec<String>> = settings.iter().map(row).collect();
        print!("{}", table(&["KEY", "VALUE", "SOURCE"], &rows));
    }
    Ok(Conclusion::Yes)
}

fn member(setting: Setting) -> (String, Value) {
    let origin = match setting.origin {
        Origin::Default => json!({ "kind": "default" }),
        Origin::File(path) => json!({ "kind": "file", "name": path }),
        Origin::Variable(name) => json!({ "kind": "variable", "name": name }),
    };
    let value = json!({ "value": setting.value, "source": origin });
    (setting.key.to_owned(), value)
}

fn row(setting: &Setting) -> Vec<String> {
    let value = match &setting.value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    vec![setting.key.to_owned(), value, setting.origin.to_string()]
}
