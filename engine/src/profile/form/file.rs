//! The schema of `[form]` in a profile file.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormFile {
    /// The sentence of the preview: its beginning, and `{field}` for what is said of each field.
    pub sentence: Option<String>,
    #[serde(default)]
    pub main: Vec<EntryFile>,
    #[serde(default)]
    pub filters: Vec<EntryFile>,
    #[serde(default)]
    pub more: Vec<EntryFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryFile {
    pub field: String,
    /// Tells several entries of one field apart.
    pub name: Option<String>,
    pub label: String,
    pub help: Option<String>,
    pub example: Option<String>,
    pub shorthand: Option<String>,
    #[serde(default)]
    pub with: BTreeMap<String, String>,
    pub says: Option<String>,
    pub says_of_patterns: Option<String>,
    pub unsaid: Option<String>,
    #[serde(default)]
    pub unless: Vec<String>,
}
