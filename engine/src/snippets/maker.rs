//! Making the snippets of one registry: which clients work there, and the file of each.

use std::collections::BTreeSet;

use serde_json::Value;

use super::data::{By, Client, Files, Platform, Variant};
use super::door::Door;
use super::template::{Filled, Template, Unfilled, Values};
use super::{LeftOut, Packages, Publisher, Snippet, Snippets};
use crate::grant_type::GrantType;
use crate::model::{FrontDoorKind, ResourceServer};
use crate::own_urls::OwnUrls;
use crate::possession::ProofDemand;

/// The variable in which `carnet exchange` finds the token of a job of GitLab.
const TOKEN_VARIABLE: &str = "CARNET_ID_TOKEN";

/// What the snippets of one registry are made from.
pub(super) struct Maker<'a> {
    pub files: &'a Files,
    pub own: &'a OwnUrls,
    pub publisher: &'a Publisher<'a>,
    pub platform: &'a Platform,
    pub server: &'a ResourceServer,
    pub demand: ProofDemand,
}

impl Maker<'_> {
    /// Adds what is offered for the registry, and what is not.
    pub fn add_to(&self, offer: &mut Snippets) {
        let kind = self.server.front_door.as_ref().map(|door| door.kind);
        let served = |client: &&Client| client.front_door.is_none() || client.front_door == kind;
        for client in self.files.clients.iter().filter(served) {
            let (mut named, mut own_ways) = (Vec::new(), Vec::new());
            for variant in &client.variants {
                if !variant.is_for(self.platform.name) {
                    continue;
                }
                match self.snippet(client, variant) {
                    Ok(snippet) if variant.by == By::Tool => own_ways.push(snippet),
                    Ok(snippet) => named.push(snippet),
                    Err(reason) => self.leave_out(offer, client, &reason),
                }
            }
            let mut variants = client.variants.iter();
            let has_own_way = variants
                .any(|variant| variant.by == By::Tool && variant.is_for(self.platform.name));
            if let Some(reason) = client.reason(self.platform.name).filter(|_| !has_own_way) {
                self.leave_out(offer, client, reason);
            }
            // A rule that is vouched for needs no name, and NuGet's tools give one.
            let needs_no_name = own_ways
                .iter()
                .any(|snippet| snippet.packages == Packages::NewAndExisting);
            if !needs_no_name {
                offer.snippets.append(&mut named);
            }
            offer.snippets.append(&mut own_ways);
        }
    }

    fn leave_out(&self, offer: &mut Snippets, client: &Client, reason: &str) {
        let left_out = LeftOut {
            resource_server: self.server.name.clone(),
            client: Some(client.name),
            reason: reason.to_owned(),
        };
        if !offer.left_out.contains(&left_out) {
            offer.left_out.push(left_out);
        }
    }

    /// One snippet. The error says why there is none.
    fn snippet(&self, client: &Client, variant: &Variant) -> Result<Snippet, String> {
        let (reasons, notes) = (&self.files.shared.reasons, &self.files.shared.notes);
        let by = match variant.by {
            By::Token if self.allows_jwt_bearer() => self.platform.prefers,
            By::Token => By::Carnet,
            by => by,
        };
        self.check_demand(client, by)?;
        let mut values = self.values(client, variant, by)?;
        let filled = self.file(client, variant, by, &mut values);
        let filled = filled.map_err(|unfilled| match unfilled {
            Unfilled::Missing(name) => format!("{}{name}.", reasons.missing),
            Unfilled::Hostile(name) => format!("{}{name}.", reasons.value),
        })?;
        let file_name = self.platform.file_name.fill(&values).ok();
        let hidden: BTreeSet<String> = filled.hidden.into_iter().collect();
        let hidden: Vec<&str> = hidden
            .iter()
            .map(|name| name.trim_start_matches("match."))
            .collect();
        let names_principal = by != By::Tool
            || client
                .front_door
                .is_some_and(FrontDoorKind::names_principal);
        let is_for_new = names_principal || self.publisher.vouched;
        let mut said: Vec<&str> = variant.note.as_deref().into_iter().collect();
        if !is_for_new {
            said.push(&notes.tool);
        } else if variant.by == By::Token
            && !self.publisher.vouched
            && client
                .front_door
                .is_some_and(|kind| !kind.names_principal())
        {
            said.push(&notes.named);
        }
        if by == By::Carnet && self.demand.sender_constraint {
            said.push(&notes.bound);
        }
        let hidden =
            (!hidden.is_empty()).then(|| format!("{}{}.", notes.hidden, hidden.join(", ")));
        said.extend(hidden.as_deref());
        Ok(Snippet {
            resource_server: self.server.name.clone(),
            platform: self.platform_title().to_owned(),
            client: client.name,
            title: format!("{} {}", client.title, variant.title),
            packages: if is_for_new {
                Packages::NewAndExisting
            } else {
                Packages::Existing
            },
            file_name: file_name.and_then(|filled| filled.lines.into_iter().next()),
            language: self.platform.language.clone(),
            text: filled.lines.join("\n") + "\n",
            note: (!said.is_empty()).then(|| said.join(" ")),
        })
    }

    fn platform_title(&self) -> &str {
        let profile = &self.publisher.issuer.profile;
        self.platform.title.as_deref().unwrap_or(&profile.title)
    }

    fn allows_jwt_bearer(&self) -> bool {
        self.publisher.issuer.grants.contains(&GrantType::JwtBearer)
    }

    /// Checks that a client can meet what is asked of proofs and grants.
    fn check_demand(&self, client: &Client, by: By) -> Result<(), String> {
        let reasons = &self.files.shared.reasons;
        let bearer = ProofDemand::default().min_proof;
        let reason = if self.demand.min_proof > bearer {
            &reasons.proof
        } else if self.demand.sender_constraint && (client.front_door.is_some() || by != By::Carnet)
        {
            &reasons.bound
        } else if by == By::Curl && !self.allows_jwt_bearer() {
            &reasons.grant
        } else if by == By::Curl && self.platform.assertion.is_none() {
            &self.platform.no_curl
        } else {
            return Ok(());
        };
        Err(reason.clone())
    }

    /// The whole file, from the inside to the outside.
    fn file(
        &self,
        client: &Client,
        variant: &Variant,
        by: By,
        values: &mut Values,
    ) -> Result<Filled, Unfilled> {
        let mut hidden = Vec::new();
        let mut fill = |name: &'static str, template: Option<&Template>, values: &mut Values| {
            let filled = template.map(|template| template.fill(values)).transpose()?;
            let filled = filled.unwrap_or_default();
            hidden.extend(filled.hidden);
            values.blocks.insert(name, filled.lines);
            Ok(())
        };
        let platform = self.platform;
        let shows_token = by == By::Carnet && platform.carnet_masks;
        fill(
            "mask",
            Some(&platform.mask).filter(|_| !shows_token),
            values,
        )?;
        fill(
            "container",
            Some(&platform.container).filter(|_| by == By::Carnet),
            values,
        )?;
        if by == By::Curl {
            fill("assertion", platform.assertion.as_ref(), values)?;
        }
        let shared = &self.files.shared;
        match by {
            By::Curl => fill("token", Some(&shared.curl), values)?,
            By::Carnet => fill("token", Some(&shared.carnet), values)?,
            By::Tool | By::Token => {}
        }
        fill("commands", variant.commands.as_ref(), values)?;
        if let Some(step) = &platform.step {
            let setup = client.setup.get(platform.name);
            let setup = setup.map(|setup| setup.fill(values)).transpose()?;
            let mut steps = setup.unwrap_or_default().lines;
            fill(
                "steps",
                Some(variant.steps.as_ref().unwrap_or(step)),
                values,
            )?;
            steps.extend(values.blocks.remove("steps").unwrap_or_default());
            values.blocks.insert("steps", steps);
        }
        let mut filled = platform.frame.fill(values)?;
        filled.hidden.extend(hidden);
        Ok(filled)
    }

    fn values(&self, client: &Client, variant: &Variant, by: By) -> Result<Values, String> {
        let issuer = self.publisher.issuer;
        let (audience, asked) = self.audience();
        let mut values = Values::default();
        let mut add = |name: &str, value: &str| {
            values.given.insert(name.to_owned(), value.to_owned());
        };
        add("issuer", self.own.issuer());
        add("token_endpoint", &self.own.token_endpoint());
        add("resource", &self.server.resource);
        add("principal", self.publisher.principal);
        add("audience", &audience);
        add("token_audience", &audience);
        if let Some(asked) = &asked {
            add("asked_audience", asked);
        }
        if !self.allows_jwt_bearer() && issuer.grants.contains(&GrantType::TokenExchange) {
            add("asked_grant", "token-exchange");
        }
        for (field, value) in self.publisher.matcher {
            if let Some(value) = plain(value) {
                add(&format!("match.{field}"), value);
            }
        }
        let mut variable = TOKEN_VARIABLE.to_owned();
        if client.front_door.is_some() {
            let door = Door::of(self.server, self.own).ok_or_else(String::new)?;
            add(
                "upload_url",
                &client.upload.replace("{registry}", &door.registry),
            );
            add("registry_place", door.registry_place());
            if by == By::Tool {
                let reasons = &self.files.shared.reasons;
                if !door.front.takes(&issuer.name) {
                    return Err(reasons.issuer_not_at_door.clone());
                }
                let audience = door.audience().ok_or_else(|| reasons.audience.clone())?;
                add("door_url", &door.url);
                add("nuget_service", &format!("{}/api/v2/token", door.url));
                add("door_audience", &audience);
                add("token_audience", &audience);
                if let Some(named) = &variant.variable {
                    variable = named.replace("{door}", &as_variable(&audience));
                }
            }
        }
        let binding = if self.demand.sender_constraint {
            "--dpop-key dpop-key.pem"
        } else {
            ""
        };
        values.texts = [
            ("binding", binding.to_owned()),
            ("exchange_options", self.platform.exchange_options.clone()),
            ("needs", needs(client, by)),
            ("token_variable", variable),
        ]
        .into();
        Ok(values)
    }

    /// The audience of the platform's token at the token endpoint, and the same if `carnet exchange`
    /// has to be told of it: it asks for this server's issuer identifier by itself.
    fn audience(&self) -> (String, Option<String>) {
        let accepted = &self.publisher.issuer.audiences;
        let own = self.own.issuer();
        match accepted.first() {
            Some(first) if !accepted.iter().any(|audience| audience == own) => {
                (first.clone(), Some(first.clone()))
            }
            _ => (own.to_owned(), None),
        }
    }
}

/// The one value that a condition names, or the first of several.
fn plain(condition: &Value) -> Option<&str> {
    match condition {
        Value::String(text) => Some(text),
        Value::Array(values) => values.first()?.as_str(),
        Value::Object(matcher) => matcher.get("any_of")?.as_array()?.first()?.as_str(),
        _ => None,
    }
}

/// The programs of a job, as text.
fn needs(client: &Client, by: By) -> String {
    let asks: &[&str] = match by {
        By::Curl => &["curl", "jq"],
        By::Carnet => &["carnet"],
        By::Tool | By::Token => &[],
    };
    let all: Vec<&str> = asks
        .iter()
        .copied()
        .chain(client.needs.iter().map(String::as_str))
        .collect();
    match all.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// A text as the tools of Python write it in the name of a variable.
fn as_variable(text: &str) -> String {
    let as_letter = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    text.chars().map(as_letter).collect()
}
