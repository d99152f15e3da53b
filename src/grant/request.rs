//! Reads a token request: grant type, client credentials, and the form of the grant's parameters
//! (decision D-01). Nothing is verified here.

use std::fmt;
use std::net::IpAddr;

use carnet_resource_server::Confirmation;

use super::{GRANTS, RequestProof, TokenError};
use crate::access_request::read_access;
use crate::authorization::SentCode;
use crate::client::{AdmittedTo, AuthorizationHeader, ClientCredentials};
use crate::config::OwnUrls;
use crate::form::TokenForm;
use crate::grant_type::GrantType;
use crate::ids::EventId;
use crate::principal::AccessRequest;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::tls::ClientCertificate;

/// A parsed token request. Nothing in it is verified.
#[derive(Debug)]
pub struct GrantRequest<'a> {
    /// The id of its audit event, which is also the `error_id` of a refusal.
    pub(super) id: EventId,
    /// The address of the caller.
    pub(super) address: Option<IpAddr>,
    pub(super) grant_type: GrantType,
    pub(super) credentials: ClientCredentials<'a>,
    pub(super) proof: RequestProof<'a>,
    /// The client certificate of the connection, which may authenticate the client, and to which the
    /// token may be bound.
    pub(super) certificate: Option<&'a ClientCertificate>,
    // A failed client authentication is reported first (decision D-01), so an error here is kept
    // until then.
    pub(super) parameters: Result<Parameters<'a>, Refusal>,
}

#[derive(Debug)]
pub(super) struct Parameters<'a> {
    pub presented: SentSubject<'a>,
    pub actor: Option<SentToken<'a>>,
    pub access: AccessRequest,
}

/// The subject that a request presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SentSubject<'a> {
    Token(SentToken<'a>),
    /// An authorization code.
    Code(SentCode<'a>),
    /// `client_credentials`: the client itself.
    Client,
    /// `client_credentials` for our own admin API.
    ClientForAdmin,
}

/// A subject token or an actor token, not verified yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SentToken<'a> {
    /// From a trusted issuer.
    Assertion(&'a str),
    /// From this server (RFC 8693 section 3).
    AccessToken(&'a str),
}

// Tokens must not reach the log, so only the variant is printed.
impl fmt::Debug for SentToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Assertion(_) => "Assertion",
            Self::AccessToken(_) => "AccessToken",
        })
    }
}

impl<'a> GrantRequest<'a> {
    /// Reads a form. Errors in the grant's parameters are kept, because client authentication comes
    /// first.
    pub fn read(
        form: &'a TokenForm<'_>,
        authorization: AuthorizationHeader<'_>,
        own: &OwnUrls,
        proof: RequestProof<'a>,
        (id, address): (EventId, Option<IpAddr>),
    ) -> Result<Self, TokenError> {
        let grant_type = grant_type(form)?;
        let credentials =
            ClientCredentials::read(form, authorization).map_err(TokenError::of(grant_type))?;
        Ok(Self {
            id,
            address,
            grant_type,
            credentials,
            proof,
            certificate: None,
            parameters: Parameters::read(form, grant_type, own),
        })
    }

    /// Adds the client certificate of the connection.
    #[must_use]
    pub fn over_tls_of(self, certificate: Option<&'a ClientCertificate>) -> Self {
        Self {
            certificate,
            ..self
        }
    }
}

impl GrantRequest<'_> {
    pub fn grant_type(&self) -> GrantType {
        self.grant_type
    }

    /// The key that a question takes as proved.
    pub fn declared_proof(&self) -> Option<&Confirmation> {
        match &self.proof {
            RequestProof::Declared(confirmation) => confirmation.as_ref(),
            RequestProof::Sent { .. } => None,
        }
    }

    /// The access asked for; `None` if the parameters were malformed.
    pub fn access(&self) -> Option<&AccessRequest> {
        self.parameters
            .as_ref()
            .ok()
            .map(|parameters| &parameters.access)
    }
}

impl<'a> Parameters<'a> {
    fn read(
        form: &'a TokenForm<'_>,
        grant_type: GrantType,
        own: &OwnUrls,
    ) -> Result<Self, Refusal> {
        let access = read_access(form, grant_type)?;
        let grant = GRANTS
            .iter()
            .find(|grant| grant.kind == grant_type)
            .ok_or(Reason::GrantTypeUnsupported)?;
        let (presented, actor) = (grant.read)(form, own, &access)?;
        Ok(Self {
            presented,
            actor,
            access,
        })
    }

    /// What the client has to be admitted to. For its own token, its rules are judged with what
    /// they permit.
    pub fn admission(&self) -> AdmittedTo {
        if self.presented == SentSubject::Client {
            AdmittedTo::OwnToken
        } else {
            AdmittedTo::Token
        }
    }
}

/// The grant type of a form and the access that it asks for. Any malformed parameter is an error.
pub fn read_form(
    form: &TokenForm<'_>,
    own: &OwnUrls,
) -> Result<(GrantType, AccessRequest), Refusal> {
    let grant_type = grant_type(form)?;
    Ok((grant_type, Parameters::read(form, grant_type, own)?.access))
}

fn grant_type(form: &TokenForm<'_>) -> Result<GrantType, Refusal> {
    let name = form.require("grant_type")?;
    GrantType::from_name(name).ok_or_else(|| {
        Refusal::parameter(Reason::GrantTypeUnsupported, "grant_type").received(name)
    })
}
