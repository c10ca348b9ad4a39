//! Real Redis (or Valkey) servers on the loopback.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::certs::{Certs, Pair};
use super::poll::{PATIENCE, eventually};
use super::port::free_port;
use super::process::{Process, describe, find_program};

/// How long one `redis-cli` may take; a frozen server never answers it.
const CLI_TIMEOUT: Duration = Duration::from_secs(5);

/// What a server's clients and replicas need to trust it, and what it shows them.
#[derive(Clone, Debug)]
struct Tls {
    ca: PathBuf,
    pair: Pair,
}

/// What is to be started.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    /// The server's binary, if not the one on PATH.
    program: Option<PathBuf>,
    tls: Option<Tls>,
    password: Option<String>,
    master: Option<Upstream>,
    unix_socket: bool,
    config: Vec<String>,
}

#[derive(Clone, Debug)]
struct Upstream {
    port: u16,
    password: Option<String>,
    tls: Option<Tls>,
}

/// A running Redis server with a data folder of its own. Killed when dropped.
#[derive(Debug)]
pub struct Redis {
    builder: Builder,
    port: u16,
    folder: TempDir,
    process: Option<Process>,
    /// `INFO`s of ours since it was started.
    infos: AtomicU64,
}

impl Builder {
    /// Runs this binary instead of the one on PATH.
    pub fn program(mut self, program: &Path) -> Builder {
        self.program = Some(program.into());
        self
    }

    /// Only TLS on the port, with the good leaf of `certs`.
    pub fn tls(self, certs: &Certs) -> Builder {
        let pair = certs.leaf.clone();
        self.tls_with(certs, pair)
    }

    /// Only TLS on the port, with another certificate than the good one.
    pub fn tls_with(mut self, certs: &Certs, pair: Pair) -> Builder {
        self.tls = Some(Tls {
            ca: certs.ca.clone(),
            pair,
        });
        self
    }

    /// `requirepass`.
    pub fn password(mut self, password: &str) -> Builder {
        self.password = Some(password.into());
        self
    }

    /// Replicates from `master`, with its password, and over TLS where it wants that.
    pub fn replica_of(mut self, master: &Redis) -> Builder {
        self.master = Some(Upstream {
            port: master.port,
            password: master.builder.password.clone(),
            tls: master.builder.tls.clone(),
        });
        self
    }

    /// Listens on [`Redis::socket`] too.
    pub fn unix_socket(mut self) -> Builder {
        self.unix_socket = true;
        self
    }

    /// One more line for the configuration file.
    pub fn config(mut self, line: &str) -> Builder {
        self.config.push(line.into());
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    /// When there is no Redis server on PATH, or when it ends or stays silent; the message has its
    /// log.
    #[track_caller]
    pub fn start(self) -> Redis {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut redis = Redis {
            builder: self,
            port: free_port(),
            folder,
            process: None,
            infos: AtomicU64::new(0),
        };
        redis.start();
        redis
    }

    fn config_text(&self, port: u16) -> String {
        let mut text = String::from(
            "bind 127.0.0.1\nsave \"\"\nrepl-diskless-sync-delay 0\nlogfile redis.log\n",
        );
        let mut line = |name: &str, value: &str| {
            writeln!(text, "{name} {value}").expect("a String takes all");
        };
        match &self.tls {
            None => line("port", &port.to_string()),
            Some(_) => {
                line("port", "0");
                line("tls-port", &port.to_string());
                line("tls-auth-clients", "no");
            }
        }
        // A replica needs a certificate of its own even without a TLS port.
        let upstream_tls = self.master.as_ref().and_then(|master| master.tls.as_ref());
        if let Some(Tls { ca, pair }) = self.tls.as_ref().or(upstream_tls) {
            line("tls-ca-cert-file", &quoted(ca));
            line("tls-cert-file", &quoted(&pair.cert));
            line("tls-key-file", &quoted(&pair.key));
        }
        if let Some(password) = &self.password {
            line("requirepass", &format!("\"{password}\""));
        }
        if let Some(master) = &self.master {
            // Servers before Redis 5 know only the old word, which all others know too.
            let word = match self.program {
                Some(_) => "slaveof",
                None => "replicaof",
            };
            line(word, &format!("127.0.0.1 {}", master.port));
            if let Some(password) = &master.password {
                line("masterauth", &format!("\"{password}\""));
            }
            if master.tls.is_some() {
                line("tls-replication", "yes");
            }
        }
        if self.unix_socket {
            line("unixsocket", "redis.sock");
        }
        for extra in &self.config {
            line(extra, "");
        }
        text
    }
}

impl Redis {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A plaintext server without a password.
    #[track_caller]
    pub fn start_plain() -> Redis {
        Redis::builder().start()
    }

    /// Of its process, if it runs.
    pub fn pid(&self) -> Option<Pid> {
        self.process.as_ref().map(Process::pid)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub fn password(&self) -> Option<&str> {
        self.builder.password.as_deref()
    }

    /// The CA file to trust when the server speaks TLS.
    pub fn ca(&self) -> Option<&PathBuf> {
        self.builder.tls.as_ref().map(|tls| &tls.ca)
    }

    /// The Unix socket, where the builder asked for one.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// What the server has logged since its first start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("redis.log")).unwrap_or_default()
    }

