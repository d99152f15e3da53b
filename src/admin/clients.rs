//! Saving clients: resolves the objects that a client names, and creates client secrets. A secret
//! is shown in one answer and stored as a hash.

use serde_json::{Map, Value, json};

use super::Rejected;
use super::author::Author;
use super::managed::{Managed, Occasion};
use super::references::{check_permission, shortest_reference, unresolved};
use super::saving::{Saved, update};
use crate::app::App;
use crate::clock::Timestamp;
use crate::documents::{
    ClientDocument, ClientState, ListedRule, PermissionDocument, PrincipalDocument,
    ResourceServerDocument, Stored,
};
use crate::ids::ClientRowId;
use crate::model::{ClientSecret, FAPI2_ALGORITHMS, Method, Snapshot, StoredSecret};
use crate::own_tokens::LOCAL_CLIENT;
use crate::scope::limited_scope;
use crate::store::StoredCredential;
use crate::trust::{DocumentError, Warning};

/// Seconds for which the previous client secret stays valid after a rotation, unless the request
/// sets `overlap_seconds`.
pub const SECRET_OVERLAP_SECONDS: i64 = 86_400;
/// Largest `overlap_seconds`, in seconds.
pub const MAX_SECRET_OVERLAP_SECONDS: i64 = 30 * 86_400;

impl Managed for ClientDocument {
    async fn prepare(
        &mut self,
        app: &App,
        name: &str,
        present: Option<&Stored<Self>>,
        occasion: Occasion<'_>,
    ) -> Result<ClientState, Rejected> {
        let mut problems = Vec::new();
        // A token's `sub` is the id of a principal or the name of a client, so the two must never
        // be equal.
        if app.store.has_principal_id(name).await? {
            problems.push(DocumentError::new(
                "/name",
                "must not be the id of a principal",
            ));
        }
        if name.eq_ignore_ascii_case(LOCAL_CLIENT) {
            let detail = format!(
                "must not be {LOCAL_CLIENT}, which is the client of this server's own command line"
            );
            problems.push(DocumentError::new("/name", detail));
        }
        let signing = app.keys.ring();
        let signing = signing.map(|ring| ring.active().public().algorithm());
        if let Some(algorithm) = signing.filter(|one| self.fapi2 && !FAPI2_ALGORITHMS.contains(one))
        {
            let detail = format!(
                "must not be true: this server signs tokens with {algorithm} (tokens.signing_algorithm), which the profile does not allow"
            );
            problems.push(DocumentError::new("/fapi2", detail));
        }
        for (at, permission) in self.permissions.iter_mut().enumerate() {
            let found = check_permission(app, permission, None).await?;
            problems.extend(
                found.into_iter().map(|p| {
                    DocumentError::new(format!("/permissions/{at}{}", p.pointer), p.detail)
                }),
            );
        }
        if let Some(server) = &mut self.resource_server {
            if let Some(stored) = app.store.named::<ResourceServerDocument>(server).await? {
                *server = stored.name;
            } else {
                let detail = format!(
                    "must be an existing resource server; there is no resource server {server}"
                );
                problems.push(DocumentError::new("/resource_server", detail));
            }
        }
        let (listed, unresolved) = resolve_listed(self, app, present).await?;
        problems.extend(unresolved);
        for scope in &mut self.scopes {
            let Some((prefix, name)) = limited_scope(scope) else {
                continue;
            };
            match app.store.named::<PrincipalDocument>(name).await? {
                // Without this check the scope would apply to any principal created later under
                // this name.
                None => {
                    let detail =
                        format!("must name existing principals; there is no principal {name}");
                    problems.push(DocumentError::new("/scopes", detail));
                }
                Some(principal) => *scope = format!("{prefix}{}", principal.name),
            }
        }
        if !problems.is_empty() {
            return Err(Rejected::Invalid(problems));
        }
        if occasion.online
            && self.jwks_uri.is_some()
            && let Some(problem) = unreachable(self, app, name).await
        {
            return Err(Rejected::NoKeys(problem));
        }
        Ok(state(self, listed, present, app.clock.now()))
    }

