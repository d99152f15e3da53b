//! The behaviour that a kind of object adds to the common saving, listing and removing.

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

/// A kind of object that can be managed. The defaults fit kinds without references and state.
pub trait Managed: Persist {
    /// Resolves the document's references, brings it into its stored form and computes the state
    /// that is stored beside it. Errors with every mistake found.
    fn prepare(
        &mut self,
        app: &App,
        name: &str,
        present: Option<&Stored<Self>>,
        occasion: Occasion<'_>,
    ) -> impl Future<Output = Result<Self::State, Rejected>> + Send;

    /// Further mistakes in a document that could not be read as a whole, so that one answer reports
    /// all of them.
    fn further_problems(
        _: &App,
        _: &Map<String, Value>,
    ) -> impl Future<Output = Vec<DocumentError>> + Send {
        async { Vec::new() }
    }

    /// The principal that the author must be allowed to act for; `None` for kinds that only
    /// unlimited tokens may change.
    fn principal(&self) -> Option<&str> {
        None
    }

    /// Whether the author may save or remove this object, beyond the rule about its principal.
    fn may_be_changed_by(&self, _: &Author) -> bool {
        true
    }

    /// The stored object that a reference means to this author. `members` are those of the document
    /// to be saved, if there is one.
    fn called(
        app: &App,
        reference: &str,
        _: Option<&Map<String, Value>>,
        _: &Author,
    ) -> impl Future<Output = Result<Option<Stored<Self>>, Rejected>> + Send {
        async move { Ok(app.store.object(reference).await?) }
    }

    /// The name that a new object gets from the reference it is saved under.
    fn name_in<'r>(&self, reference: &'r str) -> Result<&'r str, DocumentError> {
        Ok(reference)
    }

    /// Read-only members that an answer adds to the document.
    fn shown_state(_: &App, _: &Stored<Self>) -> Map<String, Value> {
        Map::new()
    }

    /// The document as audit events hold it. Values that may hold secrets are left out or replaced.
    fn recorded(&self) -> Map<String, Value> {
        self.exported()
    }

    /// Members of the state that the audit event of a change holds beside those of the document.
    fn recorded_state(_: &Stored<Self>) -> Map<String, Value> {
        Map::new()
    }

    /// What the audit event says of a change beyond the two documents, as a member of its detail.
    fn recorded_change(
        _before: Option<&Stored<Self>>,
        _after: Option<&Stored<Self>>,
    ) -> Option<(&'static str, Value)> {
        None
    }

    /// Warnings that depend on the other objects of the snapshot.
    fn more_warnings(_: &Snapshot, _: &Stored<Self>) -> Vec<Warning> {
        Vec::new()
    }

    /// What the object means, in sentences for people; none for kinds that mean what they say.
    fn preview(_: &Snapshot, _: &Stored<Self>) -> Vec<String> {
        Vec::new()
    }

    /// The snapshot with this object added, for the warnings of a dry run.
    fn among(rules: Arc<Snapshot>, _: &Stored<Self>) -> Arc<Snapshot> {
        rules
    }

    /// Whether saving would change nothing. Values that the server itself added, such as pinned
    /// ids, may be present or absent.
    fn says_the_same(&self, state: &Self::State, present: &Stored<Self>) -> bool {
        present.document == *self && present.state == *state
    }

    /// The document as `carnet export` writes it.
    fn exported_with_state(stored: &Stored<Self>) -> Map<String, Value> {
        stored.document.exported()
    }
}

/// The circumstances of a save.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// Whether keys are fetched to check their URLs; false for `?validate=offline`.
    pub online: bool,
    pub author: &'a Author,
}
