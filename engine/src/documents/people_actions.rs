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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::subsequence;
    use serde_json::{Value, json};

    use super::*;
    use crate::documents::ResourceServerDocument;
    use crate::documents::testing::{mistakes, read_again};
    use crate::ids::ResourceServerId;
    use crate::model::Role;

    const ACTIONS: [&str; 4] = ["publish", "create", "yank", "admin-of-package"];

    fn registry(people: Value) -> Value {
        json!({ "resource": "https://npm.example/", "actions": ACTIONS, "people": people })
    }

    #[test]
    fn what_people_may_do_is_read_and_compiled() {
        let compiled = |people: Value| {
            let document: ResourceServerDocument = read_again(registry(people));
            let id = ResourceServerId(uuid::Uuid::nil());
            document.compile(id, "npm", 900).people
        };
        assert_eq!(compiled(Value::Null), None);
        assert_eq!(compiled(json!({})), Some(PeopleActions::default()));
        let people = compiled(json!({ "owner": ["publish", "yank"], "viewer": ["yank"] })).unwrap();
        assert_eq!(people.of(Role::Owner), ["publish", "yank"]);
        assert_eq!(people.of(Role::Viewer), ["yank"]);
        for role in [Role::Operator, Role::Auditor] {
            assert!(people.of(role).is_empty());
        }
        let owners_alone = compiled(json!({ "owner": ["create"], "viewer": null })).unwrap();
        assert!(owners_alone.of(Role::Viewer).is_empty());
        let has = |actions: &[&str]| {
            let actions: Vec<String> = actions.iter().map(|it| (*it).to_owned()).collect();
            owners_alone.has_any_of(&actions)
        };
        assert!(has(&["publish", "create"]) && !has(&["publish"]) && !has(&[]));
    }

    #[test]
    fn a_registry_of_an_older_release_lets_people_do_nothing() {
        let mut stored = json!(read_again::<ResourceServerDocument>(registry(json!({}))));
        assert!(stored.as_object_mut().unwrap().remove("people").is_some());
        let stored: ResourceServerDocument = serde_json::from_value(stored).unwrap();
        assert_eq!(stored.people, None);
    }

    #[test]
    fn mistakes_in_people_are_told_with_their_places() {
        for (people, expected) in [
            (json!([]), "/people"),
            (json!("publish"), "/people"),
            (json!({ "owner": "publish" }), "/people/owner"),
            (json!({ "owner": ["publish", "fly"] }), "/people/owner"),
            (json!({ "viewer": ["Publish"] }), "/people/viewer"),
            (
                json!({ "viewer": ["publish", "publish"] }),
                "/people/viewer",
            ),
            (json!({ "viewer": [""] }), "/people/viewer"),
            (json!({ "operator": [] }), "/people/operator"),
        ] {
            let told = mistakes::<ResourceServerDocument>(registry(people.clone()));
            assert_eq!(told, [expected], "{people}");
        }
    }

    #[test]
    fn the_scopes_of_openid_connect_are_no_actions_of_a_registry() {
        for action in ["openid", "profile", "email"] {
            let registry =
                json!({ "resource": "https://npm.example/", "actions": ["publish", action] });
            assert_eq!(mistakes::<ResourceServerDocument>(registry), ["/actions"]);
        }
    }

    proptest! {
        #[test]
        fn what_people_may_do_is_shown_exported_and_stored_as_it_is(
            owner in prop::option::of(subsequence(ACTIONS.to_vec(), 0..=4)),
            viewer in prop::option::of(subsequence(ACTIONS.to_vec(), 0..=4)),
        ) {
            let document: ResourceServerDocument =
                read_again(registry(json!({ "owner": owner, "viewer": viewer })));
            let people = document.people.clone().unwrap();
            prop_assert_eq!(people.of(Role::Owner), owner.unwrap_or_default());
            prop_assert_eq!(people.of(Role::Viewer), viewer.unwrap_or_default());
            let stored: ResourceServerDocument = serde_json::from_value(json!(document)).unwrap();
            prop_assert_eq!(stored, document);
        }
    }
}
