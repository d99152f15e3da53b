//! `carnet audit`: finds audit events.

mod follow;
mod lines;
mod publication;
mod when;

use std::io::Write as _;

use axum::http::Method;
use clap::Args;
use serde_json::Value;
use url::form_urlencoded;

use self::lines::lines;
use self::when::{When, when};
use super::admin_client::{AdminClient, in_path};
use super::{CommandError, Conclusion, ServerArgs};
use crate::clock::{Clock as _, SystemClock};
use crate::own_tokens::LOCAL_CLIENT;

/// Items of one request.
const PAGE: usize = 500;
/// After so many requests in a row that found nothing the command stops: no index helps the search.
const MOST_EMPTY_PAGES: usize = 100;

/// Options of `carnet audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Only events since this time: RFC 3339, a day, or how long ago, such as 30m, 2h or 1d.
    #[arg(long, value_name = "TIME", value_parser = when)]
    since: Option<When>,
    /// Only events until this time, in the same forms.
    #[arg(long, value_name = "TIME", value_parser = when, conflicts_with = "follow")]
    until: Option<When>,
    /// Only events of this workload: its repository or project by name or id, or its `sub`.
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
    /// Only events that this principal is part of; a token limited to one principal needs no name.
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Only events that this rule is part of, by name or id.
    #[arg(long, value_name = "NAME")]
    credential: Option<String>,
    /// Only refusals for this reason.
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Only events of this outcome: issued, refused, created, updated, deleted, revoked, published,
    /// `publication_refused`, `publication_unclear`, `signed_in`, `signed_out` or `sign_in_refused`.
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,
    /// Only the refusal that was answered with this `error_id`.
    #[arg(long, value_name = "ID")]
    error_id: Option<String>,
    /// Only events of the token with this `jti`.
    #[arg(long, value_name = "JTI")]
    token_id: Option<String>,
    /// Only events of this IP address.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Only events of assertions of this trusted issuer.
    #[arg(long, value_name = "NAME")]
    trusted_issuer: Option<String>,
    /// Only events about this registry, by its resource URI.
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// Only events of this client.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Only events of the person with this id, as `carnet people list` shows it.
    #[arg(long, value_name = "ID")]
    person: Option<String>,
    /// Only events of the assertion with this `jti` or digest.
    #[arg(long, value_name = "ID")]
    assertion: Option<String>,
    /// Print at most this many events, the latest ones.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print the latest events in the order of time, then wait for new ones, until interrupted.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    target: ServerArgs,
}

/// Prints the events that are found: one line and what explains it for each, or with `as_json` one
/// object on a line each.
pub async fn run(args: &AuditArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let client = AdminClient::new(&args.target).await?;
    if args.follow {
        return follow::run(args, client, as_json).await;
    }
    let query = args.query();
    let (mut left, mut empty, mut left_out) = (args.limit(), 0usize, 0usize);
    let mut cursor: Option<String> = None;
    loop {
        let page = Page::read(&client, &query, cursor.as_deref(), left.min(PAGE)).await?;
        empty = if page.items.is_empty() {
            empty.saturating_add(1)
        } else {
            0
        };
        let all = page.items.len();
        let mut items = page.items;
        items.retain(|event| args.shows(event, as_json));
        left_out = left_out.saturating_add(all.saturating_sub(items.len()));
        left = left.saturating_sub(items.len());
        if !print(&items, as_json)? {
            return Ok(Conclusion::Yes);
        }
        cursor = page.next;
        let until = page.searched_until.unwrap_or_default();
        let is_over = cursor.is_none() || left == 0 || empty == MOST_EMPTY_PAGES;
        if !is_over {
            continue;
        }
        if left_out > 0 {
            eprintln!(
                "carnet: left out {left_out} tokens that local commands made for themselves: --client-id {LOCAL_CLIENT} shows them"
            );
        }
        if cursor.is_some() && left == 0 {
            eprintln!(
                "carnet: there may be more events before {until}: give --until {until} or a larger --limit"
            );
        } else if cursor.is_some() {
            eprintln!(
                "carnet: the search stopped at {until}, because no index helps it: go on with --until {until}, or give --since"
            );
        } else if left == args.limit() && left_out == 0 {
            eprintln!("carnet: {}", args.nothing_found(&client).await);
        }
        return Ok(Conclusion::Yes);
    }
}