    fn shown_state(app: &App, stored: &Stored<Self>) -> Map<String, Value> {
        let now = app.clock.now();
        let mut members = Map::new();
        members.insert("client_id".to_owned(), stored.name.clone().into());
        members.insert("revision".to_owned(), stored.state.revision.into());
        let live = stored.state.secrets.iter();
        let live = live.filter(|secret| secret.is_live(now));
        members.insert("secrets".to_owned(), live.map(times_of).collect());
        if let Some(fresh) = &stored.state.fresh {
            members.insert("client_secret".to_owned(), fresh.expose().into());
        }
        members
    }

    fn more_warnings(rules: &Snapshot, stored: &Stored<Self>) -> Vec<Warning> {
        let is_open = |permission: &PermissionDocument| {
            let server = rules.resource_server(&permission.resource_server);
            server.is_none_or(|server| {
                let people = server.people.as_ref();
                people.is_some_and(|people| people.has_any_of(&permission.actions))
            })
        };
        stored.document.people_unset(is_open).into_iter().collect()
    }

    fn recorded_state(stored: &Stored<Self>) -> Map<String, Value> {
        let secrets = stored.state.secrets.iter().map(times_of).collect();
        Map::from_iter([
            ("revision".to_owned(), stored.state.revision.into()),
            ("secrets".to_owned(), secrets),
        ])
    }

    fn recorded_change(
        before: Option<&Stored<Self>>,
        after: Option<&Stored<Self>>,
    ) -> Option<(&'static str, Value)> {
        let after = after?;
        let was_rotated = after.state.fresh.is_some() && !before?.state.secrets.is_empty();
        let previous = after.state.secrets.iter().rev().nth(1);
        let until = previous.and_then(|secret| secret.expires_at);
        was_rotated.then(|| {
            let until = until.map(|until| until.to_string());
            ("rotated_secret", json!({ "previous_valid_until": until }))
        })
    }
}

/// When a client secret was created, and when it ends.
fn times_of(secret: &StoredSecret) -> Value {
    let ends = secret.expires_at.map(|at| at.to_string());
    json!({ "created_at": secret.created_at.to_string(), "expires_at": ends })
}

/// Resolves the rules that a federated client lists.
async fn resolve_listed(
    document: &mut ClientDocument,
    app: &App,
    present: Option<&Stored<ClientDocument>>,
) -> Result<(Vec<ListedRule>, Vec<DocumentError>), Rejected> {
    let mut problems = Vec::new();
    let before = present
        .map(|present| present.state.listed.as_slice())
        .unwrap_or_default();
    let mut listed = Vec::with_capacity(document.federated_credentials.len());
    for (at, credential) in document.federated_credentials.iter_mut().enumerate() {
        let mut found = app.store.credentials_called(credential).await?;
        // A rule that the client listed already keeps its place, even if another principal has
        // since saved a rule of the same name.
        let was_meant =
            |rule: &StoredCredential| before.iter().any(|listed| listed.credential == rule.id);
        if found.iter().any(was_meant) {
            found.retain(was_meant);
        }
        match found.as_slice() {
            [one] => {
                *credential = shortest_reference(one, app).await?;
                listed.push(list(one, before));
            }
            found => problems.push(unresolved(
                &format!("/federated_credentials/{at}"),
                credential,
                found,
            )),
        }
    }
    Ok((listed, problems))
}

/// Fetches the keys once, so that a wrong URL is reported when the client is saved and not at
/// its first request.
async fn unreachable(document: &ClientDocument, app: &App, name: &str) -> Option<DocumentError> {
    let id = ClientRowId::new(app.clock.now());
    let client = document.compile(id, name, 0, &ClientState::default(), app.context())?;
    let (issuer, by_certificate) = match &client.method {
        Method::PrivateKeyJwt(issuer) => (issuer, false),
        Method::SelfSignedTls(issuer) => (issuer, true),
        _ => return None,
    };
    let why = match app.upstream.try_fetch(issuer).await {
        Ok(keys) if by_certificate && keys.certificates().is_empty() => {
            "no key has a certificate (x5c)".to_owned()
        }
        Ok(_) => return None,
        Err(error) => error.to_string(),
    };
    let detail = format!(
        "must lead to usable keys: {why}; ?validate=offline (apply --offline) saves without fetching"
    );
    Some(DocumentError::new("/jwks_uri", detail))
}

