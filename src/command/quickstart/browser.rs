//! A browser of the tour: it keeps cookies, and its pages are printed as text.

use std::collections::BTreeMap;

use cookie::Cookie;
use reqwest::header::{LOCATION, SET_COOKIE};
use reqwest::{Client as Http, Response, StatusCode};
use url::Url;

use super::super::admin_client::unreachable;
use super::CommandError;
use super::call::{Call, Jar};
use super::site::client;

/// How a shell prints a page as text: the lines of its main part without elements, as [`text`] does.
pub const TEXT: &str = r#"text() { sed -n '/<main/,/<\/main>/{s/<\/bdi>//g;s/<\/[a-z0-9]*>/ /g;s/<[^>]*>//g;s/&#34;/"/g;s/ *$//;/./p;}'; }"#;

/// Keeps cookies, and sends each to the host that set it, whatever the port.
#[derive(Debug)]
pub struct Browser {
    http: Http,
    /// Names and values by host. `None` before the first visit.
    cookies: Option<BTreeMap<String, BTreeMap<String, String>>>,
}

/// What a server answered.
#[derive(Debug)]
pub struct Shown {
    pub status: StatusCode,
    /// Where the answer leads to.
    pub location: Option<Url>,
    pub page: String,
}

impl Browser {
    pub fn new() -> Result<Self, CommandError> {
        Ok(Self {
            http: client(None)?,
            cookies: None,
        })
    }

    /// Visits a page. The closure prints the request.
    pub async fn visit(
        &mut self,
        call: Call,
        print: impl FnOnce(String),
    ) -> Result<Shown, CommandError> {
        let host = Url::parse(call.url());
        let host = host.map_err(|error| CommandError::Other(error.to_string()))?;
        let host = host.host_str().unwrap_or_default().to_owned();
        let jar = match &self.cookies {
            None => Jar::New,
            Some(hosts) => {
                let cookies = hosts.get(&host).into_iter().flatten();
                let pairs = cookies.map(|(name, value)| format!("{name}={value}"));
                Jar::Kept(pairs.collect::<Vec<_>>().join("; "))
            }
        };
        let answer = self.send(&call.cookies(jar), print).await?;
        let cookies = self
            .cookies
            .get_or_insert_default()
            .entry(host)
            .or_default();
        for set in answer.headers().get_all(SET_COOKIE) {
            let parsed = set.to_str().ok().and_then(|set| Cookie::parse(set).ok());
            let Some(cookie) = parsed else { continue };
            if cookie
                .max_age()
                .is_some_and(cookie::time::Duration::is_zero)
            {
                cookies.remove(cookie.name());
            } else {
                cookies.insert(cookie.name().to_owned(), cookie.value().to_owned());
            }
        }
        Shown::read(answer).await
    }

    /// Sends a request to another host, without cookies.
    pub async fn visit_apart(
        &self,
        call: &Call,
        print: impl FnOnce(String),
    ) -> Result<Shown, CommandError> {
        Shown::read(self.send(call, print).await?).await
    }

    async fn send(
        &self,
        call: &Call,
        print: impl FnOnce(String),
    ) -> Result<Response, CommandError> {
        print(call.line());
        let sent = call.request(&self.http).send().await;
        sent.map_err(|error| unreachable(&error))
    }
}

impl Shown {
    async fn read(answer: Response) -> Result<Self, CommandError> {
        let location = answer.headers().get(LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        let location = location.and_then(|location| answer.url().join(location).ok());
        Ok(Self {
            status: answer.status(),
            location,
            page: answer.text().await.map_err(|error| unreachable(&error))?,
        })
    }

    /// The URL that it leads to.
    pub fn leads_to(&self) -> Result<&Url, CommandError> {
        self.location.as_ref().ok_or_else(|| {
            CommandError::Other(format!(
                "expected a redirect, received {}: {}",
                self.status,
                text(&self.page)
            ))
        })
    }

    /// The main part of the page, without its elements.
    pub fn text(&self) -> String {
        text(&self.page)
    }

    /// The value of the first hidden field of this name.
    pub fn hidden(&self, name: &str) -> Result<String, CommandError> {
        let field = self.page.split_once(&format!("name=\"{name}\" value=\""));
        let field = field.and_then(|(_, rest)| rest.split_once('"'));
        let field = field.map(|(value, _)| value.to_owned());
        field.ok_or_else(|| CommandError::Other(format!("the page has no field {name}")))
    }

    /// Prints status and page, which has to have this status and contain this text.
    pub fn print(&self, status: u16, part: &str) -> Result<(), CommandError> {
        let text = text(&self.page);
        println!("{}\n{text}", self.status);
        if self.status == status && text.contains(part) {
            Ok(())
        } else {
            Err(CommandError::Other(format!(
                "expected {status} and `{part}`"
            )))
        }
    }
}

/// The main part of a page without its elements.
fn text(page: &str) -> String {
    let main = page.split_once("<main").map_or("", |(_, main)| main);
    let main = main.split_once("</main>").map_or(main, |(main, _)| main);
    let mut lines = Vec::new();
    for line in format!("<main{main}").lines() {
        let mut shown = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('<') {
            let Some((element, after)) = after.split_once('>') else {
                break;
            };
            shown.push_str(before);
            if element.starts_with('/') && element != "/bdi" {
                shown.push(' ');
            }
            rest = after;
        }
        shown.push_str(rest);
        let shown = shown.replace("&#34;", "\"");
        let shown = shown.trim_end_matches(' ');
        if !shown.is_empty() {
            lines.push(shown.to_owned());
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page whose lines hold every case of the expressions.
    const PAGE: &str = "<html><body>\n<h1>before</h1>\n<main id=\"main\">\n\n<h1>Signed in as <bdi>Pat</bdi>.</h1>\n<dl>\n\
        <dt>User</dt><dd>peter</dd>\n</dl>\n<pre>{\n  &#34;sub&#34;: &#34;1&#34;\n}</pre>\n</main>\n<p>after</p>\n";

    #[test]
    fn a_page_is_printed_as_the_shell_prints_it() {
        let shown = text(PAGE);
        assert_eq!(
            shown,
            "Signed in as Pat.\nUser peter\n{\n  \"sub\": \"1\"\n}"
        );
        let script = format!("{TEXT}; printf '%s' \"$PAGE\" | text");
        let printed = std::process::Command::new("sh")
            .args(["-ec", &script])
            .env("PAGE", PAGE)
            .output()
            .unwrap();
        let printed = String::from_utf8(printed.stdout).unwrap();
        assert_eq!(printed.trim_end_matches('\n'), shown);
    }
}
