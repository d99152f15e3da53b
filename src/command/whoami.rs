//! `carnet whoami`: who is signed in, as the server sees it.

use axum::http::Method;
use carnet_exchange::Environment;
use carnet_exchange::web::visible;
use clap::Args;
use serde_json::{Value, json};

use super::admin_client::{AdminAnswer, AdminClient};
use super::server_token::{ServerToken, expired, login};
use super::sign_ins::{Person, SignIn, SignIns};
use super::{CommandError, Conclusion};
use crate::clock::{Clock as _, SystemClock, Timestamp};

/// Options of `carnet whoami`.
#[derive(Debug, Args)]
pub struct WhoamiArgs {
    /// Issuer identifier of the server; needed if there are sign-ins at several.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

/// Prints the sign-in. It is a no if there is none, or if it is no longer in force.
pub async fn run(args: &WhoamiArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let sign_ins = SignIns::read()?;
    let Some((issuer, sign_in)) = sign_ins.meant(args.server.as_deref())? else {
        if as_json {
            println!("{:#}", json!({ "in_force": false }));
        }
        let login = login(args.server.as_deref().unwrap_or("URL"));
        eprintln!("carnet: nobody is signed in: {login}");
        return Ok(Conclusion::No);
    };
    if Environment::of_this_process().has("CARNET_TOKEN") {
        eprintln!("carnet: CARNET_TOKEN is set, which commands use in place of a sign-in");
    }
    let why_not = if sign_in.has_expired(SystemClock.now()) {
        expired(issuer, &sign_in.person)
    } else {
        let client = AdminClient::remote(issuer, ServerToken::of_sign_in(issuer, sign_in))?;
        let answer = client.send(Method::GET, "/token", None).await?;
        match answer.status {
            200 => {
                print(issuer, sign_in, &answer.body, as_json);
                return Ok(Conclusion::Yes);
            }
            401 => answer.problem(),
            _ => return Err(no_answer(&answer)),
        }
    };
    if as_json {
        println!(
            "{:#}",
            with(sign_in.shown(issuer), "in_force", json!(false))
        );
    }
    eprintln!("carnet: {why_not}");
    Ok(Conclusion::No)
}

/// The error for an answer that says nothing about the token.
fn no_answer(answer: &AdminAnswer) -> CommandError {
    let why = answer.problem();
    match answer.status {
        429 | 500.. => CommandError::Unreachable(why),
        _ => CommandError::Other(why),
    }
}

/// Prints what the server says of the token.
fn print(issuer: &str, sign_in: &SignIn, token: &Value, as_json: bool) {
    if as_json {
        let mut shown = with(sign_in.shown(issuer), "in_force", json!(true));
        for (name, value) in token.as_object().into_iter().flatten() {
            shown = with(shown, name, value.clone());
        }
        println!("{shown:#}");
        return;
    }
    let text = |name: &str| token.get(name).and_then(Value::as_str).map(visible);
    let person = token
        .get("person")
        .cloned()
        .map(serde_json::from_value::<Person>);
    let person = person.and_then(Result::ok);
    println!("person   {}", person.as_ref().unwrap_or(&sign_in.person));
    println!("server   {}", visible(issuer));
    println!(
        "scope    {}",
        text("scope").unwrap_or_else(|| visible(&sign_in.scope))
    );
    println!(
        "expires  {}",
        time(token.get("expires_at")).unwrap_or_else(|| sign_in.expires_at.to_string())
    );
    let until = time(token.get("writes_until"));
    let changes = match (text("writes").as_deref(), until) {
        (Some("now"), Some(until)) => format!("until {until}"),
        (Some("now"), None) => "yes".to_owned(),
        (Some("step_up"), _) => format!("after a new sign-in: {}", login(issuer)),
        _ => "no".to_owned(),
    };
    println!("changes  {changes}");
}

/// A time of the server: RFC 3339, or seconds since 1970.
fn time(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(visible(text)),
        value => Some(Timestamp::from_seconds(value.as_i64()?).to_string()),
    }
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    object
}
