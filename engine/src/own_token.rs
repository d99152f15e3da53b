//! The access tokens of this server when they come back: what they say, and whether they are still in
//! force (RFC 7662 section 4, RFC 9068 section 4).

use carnet_access::{
    AccessToken, AuthorizationDetail, Confirmation, GroundKind, ProofLevel, RestsOn,
};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::ids::{self, ClientRowId, CredentialId, MembershipId};
use crate::model::{DecisionContext, Membership, Method, ResourceServer, Snapshot, State};
use crate::people::{membership_of, still_give};
use crate::scope::{ScopeSet, covers};

/// Prefix of the `client_id` claim in tokens that were issued without a client; the id of the
/// newest rule in the token follows (decision D-17). No registered client can have such a name.
pub const FEDERATED: &str = "federated:";

/// The `client_id` claim of admin tokens that the local command line makes with access to the
/// database. No registered client can have this name.
pub const LOCAL_CLIENT: &str = "carnet-cli";

/// A token that we issued, which may be expired or revoked. [`OwnToken::read`] makes
/// one.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnToken {
    claims: AccessToken,
    rests_on: Vec<RestsOn>,
    is_opaque: bool,
}

/// A token of ours that is in force, with the entries that are still valid. Only
/// [`OwnToken::in_force`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveToken {
    token: OwnToken,
    depth: i64,
}

/// Why a token of ours is not in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It has expired.
    Over,
    /// It was revoked, or a token from which it was exchanged was.
    Revoked,
    /// It was issued before the database was restored from a backup, which does not tell whether it
    /// was revoked since.
    BeforeRestore,
    /// The session in which a person let the client act has ended.
    SignedOut,
    /// Its client, its registry, or every rule that it rests on was removed, disabled or changed.
    NothingLeft,
}

/// A token's line of descent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descent {
    /// The number of exchanges since the first token.
    pub depth: i64,
    /// Whether this token or one of its ancestors was revoked.
    pub is_revoked: bool,
    /// Whether the session lasts in which a person let the client act.
    pub is_signed_in: bool,
}

impl OwnToken {
    /// Reads the claims of a token that is known to be one of this server's: by the signature, or
    /// by the hash of an opaque token. `None` if they are not those of an access token.
    pub fn read(mut claims: Map<String, Value>) -> Option<Self> {
        let rests_on = claims
            .remove("rests_on")
            .map_or_else(|| Ok(Vec::new()), serde_json::from_value)
            .ok()?;
        Some(Self {
            claims: serde_json::from_value(Value::Object(claims)).ok()?,
            rests_on,
            is_opaque: false,
        })
    }

    /// Marks the token as an opaque key.
    #[must_use]
    pub fn as_opaque(self) -> Self {
        Self {
            is_opaque: true,
            ..self
        }
    }

    /// Whether the token is an opaque key, which the registry has to introspect.
    pub fn is_opaque(&self) -> bool {
        self.is_opaque
    }

    pub fn claims(&self) -> &AccessToken {
        &self.claims
    }

    pub fn expires_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.claims.exp)
    }

    /// The token with the entries that are still valid, or why it is not in force.
    pub fn in_force(
        self,
        descent: Descent,
        context: &DecisionContext<'_>,
    ) -> Result<LiveToken, Ended> {
        // The same server sets and checks the times, so no leeway applies.
        if self.expires_at() <= context.now {
            return Err(Ended::Over);
        }
        if descent.is_revoked {
            return Err(Ended::Revoked);
        }
        if self.claims.person.is_some() && !descent.is_signed_in {
            return Err(Ended::SignedOut);
        }
        let standing = Some(self).filter(|token| client_stands(&token.claims, &context.rules));
        let standing = standing.and_then(|token| {
            if token.claims.aud == context.own.userinfo() {
                token.claims.person.is_some().then_some(token)
            } else if token.claims.aud == context.own.admin_resource() {
                admin_stands(&token, &context.rules, context.now).then_some(token)
            } else {
                token.with_standing_entries(context)
            }
        });
        standing
            .map(|token| LiveToken {
                token,
                depth: descent.depth,
            })
            .ok_or(Ended::NothingLeft)
    }

    /// Without the entries whose rule or client is gone, disabled, expired or changed
    /// (`docs/src/reference/introspection.md`).
    fn with_standing_entries(mut self, context: &DecisionContext<'_>) -> Option<Self> {
        let server = context.rules.resource_server_of(&self.claims.aud)?;
        let mut details = std::mem::take(&mut self.claims.authorization_details);
        details.retain(|entry| entry_stands(entry, server, &context.rules, context.now));
        let actions = details
            .iter()
            .flat_map(|entry| &entry.actions)
            .map(String::as_str);
        self.claims.scope = ScopeSet::of(actions)?.to_string();
        self.claims.authorization_details = details;
        Some(self)
    }

    /// Whether the token was issued for the principal of this id. The name does not suffice: a
    /// later principal may have got it.
    pub fn is_for_principal(&self, id: &str) -> bool {
        self.rests_on
            .iter()
            .any(|ground| ground.kind == GroundKind::Principal && ground.id == id)
    }
}

