//! What a client may do on behalf of a person: scopes of the admin API, entries at registries, and
//! when such a token ends.

use carnet_access::{AuthorizationDetail, GroundKind, PackageNames, RestsOn};

use super::*;
use crate::client::built_in_client;
use crate::ids::{ClientRowId, ResourceServerId};
use crate::model::{
    Client, ClientPermission, DecisionContext, Method, PeopleActions, ResourceServer, TokenBinding,
    TokenFormat,
};
use crate::own_token::{Descent, Ended, OwnToken};
use crate::own_urls::OwnUrls;
use crate::possession::{Possession, ProofDemand};
use crate::principal::{AccessRequest, Asked, Frame, choices, of_person};
use crate::scope::ScopeSet;

const REGISTRY: &str = "https://registry.test/";

fn scope(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

fn registry(name: &str, people: Option<(&[&str], &[&str])>) -> ResourceServer {
    let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    ResourceServer {
        id: ResourceServerId(uuid::Uuid::from_u128(name.len() as u128)),
        name: name.to_owned(),
        resource: if name == "registry" {
            REGISTRY.to_owned()
        } else {
            format!("https://{name}.test/")
        },
        aliases: Vec::new(),
        actions: texts(&["publish", "yank", "create"]),
        package_names: PackageNames::Exact,
        token_format: TokenFormat::Jwt,
        token_prefix: "cnt_".to_owned(),
        token_lifetime_seconds: 900,
        require_principal: false,
        require_protected_ref_or_environment: false,
        demand: ProofDemand::default(),
        front_door: None,
        people: people.map(|(owner, viewer)| PeopleActions {
            owner: texts(owner),
            viewer: texts(viewer),
        }),
        enabled: true,
    }
}

fn permission(server: &str, actions: &[&str], packages: &[&str]) -> ClientPermission {
    ClientPermission {
        resource_server: server.to_owned(),
        actions: actions.iter().map(ToString::to_string).collect(),
        packages: packages.iter().map(ToString::to_string).collect(),
        owner: String::new(),
        demand: ProofDemand::default(),
    }
}

fn client(permissions: Vec<ClientPermission>) -> Client {
    Client {
        id: ClientRowId(uuid::Uuid::from_u128(77)),
        client_id: "shop".to_owned(),
        scopes: Some(scope("openid admin:read admin:credentials:octo-org")),
        permissions,
        method: Method::None,
        binding: TokenBinding::Optional,
        ..built_in_client(true)
    }
}

/// A ground on which alice owns `octo-org` and reads `other`, with two registries.
fn ground() -> (Ground, MembershipId) {
    let mut ground = Ground::new();
    let owner = ground.add(1, Role::Owner, Some("octo-org"), json!({ "sub": "alice" }));
    ground.add(1, Role::Viewer, Some("Other"), json!({ "sub": "alice" }));
    for server in [
        registry("registry", Some((&["publish", "yank"], &["yank"]))),
        registry("closed", None),
    ] {
        let name = server.name.clone();
        ground.snapshot.set_resource_server(&name, Some(server));
    }
    (ground, owner)
}

fn asking(resource: Option<&str>, wanted: Option<&str>, principal: Option<&str>) -> AccessRequest {
    AccessRequest {
        resources: resource.map(str::to_owned).into_iter().collect(),
        scope: wanted.map(scope),
        principal: principal.map(str::to_owned),
        ..AccessRequest::default()
    }
}

#[test]
fn admin_scopes_are_what_role_and_client_both_have() {
    let (mut ground, owner) = ground();
    let ceiling = scope("openid admin:read admin:credentials:octo-org");
    let alice = ground.roles(json!({ "sub": "alice" }));
    let all = |roles: &Roles, ceiling: &ScopeSet, wanted: Option<&str>| {
        let wanted = wanted.map(scope);
        let held = roles.admin_scope(&ground.snapshot, ceiling, wanted.as_ref());
        held.map(|held| (held.scope.to_string(), held.memberships.len()))
    };
    let held = |text: &str, memberships| Some((text.to_owned(), memberships));
    assert_eq!(
        all(&alice, &ceiling, None),
        held("admin:credentials:octo-org admin:read:Other", 2)
    );
    assert_eq!(
        all(&alice, &scope("admin"), None),
        held("admin:credentials:octo-org admin:read:Other", 2)
    );
    assert_eq!(
        all(&alice, &scope("admin:read:octo-org"), None),
        held("admin:read:octo-org", 1)
    );
    assert_eq!(all(&alice, &scope("openid profile"), None), None);
    assert_eq!(
        all(&alice, &ceiling, Some("admin:credentials:octo-org")),
        held("admin:credentials:octo-org", 1)
    );
    assert_eq!(
        all(&alice, &ceiling, Some("admin:read:octo-org")),
        held("admin:read:octo-org", 1)
    );
    for beyond in [
        "admin",
        "admin:read",
        "admin:credentials",
        "admin:credentials:other",
        "admin:read:gone",
        "admin:read:Other admin:read",
    ] {
        assert_eq!(all(&alice, &scope("admin"), Some(beyond)), None, "{beyond}");
    }
    assert_eq!(
        all(
            &alice,
            &scope("admin:read:Other"),
            Some("admin:read:octo-org")
        ),
        None
    );
    let given = alice
        .admin_scope(
            &ground.snapshot,
            &ceiling,
            Some(&scope("admin:read:octo-org")),
        )
        .unwrap();
    assert_eq!(
        given.memberships,
        [RestsOn {
            kind: GroundKind::Membership,
            id: owner.to_string(),
            revision: 3
        }]
    );
    ground.add(1, Role::Operator, None, json!({ "sub": "olga" }));
    ground.add(1, Role::Auditor, None, json!({ "sub": "olga" }));
    let olga = ground.roles(json!({ "sub": "olga" }));
    let whole = |ceiling: &str| {
        olga.admin_scope(&ground.snapshot, &scope(ceiling), None)
            .unwrap()
            .scope
            .to_string()
    };
    assert_eq!(whole("admin"), "admin admin:read");
    assert_eq!(whole("openid admin:read"), "admin:read");
    assert_eq!(
        whole("admin:credentials:octo-org"),
        "admin:credentials:octo-org"
    );
}

#[test]
fn a_registry_gives_what_role_ceiling_and_request_have_in_common() {
    let (ground, _) = ground();
    let alice = ground.roles(json!({ "sub": "alice" }));
    let shop = client(vec![
        permission("registry", &["publish", "create"], &["left-*"]),
        permission("registry", &["yank"], &["right"]),
        permission("closed", &["publish"], &["*"]),
    ]);
    let found = |request: &AccessRequest| {
        let (server, choices) = choices(&alice, &shop, &ground.snapshot, request)?;
        assert_eq!(server.name, "registry");
        let shown = choices.into_iter().map(|choice| {
            let details = choice.details.into_iter();
            let details: Vec<(Vec<String>, Vec<String>)> = details
                .map(|detail| (detail.actions, detail.packages))
                .collect();
            (choice.principal.name.clone(), details)
        });
        Ok::<_, crate::refusal::Refusal>(shown.collect::<Vec<_>>())
    };
    let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let of_owner = (
        "octo-org".to_owned(),
        vec![
            (texts(&["publish"]), texts(&["left-*"])),
            (texts(&["yank"]), texts(&["right"])),
        ],
    );
    let of_viewer = (
        "Other".to_owned(),
        vec![(texts(&["yank"]), texts(&["right"]))],
    );
    // `create` is no action of a role here, and `closed` takes no people.
    for resource in [None, Some(REGISTRY)] {
        assert_eq!(
            found(&asking(resource, None, None)).unwrap(),
            [of_owner.clone(), of_viewer.clone()]
        );
    }
    let publish = found(&asking(None, Some("publish"), None)).unwrap();
    assert_eq!(
        publish,
        [(
            "octo-org".to_owned(),
            vec![(texts(&["publish"]), texts(&["left-*"]))]
        )]
    );
    for (request, reason) in [
        (
            asking(Some("https://closed.test/"), None, None),
            Reason::TargetNotGranted,
        ),
        (
            asking(Some("https://unknown.test/"), None, None),
            Reason::TargetUnknown,
        ),
        (asking(None, Some("create"), None), Reason::ScopeNotGranted),
        (
            asking(None, Some("publish create"), None),
            Reason::ScopeNotGranted,
        ),
    ] {
        assert_eq!(found(&request).unwrap_err().reason, reason, "{request:?}");
    }
    // Nothing at all without a client that may ask for it.
    let idle = client(Vec::new());
    let here = asking(Some(REGISTRY), None, None);
    assert!(choices(&alice, &idle, &ground.snapshot, &here).is_err());
    // The command line does what the person may do.
    let everything = built_in_client(true);
    let (_, all) = choices(&alice, &everything, &ground.snapshot, &here).unwrap();
    let packages = all.iter().flat_map(|choice| &choice.details);
    let packages: Vec<&str> = packages
        .flat_map(|detail| &detail.packages)
        .map(String::as_str)
        .collect();
    assert_eq!((all.len(), packages), (2, vec!["*", "*"]));
}

#[test]
fn a_token_at_a_registry_is_for_one_principal_and_rests_on_the_membership() {
    let (ground, owner) = ground();
    let alice = ground.roles(json!({ "sub": "alice" }));
    let shop = client(vec![
        permission("registry", &["publish", "create"], &["left-*"]),
        permission("registry", &["yank"], &["right"]),
    ]);
    let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let possession = Possession::default();
    let entitled = |principal: Option<&str>, wanted: Option<&str>| {
        let access = asking(None, wanted, principal);
        let asked = Asked {
            access: &access,
            frame: Frame::default(),
            possession: &possession,
        };
        of_person(&alice, &shop, &ground.snapshot, asked)
    };
    assert_eq!(
        entitled(None, None).unwrap_err().reason,
        Reason::PrincipalRequired
    );
    assert_eq!(
        entitled(Some("stranger"), None).unwrap_err().reason,
        Reason::NoMembership
    );
    let entitlement = entitled(Some("OCTO-org"), Some("publish")).unwrap();
    assert_eq!(
        (
            entitlement.subject.as_str(),
            entitlement.scope.to_string().as_str()
        ),
        ("pr_octo-org", "publish")
    );
    let expected = AuthorizationDetail {
        kind: "package".to_owned(),
        actions: texts(&["publish"]),
        packages: texts(&["left-*"]),
        owner: "octo-org".to_owned(),
        principal: "octo-org".to_owned(),
        credential: owner.to_string(),
        revision: 3,
        rests_on: Vec::new(),
        locations: texts(&[REGISTRY]),
        version: None,
        digest: None,
    };
    assert_eq!(entitlement.details, [expected]);
    assert!(entitlement.credentials.is_empty());
}

#[test]
fn a_registry_that_asks_for_proofs_gets_none_from_a_person() {
    let (mut ground, _) = ground();
    let mut strict = registry("registry", Some((&["publish"], &[])));
    strict.demand.min_proof = carnet_access::ProofLevel::Key;
    ground
        .snapshot
        .set_resource_server("registry", Some(strict));
    let alice = ground.roles(json!({ "sub": "alice" }));
    let shop = client(vec![permission("registry", &["publish"], &["*"])]);
    let (access, possession) = (asking(None, None, None), Possession::default());
    let asked = Asked {
        access: &access,
        frame: Frame::default(),
        possession: &possession,
    };
    let refused = of_person(&alice, &shop, &ground.snapshot, asked).unwrap_err();
    assert_eq!(refused.reason, Reason::ProofTooWeak);
}

const SIGNED_IN: Descent = Descent {
    depth: 0,
    is_revoked: false,
    is_signed_in: true,
};

fn own() -> OwnUrls {
    OwnUrls::new("https://as.test", "127.0.0.1:1".parse().unwrap()).unwrap()
}

fn token(changes: Value) -> OwnToken {
    let mut claims = json!({
        "iss": "https://as.test", "aud": REGISTRY, "sub": "pr_octo-org", "client_id": "shop", "iat": 1_800_000_000, "exp": 1_800_000_900,
        "jti": uuid::Uuid::from_u128(u128::MAX).to_string(), "scope": "publish", "person": { "id": "ps_1" }, "sid": "se_1",
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    OwnToken::read(object(claims)).unwrap()
}

/// What becomes of a token of alice at the registry: its claims with `changes`, by a snapshot that was
/// changed since.
fn judged(
    since: &dyn Fn(&mut Snapshot, MembershipId),
    changes: Value,
    descent: Descent,
) -> Result<(), Ended> {
    let (ground, owner) = ground();
    let mut snapshot = ground.snapshot;
    let shop = client(vec![permission("registry", &["publish"], &["left-*"])]);
    snapshot.set_client("shop", Some(shop));
    since(&mut snapshot, owner);
    let own = own();
    let context = DecisionContext {
        rules: Arc::new(snapshot),
        now: NOW,
        own: &own,
    };
    let mut all = json!({ "authorization_details": [{
        "type": "package", "actions": ["publish"], "packages": ["left-*"], "owner": "octo-org", "principal": "octo-org",
        "credential": owner, "revision": 3, "locations": [REGISTRY],
    }] });
    for (name, value) in changes.as_object().unwrap() {
        all[name] = value.clone();
    }
    token(all).in_force(descent, &context).map(|_| ())
}

/// The same after a change of the snapshot alone.
fn after(changed: impl Fn(&mut Snapshot, MembershipId)) -> Result<(), Ended> {
    judged(&changed, json!({}), SIGNED_IN)
}

const LEFT: Result<(), Ended> = Err(Ended::NothingLeft);

#[test]
fn a_token_at_a_registry_ends_with_the_session_and_the_membership() {
    let nothing = |_: &mut Snapshot, _| {};
    assert_eq!(judged(&nothing, json!({}), SIGNED_IN), Ok(()));
    let signed_out = Descent {
        is_signed_in: false,
        ..SIGNED_IN
    };
    let ended = judged(&nothing, json!({}), signed_out);
    assert_eq!(ended, Err(Ended::SignedOut));
    let revoked = Descent {
        is_revoked: true,
        ..SIGNED_IN
    };
    assert_eq!(judged(&nothing, json!({}), revoked), Err(Ended::Revoked));
    let change = |with: &dyn Fn(&mut Membership)| {
        after(|snapshot, owner| {
            let mut membership = (**snapshot.membership(owner).unwrap()).clone();
            with(&mut membership);
            snapshot.set_membership(owner, Some(membership));
        })
    };
    assert_eq!(change(&|_| {}), Ok(()));
    let soon = change(&|membership| membership.expires_at = Some(NOW.plus_seconds(1)));
    assert_eq!(soon, Ok(()));
    let ends: [&dyn Fn(&mut Membership); 6] = [
        &|membership| membership.enabled = false,
        &|membership| membership.revision = 4,
        &|membership| membership.expires_at = Some(NOW),
        &|membership| membership.role = Role::Viewer,
        &|membership| membership.principal = Some("other".into()),
        &|membership| membership.principal = None,
    ];
    for (at, end) in ends.into_iter().enumerate() {
        assert_eq!(change(end), LEFT, "{at}");
    }
    assert_eq!(
        after(|snapshot, owner| snapshot.set_membership(owner, None)),
        LEFT
    );
}

#[test]
fn a_token_at_a_registry_ends_with_registry_principal_provider_and_client() {
    let set = |people: Option<(&[&str], &[&str])>| {
        after(|snapshot, _| {
            let server = registry("registry", people);
            snapshot.set_resource_server("registry", Some(server));
        })
    };
    assert_eq!(set(Some((&["publish"], &[]))), Ok(()));
    assert_eq!(set(Some((&["yank"], &["publish"]))), LEFT);
    assert_eq!(set(None), LEFT);
    let principal_off = after(|snapshot, _| {
        snapshot.set_principal("octo-org", Some(principal("octo-org", false)));
    });
    let provider_off = after(|snapshot, _| {
        let off = IdentityProvider {
            enabled: false,
            ..provider(1)
        };
        snapshot.set_identity_provider(off.id, Some(off));
    });
    let client_off = after(|snapshot, _| {
        let off = Client {
            enabled: false,
            ..client(Vec::new())
        };
        snapshot.set_client("shop", Some(off));
    });
    assert_eq!([principal_off, provider_off, client_off], [LEFT; 3]);
    // A person's token of the command line ends with the switch; a local command's own does not.
    let with_cli = |enabled| {
        let set = |snapshot: &mut Snapshot, _| {
            snapshot.set_client("carnet-cli", Some(built_in_client(enabled)));
        };
        judged(&set, json!({ "client_id": "carnet-cli" }), SIGNED_IN)
    };
    assert_eq!((with_cli(true), with_cli(false)), (Ok(()), LEFT));
    let own = json!({ "client_id": "carnet-cli", "person": null, "sid": null });
    let nobody = Descent {
        is_signed_in: false,
        ..SIGNED_IN
    };
    assert_eq!(judged(&|_, _| {}, own, nobody), Ok(()));
}

#[test]
fn an_admin_token_of_a_person_ends_when_the_memberships_that_are_left_do_not_give_its_scope() {
    let (mut ground, owner) = ground();
    let other = ground.add(1, Role::Auditor, None, json!({ "sub": "alice" }));
    let operator = ground.add(1, Role::Operator, None, json!({ "sub": "alice" }));
    ground.snapshot.set_client("shop", Some(client(Vec::new())));
    let on = |id: MembershipId, revision: u32| json!({ "kind": "membership", "id": id, "revision": revision });
    let judged = |scope: &str, rests_on: Value| {
        let own = own();
        let context = DecisionContext {
            rules: Arc::new(ground.snapshot.clone()),
            now: NOW,
            own: &own,
        };
        let changes =
            json!({ "aud": "https://as.test/admin", "scope": scope, "rests_on": rests_on });
        token(changes).in_force(SIGNED_IN, &context).map(|_| ())
    };
    let left = Err(Ended::NothingLeft);
    assert_eq!(
        judged("admin:credentials:octo-org", json!([on(owner, 3)])),
        Ok(())
    );
    assert_eq!(judged("admin:read:octo-org", json!([on(owner, 3)])), Ok(()));
    assert_eq!(
        judged(
            "admin:read admin:credentials:octo-org",
            json!([on(owner, 3), on(other, 3)])
        ),
        Ok(())
    );
    assert_eq!(
        judged(
            "admin:read admin:credentials:octo-org",
            json!([on(owner, 3)])
        ),
        left
    );
    assert_eq!(
        judged("admin:credentials:octo-org", json!([on(owner, 2)])),
        left
    );
    assert_eq!(
        judged("admin:credentials:octo-org", json!([on(other, 3)])),
        left
    );
    assert_eq!(judged("admin:credentials:octo-org", json!([])), left);
    // Another kind of the same id is no membership.
    let kind = json!([{ "kind": "principal", "id": owner, "revision": 3 }]);
    assert_eq!(judged("admin:credentials:octo-org", kind), left);
    // What a membership gives, and the client may not have.
    assert_eq!(judged("admin", json!([on(operator, 3)])), left);
    // At the userinfo endpoint a token of a person alone.
    let own = own();
    let context = DecisionContext {
        rules: Arc::new(ground.snapshot.clone()),
        now: NOW,
        own: &own,
    };
    let at_userinfo = |changes: Value| token(changes).in_force(SIGNED_IN, &context).is_ok();
    assert!(at_userinfo(json!({ "aud": "https://as.test/userinfo" })));
    assert!(!at_userinfo(
        json!({ "aud": "https://as.test/userinfo", "person": null })
    ));
}

#[test]
fn people_deny_1__without_a_role_there_is_no_permit() {
    let (ground, _) = ground();
    let own = own();
    let context = DecisionContext {
        rules: Arc::new(ground.snapshot.clone()),
        now: NOW,
        own: &own,
    };
    let permit = |sub: &str, at: u128| {
        let person = SignedInPerson {
            id: crate::ids::PersonId(uuid::Uuid::from_u128(5)),
            username: None,
            name: None,
            email: None,
            identity_provider: IdentityProviderId(uuid::Uuid::from_u128(at)),
            claims: object(json!({ "sub": sub })),
            session: crate::ids::SessionId(uuid::Uuid::from_u128(6)),
            session_ends_at: NOW.plus_seconds(60),
            auth_time: None,
            acr: None,
            amr: Vec::new(),
        };
        PersonPermit::new(person, &context).map(|permit| permit.roles().principals.len())
    };
    assert_eq!(permit("alice", 1), Ok(2));
    for (sub, at) in [("bob", 1), ("alice", 2), ("alice", 9)] {
        assert_eq!(permit(sub, at), Err(Reason::NoMembership), "{sub} {at}");
    }
}
