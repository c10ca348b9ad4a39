//! `redis-api sync-auth`: keeps one Redis server beside it equal to the mounted files, and a
//! replica at the address that its master's name has.
//!
//! Invariants:
//! - The running server is told, and never restarted: connections that stand go on.
//! - The files are the truth. After each connect the server is told everything, since one that was
//!   restarted has what it started with.
//! - What the server refuses, or a file that is of no use, leaves the server with what it had. That
//!   is said once, and tried again.
//! - It never gives up, and never makes a master a replica.
//! - No secret is in a log line.
//! - It is small: one thread and a pool for what blocks, one connection, one look a second.
//!
//! Non-goals: watching several servers; telling a server anything that no file says.

mod acl;
mod change;
mod files;
mod master;
mod server;

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use self::acl::User;
use self::change::{Synced, Warnings};
use self::files::{Certificates, Contents, FileError, Paths};
use self::master::{Role, Watch};
use self::server::Server;
use crate::file::Look;
use crate::metrics::{self, RoleMetrics};
use crate::net::endpoint::{Secret, SetOptions};
use crate::net::session::{OpenError, Opening, Session};
use crate::net::{Credentials, Resolver};
use crate::worker::Termination;
use redis_api_wire::conn::{Error, backoff};

/// The name shown by `CLIENT LIST`.
const CLIENT_NAME: &str = "redis-api-sync-auth";

/// Between two looks at the files; also how soon a lost connection is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Files in memory are read in microseconds: past this, their file system hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

/// Looks between two lookups of the master's name.
const LOOKUP_EVERY: u32 = 5;

/// Longest wait between attempts to connect; and for a server on this host, where no other host's
/// clients can be drowned.
const CAP: Duration = Duration::from_secs(10);
const CAP_LOCAL: Duration = Duration::from_secs(1);

/// A connection that stood this long counts as a success: the next wait starts small again.
const SETTLED: Duration = Duration::from_secs(2);

/// Threads for what blocks: the server's name, the master's, and the files.
const BLOCKING_THREADS: usize = 3;

/// What to keep equal.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server. One connection is made, however many are allowed here.
    pub server: SetOptions,
    /// Whom a replica logs in to its master as; `None`: as it was started.
    pub masteruser: Option<String>,
    /// Holds the password that a replica logs in to its master with.
    pub masterauth_file: Option<PathBuf>,
    /// Settings of the server that name certificate files, and the paths, which must be right for
    /// the server too.
    pub tls: Vec<(&'static str, String)>,
    /// Holds the server's users.
    pub acl_file: Option<PathBuf>,
    /// Name and port of a replica's master.
    pub master: Option<(String, u16)>,
}

/// Keeps the server equal until the process is told to end.
///
/// # Errors
/// The system refuses an event loop or a signal handler.
pub fn run(options: Options) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let resolver = Resolver::new(runtime.handle().clone());
    let outcome = runtime.block_on(async {
        let mut termination = Termination::listen()?;
        tokio::select! {
            () = Sync::new(options, resolver).run() => {}
            signal = termination.arrived() => tracing::info!("{signal}: ending"),
        }
        Ok(())
    });
    // A lookup or a file that hangs must not hold the exit up.
    runtime.shutdown_background();
    outcome
}

struct Sync {
    options: Options,
    resolver: Resolver,
    credentials: Credentials,
    paths: Arc<Paths>,
    look: Look<Contents>,
    warnings: Warnings,
    masterauth: Synced<Secret>,
    certificates: Synced<Certificates>,
    users: Synced<Vec<User>>,
    watch: Option<Watch>,
    /// A lookup of the master's name that is under way.
    lookup: Option<JoinHandle<io::Result<Vec<std::net::SocketAddr>>>>,
    random: fastrand::Rng,
}

impl Sync {
    fn new(options: Options, resolver: Resolver) -> Self {
        // Nothing is counted here, but credentials count.
        let uncounted = RoleMetrics::new(Arc::default(), metrics::Side::Read);
        let master = options.master.as_ref();
        let paths = Paths {
            masterauth: options.masterauth_file.clone(),
            certificates: options.tls.iter().map(|(_, path)| path.into()).collect(),
            users: options.acl_file.clone(),
        };
        Sync {
            credentials: Credentials::new("sync-auth", uncounted),
            paths: Arc::new(paths),
            look: Look::default(),
            warnings: Warnings::default(),
            masterauth: Synced::default(),
            certificates: Synced::default(),
            users: Synced::default(),
            watch: master.map(|(host, port)| Watch::new(host, *port)),
            lookup: None,
            random: fastrand::Rng::new(),
            options,
            resolver,
        }
    }

