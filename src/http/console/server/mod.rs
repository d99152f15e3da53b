//! The pages about the whole server, for operators and auditors: what is configured, people, keys and
//! the audit log. To others they do not exist.

mod audit;
mod keys;
mod objects;
mod overview;
mod people;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::inside::{Inside, Instead};
use super::runs::whole;
use crate::admin::Author;
use crate::app::App;
use crate::documents::{
    ClientDocument, IdentityProviderDocument, MembershipDocument, ResourceServerDocument,
};

/// Objects on one page.
const ROWS: u64 = 50;

pub fn routes() -> Router<Arc<App>> {
    let below = |path: &str| format!("/console/server{path}");
    let one = |segment: &str| format!("/console/server/{segment}/{{name}}");
    Router::new()
        .route(&below(""), get(overview::show))
        .route(&below("/trusted-issuers"), get(objects::issuers))
        .route(
            &one("trusted-issuers"),
            get(objects::issuer).post(objects::fetch_keys),
        )
        .route(
            &below("/resource-servers"),
            get(objects::list::<ResourceServerDocument>),
        )
        .route(
            &one("resource-servers"),
            get(objects::show::<ResourceServerDocument>),
        )
        .route(&below("/clients"), get(objects::list::<ClientDocument>))
        .route(&one("clients"), get(objects::show::<ClientDocument>))
        .route(
            &below("/identity-providers"),
            get(objects::list::<IdentityProviderDocument>),
        )
        .route(&one("identity-providers"), get(objects::provider))
        .route(
            &below("/memberships"),
            get(objects::list::<MembershipDocument>),
        )
        .route(
            &one("memberships"),
            get(objects::show::<MembershipDocument>),
        )
        .route(&below("/people"), get(people::list))
        .route(&one("people"), get(people::show).post(people::change))
        .route(&below("/signing-keys"), get(keys::list).post(keys::change))
        .route(&below("/audit"), get(audit::search))
        .route(&one("audit"), get(audit::show))
}

/// The author who reads everything for the person.
async fn reader(inside: &Inside) -> Result<Author, Instead> {
    if inside.session.roles.may_read_all() {
        Ok(inside.reader(&inside.app.rules()))
    } else {
        Err(inside.not_found().await)
    }
}

/// A name and its value.
type Fact = (String, String);

/// The members of an object in words, those of objects within it by their path. Absent values are
/// left out.
fn facts(members: &Map<String, Value>) -> Vec<Fact> {
    let mut found = Vec::new();
    for (name, value) in members {
        match value {
            Value::Null => {}
            Value::Object(inner) => {
                let inner = facts(inner).into_iter();
                found.extend(inner.map(|(below, text)| (format!("{name}.{below}"), text)));
            }
            Value::Array(values) if values.is_empty() => {
                found.push((name.clone(), "none".to_owned()));
            }
            Value::Array(values) if values.iter().all(Value::is_object) => {
                for (number, value) in (1..).zip(values) {
                    let number: u32 = number;
                    let inner = value.as_object().map(facts).unwrap_or_default();
                    let named = |(below, text)| (format!("{name} {number}: {below}"), text);
                    found.extend(inner.into_iter().map(named));
                }
            }
            other => found.push((name.clone(), whole(other))),
        }
    }
    found
}

/// The facts of what the admin API answers.
fn facts_of(answer: &impl serde::Serialize) -> Vec<Fact> {
    match serde_json::to_value(answer) {
        Ok(Value::Object(members)) => facts(&members),
        _ => Vec::new(),
    }
}

/// The link to what follows in a list.
fn further(path: &str, after: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("after", after)
        .finish();
    format!("{path}?{query}")
}
