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

/// A page on which a person is asked, as its form holds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownPage {
    /// The query of the authorization request, which says everything that is asked for.
    pub query: String,
    /// What the person read on it: [`Question::shown`](super::Question::shown).
    pub what: String,
    /// Milliseconds since 1970.
    at: i64,
}

impl ShownPage {
    pub fn new(app: &App, query: &str, what: String) -> Self {
        Self {
            query: query.to_owned(),
            what,
            at: app.clock.now().millis(),
        }
    }

    /// Seals the page for the form that this session is shown; `None` if it cannot be sealed.
    pub fn seal(&self, app: &App, session: &Session) -> Option<String> {
        let bytes = serde_json::to_vec(self).ok()?;
        let owner = owner(app, session);
        app.keys.seal_cookie(&bytes, purpose(&owner)).ok()
    }

    /// The page, if this session was shown it not too long ago.
    pub fn open(app: &App, session: &Session, sealed: &str) -> Option<Self> {
        let owner = owner(app, session);
        let bytes = app.keys.open_cookie(sealed, purpose(&owner)).ok()?;
        let page: Self = serde_json::from_slice(&bytes).ok()?;
        let age = app
            .clock
            .now()
            .seconds_since(Timestamp::from_millis(page.at));
        (0..=SECONDS).contains(&age).then_some(page)
    }
}

/// For which the seal is made: this issuer, and the session that was shown the page.
fn owner(app: &App, session: &Session) -> String {
    format!("{} {}", app.config.own.issuer(), session.id)
}

fn purpose(owner: &str) -> Purpose<'_> {
    Purpose { kind: KIND, owner }
}
