//! The authorization request of a sign-in (RFC 6749 section 4.1.1, RFC 7636, RFC 8707, OpenID Connect
//! Core 1.0 section 3.1.2.1).

use carnet_jose::{base64url, sha256};
use url::Url;

use super::{CLIENT_ID, LoginArgs};
use crate::people::Secrets;

/// What is asked of the server, and the secrets that bind its answers to this command.
#[derive(Debug)]
pub struct Authorization<'a> {
    pub secrets: Secrets,
    pub scope: Option<String>,
    resource: String,
    principal: Option<&'a str>,
}

impl<'a> Authorization<'a> {
    /// Without `--resource` the token is for the admin API, and the ID token says who signed in.
    pub fn new(args: &'a LoginArgs) -> Self {
        let asked = args.scope.as_deref().unwrap_or_default();
        let identity: &[&str] = match args.resource {
            Some(_) => &[],
            None => &["openid", "profile"],
        };
        let mut scope: Vec<&str> = identity.to_vec();
        for token in asked.split_ascii_whitespace() {
            if !scope.contains(&token) {
                scope.push(token);
            }
        }
        let issuer = args.server.issuer().trim_end_matches('/');
        let resource = args.resource.clone();
        Self {
            secrets: Secrets::new(),
            scope: (!scope.is_empty()).then(|| scope.join(" ")),
            resource: resource.unwrap_or_else(|| format!("{issuer}/admin")),
            principal: args.principal.as_deref(),
        }
    }

    /// Whether there is to be an ID token.
    pub fn is_of_openid(&self) -> bool {
        let scope = self.scope.as_deref().unwrap_or_default();
        scope.split(' ').any(|token| token == "openid")
    }

    /// The URL for the browser. What the endpoint's query has stays (RFC 6749 section 3.1).
    pub fn url(&self, mut endpoint: Url, redirect_uri: &str) -> Url {
        let challenge = base64url(sha256(self.secrets.verifier.as_bytes()));
        let mut query = endpoint.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", CLIENT_ID)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("state", &self.secrets.state)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("resource", &self.resource);
        if self.is_of_openid() {
            query.append_pair("nonce", &self.secrets.nonce);
        }
        let optional = [
            ("scope", self.scope.as_deref()),
            ("principal", self.principal),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        drop(query);
        endpoint
    }
}
