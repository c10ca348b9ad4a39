//! The real binary as a process.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tempfile::TempDir;

use super::cpu::Passage;
use super::http::{Response, request, try_request};
use super::poll::{PATIENCE, eventually};
use super::port::free_port;
use super::process::{Process, describe};
use super::redis::Redis;

/// What is to be started.
#[derive(Debug)]
pub struct Builder {
    subcommand: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// Where to listen, if not on a free port.
    listen: Option<SocketAddr>,
    /// The hard limit on file descriptors, if not the caller's.
    descriptors: Option<u32>,
    /// Files that it sees in place of `/etc/hosts` and `/etc/resolv.conf`.
    names: Option<[PathBuf; 2]>,
    /// It has an admin port.
    admin: bool,
    /// Where stderr goes, if not to [`Api::log`].
    stderr: Option<Stdio>,
    /// It listens at all.
    listens: bool,
    /// What it reads from.
    server: Option<Pid>,
    /// For password files.
    folder: TempDir,
}

/// `redis-api` with free ports, as a process. Killed when dropped.
#[derive(Debug)]
pub struct Api {
    process: Process,
    addr: SocketAddr,
    admin: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    server: Option<Pid>,
    collectors: Vec<JoinHandle<()>>,
    _folder: TempDir,
}

/// One plaintext master for both roles, and an API that is ready.
pub fn on_one_master(redis: &Redis, configure: impl FnOnce(Builder) -> Builder) -> Api {
    let builder = Api::serve().read_from(redis).write_to(redis);
    let mut api = configure(builder).start();
    api.wait_ready(PATIENCE);
    api
}

impl Builder {
    pub fn arg(mut self, arg: impl Into<String>) -> Builder {
        self.args.push(arg.into());
        self
    }

    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Builder {
        self.args.extend(args.into_iter().map(String::from));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Builder {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Listens here instead of on a free port.
    pub fn listen_on(mut self, addr: SocketAddr) -> Builder {
        self.listen = Some(addr);
        self
    }

    /// Starts it with so many file descriptors at most.
    pub fn descriptors(mut self, limit: u32) -> Builder {
        self.descriptors = Some(limit);
        self
    }

    /// For a subcommand without an admin port: what is asked of that is asked of `--listen`.
    pub fn without_admin(mut self) -> Builder {
        self.admin = false;
        self
    }

    /// Shows it these files in place of `/etc/hosts` and `/etc/resolv.conf`, in a mount namespace of
    /// its own: what is written into them later is what it finds. Needs the right to make one.
    pub fn names(mut self, hosts: &Path, resolv: &Path) -> Builder {
        self.names = Some([hosts.into(), resolv.into()]);
        self
    }

    /// Sends stderr there; what is on it is not in [`Api::log`].
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Builder {
        self.stderr = Some(stderr.into());
        self
    }

    /// For a subcommand that listens nowhere.
    pub fn without_listen(mut self) -> Builder {
        self.listens = false;
        self.without_admin()
    }

    /// Reads from this server.
    pub fn read_from(self, redis: &Redis) -> Builder {
        let addr = redis.addr().to_string();
        self.role("read", redis, addr)
    }

    /// Reads from this server by another address.
    pub fn read_at(self, addr: &str, redis: &Redis) -> Builder {
        self.role("read", redis, addr.into())
    }

    /// Writes to this server.
    pub fn write_to(self, redis: &Redis) -> Builder {
        let addr = redis.addr().to_string();
        self.role("write", redis, addr)
    }

    /// Writes to this server by another address.
    pub fn write_at(self, addr: &str, redis: &Redis) -> Builder {
        self.role("write", redis, addr.into())
    }

    /// The flags for `role` with this address, and TLS, CA and password file of `redis`.
    fn role(mut self, role: &str, redis: &Redis, addr: String) -> Builder {
        let mut flag = |name: &str, value: Option<String>| {
            self.args.push(format!("--{role}-redis-{name}"));
            self.args.extend(value);
        };
        flag("addr", Some(addr));
        if role == "read" {
            self.server = redis.pid();
        }
        if let Some(ca) = redis.ca() {
            flag("tls", None);
            flag("ca-file", Some(ca.display().to_string()));
        }
        if let Some(password) = redis.password() {
            let file = self.folder.path().join(format!("{role}-password"));
            fs::write(&file, format!("{password}\n")).expect("our folder is writable");
            flag("pass-file", Some(file.display().to_string()));
        }
        self
    }

    /// A file with this text, for flags that name one; it goes with the process.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("our folder is writable");
        path
    }

    /// Starts the process; does not wait for it.
    #[track_caller]
    pub fn start(self) -> Api {
        let listen = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let addr = self.listen.unwrap_or_else(|| listen(free_port()));
        let admin = match self.admin {
            true => listen(free_port()),
            false => addr,
        };
        let mut command = program(self.descriptors, self.names.as_ref());
        // Every flag has a variable: nothing of the caller's environment may leak in.
        command.env_clear();
        for kept in ["PATH", "TMPDIR", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"] {
            if let Some(value) = env::var_os(kept) {
                command.env(kept, value);
            }
        }
        command.arg(&self.subcommand);
        if self.listens {
            command.arg("--listen").arg(addr.to_string());
        }
        if self.admin {
            command.arg("--admin-listen").arg(admin.to_string());
        }
        command.args(&self.args).envs(self.env.iter().cloned());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(self.stderr.unwrap_or_else(Stdio::piped));
        let mut process = Process::spawn(&mut command);
        let log = Arc::new(Mutex::new(Vec::new()));
        let child = process.child();
        let mut collectors = vec![collect(child.stdout.take().expect("stdout is piped"), &log)];
        collectors.extend(child.stderr.take().map(|stderr| collect(stderr, &log)));
        Api {
            process,
            addr,
            admin,
            log,
            server: self.server,
            collectors,
            _folder: self.folder,
        }
    }
}

/// The binary, behind the shell that limits it or gives it other names.
fn program(descriptors: Option<u32>, names: Option<&[PathBuf; 2]>) -> Command {
    let binary = env!("CARGO_BIN_EXE_redis-api");
    let shell = |mut command: Command, script: &str| {
        command.args(["sh", "-c", &format!("{script} && exec \"$0\" \"$@\"")]);
        command.arg(binary);
        command
    };
    match (descriptors, names) {
        (None, None) => Command::new(binary),
        (Some(limit), _) => shell(Command::new("env"), &format!("ulimit -n {limit}")),
        (None, Some([hosts, resolv])) => {
            let mut command = Command::new("unshare");
            command.arg("--mount");
            let (hosts, resolv) = (hosts.display(), resolv.display());
            let bind = |from, to| format!("mount --bind '{from}' {to}");
            let binds = [bind(hosts, "/etc/hosts"), bind(resolv, "/etc/resolv.conf")];
            shell(command, &binds.join(" && "))
        }
    }
}

/// Appends the lines of a pipe to the log, until the process has closed it.
fn collect(pipe: impl Read + Send + 'static, log: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let log = Arc::clone(log);
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            log.lock()
                .expect("no thread panics with the log")
                .push(line);
        }
    })
}