impl AuditArgs {
    fn limit(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }

    /// Whether an event is printed. Each local command makes itself an admin token; as text, the
    /// events of these tokens are printed only if they are asked for.
    fn shows(&self, event: &Value, as_json: bool) -> bool {
        let asked = [&self.client_id, &self.token_id, &self.error_id];
        as_json
            || asked.iter().any(|option| option.is_some())
            || event.pointer("/detail/for_command") != Some(&Value::Bool(true))
    }

    /// Why nothing may have been found.
    async fn nothing_found(&self, client: &AdminClient) -> String {
        if let Some(id) = &self.error_id {
            return format!(
                "no event is kept for {id}, or the token may not see it: look for error_id={id} in the server's log, which has \
                 every refusal"
            );
        }
        let named = [
            ("principal", "principals", &self.principal),
            ("trusted issuer", "trusted-issuers", &self.trusted_issuer),
        ];
        for (noun, path, name) in named {
            let Some(name) = name else {
                continue;
            };
            let path = format!("/{path}/{}", in_path(name));
            let answer = client.send(Method::GET, &path, None).await;
            if answer.is_ok_and(|answer| answer.status == 404) {
                return format!("nothing found: there is no {noun} {name}");
            }
        }
        match &self.repository {
            Some(name) => format!(
                "nothing found: --repository {name} must be a whole name or id, such as octo-org/octo-repo"
            ),
            None => "nothing found".to_owned(),
        }
    }

    /// The parameters of the admin API that the options mean.
    fn query(&self) -> Vec<(&'static str, String)> {
        let now = SystemClock.now();
        let since = self.since.map(|when| when.since(now).to_string());
        let until = self.until.map(|when| when.until(now).to_string());
        let options = [
            ("since", since),
            ("until", until),
            ("repository", self.repository.clone()),
            ("principal", self.principal.clone()),
            ("credential", self.credential.clone()),
            ("reason", self.reason.clone()),
            ("outcome", self.outcome.clone()),
            ("error_id", self.error_id.clone()),
            ("token_id", self.token_id.clone()),
            ("address", self.address.clone()),
            ("trusted_issuer", self.trusted_issuer.clone()),
            ("resource", self.resource.clone()),
            ("client_id", self.client_id.clone()),
            ("person", self.person.clone()),
            ("assertion", self.assertion.clone()),
        ];
        options
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// A page of the admin API's list.
struct Page {
    items: Vec<Value>,
    next: Option<String>,
    /// All later events were searched.
    searched_until: Option<String>,
}

impl Page {
    async fn read(
        client: &AdminClient,
        query: &[(&'static str, String)],
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Self, Failure> {
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(query)
            .append_pair("limit", &limit.to_string());
        if let Some(cursor) = cursor {
            text.append_pair("cursor", cursor);
        }
        let path = format!("/audit-events?{}", text.finish());
        let answer = client.send(Method::GET, &path, None).await;
        let answer = answer.map_err(Failure::Passing)?;
        let is_passing = answer.status == 429 || answer.status >= 500;
        let failure = if is_passing {
            Failure::Passing
        } else {
            Failure::Final
        };
        let body = answer.ok().map_err(failure)?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            items: body
                .get("items")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
            next: text("next_cursor"),
            searched_until: text("searched_until"),
        })
    }
}

/// A page that could not be read.
enum Failure {
    /// The server cannot be reached, is busy or fails; a later request may work.
    Passing(CommandError),
    /// The server refuses the request.
    Final(CommandError),
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Passing(error) | Failure::Final(error) => error,
        }
    }
}

/// Prints events. Returns `false` if nobody reads them any more, as after `| head`.
fn print<'e>(
    events: impl IntoIterator<Item = &'e Value>,
    as_json: bool,
) -> Result<bool, CommandError> {
    let mut out = std::io::stdout().lock();
    let write = || {
        for event in events {
            if as_json {
                writeln!(out, "{event}")?;
            } else {
                for line in lines(event) {
                    writeln!(out, "{line}")?;
                }
            }
        }
        out.flush()
    };
    match write() {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CommandError::Other(format!("standard output: {error}"))),
    }
}
