//! Chromium without a screen, spoken to in its DevTools protocol over a pair of pipes.
//!
//! `--remote-debugging-pipe` reads commands from file descriptor 3 and writes answers and events to 4, each a JSON
//! object that ends with a zero byte. A shell opens two FIFOs there.

use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long the browser may take for one thing.
const PATIENCE: Duration = Duration::from_secs(60);

/// The name of the browser, or `None`, having said so, where there is none.
pub fn browser() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let runs = |name: &&str| {
        let version = Command::new(name).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    };
    let found = names.into_iter().find(runs);
    if found.is_none() {
        eprintln!(
            "SKIPPED: no browser here to open the pages with (Debian: apt-get install chromium)"
        );
    }
    found
}

/// A browser with one page.
pub struct Browser {
    child: Child,
    commands: File,
    heard: Receiver<Value>,
    number: u64,
    session: String,
    /// What was written to the console, and exceptions that nobody caught.
    pub console: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Browser {
    /// Starts one with an empty page.
    pub fn start(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [to, from] = ["commands", "answers"].map(|name| folder.path().join(name));
        for fifo in [&to, &from] {
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mkfifoat(rustix::fs::CWD, fifo, mode).unwrap();
        }
        let child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<\"$COMMANDS\" 4>\"$ANSWERS\"", "sh", name])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .args(["--no-first-run", "--disable-background-networking", "--remote-debugging-pipe"])
            .arg("--js-flags=--expose-gc")
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .env("COMMANDS", &to)
            .env("ANSWERS", &from)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The shell opens them in this order, each open waiting for the other side.
        let commands = OpenOptions::new().write(true).open(&to).unwrap();
        let mut answers = BufReader::new(File::open(&from).unwrap());
        let (tell, heard) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while answers.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { return };
                if tell.send(value).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Self {
            child,
            commands,
            heard,
            number: 0,
            session: String::new(),
            console: Vec::new(),
            _folder: folder,
        };
        let page = browser.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let session = browser.ask("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Performance.enable"] {
            browser.ask(domain, json!({}));
        }
        browser
    }

    /// Gives a command and waits for its answer.
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut command = json!({ "id": self.number, "method": method, "params": params });
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        let mut bytes = serde_json::to_vec(&command).unwrap();
        bytes.push(0);
        self.commands.write_all(&bytes).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let heard = self.heard.recv_timeout(left);
            let message = heard.unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == self.number {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.consoleAPICalled") => self.console.push(params["args"].to_string()),
            Some("Runtime.exceptionThrown") => {
                self.console.push(params["exceptionDetails"].to_string());
            }
            Some("Log.entryAdded") => self.console.push(params["entry"].to_string()),
            _ => {}
        }
    }

    /// How large the page is, and whether it is dark.
    pub fn look(&mut self, width: u32, height: u32, dark: bool) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.ask("Emulation.setDeviceMetricsOverride", size);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.ask("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// Opens an address.
    pub fn open(&mut self, address: &str) {
        let opened = self.ask("Page.navigate", json!({ "url": address }));
        assert!(opened["errorText"].is_null(), "{address}: {opened}");
    }

    /// The value of an expression in the page; a promise is waited for.
    pub fn value(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.ask("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.value(&format!("Boolean({expression})")) != true {
            if Instant::now() > deadline {
                let seen = self.value("document.body.innerText");
                panic!("waited in vain until {expression}; the page says: {seen}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.ask("Input.dispatchKeyEvent", json!({ "type": kind, "key": key, "code": key }));
        }
    }

    /// Presses a key until an expression is true: what it works on may have nothing to show yet.
    pub fn press_until(&mut self, key: &str, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.value(&format!("Boolean({expression})")) != true {
            assert!(Instant::now() < deadline, "{key} was pressed in vain until {expression}");
            self.press(key);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A picture of what is seen, as a file.
    pub fn picture(&mut self, file: &Path) {
        let taken = self.ask("Page.captureScreenshot", json!({ "format": "png" }));
        std::fs::write(file, decoded(taken["data"].as_str().unwrap())).unwrap();
    }

    /// A number that the browser measures, such as `JSHeapUsedSize` or `Nodes`, after it has cleaned up.
    pub fn measured(&mut self, name: &str) -> f64 {
        self.ask("HeapProfiler.collectGarbage", json!({}));
        let all = self.ask("Performance.getMetrics", json!({}));
        let one = all["metrics"].as_array().unwrap().iter().find(|one| one["name"] == name);
        one.unwrap_or_else(|| panic!("{name}: {all}"))["value"].as_f64().unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends when its commands do; children that are left end with it.
        let _ = self.commands.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Base64.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for digit in text.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => break,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}

/// How light a colour `rgb(r, g, b)` is, from 0 to 1 (WCAG 2).
pub fn luminance(color: &Value) -> f64 {
    let text = color.as_str().unwrap();
    let (_, numbers) = text.split_once('(').unwrap();
    let parts: Vec<f64> = numbers
        .trim_end_matches(')')
        .split(',')
        .map(|part| part.trim().parse::<f64>().unwrap() / 255.0)
        .map(|part| if part <= 0.03928 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) })
        .collect();
    0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
}

/// How well text of one colour is read on the other, from 1 to 21 (WCAG 2).
pub fn contrast(a: &Value, b: &Value) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}
