//! All profiles of a server: the bundled ones and those in the operator's folder (`profiles_dir`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::{Profile, ProfileError, compile};

/// Name and text of each bundled profile, embedded at build time.
pub(super) const BUNDLED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/profiles.rs"));

/// Compiled profiles by name.
#[derive(Clone, Debug)]
pub struct Profiles(BTreeMap<String, Arc<Profile>>);

impl Profiles {
    /// Loads the bundled profiles and the `.toml` files in `folder`, which may not reuse a bundled
    /// name. Reports the mistakes of all files at once.
    pub fn load(folder: Option<&Path>) -> Result<Self, Vec<ProfileError>> {
        let mut profiles = bundled()?;
        let mut errors = Vec::new();
        let mut add = |name: &str, text: &str| match compile::compile(name, text) {
            Ok(profile) if profiles.contains_key(name) => errors.push(profile.already_there()),
            Ok(profile) => {
                profiles.insert(name.to_owned(), Arc::new(profile));
            }
            Err(found) => errors.extend(found),
        };
        match folder.map(operator_files).transpose() {
            Ok(files) => files
                .into_iter()
                .flatten()
                .for_each(|(name, text)| add(&name, &text)),
            Err(error) => errors.push(error),
        }
        if errors.is_empty() {
            Ok(Self(profiles))
        } else {
            Err(errors)
        }
    }

    /// Adds a profile, or replaces the one of the same name.
    #[must_use]
    pub fn with(mut self, profile: Arc<Profile>) -> Self {
        self.0.insert(profile.name.clone(), profile);
        self
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Profile>> {
        self.0.get(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The profiles by which memberships read the claims of people.
    pub fn for_people(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.iter().filter(|profile| profile.people.is_some())
    }

    /// The profiles of trusted issuers.
    pub fn for_workloads(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.iter().filter(|profile| profile.people.is_none())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.0.values()
    }
}

impl Profile {
    /// Compiles the text of a profile file; `name` is the file's name without `.toml`.
    pub fn parse(name: &str, text: &str) -> Result<Self, Vec<ProfileError>> {
        compile::compile(name, text)
    }

    fn already_there(&self) -> ProfileError {
        ProfileError {
            profile: self.name.clone(),
            detail: "a profile of this name comes with the server".to_owned(),
        }
    }
}

/// The bundled profiles, compiled once for all servers of this process.
fn bundled() -> Result<BTreeMap<String, Arc<Profile>>, Vec<ProfileError>> {
    static COMPILED: OnceLock<BTreeMap<String, Arc<Profile>>> = OnceLock::new();
    if let Some(compiled) = COMPILED.get() {
        return Ok(compiled.clone());
    }
    let mut profiles = BTreeMap::new();
    let mut errors = Vec::new();
    for (name, text) in BUNDLED {
        match compile::compile(name, text) {
            Ok(profile) => {
                profiles.insert((*name).to_owned(), Arc::new(profile));
            }
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() {
        Ok(COMPILED.get_or_init(|| profiles).clone())
    } else {
        Err(errors)
    }
}

fn operator_files(folder: &Path) -> Result<Vec<(String, String)>, ProfileError> {
    let failed = |error: std::io::Error| ProfileError {
        profile: folder.display().to_string(),
        detail: format!("cannot be read: {error}"),
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            files.push((name, std::fs::read_to_string(&path).map_err(failed)?));
        }
    }
    files.sort();
    Ok(files)
}
