//! The lines that explain the event of a publication.

use serde_json::Value;

use super::lines::shown;

/// What was, or was not, published, on whose behalf, and what the registry answered. The sentence of
/// a refusal follows as that of any event.
pub(super) fn publication(event: &Value, detail: &Value) -> Vec<String> {
    let of = |value: Option<&Value>| {
        value
            .filter(|value| !value.is_null())
            .map(|value| shown(Some(value)))
    };
    let member = |name: &str| of(detail.get(name));
    let what = ["operation", "package", "version"];
    let what: Vec<String> = what.into_iter().filter_map(member).collect();
    let mut facts: Vec<String> = Vec::new();
    facts.extend((!what.is_empty()).then(|| what.join(" ")));
    let named = |label: &str, value: Option<String>| value.map(|value| format!("{label} {value}"));
    facts.extend(named("at", member("registry")));
    facts.extend(named("of", member("owner")));
    facts.extend(named("file", member("file")));
    facts.extend(member("digest"));
    let mut lines = vec![facts.join(", ")];
    let token = named("token", of(event.get("token_id")));
    let own = detail.get("passthrough").map(|_| match member("user") {
        Some(user) => format!("the registry's own credentials of {user}"),
        None => "the registry's own credentials".to_owned(),
    });
    let id = named("publication", member("publication"));
    let by = named("settled by", member("settled_by"));
    let with: Vec<String> = [id, token.or(own), by].into_iter().flatten().collect();
    lines.extend((!with.is_empty()).then(|| with.join(", ")));
    lines.extend(member("unclear"));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_publication_says_what_went_where_and_with_which_credentials() {
        let detail = json!({
            "publication": "pub_1", "registry": "pypi", "package": "widgets", "version": "1.0", "operation": "publish",
            "owner": "joel", "file": "widgets-1.0.whl", "digest": "sha256:aa",
        });
        let event = json!({ "token_id": "t-1" });
        assert_eq!(
            publication(&event, &detail),
            [
                "publish widgets 1.0, at pypi, of joel, file widgets-1.0.whl, sha256:aa",
                "publication pub_1, token t-1",
            ]
        );
        let detail = json!({
            "registry": "pypi", "package": "w\u{1b}[1m", "operation": "yank", "passthrough": true, "user": "old-hand",
            "settled_by": "carnet-cli", "unclear": "the connection broke",
        });
        let printed = publication(&json!({ "token_id": null }), &detail);
        assert!(!printed[0].contains('\u{1b}'), "{printed:?}");
        assert_eq!(
            printed[1..],
            [
                "the registry's own credentials of old-hand, settled by carnet-cli",
                "the connection broke"
            ]
        );
    }
}
