//! What the user may do.
//!
//! A command that changes nothing is tried. One that writes is never sent: the server is asked
//! (`ACL DRYRUN`, Redis 7), or else its list of the user's rules is read (`ACL GETUSER`).
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>

use super::report::{Role, Verdict};
use crate::net::session::Value;
use crate::store::HashName;
use crate::worker::ApiOptions;
use redis_api_wire::conn::Hello;
use redis_api_wire::resp::ErrorKind;

/// Stands for the name of the hash in [`Command::words`].
const KEY: &str = "{hash}";

/// A command that `serve` sends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command {
    /// As one would send it, with [`KEY`] for the hash.
    words: &'static [&'static str],
    /// As a rule names it: `client|setname`.
    pub name: &'static str,
    /// The categories of it that a rule may grant.
    categories: &'static [&'static str],
    /// Changes nothing, so that it can be tried.
    pub harmless: bool,
    /// What is lost without it; `None`: `serve` does not work.
    pub without: Option<&'static str>,
}

const fn command(
    name: &'static str,
    words: &'static [&'static str],
    categories: &'static [&'static str],
    without: Option<&'static str>,
) -> Command {
    Command {
        words,
        name,
        categories,
        harmless: true,
        without,
    }
}

const HASH_READ: &[&str] = &["read", "hash", "fast"];
const PING: Command = command(
    "ping",
    &["PING"],
    &["fast", "connection"],
    Some("each idle second adds a refusal to the server's ACL LOG"),
);
const SETNAME: Command = command(
    "client|setname",
    &["CLIENT", "SETNAME", "redis-api-check"],
    &["slow", "connection"],
    Some("CLIENT LIST can't tell our connections apart"),
);

const READ: &[Command] = &[
    command("hget", &["HGET", KEY, "current-value"], HASH_READ, None),
    command("hmget", &["HMGET", KEY, "current-value"], HASH_READ, None),
    command(
        "info",
        &["INFO", "replication"],
        &["slow", "dangerous"],
        None,
    ),
    PING,
    SETNAME,
];

const HSET: Command = Command {
    words: &["HSET", KEY, "current-value", "1"],
    name: "hset",
    categories: &["write", "hash", "fast"],
    harmless: false,
    without: None,
};
const COUNT: [Command; 2] = [
    command(
        "hexists",
        &["HEXISTS", KEY, "current-value"],
        HASH_READ,
        None,
    ),
    command("hlen", &["HLEN", KEY], HASH_READ, None),
];
const WAIT: Command = Command {
    words: &["WAIT", "0", "1"],
    name: "wait",
    categories: &["slow", "connection", "blocking"],
    harmless: false,
    without: None,
};
const WRITE_INFO: Command = command(
    "info",
    &["INFO", "cpu"],
    &["slow", "dangerous"],
    Some("role, version and CPU time of the master can't be seen"),
);

impl Command {
    /// As it is sent for this hash.
    pub fn words<'a>(&self, hash: &'a HashName) -> Vec<&'a str> {
        let word = |word: &&'static str| match *word {
            KEY => hash.as_str(),
            word => word,
        };
        self.words.iter().map(word).collect()
    }
}

pub(super) fn of_read() -> Vec<Command> {
    READ.to_vec()
}

/// What the write side sends with these options.
pub(super) fn of_write(options: &ApiOptions) -> Vec<Command> {
    let mut commands = vec![HSET];
    if options.guard.max_fields.is_some() {
        commands.extend(COUNT);
    }
    if options.writes.replicas > 0 {
        commands.push(WAIT);
    }
    commands.extend([WRITE_INFO, PING, SETNAME]);
    commands
}

/// Whether the user may run a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Granted,
    Refused,
    /// The server has no such command, as after `rename-command INFO ""`: no rule can grant it.
    Absent,
    Unknown,
}

/// By the reply to the command itself. The server looks at rights before anything else, so any
/// other answer shows that it is allowed.
pub(super) fn tried(reply: &Value) -> Right {
    match reply {
        Value::Error {
            kind: ErrorKind::NoPerm,
            ..
        } => Right::Refused,
        Value::Error {
            kind: ErrorKind::UnknownCommand,
            ..
        } => Right::Absent,
        _ => Right::Granted,
    }
}

