//! A request of the tour. What is printed and what is sent are made from the same parts, so they
//! cannot differ.

use std::fmt::Write as _;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

/// A request: what it sends, and how a shell writes it.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    url: String,
    bearer: Option<Text>,
    fields: Vec<(&'static str, Text)>,
    body: Option<String>,
    content_type: Option<&'static str>,
    authority: Option<&'static str>,
}

/// A text that the printed line holds as it is, or takes from a shell variable.
#[derive(Clone, Debug)]
struct Text {
    value: String,
    variable: Option<String>,
}

impl Call {
    pub fn new(method: Method, url: String) -> Self {
        Self {
            method,
            url,
            bearer: None,
            fields: Vec::new(),
            body: None,
            content_type: None,
            authority: None,
        }
    }

    /// To a server whose certificate the authority in this file signed. The HTTP client that sends
    /// the request has to trust it too. In the printed line, `TOOL` is the folder of the file.
    pub fn trusting(mut self, authority: Option<&'static str>) -> Self {
        self.authority = authority;
        self
    }

    /// With this bearer token, which the printed line takes from a variable.
    pub fn bearer(mut self, variable: &str, token: &str) -> Self {
        self.bearer = Some(Text {
            value: token.to_owned(),
            variable: Some(variable.to_owned()),
        });
        self
    }

    /// With this field of a form.
    pub fn field(mut self, name: &'static str, value: &str) -> Self {
        self.fields.push((
            name,
            Text {
                value: value.to_owned(),
                variable: None,
            },
        ));
        self
    }

    /// With this field of a form, which the printed line takes from a variable.
    pub fn variable(mut self, name: &'static str, variable: &str, value: &str) -> Self {
        self.fields.push((
            name,
            Text {
                value: value.to_owned(),
                variable: Some(variable.to_owned()),
            },
        ));
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// With this body, which contains no single quotation mark.
    pub fn body(mut self, content_type: &'static str, body: String) -> Self {
        self.content_type = Some(content_type);
        self.body = Some(body);
        self
    }

    /// The request as a command for a shell.
    pub fn line(&self) -> String {
        let mut line = "curl -s".to_owned();
        // curl sends forms by POST and everything else by GET, unless it is told another method.
        let by_itself = if self.fields.is_empty() {
            Method::GET
        } else {
            Method::POST
        };
        if self.method != by_itself {
            write!(line, " -X {}", self.method).unwrap_or_default();
        }
        if let Some(authority) = &self.authority {
            write!(line, " --cacert \"$TOOL/{authority}\"").unwrap_or_default();
        }
        if let Some(bearer) = &self.bearer {
            write!(
                line,
                " -H \"Authorization: Bearer {}\"",
                bearer.inside_quotes()
            )
            .unwrap_or_default();
        }
        write!(line, " '{}'", self.url).unwrap_or_default();
        if let Some(content_type) = self.content_type {
            write!(line, " -H 'Content-Type: {content_type}'").unwrap_or_default();
        }
        for (name, text) in &self.fields {
            let value = text.inside_quotes();
            if text.variable.is_some() {
                write!(line, " \\\n    --data-urlencode \"{name}={value}\"").unwrap_or_default();
            } else {
                write!(line, " \\\n    --data-urlencode '{name}={value}'").unwrap_or_default();
            }
        }
        if let Some(body) = &self.body {
            write!(line, " \\\n    --data-raw '{body}'").unwrap_or_default();
        }
        line
    }

    /// The same request, to be sent.
    pub fn request(&self, http: &Client) -> RequestBuilder {
        let mut request = http.request(self.method.clone(), &self.url);
        if let Some(bearer) = &self.bearer {
            request = request.bearer_auth(&bearer.value);
        }
        if !self.fields.is_empty() {
            let form: Vec<(&str, &str)> = self
                .fields
                .iter()
                .map(|(name, text)| (*name, text.value.as_str()))
                .collect();
            request = request.form(&form);
        }
        if let Some(content_type) = self.content_type {
            request = request.header("content-type", content_type);
        }
        match &self.body {
            Some(body) => request.body(body.clone()),
            None => request,
        }
    }
}

impl Text {
    fn inside_quotes(&self) -> String {
        match &self.variable {
            Some(variable) => format!("${variable}"),
            None => self.value.clone(),
        }
    }
}
