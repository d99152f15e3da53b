//! Requests at the front doors of registries. They become token requests of the jwt-bearer grant,
//! and go through the same pipeline.

use std::net::IpAddr;

use super::request::{Parameters, SentSubject, SentToken};
use super::{GrantRequest, RequestProof};
use crate::client::ClientCredentials;
use crate::form::TokenForm;
use crate::grant_type::GrantType;
use crate::ids::EventId;
use crate::model::Snapshot;
use crate::principal::{AccessRequest, AtFrontDoor};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// The parameters of a question (an explanation, a case) that name a front door, and the package
/// that its tool asks a key for.
pub const OF_FRONT_DOOR: &[&str] = &["front_door", "package"];

impl<'a> GrantRequest<'a> {
    /// A request that came to a front door with this assertion. `principal` is the one that it
    /// names, at a door whose tools can.
    pub fn at_front_door(
        at: AtFrontDoor,
        assertion: &'a str,
        principal: Option<String>,
        proof: RequestProof<'a>,
        (id, address): (EventId, Option<IpAddr>),
    ) -> Self {
        Self {
            id,
            address,
            grant_type: GrantType::JwtBearer,
            credentials: ClientCredentials::None,
            proof,
            certificate: None,
            parameters: Ok(Parameters {
                presented: SentSubject::Token(SentToken::Assertion(assertion)),
                actor: None,
                access: AccessRequest {
                    principal,
                    front_door: Some(at),
                    ..AccessRequest::default()
                },
            }),
        }
    }

    /// Lets the request come through the front door that the form of a question names, if it names
    /// one.
    #[must_use]
    pub fn through_front_door(mut self, form: &TokenForm<'_>, rules: &Snapshot) -> Self {
        self.parameters = self.parameters.and_then(|mut parameters| {
            through_front_door(&mut parameters.access, self.grant_type, form, rules)?;
            Ok(parameters)
        });
        self
    }
}

/// Lets a question come through the front door that its form names, if it names one. What the
/// tools of that door cannot send is refused: the answer would be that of another request.
pub fn through_front_door(
    access: &mut AccessRequest,
    grant_type: GrantType,
    form: &TokenForm<'_>,
    rules: &Snapshot,
) -> Result<(), Refusal> {
    let Some(name) = form.get("front_door") else {
        return match form.get("package") {
            Some(_) => Err(Refusal::parameter(Reason::ParameterMalformed, "package")
                .malformed("it must be left out where there is no front_door")),
            None => Ok(()),
        };
    };
    let server = rules
        .resource_server_called(name)
        .ok_or_else(|| Refusal::parameter(Reason::TargetUnknown, "front_door").received(name))?;
    let at = AtFrontDoor::of(server, form.get("package"))?;
    let not_sent = [
        ("grant_type", grant_type != GrantType::JwtBearer),
        (
            "principal",
            access.principal.is_some() && !at.kind.names_principal(),
        ),
        (
            "package",
            form.get("package").is_some() && !at.kind.names_package(),
        ),
        ("scope", access.scope.is_some()),
        ("authorization_details", access.details.is_some()),
        ("resource", !access.resources.is_empty()),
        ("audience", !access.audiences.is_empty()),
    ];
    if let Some((parameter, _)) = not_sent.into_iter().find(|(_, is_given)| *is_given) {
        let what = format!(
            "it must be left out: the tools of a {} front door cannot send it",
            at.kind.name()
        );
        return Err(Refusal::parameter(Reason::ParameterMalformed, parameter).malformed(what));
    }
    access.front_door = Some(at);
    Ok(())
}
