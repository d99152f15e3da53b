//! Audit events that are sent to where they are kept: at least once, by one replica, across restarts and dead receivers.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use carnet::clock::Timestamp;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, UdpSocket, UnixDatagram};
use uuid::Uuid;

use crate::support::{Collector, TestServer, World, attribute, free_address};

const PATIENCE: Duration = Duration::from_mins(1);
/// Longer than an event may be written after its id is made, in seconds.
const SETTLED: i64 = 400;
/// Longer than one replica sends without being heard of, in seconds.
const LEASE: i64 = 20;

async fn until<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The usual world, whose events are sent to these destinations.
async fn exporting(destinations: &[String]) -> World {
    let export = json!(destinations).to_string();
    let server = TestServer::with(&[("CARNET_AUDIT__EXPORT", &export)]).await;
    // The destination exists from the first look on; what happened before is not sent.
    let count = i64::try_from(destinations.len()).unwrap();
    for _ in 0..600 {
        if server
            .db
            .column::<i64>("SELECT COUNT(*) FROM audit_export")
            .await
            == [count]
        {
            server.clock.advance(1);
            return World::on(server).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing is exported");
}

/// A token, a refusal and a change, a second apart.
async fn happenings(world: &World) -> usize {
    world.server.clock.advance(1);
    world.exchange(&world.good()).await.token();
    world.server.clock.advance(1);
    let elsewhere = world.claims().with("event_name", "pull_request_target");
    assert_eq!(world.exchange_claims(&elsewhere).await.status, 400);
    world.server.app.flush_audit().await;
    world.server.audit("limit=500").await.len()
}

/// The ids of all events in the database.
async fn recorded(world: &World) -> BTreeSet<String> {
    let all = world.server.audit("limit=500").await;
    all.iter().map(id).collect()
}

fn id(event: &Value) -> String {
    event["id"].as_str().unwrap().to_owned()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect()
}

/// The event in a message of syslog; the header has to be that of RFC 5424.
fn event_of(message: &str) -> Value {
    let parts: Vec<&str> = message.splitn(8, ' ').collect();
    let outcome = parts[5];
    let severity = if outcome == "refused" { 4 } else { 6 };
    assert_eq!(parts[0], format!("<{}>1", 13 * 8 + severity), "{message}");
    assert!(
        parts[1].ends_with('Z') && parts[3] == "carnet" && parts[6] == "-",
        "{message}"
    );
    let event: Value = serde_json::from_str(parts[7]).unwrap();
    assert_eq!(
        (&event["outcome"], &event["at"]),
        (&json!(outcome), &json!(parts[1]))
    );
    event
}

/// The messages of a stream with octet counting; whether the stream ends within one is not looked at.
fn frames(mut stream: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(space) = stream.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&stream[..space])
            .unwrap()
            .parse()
            .unwrap();
        let Some(message) = stream.get(space + 1..space + 1 + length) else {
            break;
        };
        all.push(String::from_utf8(message.to_vec()).unwrap());
        stream = &stream[space + 1 + length..];
    }
    all
}

/// A receiver of syslog over TCP.
struct Siem {
    taken: Arc<Mutex<Vec<u8>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Siem {
    async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let into = taken.clone();
        let task = tokio::spawn(async move {
            let mut streams = tokio::task::JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let into = into.clone();
                streams.spawn(async move {
                    let mut buffer = vec![0; 65_536];
                    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                        into.lock().unwrap().extend_from_slice(&buffer[..count]);
                    }
                });
            }
        });
        Self { taken, task }
    }

    fn ids(&self) -> Vec<String> {
        let taken = self.taken.lock().unwrap();
        frames(&taken)
            .iter()
            .map(|message| id(&event_of(message)))
            .collect()
    }

    async fn end(self) {
        self.task.abort();
        self.task.await.unwrap_err();
    }
}