    /// Runs `redis-cli` (the server's own client: nothing of ours is trusted here), with TLS and
    /// password as needed, and gives its raw output without the last newline: an error reply is
    /// its text, nil is empty.
    ///
    /// # Panics
    /// When the server can't be asked within some seconds.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> String {
        match self.try_cli(args) {
            Ok(output) => output,
            Err(error) => panic!("{error}; the server's log:\n{}", self.log()),
        }
    }

    /// As [`Redis::cli`]; an error says why the server couldn't be asked.
    pub fn try_cli(&self, args: &[&str]) -> Result<String, String> {
        if args.first() == Some(&"INFO") {
            self.infos.fetch_add(1, Ordering::Relaxed);
        }
        let program = find_program(&["redis-cli", "valkey-cli"]).map_err(|e| e.to_string())?;
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if let Some(Tls { ca, pair }) = &self.builder.tls {
            // Of the server's certificate only the CA matters here: it may have a wrong name.
            command.args(["--tls", "--insecure", "--cacert"]).arg(ca);
            command
                .arg("--cert")
                .arg(&pair.cert)
                .arg("--key")
                .arg(&pair.key);
        }
        if let Some(password) = &self.builder.password {
            command.env("REDISCLI_AUTH", password);
        }
        let output = run(command.args(args), CLI_TIMEOUT)?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(format!("redis-cli: {}: {why}", describe(output.status)));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    }

    /// The value of one line of `INFO section`.
    pub fn info(&self, section: &str, name: &str) -> Option<String> {
        let text = self.try_cli(&["INFO", section]).ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim_end().to_owned())
    }

    /// How often `command` (in small letters) has been run, by whomever, as the server counts it.
    #[track_caller]
    pub fn calls(&self, command: &str) -> u64 {
        let ours = self.infos.load(Ordering::Relaxed);
        let stats = self.cli(&["INFO", "commandstats"]);
        let calls = |command: &str| -> u64 {
            let name = format!("cmdstat_{command}:calls=");
            let line = stats.lines().find_map(|line| line.strip_prefix(&name));
            let count = line.and_then(|line| line.split(',').next()?.parse().ok());
            count.unwrap_or(0)
        };
        // With three of its `INFO`s the API sends one `HGET` that nobody asked it for.
        let probes = match command {
            "hget" => calls("info").saturating_sub(ours) / 3,
            _ => 0,
        };
        calls(command).saturating_sub(probes)
    }

    /// Waits until the link to the master is up. The newest values may still be on their way:
    /// wait for those with [`eventually`].
    #[track_caller]
    pub fn wait_synced(&self) {
        eventually(PATIENCE, "the replica is in sync", || {
            match self.info("replication", "master_link_status").as_deref() {
                Some("up") => Ok(()),
                other => Err(format!(
                    "master_link_status is {other:?}; log:\n{}",
                    self.log()
                )),
            }
        });
    }

    /// SIGKILL: the data in memory is lost.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::SIGTERM);
            process.wait_exit(PATIENCE);
        }
    }

    /// Starts the server again with the same port and folder; kills it first if it runs.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        self.infos.store(0, Ordering::Relaxed);
        self.start();
    }

    /// SIGSTOP: connections stay open, nothing is answered.
    pub fn freeze(&mut self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn thaw(&mut self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&mut self, signal: Signal) {
        self.process
            .as_mut()
            .expect("the server runs")
            .signal(signal);
    }

    #[track_caller]
    fn start(&mut self) {
        let program = match &self.builder.program {
            Some(program) => Ok(program.clone()),
            None => find_program(&["redis-server", "valkey-server"]),
        };
        let program = program.unwrap_or_else(|error| panic!("{error}"));
        let config = self.folder.path().join("redis.conf");
        fs::write(&config, self.builder.config_text(self.port)).expect("our folder is writable");
        let mut command = Command::new(program);
        command.arg(&config).current_dir(self.folder.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut process = Process::spawn(&mut command);
        eventually(PATIENCE, "the Redis server answers", || {
            if let Some(status) = process.exit_status() {
                panic!(
                    "the Redis server ended: {}; log:\n{}",
                    describe(status),
                    self.log()
                );
            }
            // Any reply will do: a replica that is not in sync may answer all with an error.
            self.try_cli(&["PING"])
        });
        self.process = Some(process);
    }
}

/// A path as one word of a configuration file.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

/// Runs a command to its end; kills it at the deadline.
fn run(command: &mut Command, timeout: Duration) -> Result<Output, String> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("can't start {:?}: {error}", command.get_program()))?;
    let pid = Pid::from_raw(child.id().try_into().map_err(|_| "process id")?);
    let (done, output) = mpsc::sync_channel(1);
    let waiter = thread::spawn(move || {
        // The receiver is gone only after a timeout, when nobody wants the output.
        let _ = done.send(child.wait_with_output());
    });
    let outcome = output.recv_timeout(timeout);
    if outcome.is_err() {
        let _ = kill(pid, Signal::SIGKILL);
    }
    let _ = waiter.join();
    match outcome {
        Ok(output) => output.map_err(|error| error.to_string()),
        Err(_) => Err(format!(
            "{:?}: no end within {timeout:?}",
            command.get_program()
        )),
    }
}
