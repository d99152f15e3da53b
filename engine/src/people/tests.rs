//! Roles, and what they give.

mod acting;

use serde_json::json;

use super::*;
use crate::documents::{MembershipDocument, MembershipState, Stored};
use crate::ids::IdentityProviderId;
use crate::model::{Principal, PrincipalKind, SecondFactor};
use crate::profile::Profiles;
use crate::reason::Reason;
use crate::trust::Topic;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn stored<D: crate::documents::Document>(id: String, document: D, state: D::State) -> Stored<D> {
    Stored {
        name: id.clone(),
        id,
        version: 1,
        created_at: NOW,
        updated_at: NOW,
        document,
        state,
    }
}

fn provider(id: u128) -> IdentityProvider {
    let profiles = Profiles::load(None).unwrap();
    IdentityProvider {
        id: IdentityProviderId(uuid::Uuid::from_u128(id)),
        name: format!("provider-{id}"),
        version: 1,
        display_name: "Example".to_owned(),
        issuer: "https://login.test".to_owned(),
        client_id: "carnet".to_owned(),
        auth_method: crate::model::ProviderAuth::None,
        sealed_secret: None,
        scopes: Vec::new(),
        claims_from: crate::model::ClaimsFrom::IdToken,
        algorithms: Vec::new(),
        profile: profiles.get("person").unwrap().clone(),
        second_factor: SecondFactor::EnforcedByProvider,
        freshness: crate::model::Freshness::AuthTime,
        writes: true,
        logout: crate::model::Logout::Local,
        ca_pem: None,
        allow_private: Vec::new(),
        enabled: true,
    }
}

fn principal(name: &str, enabled: bool) -> Principal {
    Principal {
        id: format!("pr_{name}"),
        name: name.to_owned(),
        kind: PrincipalKind::Organization,
        external_id: None,
        acts_for: Vec::new(),
        created_at: NOW,
        enabled,
    }
}

struct Ground {
    snapshot: Snapshot,
    next: u128,
}

impl Ground {
    fn new() -> Self {
        let mut snapshot = Snapshot::empty();
        for id in [1, 2] {
            let provider = provider(id);
            snapshot.set_identity_provider(provider.id, Some(provider));
        }
        for (name, enabled) in [("octo-org", true), ("Other", true), ("gone", false)] {
            snapshot.set_principal(name, Some(principal(name, enabled)));
        }
        Self { snapshot, next: 1 }
    }

    fn provider(&self, id: u128) -> Arc<IdentityProvider> {
        let id = IdentityProviderId(uuid::Uuid::from_u128(id));
        self.snapshot.identity_provider(id).unwrap().clone()
    }

    fn add(
        &mut self,
        at: u128,
        role: Role,
        principal: Option<&str>,
        matcher: Value,
    ) -> MembershipId {
        self.add_until(at, (role, principal), matcher, (None, true))
    }

    fn add_until(
        &mut self,
        at: u128,
        (role, principal): (Role, Option<&str>),
        matcher: Value,
        (expires_at, enabled): (Option<Timestamp>, bool),
    ) -> MembershipId {
        let provider = self.provider(at);
        let mut document = MembershipDocument {
            identity_provider: provider.name.clone(),
            matcher: object(matcher),
            principal: principal.map(str::to_owned),
            role,
            expires_at,
            enabled,
        };
        document.matcher = document.matched_by(&provider.profile).unwrap().matcher;
        let id = MembershipId(uuid::Uuid::from_u128(self.next));
        self.next = self.next.wrapping_add(1);
        let stored = stored(id.to_string(), document, MembershipState { revision: 3 });
        let compiled = MembershipDocument::compile(&stored, id, provider.id, &provider.profile);
        self.snapshot.set_membership(id, Some(compiled));
        id
    }

    fn roles(&self, claims: Value) -> Roles {
        roles(&self.snapshot, &self.provider(1), &object(claims), NOW)
    }
}

