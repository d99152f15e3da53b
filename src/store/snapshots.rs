//! Builds the snapshot of all rules from the database: everything at start, then only the objects
//! that changed.

use std::collections::{BTreeMap, BTreeSet};

use carnet_engine::client::built_in_client;
use carnet_engine::own_token::LOCAL_CLIENT;
use carnet_entity::federated_credential;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use super::objects::{Persist, find_changed, id};
use super::{ChangeKind, Filter, RulesToRenew, Store, StoreError, StoredCredential};
use crate::documents::{
    ClientDocument, FederatedCredentialDocument, IdentityProviderDocument, Kind,
    MembershipDocument, PrincipalDocument, ReadContext, ResourceServerDocument, Stored,
    TrustedIssuerDocument, compile_credential, compile_issuer,
};
use crate::ids::{CredentialId, MembershipId, ResourceServerId, TrustedIssuerId};
use crate::model::{FederatedCredential, Snapshot};

/// How many rules one query reads.
const CHUNK: usize = 250;

impl Store {
    /// A snapshot of the whole database.
    pub async fn snapshot(&self, context: ReadContext<'_>) -> Result<Snapshot, StoreError> {
        let mut snapshot = Snapshot::empty();
        snapshot.set_client(LOCAL_CLIENT, Some(built_in_client(context.command_line)));
        // Read the version first: a change made while the rows are read is then read again later.
        snapshot.version = self.version().await?;
        for principal in self.all_objects::<PrincipalDocument>().await? {
            put_principal(&mut snapshot, &principal);
        }
        for issuer in self.all_objects::<TrustedIssuerDocument>().await? {
            put_issuer(&mut snapshot, &issuer, context)?;
        }
        for server in self.all_objects::<ResourceServerDocument>().await? {
            put_resource_server(&mut snapshot, &server, context)?;
        }
        for client in self.all_objects::<ClientDocument>().await? {
            put_client(&mut snapshot, &client, context)?;
        }
        for provider in self.all_objects::<IdentityProviderDocument>().await? {
            put_identity_provider(&mut snapshot, &provider, context)?;
        }
        for membership in self.all_objects::<MembershipDocument>().await? {
            put_membership(&mut snapshot, &membership)?;
        }
        let mut after = uuid::Uuid::nil();
        loop {
            let rows = federated_credential::Entity::find()
                .filter(federated_credential::Column::Id.gt(after))
                .order_by_asc(federated_credential::Column::Id)
                .limit(u64::try_from(CHUNK).unwrap_or(u64::MAX))
                .all(&self.read)
                .await?;
            let Some(last) = rows.last().map(|row| row.id) else {
                return Ok(snapshot);
            };
            after = last;
            let stored = FederatedCredentialDocument::load(&self.read, rows).await?;
            put_credentials(&mut snapshot, &stored)?;
        }
    }

    /// An updated snapshot, and whether signing keys changed; `None` if nothing did.
    pub async fn newer_snapshot(
        &self,
        snapshot: &Snapshot,
        context: ReadContext<'_>,
    ) -> Result<Option<(Snapshot, bool)>, StoreError> {
        let changes = self.changes_after(snapshot.version).await?;
        let Some(about) = changes.about else {
            return Ok(Some((self.snapshot(context).await?, true)));
        };
        if changes.version == snapshot.version {
            return Ok(None);
        }
        let mut newer = snapshot.clone();
        let mut keys_changed = false;
        // In the order of kinds, so that an object comes after those that it refers to.
        for (kind, key) in about.into_iter().collect::<BTreeSet<_>>() {
            match kind {
                ChangeKind::SigningKey => keys_changed = true,
                ChangeKind::Object(kind) => self.put_again(&mut newer, kind, &key, context).await?,
                ChangeKind::RulesOfPrincipal => {
                    let renewed = self.renewed_rules(RulesToRenew::of_principal(&key)).await?;
                    self.put_rules(&mut newer, &renewed).await?;
                }
                ChangeKind::RuleAndHolders => {
                    let renewed = self.renewed_rules(RulesToRenew::One(id(&key)?)).await?;
                    self.put_rules(&mut newer, &renewed).await?;
                }
            }
        }
        newer.version = changes.version;
        Ok(Some((newer, keys_changed)))
    }

    async fn put_again(
        &self,
        snapshot: &mut Snapshot,
        kind: Kind,
        key: &str,
        context: ReadContext<'_>,
    ) -> Result<(), StoreError> {
        match kind {
            Kind::Principal => match find_changed::<PrincipalDocument>(&self.read, key).await? {
                Some(principal) => put_principal(snapshot, &principal),
                None => snapshot.set_principal(key, None),
            },
            Kind::TrustedIssuer => {
                match find_changed::<TrustedIssuerDocument>(&self.read, key).await? {
                    Some(issuer) => put_issuer(snapshot, &issuer, context)?,
                    None => snapshot.set_issuer(id(key)?, None),
                }
            }
            Kind::ResourceServer => {
                match find_changed::<ResourceServerDocument>(&self.read, key).await? {
                    Some(server) => put_resource_server(snapshot, &server, context)?,
                    None => snapshot.set_resource_server(key, None),
                }
            }
            Kind::Client => match find_changed::<ClientDocument>(&self.read, key).await? {
                Some(client) => put_client(snapshot, &client, context)?,
                None => snapshot.set_client(key, None),
            },
            // No decision depends on a notification.
            Kind::Notification => {}
            Kind::IdentityProvider => {
                match find_changed::<IdentityProviderDocument>(&self.read, key).await? {
                    Some(provider) => put_identity_provider(snapshot, &provider, context)?,
                    None => snapshot.set_identity_provider(id(key)?, None),
                }
            }
            Kind::Membership => match find_changed::<MembershipDocument>(&self.read, key).await? {
                Some(membership) => put_membership(snapshot, &membership)?,
                None => snapshot.set_membership(id(key)?, None),
            },
            Kind::FederatedCredential => {
                match find_changed::<FederatedCredentialDocument>(&self.read, key).await? {
                    Some(credential) => put_credentials(snapshot, &[credential])?,
                    None => snapshot.set_credential(id(key)?, None),
                }
            }
        }
        Ok(())
    }

