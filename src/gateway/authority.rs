//! What the gateway asks of the server, on its database.

use std::sync::Arc;

use carnet_dpop::{Nonces, Proof};
use carnet_gateway::{
    Authority, Changed, NewPublication, NoToken, Outcome, Package, RefusedPublication, Reservation,
    Terms, Unavailable, Unsettled,
};
use carnet_jose::from_base64url;
use carnet_resource_server::AccessToken;
use serde_json::Value;

use super::events::Events;
use super::operate::settle;
use crate::app::App;
use crate::assertion::SingleUseKey;
use crate::clock::Timestamp;
use crate::documents::DEFAULT_PREFIX;
use crate::model::ResourceServer;
use crate::store::{PackageRecord, Publication, StoreError};

/// How many open publications one question lists.
const MOST_UNSETTLED: u64 = 100;

/// The server as the gateway's authority.
#[derive(Clone, Debug)]
pub struct GatewayAuthority {
    pub app: Arc<App>,
}

impl GatewayAuthority {
    /// The enabled resource server of this name.
    fn server(&self, registry: &str) -> Result<Arc<ResourceServer>, Unavailable> {
        let rules = self.app.rules();
        let server = rules.resource_server_called(registry).cloned();
        server.ok_or_else(|| {
            Unavailable(format!(
                "the resource server {registry} is disabled or does not exist"
            ))
        })
    }
}

fn unavailable(error: &StoreError) -> Unavailable {
    Unavailable(error.to_string())
}

impl Authority for GatewayAuthority {
    fn terms(&self, registry: &str) -> Option<Terms> {
        let rules = self.app.rules();
        let server = rules.resource_server_called(registry)?;
        Some(Terms {
            package_names: server.package_names,
        })
    }

    fn is_own_form(&self, text: &str) -> bool {
        let rules = self.app.rules();
        let begins = |prefix: &str| text.starts_with(prefix);
        begins(DEFAULT_PREFIX)
            || rules
                .resource_servers()
                .any(|server| begins(&server.token_prefix))
            || issuer_of(text).is_some_and(|iss| iss == self.app.config.own.issuer())
    }

    fn may_act_for(&self, principal: &str, owner: &str) -> bool {
        let rules = self.app.rules();
        let known = rules.principal(&principal.to_ascii_lowercase());
        known.is_some_and(|known| known.enabled && known.may_name_owner(owner))
    }

    fn now(&self) -> i64 {
        self.app.clock.now().seconds()
    }

    fn nonces(&self) -> Option<&Nonces> {
        self.app.proofs.required_gateway_nonces()
    }

    async fn spend(&self, proof: &Proof) -> Result<bool, Unavailable> {
        let key = SingleUseKey::of_proof(proof.key());
        let until = Timestamp::from_seconds(proof.in_force_until());
        let spent = self.app.store.consume(&key, until).await;
        spent.map_err(|error| unavailable(&error))
    }

    async fn token(
        &self,
        registry: &str,
        text: &str,
    ) -> Result<Result<AccessToken, NoToken>, Unavailable> {
        // As of now: another process may have changed or issued what counts here.
        let refreshed = self.app.refresh().await;
        refreshed.map_err(|error| Unavailable(error.to_string()))?;
        let server = self.server(registry)?;
        let context = self.app.decision_context();
        let tokens = self.app.own_tokens(&context);
        let Some(own) = tokens
            .recognise(text)
            .await
            .map_err(|error| unavailable(&error))?
        else {
            return Ok(Err(NoToken::Inactive));
        };
        let Ok(live) = tokens
            .in_force(own)
            .await
            .map_err(|error| unavailable(&error))?
        else {
            return Ok(Err(NoToken::Inactive));
        };
        if live.claims().aud != server.resource {
            return Ok(Err(NoToken::OtherRegistry));
        }
        Ok(Ok(live.claims().clone()))
    }

    async fn package(&self, registry: &str, name: &str) -> Result<Package, Unavailable> {
        let server = self.server(registry)?;
        let record = self.app.store.gateway_package(&server.name, name).await;
        let record = record.map_err(|error| unavailable(&error))?;
        Ok(record.map_or(Package::UNRECORDED, PackageRecord::into_package))
    }

    async fn reserve(
        &self,
        publication: &NewPublication,
    ) -> Result<Result<Reservation, Changed>, Unavailable> {
        let server = self.server(&publication.registry)?;
        let now = self.app.clock.now();
        // The record has the name as the resource server is spelled.
        let publication = NewPublication {
            registry: server.name.clone(),
            ..publication.clone()
        };
        let reserved = self.app.store.reserve_publication(&publication, now).await;
        let reserved = reserved.map_err(|error| unavailable(&error))?;
        Ok(reserved.map(|id| Reservation { id: id.to_string() }))
    }

    async fn settle(&self, id: &str, outcome: &Outcome) -> Result<(), Unavailable> {
        let Ok(id) = id.parse() else {
            return Ok(());
        };
        let settled = settle(&self.app, id, outcome, false).await;
        settled.map(drop).map_err(|error| unavailable(&error))
    }

    async fn unsettled(
        &self,
        seconds: i64,
        after: Option<&str>,
    ) -> Result<Vec<Unsettled>, Unavailable> {
        let until = self.app.clock.now().plus_seconds(seconds.saturating_neg());
        let after: Option<crate::ids::PublicationId> = after.and_then(|id| id.parse().ok());
        let open = self
            .app
            .store
            .unsettled_publications(Some(until), after, MOST_UNSETTLED)
            .await
            .map_err(|error| unavailable(&error))?;
        let unsettled = |publication: Publication| Unsettled {
            id: publication.id.to_string(),
            registry: publication.registry,
            spelled: publication.spelled,
            version: publication.version,
            file: publication.file,
            digest: publication.digest,
        };
        Ok(open.into_iter().map(unsettled).collect())
    }

    async fn refused(&self, refused: RefusedPublication) {
        metrics::counter!("carnet_gateway_publications_total", "outcome" => "refused").increment(1);
        let (token, address) = (refused.token.as_ref(), refused.address);
        let event = Events::of(&self.app).refused(&refused);
        tracing::info!(
            event = event.as_ref().map(|event| event.id.to_string()),
            registry = refused.registry,
            package = refused.package,
            version = refused.version,
            operation = refused.operation,
            reason = refused.reason,
            detail = refused.detail,
            token_id = token.map(|token| token.jti.as_str()),
            user = refused.user,
            address = address.map(|address| address.to_string()),
            "publication refused"
        );
        if let Some(event) = event {
            self.app.audit(event);
        }
    }
}

/// The `iss` that the payload of a JWT names, whoever signed it.
fn issuer_of(text: &str) -> Option<String> {
    let payload = from_base64url(text.split('.').nth(1)?.trim_end_matches('='))?;
    let payload: Value = serde_json::from_slice(&payload).ok()?;
    Some(payload.get("iss")?.as_str()?.to_owned())
}