/// The state to store beside the document. A client whose method uses a secret gets one if it has
/// none.
fn state(
    document: &ClientDocument,
    listed: Vec<ListedRule>,
    present: Option<&Stored<ClientDocument>>,
    now: Timestamp,
) -> ClientState {
    let mut state = present
        .map(|present| present.state.clone())
        .unwrap_or_default();
    if present.is_none_or(|present| !permits_the_same(&present.document, document))
        || state.listed != listed
    {
        renew(&mut state, now);
    }
    state.listed = listed;
    state.fresh = None;
    if !document.auth_method.has_secret() {
        state.secrets.clear();
    } else if state.secrets.is_empty() {
        add_secret(&mut state, now);
    }
    state
}

/// The reference to store for a listed rule. A vouched rule that was listed before keeps its
/// reference, because it counts for the client at any revision; a self-service rule is listed at
/// its current revision.
fn list(rule: &StoredCredential, before: &[ListedRule]) -> ListedRule {
    let kept = before
        .iter()
        .find(|listed| listed.credential == rule.id && rule.state.vouching.counts());
    kept.cloned().unwrap_or_else(|| ListedRule {
        credential: rule.id.clone(),
        revision: rule.state.revision,
    })
}

/// Voids all tokens that the client got before `now`.
fn renew(state: &mut ClientState, now: Timestamp) {
    state.revision = state.revision.saturating_add(1);
    state.not_before = now;
}

fn add_secret(state: &mut ClientState, now: Timestamp) {
    let secret = ClientSecret::generate();
    state.secrets.push(StoredSecret::of(&secret, now));
    state.fresh = Some(secret);
}

/// Whether tokens issued under one document stay valid under the other: equal permissions, rules
/// and authentication, and for a client of persons also what it may ask them for and where it gets
/// its codes. Otherwise saving voids the client's tokens.
fn permits_the_same(left: &ClientDocument, right: &ClientDocument) -> bool {
    let of_people = left.is_of_people() || right.is_of_people();
    let asks_the_same = left.grant_types == right.grant_types
        && left.scopes == right.scopes
        && left.redirect_uris == right.redirect_uris
        && left.first_party == right.first_party;
    (asks_the_same || !of_people)
        && left.permissions == right.permissions
        && left.federated_credentials == right.federated_credentials
        && left.auth_method == right.auth_method
        && left.jwks == right.jwks
        && left.jwks_uri == right.jwks_uri
        && left.enabled == right.enabled
}

/// Creates a client's next secret. The previous one stays valid for the overlap; older ones end at
/// once. Errors if the client's method uses no secret.
pub async fn rotate_secret(
    app: &App,
    name: &str,
    overlap_seconds: i64,
    author: &Author,
) -> Result<Saved<ClientDocument>, Rejected> {
    let rotated = update(
        app,
        name,
        author,
        |present: &Stored<ClientDocument>, now| {
            if !present.document.auth_method.has_secret() {
                let detail =
                    "must be client_secret_basic or client_secret_post: this client has no secret";
                let problem = DocumentError::new("/auth_method", detail);
                return Err(Rejected::Invalid(vec![problem]));
            }
            let mut state = present.state.clone();
            let end = now.plus_seconds(overlap_seconds);
            state.secrets = state
                .secrets
                .split_off(state.secrets.len().saturating_sub(1));
            for secret in &mut state.secrets {
                secret.expires_at = Some(secret.expires_at.map_or(end, |other| other.min(end)));
            }
            state.secrets.retain(|secret| secret.is_live(now));
            if overlap_seconds == 0 {
                // An overlap of 0 means that the secret leaked: tokens that were obtained with it end
                // as well.
                renew(&mut state, now);
            }
            add_secret(&mut state, now);
            Ok((present.document.clone(), state))
        },
    );
    Box::pin(rotated).await
}
