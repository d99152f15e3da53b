//! What the gateway records of packages and publications, on the real database: nobody gets a name that another one holds, and no
//! name is lost, however requests of several gateways meet.

use carnet::clock::{Clock as _, Timestamp};
use carnet::ids::PublicationId;
use carnet::store::{
    NotChanged, PackageChange, PackageChanged, PackageFilter, PackageRecord, PackageState,
    PublicationState, Store, Subject,
};
use carnet_gateway::{Changed, NewPublication, Outcome, Owner, Package, Publisher, Standing};
use carnet_resource_server::AccessToken;
use serde_json::{Value, json};

use crate::support::{R1, TestServer, World};

const REFUSED: Outcome = Outcome::Refused { status: Some(400) };

/// A server with the principals `joel` and `mallory`, and the registry `pypi`.
async fn ground() -> World {
    let world = World::new().await;
    let mallory = json!({ "id": "pr_mallory", "kind": "user" });
    world.server.put("principals/mallory", mallory).await;
    world
}

fn token(principal: &str) -> AccessToken {
    serde_json::from_value(json!({
        "iss": "https://as.test", "aud": R1, "sub": format!("pr_{principal}"), "client_id": "federated:fc_1", "iat": 1, "exp": 2,
        "jti": format!("token-of-{principal}"),
        "authorization_details": [{
            "type": "package", "actions": ["create", "publish"], "packages": ["*"], "owner": principal, "principal": principal,
            "credential": "fc_1", "revision": 3, "locations": [R1],
        }],
        "workload": {
            "iss": "https://ci.test", "sub": "repo:octo-org/octo-repo", "profile": "github-actions",
            "claims": { "repository": "octo-org/octo-repo", "run_id": "9001" },
        },
    }))
    .unwrap()
}

fn by(principal: &str) -> Publisher {
    let token = token(principal);
    let entry = token.authorization_details[0].clone();
    Publisher::Token {
        token: Box::new(token),
        entry: Box::new(entry),
    }
}

fn passthrough() -> Publisher {
    Publisher::Passthrough {
        user: Some("old-hand".to_owned()),
    }
}

/// A file of `package`, decided on this record.
fn file(package: &str, file: &str, publisher: Publisher, decided_on: Package) -> NewPublication {
    NewPublication {
        registry: "pypi".to_owned(),
        package: package.to_ascii_lowercase(),
        spelled: package.to_owned(),
        version: Some("1.0".to_owned()),
        file: Some(file.to_owned()),
        digest: Some(format!("sha256:{}", "a".repeat(64))),
        operation: "publish",
        adds: true,
        publisher,
        address: Some("192.0.2.7".parse().unwrap()),
        decided_on,
    }
}

/// The clock of a server, moved on so that each row has a time of its own.
fn now(server: &TestServer) -> Timestamp {
    server.clock.advance(1);
    server.clock.now()
}

async fn record(store: &Store, package: &str) -> Package {
    let record = store.gateway_package("pypi", package).await.unwrap();
    record.map_or(Package::UNRECORDED, PackageRecord::into_package)
}

/// Reserves as a gateway does: on the record of this moment.
async fn reserved(
    server: &TestServer,
    package: &str,
    name: &str,
    publisher: Publisher,
) -> PublicationId {
    let decided_on = record(&server.app.store, &package.to_ascii_lowercase()).await;
    let new = file(package, name, publisher, decided_on);
    let now = now(server);
    server
        .app
        .store
        .reserve_publication(&new, now)
        .await
        .unwrap()
        .unwrap()
}

async fn settle(server: &TestServer, id: PublicationId, outcome: &Outcome) -> bool {
    let now = now(server);
    server
        .app
        .store
        .settle_publication(id, outcome, false, None, now)
        .await
        .unwrap()
}

fn owner(name: &str) -> Owner {
    Owner {
        id: format!("pr_{name}"),
        name: name.to_owned(),
    }
}

