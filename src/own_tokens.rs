//! Our own tokens, when they come back: is it one, and is it still in force (RFC 7662 section 4, RFC 9068 section 4).

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

/// What begins the `client_id` of tokens that no registered client asked for; the newest credential in the token follows (decision D-17).
/// No client can have such a name.
pub const FEDERATED: &str = "federated:";

/// The `client_id` of admin tokens that whoever holds the database makes. No client can have this name.
pub const LOCAL_CLIENT: &str = "carnet-cli";

/// What it takes to judge our own tokens.
#[derive(Debug)]
pub struct OwnTokens<'a> {
    /// Our URLs.
    pub own: &'a OwnUrls,
    /// Our keys.
    pub keys: &'a KeyRing,
    /// The database.
    pub store: &'a Store,
    /// The rules that the token's entries have to stand on.
    pub rules: Arc<Snapshot>,
    /// Now.
    pub now: Timestamp,
}

/// A token that we issued, whatever has become of it. Only [`OwnTokens`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnToken {
    claims: AccessToken,
    cnf: Option<Value>,
    rests_on: Vec<RestsOn>,
}

/// A token of ours that is in force, with the entries that still stand. Only [`OwnTokens::in_force`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveToken {
    token: OwnToken,
    depth: i64,
}

/// Why a token of ours is not in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its time is over.
    Over,
    /// It was revoked, or one that it was made from.
    Revoked,
    /// Nothing of what it rests on is left.
    NothingLeft,
}

impl OwnTokens<'_> {
    /// Whether a text is a token that we issued: by our signature, or by its hash.
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

    /// Whether it is in force, and what of it.
    pub async fn in_force(&self, token: OwnToken) -> Result<Result<LiveToken, Ended>, StoreError> {
        // Both clocks are ours: no leeway.
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

    /// Without the entries whose ground is gone, switched off, over or another one by now (contract, section 4).
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

/// Whether something that an entry or a token rests on beside its own rule is still what it was.
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

/// A rule that nobody vouches for is good for its own principal's packages, and for those of whom it acts for at this time.
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

/// A registered client's tokens end with it, and with what it proved itself with when it got them.
fn client_stands(token: &AccessToken, rules: &Snapshot) -> bool {
    let id = &token.client_id;
    if id.starts_with(FEDERATED) || id == LOCAL_CLIENT {
        return true;
    }
    let issued_at = token.jti.parse().map(ids::time_of);
    rules.client(id).is_some_and(|client| client.enabled && issued_at.is_ok_and(|at| at >= client.not_before))
}

/// Whether an admin token may still do what it was issued for: its client has to hold that scope now, and one without a key of its own a
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

/// Reads a JWT access token of ours: type, issuer and signature are right. Times are not looked at.
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

    /// Its claims.
    pub fn claims(&self) -> &AccessToken {
        &self.claims
    }

    /// When it ends.
    pub fn expires_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.claims.exp)
    }

    /// Whether it was made for the principal of this id: another one that has its name now is not meant.
    pub fn is_for_principal(&self, id: &str) -> bool {
        self.rests_on.iter().any(|ground| ground.kind == GroundKind::Principal && ground.id == id)
    }
}

impl LiveToken {
    /// Its claims, with the entries that still stand.
    pub fn claims(&self) -> &AccessToken {
        &self.token.claims
    }

    /// How many exchanges it is away from the first token.
    pub fn depth(&self) -> i64 {
        self.depth
    }

    /// The key that it is bound to (RFC 7800 section 3.1), if it is.
    pub fn confirmation(&self) -> Option<&Value> {
        self.token.cnf.as_ref()
    }

    /// When it ends.
    pub fn expires_at(&self) -> Timestamp {
        self.token.expires_at()
    }
}
