//! What each child of the rig is: its program, its arguments, and when it is ready.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::crypto::ring;

use super::certs::{self, Certs};
use super::launcher::{Lines, Spec};
use super::places::{Places, reachable};
use super::probe::Probe;
use super::{
    AGGREGATOR, API, BOT, Error, MASTER, Options, REPLICA, Topology, UPDATER, program, redis,
};

/// For one child to be ready: milliseconds on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of randomness in the master's password.
const PASSWORD_BYTES: usize = 24;

/// All that the children are made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub places: Places,
    pub topology: Topology,
    folder: PathBuf,
    /// Our own binary.
    program: PathBuf,
    server: PathBuf,
    /// `None`: there is none.
    vegeta: Option<PathBuf>,
    certs: Certs,
    password: String,
    pass_file: PathBuf,
    /// `None`: the API of the rig.
    target_url: Option<String>,
    serve_args: Vec<String>,
    load_args: Vec<String>,
}

impl Parts {
    /// Makes the certificates and the password in `folder`. `server` runs as master and replica.
    pub fn create(
        options: &Options,
        folder: &Path,
        program: PathBuf,
        server: PathBuf,
    ) -> Result<Parts, Error> {
        let places = Places::choose(options)?;
        let vegeta = match &options.vegeta {
            Some(name) => {
                Some(program::find(name).ok_or_else(|| Error::NoVegeta(name.to_owned()))?)
            }
            None => program::find(Path::new("vegeta")),
        };
        let certs = certs::create(folder)?;
        let password = password()?;
        let pass_file = certs::write(folder, "password", &password)?;
        Ok(Parts {
            places,
            topology: options.topology,
            folder: folder.to_owned(),
            program,
            server,
            vegeta,
            certs,
            password,
            pass_file,
            target_url: options.target_url.clone(),
            serve_args: options.serve_args.clone(),
            load_args: options.load_args.clone(),
        })
    }

    /// The children in the order of their start; they stop in the opposite one. Without `rate` or
    /// without vegeta there is no bot.
    pub fn all(&self, rate: Option<u32>) -> Result<Vec<Spec>, Error> {
        if self.target_url.is_some() {
            return rate.map(|rate| self.bot(rate)).into_iter().collect();
        }
        let mut specs = vec![self.master()?];
        if self.topology == Topology::Sidekick {
            specs.push(self.replica()?);
        }
        specs.push(self.api());
        specs.push(self.updater());
        if let (Some(rate), Some(_)) = (rate, &self.vegeta) {
            specs.push(self.bot(rate)?);
        }
        specs.push(self.aggregator());
        Ok(specs)
    }

