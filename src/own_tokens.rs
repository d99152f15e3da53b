//! Our own access tokens when they are presented: recognises them, and decides whether they are
//! still in force (RFC 7662 section 4, RFC 9068 section 4).

use std::sync::Arc;

use carnet_jose::Compact;
use carnet_resource_server::{AccessToken, AuthorizationDetail, GroundKind, RestsOn};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::config::OwnUrls;
use crate::ids::{self, ClientRowId, CredentialId};
use crate::keys::KeyRing;
use crate::model::{Method, Snapshot, State};
use crate::opaque;
use crate::scope::{ScopeSet, covers};
use crate::store::{Store, StoreError};

/// Prefix of the `client_id` claim in tokens that were issued without a client; the id of the
/// newest rule in the token follows (decision D-17). No registered client can have such a name.
pub const FEDERATED: &str = "federated:";

/// The `client_id` claim of admin tokens that the local command line makes with access to the
/// database. No registered client can have this name.
pub const LOCAL_CLIENT: &str = "carnet-cli";

/// The state with which our own tokens are judged.
#[derive(Debug)]
pub struct OwnTokens<'a> {
    pub own: &'a OwnUrls,
    pub keys: &'a KeyRing,
    pub store: &'a Store,
    /// The snapshot with which a token's client, rules and entries are compared.
    pub rules: Arc<Snapshot>,
    pub now: Timestamp,
}

/// A token that we issued, which may be expired or revoked. [`OwnTokens::recognise`] and
/// [`read_jwt`] make one.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnToken {
    claims: AccessToken,
    cnf: Option<Value>,
    rests_on: Vec<RestsOn>,
}

/// A token of ours that is in force, with the entries that are still valid. Only
/// [`OwnTokens::in_force`] makes one.
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
    /// Its client, its registry, or every rule that it rests on was removed, disabled or changed.
    NothingLeft,
}

impl OwnTokens<'_> {
    /// The token of ours that this text is: a JWT by our signature, an opaque token by its hash.
    pub async fn recognise(&self, text: &str) -> Result<Option<OwnToken>, StoreError> {
        if text.contains('.') {
            return Ok(read_jwt(self.keys, self.own, text));
        }
        if !opaque::is_well_formed(text) {
            return Ok(None);
        }
        let claims = self.store.opaque_claims(&opaque::hash(text)).await?;
        Ok(claims.and_then(|claims| OwnToken::read(serde_json::from_str(&claims).ok()?)))
    }

    /// Checks expiry, revocation, the client, and the rules behind each entry.
    pub async fn in_force(&self, token: OwnToken) -> Result<Result<LiveToken, Ended>, StoreError> {
        // No leeway: our own clock set `exp`.
        if token.expires_at() <= self.now {
            return Ok(Err(Ended::Over));
        }
        let descent = self.store.descent(&token.claims.jti).await?;
        if descent.is_revoked {
            return Ok(Err(Ended::Revoked));
        }
        let standing = Some(token).filter(|token| client_stands(&token.claims, &self.rules));
        let standing = standing.and_then(|token| {
            if token.claims.aud == self.own.admin_resource() {
                admin_stands(&token, &self.rules, self.now).then_some(token)
            } else {
                self.with_standing_entries(token)
            }
        });
        Ok(standing.map(|token| LiveToken { token, depth: descent.depth }).ok_or(Ended::NothingLeft))
    }

    /// Removes entries whose rule is gone, disabled, expired or changed, and takes their actions
    /// out of the scope (`docs/src/reference/introspection.md`). `None` if nothing is left.
    fn with_standing_entries(&self, mut token: OwnToken) -> Option<OwnToken> {
        self.rules.resource_server_of(&token.claims.aud)?;
        let mut details = std::mem::take(&mut token.claims.authorization_details);
        details.retain(|entry| entry_stands(entry, &self.rules, self.now));
        let actions = details.iter().flat_map(|entry| &entry.actions).map(String::as_str);
        token.claims.scope = ScopeSet::of(actions)?.to_string();
        token.claims.authorization_details = details;
        Some(token)
    }
}

fn entry_stands(entry: &AuthorizationDetail, rules: &Snapshot, now: Timestamp) -> bool {
    if let Ok(id) = entry.credential.parse::<CredentialId>() {
        return credential_stands(id, entry.revision, rules, now)
            && owner_stands(id, &entry.owner, rules)
            && entry.rests_on.iter().all(|ground| ground_stands(ground, rules, now));
    }
    let client = entry.credential.parse::<ClientRowId>().ok().and_then(|id| rules.client_of(id));
    client.is_some_and(|client| {
        client.enabled && client.revision == entry.revision && is_enabled(&entry.principal.to_ascii_lowercase(), rules)
    })
}

