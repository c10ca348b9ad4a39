//! What can be measured: our server in its modes, and peers. A mode is a name and how to start it.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

/// The reference of all ratios, unless a mode has one of its own.
pub const BASE: &str = "hyper";
/// The reference once more: how far its ratio is from 1 is what chance alone does.
pub const CONTROL: &str = "hyper-again";

const ANSWER: &str = r#"{"current":12.5}"#;
/// For the modes with a wake interval.
const WAKE: &str = "500us";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Program {
    Serve,
    Helloworld,
    /// A program of `benches/peers` that is built: its name below the folder of builds. It takes
    /// where to listen and where Redis is.
    Peer(&'static str),
    /// A configuration in `benches/peers`.
    Nginx(&'static str),
    Webdis,
}

/// Where the value comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Store {
    Constant,
    Tcp,
    Unix,
    Tls,
}

#[derive(Clone, Debug)]
pub struct Mode {
    pub name: String,
    pub program: Program,
    pub store: Store,
    /// After those that say where to listen and where Redis is.
    pub flags: Vec<String>,
    /// Another build of our server.
    pub binary: Option<PathBuf>,
    pub base: String,
    /// The server may use the load's core too.
    pub both_cores: bool,
    pub path: &'static str,
    pub answer: &'static str,
    /// Body of a POST that is sent instead of a GET.
    pub post: Option<&'static str>,
    /// The regimes it is part of.
    regimes: &'static [&'static str],
}

/// Regimes of all who read.
const READ: &[&str] = &["saturation", "fixed", "churn", "idle"];

impl Mode {
    fn new(name: &str, program: Program, store: Store) -> Self {
        Self {
            name: name.to_owned(),
            program,
            store,
            flags: Vec::new(),
            binary: None,
            base: BASE.to_owned(),
            both_cores: false,
            path: "/",
            answer: ANSWER,
            post: None,
            regimes: READ,
        }
    }

    fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    fn serve(name: &str, read_mode: &str, store: Store) -> Self {
        Self::new(name, Program::Serve, store).flags(&["--read-mode", read_mode])
    }

    /// Whether it is our server, not a peer.
    pub fn is_ours(&self) -> bool {
        matches!(self.program, Program::Serve | Program::Helloworld)
    }

    pub fn is_in(&self, regime: &str) -> bool {
        self.regimes.contains(&regime)
    }
}