fn subject(package: &str) -> Subject {
    Subject {
        registry: "pypi".to_owned(),
        name: package.to_owned(),
        spelled: package.to_owned(),
    }
}

fn event(_: &PackageChanged) -> carnet::audit::AuditEvent {
    carnet::audit::AuditEvent::new(Timestamp::from_seconds(1), carnet::audit::Outcome::Updated)
}

async fn change(
    server: &TestServer,
    changes: &[(Subject, PackageChange)],
) -> Result<Vec<PackageChanged>, (usize, NotChanged)> {
    let now = now(server);
    // An id of its own for each event.
    let event = |changed: &PackageChanged| carnet::audit::AuditEvent {
        ..carnet::audit::AuditEvent::new(Timestamp::from_seconds(2), event(changed).outcome)
    };
    server.app.store.change_packages(changes, now, &event).await
}

#[tokio::test]
async fn of_two_gateways_that_publish_one_new_name_for_two_owners_one_gets_it() {
    let world = ground().await;
    let other = world.server.another_node().await;
    let (one, two) = (&world.server.app.store, &other.app.store);
    let now = world.server.clock.now();
    for round in 0..50 {
        let name = format!("raced-{round}");
        let of = |publisher| file(&name, "x.whl", publisher, Package::UNRECORDED);
        let (joel, mallory) = (of(by("joel")), of(by("mallory")));
        let (left, right) = tokio::join!(
            one.reserve_publication(&joel, now),
            two.reserve_publication(&mallory, now)
        );
        let (left, right) = (left.unwrap(), right.unwrap());
        assert!(left.is_ok() != right.is_ok(), "{left:?} {right:?}");
        let winner = if left.is_ok() { "joel" } else { "mallory" };
        let standing = record(one, &name).await.standing;
        assert_eq!(standing, Standing::Reserved(Some(owner(winner))));
        let stored = one.publications("pypi", &name, None, 10).await.unwrap();
        assert_eq!(stored.len(), 1, "the loser left nothing");
        let id = left.or(right).unwrap();
        // The registry answered one of them; two gateways settle it at the same time.
        let (left, right) = tokio::join!(
            one.settle_publication(id, &Outcome::Accepted, false, None, now),
            two.settle_publication(id, &REFUSED, false, None, now)
        );
        assert!(left.unwrap() != right.unwrap(), "one outcome is recorded");
        let present = one.gateway_package("pypi", &name).await.unwrap();
        assert!(
            present.is_none_or(|present| present.open == 0 && present.state == PackageState::Owned)
        );
    }
}

#[tokio::test]
async fn a_crash_between_forwarding_and_settling_leaves_the_name_with_its_owner_for_ever() {
    let world = ground().await;
    let id = reserved(&world.server, "Widgets", "a.whl", by("joel")).await;
    world.server.clock.advance(10 * 365 * 86_400);
    let other = world.server.another_node().await;
    let present = record(&other.app.store, "widgets").await;
    assert_eq!(present.standing, Standing::Reserved(Some(owner("joel"))));
    assert_eq!(present.spelled.as_deref(), Some("Widgets"));
    let until = other.clock.now();
    let open = other
        .app
        .store
        .unsettled_publications(Some(until), None, 100)
        .await
        .unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(
        (open[0].id, open[0].state),
        (id, PublicationState::UnderWay)
    );
    // Nobody else gets it meanwhile, on whichever record that was read.
    for decided_on in [
        Package::UNRECORDED,
        Package {
            version: 7,
            ..present.clone()
        },
    ] {
        let new = file("widgets", "b.whl", by("mallory"), decided_on);
        let tried = other
            .app
            .store
            .reserve_publication(&new, until)
            .await
            .unwrap();
        assert_eq!(tried, Err(Changed));
    }
    assert!(settle(&other, id, &Outcome::Accepted).await);
    assert_eq!(
        record(&other.app.store, "widgets").await.standing,
        Standing::Owned(owner("joel"))
    );
}

