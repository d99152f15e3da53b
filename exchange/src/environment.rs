//! The environment of the CI job, read once and handed in, so that tests can replace it.

use std::collections::BTreeMap;
use std::fmt;

/// The environment variables. Many hold secrets, so `Debug` prints their names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process. Those that are not UTF-8 are left out.
    pub fn of_this_process() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that reads the environment"
        )]
        let variables = std::env::vars_os();
        variables
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of a variable. Platforms set variables that they do not offer to the empty text,
    /// so an empty variable counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Whether a variable is set and not empty.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether a variable is `true` in any letter case: Azure DevOps writes `True`.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl IntoIterator for Environment {
    type Item = (String, String);
    type IntoIter = std::collections::btree_map::IntoIter<String, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_variables_are_absent_and_values_are_not_printed() {
        let variables = [("A", "hunter2"), ("B", ""), ("C", "True"), ("D", "1")];
        let environment: Environment = variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(
            (
                environment.get("A"),
                environment.get("B"),
                environment.get("E")
            ),
            (Some("hunter2"), None, None)
        );
        assert!(environment.is_true("C") && !environment.is_true("D") && !environment.has("B"));
        let printed = format!("{environment:?}");
        assert!(
            printed.contains("\"A\"") && !printed.contains("hunter2"),
            "{printed}"
        );
    }
}