#[test]
fn people_role_2__nobody_has_a_role_that_no_membership_gives() {
    let mut ground = Ground::new();
    assert!(
        ground
            .roles(json!({ "sub": "alice", "groups": ["admins"] }))
            .is_empty()
    );
    let owner = ground.add(1, Role::Owner, Some("octo-org"), json!({ "sub": "alice" }));
    ground.add(
        1,
        Role::Viewer,
        Some("other"),
        json!({ "groups": ["staff", "guests"] }),
    );
    let admins = ground.add(1, Role::Operator, None, json!({ "groups": "admins" }));
    let alice = ground.roles(json!({ "sub": "alice" }));
    let held = Held {
        role: Role::Owner,
        membership: owner,
        revision: 3,
    };
    assert_eq!(alice.at("OCTO-org"), Some(held));
    assert!(alice.at("other").is_none() && !alice.is_operator() && alice.auditor.is_none());
    assert!(alice.may_write());
    let guest = ground.roles(json!({ "sub": "x", "groups": ["guests"] }));
    assert_eq!(guest.at("Other").unwrap().role, Role::Viewer);
    assert!(!guest.may_write());
    let operator = ground.roles(json!({ "sub": "x", "groups": ["a", "admins"] }));
    assert_eq!(operator.operator.unwrap().membership, admins);
    assert!(operator.is_operator() && operator.may_write());
    // Neither another spelling nor another type of the claim.
    for claims in [
        json!({ "sub": "Alice" }),
        json!({ "sub": ["alice"] }),
        json!({ "groups": "admins" }),
        json!({ "groups": ["Admins"] }),
        json!({ "groups": [["admins"]] }),
        json!({ "sub": "", "groups": [] }),
        json!({}),
    ] {
        assert!(ground.roles(claims.clone()).is_empty(), "{claims}");
    }
}

#[test]
fn the_strongest_role_and_the_oldest_membership_count() {
    let mut ground = Ground::new();
    ground.add(1, Role::Viewer, Some("octo-org"), json!({ "sub": "alice" }));
    let first = ground.add(1, Role::Owner, Some("octo-org"), json!({ "groups": ["a"] }));
    ground.add(1, Role::Owner, Some("octo-org"), json!({ "sub": "alice" }));
    let held = ground.roles(json!({ "sub": "alice", "groups": ["a"] }));
    assert_eq!(held.at("octo-org").unwrap().membership, first);
    assert_eq!(held.at("octo-org").unwrap().role, Role::Owner);
}

#[test]
fn ended_memberships_and_those_of_other_providers_give_nothing() {
    let mut ground = Ground::new();
    let at_octo = (Role::Owner, Some("octo-org"));
    let who = || json!({ "sub": "alice" });
    let ended = Some(NOW);
    ground.add_until(1, at_octo, who(), (ended, true));
    ground.add_until(1, at_octo, who(), (None, false));
    ground.add(2, Role::Owner, Some("octo-org"), who());
    ground.add(1, Role::Owner, Some("gone"), who());
    ground.add(1, Role::Owner, Some("never-there"), who());
    assert!(ground.roles(who()).is_empty());
    let open = Some(NOW.plus_seconds(1));
    let id = ground.add_until(1, at_octo, who(), (open, true));
    assert!(!ground.roles(who()).is_empty());
    // Withdrawn by the operator.
    ground.snapshot.set_membership(id, None);
    assert!(ground.roles(who()).is_empty());
    ground.add(1, Role::Auditor, None, who());
    assert!(ground.roles(who()).auditor.is_some());
    let mut disabled = provider(1);
    disabled.enabled = false;
    let before = ground.provider(1);
    ground
        .snapshot
        .set_identity_provider(disabled.id, Some(disabled));
    let now = roles(&ground.snapshot, &before, &object(who()), NOW);
    assert!(now.is_empty(), "the provider of the snapshot counts");
}

#[test]
fn a_stored_membership_whose_role_and_principal_do_not_fit_gives_nothing() {
    let mut ground = Ground::new();
    let who = || json!({ "sub": "alice" });
    for role in [Role::Operator, Role::Auditor] {
        ground.add(1, role, Some("octo-org"), who());
    }
    for role in [Role::Owner, Role::Viewer] {
        ground.add(1, role, None, who());
    }
    assert!(ground.roles(who()).is_empty());
}

#[test]
fn a_membership_that_goes_after_its_provider_leaves_nothing_behind() {
    let mut ground = Ground::new();
    let who = || json!({ "sub": "alice" });
    let membership = ground.add(1, Role::Auditor, None, who());
    let provider = ground.provider(1);
    ground.snapshot.set_identity_provider(provider.id, None);
    ground.snapshot.set_membership(membership, None);
    let again = Some((*provider).clone());
    ground.snapshot.set_identity_provider(provider.id, again);
    assert!(ground.roles(who()).is_empty());
}

