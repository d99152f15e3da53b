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
//! `BENCH_PROOFS=1` sends a DPoP proof with every second slice of load, and prints what those tokens
//! cost beside the others.
//!
//! `BENCH_TOKENS`, `BENCH_CREDENTIALS` and `BENCH_CONNECTIONS` set the sizes, `TEST_DATABASE_URL`
//! another database, and `BENCH_UNDER` a program that runs the server.

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

mod support;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use carnet_dpop::ProofKey;
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
    let mut requests = sign_requests(&population, tokens + WARM_UP);
    let mut server = Server::start(&population).await;
    println!("{credentials} federated credentials, {tokens} tokens, {connections} connections");
    println!("resident when ready: {:.1} MB", server.memory("VmRSS"));

    let raw = RawCrypto::new();
    let (mut alone, mut busy) = (Cost::default(), Cost::default());
    drive(&server, requests.split_off(tokens), connections).await;
    let (mut cpu, mut elapsed, mut latencies) = (Duration::ZERO, Duration::ZERO, Vec::new());
    let key = (setting("BENCH_PROOFS", 0) > 0).then(|| ProofKey::generate().unwrap());
    let mut bound = (Duration::ZERO, 0);
    for (number, slice) in requests.chunks(tokens.div_ceil(SLICES)).enumerate() {
        if let Some(key) = key.as_ref().filter(|_| number % 2 == 1) {
            // Made just before they are sent, since a proof is good for a minute.
            let proved = slice
                .iter()
                .map(|request| with_proof(request, key))
                .collect();
            let before = server.cpu();
            drive(&server, proved, connections).await;
            bound.0 += server.cpu() - before;
            bound.1 += slice.len();
            continue;
        }
        alone += measure(&raw, 1);
        busy += measure(
            &raw,
            std::thread::available_parallelism().map_or(1, usize::from),
        );
        let (cpu_before, start) = (server.cpu(), Instant::now());
        latencies.extend(drive(&server, slice.to_vec(), connections).await);
        elapsed += start.elapsed();
        cpu += server.cpu() - cpu_before;
    }
    let memory = server.memory("VmHWM");
    server.stop();

    latencies.sort_unstable();
    let at =
        |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let plain = tokens - bound.1;
    let cpu_per_token = cpu.as_secs_f64() * 1e6 / plain as f64;
    println!(
        "{:.0} tokens/s, p50 {:.2} ms, p99 {:.2} ms",
        plain as f64 / elapsed.as_secs_f64(),
        at(0.5),
        at(0.99)
    );
    println!("server CPU {cpu_per_token:.1} us a token, peak memory {memory:.1} MB");
    if bound.1 > 0 {
        let with_proof = bound.0.as_secs_f64() * 1e6 / bound.1 as f64;
        println!(
            "with a DPoP proof {with_proof:.1} us a token, {:.2} times as much",
            with_proof / cpu_per_token
        );
    }
    for (how, cost) in [("one thread", alone), ("every core busy", busy)] {
        let (verify, sign) = cost.micros();
        println!(
            "raw crypto, {how}: {:.1} us (RSA-2048 verify {verify:.1} us, P-256 sign {sign:.1} us), ratio {:.2}",
            verify + sign,
            cpu_per_token / (verify + sign)
        );
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

/// The server in a process of its own, so that its CPU time and memory can be told apart.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    async fn start(population: &Population) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let process = command()
            .arg("serve")
            .env("CARNET_ISSUER", ISSUER_URL)
            .env("CARNET_SERVER__LISTEN", &address)
            .env("CARNET_DATA_DIR", &population.folder)
            .env("CARNET_DATABASE__URL", &population.database_url)
            .env("CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CREDENTIAL", "0")
            .env("CARNET_LOG__LEVEL", "warn")
            .stdin(Stdio::null())
            .spawn()
            .expect("the server starts");
        let server = Self { process, address };
        for _ in 0..6000 {
            if TcpStream::connect(&server.address).await.is_ok() {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the server did not listen");
    }

    /// User and system time of all threads so far.
    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // These fields of `/proc/<pid>/stat` are in units of 1/100 s (`USER_HZ`), whatever the
        // kernel's tick.
        Duration::from_millis(ticks * 10)
    }

    fn memory(&self, field: &str) -> f64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<f64>()
            .unwrap()
            / 1024.0
    }

    fn stop(&mut self) {
        kill(&self.process);
        self.process.wait().unwrap();
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

/// The server, as a child of the program in `BENCH_UNDER` if that is set. For example
/// `BENCH_UNDER="valgrind --tool=callgrind"` counts instructions.
fn command() -> Command {
    let server = env!("CARGO_BIN_EXE_carnet");
    let Ok(under) = std::env::var("BENCH_UNDER") else {
        return Command::new(server);
    };
    let mut words = under.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words).arg(server);
    command
}

/// Lets the server shut down by itself, so that a program in `BENCH_UNDER` can write its report.
fn kill(process: &Child) {
    Command::new("kill")
        .arg("-TERM")
        .arg(process.id().to_string())
        .status()
        .unwrap();
}
