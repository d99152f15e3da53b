//! Finding, listing, showing and exporting objects of every kind.

use serde_json::{Map, Value, json};

use super::Rejected;
use super::author::Author;
use super::managed::Managed;
use crate::app::App;
use crate::documents::Stored;
use crate::model::Snapshot;
use crate::store::{Filter, Page};
use crate::trust::Warning;

/// Finds an object by reference. For an author limited to principals, rules of other principals do
/// not exist.
pub async fn find<D: Managed>(
    app: &App,
    reference: &str,
    author: &Author,
) -> Result<Stored<D>, Rejected> {
    D::called(app, reference, None, author)
        .await?
        .ok_or(Rejected::NotFound)
}

/// A page of at most `limit` objects that follow the key `after`.
pub async fn list<D: Managed>(
    app: &App,
    after: Option<&str>,
    limit: u64,
    filter: &Filter,
) -> Result<Page<D>, Rejected> {
    Ok(app.store.objects(after, limit, filter).await?)
}

/// An object as the admin API answers it: the document with its defaults, the state and warnings.
pub fn shown<D: Managed>(app: &App, stored: &Stored<D>) -> Map<String, Value> {
    let context = app.context();
    let mut members = Map::new();
    members.insert("name".to_owned(), stored.name.clone().into());
    members.extend(stored.document.shown(context));
    members.insert("id".to_owned(), stored.id.clone().into());
    members.extend(D::shown_state(app, stored));
    members.insert("warnings".to_owned(), json!(warnings(app, stored)));
    members.insert(
        "created_at".to_owned(),
        stored.created_at.to_string().into(),
    );
    members.insert(
        "updated_at".to_owned(),
        stored.updated_at.to_string().into(),
    );
    members
}

/// The warnings of a stored object.
pub fn warnings<D: Managed>(app: &App, stored: &Stored<D>) -> Vec<Warning> {
    warnings_among(app, &app.rules(), stored)
}

/// What a stored object does, in sentences; empty for kinds that say nothing.
pub fn preview<D: Managed>(app: &App, stored: &Stored<D>) -> Vec<String> {
    D::preview(&app.rules(), stored)
}

/// Those that it has beside the objects of these rules.
pub(super) fn warnings_among<D: Managed>(
    app: &App,
    rules: &Snapshot,
    stored: &Stored<D>,
) -> Vec<Warning> {
    let mut warnings = stored.document.warnings(app.context());
    warnings.extend(D::more_warnings(rules, stored));
    warnings
}

/// An object as `carnet apply` reads it: the members that were given, and pinned ids both in
/// `pinned` and as members of `match`.
pub fn exported<D: Managed>(stored: &Stored<D>) -> Map<String, Value> {
    let mut members = D::exported_with_state(stored);
    members.insert("name".to_owned(), stored.name.clone().into());
    members
}