/// All that is built in.
pub fn built_in() -> Vec<Mode> {
    use Program::{Helloworld, Nginx, Peer, Serve, Webdis};
    use Store::{Constant, Tcp, Tls, Unix};
    let mut modes = vec![
        Mode::new(BASE, Peer("release/peer-hyper"), Constant),
        Mode::new(CONTROL, Peer("release/peer-hyper"), Constant),
        Mode {
            // It doesn't parse, so it knows no `Connection: close`.
            regimes: &["saturation", "fixed", "idle"],
            ..Mode::new("epoll", Peer("release/peer-epoll"), Constant)
        },
        Mode::new("nginx", Nginx("constant.conf"), Constant),
        Mode {
            answer: "Hello World!",
            ..Mode::new("helloworld", Helloworld, Constant).flags(&["--workers", "1"])
        },
    ];
    for read_mode in ["batch", "direct", "tracked"] {
        for (suffix, store) in [("", Tcp), ("-unix", Unix)] {
            let name = format!("{read_mode}{suffix}");
            let mode = Mode::serve(&name, read_mode, store).flags(&["--workers", "1"]);
            let waking = Mode {
                name: format!("{name}-wake"),
                ..mode.clone()
            };
            modes.extend([mode, waking.flags(&["--wake-interval", WAKE])]);
        }
    }
    modes.extend([
        Mode::new("axum-redis", Peer("release/axum-redis"), Tcp),
        Mode::new("axum-fred", Peer("release/axum-fred"), Tcp),
        Mode::new("go-redis", Peer("go/go-redis"), Tcp),
        Mode::new("rueidis", Peer("go/rueidis"), Tcp),
        Mode::new("nginx-lua", Nginx("lua.conf"), Tcp),
        Mode {
            path: "/HGET/currency/current-value",
            answer: r#"{"HGET":"12.5"}"#,
            ..Mode::new("webdis", Webdis, Tcp)
        },
    ]);
    for read_mode in ["batch", "tracked"] {
        for workers in ["1", "2"] {
            modes.push(Mode {
                base: format!("{read_mode}-1w"),
                both_cores: true,
                regimes: &["workers"],
                ..Mode::serve(&format!("{read_mode}-{workers}w"), read_mode, Tcp)
                    .flags(&["--workers", workers])
            });
        }
    }
    for (name, store) in [("post-plain", Tcp), ("post", Tls)] {
        modes.push(Mode {
            base: "post-plain".to_owned(),
            post: Some(r#"{"value":12.5}"#),
            regimes: &["post"],
            ..Mode::new(name, Serve, store).flags(&["--workers", "1"])
        });
    }
    modes
}

/// Adds a mode given as `NAME=PARENT[@BINARY] [FLAG...]`: the parent's, under another name, with
/// more flags, or of another build.
pub fn add(modes: &mut Vec<Mode>, text: &str) -> Result<String> {
    let form = "a mode is NAME=PARENT[@BINARY] [FLAG...]";
    let (name, rest) = text.split_once('=').context(form)?;
    let mut words = rest.split_whitespace();
    let parent = words.next().context(form)?;
    let (parent, binary) = match parent.split_once('@') {
        Some((parent, binary)) => (parent, Some(PathBuf::from(binary))),
        None => (parent, None),
    };
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || name.contains(',') {
        bail!("{name:?} is no name for a mode: {form}");
    }
    ensure!(
        modes.iter().all(|mode| mode.name != name),
        "there is a mode {name} already"
    );
    let mut mode = find(modes, parent)?.clone();
    ensure!(
        mode.is_ours(),
        "{parent} is a peer: flags and builds are for modes of our server"
    );
    name.clone_into(&mut mode.name);
    mode.binary = binary;
    mode.flags.extend(words.map(str::to_owned));
    modes.push(mode);
    Ok(name.to_owned())
}

/// Has what would be compared with hyper compared with another mode.
pub fn compare_with(modes: &mut [Mode], base: &str) -> Result<()> {
    find(modes, base)?;
    for mode in modes.iter_mut().filter(|mode| mode.base == BASE) {
        base.clone_into(&mut mode.base);
    }
    Ok(())
}

pub fn find<'a>(modes: &'a [Mode], name: &str) -> Result<&'a Mode> {
    modes
        .iter()
        .find(|mode| mode.name == name)
        .with_context(|| {
            let names: Vec<&str> = modes.iter().map(|mode| mode.name.as_str()).collect();
            format!("unknown mode {name:?}; there are {}", names.join(", "))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_inherits() {
        let mut modes = built_in();
        add(&mut modes, "slow=tracked-unix@/tmp/old --wake-interval 1ms").unwrap();
        let mode = find(&modes, "slow").unwrap();
        assert_eq!(mode.store, Store::Unix);
        assert_eq!(mode.binary, Some(PathBuf::from("/tmp/old")));
        assert!(
            mode.flags
                .ends_with(&["--wake-interval".into(), "1ms".into()])
        );
        assert!(add(&mut modes, "slow=batch").is_err());
        assert!(add(&mut modes, "x=nginx").is_err());
        assert!(add(&mut modes, "x").is_err());
    }

    #[test]
    fn another_base_leaves_those_that_have_their_own() {
        let mut modes = built_in();
        compare_with(&mut modes, "batch").unwrap();
        assert_eq!(find(&modes, "tracked").unwrap().base, "batch");
        assert_eq!(find(&modes, "tracked-2w").unwrap().base, "tracked-1w");
        assert!(compare_with(&mut modes, "no-such").is_err());
    }
}
