//! Debian's chromium with a person at it, and an OpenID provider of another project with pages of its own: `tests/browser`.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::{Packages, may_skip};

/// A program of `tests/browser`, which ends when its input ends, however the tests end.
#[derive(Debug)]
struct Script {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Script {
    /// None where the machine lacks what it takes and that is allowed.
    fn start(name: &str, variables: &[(&str, &str)], first: Option<&Value>) -> Option<Self> {
        let mut command = Packages::Browser.script(name)?;
        let mut child = command
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut script = Self {
            stdin: child.stdin.take().unwrap(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        if let Some(first) = first {
            script.write(first);
        }
        assert_eq!(script.read(), "ready", "{name}");
        Some(script)
    }

    fn write(&mut self, line: &Value) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    fn read(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// npm's `oidc-provider` at a loopback address.
#[derive(Debug)]
pub struct ForeignProvider {
    /// Its address, as `host:port`.
    pub address: String,
    settings: Value,
    script: Option<Script>,
}

impl ForeignProvider {
    /// `pages` is `own` for log-in pages at which a person chooses how they log in, or `bundled` for those that come with it.
    pub fn start(address: String, pages: &str, client: &Value) -> Option<Self> {
        let settings = json!({ "address": address, "pages": pages, "client": client });
        let script = Some(Script::start("provider.mjs", &[], Some(&settings))?);
        Some(Self {
            address,
            settings,
            script,
        })
    }

    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn stop(&mut self) {
        self.script = None;
    }

    /// Starts it anew, with new keys and without any session.
    pub fn restart(&mut self) {
        self.stop();
        self.script = Script::start("provider.mjs", &[], Some(&self.settings));
    }
}

/// A browser with one page. What it is told to wait for has 15 seconds.
#[derive(Debug)]
pub struct Browser {
    script: RefCell<Script>,
    /// The origin of the pages that are examined.
    origin: String,
}

impl Browser {
    /// None where the machine lacks what it takes and that is allowed.
    pub fn start(origin: &str) -> Option<Self> {
        let names = ["chromium", "chromium-browser"];
        let found = names.iter().find(|name| {
            let mut command = Command::new(name);
            let command = command.arg("--version").stdin(Stdio::null());
            command.output().is_ok_and(|output| output.status.success())
        });
        let Some(name) = found else {
            may_skip("chromium");
            return None;
        };
        let path = Command::new("sh")
            .args(["-c", &format!("command -v {name}")])
            .output();
        let path = String::from_utf8(path.unwrap().stdout).unwrap();
        let script = Script::start("driver.mjs", &[("CHROMIUM", path.trim())], None)?;
        let browser = Self {
            script: RefCell::new(script),
            origin: origin.to_owned(),
        };
        browser.open(true);
        Some(browser)
    }

    #[track_caller]
    fn act(&self, act: &str, options: Value) -> Value {
        let mut line = options;
        line["act"] = act.into();
        let mut script = self.script.borrow_mut();
        script.write(&line);
        let answer = script.read();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{act}"));
        assert!(
            answer.get("error").is_none(),
            "{line}: {}",
            answer["error"].as_str().unwrap()
        );
        answer["value"].clone()
    }

    #[track_caller]
    fn text_of(&self, act: &str, options: Value) -> String {
        self.act(act, options).as_str().unwrap().to_owned()
    }

    /// Begins anew, without any cookie.
    pub fn open(&self, scripts: bool) {
        self.act(
            "open",
            json!({ "scripts": scripts, "origin": self.origin.as_str() }),
        );
    }

    /// Goes to a URL, or to a path of the origin.
    #[track_caller]
    pub fn visit(&self, url: &str) {
        let url = if url.starts_with('/') {
            format!("{}{url}", self.origin)
        } else {
            url.to_owned()
        };
        self.act("visit", json!({ "url": url }));
    }

    #[track_caller]
    pub fn press(&self, button: &str) {
        self.act("press", json!({ "role": "button", "name": button }));
    }

    #[track_caller]
    pub fn follow(&self, link: &str) {
        self.act("press", json!({ "role": "link", "name": link }));
    }

    /// Follows the first link that a selector of CSS finds.
    #[track_caller]
    pub fn press_first(&self, selector: &str) {
        self.act("press_first", json!({ "selector": selector }));
    }

    #[track_caller]
    pub fn fill(&self, label: &str, value: &str) {
        self.act("fill", json!({ "label": label, "value": value }));
    }

    #[track_caller]
    pub fn tick(&self, label: &str) {
        self.act("tick", json!({ "label": label }));
    }

    /// Fills in the log-in page that comes with `oidc-provider`, which has no labels.
    #[track_caller]
    pub fn log_in_at_bundled_page(&self, name: &str) {
        self.shows("Sign-in");
        let values = json!({ "Enter any login": name, "and password": "anything" });
        self.act("placeholders", json!({ "values": values }));
        self.press("Sign-in");
    }

    /// Presses keys until this has the focus, as somebody without a mouse does.
    #[track_caller]
    pub fn tab_to(&self, name: &str) {
        let mut passed = Vec::new();
        for _ in 0..60 {
            self.key("Tab");
            let focus = self.text_of("focus", json!({}));
            if focus == name {
                return;
            }
            passed.push(focus);
        }
        panic!("no key leads to {name}: {passed:?}");
    }

    #[track_caller]
    pub fn key(&self, key: &str) {
        self.act("key", json!({ "key": key }));
    }

    #[track_caller]
    pub fn type_text(&self, text: &str) {
        self.act("type", json!({ "text": text }));
    }

    /// Waits until the page shows this, and returns all that it shows.
    #[track_caller]
    pub fn shows(&self, text: &str) -> String {
        self.text_of("shows", json!({ "text": text }))
    }

    pub fn url(&self) -> String {
        self.text_of("url", json!({}))
    }

    /// The cookies, each with its `name`, `value`, `domain`, `httpOnly`, `sameSite` and `secure`.
    pub fn cookies(&self) -> Vec<Value> {
        let cookies = self.act("cookies", json!({}));
        cookies.as_array().unwrap().clone()
    }

    pub fn cookie(&self, name: &str) -> Option<Value> {
        let cookies = self.cookies().into_iter();
        cookies
            .filter(|cookie| cookie["name"] == name)
            .find(|cookie| !cookie["value"].as_str().unwrap().is_empty())
    }

    /// Takes parameters out of the next request to a URL that begins like this.
    pub fn strip(&self, prefix: &str, names: &[&str]) {
        self.act("strip", json!({ "prefix": prefix, "names": names }));
    }

    /// Keeps the next request to a URL that begins like this from going out. What was shown stays.
    pub fn intercept(&self, prefix: &str) {
        self.act("intercept", json!({ "prefix": prefix }));
    }

    /// Waits for the URL of the request that was kept.
    #[track_caller]
    pub fn intercepted(&self) -> String {
        self.text_of("intercepted", json!({}))
    }

    /// Checks with axe-core, light and dark, wide and narrow, that the page has no serious or critical fault. In the folder of
    /// `CARNET_SCREENSHOTS`, if there is one, pictures are left for those who look at them.
    #[track_caller]
    pub fn examine(&self, name: &str) {
        let found = self.act("examine", json!({}));
        let bad: Vec<&Value> = found
            .as_array()
            .unwrap()
            .iter()
            .filter(|fault| fault["impact"] == "serious" || fault["impact"] == "critical")
            .collect();
        assert!(bad.is_empty(), "{name}: {bad:#?}");
        if let Ok(folder) = std::env::var("CARNET_SCREENSHOTS") {
            for (width, scheme) in [(1280, "light"), (320, "dark")] {
                let path = format!("{folder}/{name}-{width}-{scheme}.png");
                let picture = json!({ "path": path, "width": width, "scheme": scheme });
                self.act("screenshot", picture);
            }
        }
    }

    /// Waits until the page goes to a URL that begins like this, even if no program takes it, and returns it.
    #[track_caller]
    pub fn goes_to(&self, prefix: &str) -> String {
        self.text_of("way", json!({ "prefix": prefix }))
    }

    /// Checks that no page of the origin broke its own content security policy, failed in a script, or complained otherwise.
    #[track_caller]
    pub fn has_no_complaints(&self) {
        assert_eq!(self.act("complaints", json!({})), json!([]));
    }
}
