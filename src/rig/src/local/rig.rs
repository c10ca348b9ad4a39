//! The rig as a value: started, asked, and stopped, by `local` and by whatever else needs one.

use std::collections::VecDeque;
use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::child::Children;
use super::launcher::{Launcher, Spec};
use super::parts::Parts;
use super::places::reachable;
use super::screen::Screen;
use super::start_lock::StartLock;
use super::usage::{self, Process, Usage};
use super::{API, Error, Options, examine, program, redis};
use crate::guarded;

/// Everything that runs. Dropping it kills what is left and removes the data folder;
/// [`Rig::stop`] does it in order.
#[derive(Debug)]
pub struct Rig {
    // Fields are dropped in this order: the janitor, at the end of `children`, then finds no
    // folder.
    folder: TempDir,
    children: Children,
    parts: Parts,
    /// Not started yet.
    waiting: VecDeque<Spec>,
    screen: Screen,
}

impl Rig {
    /// Starts all children that `options` ask for, each as soon as the one before is ready. Must
    /// run on the main thread, in a runtime of that thread alone: the children are killed when the
    /// thread that started them ends.
    ///
    /// # Errors
    /// A child, port, file or program is missing or failed; all that was started is stopped by
    /// then.
    ///
    /// # Cancel safety
    /// Dropping the future ends what was started.
    pub async fn start(options: &Options) -> Result<Rig, Error> {
        Rig::find_programs(options)?;
        let _until_all_listen = StartLock::take().await;
        let mut rig = Rig::prepare(options, Screen::new())?;
        loop {
            match rig.start_next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(rig),
                Err(error) => {
                    rig.end_all().await;
                    return Err(error);
                }
            }
        }
    }

    /// Sees whether the programs are there: what is missing is told before the [`StartLock`] is
    /// waited for.
    pub(super) fn find_programs(options: &Options) -> Result<(), Error> {
        if options.target_url.is_none() {
            redis::find_server(options.redis_server.as_deref())?;
        }
        match &options.vegeta {
            Some(name) if program::find(name).is_none() => Err(Error::NoVegeta(name.to_owned())),
            _ => Ok(()),
        }
    }

    /// Makes all that the children need; nothing runs yet but the janitor. The caller
    /// holds the [`StartLock`] until all are started.
    pub(super) fn prepare(options: &Options, screen: Screen) -> Result<Rig, Error> {
        let server = match &options.target_url {
            None => redis::find_server(options.redis_server.as_deref())?,
            // Nothing of it is started.
            Some(_) => PathBuf::new(),
        };
        let program = env::current_exe().map_err(Error::io("find this program's own file"))?;
        let folder = tempfile::Builder::new()
            .prefix("redis-api-local-")
            .tempdir()
            .map_err(Error::io("make a data folder where TMPDIR says"))?;
        let launcher = Launcher::start(&program, folder.path())?;
        let parts = Parts::create(options, folder.path(), program, server)?;
        let waiting = parts.all(options.rate)?.into();
        Ok(Rig {
            children: Children::new(launcher, screen.clone()),
            folder,
            parts,
            waiting,
            screen,
        })
    }

    /// Starts the next child and waits until it is ready; `None`: all were started.
    pub(super) async fn start_next(&mut self) -> Result<Option<Process>, Error> {
        let Some(spec) = self.waiting.pop_front() else {
            return Ok(None);
        };
        let (name, program, args) = (spec.name.clone(), spec.program.clone(), spec.args.clone());
        let outcome = self.children.start(spec).await;
        if let Err(Error::Slow { name, .. }) = &outcome
            && name == API
            // It runs and can't read: what it misses is on the way to the servers.
            && let Some(said) = examine::report(guarded::command(&program).into(), &args).await
        {
            self.screen
                .say(format_args!("redis-api check says of it:\n{said}"));
        }
        outcome.map(|pid| Some(Process { name, pid }))
    }

    /// Starts one more child, under the same guard, and gives its process id once it is ready. Its
    /// end by itself is a failure of the rig from then on.
    ///
    /// # Errors
    /// It can't be started, isn't ready in time, or a child has ended meanwhile.
    ///
    /// # Cancel safety
    /// The child may have been started; it ends with the rig.
    pub async fn spawn(&mut self, spec: Spec) -> Result<u32, Error> {
        self.children.start(spec).await
    }

    /// A bot that sends `rate` requests a second to the API, listening on [`Rig::bot`], for
    /// [`Rig::spawn`]; only one can run at a time.
    ///
    /// # Errors
    /// There is no vegeta.
    pub fn bot_spec(&self, rate: u32) -> Result<Spec, Error> {
        self.parts.bot(rate)
    }

    /// Ends the children of that name, which is no failure. Their place is free again then.
    pub async fn end(&mut self, name: &str) {
        self.children.end(name).await;
    }

    /// Waits for the first child that ends by itself.
    ///
    /// # Cancel safety
    /// Safe: an end that was seen is told by the next call.
    pub async fn failure(&mut self) -> Error {
        self.children.failure().await
    }

    /// Ends all children, the last one first, within [`STOP_TIMEOUT`](super::STOP_TIMEOUT), and
    /// removes the data folder.
    ///
    /// # Errors
    /// The folder can't be removed.
    ///
    /// # Cancel safety
    /// Dropping the future kills what is left.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.end_all().await;
        self.close()
    }

    pub(super) async fn end_all(&mut self) {
        self.children.stop().await;
    }

    /// Kills what still runs, and removes the data folder.
    pub(super) fn close(self) -> Result<(), Error> {
        // Before the janitor, which then finds nothing to do.
        self.folder
            .close()
            .map_err(Error::io("remove the data folder"))
    }

    /// The children that run, in the order of their start.
    pub fn processes(&self) -> Vec<Process> {
        let running = self.children.running();
        running
            .map(|(name, pid)| Process {
                name: name.to_owned(),
                pid,
            })
            .collect()
    }

    /// The CPU time that a child has used since its start, in seconds: what the kernel counts, all
    /// threads, user and system. `None`: it does not run.
    pub fn cpu_seconds(&self, name: &str) -> Option<f64> {
        self.usage(name).map(|usage| usage.cpu.as_secs_f64())
    }

    /// What a child uses; `None` as for [`Rig::cpu_seconds`].
    pub fn usage(&self, name: &str) -> Option<Usage> {
        let mut running = self.children.running();
        let (_, pid) = running.find(|(known, _)| *known == name)?;
        usage::of(pid)
    }

    /// Where to connect to the API.
    pub fn api(&self) -> SocketAddr {
        reachable(self.parts.places.api)
    }

    /// The same as a URL.
    pub fn api_url(&self) -> String {
        self.parts.api_url()
    }

    /// Where to connect to the API's admin port.
    pub fn admin(&self) -> SocketAddr {
        reachable(self.parts.places.admin)
    }

    /// Where to connect to the aggregator.
    pub fn dashboard(&self) -> SocketAddr {
        reachable(self.parts.places.dashboard)
    }

    /// Where the bot listens, or would: the aggregator looks for it there.
    pub fn bot(&self) -> SocketAddr {
        self.parts.places.bot
    }

    /// The name of the child that answers the API's reads.
    pub fn read_server(&self) -> &'static str {
        self.parts.read_server()
    }

    /// Everything that the rig writes is below.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }
}
