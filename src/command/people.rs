//! `carnet people`: who signed in, and who may no more.

use axum::http::Method;
use carnet_exchange::web::visible;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::admin_client::{AdminClient, in_path, in_query};
use super::table::table;
use super::{CommandError, Conclusion, ServerArgs};

/// The columns of the list of people, with the members that they show.
const OF_PEOPLE: [(&str, &str); 5] = [
    ("ID", "id"),
    ("IDENTITY PROVIDER", "identity_provider"),
    ("USER NAME", "username"),
    ("NAME", "name"),
    ("LAST SEEN", "last_seen"),
];
/// Those of the list of sessions.
const OF_SESSIONS: [(&str, &str); 5] = [
    ("SESSION", "id"),
    ("BEGAN", "created_at"),
    ("LAST USED", "last_used_at"),
    ("ENDS", "expires_at"),
    ("PROVED", "auth_time"),
];

/// Arguments of `carnet people`.
#[derive(Debug, Args)]
pub struct PeopleArgs {
    #[command(subcommand)]
    command: PeopleCommand,
}

#[derive(Debug, Subcommand)]
enum PeopleCommand {
    /// List the people who signed in, in the order in which they were first seen.
    #[command(after_help = "Example:\n  carnet people list --identity-provider corp")]
    List {
        /// Only the people of this identity provider.
        #[arg(long, value_name = "NAME")]
        identity_provider: Option<String>,
        #[command(flatten)]
        target: ServerArgs,
    },
    /// Show a person and the person's sessions.
    #[command(after_help = "Example:\n  carnet people show ps_01KB9Y5R3ZJ1V8QW6M2T4N7XCD")]
    Show(PersonArgs),
    /// Let a person sign in no more, and end the person's sessions.
    #[command(after_help = "Example:\n  carnet people disable ps_01KB9Y5R3ZJ1V8QW6M2T4N7XCD")]
    Disable(PersonArgs),
    /// Let a person sign in again.
    #[command(after_help = "Example:\n  carnet people enable ps_01KB9Y5R3ZJ1V8QW6M2T4N7XCD")]
    Enable(PersonArgs),
    /// End all sessions of a person, who may sign in again.
    #[command(after_help = "Example:\n  carnet people end-sessions ps_01KB9Y5R3ZJ1V8QW6M2T4N7XCD")]
    EndSessions(PersonArgs),
}

#[derive(Debug, Args)]
struct PersonArgs {
    /// The person's id, as `carnet people list` shows it.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    target: ServerArgs,
}

pub async fn run(args: &PeopleArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    match &args.command {
        PeopleCommand::List {
            identity_provider,
            target,
        } => list(identity_provider.as_deref(), target, as_json).await,
        PeopleCommand::Show(args) => show(args, as_json).await,
        PeopleCommand::Disable(args) => enable(args, false, as_json).await,
        PeopleCommand::Enable(args) => enable(args, true, as_json).await,
        PeopleCommand::EndSessions(args) => end_sessions(args, as_json).await,
    }
}

async fn list(
    identity_provider: Option<&str>,
    target: &ServerArgs,
    as_json: bool,
) -> Result<Conclusion, CommandError> {
    let client = AdminClient::new(target).await?;
    let filter = identity_provider.map(|name| format!("&identity_provider={}", in_query(name)));
    let path = format!("/people?limit=500{}", filter.unwrap_or_default());
    let people = client.all(&path).await?;
    if as_json {
        println!("{:#}", Value::Array(people));
        return Ok(Conclusion::Yes);
    }
    if people.is_empty() {
        eprintln!("carnet: nobody has signed in");
        return Ok(Conclusion::Yes);
    }
    let row = |person: &Value| {
        let mut cells = OF_PEOPLE.map(|(_, member)| text(person, member)).to_vec();
        let is_enabled = person.get("enabled") == Some(&Value::Bool(true));
        cells.push(if is_enabled { "enabled" } else { "disabled" }.to_owned());
        cells
    };
    let rows: Vec<Vec<String>> = people.iter().map(row).collect();
    let headings = OF_PEOPLE.map(|(heading, _)| heading);
    let headings: Vec<&str> = headings.into_iter().chain(["STATE"]).collect();
    print!("{}", table(&headings, &rows));
    Ok(Conclusion::Yes)
}

async fn show(args: &PersonArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let client = AdminClient::new(&args.target).await?;
    let path = format!("/people/{}", in_path(&args.id));
    let person = client.send(Method::GET, &path, None).await?;
    let mut person = person.ok_about("person", &args.id)?;
    let sessions = format!("{path}/sessions");
    let sessions = client.send(Method::GET, &sessions, None).await?;
    let sessions = sessions.ok_about("person", &args.id)?;
    let sessions = sessions.get("items").cloned().unwrap_or_default();
    if as_json {
        if let Some(members) = person.as_object_mut() {
            members.insert("sessions".to_owned(), sessions);
        }
        println!("{person:#}");
        return Ok(Conclusion::Yes);
    }
    for (name, value) in person.as_object().into_iter().flatten() {
        println!("{name:<17} {}", shown(value));
    }
    let row = |session: &Value| {
        OF_SESSIONS
            .map(|(_, member)| text(session, member))
            .to_vec()
    };
    let rows: Vec<Vec<String>> = sessions.as_array().into_iter().flatten().map(row).collect();
    if !rows.is_empty() {
        println!();
        print!("{}", table(&OF_SESSIONS.map(|(heading, _)| heading), &rows));
    }
    Ok(Conclusion::Yes)
}

async fn enable(
    args: &PersonArgs,
    enabled: bool,
    as_json: bool,
) -> Result<Conclusion, CommandError> {
    let client = AdminClient::new(&args.target).await?;
    let path = format!("/people/{}", in_path(&args.id));
    let body = json!({ "enabled": enabled });
    let answer = client.send(Method::PATCH, &path, Some(&body)).await?;
    let person = answer.ok_about("person", &args.id)?;
    if as_json {
        println!("{person:#}");
    } else if enabled {
        println!("person {} may sign in", text(&person, "id"));
    } else {
        println!("person {} is disabled and signed out", text(&person, "id"));
    }
    Ok(Conclusion::Yes)
}

async fn end_sessions(args: &PersonArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let client = AdminClient::new(&args.target).await?;
    let path = format!("/people/{}/sessions", in_path(&args.id));
    let answer = client.send(Method::DELETE, &path, None).await?;
    let ended = answer.ok_about("person", &args.id)?;
    if as_json {
        println!("{ended}");
    } else {
        let number = ended.get("ended").and_then(Value::as_u64);
        println!("ended sessions: {}", number.unwrap_or_default());
    }
    Ok(Conclusion::Yes)
}

fn text(object: &Value, member: &str) -> String {
    object.get(member).map_or_else(|| "-".to_owned(), shown)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => visible(text),
        other => other.to_string(),
    }
}
