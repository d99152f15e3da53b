//! Says of one token what it allows and whether it is in force, by the logic of introspection.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Rejected;
use super::author::Author;
use crate::app::App;
use crate::own_tokens::{Ended, OwnToken};

/// What a token says, and whether it is in force. The token itself is not in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Inspection {
    /// Whether the token is in force.
    pub active: bool,
    /// Why it is not: `unknown` (no token of this server, or its signing key was withdrawn),
    /// `expired`, `revoked`, `before_restore` (the database was restored from a backup after it was
    /// issued), `signed_out` (the session has ended in which a person let the client act), or
    /// `nothing_left` (its client, its registry or every rule that it rests on was
    /// removed, disabled or changed).
    pub ended: Option<&'static str>,
    /// The claims; of a token in force only the entries that are still valid.
    pub claims: Map<String, Value>,
    /// How many entries of the token are no longer valid, while others are.
    pub entries_ended: usize,
}

/// Inspects a token. An author limited to principals may inspect tokens whose every entry is of
/// these principals.
pub async fn inspect(app: &App, text: &str, author: &Author) -> Result<Inspection, Rejected> {
    let context = app.decision_context();
    let tokens = app.own_tokens(&context);
    let Some(own) = tokens.recognise(text).await? else {
        return Ok(Inspection {
            ended: Some("unknown"),
            ..Inspection::default()
        });
    };
    if !may_see(author, &own) {
        return Err(Rejected::Forbidden);
    }
    let entries = own.claims().authorization_details.len();
    match tokens.in_force(own.clone()).await? {
        Ok(live) => Ok(Inspection {
            active: true,
            ended: None,
            entries_ended: entries.saturating_sub(live.claims().authorization_details.len()),
            claims: members(&json!(live.claims())),
        }),
        Err(ended) => Ok(Inspection {
            ended: Some(match ended {
                Ended::Over => "expired",
                Ended::Revoked => "revoked",
                Ended::BeforeRestore => "before_restore",
                Ended::SignedOut => "signed_out",
                Ended::NothingLeft => "nothing_left",
            }),
            claims: members(&json!(own.claims())),
            ..Inspection::default()
        }),
    }
}

fn may_see(author: &Author, token: &OwnToken) -> bool {
    let entries = &token.claims().authorization_details;
    author.sees_everything
        || (!entries.is_empty()
            && entries
                .iter()
                .all(|entry| author.may_act_for(&entry.principal)))
}

fn members(claims: &Value) -> Map<String, Value> {
    claims.as_object().cloned().unwrap_or_default()
}
