//! `carnet export`: the objects of a server as one file that `carnet apply` reads.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::stored::{StoredObjects, View, may_read};
use crate::command::admin_client::AdminClient;
use crate::command::{CommandError, Conclusion, ServerArgs};
use crate::documents::{Bundle, Kind};

/// What the file says of itself. It names no time and no server, so that an export of the same
/// objects is the same text.
const HEADER: &str = "\
# Written by `carnet export`, for `carnet apply`.
#
# Not in this file:
# - client secrets: the server stores only their hashes. A server that has no client of a name makes
#   a new secret when the file is applied there;
# - client secrets at identity providers, which no answer of the server contains: a server that has one
#   keeps it, any other needs it in the file, for example as client_secret = {env = \"NAME\"};
# - signing keys, and the tokens that were issued;
# - the audit record, and the record of used assertions.
";

/// The header of a file that does not hold all kinds.
const CREDENTIALS_HEADER: &str = "\
# Written by `carnet export`, for `carnet apply`: only federated credentials and
# notifications, since the command or the token was limited to those of a principal.
";

/// Options of `carnet export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Output format; `--json` implies `json`.
    #[arg(long, value_enum, default_value_t = ExportFormat::Toml)]
    format: ExportFormat,
    /// Export only the federated credentials and notifications of this principal.
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    #[command(flatten)]
    target: ServerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    Toml,
    Json,
}

/// Prints every object that the token may read.
pub async fn export(args: &ExportArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let client = AdminClient::new(&args.target).await?;
    let mut bundle = Bundle::default();
    let mut is_whole = true;
    for kind in Kind::ALL {
        let is_wanted = args.principal.is_none() || kind.is_of_principals();
        if !is_wanted || !may_read(&client, kind) {
            is_whole = false;
            continue;
        }
        let principal = args.principal.as_deref();
        let stored = StoredObjects::read(&client, kind, View::Export, principal).await?;
        let stored = stored.ok_or_else(|| {
            let table = kind.table();
            let detail = match principal {
                Some(name) => format!("the token may not read those of principal {name}"),
                None => "the token may not read them".to_owned(),
            };
            CommandError::Other(format!("{table}: {detail} (403)"))
        })?;
        for object in stored.into_objects() {
            bundle.insert(kind, &object.name, in_fixed_order(object.members));
        }
    }
    if as_json || args.format == ExportFormat::Json {
        println!("{:#}", bundle.to_json());
        return Ok(Conclusion::Yes);
    }
    let text = bundle
        .to_toml()
        .map_err(|error| CommandError::Other(error.to_string()))?;
    let header = if is_whole { HEADER } else { CREDENTIALS_HEADER };
    println!("{header}\n{}", text.trim_end());
    Ok(Conclusion::Yes)
}

/// The members of a document are in the order of the reference. Those of the objects inside it, such
/// as `match`, are in the order in which they were given or pinned, so they are sorted: an export of
/// the same objects is the same text.
fn in_fixed_order(mut members: Map<String, Value>) -> Map<String, Value> {
    // Pinned ids are members of `match` as well.
    members.shift_remove("pinned");
    members
        .into_iter()
        .map(|(name, value)| (name, sorted(value)))
        .collect()
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> = members
                .into_iter()
                .map(|(name, value)| (name, sorted(value)))
                .collect();
            members.sort_by(|(left, _), (right, _)| left.cmp(right));
            Value::Object(members.into_iter().collect())
        }
        Value::Array(list) => list.into_iter().map(sorted).collect(),
        value => value,
    }
}
