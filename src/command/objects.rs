//! `carnet get`, `list` and `delete`: the objects of a server, by kind and name.

use std::io::{BufRead, IsTerminal as _};

use axum::http::Method;
use carnet_exchange::web::visible;
use clap::Args;
use serde_json::{Value, json};

use super::admin_client::{AdminClient, in_path, in_query};
use super::table::table;
use super::{CommandError, Conclusion, ServerArgs};
use crate::documents::{Bundle, Kind};

/// Arguments of `carnet get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The kind of object: principals, trusted-issuers, resource-servers, federated-credentials,
    /// clients, notifications, identity-providers or memberships; short forms such as `credential` are accepted.
    #[arg(value_parser = kind)]
    kind: Kind,
    /// The object's name or id, for a federated credential also `principal:name`; without it, all
    /// objects of the kind are listed.
    name: Option<String>,
    #[command(flatten)]
    target: ServerArgs,
}

/// Arguments of `carnet list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// The kind of object: principals, trusted-issuers, resource-servers, federated-credentials,
    /// clients, notifications, identity-providers or memberships; short forms such as `credentials` are accepted.
    #[arg(value_parser = kind)]
    kind: Kind,
    /// Only the federated credentials, notifications or memberships of this principal.
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Only the federated credentials of this trusted issuer.
    #[arg(long, value_name = "NAME")]
    trusted_issuer: Option<String>,
    #[command(flatten)]
    target: ServerArgs,
}

/// Arguments of `carnet delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The kind of object: principals, trusted-issuers, resource-servers, federated-credentials,
    /// clients, notifications, identity-providers or memberships; short forms such as `credential` are accepted.
    #[arg(value_parser = kind)]
    kind: Kind,
    /// The object's name or id, for a federated credential also `principal:name`.
    name: String,
    /// Do not ask for confirmation; needed where standard input is not a terminal.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    target: ServerArgs,
}

/// The other words for the kinds, beside the singular and plural of the admin API.
const SHORT: [(&str, Kind); 7] = [
    ("provider", Kind::IdentityProvider),
    ("issuer", Kind::TrustedIssuer),
    ("credential", Kind::FederatedCredential),
    ("rule", Kind::FederatedCredential),
    ("registry", Kind::ResourceServer),
    ("registrie", Kind::ResourceServer),
    ("server", Kind::ResourceServer),
];

/// Parses a kind of object: its name in the admin API or a short form, singular or plural, with `-`
/// or `_`.
pub fn kind(text: &str) -> Result<Kind, String> {
    let wanted = text.to_ascii_lowercase().replace('_', "-");
    let singular = wanted.strip_suffix('s').unwrap_or(&wanted);
    let by_segment = Kind::ALL
        .into_iter()
        .find(|kind| kind.segment().strip_suffix('s') == Some(singular));
    let by_short = SHORT.iter().find(|(word, _)| *word == singular);
    by_segment
        .or(by_short.map(|(_, kind)| *kind))
        .ok_or_else(|| {
            let kinds = Kind::ALL.map(Kind::segment).join(", ");
            format!("must be one of {kinds}")
        })
}

/// Prints one object as `carnet export` would, with its state as comments; lists the kind if no
/// object is named.
pub async fn get(args: &GetArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let client = AdminClient::new(&args.target).await?;
    let Some(name) = &args.name else {
        return list_all(&client, args.kind, "", as_json).await;
    };
    let path = format!("/{}/{}", args.kind.segment(), in_path(name));
    let shown = client.send(Method::GET, &path, None).await?;
    let shown = shown.ok_about(args.kind.noun(), name)?;
    if as_json {
        println!("{shown:#}");
        return Ok(Conclusion::Yes);
    }
    let path = format!("{path}?view=export");
    let exported = client.send(Method::GET, &path, None).await?;
    let Value::Object(mut members) = exported.ok_about(args.kind.noun(), name)? else {
        return Err(CommandError::Other("the answer is no object".to_owned()));
    };
    // Pins are in `match` as well, which is where `apply` takes them.
    members.shift_remove("pinned");
    members.shift_remove("name");
    let mut bundle = Bundle::default();
    bundle.insert(args.kind, text(&shown, "name"), members);
    let toml = bundle
        .to_toml()
        .map_err(|error| CommandError::Other(error.to_string()))?;
    print!("{}{toml}", comments(&shown));
    Ok(Conclusion::Yes)
}

