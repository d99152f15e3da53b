//! What a rule and a client refer to: resolves references to rules and checks permissions against
//! the resource servers and owners that they name.

use super::Rejected;
use super::author::Author;
use super::credentials::means_the_same;
use crate::app::App;
use crate::documents::{
    ClientDocument, FederatedCredentialDocument, PermissionDocument, PrincipalDocument,
    ResourceServerDocument, Stored,
};
use crate::model::RuleReference;
use crate::store::{StoreError, StoredCredential};
use crate::trust::DocumentError;

/// Finds the principal that a document names, and writes the name as the principal has it. The
/// problem, at `pointer`, if there is none.
pub(super) async fn existing_principal(
    app: &App,
    name: &mut String,
    pointer: impl Into<String>,
) -> Result<Result<Stored<PrincipalDocument>, DocumentError>, StoreError> {
    let Some(principal) = app.store.named::<PrincipalDocument>(name).await? else {
        let detail = format!("must be an existing principal; there is no principal {name}");
        return Ok(Err(DocumentError::new(pointer, detail)));
    };
    name.clone_from(&principal.name);
    Ok(Ok(principal))
}

/// Resolves `actors`. An author limited to principals may add rules of these principals only,
/// because a rule cannot be removed while another rule names it.
pub(super) async fn resolve_actors(
    document: &mut FederatedCredentialDocument,
    app: &App,
    present: Option<&StoredCredential>,
    author: &Author,
) -> Result<(Vec<RuleReference>, Vec<DocumentError>), Rejected> {
    let (mut actors, mut problems) = (Vec::new(), Vec::new());
    let before = present
        .map(|present| present.state.actors.as_slice())
        .unwrap_or_default();
    for (at, reference) in document.actors.iter_mut().enumerate() {
        let mut found = app.store.credentials_called(reference).await?;
        let is_kept =
            |rule: &StoredCredential| before.iter().find(|actor| actor.id.to_string() == rule.id);
        found
            .retain(|rule| is_kept(rule).is_some() || author.may_act_for(&rule.document.principal));
        if found
            .iter()
            .any(|rule| rule.document.principal == document.principal)
        {
            found.retain(|rule| rule.document.principal == document.principal);
        }
        let [rule] = found.as_slice() else {
            problems.push(unresolved(&format!("/actors/{at}"), reference, &found));
            continue;
        };
        // The stored revision is kept for a vouched rule, which counts at any revision, and for
        // a rule that this author may not add: saving must not renew its reference.
        let stays = rule.state.vouching.counts() || !author.may_act_for(&rule.document.principal);
        let kept = is_kept(rule).filter(|_| stays).map(|actor| actor.revision);
        let own = rule.document.principal == document.principal;
        *reference = if own {
            rule.name.clone()
        } else {
            format!("{}:{}", rule.document.principal, rule.name)
        };
        actors.push(RuleReference {
            name: rule.name.clone(),
            id: rule
                .id
                .parse()
                .map_err(|_| StoreError::Corrupt(rule.id.clone()))?,
            revision: kept.unwrap_or(rule.state.revision),
        });
    }
    Ok((actors, problems))
}

/// The mistake of a reference that matches no rule or several.
pub(super) fn unresolved(
    pointer: &str,
    reference: &str,
    found: &[StoredCredential],
) -> DocumentError {
    let detail = if found.is_empty() {
        format!(
            "must be an existing federated credential; there is no federated credential {reference}"
        )
    } else {
        format!(
            "must be principal:name or an id: rules of several principals are called {reference}"
        )
    };
    DocumentError::new(pointer, detail)
}

/// The name if no other rule has it, else `principal:name`.
pub(super) async fn shortest_reference(
    rule: &StoredCredential,
    app: &App,
) -> Result<String, Rejected> {
    let others = app.store.credentials_called(&rule.name).await?;
    let is_only = others.iter().all(|other| other.id == rule.id);
    Ok(if is_only {
        rule.name.clone()
    } else {
        format!("{}:{}", rule.document.principal, rule.name)
    })
}

/// Refuses a change by anyone but an administrator to a rule that admits a client with `scopes`
/// or a `resource_server`: the author could give the client's rights to another workload.
/// Disabling the rule only takes rights away and is allowed.
pub(super) async fn check_dependants(
    document: &FederatedCredentialDocument,
    app: &App,
    present: Option<&StoredCredential>,
    author: &Author,
) -> Result<Option<DocumentError>, Rejected> {
    let Some(present) = present.filter(|_| !author.is_admin) else {
        return Ok(None);
    };
    let switched_off = FederatedCredentialDocument {
        enabled: false,
        ..present.document.clone()
    };
    if means_the_same(&present.document, document) || means_the_same(&switched_off, document) {
        return Ok(None);
    }
    let rests_on_it = |client: &Stored<ClientDocument>| {
        let named = client
            .state
            .listed
            .iter()
            .any(|listed| listed.credential == present.id);
        named && (!client.document.scopes.is_empty() || client.document.resource_server.is_some())
    };
    let clients = app.store.all_objects::<ClientDocument>().await?;
    let problem = |client: &Stored<ClientDocument>| {
        let detail = format!(
            "must be changed by an administrator: client {} has rights of its own and is admitted by this rule",
            client.name
        );
        DocumentError::new("", detail)
    };
    Ok(clients
        .iter()
        .find(|client| rests_on_it(client))
        .map(problem))
}

/// Checks that the resource server, actions and owner of a permission exist, and replaces names by
/// their stored spelling.
pub(super) async fn check_permission(
    app: &App,
    permission: &mut PermissionDocument,
    principal: Option<&str>,
) -> Result<Vec<DocumentError>, Rejected> {
    let server = app
        .store
        .named::<ResourceServerDocument>(&permission.resource_server)
        .await?;
    let found = permission.problem_at(
        server
            .as_ref()
            .map(|server| (server.name.as_str(), &server.document)),
    );
    let mut problems: Vec<DocumentError> = found.into_iter().collect();
    if let Some(server) = server {
        permission.resource_server = server.name;
    }
    if let Some(owner) = &mut permission.owner {
        problems.extend(existing_principal(app, owner, "/owner").await?.err());
    }
    // The principal is the default owner, so the stored document leaves it out.
    if principal.is_some() && permission.owner.as_deref() == principal {
        permission.owner = None;
    }
    Ok(problems)
}
