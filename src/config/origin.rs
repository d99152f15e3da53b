//! Where values of the configuration come from: the file and the environment, merged, and for each
//! key the source that decided.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Format as _, Serialized, Toml};
use figment::value::{Dict, Value};

use super::ConfigError;

/// Variables with the prefix `CARNET_` that belong to the command line and are not configuration
/// keys.
const OTHER_VARIABLES: [&str; 4] = ["TOKEN", "CONFIG", "REQUIRE_ALL", "ID_TOKEN"];

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// The configuration file.
    File(PathBuf),
    /// The environment variable of this name.
    Variable(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => path.display().fmt(f),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// The configuration file and the environment variables.
pub(super) struct Sources {
    /// The file, overridden by the variables.
    merged: Figment,
    file: Option<(PathBuf, Figment)>,
    environment: Figment,
    /// Name and text of the variable of each key that was set by one.
    variables: BTreeMap<String, (String, String)>,
}

impl Sources {
    /// Reads the file, if there is one, and the variables with the prefix `CARNET_`.
    pub(super) fn read(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<ConfigError>> {
        let file = match file {
            None => None,
            Some(path) => {
                if let Err(error) = std::fs::metadata(path) {
                    return Err(vec![ConfigError {
                        key: path.display().to_string(),
                        detail: error.to_string(),
                        origin: Origin::Default,
                    }]);
                }
                Some((path.to_owned(), Figment::from(Toml::file_exact(path))))
            }
        };
        let (mut set, mut variables) = (Figment::new(), BTreeMap::new());
        for (variable, text) in environment {
            let Some(name) = variable.strip_prefix("CARNET_") else {
                continue;
            };
            if OTHER_VARIABLES.contains(&name) || is_of_kubernetes(name) {
                continue;
            }
            let key = name.to_ascii_lowercase().replace("__", ".");
            let value: Value = text.parse().unwrap_or_else(|_| Value::from(text.clone()));
            set = set.merge(Serialized::default(&key, value));
            variables.insert(key, (variable, text));
        }
        let of_file = file.as_ref().map(|(_, values)| values.clone());
        Ok(Self {
            merged: of_file.unwrap_or_else(Figment::new).merge(set.clone()),
            file,
            environment: set,
            variables,
        })
    }

    /// The value of a key, if it is given.
    pub(super) fn find(&self, key: &str) -> Option<Value> {
        self.merged.find_value(key).ok()
    }

    /// The text of the variable that sets exactly this key.
    pub(super) fn text_of_variable(&self, key: &str) -> Option<&str> {
        self.variables.get(key).map(|(_, text)| text.as_str())
    }

    /// All values, as nested tables.
    pub(super) fn all(&self) -> Result<Dict, String> {
        self.merged.extract().map_err(|error| error.to_string())
    }

    /// The source that decides a key.
    pub(super) fn origin(&self, key: &str) -> Origin {
        if self.environment.find_value(key).is_ok() {
            // A variable may hold a whole table: `CARNET_SERVER='{ listen = ":80" }'`.
            let mut name = Some(key);
            while let Some(part) = name {
                if let Some((variable, _)) = self.variables.get(part) {
                    return Origin::Variable(variable.clone());
                }
                name = part.rsplit_once('.').map(|(table, _)| table);
            }
        }
        match &self.file {
            Some((path, values)) if values.find_value(key).is_ok() => Origin::File(path.clone()),
            _ => Origin::Default,
        }
    }
}

/// Whether Kubernetes sets the variable in every pod for a Service whose name begins with `carnet`,
/// such as `CARNET_SERVICE_HOST`. `name` has no `CARNET_` prefix.
fn is_of_kubernetes(name: &str) -> bool {
    let of_port = |rest: &str| rest.is_empty() || rest.starts_with('_');
    !name.contains("__")
        && (name == "SERVICE_HOST"
            || name.strip_prefix("SERVICE_PORT").is_some_and(of_port)
            || name.strip_prefix("PORT").is_some_and(of_port)
            || name.contains("_SERVICE_")
            || name.match_indices("_PORT").any(|(at, found)| {
                let rest = at.checked_add(found.len()).and_then(|end| name.get(end..));
                rest.is_some_and(of_port)
            }))
}
