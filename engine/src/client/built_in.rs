//! The client that every server knows.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::grant_type::GrantType;
use crate::ids::ClientRowId;
use crate::model::{Client, Method, TokenBinding};
use crate::own_token::LOCAL_CLIENT;
use crate::scope::{ADMIN, OPENID_SCOPES, ScopeSet};

/// The public client of the command line, which every server knows: `carnet login`. It does what the
/// person may do.
pub fn built_in_client(enabled: bool) -> Client {
    Client {
        id: ClientRowId(Uuid::nil()),
        client_id: LOCAL_CLIENT.to_owned(),
        version: 0,
        revision: 0,
        not_before: Timestamp::from_millis(0),
        method: Method::None,
        grant_types: vec![GrantType::AuthorizationCode],
        scopes: ScopeSet::of(OPENID_SCOPES.into_iter().chain([ADMIN])),
        permissions: Vec::new(),
        resource_server: None,
        binding: TokenBinding::Optional,
        fapi2: false,
        redirect_uris: ["http://127.0.0.1/callback", "http://[::1]/callback"]
            .map(str::to_owned)
            .to_vec(),
        display_name: Some("Carnet's command line".to_owned()),
        homepage: None,
        first_party: false,
        enabled,
    }
}