    /// Reads these rules again.
    async fn put_rules(
        &self,
        snapshot: &mut Snapshot,
        rules: &[uuid::Uuid],
    ) -> Result<(), StoreError> {
        let mut stored = Vec::with_capacity(rules.len());
        for chunk in rules.chunks(CHUNK) {
            let rows = federated_credential::Entity::find()
                .filter(federated_credential::Column::Id.is_in(chunk.iter().copied()))
                .all(&self.read)
                .await?;
            stored.extend(FederatedCredentialDocument::load(&self.read, rows).await?);
        }
        put_credentials(snapshot, &stored)
    }

    /// Whether any rule refers to this trusted issuer, by name.
    pub async fn has_credentials_of(&self, trusted_issuer: &str) -> Result<bool, StoreError> {
        let filter = Filter {
            trusted_issuer: Some(trusted_issuer.to_owned()),
            ..Filter::default()
        };
        Ok(!self
            .objects::<FederatedCredentialDocument>(None, 1, &filter)
            .await?
            .items
            .is_empty())
    }
}

fn put_principal(snapshot: &mut Snapshot, stored: &Stored<PrincipalDocument>) {
    snapshot.set_principal(
        &stored.name,
        Some(
            stored
                .document
                .compile(&stored.id, &stored.name, stored.created_at),
        ),
    );
}

fn put_client(
    snapshot: &mut Snapshot,
    stored: &Stored<ClientDocument>,
    context: ReadContext<'_>,
) -> Result<(), StoreError> {
    let client = stored.document.compile(
        id(&stored.id)?,
        &stored.name,
        stored.version,
        &stored.state,
        context,
    );
    if client.is_none() {
        tracing::error!(
            client_id = stored.name,
            "the client cannot be used: what its method needs is missing"
        );
    }
    snapshot.set_client(&stored.name, client);
    Ok(())
}

fn put_issuer(
    snapshot: &mut Snapshot,
    stored: &Stored<TrustedIssuerDocument>,
    context: ReadContext<'_>,
) -> Result<(), StoreError> {
    let id: TrustedIssuerId = id(&stored.id)?;
    let issuer = compile_issuer(stored, context);
    if issuer.is_none() {
        tracing::error!(
            trusted_issuer = stored.name,
            profile = stored.document.profile,
            "profile missing: not trusted"
        );
    }
    snapshot.set_issuer(id, issuer);
    Ok(())
}

fn put_identity_provider(
    snapshot: &mut Snapshot,
    stored: &Stored<IdentityProviderDocument>,
    context: ReadContext<'_>,
) -> Result<(), StoreError> {
    let provider = IdentityProviderDocument::compile(stored, context);
    if provider.is_none() {
        tracing::error!(
            identity_provider = stored.name,
            profile = stored.document.profile_name(),
            "profile missing: nobody can sign in"
        );
    }
    snapshot.set_identity_provider(id(&stored.id)?, provider);
    Ok(())
}

fn put_membership(
    snapshot: &mut Snapshot,
    stored: &Stored<MembershipDocument>,
) -> Result<(), StoreError> {
    let id: MembershipId = id(&stored.id)?;
    let provider = snapshot.identity_provider_named(&stored.document.identity_provider);
    let compiled = provider
        .map(|provider| MembershipDocument::compile(stored, id, provider.id, &provider.profile));
    snapshot.set_membership(id, compiled);
    Ok(())
}

fn put_resource_server(
    snapshot: &mut Snapshot,
    stored: &Stored<ResourceServerDocument>,
    context: ReadContext<'_>,
) -> Result<(), StoreError> {
    let id: ResourceServerId = id(&stored.id)?;
    let server = stored
        .document
        .compile(id, &stored.name, context.token_lifetime_seconds);
    snapshot.set_resource_server(&stored.name, Some(server));
    Ok(())
}

fn put_credentials(snapshot: &mut Snapshot, stored: &[StoredCredential]) -> Result<(), StoreError> {
    let mut rules = BTreeMap::new();
    for stored in stored {
        let id: CredentialId = id(&stored.id)?;
        rules.insert(id, compiled(snapshot, id, stored));
    }
    snapshot.set_credentials(rules);
    Ok(())
}

/// The rule in compiled form; `None` if its trusted issuer cannot be used.
fn compiled(
    snapshot: &Snapshot,
    id: CredentialId,
    stored: &StoredCredential,
) -> Option<FederatedCredential> {
    let issuer = snapshot.issuer_named(&stored.document.trusted_issuer)?;
    Some(compile_credential(id, stored, issuer.id, &issuer.profile))
}