/// The server's line where `INFO` gives nothing: what it says to it decides what to do.
pub(super) fn no_info(refusal: &Value, user: &str, role: Role) -> Verdict {
    let (said, cure) = match refusal {
        Value::Error { kind, text } => {
            let cure = match kind {
                ErrorKind::NoPerm => format!("ACL SETUSER {user} +info"),
                ErrorKind::UnknownCommand => RESTORE.to_string(),
                _ => "look at the server's log".to_string(),
            };
            (text.as_str(), cure)
        }
        _ => ("no text", RESTORE.to_string()),
    };
    let found = format!("INFO failed: {said}; role, version and state can't be seen");
    match role {
        Role::Read => Verdict::fail(format!("{found}, and reads are refused"), cure),
        _ => Verdict::warn(found, cure),
    }
}

/// What to do about a command that isn't there.
const RESTORE: &str =
    "remove its rename-command from the server's redis.conf, or the proxy before it";

/// By the reply to `ACL DRYRUN`: `OK`, or a text that says what is lacking.
pub(super) fn dry_run(reply: &Value) -> Right {
    match reply {
        Value::Text(text) if text == "OK" => Right::Granted,
        Value::Text(_) => Right::Refused,
        _ => Right::Unknown,
    }
}

/// By the reply to `ACL GETUSER`.
pub(super) fn by_rules(user: &Value, command: &Command, hash: &HashName) -> Right {
    let (Some(commands), Some(keys)) = (text_of(user, "commands"), text_of(user, "keys")) else {
        return Right::Unknown;
    };
    let may_run =
        commands
            .split(' ')
            .fold(false, |may, rule| match (rule.get(..1), rule.get(1..)) {
                _ if rule == "allcommands" => true,
                _ if rule == "nocommands" => false,
                (Some("+"), Some(what)) if covers(what, command) => true,
                (Some("-"), Some(what)) if covers(what, command) => false,
                _ => may,
            });
    let may_touch = command.words.get(1) != Some(&KEY)
        || keys.split(' ').any(|rule| key_fits(rule, hash.as_str()));
    let has_selectors =
        matches!(user.member("selectors"), Some(Value::List(all)) if !all.is_empty());
    match may_run && may_touch {
        true => Right::Granted,
        false if has_selectors => Right::Unknown,
        false => Right::Refused,
    }
}

fn covers(what: &str, command: &Command) -> bool {
    match what.strip_prefix('@') {
        Some("all") => true,
        Some(category) => command.categories.contains(&category),
        None => {
            let parent = command.name.split('|').next();
            what == command.name || Some(what) == parent
        }
    }
}

/// Whether a key rule is for the hash, whole, or as the beginning of its name and a star.
fn key_fits(rule: &str, hash: &str) -> bool {
    let Some((_, pattern)) = rule.split_once('~') else {
        return rule == "allkeys" || rule == "*";
    };
    match pattern.strip_suffix('*') {
        Some(start) => hash.starts_with(start),
        None => pattern == hash,
    }
}

