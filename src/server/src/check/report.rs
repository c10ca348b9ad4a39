//! What was found, line by line, as text and as JSON.

use std::fmt;

use serde::Serialize;

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line each: status, role, name, what was found, and the cure.
    Text,
    /// One array of objects with the members `role`, `name`, `status`, `found`, `cure`.
    Json,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// The server of the reads.
    Read,
    /// The server of the writes.
    Write,
    /// The two servers together.
    Both,
    /// This process and the machine under it.
    Process,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// Works, and may not do so for long; or can't be seen.
    Warn,
    /// `serve` would not work so.
    Fail,
}

/// What one look came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub status: Status,
    pub found: String,
    pub cure: Option<String>,
}

impl Verdict {
    pub fn ok(found: impl Into<String>) -> Self {
        Verdict {
            status: Status::Ok,
            found: found.into(),
            cure: None,
        }
    }

    pub fn warn(found: impl Into<String>, cure: impl Into<String>) -> Self {
        Verdict {
            status: Status::Warn,
            found: found.into(),
            cure: Some(cure.into()),
        }
    }

    pub fn fail(found: impl Into<String>, cure: impl Into<String>) -> Self {
        Verdict {
            status: Status::Fail,
            found: found.into(),
            cure: Some(cure.into()),
        }
    }
}

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Whose it is.
    pub role: Role,
    /// What was looked at, in one word.
    pub name: &'static str,
    /// How bad it is.
    pub status: Status,
    /// What was found, without any secret.
    pub found: String,
    /// What to do; absent where all is well.
    pub cure: Option<String>,
}

/// All that was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order in which they were looked for.
    pub(super) findings: Vec<Finding>,
}

impl Report {
    pub(super) fn add(&mut self, role: Role, name: &'static str, verdict: Verdict) {
        let Verdict {
            status,
            found,
            cure,
        } = verdict;
        self.findings.push(Finding {
            role,
            name,
            status,
            found,
            cure,
        });
    }

    /// Whether nothing failed; warnings are no failures.
    pub fn passed(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.all(|finding| finding.status != Status::Fail)
    }

    /// The report as text to print; ends with a newline.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Text => self.findings.iter().map(|f| format!("{f}\n")).collect(),
            Format::Json => {
                // Plain strings and enums: there is nothing in it that has no form in JSON.
                let text = serde_json::to_string_pretty(&self.findings);
                text.unwrap_or_else(|error| format!("{:?}", error.to_string())) + "\n"
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self.status {
            Status::Ok => "OK",
            Status::Warn => "WARN",
            Status::Fail => "FAIL",
        };
        let role = match self.role {
            Role::Read => "read",
            Role::Write => "write",
            Role::Both => "both",
            Role::Process => "process",
        };
        // Texts of servers and of the system may have line breaks: a finding has one line.
        let found = one_line(&self.found);
        write!(f, "{status:<4}  {role:<7}  {:<11}  {found}", self.name)?;
        match &self.cure {
            Some(cure) => write!(f, "; cure: {}", one_line(cure)),
            None => Ok(()),
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.add(Role::Read, "login", Verdict::ok("RESP3"));
        report.add(
            Role::Process,
            "files",
            Verdict::warn("two\nlines", "do this"),
        );
        report
    }

    #[test]
    fn a_finding_has_one_line() {
        assert_eq!(
            report().render(Format::Text),
            "OK    read     login        RESP3\n\
             WARN  process  files        two lines; cure: do this\n"
        );
    }

    #[test]
    fn json_is_an_array_of_objects() {
        let text = report().render(Format::Json);
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            parsed,
            serde_json::json!([
                {"role": "read", "name": "login", "status": "OK", "found": "RESP3", "cure": null},
                {"role": "process", "name": "files", "status": "WARN", "found": "two\nlines",
                 "cure": "do this"},
            ])
        );
    }

    #[test]
    fn only_a_fail_fails() {
        let mut report = report();
        assert!(report.passed());
        report.add(Role::Write, "login", Verdict::fail("no", "yes"));
        assert!(!report.passed());
    }
}
