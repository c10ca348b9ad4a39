//! A file of users, as Redis' `aclfile` is: its lines, and what has to be said to a server so that
//! it has the same users.
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>
//!
//! Invariant: no message has a word of a rule in it, since any of them may be a password, a garbled
//! one too.

use std::collections::HashSet;

use redis_api_wire::conn::printable;

/// One line. It has no `Debug`: rules hold passwords.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct User {
    pub name: String,
    pub rules: Vec<String>,
}

/// The users of a file.
///
/// # Errors
/// What is wrong with which line; the server would refuse the file too.
pub(super) fn parse(text: &str) -> Result<Vec<User>, String> {
    let mut users: Vec<User> = Vec::new();
    let mut names = HashSet::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let mut words = line.trim().split(' ').filter(|word| !word.is_empty());
        match words.next() {
            None => continue,
            Some("user") => {}
            Some(_) => return Err(format!("line {number} does not begin with `user`")),
        }
        let Some(name) = words.next() else {
            return Err(format!("line {number} has no user name"));
        };
        if !names.insert(name) {
            return Err(format!("line {number} repeats a user"));
        }
        users.push(User {
            name: name.to_owned(),
            rules: words.map(String::from).collect(),
        });
    }
    // It would take every user from the server.
    if users.is_empty() {
        return Err("it has no users".to_owned());
    }
    Ok(users)
}

/// The users of `wanted` that are not so in `known`, our own last: after its change we may have
/// fewer rights.
pub(super) fn changed<'a>(wanted: &'a [User], known: &[User], own: &str) -> Vec<&'a User> {
    let mut changed: Vec<&User> = wanted.iter().filter(|user| !known.contains(user)).collect();
    changed.sort_by_key(|user| user.name == own);
    changed
}

/// Those of the server's users that are to go. `default` can't, and our own stays: without it
/// nobody could mend the file's mistake.
pub(super) fn leavers<'a>(names: &[&'a str], wanted: &[User], own: &str) -> Vec<&'a str> {
    let stays = |name: &str| {
        name == "default" || name == own || wanted.iter().any(|user| user.name == name)
    };
    names.iter().copied().filter(|name| !stays(name)).collect()
}

/// What the server said of a user's rules, with the number of a rule in place of the rule. `None`:
/// it may still hold one.
pub(super) fn without_rules(said: &str, rules: &[String]) -> Option<String> {
    let mut shown = said.to_owned();
    for (index, rule) in rules.iter().enumerate() {
        let quoted = format!("'{}'", printable(rule.as_bytes()));
        shown = shown.replace(&quoted, &format!("number {}", index + 1));
    }
    (shown != said && !shown.contains('\'')).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(text: &str) -> Vec<User> {
        match parse(text) {
            Ok(users) => users,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn lines() {
        let check = |text: &str, expected: &[&[&str]]| {
            let found = users(text);
            let found: Vec<Vec<&str>> = (found.iter())
                .map(|user| {
                    let rules = user.rules.iter().map(String::as_str);
                    [user.name.as_str()].into_iter().chain(rules).collect()
                })
                .collect();
            assert_eq!(found, expected, "{text:?}");
        };
        check("user default off", &[&["default", "off"]]);
        check(
            "\n  user a on >p  ~* \r\n\nuser b\n",
            &[&["a", "on", ">p", "~*"], &["b"]],
        );
        check("user a (+get ~b c)", &[&["a", "(+get", "~b", "c)"]]);
    }

    #[test]
    fn files_that_a_server_would_refuse() {
        let check = |text: &str, expected: &str| {
            let error = parse(text).err();
            assert_eq!(error.as_deref(), Some(expected), "{text:?}");
        };
        check("", "it has no users");
        check(" \n\n", "it has no users");
        check("user a\n# geheim", "line 2 does not begin with `user`");
        check("geheim", "line 1 does not begin with `user`");
        check("\nuser", "line 2 has no user name");
        check("user a on\nuser a off", "line 2 repeats a user");
    }

    #[test]
    fn only_what_changed_is_set_and_our_own_last() {
        let known = users("user admin on\nuser a on\nuser b on");
        let check = |wanted: &str, expected: &[&str]| {
            let wanted = users(wanted);
            let names: Vec<&str> = (changed(&wanted, &known, "admin").iter())
                .map(|user| user.name.as_str())
                .collect();
            assert_eq!(names, expected);
        };
        check("user admin on\nuser a on\nuser b on", &[]);
        check("user a on", &[]);
        check("user admin off\nuser a on >p\nuser c", &["a", "c", "admin"]);
    }

    #[test]
    fn users_that_are_not_in_the_file_go() {
        let wanted = users("user a on\nuser b on");
        let check = |names: &[&str], expected: &[&str]| {
            assert_eq!(leavers(names, &wanted, "admin"), expected);
        };
        check(&["default", "admin", "a", "b"], &[]);
        check(&["default", "a", "gone", "A"], &["gone", "A"]);
    }

    #[test]
    fn no_rule_is_repeated() {
        let check = |said: &str, rules: &[&str], expected: Option<&str>| {
            let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
            assert_eq!(without_rules(said, &rules).as_deref(), expected, "{said}");
        };
        let said = "ERR Error in ACL SETUSER modifier 'geheim': Syntax error";
        check(
            said,
            &["on", "geheim"],
            Some("ERR Error in ACL SETUSER modifier number 2: Syntax error"),
        );
        check(said, &["on"], None);
        check("ERR about 'on' and 'geheim'", &["on"], None);
        check("ERR geheim", &["geheim"], None);
    }
}
