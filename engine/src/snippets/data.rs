//! The files of `engine/snippets/`: platforms, clients, and what they share.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

use super::template::Template;
use crate::model::FrontDoorKind;

/// Name and text of each file, embedded at build time.
const PLATFORMS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/platforms.rs"));
const CLIENTS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/clients.rs"));
const SHARED: &str = include_str!("../../snippets/shared.toml");

/// The platform whose job file is offered to platforms without one of their own.
const ANY: &str = "any-issuer";
/// The key of the reason that a client gives for all platforms that it does not name.
const ELSEWHERE: &str = "*";

/// All files, read.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub platforms: Vec<Platform>,
    /// Clients of front doors first, in the order of their names.
    pub clients: Vec<Client>,
    pub shared: Shared,
}

/// How a job gets its token on a platform, in the platform's own file.
#[derive(Debug)]
pub(super) struct Platform {
    pub name: &'static str,
    /// The title; without one that of the profile.
    pub title: Option<String>,
    pub profiles: Vec<String>,
    pub file_name: Template,
    pub language: String,
    /// The file. It takes the block `steps` or `commands`.
    pub frame: Template,
    /// A step that runs `commands`, where the file takes `steps`.
    pub step: Option<Template>,
    /// What the file has besides if the job runs `carnet`.
    pub container: Template,
    /// Options of `carnet exchange` that find the platform's token.
    pub exchange_options: String,
    /// The commands that leave the platform's token in the variable `assertion`.
    pub assertion: Option<Template>,
    /// Why there are no such commands.
    pub no_curl: String,
    /// The command that hides the token in the log.
    pub mask: Template,
    /// Whether `carnet exchange` hides it.
    pub carnet_masks: bool,
    pub prefers: By,
}

/// What a publishing step does with a client.
#[derive(Debug)]
pub(super) struct Client {
    pub name: &'static str,
    pub title: String,
    /// The front door that it needs; `None` for the token endpoint.
    pub front_door: Option<FrontDoorKind>,
    /// Where it uploads, with `{registry}` for the registry's URL without a slash at the end.
    pub upload: String,
    pub needs: Vec<String>,
    /// Steps that install it, by the name of the platform.
    pub setup: BTreeMap<String, Template>,
    pub variants: Vec<Variant>,
    /// Why it makes no exchange of its own on a platform.
    pub elsewhere: BTreeMap<String, String>,
}

/// One way of publishing with a client.
#[derive(Debug)]
pub(super) struct Variant {
    pub title: String,
    pub by: By,
    /// The platforms on which it works; all if there are none.
    pub platforms: Vec<String>,
    pub steps: Option<Template>,
    pub commands: Option<Template>,
    /// The variable in which the platform has to leave its token; `{door}` stands for the door's
    /// audience.
    pub variable: Option<String>,
    pub note: Option<String>,
}

/// Who asks this server for a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum By {
    /// The tool, or an action beside it, at the front door.
    Tool,
    /// The job, at the token endpoint, by what the platform prefers.
    Token,
    /// The job, by `carnet exchange`.
    #[default]
    Carnet,
    /// The job, by curl and jq.
    Curl,
}