/// Whether an element of `rests_on`, of an entry or an admin token, is unchanged and still valid.
fn ground_stands(ground: &RestsOn, rules: &Snapshot, now: Timestamp) -> bool {
    match ground.kind {
        GroundKind::FederatedCredential => {
            ground.id.parse().is_ok_and(|id| credential_stands(id, ground.revision, rules, now))
        }
        GroundKind::Principal => rules.principal_of_id(&ground.id).is_some(),
        _ => false,
    }
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
        let is_vouched =
            rules.issuer(credential.trusted_issuer).is_some_and(|issuer| credential.is_vouched_under(issuer));
        is_vouched || rules.principal(&credential.principal).is_some_and(|principal| principal.may_name_owner(owner))
    })
}

fn is_enabled(principal: &str, rules: &Snapshot) -> bool {
    rules.principal(principal).is_some_and(|principal| principal.enabled)
}

/// A registered client's tokens end with the client, and when its `not_before` passes their time of
/// issue, as after a change of its keys (`docs/src/guides/clients.md`).
fn client_stands(token: &AccessToken, rules: &Snapshot) -> bool {
    let id = &token.client_id;
    if id.starts_with(FEDERATED) || id == LOCAL_CLIENT {
        return true;
    }
    let issued_at = token.jti.parse().map(ids::time_of);
    rules.client(id).is_some_and(|client| client.enabled && issued_at.is_ok_and(|at| at >= client.not_before))
}

/// Whether an admin token's client still holds the token's scope, and a federated client also a
/// rule that admitted it.
fn admin_stands(token: &OwnToken, rules: &Snapshot, now: Timestamp) -> bool {
    let claims = &token.claims;
    if claims.client_id == LOCAL_CLIENT {
        return true;
    }
    rules.client(&claims.client_id).is_some_and(|client| {
        let wanted = ScopeSet::parse(&claims.scope);
        let holds = client.scopes.as_ref().zip(wanted.ok().as_ref()).is_some_and(|(held, wanted)| covers(held, wanted));
        let mut admitting = token.rests_on.iter().filter(|ground| ground.kind == GroundKind::FederatedCredential);
        let by_rules = matches!(client.method, Method::Federated(_));
        holds && (!by_rules || admitting.any(|ground| ground_stands(ground, rules, now)))
    })
}

/// Verifies a JWT access token of ours: `typ`, signature and `iss`. Times are not checked.
pub fn read_jwt(keys: &KeyRing, own: &OwnUrls, text: &str) -> Option<OwnToken> {
    let jws = Compact::parse(text).ok()?;
    if !jws.header.is_type("at+jwt") {
        return None;
    }
    let ring = keys.ring()?;
    let key = ring.verifier(jws.header.algorithm.parse().ok()?, jws.header.key_id.as_deref()?)?;
    if !key.verifies(jws.signing_input.as_bytes(), &jws.signature) {
        return None;
    }
    OwnToken::read(jws.claims().ok()?).filter(|token| token.claims.iss == own.issuer())
}

impl OwnToken {
    fn read(mut claims: Map<String, Value>) -> Option<Self> {
        let cnf = claims.shift_remove("cnf");
        let rests_on = claims.shift_remove("rests_on").map_or_else(|| Ok(Vec::new()), serde_json::from_value).ok()?;
        Some(Self { claims: serde_json::from_value(Value::Object(claims)).ok()?, cnf, rests_on })
    }

    pub fn claims(&self) -> &AccessToken {
        &self.claims
    }

    pub fn expires_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.claims.exp)
    }

    /// Whether the token was issued for the principal of this id. The name does not suffice: a
    /// later principal may have got it.
    pub fn is_for_principal(&self, id: &str) -> bool {
        self.rests_on.iter().any(|ground| ground.kind == GroundKind::Principal && ground.id == id)
    }
}

impl LiveToken {
    /// The claims, with the entries that are still valid.
    pub fn claims(&self) -> &AccessToken {
        &self.token.claims
    }

    /// The number of exchanges between this token and the first one.
    pub fn depth(&self) -> i64 {
        self.depth
    }

    /// The key to which the token is bound: `cnf` (RFC 7800 section 3.1).
    pub fn confirmation(&self) -> Option<&Value> {
        self.token.cnf.as_ref()
    }

    pub fn expires_at(&self) -> Timestamp {
        self.token.expires_at()
    }
}
