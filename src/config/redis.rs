//! The flags of the Redis servers: what both roles share and what each has of its own, combined.
//!
//! Three levels are read alike (`redis`, `read-redis`, `write-redis`), so that a wrong value is
//! reported once and also where it would not have been used. Then each role takes every setting
//! from its own level, else from the shared one.

use std::path::PathBuf;

use super::address::{self, ParsedAddress};
use super::values::{Origin, Values};
use redis_api_server::{Address, Endpoint, Password, Secret, Sources, TlsOptions};

/// A setting: not given, given as empty, given.
type Setting<T> = Option<Option<T>>;

/// What was given under one prefix.
pub(super) struct Level {
    prefix: &'static str,
    address: Option<ParsedAddress>,
    user: Setting<String>,
    password: Option<Password>,
    tls: Option<bool>,
    ca_file: Setting<PathBuf>,
    /// The certificate and its key: only as a pair.
    identity: Setting<(PathBuf, PathBuf)>,
    server_name: Setting<String>,
}

/// Reads the flags of one prefix, and checks what can be checked there.
pub(super) fn level(values: &mut Values<'_>, prefix: &'static str) -> Level {
    let user = values.hidden_text(&format!("{prefix}-user"));
    let password = password(values, prefix);
    let tls = values.boolean(&format!("{prefix}-tls"));
    let ca_file = values.path(&format!("{prefix}-ca-file"));
    let identity = identity(values, prefix);
    let server_name = server_name(values, prefix);
    let address = server(values, prefix, &user, &password);
    Level {
        prefix,
        address,
        user,
        password,
        tls,
        ca_file,
        identity,
        server_name,
    }
}

fn server(
    values: &mut Values<'_>,
    prefix: &'static str,
    user: &Setting<String>,
    password: &Option<Password>,
) -> Option<ParsedAddress> {
    let given = values.given(&format!("{prefix}-addr"))?;
    let name = given.name;
    let Some(text) = given.text.to_str() else {
        values
            .errors
            .push(format!("{name}: is not valid UTF-8 (value not shown)"));
        return None;
    };
    let parsed = match address::parse(text) {
        Ok(parsed) => parsed,
        Err(problem) => {
            let shown = if address::presentable(text) {
                format!("{text:?}")
            } else {
                "the address (not shown, it may hold a password)".to_string()
            };
            values.errors.push(format!(
                "{name}: {shown} {problem}; expected {}",
                address::EXPECTED
            ));
            return None;
        }
    };
    if parsed.password.is_some()
        && password
            .as_ref()
            .is_some_and(|given| *given != Password::None)
    {
        let other = format!("--{prefix}-pass or --{prefix}-pass-file");
        values.errors.push(format!(
            "{name}: has a password, and so has {other}; give one of them"
        ));
    }
    if parsed.username.is_some() && matches!(user, Some(Some(_))) {
        values.errors.push(format!(
            "{name}: has a user, and so has --{prefix}-user; give one of them"
        ));
    }
    if parsed.password.is_some() && given.origin == Origin::Flag {
        warn_of_ps(values, &name, prefix);
    }
    Some(parsed)
}

fn password(values: &mut Values<'_>, prefix: &'static str) -> Option<Password> {
    let (pass, file) = (format!("{prefix}-pass"), format!("{prefix}-pass-file"));
    let names =
        [&pass, &file].map(|flag| values.given(flag).map(|given| (given.name, given.origin)));
    match (values.hidden_text(&pass), values.path(&file)) {
        (Some(Some(_)), Some(Some(_))) => {
            let [pass, file] = names.map(|name| name.unwrap_or((String::new(), Origin::Default)).0);
            values.errors.push(format!(
                "{pass} and {file}: two passwords; give one of them"
            ));
            None
        }
        (Some(Some(text)), _) => {
            if let [Some((name, Origin::Flag)), _] = names {
                warn_of_ps(values, &name, prefix);
            }
            Some(Password::Given(Secret::new(text)))
        }
        (_, Some(Some(path))) => Some(Password::File(path)),
        (None, None) => None,
        (_, _) => Some(Password::None),
    }
}

fn warn_of_ps(values: &mut Values<'_>, name: &str, prefix: &str) {
    let variable = super::environment::variable(&format!("{prefix}-pass"));
    values.warnings.push(format!(
        "{name}: a password on the command line shows in `ps`; \
         use {variable} or --{prefix}-pass-file"
    ));
}

fn identity(values: &mut Values<'_>, prefix: &'static str) -> Setting<(PathBuf, PathBuf)> {
    let (cert, key) = (format!("{prefix}-cert-file"), format!("{prefix}-key-file"));
    let name = |values: &Values<'_>, flag: &str| values.given(flag).map(|given| given.name);
    match (values.path(&cert), values.path(&key)) {
        (None, None) => None,
        (Some(Some(cert)), Some(Some(key))) => Some(Some((cert, key))),
        (Some(Some(_)), _) => {
            let given = name(values, &cert).unwrap_or_default();
            values
                .errors
                .push(format!("{given}: has no key; give --{key} too"));
            None
        }
        (_, Some(Some(_))) => {
            let given = name(values, &key).unwrap_or_default();
            values
                .errors
                .push(format!("{given}: has no certificate; give --{cert} too"));
            None
        }
        (_, _) => Some(None),
    }
}

fn server_name(values: &mut Values<'_>, prefix: &'static str) -> Setting<String> {
    let name = values.parsed(&format!("{prefix}-server-name"), |text| {
        let valid = text.is_empty() || redis_api_server::server_name(text).is_ok();
        valid
            .then(|| text.to_string())
            .ok_or_else(|| "a DNS name or an IP address".to_string())
    });
    name.map(|name| Some(name).filter(|name| !name.is_empty()))
}

