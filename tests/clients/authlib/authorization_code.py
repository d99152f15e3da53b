"""OpenID Connect with PKCE: the session asks, gets the code and the tokens, validates the ID token and asks userinfo."""

import json
import sys
from urllib.parse import urlencode

import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import OpenIDProviderMetadata
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

given = json.load(sys.stdin)
issuer, shop = given["issuer"], given["shop"]
found = requests.get(issuer + "/.well-known/openid-configuration", timeout=10).json()
metadata = OpenIDProviderMetadata(found)
seen = {}
try:
    metadata.validate()
except ValueError as error:
    seen["metadata"] = str(error)
keys = KeySet.import_key_set(requests.get(metadata["jwks_uri"], timeout=10).json())


def session(client_id, secret, redirect_uri, method):
    return OAuth2Session(
        client_id,
        secret,
        scope="openid profile email",
        redirect_uri=redirect_uri,
        code_challenge_method="S256",
        token_endpoint_auth_method=method,
    )


def tokens(session, verifier=None, **more):
    sent = generate_token(48)
    url, state = session.create_authorization_url(metadata["authorization_endpoint"], code_verifier=sent, **more)
    asked = given["browser"] + "?" + urlencode({"url": url})
    answer = requests.get(asked, timeout=30).text
    return session.fetch_token(
        metadata["token_endpoint"], authorization_response=answer, state=state, code_verifier=verifier or sent
    )


def claims(token, client_id, nonce):
    algorithms = metadata["id_token_signing_alg_values_supported"]
    decoded = jwt.decode(token["id_token"], keys, algorithms=algorithms)
    expected = {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": client_id}}
    parameters = {"nonce": nonce, "client_id": client_id, "access_token": token["access_token"], "max_age": 600}
    validated = CodeIDToken(decoded.claims, decoded.header, expected, parameters)
    validated.validate()
    return dict(validated)


clients = {
    "shop": session(shop["clientId"], shop["secret"], given["redirectUri"], "client_secret_basic"),
    "tool": session(given["tool"]["clientId"], None, given["tool"]["redirectUri"], "none"),
}
for name, client in clients.items():
    nonce = generate_token()
    token = tokens(client, nonce=nonce, max_age=600)
    userinfo = client.get(metadata["userinfo_endpoint"], timeout=10).json()
    seen[name] = {"claims": claims(token, client.client_id, nonce), "userinfo": userinfo}
    try:
        claims(token, client.client_id, "another")
    except JoseError as error:
        seen[name]["other_nonce"] = str(error)


try:
    tokens(clients["shop"], verifier=generate_token(48))
except OAuthError as error:
    seen["other_verifier"] = error.error
print(json.dumps(seen))