#[tokio::test]
async fn events_are_appended_to_a_file_as_the_admin_api_shows_them_once_each() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let world = exporting(&[format!("file:{}", path.display())]).await;
    let count = happenings(&world).await;
    let read = || lines(&std::fs::read_to_string(&path).unwrap_or_default());
    // Events of the same millisecond have no order, so some are found only when none can come before them any more.
    world.server.clock.advance(SETTLED);
    until("the events", || (read().len() >= count).then_some(())).await;
    assert_eq!(
        read().iter().map(id).collect::<BTreeSet<_>>(),
        recorded(&world).await
    );
    for event in read() {
        let shown = world
            .server
            .admin("GET", &format!("audit-events/{}", id(&event)), Value::Null)
            .await;
        assert_eq!(event, shown.json());
    }
    assert_eq!(read().len(), count, "each once");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // Whoever rotates the file need not tell the server.
    std::fs::rename(&path, folder.path().join("audit.jsonl.1")).unwrap();
    world.server.clock.advance(1);
    world.exchange(&world.good()).await.token();
    until("the next event", || (read().len() == 1).then_some(())).await;
}

#[tokio::test]
async fn many_events_of_one_millisecond_arrive_once_each() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let world = exporting(&[format!("file:{}", path.display())]).await;
    world.server.clock.advance(1);
    for _ in 0..5 {
        for _ in 0..8 {
            world.exchange(&world.good()).await.token();
        }
        // Some are read now, some of the same millisecond come after them.
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    world.server.clock.advance(SETTLED);
    let all = recorded(&world).await;
    let read = || lines(&std::fs::read_to_string(&path).unwrap_or_default());
    until("the events", || (read().len() >= all.len()).then_some(())).await;
    let ids: Vec<String> = read().iter().map(id).collect();
    assert_eq!(
        (ids.len(), ids.into_iter().collect::<BTreeSet<_>>()),
        (all.len(), all)
    );
}

#[tokio::test]
async fn events_wait_for_a_dead_receiver_and_survive_restarts_of_both() {
    let address = free_address();
    let world = exporting(&[format!("syslog:tcp://{address}")]).await;
    happenings(&world).await;
    let assertion = world.good();
    let began = Instant::now();
    world.exchange(&assertion).await.token();
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    let siem = Siem::at(&address).await;
    world.server.clock.advance(SETTLED);
    let all = recorded(&world).await;
    let has_all = |siem: &Siem, all: &BTreeSet<String>| {
        let ids: BTreeSet<String> = siem.ids().into_iter().collect();
        all.is_subset(&ids).then_some(())
    };
    until("what waited", || has_all(&siem, &all)).await;
    // The receiver restarts; whatever was sent into the dead connection is sent again.
    siem.end().await;
    world.server.clock.advance(1);
    world.exchange(&world.good()).await.token();
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.exchange(&world.good()).await.token();
    let siem = Siem::at(&address).await;
    world.server.clock.advance(SETTLED);
    let new: BTreeSet<String> = recorded(&world).await.difference(&all).cloned().collect();
    until("what the receiver missed", || has_all(&siem, &new)).await;
    // The server restarts, and its successor goes on where it stopped.
    let World { server, .. } = world;
    let next = server.another_node().await;
    drop(server);
    next.clock.advance(LEASE);
    let elsewhere = [("grant_type", "none")];
    next.form("/token", &elsewhere).await;
    next.put("principals/later", json!({ "kind": "user" }))
        .await;
    next.clock.advance(SETTLED);
    let later = next.audit("limit=1").await;
    assert_eq!(later[0]["detail"]["name"], "later");
    until("what came after the restart", || {
        has_all(&siem, &BTreeSet::from([id(&later[0])]))
    })
    .await;
    assert!(
        siem.ids().len() < 3 * all.len() + 20,
        "not everything is sent again: {}",
        siem.ids().len()
    );
}