    /// The server that answers the API's reads.
    pub fn read_server(&self) -> &'static str {
        match self.topology {
            Topology::Sidekick => REPLICA,
            Topology::Naive => MASTER,
        }
    }

    /// Whether there can be load.
    pub fn has_vegeta(&self) -> bool {
        self.vegeta.is_some()
    }

    fn master(&self) -> Result<Spec, Error> {
        let place = self.places.master;
        self.redis(
            MASTER,
            &redis::master(place, &self.certs, &self.password),
            Probe::Accepts(place),
            "it needs Redis 6 or newer (or Valkey) built with TLS; --redis-server names another",
        )
    }

    fn replica(&self) -> Result<Spec, Error> {
        let Places {
            master, replica, ..
        } = self.places;
        self.redis(
            REPLICA,
            &redis::replica(replica, master, &self.certs, &self.password),
            Probe::InSync(replica),
            "",
        )
    }

    fn redis(
        &self,
        name: &str,
        config: &str,
        probe: Probe,
        cure: &'static str,
    ) -> Result<Spec, Error> {
        let folder = self.folder.join(name);
        fs::create_dir(&folder).map_err(Error::io(format!("make {}", folder.display())))?;
        let config = certs::write(&folder, "redis.conf", config)?;
        Ok(Spec {
            name: name.to_owned(),
            program: self.server.clone(),
            args: vec![config.into()],
            folder,
            probe,
            timeout: START_TIMEOUT,
            lines: Lines::Hidden,
            cure,
        })
    }

    /// A child that is our own binary.
    fn own(&self, name: &str, args: Vec<String>, probe: Probe, lines: Lines) -> Spec {
        Spec {
            name: name.to_owned(),
            program: self.program.clone(),
            args: args.into_iter().map(Into::into).collect(),
            folder: self.folder.clone(),
            probe,
            timeout: START_TIMEOUT,
            lines,
            cure: "",
        }
    }

    fn api(&self) -> Spec {
        let Places {
            master,
            replica,
            api,
            admin,
            ..
        } = self.places;
        let ca = self.certs.ca.display().to_string();
        let pass_file = self.pass_file.display().to_string();
        let mut args = arguments(
            "serve",
            &[
                ("--listen", &api.to_string()),
                ("--admin-listen", &admin.to_string()),
                // Nobody balances load over a rig, and Ctrl-C is to take effect at once.
                ("--drain-delay", "0s"),
                ("--drain-timeout", "1s"),
            ],
        );
        match self.topology {
            Topology::Sidekick => args.extend(arguments(
                "--write-redis-tls",
                &[
                    ("--read-redis-addr", &replica.to_string()),
                    ("--read-role", "replica"),
                    ("--write-redis-addr", &master.to_string()),
                    ("--write-redis-ca-file", &ca),
                    ("--write-redis-pass-file", &pass_file),
                ],
            )),
            Topology::Naive => args.extend(arguments(
                "--redis-tls",
                &[
                    ("--redis-addr", &master.to_string()),
                    ("--redis-ca-file", &ca),
                    ("--redis-pass-file", &pass_file),
                ],
            )),
        }
        args.extend_from_slice(&self.serve_args);
        self.own(API, args, Probe::Ready(reachable(admin)), Lines::Shown)
    }

    fn updater(&self) -> Spec {
        let args = arguments("updater", &[("--api-url", &self.api_url())]);
        self.load(UPDATER, args, Probe::Runs)
    }

    /// A bot that sends `rate` requests a second to the API.
    pub fn bot(&self, rate: u32) -> Result<Spec, Error> {
        let vegeta = self.vegeta.as_ref().ok_or(Error::VegetaMissing)?;
        let listen = self.places.bot;
        let args = arguments(
            "vegetaserver",
            &[
                ("--listen", &listen.to_string()),
                ("--target-url", &self.target_url()),
                ("--attack-rate", &rate.to_string()),
                ("--vegeta", &vegeta.display().to_string()),
            ],
        );
        Ok(self.load(BOT, args, Probe::Live(listen)))
    }

    /// Knows the place of the bot, whether there is one or not.
    fn aggregator(&self) -> Spec {
        let listen = self.places.dashboard;
        let args = arguments(
            "aggregator",
            &[
                ("--listen", &listen.to_string()),
                ("--vegeta-servers", &self.places.bot.to_string()),
                ("--api-url", &self.api_url()),
                ("--stream-url", &self.api_url()),
                ("--api-admin-dns", &reachable(self.places.admin).to_string()),
            ],
        );
        self.load(AGGREGATOR, args, Probe::Live(reachable(listen)))
    }

    fn load(&self, name: &str, mut args: Vec<String>, probe: Probe) -> Spec {
        args.extend_from_slice(&self.load_args);
        self.own(name, args, probe, Lines::Prefixed)
    }

    fn target_url(&self) -> String {
        self.target_url.clone().unwrap_or_else(|| self.api_url())
    }

    /// As clients here reach the API.
    pub fn api_url(&self) -> String {
        format!("http://{}/", reachable(self.places.api))
    }
}

/// `first`, and each flag with its value.
fn arguments(first: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let pairs = pairs.iter().flat_map(|&(flag, value)| [flag, value]);
    std::iter::once(first)
        .chain(pairs)
        .map(String::from)
        .collect()
}

/// Random text in hexadecimal digits: it needs no quotes anywhere.
fn password() -> Result<String, Error> {
    let mut bytes = [0; PASSWORD_BYTES];
    let random = ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::super::child::Children;
    use super::super::launcher::Launcher;
    use super::super::screen::Screen;
    use super::*;

    fn parts(options: &Options, folder: &Path) -> Parts {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let options = Options {
            listen: any,
            admin_listen: any,
            dashboard_listen: any,
            ..options.clone()
        };
        let server = redis::find_server(None).expect("a Redis server: run `make setup`");
        Parts::create(&options, folder, "/nowhere".into(), server).expect("the parts can be made")
    }

    fn names(specs: &[Spec]) -> Vec<&str> {
        specs.iter().map(|spec| spec.name.as_str()).collect()
    }

    #[test]
    fn passwords_differ() {
        let (one, two) = (password().expect("random"), password().expect("random"));
        assert_eq!(one.len(), 2 * PASSWORD_BYTES);
        assert_ne!(one, two);
    }

    #[test]
    fn children_follow_from_the_options() {
        let check = |topology, rate, expected: &[&str]| {
            let folder = tempfile::tempdir().expect("a temporary folder can be made");
            let options = Options {
                topology,
                vegeta: Some("/bin/sh".into()),
                ..Options::default()
            };
            let parts = parts(&options, folder.path());
            let specs = parts.all(rate).expect("the table can be made");
            assert_eq!(names(&specs), expected);
        };
        let naive = ["master", "api", "updater", "vegetaserver", "aggregator"];
        check(Topology::Naive, Some(7), &naive);
        let without_load = ["master", "replica", "api", "updater", "aggregator"];
        check(Topology::Sidekick, None, &without_load);
    }

    #[tokio::test]
    async fn replica_follows_a_real_master() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let parts = parts(&Options::default(), folder.path());
        let mut specs = parts.all(None).expect("the table can be made");
        specs.truncate(2);
        let mut children = Children::new(Launcher::unguarded(), Screen::new());
        for spec in specs {
            // `InSync` of the replica: over TLS, with the password.
            if let Err(error) = children.start(spec).await {
                panic!("{error}");
            }
        }
        children.stop().await;
    }
}