/// The server of one role: each setting from `own`, else from `both`.
///
/// `None` only if an error was reported.
pub(super) fn endpoint(values: &mut Values<'_>, own: &Level, both: &Level) -> Option<Endpoint> {
    // Credentials of a URL rank right after the flags of its own level, and never go to another
    // address than the URL's.
    let own_url = own.address.as_ref();
    let both_url = both.address.as_ref().filter(|_| own_url.is_none());
    let url_user = |url: Option<&ParsedAddress>| url?.username.clone().map(Some);
    let url_password = |url: Option<&ParsedAddress>| url?.password.clone().map(Password::Given);

    let server = own_url.or(both_url)?;
    let username = (own.user.clone())
        .or_else(|| url_user(own_url))
        .or_else(|| both.user.clone())
        .or_else(|| url_user(both_url));
    let password = (own.password.clone())
        .or_else(|| url_password(own_url))
        .or_else(|| both.password.clone())
        .or_else(|| url_password(both_url));
    let tls = server.tls || own.tls.or(both.tls).unwrap_or(false);
    if let Address::Unix(path) = &server.address {
        let address_level = if own_url.is_some() { own } else { both };
        if let Some(level) = [own, address_level]
            .into_iter()
            .find(|level| level.tls == Some(true))
        {
            let (prefix, path) = (level.prefix, path.display());
            values.errors.push(format!(
                "--{prefix}-tls: unix://{path} does not use TLS; drop one of them"
            ));
        }
    }
    let tls = tls && matches!(server.address, Address::Tcp { .. });
    warn_of_idle_tls(values, own, tls);
    let (cert_file, key_file) = own
        .identity
        .clone()
        .or(both.identity.clone())
        .flatten()
        .unzip();
    let options = TlsOptions {
        ca_file: own.ca_file.clone().or(both.ca_file.clone()).flatten(),
        cert_file,
        key_file,
        server_name: own
            .server_name
            .clone()
            .or(both.server_name.clone())
            .flatten(),
    };
    let sources = sources(values, own, both);
    warn_of_flaw(values, password.as_ref(), &sources.password);
    Some(Endpoint {
        address: server.address.clone(),
        username: username.flatten(),
        password: password.unwrap_or(Password::None),
        database: server.database,
        tls: tls.then_some(options),
        sources,
    })
}

/// Warns of a password that was likely written by accident as it is; `name` is what gave it.
fn warn_of_flaw(values: &mut Values<'_>, password: Option<&Password>, name: &str) {
    if let Some(Password::Given(secret)) = password
        && let Some(flaw) = secret.flaw()
    {
        let warning = format!("{name}: the password {flaw}");
        // Both roles may have it from the same place.
        if !values.warnings.contains(&warning) {
            values.warnings.push(warning);
        }
    }
}

/// The address of a level, if it is the one that counts.
fn counting<'a>(level: &'a Level, own: &Level) -> Option<&'a ParsedAddress> {
    let counts = level.prefix == own.prefix || own.address.is_none();
    level.address.as_ref().filter(|_| counts)
}

/// What gave each setting of an endpoint.
fn sources(values: &Values<'_>, own: &Level, both: &Level) -> Sources {
    let name = |level: &Level, flag: &str| {
        let given = values.given(&format!("{}-{flag}", level.prefix))?;
        (given.origin != Origin::Default).then_some(given.name)
    };
    let find = |flags: &[&str], in_url: fn(&ParsedAddress) -> bool| {
        [own, both].into_iter().find_map(|level| {
            let by_flag = flags.iter().find_map(|flag| name(level, flag));
            by_flag.or_else(|| {
                let url = counting(level, own).filter(|url| in_url(url));
                url.and_then(|_| name(level, "addr"))
            })
        })
    };
    let never = |_: &ParsedAddress| false;
    let mut sources = Sources::of_flags(&format!("--{}", own.prefix));
    let found = [
        (&mut sources.address, find(&[], |_| true)),
        (
            &mut sources.user,
            find(&["user"], |url| url.username.is_some()),
        ),
        (
            &mut sources.password,
            find(&["pass", "pass-file"], |url| url.password.is_some()),
        ),
        (&mut sources.ca_file, find(&["ca-file"], never)),
        (&mut sources.cert_file, find(&["cert-file"], never)),
        (&mut sources.key_file, find(&["key-file"], never)),
        (&mut sources.server_name, find(&["server-name"], never)),
    ];
    for (place, name) in found {
        if let Some(name) = name {
            *place = name;
        }
    }
    let mut levels = [own, both].into_iter();
    if levels.any(|level| counting(level, own).is_some_and(|url| url.tls)) {
        sources.tls = format!("rediss:// in {}", sources.address);
    } else if let Some(name) = find(&["tls"], never) {
        sources.tls = name;
    }
    sources
}

/// Warns of settings for TLS where TLS is off: someone believes otherwise.
pub(super) fn warn_of_idle_tls(values: &mut Values<'_>, level: &Level, tls: bool) {
    let idle = [
        (matches!(level.ca_file, Some(Some(_))), "ca-file"),
        (matches!(level.identity, Some(Some(_))), "cert-file"),
        (matches!(level.server_name, Some(Some(_))), "server-name"),
    ];
    for (_, what) in idle.into_iter().filter(|(given, _)| *given && !tls) {
        let prefix = level.prefix;
        values.warnings.push(format!(
            "--{prefix}-{what}: has no effect, TLS is off; \
             turn it on by rediss:// or --{prefix}-tls"
        ));
    }
}
