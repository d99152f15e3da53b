"""1.2: assertions as grants and as client authentication (RFC 7521, RFC 7523, and the draft that replaces it)."""

import concurrent.futures

from . import keys
from .harness import CLIENT_ASSERTION, MAY, MUST, SHOULD, Skip, as_json, check
from .platforms import now


def client_refused(t, answer, what):
    t.refused(answer, what, "invalid_client")


@check("RFC7523-2.1-1", MUST, "`assertion` is exactly one JWT in compact form")
def one_jwt(t):
    for what, join in (("a space", " "), ("a comma", ",")):
        answer = t.jb(t.assertion() + join + t.assertion())
        t.refused(answer, f"two JWTs with {what} between", "invalid_grant", "invalid_request")
    protected, payload, signature = t.assertion().split(".")
    flat = as_json({"protected": protected, "payload": payload, "signature": signature})
    t.refused(t.jb(flat), "the JSON form of a JWS", "invalid_grant", "invalid_request")
    general = as_json({"payload": payload, "signatures": [{"protected": protected, "signature": signature}]})
    t.refused(t.jb(general), "the general JSON form", "invalid_grant", "invalid_request")


@check("RFC7523-2.1-2", MAY, "the grant needs no client")
def anonymous(t):
    if "client_id" in t.common():
        raise Skip("the configuration has a client in each request (`request.client_id`)")
    t.granted(t.jb(), "jwt-bearer without a client")


@check("RFC7523-2.2-1", MUST, "a client assertion is taken with its type alone")
def client_assertion_type(t):
    client = t.need("clients.jwt")["id"]
    t.granted(t.ask(**t.client_fields(t.client_assertion(client))), "a good client assertion")
    odd = {"client_assertion_type": CLIENT_ASSERTION + "x", "client_assertion": t.client_assertion(client)}
    t.refused(t.ask(**odd), "an unknown client_assertion_type", "invalid_client", "invalid_request")
    alone = t.ask(client_assertion=t.client_assertion(client))
    t.refused(alone, "client_assertion without its type", "invalid_request", "invalid_client")
    t.refused(t.ask(client_assertion_type=CLIENT_ASSERTION), "the type alone", "invalid_request", "invalid_client")


@check("RFC7523-2.2-1", MUST, "an unknown type is invalid_client, half of the pair invalid_request", basis="own")
def client_assertion_type_codes(t):
    client = t.jwt_client()
    odd = {"client_assertion_type": CLIENT_ASSERTION + "x", "client_assertion": t.client_assertion(client)}
    client_refused(t, t.ask(**odd), "an unknown client_assertion_type")
    t.refused(t.ask(client_assertion=t.client_assertion(client)), "no type", "invalid_request")
    t.refused(t.ask(client_assertion_type=CLIENT_ASSERTION), "no assertion", "invalid_request")


@check("RFC7523-3-1", MUST, "`iss` is there, and is that of a trusted platform, character by character")
def iss(t):
    good = t.platforms["main"].issuer
    t.refused_by_grants("no iss", lambda: t.assertion(drop=("iss",)))
    scheme, _, rest = good.partition("://")
    for other in (7, "", good + "/", f"{scheme.upper()}://{rest}", good.replace("main", "MAIN"), good.replace("main", "%6Dain")):
        t.refused_by_grants(f"iss={other!r}", lambda: t.assertion(iss=other))
    t.refused_by_grants("an unknown platform", lambda: t.assertion("evil"))


@check("RFC7523-3-2", MUST, "`sub` is there, and is a text that is not empty")
def sub(t):
    t.refused_by_grants("no sub", lambda: t.assertion(drop=("sub",)))
    for other in ("", 7, None, ["x"], {"x": 1}):
        t.refused_by_grants(f"sub={other!r}", lambda: t.assertion(sub=other))


@check("RFC7523-3-2b", MUST, "in a client assertion `iss` and `sub` are the client_id")
def client_sub(t):
    client = t.jwt_client()
    cases = {
        "another iss": t.client_fields(t.client_assertion(client, iss="other")),
        "another sub": t.client_fields(t.client_assertion(client, sub="other")),
        "no sub": t.client_fields(t.client_assertion(client, drop=("sub",))),
        "another client_id": {**t.client_fields(t.client_assertion(client)), "client_id": "other"},
    }
    for what, fields in cases.items():
        client_refused(t, t.ask(**fields), what)


@check("RFC7523-3-3", MUST, "`aud` is there, and names this server")
def aud(t):
    t.refused_by_grants("no aud", lambda: t.assertion(drop=("aud",)))
    for other in ("https://other.example/", "", t.audience + "x", t.audience[:-1]):
        t.refused_by_grants(f"aud={other!r}", lambda: t.assertion(aud=other))


@check("RFC7523-3-3", MUST, "`aud` is compared as text, not as a URL")
def aud_spelling(t):
    spelled = [t.audience + "/", t.audience.upper(), t.audience.replace("http", "%68ttp", 1)]
    for other in spelled:
        if other != t.audience:
            t.refused_by_grants(f"aud={other!r}", lambda: t.assertion(aud=other))


@check("RFC7523BIS-4-1", MUST, "an assertion for the issuer identifier is taken", basis="draft")
def aud_issuer(t):
    t.granted(t.ask(t.assertion(aud=t.issuer)), "aud = issuer identifier")


