//! The objects that the server holds, as its lists show them.

use std::collections::HashMap;

use axum::http::Method;
use carnet_jose::from_base64url;
use serde_json::{Map, Value};

use super::references::{Named, ObjectName};
use crate::command::CommandError;
use crate::command::admin_client::{AdminAnswer, AdminClient, in_path, in_query};
use crate::documents::Kind;
use crate::scope::{ADMIN, ADMIN_READ, ScopeSet};

/// Whether the token may read objects of a kind, by its scope. A token of another form than this
/// server's may be asked for everything: the server knows.
pub fn may_read(client: &AdminClient, kind: Kind) -> bool {
    let scope = client.remote_token().and_then(scope_of);
    kind.is_of_principals()
        || scope.is_none_or(|scope| [ADMIN, ADMIN_READ].iter().any(|all| scope.contains(all)))
}

fn scope_of(token: &str) -> Option<ScopeSet> {
    let payload = from_base64url(token.split('.').nth(1)?)?;
    let payload: Value = serde_json::from_slice(&payload).ok()?;
    ScopeSet::parse(payload.get("scope")?.as_str()?).ok()
}

/// The form in which a list shows objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// With defaults and read-only members, as the answer of a dry run.
    Whole,
    /// As `carnet apply` reads them.
    Export,
}

/// The objects of one kind.
#[derive(Debug, Default)]
pub struct StoredObjects {
    objects: Vec<StoredObject>,
    by_name: Named<usize>,
    by_id: HashMap<String, usize>,
}

/// An object and the name that addresses it: `principal:name` where rules of several principals
/// have the name.
#[derive(Clone, Debug)]
pub struct StoredObject {
    pub name: String,
    pub members: Map<String, Value>,
}

impl StoredObjects {
    /// Reads all objects of a kind, page by page; those of one principal if `principal` is given.
    /// `None` if the token may not read this kind.
    pub async fn read(
        client: &AdminClient,
        kind: Kind,
        view: View,
        principal: Option<&str>,
    ) -> Result<Option<Self>, CommandError> {
        let mut query = "limit=500".to_owned();
        if view == View::Export {
            query.push_str("&view=export");
        }
        if let Some(principal) = principal {
            query.push_str("&principal=");
            query.push_str(&in_query(principal));
        }
        let mut objects = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/{}?{query}{cursor}", kind.segment());
            let answer = client.send(Method::GET, &path, None).await?;
            if answer.status == 403 && objects.is_empty() {
                return Ok(None);
            }
            let page = succeeded(kind.table(), answer)?;
            let items = page.get("items").and_then(Value::as_array);
            objects.extend(items.into_iter().flatten().filter_map(named));
            let Some(next) = page.get("next_cursor").and_then(Value::as_str) else {
                tell_apart(&mut objects);
                return Ok(Some(Self::new(kind, objects)));
            };
            cursor = format!("&cursor={next}");
        }
    }

    fn new(kind: Kind, objects: Vec<StoredObject>) -> Self {
        let mut by_name = Named::default();
        let mut by_id = HashMap::new();
        for (at, object) in objects.iter().enumerate() {
            let name = ObjectName::of(kind, &object.name, &object.members);
            by_name.insert(name, at);
            if let Some(id) = id_of(&object.members) {
                by_id.insert(id.to_owned(), at);
            }
        }
        Self {
            objects,
            by_name,
            by_id,
        }
    }

    /// The object that an object of a file means. Names of rules are unique per principal only, so
    /// the principals are compared as well.
    pub fn get(&self, kind: Kind, key: &str, wanted: &Map<String, Value>) -> Option<&StoredObject> {
        let name = ObjectName::of(kind, key, wanted);
        let at = self.by_id.get(key).or_else(|| self.by_name.get(&name))?;
        self.objects.get(*at)
    }

    pub fn iter(&self) -> impl Iterator<Item = &StoredObject> {
        self.objects.iter()
    }

    pub fn into_objects(self) -> Vec<StoredObject> {
        self.objects
    }
}

/// The present version of an object.
#[derive(Clone, Debug)]
pub struct Current {
    pub members: Map<String, Value>,
    pub etag: Option<String>,
}

impl Current {
    /// Reads an object of a list again, with its version; `None` if it is not there any more.
    pub async fn read(
        client: &AdminClient,
        kind: Kind,
        object: &StoredObject,
    ) -> Result<Option<Self>, CommandError> {
        let key = id_of(&object.members).unwrap_or(&object.name);
        let path = format!("/{}/{}", kind.segment(), in_path(key));
        let answer = client.send(Method::GET, &path, None).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        let etag = answer.etag.clone();
        let about = format!("{}.{}", kind.table(), object.name);
        let shown = succeeded(&about, answer)?;
        Ok(named(&shown).map(|object| Self {
            members: object.members,
            etag,
        }))
    }
}

/// The id of an object.
pub fn id_of(members: &Map<String, Value>) -> Option<&str> {
    members.get("id")?.as_str()
}

/// The body of a 2xx answer; any other status is an error that says what the request was about.
pub fn succeeded(about: &str, answer: AdminAnswer) -> Result<Value, CommandError> {
    answer
        .ok()
        .map_err(|error| CommandError::Other(format!("{about}: {error}")))
}

fn named(item: &Value) -> Option<StoredObject> {
    let mut members = item.as_object()?.clone();
    let name = members.shift_remove("name")?.as_str()?.to_owned();
    Some(StoredObject { name, members })
}

/// Addresses objects that share a name as `principal:name`: names of rules are unique per principal
/// only.
fn tell_apart(objects: &mut [StoredObject]) {
    let mut uses: HashMap<String, usize> = HashMap::new();
    for object in objects.iter() {
        let uses = uses.entry(object.name.to_ascii_lowercase()).or_default();
        *uses = uses.saturating_add(1);
    }
    for object in objects {
        let principal = object.members.get("principal").and_then(Value::as_str);
        let is_shared = uses.get(&object.name.to_ascii_lowercase()) > Some(&1);
        if let Some(principal) = principal.filter(|_| is_shared) {
            object.name = format!("{principal}:{}", object.name);
        }
    }
}
