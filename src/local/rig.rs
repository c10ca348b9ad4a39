//! The table of children, and their life from start to stop.

use std::env;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::crypto::ring;
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::certs::{self, Certs};
use super::child::{Children, Launcher, Spec};
use super::ports::Ports;
use super::probe::Probe;
use super::{ADMIN_PORT, Error, LISTEN_PORT, Options, examine, redis};

/// The replica takes the port where `serve` looks for Redis by default.
const REPLICA_PORT: u16 = 6379;
const MASTER_PORT: u16 = 6380;

/// The name of the child that is the API.
const API: &str = "api";

/// For one child to be ready: milliseconds on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of randomness in the master's password.
const PASSWORD_BYTES: usize = 24;

/// Runs the rig until SIGINT, SIGTERM or SIGHUP, or until a child ends by itself. Must be called on
/// the main thread: the children are killed when the thread that started them ends.
///
/// # Errors
/// A child, port, file or program is missing or failed; all that was started is stopped by then.
pub fn run(options: Options) -> Result<(), Error> {
    let server = redis::find_program(options.redis_server.as_deref())?;
    let program = env::current_exe().map_err(Error::io("find this program's own file"))?;
    let places = Places::choose(&options)?;
    let folder = tempfile::Builder::new()
        .prefix("redis-api-local-")
        .tempdir()
        .map_err(Error::io("make a data folder"))?;
    let launcher = Launcher::start(program.clone(), folder.path())?;
    let specs = table(&places, folder.path(), server, program, &options.serve_args)?;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start the event loop"))?;
    let outcome = runtime.block_on(live(specs, Children::new(launcher), &places, folder));
    // Only readers of pipes are left, whose writers are gone.
    runtime.shutdown_background();
    outcome
}

/// Where everything listens.
#[derive(Clone, Copy, Debug)]
struct Places {
    master: SocketAddr,
    replica: SocketAddr,
    api: SocketAddr,
    admin: SocketAddr,
}

impl Places {
    fn choose(options: &Options) -> Result<Places, Error> {
        let mut ports = Ports::default();
        Ok(Places {
            api: ports.listen(options.listen, LISTEN_PORT)?,
            admin: ports.listen(options.admin_listen, ADMIN_PORT)?,
            replica: ports.loopback(REPLICA_PORT)?,
            master: ports.loopback(MASTER_PORT)?,
        })
    }
}

/// The children in the order of their start; they stop in the opposite one.
fn table(
    places: &Places,
    folder: &Path,
    server: PathBuf,
    program: PathBuf,
    serve_args: &[String],
) -> Result<Vec<Spec>, Error> {
    let certs = certs::create(folder)?;
    let password = password()?;
    let pass_file = certs::write(folder, "password", &password)?;
    let redis_spec = |name, config: String, probe, cure| -> Result<Spec, Error> {
        let own = folder.join(name);
        fs::create_dir(&own).map_err(Error::io(format!("make {}", own.display())))?;
        let config = certs::write(&own, "redis.conf", &config)?;
        Ok(Spec {
            name,
            program: server.clone(),
            args: vec![config.into()],
            folder: own,
            probe,
            timeout: START_TIMEOUT,
            is_shown: false,
            cure,
        })
    };
    let master = redis_spec(
        "master",
        redis::master(places.master, &certs, &password),
        Probe::Accepts(places.master),
        "it needs Redis 6 or newer (or Valkey) built with TLS; --redis-server names another one",
    )?;
    let replica = redis_spec(
        "replica",
        redis::replica(places.replica, places.master, &certs, &password),
        Probe::InSync(places.replica),
        "its output says why it can't follow the master",
    )?;
    let api = Spec {
        name: API,
        program,
        args: serve(places, &certs, &pass_file, serve_args)
            .into_iter()
            .map(Into::into)
            .collect(),
        folder: folder.to_owned(),
        probe: Probe::Ready(places.api_admin()),
        timeout: START_TIMEOUT,
        is_shown: true,
        cure: "its output says what it misses",
    };
    Ok(vec![master, replica, api])
}

impl Places {
    /// The admin port as it is reached from here.
    fn api_admin(&self) -> SocketAddr {
        reachable(self.admin)
    }
}

/// The arguments of `serve`.
fn serve(places: &Places, certs: &Certs, pass_file: &Path, more: &[String]) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    let pairs = [
        ("--listen", places.api.to_string()),
        ("--admin-listen", places.admin.to_string()),
        ("--read-redis-addr", places.replica.to_string()),
        ("--read-role", "replica".into()),
        ("--write-redis-addr", places.master.to_string()),
        ("--write-redis-ca-file", text(&certs.ca)),
        ("--write-redis-pass-file", text(pass_file)),
        // Nobody balances load over a rig, and Ctrl-C is to take effect at once.
        ("--drain-delay", "0s".into()),
        ("--drain-timeout", "1s".into()),
    ];
    let mut args = vec!["serve".to_owned(), "--write-redis-tls".to_owned()];
    args.extend(
        pairs
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value]),
    );
    args.extend_from_slice(more);
    args
}

