"""Verifies an access token of Carnet. Needs joserfc and requests."""

import time
from urllib.parse import urlsplit

import requests
from joserfc import errors, jwk, jwt

from carnet_decision import ENTRY, fits

REQUIRED = {name: {"essential": True} for name in ("iss", "aud", "exp", "iat", "sub", "client_id", "jti")}


class InvalidToken(Exception):
    """Answer 401 with the error invalid_token. On any other exception answer 503. The text is the cause."""


def get(url):
    answer = requests.get(url, timeout=5, allow_redirects=False)
    answer.raise_for_status()
    return answer.json()


class Verifier:  # make one and share it, because it keeps the keys
    def __init__(self, issuer, resource):
        self.issuer, self.resource, self.keys = issuer, resource, []
        self.fetched = self.tried = float("-inf")

    def keys_for(self, kid):
        now, url = time.monotonic(), urlsplit(self.issuer)
        is_known = kid in [key.kid for key in self.keys]
        if now - self.tried > 30 and (not is_known or now - self.fetched > 300):
            self.tried = now  # whether it succeeds or not: unknown kids must not cause a flood of requests
            where = f"{url.scheme}://{url.netloc}/.well-known/oauth-authorization-server"
            metadata = get(where + url.path.rstrip("/"))
            if metadata["issuer"] != self.issuer:
                raise LookupError(f"the metadata is of {metadata['issuer']}, not of {self.issuer}")
            self.keys, self.fetched = jwk.KeySet.import_key_set(get(metadata["jwks_uri"])), now
        if now - self.fetched > 3600:
            raise LookupError("the keys of the server cannot be had")
        return self.keys

    def verify(self, token):
        try:
            given = jwt.decode(token, lambda jws: self.keys_for(jws.headers().get("kid")), ["ES256", "RS256", "EdDSA"])
            jwt.JWTClaimsRegistry(leeway=60, **REQUIRED).validate(given.claims)
        except requests.RequestException:
            raise
        except (errors.JoseError, ValueError) as error:
            raise InvalidToken(f"not valid: {error}") from error
        claims, entries = given.claims, given.claims.get("authorization_details", [])
        if given.header.get("typ", "").lower() not in ("at+jwt", "application/at+jwt"):
            raise InvalidToken("not typed as an access token")
        if claims["iss"] != self.issuer or claims["aud"] != self.resource:  # so a list is refused too
            named = f"of {claims['iss']} for {claims['aud']}"
            raise InvalidToken(f"{named}, not of {self.issuer} for {self.resource}")
        if "cnf" in claims or not isinstance(entries, list):
            raise InvalidToken("bound to a key, or malformed")
        if any(fits(entry, ENTRY) and self.resource not in entry["locations"] for entry in entries):
            raise InvalidToken("has an entry for another registry")
        return claims