/// What the server adds to a document, as comments of a TOML file.
fn comments(shown: &Value) -> String {
    let mut lines = Vec::new();
    for member in [
        "id",
        "state",
        "pending_until",
        "revision",
        "redirect_uri",
        "has_secret",
        "writes",
        "first_used_at",
        "last_used_at",
        "last_delivered_at",
        "failing_since",
        "last_error",
        "created_at",
        "updated_at",
    ] {
        match shown.get(member) {
            None => {}
            Some(Value::Null) => lines.push(format!("# {member}: never")),
            Some(Value::String(text)) => lines.push(format!("# {member}: {text}")),
            Some(other) => lines.push(format!("# {member}: {other}")),
        }
    }
    for warning in warnings(shown) {
        let line = format!(
            "# warning: {} - {}",
            text(warning, "code"),
            text(warning, "detail")
        );
        lines.push(visible(&line));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Prints the objects of a kind.
pub async fn list(args: &ListArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let filters = [
        ("principal", &args.principal),
        ("trusted_issuer", &args.trusted_issuer),
    ];
    let given = filters
        .iter()
        .filter_map(|(name, value)| Some(format!("&{name}={}", in_query(value.as_deref()?))));
    let filter: String = given.collect();
    let has_filters = match args.kind {
        Kind::FederatedCredential => true,
        Kind::Notification | Kind::Membership => args.trusted_issuer.is_none(),
        _ => filter.is_empty(),
    };
    if !has_filters {
        return Err(CommandError::Usage(
            "--principal selects federated-credentials, notifications and memberships alone, --trusted-issuer federated-credentials".to_owned(),
        ));
    }
    let client = AdminClient::new(&args.target).await?;
    list_all(&client, args.kind, &filter, as_json).await
}

/// The `list` of a command on one kind.
pub async fn list_kind(
    kind: Kind,
    target: &ServerArgs,
    as_json: bool,
) -> Result<Conclusion, CommandError> {
    list_all(&AdminClient::new(target).await?, kind, "", as_json).await
}

async fn list_all(
    client: &AdminClient,
    kind: Kind,
    filter: &str,
    as_json: bool,
) -> Result<Conclusion, CommandError> {
    let items = client
        .all(&format!("/{}?limit=500{filter}", kind.segment()))
        .await?;
    if as_json {
        println!("{:#}", Value::Array(items));
        return Ok(Conclusion::Yes);
    }
    if items.is_empty() {
        eprintln!("there are no {}", kind.segment());
        return Ok(Conclusion::Yes);
    }
    let columns = columns(kind);
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| columns.iter().map(|(_, cell)| cell(item)).collect())
        .collect();
    print!("{}", table(&headings, &rows));
    Ok(Conclusion::Yes)
}

/// A heading, and how an object's cell is made.
type Column = (&'static str, fn(&Value) -> String);

/// The columns of a kind's table.
fn columns(kind: Kind) -> Vec<Column> {
    let name: Column = ("NAME", |item| cell(item, "/name"));
    let enabled: Column = ("ENABLED", |item| cell(item, "/enabled"));
    let warned: Column = ("WARNINGS", |item| warnings(item).count().to_string());
    match kind {
        Kind::Principal => vec![
            name,
            ("KIND", |item| cell(item, "/kind")),
            ("ID", |item| cell(item, "/id")),
            ("EXTERNAL ID", |item| cell(item, "/external_id")),
            ("ACTS FOR", |item| cell(item, "/acts_for")),
            enabled,
        ],
        Kind::TrustedIssuer => vec![
            name,
            ("PROFILE", |item| cell(item, "/profile")),
            ("ISSUER", |item| cell(item, "/issuer")),
            ("KEYS", |item| cell(item, "/keys/source")),
            ("REPLAY", |item| cell(item, "/replay")),
            ("OWNER", |item| cell(item, "/owner")),
            enabled,
            warned,
        ],
        Kind::ResourceServer => vec![
            name,
            ("RESOURCE", |item| cell(item, "/resource")),
            ("ACTIONS", |item| cell(item, "/actions")),
            ("TOKENS", |item| cell(item, "/token_format")),
            ("LIFETIME", |item| cell(item, "/token_lifetime_seconds")),
            enabled,
            warned,
        ],
        Kind::FederatedCredential => vec![
            name,
            ("PRINCIPAL", |item| cell(item, "/principal")),
            ("TRUSTED ISSUER", |item| cell(item, "/trusted_issuer")),
            ("STATE", |item| cell(item, "/state")),
            ("VOUCHED", |item| cell(item, "/vouched")),
            ("LAST USED", |item| match item.get("last_used_at") {
                Some(Value::String(at)) => at.clone(),
                _ => "never".to_owned(),
            }),
            ("EXPIRES", |item| cell(item, "/expires_at")),
            warned,
        ],
        Kind::Client => vec![
            name,
            ("METHOD", |item| cell(item, "/auth_method")),
            ("REGISTRY", |item| cell(item, "/resource_server")),
            ("SCOPES", |item| cell(item, "/scopes")),
            ("SECRETS", |item| {
                let secrets = item.get("secrets").and_then(Value::as_array);
                secrets.map_or(0, Vec::len).to_string()
            }),
            enabled,
            warned,
        ],
        Kind::Notification => vec![
            name,
            ("PRINCIPAL", |item| cell(item, "/principal")),
            ("URL", |item| cell(item, "/url")),
            ("KINDS", |item| cell(item, "/kinds")),
            ("LAST DELIVERED", |item| cell(item, "/last_delivered_at")),
            ("FAILING SINCE", |item| cell(item, "/failing_since")),
            enabled,
        ],
        Kind::IdentityProvider => vec![
            name,
            ("ISSUER", |item| cell(item, "/issuer")),
            ("CLIENT", |item| cell(item, "/client_id")),
            ("METHOD", |item| cell(item, "/auth_method")),
            ("WRITES", |item| cell(item, "/writes")),
            enabled,
            warned,
        ],
        Kind::Membership => vec![
            name,
            ("IDENTITY PROVIDER", |item| cell(item, "/identity_provider")),
            ("PRINCIPAL", |item| cell(item, "/principal")),
            ("ROLE", |item| cell(item, "/role")),
            ("STATE", |item| cell(item, "/state")),
            ("EXPIRES", |item| cell(item, "/expires_at")),
            warned,
        ],
    }
}

/// A member as a cell: `-` for none, `yes` and `no` for booleans, lists with commas.
fn cell(item: &Value, pointer: &str) -> String {
    match item.pointer(pointer) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(Value::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(Value::Array(items)) => {
            let texts = items.iter().filter_map(Value::as_str);
            texts.collect::<Vec<_>>().join(",")
        }
        Some(other) => other.to_string(),
    }
}

fn warnings(item: &Value) -> impl Iterator<Item = &Value> {
    let warnings = item.get("warnings").and_then(Value::as_array);
    warnings.into_iter().flatten()
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Deletes one object after a confirmation.
pub async fn delete(args: &DeleteArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let object = format!("{} {}", args.kind.noun(), args.name);
    if !args.yes && !std::io::stdin().is_terminal() {
        return Err(CommandError::Usage(format!(
            "to delete the {object} without being asked, say --yes"
        )));
    }
    let client = AdminClient::new(&args.target).await?;
    if !args.yes && !is_confirmed(&format!("Delete the {object}?"), std::io::stdin().lock()) {
        eprintln!("carnet: nothing was deleted");
        return Ok(Conclusion::No);
    }
    let path = format!("/{}/{}", args.kind.segment(), in_path(&args.name));
    let answer = client.send(Method::DELETE, &path, None).await?;
    if as_json && !answer.is_ok() {
        println!("{:#}", answer.body);
    }
    answer.ok_about(args.kind.noun(), &args.name)?;
    if as_json {
        println!(
            "{}",
            json!({ "deleted": { "kind": args.kind.segment(), "name": args.name } })
        );
    } else {
        println!("deleted {object}");
    }
    Ok(Conclusion::Yes)
}

/// Asks on standard error and reads the answer; only `y` and `yes` confirm.
pub fn is_confirmed(question: &str, mut answers: impl BufRead) -> bool {
    eprint!("{question} [y/N] ");
    let mut line = String::new();
    let read = answers.read_line(&mut line);
    read.is_ok() && matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_accepted_in_singular_plural_and_short_forms() {
        let words = [
            ("principals", Kind::Principal),
            ("principal", Kind::Principal),
            ("trusted-issuers", Kind::TrustedIssuer),
            ("trusted_issuer", Kind::TrustedIssuer),
            ("issuers", Kind::TrustedIssuer),
            ("Issuer", Kind::TrustedIssuer),
            ("resource-servers", Kind::ResourceServer),
            ("registry", Kind::ResourceServer),
            ("registries", Kind::ResourceServer),
            ("servers", Kind::ResourceServer),
            ("federated-credentials", Kind::FederatedCredential),
            ("federated_credentials", Kind::FederatedCredential),
            ("credential", Kind::FederatedCredential),
            ("rules", Kind::FederatedCredential),
            ("identity-providers", Kind::IdentityProvider),
            ("provider", Kind::IdentityProvider),
            ("memberships", Kind::Membership),
            ("clients", Kind::Client),
            ("client", Kind::Client),
        ];
        for (word, meant) in words {
            assert_eq!(kind(word), Ok(meant), "{word}");
        }
        for word in ["", "s", "key", "trusted issuers", "clientss"] {
            let error = kind(word).unwrap_err();
            for known in Kind::ALL {
                assert!(error.contains(known.segment()), "{word}: {error}");
            }
        }
    }

    #[test]
    fn only_y_and_yes_confirm_a_deletion() {
        for yes in ["y\n", "Y\n", " yes \n", "YES"] {
            assert!(is_confirmed("?", yes.as_bytes()), "{yes:?}");
        }
        for no in ["", "\n", "n\n", "yess\n", "joel\n"] {
            assert!(!is_confirmed("?", no.as_bytes()), "{no:?}");
        }
    }
}
