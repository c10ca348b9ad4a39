//! A real browser: Chromium without a window, driven over the DevTools protocol.
//!
//! The protocol goes through a pipe, not a port: nobody else can talk to the browser, and it ends
//! by itself when the pipe does, even if this process is killed.
//! <https://chromedevtools.github.io/devtools-protocol/>

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::poll::{PATIENCE, eventually};
use super::process::{Process, find_program};

/// What it is called, by distribution.
const NAMES: &[&str] = &["chromium", "chromium-browser", "google-chrome"];

/// Hands the pipes over as descriptors 3 and 4, where the browser expects them.
const HANDOVER: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#;

const FLAGS: &[&str] = &[
    "--headless=new",
    "--remote-debugging-pipe",
    // It only sees pages of ours, and has no sandbox for root or in most containers.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--lang=en",
];

/// The reader's `prefers-color-scheme`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    Light,
    Dark,
}

/// A browser with one page. Killed when dropped.
#[derive(Debug)]
pub struct Browser {
    process: Process,
    commands: ChildStdin,
    seen: Arc<Mutex<Seen>>,
    last_id: u64,
    /// Of the page; empty until there is one.
    session: String,
    folder: TempDir,
}

/// What the browser has said so far.
#[derive(Debug, Default)]
struct Seen {
    answers: HashMap<u64, Value>,
    requests: Vec<String>,
    complaints: Vec<String>,
}