impl LiveToken {
    /// The claims, with the entries that are still valid.
    pub fn claims(&self) -> &AccessToken {
        &self.token.claims
    }

    /// Whether the token is an opaque key, which the registry has to introspect.
    pub fn is_opaque(&self) -> bool {
        self.token.is_opaque
    }

    /// The number of exchanges between this token and the first one.
    pub fn depth(&self) -> i64 {
        self.depth
    }

    /// The key to which the token is bound.
    pub fn confirmation(&self) -> Option<&Confirmation> {
        self.token.claims.cnf.as_ref()
    }

    /// How strongly the workload proved itself whose assertion the token began with; `None` for a
    /// client's own token, which began with none.
    pub fn proof_level(&self) -> Option<ProofLevel> {
        let workload = self.token.claims.workload.as_ref();
        workload.map(|workload| workload.proof)
    }

    pub fn expires_at(&self) -> Timestamp {
        self.token.expires_at()
    }
}

fn entry_stands(
    entry: &AuthorizationDetail,
    server: &ResourceServer,
    rules: &Snapshot,
    now: Timestamp,
) -> bool {
    if let Ok(id) = entry.credential.parse::<MembershipId>() {
        let membership = standing_membership(id, entry.revision, rules, now);
        return membership.is_some_and(|membership| role_permits(membership, entry, server));
    }
    if let Ok(id) = entry.credential.parse::<CredentialId>() {
        return credential_stands(id, entry.revision, rules, now)
            && owner_stands(id, &entry.owner, rules)
            && entry
                .rests_on
                .iter()
                .all(|ground| ground_stands(ground, rules, now));
    }
    let client = entry
        .credential
        .parse::<ClientRowId>()
        .ok()
        .and_then(|id| rules.client_of(id));
    client.is_some_and(|client| {
        client.enabled
            && client.revision == entry.revision
            && is_enabled(&entry.principal.to_ascii_lowercase(), rules)
    })
}

/// Whether an element of `rests_on`, of an entry or an admin token, is unchanged and still valid.
fn ground_stands(ground: &RestsOn, rules: &Snapshot, now: Timestamp) -> bool {
    match ground.kind {
        GroundKind::FederatedCredential => ground
            .id
            .parse()
            .is_ok_and(|id| credential_stands(id, ground.revision, rules, now)),
        GroundKind::Principal => rules.principal_of_id(&ground.id).is_some(),
        GroundKind::Membership => membership_of(ground)
            .and_then(|id| standing_membership(id, ground.revision, rules, now))
            .is_some(),
        _ => false,
    }
}

/// The membership, if it is unchanged and still gives its role.
fn standing_membership(
    id: MembershipId,
    revision: u32,
    rules: &Snapshot,
    now: Timestamp,
) -> Option<&Membership> {
    let membership = rules.membership(id)?;
    let provider = rules.identity_provider(membership.identity_provider)?;
    let is_over = membership.expires_at.is_some_and(|end| end <= now);
    let has_principal = membership
        .principal
        .as_ref()
        .is_none_or(|principal| is_enabled(principal, rules));
    let stands = membership.enabled
        && membership.revision == revision
        && !is_over
        && provider.enabled
        && has_principal;
    stands.then_some(&**membership)
}

