//! The member `people` of resource servers.

use serde_json::Value;

use super::reader::Reader;
use crate::model::PeopleActions;

/// Reads `people`: what persons may do by software that acts for them, of the registry's `actions`.
pub(super) fn people_actions(reader: &mut Reader<'_>, actions: &[String]) -> Option<PeopleActions> {
    let value = reader.value("people")?;
    let Value::Object(given) = value else {
        reader.problem("people", "must be an object of owner and viewer, or null");
        return None;
    };
    let mut inner = Reader::new(given);
    let mut list = |role: &'static str| {
        let listed = inner.texts(role).unwrap_or_default();
        let unknown = listed.iter().filter(|action| !actions.contains(action));
        let unknown: Vec<&str> = unknown.map(String::as_str).collect();
        if !unknown.is_empty() {
            let (known, unknown) = (actions.join(", "), unknown.join(", "));
            let detail = format!("must be among `actions`, which are {known}; not {unknown}");
            inner.problem(role, detail);
        }
        listed
    };
    let people = PeopleActions {
        owner: list("owner"),
        viewer: list("viewer"),
    };
    match inner.finish(people) {
        Ok(people) => Some(people),
        Err(problems) => {
            reader.problems_in("people", problems);
            None
        }
    }
}
