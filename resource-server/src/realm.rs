//! Challenges and the HTTP responses that contain them (RFC 6750 section 3, RFC 9449 section 7.1).

use carnet_dpop::offer_nonce;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::possession::proof_algorithms;
use crate::{
    AccessToken, CREATE, Confirmation, DenialReason, Denied, DpopRejection, Operation,
    ProtectedResource, Rejection,
};

/// Seconds after which a client may try again when a token could not be checked.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("30");
/// The most characters of the reason why a proof is not valid that a challenge has: it names the
/// `htu` of the proof, which may be long.
const MAX_REASON: usize = 400;

/// The protection space that a registry names in its challenges (RFC 9110 section 11.5), and the
/// builder of its error responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realm {
    name: String,
    metadata: Option<String>,
    takes_proofs: bool,
}

/// The parameters of a challenge that only one of two challenges has.
type Parameters<'a> = [(&'static str, Option<&'a str>)];

impl Realm {
    /// A realm with this name. A challenge can contain only printable ASCII without `"` and `\`;
    /// other characters are left out of it.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            metadata: None,
            takes_proofs: false,
        }
    }

    /// Adds a challenge for the scheme DPoP, with the algorithms that proofs may have: for a
    /// registry whose verifier takes proofs
    /// ([`Verifier::taking_proofs`](crate::Verifier::taking_proofs)).
    #[must_use]
    pub fn taking_proofs(self) -> Self {
        Self {
            takes_proofs: true,
            ..self
        }
    }

    /// Adds `resource_metadata` to the challenges: the URL of the registry's metadata (RFC 9728
    /// section 5.1).
    #[must_use]
    pub fn described_by(self, resource: &ProtectedResource) -> Self {
        Self {
            metadata: Some(resource.url().to_owned()),
            ..self
        }
    }

    /// The values of `WWW-Authenticate` for a request without a valid token, each for a header of
    /// its own: one for Bearer, and one for DPoP if the realm takes proofs. The error stands in the
    /// challenge of the scheme that the request had (RFC 9449 section 7.2); there is none for
    /// [`Rejection::NoToken`] and [`Rejection::Unavailable`] (RFC 6750 section 3.1).
    #[must_use]
    pub fn challenges(&self, rejection: &Rejection) -> Vec<String> {
        let description = match rejection {
            Rejection::InvalidRequest(why) | Rejection::InvalidToken(why) => Some((*why).into()),
            Rejection::Dpop(rejection) => Some(reason(rejection)),
            Rejection::NoToken | Rejection::Unavailable(_) => None,
        };
        let parameters = [
            ("error", rejection.error()),
            ("error_description", description.as_deref()),
        ];
        self.of_schemes(matches!(rejection, Rejection::Dpop(_)), &parameters)
    }

    /// Puts what the client needs for its next attempt into the headers of a response to a request
    /// without a valid token: the [`challenges`](Self::challenges) and, for
    /// [`DpopRejection::NonceNeeded`], the nonce. For registries that write the response themselves.
    pub fn write_challenges(&self, rejection: &Rejection, headers: &mut HeaderMap) {
        write(headers, &self.challenges(rejection));
        if let Rejection::Dpop(DpopRejection::NonceNeeded(nonce)) = rejection {
            offer_nonce(headers, nonce);
        }
    }

    /// The values of `WWW-Authenticate` for a valid `token` that does not allow `operation`, each for
    /// a header of its own. That of the token's scheme has the error `insufficient_scope`, and in
    /// `scope` the actions that a sufficient token has.
    #[must_use]
    pub fn insufficient_scope(
        &self,
        token: &AccessToken,
        denied: Denied,
        operation: &Operation<'_>,
    ) -> Vec<String> {
        let action: String = operation.action.chars().filter(|c| *c != ' ').collect();
        let needed = match denied.reason {
            DenialReason::CreateDenied if action != CREATE => format!("{CREATE} {action}"),
            _ => action,
        };
        let description = denied.reason.to_string();
        let parameters = [
            ("error", Some("insufficient_scope")),
            ("error_description", Some(description.as_str())),
            ("scope", Some(needed.as_str())),
        ];
        let had_dpop = matches!(token.cnf, Some(Confirmation::Key(_)));
        self.of_schemes(had_dpop, &parameters)
    }

    /// The complete response to a request without a valid token: status 400, 401 or 503, the
    /// challenge, and a JSON body with `error` and `error_description`. A 503 has `Retry-After` and
    /// no challenge.
    ///
    /// The [`Rejection`] is put into the response's extensions, so that an outer layer can log it.
    #[must_use]
    pub fn reject<B: From<String>>(&self, rejection: Rejection) -> Response<B> {
        let status = StatusCode::from_u16(rejection.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let mut answer = if let Rejection::Unavailable(_) = rejection {
            // There is no challenge, since another token would not help. The reason is for the
            // operator only.
            let body = json!({ "error_description": "the access token cannot be checked" });
            let mut later = said(status, &body);
            later.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS);
            later
        } else {
            let description = rejection.to_string();
            let body = match rejection.error() {
                Some(error) => json!({ "error": error, "error_description": description }),
                None => json!({ "error_description": description }),
            };
            let mut answer = said(status, &body);
            self.write_challenges(&rejection, answer.headers_mut());
            answer
        };
        answer.extensions_mut().insert(rejection);
        answer
    }

    /// The complete response to a request whose `token` is valid and does not allow the operation:
    /// status 403, the challenge, and a JSON body with `error`, `error_description` and the code of
    /// the reason (`reason`).
    #[must_use]
    pub fn deny<B: From<String>>(
        &self,
        token: &AccessToken,
        denied: Denied,
        operation: &Operation<'_>,
    ) -> Response<B> {
        let body = json!({
            "error": "insufficient_scope", "error_description": denied.to_string(), "reason": denied.reason.code(),
        });
        let mut answer = said(StatusCode::FORBIDDEN, &body);
        let challenges = self.insufficient_scope(token, denied, operation);
        write(answer.headers_mut(), &challenges);
        answer
    }

    /// The challenges of both schemes, or of Bearer alone where no proofs are taken. `parameters`
    /// stand in that of the scheme that the request had.
    fn of_schemes(&self, had_dpop: bool, parameters: &Parameters<'_>) -> Vec<String> {
        let (of_bearer, of_dpop) = if had_dpop {
            (&[][..], parameters)
        } else {
            (parameters, &[][..])
        };
        let mut challenges = vec![self.challenge("Bearer", of_bearer, None)];
        if self.takes_proofs || had_dpop {
            let algorithms = proof_algorithms().collect::<Vec<_>>().join(" ");
            challenges.push(self.challenge("DPoP", of_dpop, Some(&algorithms)));
        }
        challenges
    }

    /// A challenge: `realm`, those of `parameters` that have a value, `algs` and
    /// `resource_metadata`, each as a quoted string.
    fn challenge(
        &self,
        scheme: &str,
        parameters: &Parameters<'_>,
        algorithms: Option<&str>,
    ) -> String {
        let first = [("realm", Some(self.name.as_str()))];
        let last = [
            ("algs", algorithms),
            ("resource_metadata", self.metadata.as_deref()),
        ];
        let all = first.iter().chain(parameters).chain(&last);
        let given =
            all.filter_map(|(name, value)| Some(format!("{name}=\"{}\"", quotable((*value)?))));
        format!("{scheme} {}", given.collect::<Vec<_>>().join(", "))
    }
}

/// The `error_description` for a request with the DPoP scheme.
fn reason(rejection: &DpopRejection) -> String {
    match rejection {
        DpopRejection::InvalidRequest(why) | DpopRejection::InvalidToken(why) => (*why).into(),
        DpopRejection::InvalidProof(why) => why.to_string().chars().take(MAX_REASON).collect(),
        DpopRejection::NoProof | DpopRejection::UsedProof | DpopRejection::NonceNeeded(_) => {
            rejection.to_string()
        }
    }
}

/// Keeps the characters that are allowed in the value of every parameter: printable ASCII without
/// `"` and `\` (RFC 6750 section 3).
fn quotable(text: &str) -> String {
    text.chars()
        .filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\'))
        .collect()
}

fn said<B: From<String>>(status: StatusCode, body: &serde_json::Value) -> Response<B> {
    let mut answer = Response::new(B::from(body.to_string()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn write(headers: &mut HeaderMap, challenges: &[String]) {
    let values = challenges.iter().map(HeaderValue::try_from);
    for challenge in values.filter_map(Result::ok) {
        headers.append(WWW_AUTHENTICATE, challenge);
    }
}
