//! The crates `openidconnect` and `oauth2`.

use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreProviderMetadata, CoreUserInfoClaims,
};
use openidconnect::{
    AccessTokenHash, AuthorizationCode, ClientId, ClientSecret, CsrfToken, IssuerUrl, Nonce,
    OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError,
    Scope, TokenResponse as _,
};
use serde_json::json;

use super::Site;
use crate::authorize::{APP, REGISTRY, claims, parameters};

#[tokio::test]
async fn the_openidconnect_crate_discovers_us_and_verifies_what_it_gets() {
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        let site = Site::with(&[("CARNET_TOKENS__SIGNING_ALGORITHM", algorithm)]).await;
        let http = site.deployed.http();
        let issuer = IssuerUrl::new(site.deployed.url.clone()).unwrap();
        let metadata = CoreProviderMetadata::discover_async(issuer, &http)
            .await
            .unwrap();
        let secret = ClientSecret::new(site.secret.clone());
        let client = CoreClient::from_provider_metadata(
            metadata,
            ClientId::new("shop".into()),
            Some(secret),
        )
        .set_redirect_uri(RedirectUrl::new(APP.into()).unwrap());
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let same_verifier = PkceCodeVerifier::new(verifier.secret().clone());
        let (url, state, nonce) = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .add_scope(Scope::new("profile".into()))
            .add_scope(Scope::new("email".into()))
            .set_pkce_challenge(challenge)
            .set_max_age(std::time::Duration::from_mins(10))
            .url();
        let answer = site.person().follow(url.as_str(), "allow").await;
        let answer = parameters(&answer);
        assert_eq!(
            (&answer["state"], &answer["iss"]),
            (state.secret(), &site.deployed.url)
        );
        let code = || AuthorizationCode::new(answer["code"].clone());
        let request = client.exchange_code(code()).unwrap();
        let tokens = request
            .set_pkce_verifier(verifier)
            .request_async(&http)
            .await
            .unwrap();

        let id_token = tokens.id_token().unwrap();
        let verifier = client.id_token_verifier();
        let said = id_token.claims(&verifier, &nonce).unwrap();
        let key = id_token.signing_key(&verifier).unwrap();
        let hash = AccessTokenHash::from_token(
            tokens.access_token(),
            id_token.signing_alg().unwrap(),
            key,
        );
        // No specification names the hash function of EdDSA, and the claim is optional.
        let hash = (algorithm != "EdDSA").then(|| hash.unwrap());
        assert_eq!(said.access_token_hash(), hash.as_ref());
        assert!(id_token.claims(&verifier, &Nonce::new_random()).is_err());
        let subject = said.subject().clone();
        let request = client
            .user_info(tokens.access_token().to_owned(), Some(subject))
            .unwrap();
        let userinfo: CoreUserInfoClaims = request.request_async(&http).await.unwrap();
        site.knows_ada(&json!(said), &json!(userinfo)).await;

        // A code is good once.
        let again = client.exchange_code(code()).unwrap();
        let again = again
            .set_pkce_verifier(same_verifier)
            .request_async(&http)
            .await;
        let Err(RequestTokenError::ServerResponse(refusal)) = again else {
            panic!("a code was good twice");
        };
        assert_eq!(refusal.error().to_string(), "invalid_grant");
    }
}

#[tokio::test]
async fn the_oauth2_crate_gets_a_token_for_a_registry() {
    use oauth2::basic::BasicClient;
    use oauth2::{AuthUrl, TokenResponse as _, TokenUrl};
    let site = Site::new().await;
    let (http, url) = (site.deployed.http(), &site.deployed.url);
    let endpoints = (
        AuthUrl::new(format!("{url}/authorize")).unwrap(),
        TokenUrl::new(format!("{url}/token")).unwrap(),
    );
    let clients = [
        ("shop", Some(&site.secret), APP),
        ("tool", None, "http://127.0.0.1:4711/callback"),
    ];
    for (id, secret, redirect_uri) in clients {
        let mut client = BasicClient::new(oauth2::ClientId::new(id.to_owned()))
            .set_auth_uri(endpoints.0.clone())
            .set_token_uri(endpoints.1.clone())
            .set_redirect_uri(oauth2::RedirectUrl::new(redirect_uri.to_owned()).unwrap());
        if let Some(secret) = secret {
            client = client.set_client_secret(oauth2::ClientSecret::new(secret.clone()));
        }
        let (challenge, verifier) = oauth2::PkceCodeChallenge::new_random_sha256();
        let (asked, state) = client
            .authorize_url(oauth2::CsrfToken::new_random)
            .add_scope(oauth2::Scope::new("publish".into()))
            .add_extra_param("resource", REGISTRY)
            .set_pkce_challenge(challenge)
            .url();
        let answer = site.person().follow(asked.as_str(), "allow").await;
        assert!(answer.starts_with(redirect_uri), "{answer}");
        let answer = parameters(&answer);
        assert_eq!(&answer["state"], state.secret());
        let tokens = client
            .exchange_code(oauth2::AuthorizationCode::new(answer["code"].clone()))
            .set_pkce_verifier(verifier)
            .request_async(&http)
            .await
            .unwrap();
        let scope = oauth2::Scope::new("publish".into());
        assert_eq!(tokens.scopes(), Some(&vec![scope]));
        assert_eq!(tokens.expires_in().unwrap().as_secs(), 900);
        let said = claims(tokens.access_token().secret());
        assert_eq!(
            (&said["aud"], &said["client_id"], &said["person"]["id"]),
            (
                &json!(REGISTRY),
                &json!(id),
                &json!(site.people.person().await)
            )
        );
    }
}
