//! Load test of the release server's token endpoint: throughput, latency, CPU time and memory per
//! token.
//!
//! `cargo bench --bench load` starts `carnet serve` on a SQLite file, with durable single use and
//! audit, and sends it distinct RS256 assertions, signed beforehand, over 32 keep-alive
//! connections. It prints tokens per second, latencies, the server's CPU time per token, its peak
//! memory, and the cost of one RSA-2048 verification and one P-256 signature on the same machine.
//!
//! This raw cost is measured between slices of load, so that both see the same conditions: once on
//! one thread, and once with all cores busy, which is how the server works. Compare the ratios;
//! absolute times depend on the machine.
//!
//! `BENCH_PROOFS=1` sends a DPoP proof with every second slice of load, `BENCH_PROOFS=2` with all of
//! them; the tokens with and without one are measured apart.
//!
//! `BENCH_TOKENS`, `BENCH_CREDENTIALS` and `BENCH_CONNECTIONS` set the sizes, `TEST_DATABASE_URL`
//! another database, `BENCH_CARNET` another binary of the server, and `BENCH_UNDER` a program that
//! runs it. The shell command in `BENCH_FILL` adds rows to the database (`DATABASE_URL`) before the
//! server starts. With `BENCH_JSON=1` the last line is a JSON object, which `benches/run` reads.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unchecked_time_subtraction,
    clippy::unwrap_used,
    reason = "a benchmark that fails may panic, and it has to read the real clock"
)]

#[path = "load/server.rs"]
mod server;
mod support;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use carnet_dpop::ProofKey;
use server::Server;
use support::{ISSUER_URL, Population, RawCrypto};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const WARM_UP: usize = 500;
/// Slices of load. The raw cryptography is measured before each of them.
const SLICES: usize = 10;

#[tokio::main]
async fn main() {
    // `cargo test --benches` runs this program too, to show that it still works: with few tokens.
    let trying = std::env::args().any(|argument| argument == "--test")
        || !std::env::args().any(|argument| argument == "--bench");
    let tokens = setting("BENCH_TOKENS", if trying { 50 } else { 30_000 });
    let credentials = setting("BENCH_CREDENTIALS", if trying { 10 } else { 1000 });
    let connections = setting("BENCH_CONNECTIONS", 32);

    let population = Population::new(credentials, 0).await;
    fill(&population);
    let mut requests = sign_requests(&population, tokens + WARM_UP);
    let mut server = Server::start(&population).await;
    println!("{credentials} federated credentials, {tokens} tokens, {connections} connections");
    let ready = server.memory("VmRSS");
    println!("resident when ready: {ready:.1} MB");

    let raw = RawCrypto::new();
    let (mut alone, mut busy) = (Cost::default(), Cost::default());
    drive(&server, requests.split_off(tokens), connections).await;
    let (mut bearer, mut bound) = (Measured::default(), Measured::default());
    let (proofs, key) = (setting("BENCH_PROOFS", 0), ProofKey::generate().unwrap());
    for (number, slice) in requests.chunks(tokens.div_ceil(SLICES)).enumerate() {
        let proved = proofs > 1 || (proofs == 1 && number % 2 == 1);
        // Proofs are made just before they are sent, since a proof is good for a minute.
        let slice: Vec<_> = slice
            .iter()
            .map(|request| {
                if proved {
                    with_proof(request, &key)
                } else {
                    request.clone()
                }
            })
            .collect();
        let measured = if proved { &mut bound } else { &mut bearer };
        alone += measure(&raw, 1);
        busy += measure(
            &raw,
            std::thread::available_parallelism().map_or(1, usize::from),
        );
        let (cpu, start) = (server.cpu(), Instant::now());
        measured
            .latencies
            .extend(drive(&server, slice, connections).await);
        measured.elapsed += start.elapsed();
        measured.cpu += server.cpu() - cpu;
    }
    let peak = server.memory("VmHWM");

    println!("peak memory {peak:.1} MB");
    for (what, measured) in [("bearer", &mut bearer), ("DPoP", &mut bound)] {
        measured.latencies.sort_unstable();
        if !measured.latencies.is_empty() {
            measured.print(what, [alone, busy]);
        }
    }
    if setting("BENCH_JSON", 0) > 0 {
        let line = serde_json::json!({
            "requests": tokens + WARM_UP, "ready_mb": ready, "peak_mb": peak,
            "bearer": bearer.json(), "dpop": bound.json(),
        });
        println!("{line}");
    }
    server.stop();
}

/// Runs the shell command in `BENCH_FILL`, if that is set, with the URL of the filled database as
/// its variable `DATABASE_URL`. It can add further rows before the server starts.
fn fill(population: &Population) {
    let Ok(command) = std::env::var("BENCH_FILL") else {
        return;
    };
    let status = Command::new("sh")
        .arg("-c")
        .arg(&command)
        .env("DATABASE_URL", &population.database_url)
        .status()
        .expect("the shell starts");
    assert!(status.success(), "{command} failed");
}

