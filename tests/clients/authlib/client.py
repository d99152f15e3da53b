"""jwt-bearer with a ready-made assertion and with one that authlib signs itself, client authentication, introspection, revocation."""

import json
import sys

from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import AssertionSession, OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey

given = json.load(sys.stdin)
issuer, resource = given["issuer"], given["resource"]
token_endpoint = issuer + "/token"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
seen = {}

# Without a client_id the library sends the text "None"; a parameter without a value is none (RFC 6749 section 3.2).
workload = OAuth2Session(client_id="")
seen["ready_made"] = workload.fetch_token(
    token_endpoint, grant_type=JWT_BEARER, assertion=given["assertion"], resource=resource
)
try:
    workload.fetch_token(token_endpoint, grant_type=JWT_BEARER, assertion=given["assertion"])
except OAuthError as error:
    seen["refusal"] = {"error": error.error, "description": error.description}

signing = given["signing"]
seen["own"] = AssertionSession(
    token_endpoint,
    issuer=signing["issuer"],
    subject=signing["subject"],
    audience=issuer,
    grant_type=JWT_BEARER,
    key=ECKey.import_key(signing["key"]),
    header={"alg": "ES256", "kid": signing["kid"]},
    expires_in=300,
).refresh_token()

for name in ["basic", "post"]:
    bot = given[name]
    session = OAuth2Session(
        bot["clientId"], bot["secret"], token_endpoint_auth_method=f"client_secret_{name}"
    )
    seen[name] = session.fetch_token(token_endpoint, grant_type="client_credentials", resource=resource)

bot = given["key"]
key = ECKey.import_key(bot["key"])


def by_key(*audience):
    session = OAuth2Session(bot["clientId"], key, token_endpoint_auth_method="private_key_jwt")
    session.register_client_auth_method(PrivateKeyJWT(*audience, alg="ES256", headers={"kid": bot["kid"]}))
    return session.fetch_token(token_endpoint, grant_type="client_credentials", resource=resource)


seen["key"] = by_key(issuer)
try:
    # Unless told otherwise the library names the token endpoint.
    by_key()
except OAuthError as error:
    seen["other_audience"] = {"error": error.error, "description": error.description}

registry = OAuth2Session(given["registry"]["clientId"], given["registry"]["secret"])
token = seen["ready_made"]["access_token"]


def introspect():
    return registry.introspect_token(issuer + "/introspect", token=token, token_type_hint="access_token").json()


seen["before"] = introspect()
seen["revoked"] = workload.revoke_token(issuer + "/revoke", token=token).status_code
seen["after"] = introspect()
print(json.dumps(seen))
