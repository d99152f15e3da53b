"""1.5: access tokens as JWTs (RFC 9068), and how the resource server takes them."""

import itertools
import json
import time

from . import keys
from .harness import MUST, SHOULD, Answer, Skip, check
from .platforms import now
from .targets import audiences

NUMBERS = itertools.count(1)
LEEWAY = 60


def every_token(t):
    for grant in t.grants():
        answer = t.send(t.fields(grant))
        if t.granted(answer, grant):
            yield grant, answer


@check("RFC9068-2.1-1", MUST, "access tokens are signed, never by `none`")
def signed(t):
    for grant, answer in every_token(t):
        algorithm = answer.header.get("alg", "none")
        t.expect(algorithm.lower() != "none" and not algorithm.startswith("HS"), f"alg is {algorithm} ({grant})")


@check("RFC9068-2.1-3", MUST, "the type of an access token is at+jwt")
def typ(t):
    for grant, answer in every_token(t):
        kind = answer.header.get("typ", "")
        t.expect(kind.lower() in ("at+jwt", "application/at+jwt"), f"typ is {kind!r} ({grant})")


@check("RFC9068-2.2-1", MUST, "iss, exp, aud, sub, client_id, iat and jti are all there")
def required_claims(t):
    for grant, answer in every_token(t):
        for name, kind in {"iss": str, "exp": int, "sub": str, "client_id": str, "iat": int, "jti": str}.items():
            t.expect(isinstance(answer.claims.get(name), kind), f"{name} is {answer.claims.get(name)!r} ({grant})")
        t.expect(audiences(answer), f"aud is {answer.claims.get('aud')!r} ({grant})")
        t.expect(answer.claims.get("iss") == t.issuer, f"iss is {answer.claims.get('iss')} ({grant})")


@check("RFC9068-2.2-2", SHOULD, "`sub` is a name of this server, not the text of a foreign platform", basis="own")
def sub(t):
    subject = t.claims()["sub"]
    for grant, answer in every_token(t):
        t.expect(answer.claims.get("sub") != subject, f"sub is the platform's ({grant})")


@check("RFC9068-2.2.3-1", SHOULD, "the claim `scope` is there when scope was asked for")
def scope(t):
    asked = t.need("scopes.granted")[0]
    answer = t.ask(scope=asked)
    if t.granted(answer, f"scope={asked}"):
        t.expect(asked in (answer.claims.get("scope") or "").split(), f"scope is {answer.claims.get('scope')!r}")


@check("RFC9068-3-1", SHOULD, "`aud` is the resource that was asked for")
def aud(t):
    one = t.need("resources.one")
    answer = t.ask(resource=one)
    t.granted(answer, f"resource={one}")
    t.expect(audiences(answer) == [one], f"aud is {answer.claims.get('aud')}")


@check("RFC9068-3-2", MUST, "without resource there is a default in `aud`, or a refusal")
def default_aud(t):
    answer = t.ask(resource=None)
    if answer.token:
        t.expect(audiences(answer), "no aud")
    else:
        t.refused(answer, "without resource", "invalid_target", "invalid_request")


@check("RFC9068-3-3", SHOULD, "scopes of different resources, without resource, are refused")
def scopes_of_two(t):
    scope = f"{t.need('scopes.granted')[0]} {t.need('scopes.only_at_two')}"
    answer = t.ask(t.assertion(sub=t.need("subjects.two_resources")), resource=None, scope=scope)
    t.refused(answer, f"scope={scope} without resource", "invalid_scope", "invalid_target")


@check("RFC9068-4-1", SHOULD, "metadata and key set are enough to verify an access token")
def verifiable(t):
    jwks = t.get(t.metadata["jwks_uri"]).json.get("keys", [])
    for grant, answer in every_token(t):
        verdict = keys.verify(answer.token, jwks) if answer.header else None
        if verdict is None:
            raise Skip(f"this program cannot verify {answer.header.get('alg')}")
        t.expect(verdict, f"no key of the set verifies the token ({grant})")