/// Whether the registry still lets the role do all that the entry says, for the same principal.
fn role_permits(
    membership: &Membership,
    entry: &AuthorizationDetail,
    server: &ResourceServer,
) -> bool {
    let is_same = membership
        .principal
        .as_ref()
        .is_some_and(|principal| entry.principal.eq_ignore_ascii_case(principal));
    let permitted = server.people.as_ref();
    let permitted = permitted.map_or(&[] as &[String], |people| people.of(membership.role));
    is_same
        && entry
            .actions
            .iter()
            .all(|action| permitted.contains(action))
}

fn credential_stands(id: CredentialId, revision: u32, rules: &Snapshot, now: Timestamp) -> bool {
    rules.credential(id).is_some_and(|credential| {
        credential.revision == revision
            && matches!(credential.state(now), State::Active | State::Pending)
            && is_enabled(&credential.principal, rules)
            && rules
                .issuer(credential.trusted_issuer)
                .is_some_and(|issuer| issuer.enabled && issuer.is_open_to(&credential.principal))
    })
}

/// A self-service rule is limited to packages of its principal, and of owners for which the
/// principal acts now. A vouched rule may name any owner.
fn owner_stands(id: CredentialId, owner: &str, rules: &Snapshot) -> bool {
    rules.credential(id).is_some_and(|credential| {
        credential.vouched
            || rules
                .principal(&credential.principal)
                .is_some_and(|principal| principal.may_name_owner(owner))
    })
}

fn is_enabled(principal: &str, rules: &Snapshot) -> bool {
    rules
        .principal(principal)
        .is_some_and(|principal| principal.enabled)
}

/// A registered client's tokens end with the client, and when its `not_before` passes their time of
/// issue, as after a change of its keys (`docs/src/guides/clients.md`).
fn client_stands(token: &AccessToken, rules: &Snapshot) -> bool {
    let id = &token.client_id;
    // The tokens of people are those of the built-in client, which can be disabled.
    if id.starts_with(FEDERATED) || (id == LOCAL_CLIENT && token.person.is_none()) {
        return true;
    }
    let issued_at = token.jti.parse().map(ids::time_of);
    rules
        .client(id)
        .is_some_and(|client| client.enabled && issued_at.is_ok_and(|at| at >= client.not_before))
}

/// Whether an admin token's client still holds the token's scope, and a federated client also a
/// rule that admitted it.
fn admin_stands(token: &OwnToken, rules: &Snapshot, now: Timestamp) -> bool {
    let claims = &token.claims;
    if claims.person.is_some() {
        return person_holds(token, rules, now);
    }
    if claims.client_id == LOCAL_CLIENT {
        return true;
    }
    rules.client(&claims.client_id).is_some_and(|client| {
        let wanted = ScopeSet::parse(&claims.scope);
        let holds = client
            .scopes
            .as_ref()
            .zip(wanted.ok().as_ref())
            .is_some_and(|(held, wanted)| covers(held, wanted));
        let mut admitting = token
            .rests_on
            .iter()
            .filter(|ground| ground.kind == GroundKind::FederatedCredential);
        let by_rules = matches!(client.method, Method::Federated(_));
        holds && (!by_rules || admitting.any(|ground| ground_stands(ground, rules, now)))
    })
}

/// Whether the client of a person's admin token may still have its scope, and whether the memberships
/// that it rests on still give it.
fn person_holds(token: &OwnToken, rules: &Snapshot, now: Timestamp) -> bool {
    let client = rules.client(&token.claims.client_id);
    let ceiling = client.and_then(|client| client.scopes.as_ref());
    let Ok(scope) = ScopeSet::parse(&token.claims.scope) else {
        return false;
    };
    let standing = token.rests_on.iter().filter_map(|ground| {
        standing_membership(membership_of(ground)?, ground.revision, rules, now)
    });
    ceiling.is_some_and(|ceiling| covers(ceiling, &scope)) && still_give(standing, rules, &scope)
}
