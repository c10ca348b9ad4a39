//! Starts and ends what is measured: Redis, servers, each pinned. Whatever ends this program ends
//! them too (`setpriv --pdeathsig`).

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::load::{self, Options};
use crate::modes::{Mode, Program, Store};

const VALUE: &str = "12.5";
/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(10);

/// Where things are.
#[derive(clap::Args, Clone, Debug)]
pub struct Places {
    /// Our server.
    #[arg(long, env = "REDIS_API", hide = true)]
    pub api: PathBuf,
    /// Builds of peers.
    #[arg(long, env = "PEERS", hide = true)]
    pub peers: PathBuf,
    /// `benches/peers`.
    #[arg(long, env = "PEERS_SOURCE", hide = true)]
    pub peers_source: PathBuf,
    #[arg(
        long,
        env = "REDIS_SERVER",
        default_value = "redis-server",
        hide = true
    )]
    pub redis_server: PathBuf,
    /// For files of this run.
    #[arg(long, env = "WORK", hide = true)]
    pub work: PathBuf,
    /// The core of servers and Redis.
    #[arg(long, env = "CORE_SERVER", default_value_t = 0, hide = true)]
    pub core_server: usize,
    /// The core of the load.
    #[arg(long, env = "CORE_CLIENT", default_value_t = 1, hide = true)]
    pub core_client: usize,
}

/// A process that ends with its owner.
pub struct Process(pub Child);

impl Process {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command that runs on these cores only, and ends with this program.
pub fn pinned(cores: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "-c", cores]);
    command.arg(program);
    command
}

#[expect(
    clippy::disallowed_methods,
    reason = "nothing else runs on this thread"
)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Asks until it is so, or says why it isn't.
pub fn until<T>(patience: Duration, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + patience;
    loop {
        match ask() {
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => pause(Duration::from_millis(5)),
            done => return done,
        }
    }
}

/// A port of 127.0.0.1 that is free.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

pub struct Redis {
    process: Process,
    port: u16,
    tls_port: u16,
    folder: PathBuf,
}

