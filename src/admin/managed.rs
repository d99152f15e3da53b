//! What a kind brings along to be managed.

use std::future::Future;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Rejected;
use super::author::Author;
use crate::app::App;
use crate::documents::Stored;
use crate::model::Snapshot;
use crate::store::Persist;
use crate::trust::{DocumentError, Warning};

/// A kind that can be saved.
pub trait Managed: Persist {
    /// Checks what the document says of others, brings it into its stored form and decides what is stored beside it.
    fn prepare(
        &mut self,
        app: &App,
        name: &str,
        present: Option<&Stored<Self>>,
        occasion: Occasion<'_>,
    ) -> impl Future<Output = Result<Self::State, Rejected>> + Send;

    /// What else is wrong with a document that cannot be read as a whole, so that every mistake is told at once.
    fn further_problems(_: &App, _: &Map<String, Value>) -> impl Future<Output = Vec<DocumentError>> + Send {
        async { Vec::new() }
    }

    /// The principal that a token has to be good for, where tokens may be limited to principals.
    fn principal(&self) -> Option<&str> {
        None
    }

    /// What a reference means to this author, among what is there. `members` are those of the document to be saved.
    fn called(
        app: &App,
        reference: &str,
        _: Option<&Map<String, Value>>,
        _: &Author,
    ) -> impl Future<Output = Result<Option<Stored<Self>>, Rejected>> + Send {
        async move { Ok(app.store.object(reference).await?) }
    }

    /// The name that a reference to something new gives it, or what is wrong with it.
    fn name_in<'r>(&self, reference: &'r str) -> Result<&'r str, DocumentError> {
        Ok(reference)
    }

    /// What an answer shows beside the document.
    fn shown_state(_: &App, _: &Stored<Self>) -> Map<String, Value> {
        Map::new()
    }

    /// What is weak about it under these rules, beyond what the document alone shows.
    fn more_warnings(_: &Snapshot, _: &Stored<Self>) -> Vec<Warning> {
        Vec::new()
    }

    /// The rules as they would be with this object among them, as far as warnings are told from them.
    fn among(rules: Arc<Snapshot>, _: &Stored<Self>) -> Arc<Snapshot> {
        rules
    }

    /// Whether saving it would make the object say something else. What the server found out itself may be written down or left out.
    fn says_the_same(&self, state: &Self::State, present: &Stored<Self>) -> bool {
        present.document == *self && present.state == *state
    }

    /// The document as it is exported.
    fn exported_with_state(stored: &Stored<Self>) -> Map<String, Value> {
        stored.document.exported()
    }
}

/// On what occasion a document is saved.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// Whether what can only be seen by fetching it is looked at.
    pub online: bool,
    /// Who saves it.
    pub author: &'a Author,
}
