//! The whole path over the loopback: this build's `serve`, one worker, and a real Redis beside it.
//!
//! A round is one request on each keep-alive connection, written one after the other, then the
//! responses read: the time includes this client and the kernel, and client and servers share the
//! machine's cores. So it shows what a change does to the path as a whole; what a request costs the
//! API alone is for `tuning/cost.sh` to say. Times are per round, throughput per request.
//!
//! Needs `redis-server` or `valkey-server` on `PATH`, and says so if there is none.
//!
//! `cargo bench --bench path`, and `-- --quick` for a first look.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test or bench fails by panicking"
)]

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;

/// What a server may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
const BODY: &str = "{\"current\":12.5}";

/// A process that ends with us.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn server_on_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    ["redis-server", "valkey-server"]
        .iter()
        .flat_map(|name| env::split_paths(&path).map(move |folder| folder.join(name)))
        .find(|file| file.is_file())
}

/// A Redis with the value set, and its folder.
fn start_redis(program: PathBuf) -> io::Result<(Process, TempDir, SocketAddr)> {
    let folder = tempfile::tempdir()?;
    // Free when asked for; whoever takes it meanwhile makes the start fail.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let child = Command::new(program)
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--port", &address.port().to_string()])
        .arg("--dir")
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()?;
    let process = Process(child);
    let mut redis = connect(address)?;
    redis.write_all(b"HSET currency current-value 12.5\r\n")?;
    let mut reply = [0; 4];
    redis.read_exact(&mut reply)?;
    assert_eq!(&reply, b":1\r\n");
    Ok((process, folder, address))
}

/// Connects as soon as somebody listens.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let started = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) if started.elapsed() > PATIENCE => return Err(error),
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// The API, ready, and where it listens. Its stderr must be kept: it writes there.
fn start_api(redis: SocketAddr) -> io::Result<(Process, BufReader<ChildStderr>, SocketAddr)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_redis-api"))
        .args(["serve", "--workers", "1", "--listen", "127.0.0.1:0"])
        .args(["--admin-listen", "127.0.0.1:0", "--redis-wait", "30s"])
        .args(["--redis-addr", &redis.to_string()])
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = child.stderr.take();
    let process = Process(child);
    let mut log = BufReader::new(stderr.expect("it was asked for"));
    let mut address = None;
    let mut line = String::new();
    while log.read_line(&mut line)? > 0 {
        if let Some((_, text)) = line.split_once("INFO listening on ") {
            address = text.trim().parse().ok();
        }
        if let (Some(address), true) = (address, line.trim_end().ends_with("INFO ready")) {
            return Ok((process, log, address));
        }
        line.clear();
    }
    Err(io::Error::other("the API ended before it was ready"))
}

/// Keep-alive connections with one request each in flight.
struct Clients {
    connections: Vec<TcpStream>,
    response: Vec<u8>,
}

impl Clients {
    /// Connects, and checks an answer of each connection.
    fn connect(address: SocketAddr, connections: usize) -> io::Result<Self> {
        let mut response = Vec::new();
        let connections: io::Result<Vec<_>> = (0..connections).map(|_| connect(address)).collect();
        let mut connections = connections?;
        for client in &mut connections {
            client.write_all(REQUEST)?;
            response = whole_response(client)?;
            let text = String::from_utf8_lossy(&response);
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
            assert!(text.ends_with(BODY), "{text}");
        }
        Ok(Clients {
            connections,
            response,
        })
    }

    fn round(&mut self) -> io::Result<()> {
        for client in &mut self.connections {
            client.write_all(REQUEST)?;
        }
        for client in &mut self.connections {
            // All are of one length: `Date` is too.
            client.read_exact(&mut self.response)?;
        }
        assert!(self.response.ends_with(BODY.as_bytes()));
        Ok(())
    }
}

/// Reads until the body is there.
fn whole_response(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut response = Vec::new();
    let mut buffer = [0; 4096];
    while !response.ends_with(b"}") {
        match client.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => response.extend_from_slice(&buffer[..n]),
        }
    }
    Ok(response)
}

fn path(criterion: &mut Criterion) {
    let Some(program) = server_on_path() else {
        eprintln!("path: NOT MEASURED: no redis-server on PATH (`make setup` installs it)");
        return;
    };
    let (_redis, _folder, redis) = start_redis(program).expect("Redis starts");
    let (_api, _log, address) = start_api(redis).expect("the API starts");
    let mut group = criterion.benchmark_group("path");
    for connections in [1, 64] {
        let mut clients = Clients::connect(address, connections).expect("the API answers");
        group.throughput(Throughput::Elements(connections as u64));
        group.bench_function(BenchmarkId::from_parameter(connections), |bencher| {
            bencher.iter(|| clients.round().expect("the API answers"));
        });
    }
    group.finish();
}

criterion_group!(benches, path);
criterion_main!(benches);