/// Starts the children in order, waits for the end, and stops them all.
async fn live(
    specs: Vec<Spec>,
    mut children: Children,
    places: &Places,
    folder: TempDir,
) -> Result<(), Error> {
    let mut stop = StopSignals::new().map_err(Error::io("listen for signals"))?;
    say(format_args!(
        "The rig's data folder is {}",
        folder.path().display()
    ));
    let outcome = tokio::select! {
        error = work(specs, &mut children, places) => Err(error),
        () = stop.next() => Ok(()),
    };
    say(format_args!("Stopping."));
    tokio::select! {
        () = children.stop() => {}
        // A second signal: the children go with us, and the janitor removes the folder.
        () = stop.next() => {}
    }
    // Before the janitor, which then finds nothing to do.
    let removed = folder.close().map_err(Error::io("remove the data folder"));
    drop(children);
    outcome.and(removed)
}

/// Ends only by a failure.
async fn work(specs: Vec<Spec>, children: &mut Children, places: &Places) -> Error {
    for spec in specs {
        let (name, program, args) = (spec.name, spec.program.clone(), spec.args.clone());
        match children.start(spec).await {
            Ok(pid) => say(format_args!(
                "{name:8} {} (process {pid}, {})",
                places.of(name),
                program.display()
            )),
            Err(error) => {
                // It runs and can't read: what it misses is on the way to the servers.
                if let Error::Slow { name: API, .. } = error
                    && let Some(said) = examine::report(&program, &args).await
                {
                    say(format_args!("redis-api check says of it:\n{said}"));
                }
                return error;
            }
        }
    }
    say(format_args!(
        "{}",
        Hints {
            api: reachable(places.api),
            admin: reachable(places.admin)
        }
    ));
    children.failure().await
}

impl Places {
    /// Where the child of that name listens, and how.
    fn of(&self, name: &str) -> String {
        match name {
            "master" => format!("{} TLS, password", self.master),
            "replica" => format!("{} plaintext, follows the master over TLS", self.replica),
            _ => format!("http://{}/ admin port http://{}/", self.api, self.admin),
        }
    }
}

/// What to try.
struct Hints {
    api: SocketAddr,
    admin: SocketAddr,
}

impl fmt::Display for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hints { api, admin } = self;
        write!(
            f,
            "\nTry, in another terminal:\n  \
             curl http://{api}/\n  \
             curl -d '{{\"value\":12.5}}' http://{api}/\n  \
             curl http://{api}/\n\n  \
             echo \"GET http://{api}/\" | vegeta attack -rate 1000/1s -duration 10s | vegeta report\n\n\
             Its state: http://{admin}/readyz and http://{admin}/metrics\n\
             Ctrl-C stops all of it."
        )
    }
}

/// An address to connect to: a wildcard is reached by the loopback.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// Random text in hexadecimal digits: it needs no quotes anywhere.
fn password() -> Result<String, Error> {
    let mut bytes = [0; PASSWORD_BYTES];
    let random = ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The signals that end the rig.
struct StopSignals([Signal; 3]);

impl StopSignals {
    fn new() -> io::Result<StopSignals> {
        Ok(StopSignals([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            // The terminal was closed.
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Prints a line; a closed standard output (`| head`) is no reason to stop.
fn say(line: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_differ() {
        let (one, two) = (password().expect("random"), password().expect("random"));
        assert_eq!(one.len(), 2 * PASSWORD_BYTES);
        assert_ne!(one, two);
    }

    #[test]
    fn wildcards_are_reached_by_the_loopback() {
        let check = |addr: &str, expected: &str| {
            let addr: SocketAddr = addr.parse().expect("an address");
            assert_eq!(reachable(addr).to_string(), expected);
        };
        check("0.0.0.0:1", "127.0.0.1:1");
        check("[::]:1", "[::1]:1");
        check("192.0.2.1:1", "192.0.2.1:1");
    }

    #[tokio::test]
    async fn replica_follows_a_real_master() {
        let server = redis::find_program(None).expect("a Redis server: run `make setup`");
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let options = Options {
            listen: any,
            admin_listen: any,
            redis_server: None,
            serve_args: Vec::new(),
        };
        let places = Places::choose(&options).expect("ports are free");
        let mut specs = table(&places, folder.path(), server, "/nowhere".into(), &[])
            .expect("the table can be made");
        specs.truncate(2);
        let mut children = Children::new(Launcher::unguarded());
        for spec in specs {
            // `InSync` of the replica: over TLS, with the password.
            if let Err(error) = children.start(spec).await {
                panic!("{error}");
            }
        }
        children.stop().await;
    }
}