/// A member as text. Before Redis 7, keys were a list without the `~`.
fn text_of(user: &Value, member: &str) -> Option<String> {
    match user.member(member)? {
        Value::Text(text) => Some(text.clone()),
        Value::List(items) => {
            let words = items.iter().filter_map(Value::text);
            Some(
                words
                    .map(|word| format!("~{word}"))
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        }
        _ => None,
    }
}

/// Whether the server is one from before there were users, by what it says to `ACL` and to `HELLO`,
/// which came with them: then whoever is let in may run all commands that it has.
pub(super) fn knows_no_users(acl: &Value, hello: Hello) -> bool {
    let is_unknown = |kind| kind == ErrorKind::UnknownCommand;
    matches!(acl, Value::Error { kind, .. } if is_unknown(*kind))
        && matches!(hello, Hello::Refused(kind) if is_unknown(kind))
}

/// Whether the user may run everything on every key.
pub(super) fn may_all(user: &Value) -> bool {
    let commands = text_of(user, "commands").unwrap_or_default();
    let keys = text_of(user, "keys").unwrap_or_default();
    commands
        .split(' ')
        .any(|rule| rule == "+@all" || rule == "allcommands")
        && !commands.contains(" -")
        && keys.split(' ').any(|key| key == "~*" || key == "allkeys")
}

/// The line of a role. `user` is the name to grant to.
pub(super) fn judge(
    (user, hash): (&str, &HashName),
    rights: &[(Command, Right)],
    all: bool,
    remote: bool,
) -> Verdict {
    let names = |right, required| {
        let lacking = rights
            .iter()
            .filter(|(command, found)| *found == right && command.without.is_none() == required);
        lacking.map(|(command, _)| command.name).collect::<Vec<_>>()
    };
    let grant = |names: &[&str]| format!("ACL SETUSER {user} ~{hash} +{}", names.join(" +"));
    let absent = names(Right::Absent, true);
    if !absent.is_empty() {
        let found = format!("the server has no {}", absent.join(", "));
        return Verdict::fail(found, RESTORE);
    }
    let refused = names(Right::Refused, true);
    if !refused.is_empty() {
        let found = format!("user {user} may not run {} on the hash", refused.join(", "));
        return Verdict::fail(found, grant(&refused));
    }
    let unknown = names(Right::Unknown, true);
    if !unknown.is_empty() {
        return Verdict::warn(
            format!(
                "whether user {user} may run {} can't be seen",
                unknown.join(", ")
            ),
            format!("ACL SETUSER {user} +acl|whoami +acl|dryrun, or try it with a POST"),
        );
    }
    let absent = names(Right::Absent, false);
    if !absent.is_empty() {
        return Verdict::warn(format!("the server has no {}", absent.join(", ")), RESTORE);
    }
    let idle = names(Right::Refused, false);
    if !idle.is_empty() {
        let lost = rights
            .iter()
            .filter(|(command, _)| idle.contains(&command.name));
        let lost: Vec<_> = lost.filter_map(|(command, _)| command.without).collect();
        let found = format!("user {user} lacks {}: {}", idle.join(", "), lost.join("; "));
        return Verdict::warn(found, format!("ACL SETUSER {user} +{}", idle.join(" +")));
    }
    if all && remote {
        return Verdict::warn(
            format!("user {user} may run everything on every key of a remote server"),
            "log in as a user with the least rights (docs/access.md, \"Least rights in Redis\")",
        );
    }
    let names: Vec<_> = rights.iter().map(|(command, _)| command.name).collect();
    let more = if all { ", and everything else" } else { "" };
    Verdict::ok(format!("user {user} may run {}{more}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::report::Status;

    fn user(commands: &str, keys: &str, selectors: Vec<Value>) -> Value {
        let text = |text: &str| Value::Text(text.to_string());
        Value::List(vec![
            text("commands"),
            text(commands),
            text("keys"),
            text(keys),
            text("selectors"),
            Value::List(selectors),
        ])
    }

    #[test]
    fn a_server_from_before_users_lets_everybody_do_everything() {
        let error = |kind| Value::Error {
            kind,
            text: String::new(),
        };
        let check = |acl: ErrorKind, hello, expected| {
            assert_eq!(knows_no_users(&error(acl), hello), expected, "{acl:?}");
        };
        let unknown = ErrorKind::UnknownCommand;
        check(unknown, Hello::Refused(unknown), true);
        // `ACL` alone may be renamed, and `HELLO` alone be what a proxy lacks.
        check(unknown, Hello::Accepted, false);
        check(ErrorKind::NoPerm, Hello::Refused(unknown), false);
    }

    #[test]
    fn rules_are_read_in_their_order() {
        let check = |commands: &str, keys: &str, expected| {
            let right = by_rules(&user(commands, keys, vec![]), &HSET, &HashName::default());
            assert_eq!(right, expected, "{commands} {keys}");
        };
        check("+@all", "~*", Right::Granted);
        check("-@all +hset", "~currency", Right::Granted);
        check("-@all +@write", "%RW~curr*", Right::Granted);
        check("+@all -hset", "~*", Right::Refused);
        check("+hset -@all", "~*", Right::Refused);
        check("-@all +hget", "~*", Right::Refused);
        check("+@all -@dangerous", "allkeys", Right::Granted);
        check("+@all", "~other", Right::Refused);
        check("+@all", "~currency2", Right::Refused);
        check("+@all", "", Right::Refused);
        let right = by_rules(
            &user("-@all", "", vec![Value::Null]),
            &HSET,
            &HashName::default(),
        );
        assert_eq!(right, Right::Unknown, "a selector may grant it");
        assert_eq!(
            by_rules(&Value::Null, &HSET, &HashName::default()),
            Right::Unknown
        );
        let before_7 = Value::List(vec![
            Value::Text("commands".into()),
            Value::Text("+@all".into()),
            Value::Text("keys".into()),
            Value::List(vec![Value::Text("*".into())]),
        ]);
        assert_eq!(
            by_rules(&before_7, &HSET, &HashName::default()),
            Right::Granted
        );
        assert!(may_all(&before_7));
    }

    #[test]
    fn rules_and_commands_are_those_of_the_hash() {
        let hash = HashName::parse("app:rates").unwrap();
        let words = ["HSET", "app:rates", "current-value", "1"];
        assert_eq!(HSET.words(&hash), words);
        let right = |keys| by_rules(&user("+@all", keys, vec![]), &HSET, &hash);
        assert_eq!(right("~app:*"), Right::Granted);
        assert_eq!(right("~app:rates"), Right::Granted);
        assert_eq!(right("~currency"), Right::Refused);
        let verdict = judge(("u", &hash), &[(HSET, Right::Refused)], false, true);
        let cure = verdict.cure.unwrap();
        assert_eq!(cure, "ACL SETUSER u ~app:rates +hset");
    }

    #[test]
    fn subcommands_and_commands_without_keys() {
        let check = |commands: &str, expected| {
            let right = by_rules(&user(commands, "", vec![]), &SETNAME, &HashName::default());
            assert_eq!(right, expected, "{commands}");
        };
        check("-@all +client|setname", Right::Granted);
        check("-@all +client", Right::Granted);
        check("-@all +client|list", Right::Refused);
    }

    #[test]
    fn lines() {
        let check = |rights: &[(Command, Right)], all, remote, status, words: &str| {
            let verdict = judge(("u", &HashName::default()), rights, all, remote);
            let text = format!("{} {:?}", verdict.found, verdict.cure);
            assert_eq!(verdict.status, status, "{text}");
            assert!(text.contains(words), "{text}");
        };
        let good = [(HSET, Right::Granted), (PING, Right::Granted)];
        check(&good, false, true, Status::Ok, "hset, ping");
        check(&good, true, false, Status::Ok, "everything else");
        check(&good, true, true, Status::Warn, "least rights");
        let refused = [(HSET, Right::Refused), (PING, Right::Refused)];
        check(
            &refused,
            false,
            true,
            Status::Fail,
            "ACL SETUSER u ~currency +hset\"",
        );
        let unknown = [(HSET, Right::Unknown)];
        check(&unknown, false, true, Status::Warn, "+acl|dryrun");
        let optional = [(HSET, Right::Granted), (SETNAME, Right::Refused)];
        check(&optional, false, true, Status::Warn, "CLIENT LIST");
    }

    #[test]
    fn the_error_decides_what_to_do_about_info() {
        let check = |kind, role, status, cure: &str| {
            let text = "the words".to_string();
            let verdict = no_info(&Value::Error { kind, text }, "u", role);
            assert_eq!(verdict.status, status);
            assert!(verdict.found.contains("the words"), "{verdict:?}");
            assert!(
                verdict.cure.as_deref().unwrap().contains(cure),
                "{verdict:?}"
            );
        };
        let (unknown, no_perm) = (ErrorKind::UnknownCommand, ErrorKind::NoPerm);
        check(no_perm, Role::Read, Status::Fail, "ACL SETUSER u +info");
        check(no_perm, Role::Write, Status::Warn, "ACL SETUSER u +info");
        check(unknown, Role::Read, Status::Fail, "rename-command");
        check(ErrorKind::Other, Role::Read, Status::Fail, "log");
        let absent = judge(
            ("u", &HashName::default()),
            &[(HSET, Right::Absent)],
            false,
            true,
        );
        assert_eq!(absent.status, Status::Fail);
        assert!(absent.cure.unwrap().contains("rename-command"));
    }

    #[test]
    fn replies() {
        let error = |kind| Value::Error {
            kind,
            text: String::new(),
        };
        assert_eq!(tried(&error(ErrorKind::NoPerm)), Right::Refused);
        assert_eq!(tried(&error(ErrorKind::Loading)), Right::Granted);
        assert_eq!(tried(&error(ErrorKind::UnknownCommand)), Right::Absent);
        assert_eq!(tried(&Value::Null), Right::Granted);
        assert_eq!(dry_run(&Value::Text("OK".into())), Right::Granted);
        assert_eq!(
            dry_run(&Value::Text("User u has no…".into())),
            Right::Refused
        );
        assert_eq!(dry_run(&error(ErrorKind::NoPerm)), Right::Unknown);
    }
}
