//! A request of the tour. What is printed and what is sent are made from the same parts, so they
//! cannot differ.

use std::fmt::Write as _;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

/// A request: what it sends, and how a shell writes it.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    url: Text,
    bearer: Option<Text>,
    fields: Vec<(&'static str, Text)>,
    body: Option<String>,
    content_type: Option<&'static str>,
    authority: Option<&'static str>,
    /// User name and password (RFC 7617).
    basic: Option<(&'static str, Text)>,
    /// The one member of a JSON body.
    member: Option<(&'static str, Text)>,
    upload: Option<Upload>,
    cookies: Option<Jar>,
    /// Whether the printed line shows where the answer leads to, instead of its body.
    shows_location: bool,
}

/// The cookies of a browser, which the printed lines keep in the file `JAR`.
#[derive(Clone, Debug)]
pub enum Jar {
    /// A browser that has no cookie yet.
    New,
    /// With this `Cookie` header.
    Kept(String),
}

/// A body of `multipart/form-data` (RFC 7578): fields, and a file of the folder in which tools run.
#[derive(Clone, Debug)]
pub struct Upload {
    pub fields: Vec<(&'static str, String)>,
    /// The name of its field, its own name, and its content.
    pub file: (&'static str, &'static str, &'static [u8]),
}

/// What separates the parts of an upload; no content of the tour holds it.
const BOUNDARY: &str = "carnet-quickstart-boundary";

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
            url: Text {
                value: url,
                variable: None,
            },
            bearer: None,
            fields: Vec::new(),
            body: None,
            content_type: None,
            authority: None,
            basic: None,
            member: None,
            upload: None,
            cookies: None,
            shows_location: false,
        }
    }

    /// The URL of the request.
    pub fn url(&self) -> &str {
        &self.url.value
    }

    /// Takes the URL from this variable in the printed line.
    pub fn at_variable(mut self, variable: &str) -> Self {
        self.url.variable = Some(variable.to_owned());
        self
    }

    /// From a browser with these cookies.
    pub fn cookies(mut self, cookies: Jar) -> Self {
        self.cookies = Some(cookies);
        self
    }

    /// Prints where the answer leads to, and not its body.
    pub fn shows_location(mut self) -> Self {
        self.shows_location = true;
        self
    }

    /// With this user, whose password the printed line takes from a variable.
    pub fn user(mut self, name: &'static str, variable: &str, password: &str) -> Self {
        self.basic = Some((name, Text::of_variable(variable, password)));
        self
    }

    /// With a JSON object of one member, which the printed line takes from a variable.
    pub fn member(mut self, name: &'static str, variable: &str, value: &str) -> Self {
        self.content_type = Some("application/json");
        self.member = Some((name, Text::of_variable(variable, value)));
        self
    }

    pub fn upload(mut self, upload: Upload) -> Self {
        self.upload = Some(upload);
        self
    }

    /// To a server whose certificate the authority in this file signed. The HTTP client that sends
    /// the request has to trust it too. In the printed line, `TOOL` is the folder of the file.
    pub fn trusting(mut self, authority: Option<&'static str>) -> Self {
        self.authority = authority;
        self
    }

    /// With this bearer token, which the printed line takes from a variable.
    pub fn bearer(mut self, variable: &str, token: &str) -> Self {
        self.bearer = Some(Text::of_variable(variable, token));
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
        self.fields.push((name, Text::of_variable(variable, value)));
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
        let by_itself = if self.fields.is_empty() && self.upload.is_none() && self.member.is_none()
        {
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
        if let Some((user, password)) = &self.basic {
            write!(line, " -u \"{user}:{}\"", password.inside_quotes()).unwrap_or_default();
        }
        match self.cookies {
            None => {}
            Some(Jar::New) => line.push_str(" -c \"$JAR\""),
            Some(Jar::Kept(_)) => line.push_str(" -b \"$JAR\" -c \"$JAR\""),
        }
        if self.shows_location {
            line.push_str(" -o /dev/null -w '%{redirect_url}'");
        }
        let quotes = if self.url.variable.is_some() {
            '"'
        } else {
            '\''
        };
        write!(line, " {quotes}{}{quotes}", self.url.inside_quotes()).unwrap_or_default();
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
        if let Some((name, text)) = &self.member {
            let value = text.inside_quotes();
            write!(
                line,
                " \\\n    --data-raw \"{{\\\"{name}\\\":\\\"{value}\\\"}}\""
            )
            .unwrap_or_default();
        }
        if let Some(upload) = &self.upload {
            upload.write(&mut line);
        }
        line
    }

    /// The same request, to be sent.
    pub fn request(&self, http: &Client) -> RequestBuilder {
        let mut request = http.request(self.method.clone(), &self.url.value);
        if let Some(Jar::Kept(cookies)) = &self.cookies
            && !cookies.is_empty()
        {
            request = request.header("cookie", cookies);
        }
        if let Some(bearer) = &self.bearer {
            request = request.bearer_auth(&bearer.value);
        }
        if let Some((user, password)) = &self.basic {
            request = request.basic_auth(user, Some(&password.value));
        }
        if let Some((name, text)) = &self.member {
            request = request.body(json!({ *name: text.value }).to_string());
        }
        if let Some(upload) = &self.upload {
            let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
            request = request.header("content-type", content_type);
            request = request.body(upload.body());
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

impl Upload {
    /// Its arguments of curl, on a line of their own.
    fn write(&self, line: &mut String) {
        line.push_str(" \\\n   ");
        for (name, value) in &self.fields {
            write!(line, " -F '{name}={value}'").unwrap_or_default();
        }
        let (name, file, _) = self.file;
        write!(line, " -F \"{name}=@$TOOL/package/{file}\"").unwrap_or_default();
    }

    fn body(&self) -> Vec<u8> {
        let mut head = String::new();
        let disposition = "Content-Disposition: form-data";
        for (name, value) in &self.fields {
            write!(
                head,
                "--{BOUNDARY}\r\n{disposition}; name=\"{name}\"\r\n\r\n{value}\r\n"
            )
            .unwrap_or_default();
        }
        let (name, file, content) = self.file;
        write!(
            head,
            "--{BOUNDARY}\r\n{disposition}; name=\"{name}\"; filename=\"{file}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        )
        .unwrap_or_default();
        let tail = format!("\r\n--{BOUNDARY}--\r\n");
        [head.as_bytes(), content, tail.as_bytes()].concat()
    }
}

impl Text {
    fn of_variable(variable: &str, value: &str) -> Self {
        Self {
            value: value.to_owned(),
            variable: Some(variable.to_owned()),
        }
    }

    fn inside_quotes(&self) -> String {
        match &self.variable {
            Some(variable) => format!("${variable}"),
            None => self.value.clone(),
        }
    }
}
