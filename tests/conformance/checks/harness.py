"""What the checks are written with: the list of checks, the server under test, and its answers."""

import json
import secrets
import urllib.parse

import requests

from . import keys
from .platforms import now

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TYPE = "urn:ietf:params:oauth:token-type:"
MUST, SHOULD, MAY = "MUST", "SHOULD", "MAY"

CHECKS = []


class Skip(Exception):
    """The check does not apply, or the configuration lacks what it needs."""


class Check:
    def __init__(self, run, id, level, sentence, basis, last):
        self.run, self.id, self.level, self.sentence = run, id, level, sentence
        self.basis, self.last = basis, last


def check(id, level, sentence, basis="standard", last=0):
    """Registers a check. `basis`: `standard` (a published specification), `draft`, or `own`. `last`: run at the end, 2 after 1."""

    def register(run):
        CHECKS.append(Check(run, id, level, sentence, basis, last))
        return run

    return register


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.text = response.status_code, response.headers, response.text
        try:
            self.json = response.json()
        except ValueError:
            self.json = None
        if not isinstance(self.json, dict):
            self.json = {}

    @property
    def error(self):
        return self.json.get("error")

    @property
    def token(self):
        return self.json.get("access_token")

    @property
    def claims(self):
        read = keys.read(self.token) if isinstance(self.token, str) else None
        if read is None:
            raise Skip("access tokens are not JWTs")
        return read[1]

    @property
    def header(self):
        self.claims
        return keys.read(self.token)[0]

    @property
    def scope(self):
        return set((self.json.get("scope") or "").split())

    def __str__(self):
        if self.token:
            return f"{self.status} with a token, scope {self.json.get('scope')!r}"
        words = [str(self.status), str(self.error or "without an error code")]
        description = self.json.get("error_description")
        return " ".join(words) + (f" ({description})" if description else "")