impl Api {
    /// `redis-api serve`.
    pub fn serve() -> Builder {
        Api::subcommand("serve")
    }

    /// Another subcommand that takes `--listen` and `--admin-listen`.
    pub fn subcommand(name: &str) -> Builder {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Builder {
            subcommand: name.into(),
            args: Vec::new(),
            env: Vec::new(),
            listen: None,
            descriptors: None,
            names: None,
            admin: true,
            stderr: None,
            listens: true,
            server: None,
            folder,
        }
    }

    /// Where the API listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where the admin port listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The threads that its reads pass. To be asked once it is ready, and for the server that it
    /// was started with.
    pub fn passage(&self) -> Passage {
        Passage::new(self.process.pid(), self.server)
    }

    /// The lines on stdout and stderr so far.
    pub fn log(&self) -> Vec<String> {
        self.log
            .lock()
            .expect("no thread panics with the log")
            .clone()
    }

    /// Waits for a line in the log that has `text`, and gives it.
    #[track_caller]
    pub fn wait_log(&self, text: &str, timeout: Duration) -> String {
        eventually(timeout, &format!("{text:?} in the log"), || {
            let log = self.log();
            log.iter()
                .find(|line| line.contains(text))
                .cloned()
                .ok_or_else(|| log.join("\n"))
        })
    }

    /// Waits until `/livez` answers `200`.
    #[track_caller]
    pub fn wait_live(&mut self, timeout: Duration) {
        self.wait_probe("/livez", timeout);
    }

    /// Waits until `/readyz` answers `200`.
    #[track_caller]
    pub fn wait_ready(&mut self, timeout: Duration) {
        self.wait_probe("/readyz", timeout);
    }

    #[track_caller]
    fn wait_probe(&mut self, path: &str, timeout: Duration) {
        let admin = self.admin;
        eventually(timeout, &format!("200 from {path}"), || {
            self.check_running();
            match try_request(admin, "GET", path, &[], b"") {
                Ok(response) if response.status == 200 => Ok(()),
                Ok(response) => Err(format!("{} {}", response.status, response.text())),
                Err(error) => Err(format!("{error}; log:\n{}", self.log().join("\n"))),
            }
        });
    }

    /// # Panics
    /// When the process has ended; the message has its log.
    #[track_caller]
    pub fn check_running(&mut self) {
        if let Some(status) = self.process.exit_status() {
            panic!(
                "redis-api ended: {}; log:\n{}",
                describe(status),
                self.log().join("\n")
            );
        }
    }

    /// `GET` on a connection of its own.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        request(self.addr, "GET", path, &[], b"")
    }

    /// `POST` on a connection of its own.
    #[track_caller]
    pub fn post(&self, path: &str, body: &str) -> Response {
        request(self.addr, "POST", path, &[], body.as_bytes())
    }

    /// The value of one sample of `/metrics`, named with its labels: `name{a="b"}`.
    pub fn metric(&self, sample: &str) -> Option<f64> {
        let response = try_request(self.admin, "GET", "/metrics", &[], b"").ok()?;
        let text = response.text();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))?;
        value.trim().parse().ok()
    }

    /// SIGTERM.
    pub fn term(&mut self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// Waits for the process' end.
    ///
    /// # Panics
    /// When it still runs at the deadline.
    #[track_caller]
    pub fn wait_exit(&mut self, timeout: Duration) -> ExitStatus {
        let status = self.process.wait_exit(timeout);
        self.finish_log();
        status
    }

    /// Of one that has ended: waits until the last of its words are in the log.
    fn finish_log(&mut self) {
        for collector in self.collectors.drain(..) {
            collector.join().expect("a collector only reads");
        }
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.term();
        self.wait_exit(PATIENCE)
    }
}

/// A panic is a bug of ours whatever the test looks at: the release build ends by it, with every
/// request in hand. This one only loses a task, so that nobody might notice.
impl Drop for Api {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        self.process.kill();
        self.finish_log();
        let log = self.log();
        let panicked = log.iter().find(|line| line.contains("panicked at"));
        assert_eq!(panicked, None, "log:\n{}", log.join("\n"));
    }
}