#[tokio::test]
async fn of_two_replicas_one_sends_and_the_other_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let world = exporting(&[format!("file:{}", path.display())]).await;
    let other = world.server.another_node().await;
    for _ in 0..5 {
        world.server.clock.advance(1);
        world.exchange(&world.good()).await.token();
    }
    // The clock stays within the lease: whoever takes over sends again what the other one sent at once.
    let all = recorded(&world).await;
    let read = || lines(&std::fs::read_to_string(&path).unwrap_or_default());
    until("the events", || (read().len() >= all.len()).then_some(())).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(read().len(), all.len(), "each once");
    let World { server, .. } = world;
    drop(server);
    other.clock.advance(LEASE);
    other
        .put("principals/later", json!({ "kind": "user" }))
        .await;
    until("what the other sends", || {
        read()
            .iter()
            .any(|event| event["detail"]["name"] == "later")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_destination_is_taken_over_when_the_lease_of_the_other_replica_ends_and_not_before() {
    let server = TestServer::start().await;
    let store = &server.app.store;
    let at = Timestamp::from_seconds;
    let hold = async |holder: &str, now: i64| {
        let destination = ("file:/audit.jsonl", Uuid::nil());
        let until = at(now + LEASE);
        let held = store.hold_export(destination, holder, at(now), until).await;
        held.unwrap()
    };
    assert_eq!(hold("one", 1_000).await, Some(Uuid::nil()));
    assert_eq!(hold("other", 1_000 + LEASE - 1).await, None);
    assert_eq!(
        hold("one", 1_000 + LEASE - 1).await,
        Some(Uuid::nil()),
        "its own lease goes on"
    );
    assert_eq!(hold("other", 1_000 + LEASE).await, None);
    let sent = Uuid::from_u128(7);
    let note = async |holder: &str| {
        let noted = store
            .set_exported_up_to("file:/audit.jsonl", holder, sent)
            .await;
        noted.unwrap();
    };
    note("other").await;
    assert_eq!(
        hold("other", 1_000 + 2 * LEASE).await,
        Some(Uuid::nil()),
        "only the holder notes"
    );
    note("other").await;
    assert_eq!(hold("other", 1_000 + 2 * LEASE).await, Some(sent));
    assert_eq!(hold("one", 1_000 + 2 * LEASE).await, None);
}

#[tokio::test]
async fn datagrams_and_log_records_have_the_same_events() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("log");
    let (udp, unix) = (
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
        UnixDatagram::bind(&socket).unwrap(),
    );
    let collector = Collector::start().await;
    let export = json!([
        format!("syslog:udp://{}", udp.local_addr().unwrap()),
        format!("syslog:unix:{}", socket.display()),
        "otlp",
    ]);
    let server = TestServer::with(&[
        ("CARNET_AUDIT__EXPORT", &export.to_string()),
        ("CARNET_TELEMETRY__OTLP_ENDPOINT", &collector.url),
    ])
    .await;
    for _ in 0..600 {
        if server
            .db
            .column::<i64>("SELECT COUNT(*) FROM audit_export")
            .await
            == [3]
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.clock.advance(1);
    server
        .put("principals/joel", json!({ "kind": "user" }))
        .await;
    let event = server.audit("limit=1").await.remove(0);
    let mut buffer = vec![0; 65_536];
    let read = tokio::time::timeout(PATIENCE, udp.recv(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        event_of(std::str::from_utf8(&buffer[..read]).unwrap()),
        event
    );
    let read = tokio::time::timeout(PATIENCE, unix.recv(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        event_of(std::str::from_utf8(&buffer[..read]).unwrap()),
        event
    );
    let record = collector.logs(1).await.remove(0);
    assert_eq!(
        (record.event_name.as_str(), record.severity_number),
        ("carnet.audit", 9)
    );
    assert_eq!(
        attribute(&record.attributes, "carnet.audit.id"),
        Some(id(&event))
    );
    let body = format!("{:?}", record.body);
    assert!(
        body.contains("principals") || body.contains("joel"),
        "{body}"
    );
}

#[tokio::test]
async fn a_refusal_that_is_repeated_is_sent_again_with_its_new_count() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let world = exporting(&[format!("file:{}", path.display())]).await;
    let refuse = async || {
        let elsewhere = world.claims().with("event_name", "pull_request_target");
        assert_eq!(world.exchange_claims(&elsewhere).await.status, 400);
        world.server.app.flush_audit().await;
    };
    world.server.clock.advance(1);
    refuse().await;
    let counts = || {
        let all = lines(&std::fs::read_to_string(&path).unwrap_or_default());
        let refused = all.iter().filter(|event| event["outcome"] == "refused");
        refused
            .map(|event| (id(event), event["count"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    until("the first refusal", || (!counts().is_empty()).then_some(())).await;
    world.server.clock.advance(5);
    refuse().await;
    refuse().await;
    world.server.clock.advance(90);
    until("the new count", || (counts().len() == 2).then_some(())).await;
    let counts = counts();
    assert_eq!((counts[0].1, counts[1].1), (1, 3));
    assert_eq!(counts[0].0, counts[1].0);
}
