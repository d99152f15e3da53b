"""A registry that validates our tokens (RFC 9068) with authlib, and what it refuses."""

import json
import sys

import requests
from authlib.oauth2.rfc6750.errors import InvalidTokenError
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator

given = json.load(sys.stdin)


class Validator(JWTBearerTokenValidator):
    def get_jwks(self):
        metadata = requests.get(self.issuer + "/.well-known/oauth-authorization-server").json()
        return requests.get(metadata["jwks_uri"]).json()


validator = Validator(given["issuer"], given["resource"])


def validate(token):
    try:
        claims = validator.authenticate_token(token)
        validator.validate_token(claims, ["publish"], None)
        return claims
    except InvalidTokenError as error:
        return {"error": error.error}


print(json.dumps({name: validate(token) for name, token in given["tokens"].items()}))
