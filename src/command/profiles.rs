//! `carnet profiles`: the platform profiles, and what a rule of a profile may say, read from the
//! profile itself.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::table::table;
use super::{CommandError, Conclusion, ConfigFile};
use crate::profile::{Check, Field, PinMode, Profile, Profiles, Resource, Role};

/// Arguments of `carnet profiles`.
#[derive(Debug, Args)]
pub struct ProfilesArgs {
    #[command(subcommand)]
    command: ProfilesCommand,
}

#[derive(Debug, Subcommand)]
enum ProfilesCommand {
    /// List the built-in profiles and those of `profiles_dir`.
    #[command(after_help = "Example:\n  carnet profiles list")]
    List(Folder),
    /// Show the fields of `match`, what every rule needs, the required claims, the immutable ids and
    /// the defaults of a profile.
    #[command(after_help = "Example:\n  carnet profiles show gitlab-ci")]
    Show {
        /// The name of the profile, as in `profile = "github-actions"`.
        name: String,
        #[command(flatten)]
        folder: Folder,
    },
}

/// The options that select the profiles beside the built-in ones.
#[derive(Clone, Debug, Args)]
struct Folder {
    /// Folder with profiles of your own; without it, `profiles_dir` of the configuration.
    #[arg(long, value_name = "FOLDER")]
    profiles_dir: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

impl Folder {
    fn load(&self) -> Result<Profiles, CommandError> {
        let folder = match &self.profiles_dir {
            Some(folder) => Some(folder.clone()),
            None => self.config.load_for_command()?.profiles_dir,
        };
        load(folder.as_deref())
    }
}

fn load(folder: Option<&std::path::Path>) -> Result<Profiles, CommandError> {
    Ok(Profiles::load(folder).map_err(crate::app::StartError::Profiles)?)
}

pub fn run(args: &ProfilesArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    match &args.command {
        ProfilesCommand::List(folder) => list(&folder.load()?, &load(None)?, as_json),
        ProfilesCommand::Show { name, folder } => {
            let profiles = folder.load()?;
            let Some(profile) = profiles.get(name) else {
                let names: Vec<&str> = profiles.names().collect();
                return Err(CommandError::Other(format!(
                    "there is no profile {name}; the profiles are {}",
                    names.join(", ")
                )));
            };
            if as_json {
                println!("{}", described(profile));
            } else {
                print!("{}", text(profile));
            }
        }
    }
    Ok(Conclusion::Yes)
}

fn list(profiles: &Profiles, built_in: &Profiles, as_json: bool) {
    let origin = |profile: &Profile| match built_in.get(&profile.name) {
        Some(_) => "built in",
        None => "profiles_dir",
    };
    if as_json {
        let items: Vec<Value> = profiles
            .iter()
            .map(|profile| json!({ "name": profile.name, "title": profile.title, "built_in": origin(profile) == "built in" }))
            .collect();
        println!("{}", json!({ "items": items }));
        return;
    }
    let row = |profile: &Profile| {
        vec![
            profile.name.clone(),
            origin(profile).to_owned(),
            profile.title.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = profiles.iter().map(|profile| row(profile)).collect();
    print!("{}", table(&["NAME", "ORIGIN", "TITLE"], &rows));
}

/// A field of `match` as it is shown.
struct Shown {
    name: String,
    /// What a rule may give.
    takes: String,
    /// The claims that it is compared with.
    claims: Vec<String>,
    /// The reason of a refusal if the condition does not hold; empty for a setting.
    reason: String,
    role: &'static str,
}

impl Shown {
    fn of(field: &Field) -> Self {
        let (takes, claims) = takes(&field.check);
        let when = field
            .when
            .as_ref()
            .map(|(choice, value)| format!("; where {choice} is {value}"));
        let needs =
            (!field.needs.is_empty()).then(|| format!("; needs {}", field.needs.join(", ")));
        let is_setting = matches!(field.check, Check::Choice { .. } | Check::MatchNames);
        Self {
            name: field.name.clone(),
            takes: [Some(takes), when, needs].into_iter().flatten().collect(),
            claims,
            reason: if is_setting {
                String::new()
            } else {
                field.mismatch.to_string()
            },
            role: match field.role {
                Role::Condition => "condition",
                Role::Name => "name",
                Role::Id => "immutable id",
            },
        }
    }
}

/// What a rule may give for a check, and the claims that the check reads.
fn takes(check: &Check) -> (String, Vec<String>) {
    match check {
        Check::Equals(equals) => {
            let value = match (&equals.starts_with, equals.digits) {
                (_, true) => "digits".to_owned(),
                (Some(start), false) => format!("a text that begins with {start}"),
                (None, false) if equals.claim.one_of.is_empty() => "a text".to_owned(),
                (None, false) => {
                    let values = equals.claim.one_of.iter().filter(|value| !value.is_empty());
                    values.cloned().collect::<Vec<_>>().join(" or ")
                }
            };
            let list = if equals.list { ", or a list" } else { "" };
            let glob = if equals.glob { ", or a glob" } else { "" };
            let claims = vec![equals.claim.name.clone()];
            (format!("{value}{list}{glob}"), claims)
        }
        Check::Flag { claim, .. } => ("true".to_owned(), vec![claim.name.clone()]),
        Check::Present { claim, default } => (
            format!("true or false; without it {default}"),
            vec![claim.name.clone()],
        ),
        Check::Choice { values, default } => (
            format!("{}; without it {default}", values.join(" or ")),
            Vec::new(),
        ),
        Check::File(file) => {
            let kind = if file.folders {
                "a path"
            } else {
                "a file name"
            };
            let endings = match file.endings.as_slice() {
                [] => String::new(),
                endings => format!(" ending in {}", endings.join(" or ")),
            };
            (format!("{kind}{endings}"), vec![file.claim.name.clone()])
        }
        Check::ReusableFile(file) => (
            "same-repo or any, or { path, ref } or { path, sha }; without it same-repo".to_owned(),
            vec![file.claim.name.clone(), file.commit.name.clone()],
        ),
        Check::Version { claim, starts_with } => (
            format!("a text that begins with {starts_with} and contains {{version}} once"),
            vec![claim.name.clone()],
        ),
        Check::Upstream => ("{ claim, equals }".to_owned(), Vec::new()),
        Check::Identity(identity) => {
            let claims = identity.claims().map(|claim| claim.name.clone());
            (
                "the text of the profile's template".to_owned(),
                claims.collect(),
            )
        }
        Check::Attested(check) => (
            match check.resource {
                Resource::Asn => "an AS number, such as AS64496, or several as { any_of }",
                Resource::Prefix => "a prefix, such as 192.0.2.0/24, or several as { any_of }",
            }
            .to_owned(),
            vec!["none: the RPKI attests it to the issuer's keys".to_owned()],
        ),
        Check::MatchNames => (
            "false: only ids are compared, and the rule needs all of them".to_owned(),
            Vec::new(),
        ),
    }
}

fn required(profile: &Profile) -> Vec<&str> {
    let required = profile.claims.iter().filter(|claim| claim.required);
    required.map(|claim| claim.name.as_str()).collect()
}

fn immutable_ids(profile: &Profile) -> Vec<&str> {
    let ids = profile.fields.iter().filter(|field| field.role == Role::Id);
    ids.map(|field| field.name.as_str()).collect()
}

fn pins(profile: &Profile) -> &'static str {
    match profile.pins {
        PinMode::Never => "never",
        PinMode::Required => "required",
        PinMode::WhenSent => "when-sent",
    }
}

fn defaults(profile: &Profile) -> Vec<(&'static str, Value)> {
    let defaults = &profile.defaults;
    let algorithms: Vec<&str> = defaults
        .algorithms
        .iter()
        .map(|algorithm| algorithm.name())
        .collect();
    vec![
        ("algorithms", json!(algorithms)),
        ("types", json!(defaults.types)),
        (
            "max_assertion_lifetime_seconds",
            json!(defaults.max_assertion_lifetime_seconds),
        ),
        ("leeway_seconds", json!(defaults.leeway_seconds)),
        ("replay", json!(defaults.replay)),
        ("replay_claim", json!(defaults.replay_claim)),
        ("iat_required", json!(defaults.iat_required)),
        ("banned_events", json!(defaults.banned_events)),
        // `null` stands for the server's own issuer identifier and token endpoint.
        ("audiences", json!(defaults.audiences)),
    ]
}

/// The profile as JSON.
fn described(profile: &Profile) -> Value {
    let fields: Vec<Value> = profile
        .fields
        .iter()
        .map(Shown::of)
        .map(|field| {
            json!({
                "name": field.name, "role": field.role, "takes": field.takes, "claims": field.claims,
                "reason": Some(field.reason).filter(|reason| !reason.is_empty()),
            })
        })
        .collect();
    let at_least: Vec<Value> = profile
        .at_least
        .iter()
        .map(|group| json!({ "any_of": group.any_of, "detail": group.detail }))
        .collect();
    let warnings: Vec<Value> = profile
        .warnings
        .iter()
        .map(|weak| {
            let unless: Vec<&str> = weak.unless.iter().map(|one| one.field.as_str()).collect();
            json!({ "code": weak.code, "unless": unless, "detail": weak.detail })
        })
        .collect();
    let defaults: serde_json::Map<String, Value> = defaults(profile)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    json!({
        "name": profile.name, "title": profile.title, "fields": fields, "at_least": at_least,
        "required_claims": required(profile), "immutable_ids": immutable_ids(profile), "pins": pins(profile),
        "event_claim": profile.event.as_ref().map(|claim| &claim.name), "defaults": defaults,
        "platform_audiences": profile.platform_audiences, "shared_audiences": profile.shared_audiences,
        "warnings": warnings,
        "people": profile.people.as_ref().map(|people| json!({ "certain": people.certain })),
    })
}

/// The profile for people.
fn text(profile: &Profile) -> String {
    let fields = profile.fields.iter().map(Shown::of).map(|field| {
        let takes = match field.role {
            "condition" => field.takes,
            role => format!("{}; {role}", field.takes),
        };
        let or_dash = |text: String| Some(text).filter(|text| !text.is_empty());
        vec![
            format!("  {}", field.name),
            takes,
            or_dash(field.claims.join(", ")).unwrap_or_else(|| "-".to_owned()),
            or_dash(field.reason).unwrap_or_else(|| "-".to_owned()),
        ]
    });
    let fields: Vec<Vec<String>> = fields.collect();
    let needs: Vec<Vec<String>> = profile
        .at_least
        .iter()
        .map(|group| {
            vec![
                format!("  {}", group.any_of.join(", ")),
                group.detail.clone(),
            ]
        })
        .collect();
    let defaults: Vec<Vec<String>> = defaults(profile)
        .into_iter()
        .map(|(name, value)| vec![format!("  {name}"), words(name, &value)])
        .collect();
    let pinned = match profile.pins {
        PinMode::Never => "; not pinned",
        PinMode::Required => "; pinned at the first match of a rule, which is pending until then",
        PinMode::WhenSent => "; pinned at the first match whose assertion contains them",
    };
    let ids = match immutable_ids(profile).as_slice() {
        [] => "none".to_owned(),
        ids => format!("{}{pinned}", ids.join(", ")),
    };
    let never = match profile.platform_audiences.as_slice() {
        [] => String::new(),
        audiences => format!("audiences never accepted: {}\n", audiences.join(", ")),
    };
    let people = match &profile.people {
        None => String::new(),
        Some(people) => format!(
            "for people of identity providers; only a viewer needs none of: {}\n",
            people.certain.join(", ")
        ),
    };
    format!(
        "{}: {}\n{people}\nfields of match, beside claims:\n{}\nevery rule needs:\n{}\nrequired claims: {}\nimmutable ids: {ids}\n\ndefaults of a trusted issuer:\n{}{never}",
        profile.name,
        profile.title,
        table(&["  FIELD", "TAKES", "CLAIM", "REASON"], &fields),
        if needs.is_empty() {
            "  nothing in particular\n".to_owned()
        } else {
            table(&["  ONE OF", "BECAUSE"], &needs)
        },
        required(profile).join(", "),
        table(&["  MEMBER", "DEFAULT"], &defaults),
    )
}

/// A default for people.
fn words(name: &str, value: &Value) -> String {
    match value {
        Value::Null if name == "audiences" => {
            "the server's issuer identifier and its token endpoint".to_owned()
        }
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => {
            let texts = values.iter().filter_map(Value::as_str);
            texts.collect::<Vec<_>>().join(", ")
        }
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