class Session:
    """The server under test as the checks see it. `faults` collects what is wrong in the running check, `notes` what is worth saying."""

    def __init__(self, config, platforms, platform_server, own_keys):
        self.config, self.platforms, self.platform_server = config, platforms, platform_server
        self.client_key, self.dpop_key = own_keys["client"]["key"], own_keys["dpop"]["key"]
        self.http = requests.Session()
        self.http.verify = config["server"].get("ca_file", True)
        self.http.trust_env = False
        self.faults, self.notes, self.secrets = [], set(), set()
        self.issuer = config["server"]["issuer"]
        self.audience = config.get("assertion", {}).get("audience", self.issuer)
        self.metadata_url = config["server"].get("metadata") or well_known(self.issuer)
        self.metadata = self.get(self.metadata_url).json
        self.token_endpoint = config["server"].get("token_endpoint") or self.metadata["token_endpoint"]

    # --- configuration

    def need(self, path):
        """A value of the configuration, or the check is skipped."""
        value = self.config
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            raise Skip(f"the configuration has no `{path}`")
        return value

    def platform(self, name):
        if name != "evil" and name not in self.config["platforms"].get("trusted", ["main"]):
            raise Skip(f"the server trusts no platform `{name}` (`platforms.trusted`)")
        return self.platforms[name]

    def fetched_platform(self, name):
        """A platform whose keys the server fetches from this program."""
        if self.platform_server is None or name in self.config["platforms"].get("static", []):
            raise Skip(f"the server does not fetch the keys of the platform `{name}` from this program")
        return self.platform(name)

    def grants(self):
        offered = self.config["server"].get("grants", ["jwt-bearer", "token-exchange"])
        return [grant for grant in ("jwt-bearer", "token-exchange") if grant in offered]

    def need_grant(self, grant):
        if grant not in self.grants():
            raise Skip(f"`server.grants` has no {grant}")

    # --- assertions

    def claims(self, platform="main", drop=(), **changes):
        moment = now()
        claims = {
            "iss": self.platforms[platform].issuer,
            "sub": self.config.get("assertion", {}).get("subject", "conformance"),
            "aud": self.audience,
            "iat": moment,
            "nbf": moment,
            "exp": moment + 300,
            "jti": secrets.token_urlsafe(16),
            **self.config.get("assertion", {}).get("claims", {}),
            **changes,
        }
        return {name: value for name, value in claims.items() if name not in drop}

    def header(self, platform="main", **changes):
        one = self.platforms[platform]
        kind = self.config.get("assertion", {}).get("typ", "JWT")
        header = {"typ": kind, "alg": one.algorithm, "kid": one.key["kid"], **changes}
        return {name: value for name, value in header.items() if value is not None}

    def assertion(self, platform="main", header=None, drop=(), key=None, sign_by=None, **changes):
        """A good assertion of a platform, changed: `header` members (None leaves one out), claims, the key."""
        made = self.header(platform, **(header or {}))
        signer = sign_by or (made["alg"] if made["alg"][:2] in ("RS", "PS", "ES", "HS") else "RS256")
        token = keys.jwt(made, self.claims(platform, drop, **changes), key or self.platforms[platform].key, signer)
        return self.remember(token)

    def remember(self, token):
        self.secrets.add(token.rpartition(".")[2])
        return token

    def client_assertion(self, client, header=None, drop=(), key=None, **changes):
        moment = now()
        claims = {
            "iss": client, "sub": client, "aud": self.issuer, "iat": moment, "exp": moment + 120,
            "jti": secrets.token_urlsafe(16), **changes,
        }
        made = {"alg": "ES256", "kid": self.client_key["kid"], **(header or {})}
        claims = {name: value for name, value in claims.items() if name not in drop}
        return self.remember(keys.jwt(made, claims, key or self.client_key, "ES256"))

    def jwt_client(self):
        """The id of the client with private_key_jwt, whose good assertion is taken: else a refusal would show nothing."""
        client = self.need("clients.jwt")["id"]
        answer = self.ask(**self.client_fields(self.client_assertion(client)))
        if not answer.token:
            raise Skip(f"a good client assertion is refused: {answer}")
        return client

    def client_fields(self, assertion):
        return {"client_assertion_type": CLIENT_ASSERTION, "client_assertion": assertion}

    def secret(self, name):
        """Id and secret of a client of the configuration."""
        client = self.need(f"clients.{name}")
        secret = client.get("secret") or self.config.get("client_secrets", {}).get(client["id"])
        if secret is None:
            raise Skip(f"`clients.{name}` has no secret")
        self.secrets.add(secret)
        return client["id"], secret

    def basic(self, name, secret=None):
        """The Authorization header of a client, each character of the secret percent-encoded."""
        client, right = self.secret(name)
        coded = "".join(f"%{octet:02X}" for octet in (secret or right).encode())
        pair = f"{urllib.parse.quote(client, safe='')}:{coded}"
        return {"Authorization": "Basic " + keys.base64.b64encode(pair.encode()).decode()}

    def proof(self, url, method="POST", token=None, key=None, nonce=None):
        """A DPoP proof (RFC 9449)."""
        key = key or self.dpop_key
        claims = {"htm": method, "htu": url, "iat": now(), "jti": secrets.token_urlsafe(16)}
        if token:
            claims["ath"] = keys.b64(keys.hashlib.sha256(token.encode()).digest())
        if nonce:
            claims["nonce"] = nonce
        jwk = {name: value for name, value in keys.public(key).items() if name != "kid"}
        return keys.jwt({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk}, claims, key)

    # --- requests

    def get(self, url, **options):
        return Answer(self.http.get(url, timeout=30, allow_redirects=False, **options))

    def send(self, fields, headers=None, body=None, method="POST", query="", url=None):
        """A token request. `fields`: a dict (None leaves a parameter out, a list repeats it) or the pairs; `body`: raw bytes."""
        sent = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        if body is None:
            pairs = []
            for name, value in fields.items():
                for one in value if isinstance(value, list) else [value]:
                    if one is not None:
                        pairs.append((name, one))
            body = urllib.parse.urlencode(pairs)
        sent = {name: value for name, value in sent.items() if value is not None}
        response = self.http.request(
            method, (url or self.token_endpoint) + query, data=body, headers=sent, timeout=60, allow_redirects=False
        )
        answer = Answer(response)
        if answer.token:
            self.remember(str(answer.token))
        return answer

    def common(self):
        """The parameters that every good request has."""
        return dict(self.config.get("request", {}))

    def fields(self, grant, token=None, **changes):
        token = self.assertion() if token is None else token
        if grant == "jwt-bearer":
            fields = {"grant_type": JWT_BEARER, "assertion": token}
        else:
            kind = self.config.get("assertion", {}).get("token_type", TYPE + "jwt")
            fields = {"grant_type": TOKEN_EXCHANGE, "subject_token": token, "subject_token_type": kind}
        return {**fields, **self.common(), **changes}

    def jb(self, token=None, headers=None, **changes):
        self.need_grant("jwt-bearer")
        return self.send(self.fields("jwt-bearer", token, **changes), headers)

    def tx(self, token=None, headers=None, **changes):
        self.need_grant("token-exchange")
        return self.send(self.fields("token-exchange", token, **changes), headers)

    def ask(self, token=None, headers=None, query="", **changes):
        """A request by the first grant that the server offers."""
        return self.send(self.fields(self.grants()[0], token, **changes), headers, query=query)

    def as_token(self, **changes):
        """An access token of the server, and its answer."""
        answer = self.ask(**changes)
        if not answer.token:
            raise Skip(f"no access token to begin with: {answer}")
        return answer

    def exchange(self, token, headers=None, **changes):
        """Exchanges an access token of the server under test."""
        if not self.config["server"].get("exchanges_own_tokens", False):
            raise Skip("`server.exchanges_own_tokens` is not set")
        common = {"resource": None, "subject_token_type": TYPE + "access_token"}
        return self.tx(token, headers, **{**common, **changes})

    # --- expectations

    def expect(self, condition, fault):
        if not condition:
            self.faults.append(fault)
        return condition

    def granted(self, answer, what="the good request"):
        return self.expect(answer.status == 200 and answer.token, f"{what}: {answer}")

    def refused(self, answer, what, *codes, statuses=(400,)):
        """An OAuth error answer with one of the codes (none: any code)."""
        if "invalid_client" in codes:
            statuses = (*statuses, 401)
        wanted = answer.status in statuses and isinstance(answer.error, str) and not answer.token
        wanted = wanted and (not codes or answer.error in codes)
        wanted = wanted and answer.headers.get("Content-Type", "").startswith("application/json")
        return self.expect(wanted, f"{what}: {answer}")

    def refused_by_grants(self, what, make, strict=False, looked_up=False):
        """An assertion that no grant accepts; `make` makes a new one for each. `strict`: with the very code of the grant. `looked_up`:
        the server has to look for the key, and may say that it cannot do so again yet (503 with Retry-After)."""
        for grant in self.grants():
            codes = ("invalid_grant",)
            if grant == "token-exchange":
                codes = ("invalid_request",) if strict else ("invalid_request", "invalid_grant")
            answer = self.send(self.fields(grant, make()))
            if looked_up and answer.status == 503 and "Retry-After" in answer.headers and not answer.token:
                self.notes.add("503 with Retry-After, where the key had to be looked up")
            else:
                self.refused(answer, f"{what} ({grant})", *codes)


def well_known(issuer):
    """RFC 8414 section 3.1."""
    parts = urllib.parse.urlsplit(issuer)
    return f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path.rstrip('/')}"


def as_json(value):
    return json.dumps(value, separators=(",", ":"))