#[tokio::test]
async fn a_refused_first_publication_gives_the_name_back_when_no_other_one_is_open() {
    let world = ground().await;
    let (server, store) = (&world.server, &world.server.app.store);
    let wheel = reserved(server, "widgets", "a.whl", by("joel")).await;
    let sdist = reserved(server, "widgets", "a.tar.gz", by("joel")).await;
    assert!(settle(server, wheel, &REFUSED).await);
    assert_eq!(
        record(store, "widgets").await.standing,
        Standing::Reserved(Some(owner("joel")))
    );
    assert!(settle(server, sdist, &REFUSED).await);
    assert_eq!(record(store, "widgets").await, Package::UNRECORDED);
    assert_eq!(
        store
            .publications("pypi", "widgets", None, 10)
            .await
            .unwrap(),
        []
    );
    // Now it is anybody's, and what was settled stays so.
    let mallory = reserved(server, "widgets", "m.whl", by("mallory")).await;
    for settled in [wheel, sdist] {
        assert!(!settle(server, settled, &Outcome::Accepted).await);
        assert!(!settle(server, settled, &REFUSED).await);
    }
    let row = store
        .gateway_package("pypi", "widgets")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((row.open, row.owner), (1, Some(owner("mallory"))));
    assert!(settle(server, mallory, &Outcome::Accepted).await);
    assert!(!settle(server, mallory, &REFUSED).await);
    let row = store
        .gateway_package("pypi", "widgets")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((row.open, row.state), (0, PackageState::Owned));
}

#[tokio::test]
async fn a_package_that_was_accepted_once_stays_its_owners_whatever_is_refused_afterwards() {
    let world = ground().await;
    let (server, store) = (&world.server, &world.server.app.store);
    let wheel = reserved(server, "widgets", "a.whl", by("joel")).await;
    let sdist = reserved(server, "widgets", "a.tar.gz", by("joel")).await;
    assert!(settle(server, wheel, &Outcome::Accepted).await);
    assert!(settle(server, sdist, &REFUSED).await);
    let row = store
        .gateway_package("pypi", "widgets")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (row.open, row.state, row.owner.clone()),
        (0, PackageState::Owned, Some(owner("joel")))
    );
    assert_eq!(
        (
            row.token_id.as_deref(),
            row.principal.as_deref(),
            row.credential.as_deref()
        ),
        (Some("token-of-joel"), Some("joel"), Some("fc_1"))
    );
    // A decision on the record of before, when the name was only reserved, is made again.
    let stale = Package {
        standing: Standing::Reserved(Some(owner("joel"))),
        version: 1,
        ..row.into_package()
    };
    let new = file("widgets", "b.whl", by("joel"), stale);
    let tried = store.reserve_publication(&new, now(server)).await.unwrap();
    assert_eq!(tried, Err(Changed));
    let stored = store
        .publications("pypi", "widgets", None, 10)
        .await
        .unwrap();
    assert_eq!(stored.len(), 1);
    let kept = &stored[0];
    assert_eq!(
        (kept.id, kept.state, kept.by_operator),
        (wheel, PublicationState::Accepted, false)
    );
    assert_eq!(kept.workload.as_ref().unwrap().claims["run_id"], "9001");
    assert_eq!(
        (kept.owner.as_ref(), kept.revision),
        (Some(&owner("joel")), Some(3))
    );
}

#[tokio::test]
async fn what_is_unclear_stays_reserved_until_it_is_settled() {
    let world = ground().await;
    let (server, store) = (&world.server, &world.server.app.store);
    let id = reserved(server, "widgets", "a.whl", by("joel")).await;
    let unclear = Outcome::Unclear {
        why: "the connection broke".to_owned(),
    };
    assert!(settle(server, id, &unclear).await);
    assert!(!settle(server, id, &unclear).await, "once");
    let row = store
        .gateway_package("pypi", "widgets")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((row.open, row.state), (1, PackageState::Reserved));
    let kept = store.publication(id).await.unwrap().unwrap();
    assert_eq!(
        (kept.state, kept.unclear_why.as_deref()),
        (PublicationState::Unclear, Some("the connection broke"))
    );
    assert!(settle(server, id, &REFUSED).await);
    assert_eq!(record(store, "widgets").await, Package::UNRECORDED);
}