    /// Never returns.
    async fn run(mut self) {
        let address = self.options.server.endpoint.address.clone();
        let cap = if address.is_local() { CAP_LOCAL } else { CAP };
        let mut failures = 0;
        loop {
            let why = match self.connect().await {
                Ok(session) => {
                    tracing::info!("connected to {address}");
                    self.warnings.end("connection");
                    let began = Instant::now();
                    let why = self.keep(Server::new(session)).await;
                    if began.elapsed() >= SETTLED {
                        failures = 0;
                    }
                    format!("the connection to {address} ended: {why}; reconnecting")
                }
                Err(why) => format!("{address}: {why}; retrying"),
            };
            self.warnings.warn("connection", &why);
            sleep(backoff::full_jitter(failures, cap, self.random.f64())).await;
            failures = failures.saturating_add(1);
        }
    }

    async fn connect(&self) -> Result<Session, String> {
        let set = &self.options.server;
        let deadline = Instant::now() + set.connect_timeout;
        let opening = Opening {
            set,
            credentials: &self.credentials,
            client_name: CLIENT_NAME,
            resolver: &self.resolver,
            clock: &Rc::default(),
            wall_clock: SystemTime::now,
        };
        let session = Session::open(opening, deadline);
        let explained = |error: OpenError| error.explain(&set.endpoint).to_string();
        session.await.map_err(explained)
    }

    /// Keeps the server equal until the connection ends; why it did.
    async fn keep(&mut self, mut server: Server) -> Error {
        self.masterauth.forget();
        self.certificates.forget();
        self.users.forget();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0_u32;
        loop {
            looks.tick().await;
            if let Err(error) = self.look(&mut server, number).await {
                return error;
            }
            number = number.wrapping_add(1);
        }
    }

    async fn look(&mut self, server: &mut Server, number: u32) -> Result<(), Error> {
        let paths = self.paths.clone();
        let read = move || files::read_all(&paths);
        let found = self.look.next(self.resolver.pool(), READ_TIMEOUT, read);
        match found.await {
            Some(contents) => {
                self.warnings.end("files");
                self.tell(server, contents).await?;
            }
            None => self.warnings.warn(
                "files",
                "the files can't be read in time: their file system hangs; the server keeps what \
                 it has",
            ),
        }
        if number.is_multiple_of(LOOKUP_EVERY) {
            self.look_up();
        }
        self.follow_master(server).await?;
        server.ping().await
    }

    /// Users first: a relay must accept a password before another one sends it.
    async fn tell(&mut self, server: &mut Server, contents: Contents) -> Result<(), Error> {
        if let Some(users) = self.usable(contents.users, "users") {
            self.tell_users(server, users).await?;
        }
        if let Some(certificates) = self.usable(contents.certificates, "certificates") {
            self.tell_certificates(server, certificates).await?;
        }
        if let Some(password) = self.usable(contents.masterauth, "masterauth") {
            self.tell_masterauth(server, password).await?;
        }
        Ok(())
    }

    /// What a file holds; says once what is wrong with it.
    fn usable<T>(&mut self, found: Option<Result<T, FileError>>, what: &str) -> Option<T> {
        let topic = format!("file of {what}");
        match found? {
            Ok(found) => {
                self.warnings.end(&topic);
                Some(found)
            }
            Err(trouble) => {
                let text = format!("{trouble}; the server keeps the {what} that it has");
                self.warnings.warn(&topic, &text);
                None
            }
        }
    }

    async fn tell_masterauth(
        &mut self,
        server: &mut Server,
        password: Secret,
    ) -> Result<(), Error> {
        if !self.masterauth.is_due(&password, now()) {
            return Ok(());
        }
        let user = self.options.masteruser.as_deref();
        let user = user.map(|user| ("masteruser", user));
        let settings: Vec<_> = (user.into_iter())
            .chain([("masterauth", password.reveal())])
            .collect();
        match server.set(&settings).await? {
            Ok(()) => {
                self.masterauth.take(password);
                self.warnings.end("masterauth");
                tracing::info!("masterauth set");
            }
            Err(refusal) => {
                let said = refusal.without(password.reveal());
                let text = format!("masterauth not set: {said}");
                self.masterauth.refuse(password, now());
                self.warnings.warn("masterauth", &text);
            }
        }
        Ok(())
    }

