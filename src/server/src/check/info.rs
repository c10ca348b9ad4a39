//! What a server says of itself in `INFO`, as text.
//! <https://redis.io/docs/latest/commands/info/>

use std::fmt;

/// The answer to `INFO` without arguments.
#[derive(Clone, Debug, Default)]
pub(super) struct Info(pub String);

impl Info {
    /// The value of the line `name:value`.
    pub fn value(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.lines();
        lines.find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.value(name)?.parse().ok()
    }

    /// What the server is, and which version of it. `None` if it doesn't say.
    pub fn server(&self) -> Option<Server> {
        // Valkey goes on saying `redis_version:7.2.4`, for clients that look for it.
        let forks = [
            ("valkey_version", "Valkey"),
            ("dragonfly_version", "Dragonfly"),
        ];
        for (line, family) in forks {
            if let Some(version) = self.value(line) {
                return Some(Server::new(family, version));
            }
        }
        match (self.value("server_name"), self.value("redis_version")) {
            (Some("valkey"), Some(version)) => Some(Server::new("Valkey", version)),
            (None | Some("redis"), Some(version)) => Some(Server::new("Redis", version)),
            (Some(name), Some(version)) => Some(Server::new(name, version)),
            (_, None) => None,
        }
    }
}

/// A family of servers and a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub family: String,
    version: String,
    /// The leading numbers of the version.
    pub numbers: [u32; 3],
}

impl Server {
    fn new(family: &str, version: &str) -> Self {
        let mut numbers = [0; 3];
        let parts = version.trim_start_matches(['v', 'd', 'f', '-']).split('.');
        for (number, part) in numbers.iter_mut().zip(parts) {
            let end = part.find(|c: char| !c.is_ascii_digit());
            *number = part[..end.unwrap_or(part.len())].parse().unwrap_or(0);
        }
        Server {
            family: redis_api_wire::conn::printable(family.as_bytes()),
            version: redis_api_wire::conn::printable(version.as_bytes()),
            numbers,
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_versions() {
        let check = |info: &str, shown: &str, numbers: [u32; 3]| {
            let server = Info(info.to_string()).server().unwrap();
            assert_eq!(
                (server.to_string().as_str(), server.numbers),
                (shown, numbers)
            );
        };
        check(
            "# Server\r\nredis_version:7.0.15\r\n",
            "Redis 7.0.15",
            [7, 0, 15],
        );
        check(
            "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0-rc1\r\n",
            "Valkey 8.1.0-rc1",
            [8, 1, 0],
        );
        check(
            "redis_version:6.2.11\r\ndragonfly_version:df-v1.2.3\r\n",
            "Dragonfly df-v1.2.3",
            [1, 2, 3],
        );
        check("redis_version:6\r\n", "Redis 6", [6, 0, 0]);
        check("server_name:x\r\nredis_version:a.b\r\n", "x a.b", [0, 0, 0]);
        assert_eq!(Info("role:master\r\n".to_string()).server(), None);
    }

    #[test]
    fn values_of_lines() {
        let info = Info("a:1\r\nab:2\r\nempty:\r\n".to_string());
        assert_eq!((info.value("a"), info.value("ab")), (Some("1"), Some("2")));
        assert_eq!((info.value("b"), info.value("empty")), (None, Some("")));
        assert_eq!((info.number("ab"), info.number("empty")), (Some(2), None));
    }
}