@check("RFC7523BIS-4-1", MUST, "an assertion for the token endpoint is taken", basis="own")
def aud_token_endpoint(t):
    t.granted(t.ask(t.assertion(aud=t.token_endpoint)), "aud = token endpoint")


@check("RFC7523BIS-4-2", MUST, "a client assertion is for the issuer identifier alone", basis="draft")
def client_aud(t):
    client = t.jwt_client()
    for good in (t.issuer, [t.issuer]):
        t.granted(t.ask(**t.client_fields(t.client_assertion(client, aud=good))), f"aud={good!r}")
    for other in (t.token_endpoint, [t.issuer, t.token_endpoint], [t.issuer, "x"]):
        client_refused(t, t.ask(**t.client_fields(t.client_assertion(client, aud=other))), f"aud={other!r}")


@check("RFC7523BIS-4-3", SHOULD, "a client assertion needs no type", basis="draft")
def client_typ(t):
    client = t.need("clients.jwt")["id"]
    for kind in ({}, {"typ": "JWT"}, {"typ": "client-authentication+jwt"}):
        t.granted(t.ask(**t.client_fields(t.client_assertion(client, kind))), f"header {kind}")


@check("RFC7523BIS-4-4", MUST, "a client assertion that is typed for another purpose is refused", basis="draft")
def client_other_typ(t):
    client = t.jwt_client()
    for kind in ("at+jwt", "dpop+jwt", "oauth-id-jag+jwt", "txntoken+jwt", "secevent+jwt", "logout+jwt"):
        client_refused(t, t.ask(**t.client_fields(t.client_assertion(client, {"typ": kind}))), f"typ={kind}")


@check("RFC7523-3-4", MUST, "`exp` is there, and has not passed")
def exp(t):
    t.refused_by_grants("no exp", lambda: t.assertion(drop=("exp",)))
    t.refused_by_grants("exp 10 minutes ago", lambda: t.assertion(exp=now() - 600, iat=now() - 900, nbf=now() - 900))


@check("RFC7523-3-4", MUST, "the leeway for `exp` is at most 60 seconds", basis="own")
def exp_leeway(t):
    t.refused_by_grants("exp 61 seconds ago", lambda: t.assertion(exp=now() - 61, iat=now() - 300, nbf=now() - 300), strict=True)


@check("RFC7523-3-4b", MAY, "an assertion that is valid for too long is refused", basis="own")
def long_life(t):
    t.refused_by_grants("valid for 30 days", lambda: t.assertion(exp=now() + 30 * 86400))


@check("RFC7523-3-5", MUST, "`nbf` is honoured")
def nbf(t):
    t.refused_by_grants("nbf in 10 minutes", lambda: t.assertion(nbf=now() + 600, exp=now() + 900))


@check("RFC7523-3-5", MUST, "`nbf` has a leeway of 60 seconds, and no more", basis="own")
def nbf_leeway(t):
    t.refused_by_grants("nbf in 120 seconds", lambda: t.assertion(nbf=now() + 120), strict=True)
    t.granted(t.ask(t.assertion(nbf=now() + 30)), "nbf in 30 seconds")


@check("RFC7523-3-6", MAY, "an assertion of the future, by `iat`, is refused", basis="own")
def iat(t):
    t.refused_by_grants("iat in 120 seconds", lambda: t.assertion(iat=now() + 120, exp=now() + 600))


@check("RFC7523-3-7", MAY, "an assertion is good for one token")
def single_use(t):
    token = t.assertion()
    t.granted(t.ask(token), "the first use")
    second = t.ask(token)
    if second.token:
        raise Skip("the server lets an assertion be used again, as it may")
    t.refused(second, "the second use", "invalid_grant", "invalid_request")


@check("RFC7523-3-7", MAY, "of parallel requests with one assertion exactly one gets a token", basis="own")
def single_use_in_parallel(t):
    token = t.assertion()
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: t.ask(token), range(50)))
    granted = sum(bool(answer.token) for answer in answers)
    t.expect(granted == 1, f"50 requests at a time got {granted} tokens")
    other = t.assertion()
    crossed = [t.jb(other), t.tx(other)]
    t.expect(not crossed[1].token, "an assertion was used by jwt-bearer and again by token exchange")


@check("RFC7523-3-8", MUST, "unknown claims do no harm")
def unknown_claims(t):
    t.granted(t.ask(t.assertion(**{"https://x.example/c": {}, "x": [1, None, {"y": "z"}]})), "with unknown claims")


@check("RFC7523-3-9", MUST, "the signature is verified, by a key of the issuer")
def signature(t):
    def changed(part):
        segments = t.assertion().split(".")
        octets = bytearray(keys.unb64(segments[part]))
        octets[len(octets) // 2] ^= 1
        segments[part] = keys.b64(bytes(octets))
        return ".".join(segments)

    for part, name in enumerate(("header", "claims", "signature")):
        t.refused_by_grants(f"one bit of the {name} changed", lambda: changed(part))
    t.refused_by_grants("signed by a key that nobody knows", lambda: t.assertion(key=t.platforms["evil"].key))


@check("RFC7523-3-9", MUST, "the key of another trusted platform does not do")
def key_of_other(t):
    other = t.platform("other")
    if t.config["platforms"].get("other_is_granted", True):
        t.granted(t.ask(t.assertion("other")), "the other platform's own assertion")
    header = {"alg": other.algorithm, "kid": other.key["kid"]}
    t.refused_by_grants("main's claims, signed by the other platform", lambda: t.assertion(header=header, key=other.key), looked_up=True)