/// What all platforms share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub carnet: Template,
    pub curl: Template,
    pub notes: Notes,
    pub reasons: Reasons,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Notes {
    pub named: String,
    pub tool: String,
    pub bound: String,
    pub hidden: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reasons {
    pub disabled: String,
    pub issuer_not_at_door: String,
    pub bound: String,
    pub proof: String,
    pub grant: String,
    pub audience: String,
    pub value: String,
    pub missing: String,
    pub many: String,
    pub no_platform: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlatformFile {
    title: Option<String>,
    profiles: Vec<String>,
    file_name: String,
    language: String,
    frame: String,
    step: Option<String>,
    #[serde(default)]
    container: String,
    #[serde(default)]
    exchange_options: String,
    assertion: Option<String>,
    #[serde(default)]
    no_curl: String,
    #[serde(default)]
    mask: String,
    #[serde(default)]
    carnet_masks: bool,
    #[serde(default)]
    prefers: By,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientFile {
    title: String,
    front_door: Option<FrontDoorKind>,
    #[serde(default)]
    upload: String,
    #[serde(default)]
    needs: Vec<String>,
    #[serde(default)]
    setup: BTreeMap<String, String>,
    variants: Vec<VariantFile>,
    #[serde(default)]
    elsewhere: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VariantFile {
    title: String,
    by: By,
    #[serde(default)]
    platforms: Vec<String>,
    steps: Option<String>,
    commands: Option<String>,
    variable: Option<String>,
    note: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SharedFile {
    carnet: String,
    curl: String,
    notes: Notes,
    reasons: Reasons,
}

impl Files {
    /// The bundled files, read once. A file with a mistake is left out; a test reads all of them.
    pub fn bundled() -> &'static Self {
        static READ: OnceLock<Files> = OnceLock::new();
        READ.get_or_init(|| Self::read().0)
    }

    /// Reads the bundled files; beside them the mistakes found.
    pub fn read() -> (Self, Vec<String>) {
        let mut mistakes = Vec::new();
        let platforms = PLATFORMS
            .iter()
            .map(|(name, text)| (name, platform(name, text)));
        let platforms = kept(platforms, &mut mistakes);
        let clients = CLIENTS
            .iter()
            .map(|(name, text)| (name, client(name, text)));
        let mut clients = kept(clients, &mut mistakes);
        clients.sort_by_key(|client| client.front_door.is_none());
        let shared = kept([(&"shared", shared(SHARED))].into_iter(), &mut mistakes).pop();
        let files = Self {
            platforms,
            clients,
            shared: shared.unwrap_or_default(),
        };
        (files, mistakes)
    }

    /// The platform of a profile; for one of the operator's own the file for any issuer.
    pub fn platform(&self, profile: &str) -> Option<&Platform> {
        let own = |platform: &&Platform| platform.profiles.iter().any(|name| name == profile);
        let any = || self.platforms.iter().find(|platform| platform.name == ANY);
        self.platforms.iter().find(own).or_else(any)
    }
}

impl Client {
    /// Why it makes no exchange of its own on a platform.
    pub fn reason(&self, platform: &str) -> Option<&str> {
        let reason = self.elsewhere.get(platform);
        reason
            .or_else(|| self.elsewhere.get(ELSEWHERE))
            .map(String::as_str)
    }
}

impl Variant {
    pub fn is_for(&self, platform: &str) -> bool {
        self.platforms.is_empty() || self.platforms.iter().any(|name| name == platform)
    }
}

fn kept<'n, T>(
    read: impl Iterator<Item = (&'n &'static str, Result<T, String>)>,
    mistakes: &mut Vec<String>,
) -> Vec<T> {
    let keep = |(name, read): (&&'static str, Result<T, String>)| {
        read.map_err(|mistake| mistakes.push(format!("{name}: {mistake}")))
            .ok()
    };
    read.filter_map(keep).collect()
}

fn platform(name: &'static str, text: &str) -> Result<Platform, String> {
    let file: PlatformFile = toml::from_str(text).map_err(|error| error.to_string())?;
    Ok(Platform {
        name,
        title: file.title,
        profiles: file.profiles,
        file_name: Template::read(&file.file_name)?,
        language: file.language,
        frame: Template::read(&file.frame)?,
        step: optional(file.step.as_deref())?,
        container: Template::read(&file.container)?,
        exchange_options: file.exchange_options,
        assertion: optional(file.assertion.as_deref())?,
        no_curl: file.no_curl,
        mask: Template::read(&file.mask)?,
        carnet_masks: file.carnet_masks,
        prefers: file.prefers,
    })
}

fn client(name: &'static str, text: &str) -> Result<Client, String> {
    let file: ClientFile = toml::from_str(text).map_err(|error| error.to_string())?;
    let setup = file.setup.into_iter();
    let setup = setup.map(|(name, steps)| Ok((name, Template::read(&steps)?)));
    let variant = |file: VariantFile| {
        Ok(Variant {
            title: file.title,
            by: file.by,
            platforms: file.platforms,
            steps: optional(file.steps.as_deref())?,
            commands: optional(file.commands.as_deref())?,
            variable: file.variable,
            note: file.note,
        })
    };
    Ok(Client {
        name,
        title: file.title,
        front_door: file.front_door,
        upload: file.upload,
        needs: file.needs,
        setup: setup.collect::<Result<_, String>>()?,
        variants: file
            .variants
            .into_iter()
            .map(variant)
            .collect::<Result<_, String>>()?,
        elsewhere: file.elsewhere,
    })
}

fn shared(text: &str) -> Result<Shared, String> {
    let file: SharedFile = toml::from_str(text).map_err(|error| error.to_string())?;
    Ok(Shared {
        carnet: Template::read(&file.carnet)?,
        curl: Template::read(&file.curl)?,
        notes: file.notes,
        reasons: file.reasons,
    })
}

fn optional(text: Option<&str>) -> Result<Option<Template>, String> {
    text.map(Template::read).transpose()
}
