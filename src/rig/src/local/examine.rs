//! What `redis-api check` says of the rig whose API did not become ready.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// The check ends by itself before that.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs `check` of our own binary, which is what `command` starts, with the arguments that `serve`
/// got; `None` if it says nothing. Its report is all that matters: that something fails is known.
pub(super) async fn report(mut command: Command, serve: &[OsString]) -> Option<String> {
    command.arg("check").args(serve.get(1..)?);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command.kill_on_drop(true);
    let output = timeout(CHECK_TIMEOUT, command.output()).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn check_gets_the_arguments_of_serve() {
        let args = |args: &[&str]| args.iter().map(OsString::from).collect::<Vec<_>>();
        let said = report(
            Command::new("/bin/echo"),
            &args(&["serve", "--pin", "--x=y"]),
        )
        .await;
        assert_eq!(said.as_deref(), Some("check --pin --x=y"));
        let silent = report(Command::new("/bin/false"), &args(&["serve"])).await;
        assert_eq!(silent, None);
        let missing = report(Command::new("/nowhere/api"), &args(&["serve"])).await;
        assert_eq!(missing, None);
    }
}
