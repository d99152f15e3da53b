//! The request in the form on which a person agrees: sealed for one session, so that what is agreed to
//! is what was shown.

use carnet_jose::Purpose;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::clock::Timestamp;
use crate::people::session::Session;

/// How long a person may look at the page, in seconds.
const SECONDS: i64 = 1800;
const KIND: &str = "authorization request";

#[derive(Serialize, Deserialize)]
struct Content {
    /// The query of the authorization request, which says everything that is asked for.
    query: String,
    /// Milliseconds since 1970.
    shown_at: i64,
}

/// Seals the query for the form that this session is shown; `None` if it cannot be sealed.
pub fn seal(app: &App, session: &Session, query: &str) -> Option<String> {
    let content = Content {
        query: query.to_owned(),
        shown_at: app.clock.now().millis(),
    };
    let bytes = serde_json::to_vec(&content).ok()?;
    let owner = owner(app, session);
    app.keys.seal_cookie(&bytes, purpose(&owner)).ok()
}

/// The query, if this session was shown it not too long ago.
pub fn open(app: &App, session: &Session, sealed: &str) -> Option<String> {
    let owner = owner(app, session);
    let bytes = app.keys.open_cookie(sealed, purpose(&owner)).ok()?;
    let content: Content = serde_json::from_slice(&bytes).ok()?;
    let shown_at = Timestamp::from_millis(content.shown_at);
    let age = app.clock.now().seconds_since(shown_at);
    (0..=SECONDS).contains(&age).then_some(content.query)
}

/// For which the seal is made: this issuer, and the session that was shown the page.
fn owner(app: &App, session: &Session) -> String {
    format!("{} {}", app.config.own.issuer(), session.id)
}

fn purpose(owner: &str) -> Purpose<'_> {
    Purpose { kind: KIND, owner }
}
