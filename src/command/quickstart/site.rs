//! A server of an act, and the HTTP client that trusts its certificate.

use std::time::Duration;

use reqwest::{Certificate, Client as Http, Method, StatusCode};

use super::super::admin_client::unreachable;
use super::CommandError;
use super::call::Call;
use super::certificate::{self, AUTHORITY};

/// For one request.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Site {
    url: String,
    /// The file with the authority that signed its certificate, if it has one.
    authority: Option<&'static str>,
    http: Http,
}

/// An HTTP client for the servers of the tour, which trusts this certificate.
pub fn client(certificate: Option<&certificate::Certificate>) -> Result<Http, CommandError> {
    let other = |error: reqwest::Error| CommandError::Other(error.to_string());
    let mut http = carnet_outbound::client(TIMEOUT, certificate.is_some()).no_proxy();
    if let Some(files) = certificate {
        let file = files.authority.display().to_string();
        let pem =
            std::fs::read(&files.authority).map_err(|error| CommandError::File(file, error))?;
        http = http.add_root_certificate(Certificate::from_pem(&pem).map_err(other)?);
    }
    http.build().map_err(other)
}

impl Site {
    /// The server at this URL, which has no slash at its end.
    pub fn new(
        url: String,
        certificate: Option<&certificate::Certificate>,
    ) -> Result<Self, CommandError> {
        Ok(Self {
            url,
            authority: certificate.map(|_| AUTHORITY),
            http: client(certificate)?,
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// A request to this path.
    pub fn call(&self, method: Method, path: &str) -> Call {
        Call::new(method, format!("{}{path}", self.url)).trusting(self.authority)
    }

    /// Sends a request; status and text of the answer.
    pub async fn answer(&self, call: &Call) -> Result<(StatusCode, String), CommandError> {
        let answer = call.request(&self.http).send().await;
        let answer = answer.map_err(|error| unreachable(&error))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| unreachable(&error))?;
        Ok((status, text))
    }

    /// Prints a request for what the registry tells everybody, and its answer, which has to name
    /// the file of the package.
    pub async fn shown(&self, path: &str, expected: &str) -> Result<(), CommandError> {
        let call = self.call(Method::GET, path);
        println!("$ {}", call.line());
        let (status, text) = self.answer(&call).await?;
        println!("{status}\n{}", text.trim_end());
        if status == StatusCode::OK && text.contains(expected) {
            Ok(())
        } else {
            Err(CommandError::Other(format!(
                "the registry does not have {expected}"
            )))
        }
    }
}