    async fn tell_certificates(
        &mut self,
        server: &mut Server,
        certificates: Certificates,
    ) -> Result<(), Error> {
        if !self.certificates.is_due(&certificates, now()) {
            return Ok(());
        }
        let paths = self.options.tls.iter();
        let settings: Vec<_> = paths.map(|(name, path)| (*name, path.as_str())).collect();
        let paths: Vec<_> = settings.iter().map(|(_, path)| *path).collect();
        let paths = paths.join(", ");
        match server.set(&settings).await? {
            Ok(()) => {
                self.certificates.take(certificates);
                self.warnings.end("certificates");
                tracing::info!("certificates set: {paths}");
            }
            Err(refusal) => {
                self.certificates.refuse(certificates, now());
                let text = format!(
                    "certificates not set ({paths}): {refusal}; the server's log says more; it keeps \
                     those that it has"
                );
                self.warnings.warn("certificates", &text);
            }
        }
        Ok(())
    }

    async fn tell_users(&mut self, server: &mut Server, wanted: Vec<User>) -> Result<(), Error> {
        if !self.users.is_due(&wanted, now()) {
            return Ok(());
        }
        let own = self.options.server.endpoint.username.as_deref();
        let own = own.unwrap_or("default");
        let known = self.users.taken().map_or(&[][..], Vec::as_slice);
        let (mut set, mut is_complete) = (Vec::new(), true);
        for user in acl::changed(&wanted, known, own) {
            let topic = format!("user {}", user.name);
            match server.set_user(user).await? {
                Ok(()) => {
                    self.warnings.end(&topic);
                    set.push(user.name.as_str());
                }
                Err(said) => {
                    is_complete = false;
                    let text = format!("{topic} not set: {said}; it stays as it is");
                    self.warnings.warn(&topic, &text);
                }
            }
        }
        if !set.is_empty() {
            tracing::info!("users set: {}", set.join(", "));
        }
        match server.delete_leavers(&wanted, own).await? {
            Ok(gone) => {
                self.warnings.end("leavers");
                if !gone.is_empty() {
                    tracing::info!("users deleted: {}", gone.join(", "));
                }
            }
            Err(refusal) => {
                is_complete = false;
                let text = format!("users that are not in the file stay: {refusal}");
                self.warnings.warn("leavers", &text);
            }
        }
        match is_complete {
            true => self.users.take(wanted),
            false => self.users.refuse(wanted, now()),
        }
        Ok(())
    }

    /// Begins to look the master's name up, unless that is under way.
    fn look_up(&mut self) {
        if let (Some(watch), None) = (&self.watch, &self.lookup) {
            let (host, port) = (watch.host().to_owned(), watch.port());
            let resolver = self.resolver.clone();
            self.lookup = Some(tokio::spawn(
                async move { resolver.lookup(&host, port).await },
            ));
        }
    }

    /// Once a lookup is done: has a replica follow its master's name.
    async fn follow_master(&mut self, server: &mut Server) -> Result<(), Error> {
        let (Some(watch), Some(lookup)) = (
            &mut self.watch,
            self.lookup.take_if(|lookup| lookup.is_finished()),
        ) else {
            return Ok(());
        };
        let name = watch.host();
        let addresses = match lookup.await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => {
                let text = format!("can't resolve {name} (--master-addr): {error}; retrying");
                self.warnings.warn("lookup", &text);
                return Ok(());
            }
            // The runtime ends.
            Err(_) => return Ok(()),
        };
        self.warnings.end("lookup");
        let link = match server.role().await? {
            Ok(Role::Replica(link)) => link,
            Ok(Role::Master) => {
                let text = "the server is a master, and stays one: --master-addr is for a \
                            replica; start it with replicaof, or leave the flag out";
                self.warnings.warn("role", text);
                return Ok(());
            }
            Err(refusal) => {
                let text = format!("can't see where it replicates from: {refusal}");
                self.warnings.warn("role", &text);
                return Ok(());
            }
        };
        self.warnings.end("role");
        let Some(next) = watch.judge(&link, &addresses, now()) else {
            return Ok(());
        };
        match server.replicate_from(next).await? {
            Ok(()) => {
                self.warnings.end("replicaof");
                let (host, port) = (&link.host, link.port);
                let name = watch.host();
                tracing::info!("replicates from {next}, as {name} has it; was {host} port {port}");
            }
            Err(refusal) => {
                let text = format!("does not replicate from {next}: {refusal}");
                self.warnings.warn("replicaof", &text);
            }
        }
        Ok(())
    }
}

fn now() -> std::time::Instant {
    std::time::Instant::now()
}