impl Browser {
    /// Starts a browser and opens `url`, 1280 by 800 and light.
    ///
    /// # Panics
    /// When there is no Chromium, or it does not start.
    #[track_caller]
    pub fn open(url: &str) -> Browser {
        let program = find_program(NAMES).expect("Chromium is installed: `make setup` does that");
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let log = File::create(folder.path().join("log")).expect("our folder is writable");
        let mut command = Command::new("sh");
        command.arg("-c").arg(HANDOVER).arg(program).args(FLAGS);
        command.arg(format!(
            "--user-data-dir={}",
            folder.path().join("profile").display()
        ));
        command.env("HOME", folder.path());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut process = Process::spawn(&mut command);
        let commands = process.child().stdin.take().expect("stdin is piped");
        let messages = process.child().stdout.take().expect("stdout is piped");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let listener = Arc::clone(&seen);
        thread::spawn(move || {
            for message in BufReader::new(messages).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("the browser speaks JSON");
                note(
                    &mut listener.lock().expect("nobody panics with it"),
                    message,
                );
            }
        });
        let mut browser = Browser {
            process,
            commands,
            seen,
            last_id: 0,
            session: String::new(),
            folder,
        };
        browser.attach();
        browser.resize(1280, 800);
        browser.theme(Theme::Light);
        browser.visit(url);
        browser
    }

    /// Makes the page, and has all that happens in it told.
    #[track_caller]
    fn attach(&mut self) {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}));
        let attached = self.call(
            "Target.attachToTarget",
            json!({"targetId": target["targetId"], "flatten": true}),
        );
        let downloads = self.downloads();
        fs::create_dir_all(&downloads).expect("our folder is writable");
        self.call(
            "Browser.setDownloadBehavior",
            json!({"behavior": "allow", "downloadPath": downloads}),
        );
        let session = attached["sessionId"].as_str();
        self.session = session.expect("it is attached to the page").into();
        for domain in ["Page", "Runtime", "Network", "Log"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
    }

    /// Goes to another address.
    #[track_caller]
    pub fn visit(&mut self, url: &str) {
        let outcome = self.call("Page.navigate", json!({"url": url}));
        assert_eq!(outcome.get("errorText"), None, "{url}");
        self.wait_for("document.readyState === 'complete'");
    }

    /// The value of an expression of JavaScript, awaited if it is a promise.
    ///
    /// # Panics
    /// When it throws.
    #[track_caller]
    pub fn evaluate(&mut self, expression: &str) -> Value {
        match self.try_evaluate(expression) {
            Ok(value) => value,
            Err(error) => panic!("{expression}: {error}"),
        }
    }

    #[track_caller]
    fn try_evaluate(&mut self, expression: &str) -> Result<Value, String> {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut outcome = self.try_call("Runtime.evaluate", params)?;
        match outcome.get("exceptionDetails") {
            Some(details) => Err(details.to_string()),
            None => Ok(outcome["result"]["value"].take()),
        }
    }

    /// Waits until a condition of JavaScript is true. A page that is not there yet is waited for.
    #[track_caller]
    pub fn wait_for(&mut self, condition: &str) {
        eventually(PATIENCE, condition, || match self.try_evaluate(condition) {
            Ok(Value::Bool(true)) => Ok(()),
            Ok(value) => Err(format!("it is {value}")),
            Err(error) => Err(error),
        });
    }

    /// The text of the element with this id, as it is in the document.
    #[track_caller]
    pub fn text(&mut self, id: &str) -> String {
        let text = self.evaluate(&format!("document.getElementById('{id}').textContent"));
        text.as_str().unwrap_or_default().into()
    }

    /// Waits until the element with this id has this text.
    #[track_caller]
    pub fn wait_text(&mut self, id: &str, expected: &str) {
        eventually(PATIENCE, &format!("{expected:?} in #{id}"), || {
            let text = self.text(id);
            if text == expected { Ok(()) } else { Err(text) }
        });
    }

    /// Clicks on what `selector` finds first.
    #[track_caller]
    pub fn click(&mut self, selector: &str) {
        self.evaluate(&format!("document.querySelector({selector:?}).click()"));
    }

    /// Gives the page another size, in CSS pixels.
    #[track_caller]
    pub fn resize(&mut self, width: u32, height: u32) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
    }

    /// Changes the reader's taste.
    #[track_caller]
    pub fn theme(&mut self, theme: Theme) {
        let value = match theme {
            Theme::Light => "light",
            Theme::Dark => "dark",
        };
        self.call(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": "prefers-color-scheme", "value": value}]}),
        );
    }

    /// Writes a PNG of what is in the window.
    #[track_caller]
    pub fn screenshot(&mut self, file: &Path) {
        let image = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let image = image["data"].as_str().expect("it is base64");
        let image = STANDARD.decode(image).expect("it is base64");
        fs::write(file, image).expect("the folder is writable");
    }

    /// The addresses of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.seen().requests.clone()
    }

    /// Errors and warnings on the console so far: exceptions, refusals of the policy, failed loads.
    pub fn complaints(&self) -> Vec<String> {
        self.seen().complaints.clone()
    }

    /// Waits for a download, and gives what is in it.
    #[track_caller]
    pub fn wait_download(&self) -> (PathBuf, Vec<u8>) {
        eventually(PATIENCE, "a download", || {
            let entries = fs::read_dir(self.downloads()).map_err(|error| error.to_string())?;
            let file = entries
                .flatten()
                .map(|entry| entry.path())
                // What is not whole yet has another name.
                .find(|path| path.extension().is_some_and(|end| end == "json"))
                .ok_or("none yet")?;
            let bytes = fs::read(&file).map_err(|error| error.to_string())?;
            Ok::<_, String>((file, bytes))
        })
    }

    fn downloads(&self) -> PathBuf {
        self.folder.path().join("downloads")
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("nobody panics with it")
    }

    /// Calls a method of the protocol, of the page if there is one.
    #[track_caller]
    fn call(&mut self, method: &str, params: Value) -> Value {
        match self.try_call(method, params) {
            Ok(result) => result,
            Err(error) => panic!("{method}: {error}; log:\n{}", self.log()),
        }
    }

    #[track_caller]
    fn try_call(&mut self, method: &str, params: Value) -> Result<Value, String> {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({"id": id, "method": method, "params": params});
        // Methods of the browser itself know no session.
        let own = method.starts_with("Browser.") || method.starts_with("Target.");
        if !own {
            message["sessionId"] = self.session.clone().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.commands
            .write_all(&bytes)
            .map_err(|error| format!("the browser is gone: {error}"))?;
        let mut answer = eventually(PATIENCE, method, || self.seen().answers.remove(&id));
        match answer.get("error") {
            Some(error) => Err(error.to_string()),
            None => Ok(answer["result"].take()),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Browser {
    /// Asks it to end: only so are its children sure to be gone before its folder.
    fn drop(&mut self) {
        let _ = self
            .commands
            .write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        if !thread::panicking() {
            self.process.wait_exit(PATIENCE);
        }
    }
}

/// Keeps what a message says.
fn note(seen: &mut Seen, message: Value) {
    if let Some(id) = message["id"].as_u64() {
        seen.answers.insert(id, message);
        return;
    }
    let params = &message["params"];
    match message["method"].as_str().unwrap_or_default() {
        "Network.requestWillBeSent" => {
            let url = params["request"]["url"].as_str().unwrap_or_default();
            seen.requests.push(url.into());
        }
        "Runtime.exceptionThrown" => seen.complaints.push(params["exceptionDetails"].to_string()),
        "Runtime.consoleAPICalled"
            if matches!(params["type"].as_str(), Some("error" | "warning")) =>
        {
            seen.complaints.push(params["args"].to_string());
        }
        "Log.entryAdded"
            if matches!(params["entry"]["level"].as_str(), Some("error" | "warning")) =>
        {
            seen.complaints.push(params["entry"].to_string());
        }
        _ => {}
    }
}