#[test]
fn addresses_count_only_verified_and_without_case_of_the_domain() {
    let mut ground = Ground::new();
    ground.add(
        1,
        Role::Viewer,
        Some("octo-org"),
        json!({ "email": "Al@Example.org" }),
    );
    ground.add(
        1,
        Role::Viewer,
        Some("other"),
        json!({ "username": "al", "email_domain": "example.org" }),
    );
    let verified =
        json!({ "email": "Al@example.ORG", "email_verified": true, "preferred_username": "AL" });
    assert_eq!(ground.roles(verified).principals.len(), 2);
    for (claim, value) in [
        ("email_verified", json!(false)),
        ("email_verified", json!("true")),
        ("email_verified", Value::Null),
        ("email", json!("al@example.org.evil.test")),
    ] {
        let mut claims = object(json!({
            "email": "Al@example.org", "email_verified": true, "preferred_username": "al",
        }));
        claims.insert(claim.to_owned(), value.clone());
        assert!(
            ground.roles(Value::Object(claims)).is_empty(),
            "{claim} {value}"
        );
    }
}

#[test]
fn the_report_says_why_a_person_may_not_act_for_a_principal() {
    let mut ground = Ground::new();
    ground.add(
        1,
        Role::Owner,
        Some("octo-org"),
        json!({ "groups": ["octo"], "claims": { "hd": "octo.org" } }),
    );
    let claims = json!({ "sub": "alice", "groups": ["octopus"], "hd": "octo.org" });
    let claims = Claims::new(object(claims));
    let provider = ground.provider(1);
    assert!(
        report(&ground.snapshot, &provider, &claims, NOW, None)
            .candidates
            .is_empty()
    );
    let report = report(&ground.snapshot, &provider, &claims, NOW, Some("Octo-Org"));
    let [candidate] = report.candidates.as_slice() else {
        panic!("{report:?}");
    };
    let unmet: Vec<_> = candidate.unmet().collect();
    assert_eq!(unmet, [(Topic::Condition(0), Reason::ClaimMismatch)]);
}

#[test]
fn claims_that_are_too_large_or_cut_off_are_refused_and_never_shortened() {
    let profile = provider(1).profile;
    let readable = |claims: Value| readable(&profile, &object(claims));
    let kept = readable(json!({
        "iss": "i", "aud": "a", "nonce": "n", "at_hash": "h", "sub": "s", "groups": ["g"], "amr": ["otp"],
    }));
    assert_eq!(
        Value::Object(kept.unwrap()),
        json!({ "sub": "s", "groups": ["g"], "amr": ["otp"] })
    );
    let groups = |count: usize| json!({ "groups": vec!["g"; count] });
    assert!(readable(groups(MAX_GROUPS)).is_ok());
    assert_eq!(
        readable(groups(MAX_GROUPS + 1)),
        Err(TooMuch::Elements("groups".into()))
    );
    // As JSON, `{"x":"…"}` has eight bytes beside the value.
    let filled = |bytes: usize| json!({ "x": "y".repeat(bytes - 8) });
    assert!(readable(filled(16 * 1024)).is_ok());
    assert_eq!(readable(filled(16 * 1024 + 1)), Err(TooMuch::Bytes));
    for cut in [
        json!({ "_claim_names": { "groups": "src1" }, "_claim_sources": { "src1": {} } }),
        json!({ "hasgroups": true }),
        json!({ "hasgroups": "true", "groups": ["a"] }),
    ] {
        assert_eq!(
            readable(cut.clone()),
            Err(TooMuch::LeftOut("groups".into())),
            "{cut}"
        );
    }
    for whole in [
        json!({ "hasgroups": false }),
        json!({ "_claim_names": { "address": "src1" } }),
    ] {
        assert!(readable(whole).is_ok());
    }
}

#[test]
fn a_thousand_memberships_are_found_by_their_keys() {
    let mut ground = Ground::new();
    for n in 0..1_000 {
        let matcher = json!({ "groups": [format!("g{n}"), format!("h{n}")] });
        ground.add(1, Role::Owner, Some("octo-org"), matcher);
    }
    let (snapshot, provider) = (&ground.snapshot, ground.provider(1));
    let found = |claims: Value| {
        let claims = Claims::new(object(claims));
        snapshot.memberships_for(&provider, &claims).len()
    };
    assert_eq!(found(json!({ "groups": ["g7", "h7", "h8", "x"] })), 2);
    assert_eq!(found(json!({ "groups": [] })), 0);
    assert_eq!(snapshot.memberships_of(provider.id).count(), 1_000);
}

#[test]
fn person_is_the_only_bundled_profile_for_people() {
    let profiles = Profiles::load(None).unwrap();
    for profile in profiles.iter() {
        let is_for_people = profile.name == "person";
        assert_eq!(profile.people.is_some(), is_for_people, "{}", profile.name);
    }
}
