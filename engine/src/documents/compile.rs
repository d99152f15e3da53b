//! Compiles stored trusted issuers and federated credentials. The other kinds are compiled by their
//! own modules.

use std::sync::Arc;

use super::{
    CredentialState, FederatedCredentialDocument, ReadContext, Stored, TrustedIssuerDocument,
};
use crate::ids::{CredentialId, TrustedIssuerId};
use crate::model::{
    FederatedCredential, PackedRule, Permission, Rule, RuleReference, TrustedIssuer,
};
use crate::profile::Profile;

/// Compiles a stored trusted issuer; `None` if this server does not have its profile.
pub fn compile_issuer(
    stored: &Stored<TrustedIssuerDocument>,
    context: ReadContext<'_>,
) -> Option<TrustedIssuer> {
    let profile = context.profiles.get(&stored.document.profile)?;
    let id = stored.id.parse().ok()?;
    Some(
        stored
            .document
            .compile(id, &stored.name, stored.version, profile, context),
    )
}

/// Compiles a stored federated credential.
pub fn compile_credential(
    id: CredentialId,
    stored: &Stored<FederatedCredentialDocument>,
    trusted_issuer: TrustedIssuerId,
    profile: &Arc<Profile>,
) -> FederatedCredential {
    let Stored {
        document, state, ..
    } = stored;
    let rule = rule(&stored.name, document, state, profile);
    FederatedCredential {
        id,
        principal: document.principal.to_ascii_lowercase().into(),
        trusted_issuer,
        revision: state.revision,
        created_at: stored.created_at,
        expires_at: document.expires_at,
        pending_until: state.pending_until,
        enabled: document.enabled,
        vouched: state.vouching.counts(),
        rule: PackedRule::new(&rule),
    }
}

fn rule<'a>(
    name: &'a str,
    document: &'a FederatedCredentialDocument,
    state: &'a CredentialState,
    profile: &Profile,
) -> Rule<'a> {
    let permissions = document.permissions.iter().map(|given| Permission {
        resource_server: &given.resource_server,
        actions: given.actions.iter().map(String::as_str).collect(),
        packages: given.packages.iter().map(String::as_str).collect(),
        owner: given.owner.as_deref(),
        demand: given.demand(),
    });
    Rule {
        name,
        conditions: Rule::conditions(profile, &document.matcher, &state.pinned),
        permissions: permissions.collect(),
        actors: state.actors.iter().map(RuleReference::named).collect(),
    }
}
