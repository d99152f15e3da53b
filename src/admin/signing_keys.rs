//! This server's signing keys, as administrators list, rotate and withdraw them.

use carnet_jose::Algorithm;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Author, Rejected};
use crate::app::App;
use crate::audit::{AuditEvent, Outcome};
use crate::store::StoredKey;

/// A signing key, without its private half.
#[derive(Clone, Debug, Serialize)]
pub struct ShownKey {
    pub kid: String,
    /// The JOSE algorithm, such as `ES256`.
    pub algorithm: String,
    /// `next`, `active` or `retired`.
    pub state: &'static str,
    pub created_at: String,
    pub activated_at: Option<String>,
    pub published_until: Option<String>,
}

impl From<StoredKey> for ShownKey {
    fn from(key: StoredKey) -> Self {
        Self {
            state: key.state.word(),
            kid: key.key_id,
            algorithm: key.algorithm,
            created_at: key.created_at.to_string(),
            activated_at: key.activated_at.map(|at| at.to_string()),
            published_until: key.published_until.map(|at| at.to_string()),
        }
    }
}

/// The signing keys that the key set has.
///
/// # Errors
///
/// [`Rejected::Unavailable`] if the database fails.
pub async fn signing_keys(app: &App) -> Result<Vec<ShownKey>, Rejected> {
    let keys = app.store.signing_keys().await?;
    Ok(keys.into_iter().map(ShownKey::from).collect())
}

/// Lets the next key sign; with an algorithm, a new key of it.
///
/// # Errors
///
/// [`Rejected::Unavailable`] if the database or the making of a key fails.
pub async fn rotate_signing_key(
    app: &App,
    algorithm: Option<Algorithm>,
    author: &Author,
) -> Result<(), Rejected> {
    let event = event(author, Outcome::Updated, None, app);
    let now = app.clock.now();
    app.keys
        .rotate(&app.store, algorithm, now, Some(&event))
        .await?;
    Ok(())
}

/// Removes a key from the key set at once, which invalidates the tokens that it signed.
///
/// # Errors
///
/// [`Rejected::NotFound`] if there is no such key.
pub async fn withdraw_signing_key(app: &App, kid: &str, author: &Author) -> Result<(), Rejected> {
    let event = event(author, Outcome::Deleted, Some(kid), app);
    let now = app.clock.now();
    app.keys
        .withdraw(&app.store, kid, now, Some(&event))
        .await?;
    Ok(())
}

/// The event of a change to the signing keys. The store adds which keys were changed.
fn event(author: &Author, outcome: Outcome, kid: Option<&str>, app: &App) -> AuditEvent {
    let mut event = author.event(app.clock.now(), outcome);
    let mut detail = Map::new();
    detail.insert("kind".to_owned(), "signing key".into());
    detail.extend(kid.map(|kid| ("name".to_owned(), kid.into())));
    event.detail = Value::Object(detail).to_string();
    event
}