def call(t, token, scheme="Bearer", headers=None):
    """A call of the resource server. `{n}` in the URL becomes a new number each time."""
    what = t.need("resource_call")
    url = what["url"].replace("{n}", str(next(NUMBERS)))
    # A refusal may come before the body was read, and ends the connection then.
    sent = {"Connection": "close", **what.get("headers", {}), **(headers or {})}
    if token:
        sent["Authorization"] = f"{scheme} {token}"
    response = t.http.request(what.get("method", "GET"), url, data=what.get("body", "").encode() or None, headers=sent, timeout=30)
    return Answer(response)


def taken(t, token):
    answer = call(t, token)
    return t.expect(answer.status < 300, f"the resource server with a good token: {answer.status} {answer.text[:200]}")


def not_taken(t, token, what, statuses=(401,)):
    answer = call(t, token)
    t.expect(answer.status in statuses, f"{what}: {answer.status} {answer.text[:120]}")


@check("RFC9068-4-2", MUST, "the resource server takes access tokens, and no other kind of JWT")
def rs_typ(t):
    token = t.as_token().token
    taken(t, token)
    not_taken(t, t.assertion(aud=t.need("resources.one")), "a platform's assertion for the resource")
    endpoint = t.metadata.get("introspection_endpoint")
    if endpoint and t.config.get("clients", {}).get("introspection"):
        accept = {"Accept": "application/token-introspection+jwt", **t.basic("introspection")}
        answer = t.send({"token": token}, accept, url=endpoint)
        if keys.read(answer.text.strip()):
            not_taken(t, answer.text.strip(), "a JWT of introspection, signed by the server's key")


@check("RFC9068-4-3", MUST, "the resource server takes no token of another issuer")
def rs_iss(t):
    good = t.as_token()
    taken(t, good.token)
    evil = t.platforms["evil"]
    header = {**good.header, "alg": evil.algorithm, "kid": evil.key["kid"]}
    not_taken(t, keys.jwt(header, {**good.claims, "iss": evil.issuer}, evil.key), "a token of another issuer")


@check("RFC9068-4-4", MUST, "the resource server takes no token for another resource")
def rs_aud(t):
    t.need("resource_call")
    subject, two = t.need("subjects.two_resources"), t.need("resources.two")
    answer = t.ask(t.assertion(sub=subject), resource=two, scope=None)
    if t.granted(answer, "a token for the second resource"):
        not_taken(t, answer.token, "a token for the second resource")


@check("RFC9068-4-5", MUST, "the resource server verifies the signature")
def rs_signature(t):
    good = t.as_token()
    taken(t, good.token)
    head, claims, signature = good.token.split(".")
    not_taken(t, f"{keys.segment({**good.header, 'alg': 'none'})}.{claims}.", "alg none")
    octets = bytearray(keys.unb64(signature))
    octets[5] ^= 1
    not_taken(t, f"{head}.{claims}.{keys.b64(bytes(octets))}", "a changed signature")
    longer = keys.segment({**good.claims, "exp": good.claims["exp"] + 3600})
    not_taken(t, f"{head}.{longer}.{signature}", "changed claims")
    evil = t.platforms["evil"]
    not_taken(t, keys.jwt({**good.header, "alg": evil.algorithm}, good.claims, evil.key), "the same kid, another key")
    public = [key for key in t.get(t.metadata["jwks_uri"]).json["keys"] if key.get("kid") == good.header.get("kid")][0]
    secret = {"k": json.dumps(public).encode()}
    not_taken(t, keys.jwt({**good.header, "alg": "HS256"}, good.claims, secret), "HS256 with the public key")


@check("RFC9068-4-6", MUST, "the resource server takes no expired token", last=1)
def rs_exp(t):
    t.need("resource_call")
    if t.expiring is None:
        raise Skip("the server gave no token of a short life for the platform `short`")
    time.sleep(max(0, t.expiring.claims["exp"] + LEEWAY + 2 - time.time()))
    not_taken(t, t.expiring.token, f"a token that expired {now() - t.expiring.claims['exp']} seconds ago")


def begin_expiry(t):
    """Before the checks: a token that has expired when they are done."""
    if "short" not in t.config["platforms"].get("trusted", []):
        return None
    answer = t.ask(t.assertion("short", exp=now() + 10))
    short = answer.token and answer.json.get("expires_in", 900) <= 10
    return answer if short else None
