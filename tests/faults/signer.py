"""Assertions by the thousand: ES256 with Python's integers alone.

The points of a hundred nonces are computed once and used again, so that a signature costs a few
microseconds. That gives the key away, which is nobody's but this script's.
"""

import base64
import hashlib
import itertools
import json
import pathlib
import random
import secrets
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "conformance" / "checks"))
import keys  # noqa: E402

COUNT = itertools.count(1)
RUN = secrets.token_hex(4)
# Of the parties that sign.
NONCES = []


def nonces():
    if not NONCES:
        for _ in range(100):
            nonce = secrets.randbelow(keys.N - 1) + 1
            NONCES.append((pow(nonce, -1, keys.N), keys.times(nonce, keys.G)[0] % keys.N))
    return NONCES


class Signer:
    """A platform's key."""

    def __init__(self, kid):
        self.kid = kid
        self.key = keys.new_ec()
        self.secret = keys.number(self.key["d"])
        nonces()

    def jwk(self):
        return {**keys.public(self.key), "kid": self.kid, "alg": "ES256", "use": "sig"}

    def sign(self, claims, header=None):
        header = header or {"alg": "ES256", "kid": self.kid, "typ": "JWT"}
        signed = ".".join(keys.b64(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
        digest = int.from_bytes(hashlib.sha256(signed.encode()).digest(), "big")
        inverse, r = random.choice(nonces())
        s = inverse * (digest + r * self.secret) % keys.N
        return f"{signed}.{keys.b64(keys.octets(r, 32) + keys.octets(s, 32))}"

    def proof(self, url):
        """A DPoP proof (RFC 9449) for a POST request to this URL."""
        claims = {"jti": f"{RUN}-{next(COUNT)}", "htm": "POST", "htu": url, "iat": int(time.time())}
        return self.sign(claims, {"alg": "ES256", "typ": "dpop+jwt", "jwk": keys.public(self.key)})


def claims(issuer, audience, subject):
    now = int(time.time())
    return {
        "iss": issuer, "aud": audience, "sub": subject, "iat": now, "exp": now + 900,
        "jti": f"{RUN}-{next(COUNT)}", "stage": "release",
    }


def payload(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
