//! The client secrets of identity providers in a file: `{env = "NAME"}` stands for a variable of the
//! environment in which `carnet apply` runs, and no plan shows a secret.

use serde_json::{Map, Value};

use crate::command::CommandError;
use crate::config::Environment;
use crate::documents::{Bundle, Kind};

const SECRET: &str = "client_secret";
/// What a plan shows in the place of a secret.
const NOT_SHOWN: &str = "(not shown)";

/// Replaces every `{env = "NAME"}` by the value of the variable. Errors if one is not set.
pub fn resolve(bundle: &Bundle, environment: &Environment) -> Result<Bundle, CommandError> {
    let mut resolved = bundle.clone();
    for (name, members) in bundle.of(Kind::IdentityProvider) {
        let Some(Value::Object(reference)) = members.get(SECRET) else {
            continue;
        };
        let wrong = |why: &str| {
            let table = Kind::IdentityProvider.table();
            CommandError::Other(format!("{table}.{name}: /{SECRET} {why}"))
        };
        let (1, Some(Value::String(variable))) = (reference.len(), reference.get("env")) else {
            return Err(wrong("must be text, or {env = \"NAME\"}"));
        };
        let value = environment.get(variable).ok_or_else(|| {
            wrong(&format!(
                "names the environment variable {variable}, which is not set where this command runs"
            ))
        })?;
        let mut members = members.clone();
        members.insert(SECRET.to_owned(), value.into());
        resolved.insert(Kind::IdentityProvider, name, members);
    }
    Ok(resolved)
}

/// The members of an object of a file, as a plan shows them.
pub fn without_secret(kind: Kind, members: &Map<String, Value>) -> Map<String, Value> {
    let mut shown = members.clone();
    if kind == Kind::IdentityProvider && shown.contains_key(SECRET) {
        shown.insert(SECRET.to_owned(), NOT_SHOWN.into());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(secret: &str) -> Result<Bundle, CommandError> {
        let text = format!("[identity_providers.x]\nclient_secret = {secret}\n");
        let variables = [("SET".to_owned(), "canary".to_owned())];
        let environment = variables.into_iter().collect();
        resolve(&Bundle::parse(&text).unwrap(), &environment)
    }

    #[test]
    fn a_secret_named_by_a_variable_is_resolved_and_not_shown() {
        for given in ["{ env = \"SET\" }", "\"canary\""] {
            let bundle = resolved(given).unwrap();
            let members = bundle.get(Kind::IdentityProvider, "x").unwrap();
            assert_eq!(members[SECRET], "canary", "{given}");
            let shown = without_secret(Kind::IdentityProvider, members);
            assert_eq!(shown[SECRET], NOT_SHOWN);
            assert_eq!(without_secret(Kind::Client, members), *members);
        }
        for (given, why) in [
            ("{ env = \"UNSET\" }", "UNSET, which is not set"),
            ("{ env = 1 }", "must be text"),
            ("{ env = \"SET\", other = 1 }", "must be text"),
            ("{ file = \"/etc/passwd\" }", "must be text"),
        ] {
            let error = resolved(given).unwrap_err().to_string();
            assert!(error.contains(why), "{given}: {error}");
        }
    }
}
