//! The request that introspection and revocation share: a form about one token, with or without
//! client authentication.

use super::received::FormRequest;
use crate::app::App;
use crate::assertion::VerifiedAssertion;
use crate::client::{self, Admitted, AdmittedTo, Authentication, ClientCredentials, admit};
use crate::clock::Timestamp;
use crate::form::{self, TokenForm};
use crate::grant::TokenError;
use crate::model::DecisionContext;
use crate::possession::{self, ProvedKeys};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::tls::ClientCertificate;

/// RFC 7009 section 2.1, RFC 7662 section 2.1.
const PARAMETERS: form::Parameters = form::Parameters {
    known: &[&["token", "token_type_hint"], form::OF_CLIENT],
    repeatable: &[],
};

/// A request about one token, from an admitted client or from none.
pub struct StatusRequest<'a> {
    pub client: Admitted,
    /// The rules and the time with which the whole request is judged.
    pub context: DecisionContext<'a>,
    form: TokenForm<'a>,
}

impl<'a> StatusRequest<'a> {
    /// Reads the form, then authenticates the client (decision D-01).
    pub async fn read(app: &'a App, request: &'a FormRequest) -> Result<Self, TokenError> {
        let form = request.form(&PARAMETERS)?;
        let (context, address) = (app.decision_context(), request.caller.address);
        let authentication = Authentication {
            context: &context,
            upstream: &app.upstream,
            limits: &app.limits,
            address,
            certificate: request.certificate.as_deref(),
        };
        let identity = {
            let credentials = ClientCredentials::read(&form, request.authorization())?;
            authentication.authenticate(&credentials).await?
        };
        if let Some(assertion) = identity.assertion() {
            let certificate = request.certificate.as_deref();
            check_binding(assertion, certificate, context.now).map_err(Refusal::of_client)?;
        }
        match admit(&context, identity, AdmittedTo::NoToken) {
            Ok(client) => Ok(Self {
                client,
                context,
                form,
            }),
            Err((identity, denial)) => {
                let mut refusal = denial.refusal.of_client();
                // A used client assertion proves nothing, so the rule's values are not disclosed.
                if let Some((key, _)) = identity.consumed()
                    && !matches!(app.store.use_of(&key).await, Ok(None))
                {
                    refusal = refusal.undisclosed(None).of_client();
                }
                Err(refusal.into())
            }
        }
    }

    /// The token in question. This uses up the client's assertion: it is accepted for one request
    /// here too (RFC 7523 section 3, item 7).
    pub async fn token(&self, app: &App) -> Result<&str, Refusal> {
        let token = self.form.require("token")?;
        match self.client.identity().consumed() {
            Some((key, until)) if !app.store.consume(&key, until).await? => {
                Err(Refusal::from(Reason::Replay).of_client())
            }
            _ => Ok(token),
        }
    }
}

/// A bound assertion is never taken without its proof. No DPoP proofs are taken here.
fn check_binding(
    assertion: &VerifiedAssertion,
    certificate: Option<&ClientCertificate>,
    now: Timestamp,
) -> Result<(), Refusal> {
    let proved = ProvedKeys {
        certificate: client::thumbprint(certificate, now)?,
        dpop: None,
    };
    let reasons = (Reason::ProofMissing, Reason::ProofMismatch);
    possession::check(assertion.confirmation(), &proved, reasons)
        .map(drop)
        .map_err(|reason| Refusal::claim(reason, "cnf"))
}