impl Redis {
    /// On the servers' core, over TCP, TLS and a Unix socket, with the value set.
    pub fn start(places: &Places) -> Result<Self> {
        certificates(&places.work)?;
        let (port, tls_port) = (free_port()?, free_port()?);
        let mut command = pinned(&places.core_server.to_string(), &places.redis_server);
        command
            .current_dir(&places.work)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args([
                "--port",
                &port.to_string(),
                "--tls-port",
                &tls_port.to_string(),
            ])
            .args(["--unixsocket", "redis.sock", "--tls-auth-clients", "no"])
            .args([
                "--tls-cert-file",
                "redis.pem",
                "--tls-key-file",
                "redis.key",
            ])
            .args(["--tls-ca-cert-file", "ca.pem"]);
        let log = places.work.join("redis.log");
        let redis = Self {
            process: spawn(command, &log)?,
            port,
            tls_port,
            folder: places.work.clone(),
        };
        until(START, || redis.set(VALUE))
            .with_context(|| format!("Redis does not start: {}", reason(&log)))?;
        Ok(redis)
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn set(&self, value: &str) -> Result<()> {
        let reply = self.command(&format!("HSET currency current-value {value}"))?;
        ensure!(reply.starts_with(':'), "Redis answers {reply}");
        Ok(())
    }

    /// How often it was asked for the value so far.
    pub fn hgets(&self) -> Result<u64> {
        let stats = self.command("INFO commandstats")?;
        let calls = stats
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_hget:calls=")?.split(',').next());
        Ok(calls.map_or(Ok(0), str::parse)?)
    }

    /// One command, inline; the reply's first line, or a bulk string whole.
    fn command(&self, command: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some(length) = line.strip_prefix('$') else {
            return Ok(line);
        };
        let mut bulk = vec![0; length.trim().parse()?];
        reader.read_exact(&mut bulk)?;
        Ok(String::from_utf8(bulk)?)
    }
}

/// A CA and a certificate of it for 127.0.0.1.
fn certificates(folder: &Path) -> Result<()> {
    let make = |name: &str, more: &[&str]| -> Result<()> {
        let output = Command::new("openssl")
            .current_dir(folder)
            .args(["req", "-x509", "-nodes", "-days", "30", "-newkey", "ec"])
            .args([
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-subj",
                &format!("/CN={name}"),
            ])
            .args([
                "-keyout",
                &format!("{name}.key"),
                "-out",
                &format!("{name}.pem"),
            ])
            .args(more)
            .output()
            .context("cannot run openssl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "openssl makes no certificate: {said}"
        );
        Ok(())
    };
    make("ca", &[])?;
    let more = ["-CA", "ca.pem", "-CAkey", "ca.key"];
    let leaf = [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "basicConstraints=CA:FALSE",
    ];
    make("redis", &[more, leaf].concat())
}

fn spawn(mut command: Command, log: &Path) -> Result<Process> {
    let log = fs::File::create(log)?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let program = command.get_program().to_owned();
    let child = command.spawn();
    Ok(Process(child.with_context(|| {
        format!("cannot run {}", program.display())
    })?))
}

/// Why a program ended, from what it printed: the first line that says error, else the last.
fn reason(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let error = lines.clone().find(|line| line.contains("error"));
    error
        .or_else(|| lines.next_back())
        .unwrap_or("it printed nothing")
        .trim()
        .to_owned()
}

/// A server of a mode, running.
pub struct Server {
    process: Process,
    pub address: SocketAddr,
}

impl Server {
    /// Starts it and waits until it answers what it should.
    pub fn start(places: &Places, redis: &Redis, mode: &Mode) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let cores = match mode.both_cores {
            true => format!("{},{}", places.core_server, places.core_client),
            false => places.core_server.to_string(),
        };
        let (program, arguments) = command_line(places, redis, mode, address)?;
        ensure!(
            program.components().count() == 1 || program.is_file(),
            "{} is not there",
            program.file_name().unwrap_or_default().display()
        );
        let mut command = pinned(&cores, &program);
        command.args(arguments);
        let log = places.work.join("server.log");
        let mut server = Self {
            process: spawn(command, &log)?,
            address,
        };
        let answers = until(START, || {
            if server.process.0.try_wait()?.is_some() {
                return Ok(false);
            }
            load::hold(&server.options(mode)).map(|_| true)
        });
        match answers.with_context(|| reason(&log))? {
            true => Ok(server),
            false => bail!(reason(&log)),
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// One request to it.
    fn options(&self, mode: &Mode) -> Options {
        Options {
            address: self.address,
            connections: 1,
            rate: 1.0,
            seconds: 0.0,
            warm: 0.0,
            path: mode.path.to_owned(),
            post: mode.post.map(str::to_owned),
            expect: mode.answer.to_owned(),
        }
    }

    /// That it reads: a new value in Redis changes its answer, and the old one changes it back.
    pub fn check(&self, redis: &Redis, mode: &Mode) -> Result<()> {
        if mode.store == Store::Constant || mode.post.is_some() {
            return Ok(());
        }
        let other = "13.5";
        let mut options = self.options(mode);
        options.expect = mode.answer.replace(VALUE, other);
        redis.set(other)?;
        let sees = until(Duration::from_secs(2), || load::hold(&options));
        redis.set(VALUE)?;
        sees.context("a new value in Redis does not change its answer")?;
        until(Duration::from_secs(2), || load::hold(&self.options(mode)))?;
        Ok(())
    }
}

/// The program and its arguments.
fn command_line(
    places: &Places,
    redis: &Redis,
    mode: &Mode,
    listen: SocketAddr,
) -> Result<(PathBuf, Vec<String>)> {
    let api = mode.binary.as_ref().unwrap_or(&places.api).clone();
    let listen = listen.to_string();
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|&word| word.to_owned())
            .collect::<Vec<_>>()
    };
    let (program, mut arguments) = match mode.program {
        Program::Helloworld => (api, words(&["helloworld", "--listen", &listen])),
        Program::Serve => {
            let mut arguments = words(&["serve", "--listen", &listen]);
            arguments.extend(words(&["--admin-listen", "127.0.0.1:0", "--redis-addr"]));
            arguments.push(match mode.store {
                Store::Unix => format!("unix://{}/redis.sock", redis.folder.display()),
                Store::Tls => format!("rediss://127.0.0.1:{}", redis.tls_port),
                Store::Tcp | Store::Constant => redis.address(),
            });
            if mode.store == Store::Tls {
                arguments.push(format!("--redis-ca-file={}/ca.pem", redis.folder.display()));
            }
            (api, arguments)
        }
        Program::Peer(name) => (places.peers.join(name), words(&[&listen, &redis.address()])),
        Program::Nginx(configuration) => {
            let file = fill_in(places, redis, &format!("nginx/{configuration}"), &listen)?;
            let log = places.work.join("nginx.log").display().to_string();
            ("nginx".into(), words(&["-c", &file, "-e", &log]))
        }
        Program::Webdis => {
            let file = fill_in(places, redis, "webdis/webdis.json", &listen)?;
            ("webdis".into(), vec![file])
        }
    };
    arguments.extend(mode.flags.iter().cloned());
    Ok((program, arguments))
}

/// A peer's configuration with its @signs@ filled in; gives the file's name.
fn fill_in(places: &Places, redis: &Redis, template: &str, listen: &str) -> Result<String> {
    let text = fs::read_to_string(places.peers_source.join(template))?;
    let (host, port) = listen.split_once(':').context("no port")?;
    let text = text
        .replace("@listen@", listen)
        .replace("@listen_host@", host)
        .replace("@listen_port@", port)
        .replace("@redis_host@", "127.0.0.1")
        .replace("@redis_port@", &redis.port.to_string())
        .replace("@work@", &places.work.display().to_string());
    let file = places.work.join("peer.conf");
    fs::write(&file, text)?;
    Ok(file.display().to_string())
}

/// How a mode is started, for the record: names instead of paths and ports.
pub fn described(mode: &Mode) -> String {
    let flags = mode.flags.join(" ");
    let binary = mode.binary.as_ref().and_then(|path| path.file_name());
    let api = binary.map_or("redis-api".into(), |name| name.to_string_lossy());
    let program = match mode.program {
        Program::Serve => format!("{api} serve {flags}"),
        Program::Helloworld => format!("{api} helloworld {flags}"),
        Program::Peer(name) => name.rsplit('/').next().unwrap_or(name).to_owned(),
        Program::Nginx(configuration) => format!("nginx -c {configuration}"),
        Program::Webdis => "webdis webdis.json".to_owned(),
    };
    let store = match mode.store {
        Store::Constant => "a constant",
        Store::Tcp => "Redis over TCP",
        Store::Unix => "Redis over a Unix socket",
        Store::Tls => "Redis over TLS",
    };
    format!("{program} ({store})")
}