#[tokio::test]
async fn a_package_of_the_registrys_own_credentials_belongs_to_nobody_until_it_is_imported() {
    let world = ground().await;
    let (server, store) = (&world.server, &world.server.app.store);
    let first = reserved(server, "old", "a.whl", passthrough()).await;
    let present = record(store, "old").await;
    assert_eq!(present.standing, Standing::Reserved(None));
    assert!(settle(server, first, &Outcome::Accepted).await);
    assert_eq!(record(store, "old").await.standing, Standing::Unowned);
    change(
        server,
        &[(subject("old"), PackageChange::Own("joel".to_owned()))],
    )
    .await
    .unwrap();
    assert_eq!(
        record(store, "old").await.standing,
        Standing::Owned(owner("joel"))
    );
    // A change of a package that is older than the gateway makes no record of the package.
    let mut tag = file("older", "", passthrough(), Package::UNRECORDED);
    tag.adds = false;
    let id = store
        .reserve_publication(&tag, now(server))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(record(store, "older").await, Package::UNRECORDED);
    assert!(settle(server, id, &Outcome::Accepted).await);
    assert_eq!(record(store, "older").await, Package::UNRECORDED);
    assert_eq!(
        store
            .publications("pypi", "older", None, 10)
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_transfer_during_a_publication_leaves_the_package_with_the_new_owner() {
    let world = ground().await;
    let (server, store) = (&world.server, &world.server.app.store);
    let transfer = |from: &str, to: &str| PackageChange::Transfer {
        from: from.to_owned(),
        to: to.to_owned(),
    };
    let id = reserved(server, "widgets", "a.whl", by("joel")).await;
    let before = record(store, "widgets").await;
    // Whoever is not the owner gives nothing away.
    let refused = change(server, &[(subject("widgets"), transfer("mallory", "joel"))]).await;
    assert!(
        matches!(refused, Err((0, NotChanged::OtherOwner { .. }))),
        "{refused:?}"
    );
    change(server, &[(subject("widgets"), transfer("joel", "mallory"))])
        .await
        .unwrap();
    let new = file("widgets", "b.whl", by("joel"), before);
    let tried = store.reserve_publication(&new, now(server)).await.unwrap();
    assert_eq!(tried, Err(Changed), "decided before the transfer");
    assert!(settle(server, id, &Outcome::Accepted).await);
    let row = store
        .gateway_package("pypi", "widgets")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (row.open, row.state, row.owner),
        (0, PackageState::Owned, Some(owner("mallory")))
    );
    let kept = store.publication(id).await.unwrap().unwrap();
    assert_eq!(
        kept.owner,
        Some(owner("joel")),
        "who published it stays known"
    );
    // A reservation that is transferred ends as any other if the registry refuses.
    let id = reserved(server, "gadgets", "a.whl", by("joel")).await;
    change(server, &[(subject("gadgets"), transfer("joel", "mallory"))])
        .await
        .unwrap();
    assert!(settle(server, id, &REFUSED).await);
    assert_eq!(record(store, "gadgets").await, Package::UNRECORDED);
}

#[tokio::test]
async fn an_import_is_done_as_a_whole_and_again_changes_nothing() {
    let world = ground().await;
    let (server, store) = (&world.server, &world.server.app.store);
    let own = |package: &str, owner: &str| (subject(package), PackageChange::Own(owner.to_owned()));
    let good = [own("b", "joel"), own("a", "Joel"), own("c", "mallory")];
    let made = change(server, &good).await.unwrap();
    assert_eq!(made.iter().filter(|changed| changed.is_change()).count(), 3);
    let again = change(server, &good).await.unwrap();
    assert!(!again.iter().any(PackageChanged::is_change), "{again:?}");
    let bad = [own("d", "joel"), own("c", "joel")];
    let refused = change(server, &bad).await;
    assert!(
        matches!(&refused, Err((1, NotChanged::OtherOwner { owner: Some(name), .. })) if name == "mallory"),
        "{refused:?}"
    );
    let unknown = change(server, &[own("e", "joel"), own("f", "nobody")]).await;
    assert!(
        matches!(&unknown, Err((1, NotChanged::NoPrincipal(name))) if name == "nobody"),
        "{unknown:?}"
    );
    let page = store
        .gateway_packages(&PackageFilter::default(), None, 2)
        .await
        .unwrap();
    let names: Vec<&str> = page.items.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let rest = store
        .gateway_packages(&PackageFilter::default(), page.next.as_ref(), 2)
        .await
        .unwrap();
    assert_eq!(
        (rest.items.len(), rest.items[0].name.as_str(), rest.next),
        (1, "c", None)
    );
    let of_joel = PackageFilter {
        owner: Some("pr_joel".to_owned()),
        registry: Some("pypi".to_owned()),
    };
    assert_eq!(
        store
            .gateway_packages(&of_joel, None, 9)
            .await
            .unwrap()
            .items
            .len(),
        2
    );
}

#[tokio::test]
async fn the_switch_to_trusted_publishing_alone_outlives_reservations() {
    let world = ground().await;
    let (server, store) = (&world.server, &world.server.app.store);
    let switch = |on| [(subject("widgets"), PackageChange::TrustedOnly(on))];
    change(server, &switch(true)).await.unwrap();
    let present = record(store, "widgets").await;
    assert_eq!(
        (&present.standing, present.trusted_only),
        (&Standing::Unrecorded, true)
    );
    // A decision of before the switch does not count any more.
    let new = file("widgets", "a.whl", passthrough(), Package::UNRECORDED);
    assert_eq!(
        store.reserve_publication(&new, now(server)).await.unwrap(),
        Err(Changed)
    );
    let id = reserved(server, "widgets", "a.whl", by("joel")).await;
    assert_eq!(
        record(store, "widgets").await.standing,
        Standing::Reserved(Some(owner("joel")))
    );
    assert!(settle(server, id, &REFUSED).await);
    let present = record(store, "widgets").await;
    assert_eq!(
        (present.standing, present.trusted_only),
        (Standing::Unrecorded, true)
    );
    change(server, &switch(false)).await.unwrap();
    assert_eq!(record(store, "widgets").await, Package::UNRECORDED);
    let none = change(server, &switch(false)).await.unwrap();
    assert!(!none[0].is_change());
}

#[tokio::test]
async fn an_owner_and_a_registry_with_packages_cannot_be_removed() {
    let world = ground().await;
    let server = &world.server;
    reserved(server, "widgets", "a.whl", by("mallory")).await;
    change(
        server,
        &[(subject("gadgets"), PackageChange::Own("mallory".to_owned()))],
    )
    .await
    .unwrap();
    server
        .admin("DELETE", "federated-credentials/octo-release", Value::Null)
        .await;
    for (path, named) in [("principals/mallory", 2), ("resource-servers/pypi", 2)] {
        let answer = server.admin("DELETE", path, Value::Null).await;
        assert_eq!(answer.status, 409, "{}", answer.text());
        let body = answer.json();
        assert!(answer.text().contains("package pypi/gadgets"), "{body:#}");
        let packages = body["referrers"].as_array().unwrap();
        let packages = packages.iter().filter(|one| one["kind"] == "packages");
        assert_eq!(packages.count(), named, "{body:#}");
    }
    let transfer = |package: &str| {
        let (from, to) = ("mallory".to_owned(), "joel".to_owned());
        (subject(package), PackageChange::Transfer { from, to })
    };
    change(server, &[transfer("widgets"), transfer("gadgets")])
        .await
        .unwrap();
    let answer = server
        .admin("DELETE", "principals/mallory", Value::Null)
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

#[tokio::test]
async fn whoever_was_removed_meanwhile_gets_no_package() {
    let world = ground().await;
    let server = &world.server;
    let answer = server
        .admin("DELETE", "principals/mallory", Value::Null)
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    let new = file("widgets", "a.whl", by("mallory"), Package::UNRECORDED);
    let tried = server
        .app
        .store
        .reserve_publication(&new, now(server))
        .await
        .unwrap();
    assert_eq!(tried, Err(Changed));
    let mut elsewhere = file("widgets", "a.whl", by("joel"), Package::UNRECORDED);
    elsewhere.registry = "gone".to_owned();
    let tried = server
        .app
        .store
        .reserve_publication(&elsewhere, now(server))
        .await
        .unwrap();
    assert_eq!(tried, Err(Changed));
    assert_eq!(
        server
            .db
            .column::<i64>("SELECT COUNT(*) FROM gateway_publication")
            .await,
        [0]
    );
}

#[tokio::test]
async fn a_name_that_is_given_back_while_others_ask_for_it_has_one_owner_and_counts_what_is_open() {
    let world = ground().await;
    let other = world.server.another_node().await;
    let (one, two) = (&world.server.app.store, &other.app.store);
    let now = world.server.clock.now();
    for round in 0..50 {
        let name = format!("contended-{round}");
        let wheel = reserved(&world.server, &name, "a.whl", by("joel")).await;
        let present = record(one, &name).await;
        let sdist = file(&name, "a.tar.gz", by("joel"), present);
        let foreign = file(&name, "m.whl", by("mallory"), Package::UNRECORDED);
        let (released, mine, others) = tokio::join!(
            one.settle_publication(wheel, &REFUSED, false, None, now),
            two.reserve_publication(&sdist, now),
            one.reserve_publication(&foreign, now),
        );
        assert!(released.unwrap());
        let (mine, others) = (mine.unwrap(), others.unwrap());
        assert!(mine.is_err() || others.is_err(), "two owners at once");
        let row = one.gateway_package("pypi", &name).await.unwrap();
        let Ok(id) = mine.or(others) else {
            assert_eq!(row, None);
            continue;
        };
        let row = row.unwrap();
        let open = one.publications("pypi", &name, None, 10).await.unwrap();
        assert_eq!((row.open, open.len()), (1, 1));
        assert_eq!(row.owner, open[0].owner);
        assert!(
            two.settle_publication(id, &REFUSED, false, None, now)
                .await
                .unwrap()
        );
        assert_eq!(one.gateway_package("pypi", &name).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_transfer_and_an_import_at_the_same_time_end_with_one_of_them_refused() {
    let world = ground().await;
    let other = world.server.another_node().await;
    let now = now(&world.server);
    let acme = json!({ "kind": "organization" });
    world.server.put("principals/acme", acme).await;
    for round in 0..20 {
        let name = format!("moved-{round}");
        reserved(&world.server, &name, "a.whl", by("joel")).await;
        let (from, to) = ("joel".to_owned(), "mallory".to_owned());
        let transfer = [(subject(&name), PackageChange::Transfer { from, to })];
        let import = [(subject(&name), PackageChange::Own("acme".to_owned()))];
        let event = |_: &PackageChanged| {
            carnet::audit::AuditEvent::new(now, carnet::audit::Outcome::Updated)
        };
        let (moved, imported) = tokio::join!(
            world
                .server
                .app
                .store
                .change_packages(&transfer, now, &event),
            other.app.store.change_packages(&import, now, &event),
        );
        assert!(moved.is_ok(), "{moved:?}");
        assert!(
            matches!(imported, Err((0, NotChanged::OtherOwner { .. }))),
            "{imported:?}"
        );
    }
}