/// What was measured over the slices of one kind. The latencies have to be sorted before they are
/// read.
#[derive(Debug, Default)]
struct Measured {
    cpu: Duration,
    elapsed: Duration,
    latencies: Vec<Duration>,
}

impl Measured {
    /// Microseconds of the server's CPU time for each token.
    fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.latencies.len() as f64
    }

    fn tokens_per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency in milliseconds that this share of the requests does not exceed.
    fn millis_at(&self, share: f64) -> f64 {
        self.latencies[((self.latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
    }

    fn print(&self, what: &str, raw: [Cost; 2]) {
        let cpu = self.cpu_micros();
        println!(
            "{what}: {:.0} tokens/s, p50 {:.2} ms, p99 {:.2} ms, server CPU {cpu:.1} us a token",
            self.tokens_per_second(),
            self.millis_at(0.5),
            self.millis_at(0.99)
        );
        for (how, cost) in ["one thread", "every core busy"].into_iter().zip(raw) {
            let (verify, sign) = cost.micros();
            println!(
                "  raw crypto, {how}: {:.1} us (RSA-2048 verify {verify:.1} us, P-256 sign {sign:.1} us), ratio {:.2}",
                verify + sign,
                cpu / (verify + sign)
            );
        }
    }

    /// The same for programs, or `null` if there were no such slices.
    fn json(&self) -> serde_json::Value {
        if self.latencies.is_empty() {
            return serde_json::Value::Null;
        }
        serde_json::json!({
            "tokens": self.latencies.len(), "tokens_per_second": self.tokens_per_second(),
            "p50_ms": self.millis_at(0.5), "p99_ms": self.millis_at(0.99), "cpu_us": self.cpu_micros(),
        })
    }
}

/// A number from the environment variable `name`, or `default` if it is unset or not a number.
fn setting(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Complete HTTP requests to the token endpoint, each with an assertion of its own.
fn sign_requests(population: &Population, count: usize) -> Vec<Vec<u8>> {
    (0..count)
            .map(|n| {
                let body = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={}", population.assertion(n));
                format!("POST /token HTTP/1.1\r\nhost: carnet.bench.invalid\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
            })
            .collect()
}

/// The same request with a proof for the token endpoint.
fn with_proof(request: &[u8], key: &ProofKey) -> Vec<u8> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let uri = format!("{ISSUER_URL}/token");
    let proof = key.prove(("POST", &uri), None, None, now.cast_signed());
    let text = std::str::from_utf8(request).unwrap();
    let header = format!("\r\ndpop: {}\r\n\r\n", proof.unwrap());
    text.replacen("\r\n\r\n", &header, 1).into_bytes()
}

/// Sums over many operations: seconds spent verifying and signing, and the number of each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    verify: f64,
    sign: f64,
    calls: f64,
}

impl Cost {
    /// Microseconds per verification and per signature.
    fn micros(self) -> (f64, f64) {
        (self.verify * 1e6 / self.calls, self.sign * 1e6 / self.calls)
    }
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.verify += other.verify;
        self.sign += other.sign;
        self.calls += other.calls;
    }
}

/// Measures the raw cryptography on `threads` threads at once, and sums up.
fn measure(raw: &RawCrypto, threads: usize) -> Cost {
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| slice(raw))).collect();
        running.into_iter().fold(Cost::default(), |mut sum, slice| {
            sum += slice.join().unwrap();
            sum
        })
    })
}

fn slice(raw: &RawCrypto) -> Cost {
    const CALLS: u32 = 1000;
    let verify = Instant::now();
    (0..CALLS).for_each(|_| raw.verify());
    let verify = verify.elapsed().as_secs_f64();
    let sign = Instant::now();
    (0..CALLS).for_each(|_| raw.sign());
    Cost {
        verify,
        sign: sign.elapsed().as_secs_f64(),
        calls: f64::from(CALLS),
    }
}

/// Sends the requests over `connections` connections, each of which waits for the response before
/// it sends the next request. Returns the latency of each request.
async fn drive(server: &Server, requests: Vec<Vec<u8>>, connections: usize) -> Vec<Duration> {
    let requests = Arc::new(requests);
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (requests, next, address) = (requests.clone(), next.clone(), server.address.clone());
        tasks.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut buffer = vec![0u8; 16 * 1024];
            let mut latencies = Vec::new();
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let start = Instant::now();
                stream.write_all(request).await.unwrap();
                read_answer(&mut stream, &mut buffer).await;
                latencies.push(start.elapsed());
            }
            latencies
        }));
    }
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    latencies
}

async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) {
    let mut length = 0;
    loop {
        let read = stream.read(&mut buffer[length..]).await.unwrap();
        assert!(read > 0, "the server closed the connection");
        length += read;
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        let Some(head) = text.find("\r\n\r\n") else {
            continue;
        };
        let lower = text[..head].to_ascii_lowercase();
        let body: usize = lower
            .split("content-length: ")
            .nth(1)
            .unwrap()
            .split("\r\n")
            .next()
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        if length >= head + 4 + body {
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
            return;
        }
    }
}
