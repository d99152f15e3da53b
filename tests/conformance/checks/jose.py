"""1.7: what holds for every JWT (RFC 7515, RFC 7517, RFC 7519, RFC 8725)."""

import json
import time

from . import keys
from .harness import MUST, SHOULD, Skip, as_json, check

BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def raw(t, header=None, claims=None):
    """A signed JWT whose header or claims are given as text."""
    key = t.platforms["main"].key
    made, algorithm = t.header(), t.platforms["main"].algorithm
    return t.remember(keys.jwt(header or made, claims or t.claims(), key, algorithm))


def claims_with(t, member):
    """The claims as text, with a further member in front."""
    return "{" + member + "," + as_json(t.claims()).removeprefix("{")


def header_with(t, member):
    return "{" + member + "," + as_json(t.header()).removeprefix("{")


@check("RFC7515-5.2-1", MUST, "three segments of base64url, and nothing else")
def segments(t):
    def inserted(text, part=1):
        parts = t.assertion().split(".")
        parts[part] = parts[part][:8] + text + parts[part][8:]
        return ".".join(parts)

    def padded(part):
        return ".".join(text + "=" * (i == part) for i, text in enumerate(t.assertion().split(".")))

    for text in ("=", "+", "/", "\r\n", " "):
        t.refused_by_grants(f"{text!r} within the claims", lambda: inserted(text))
    for part, name in enumerate(("header", "claims", "signature")):
        t.refused_by_grants(f"padding behind the {name}", lambda: padded(part))
    t.refused_by_grants("two segments", lambda: t.assertion().rpartition(".")[0])
    t.refused_by_grants("four segments", lambda: t.assertion() + ".x")
    t.refused_by_grants("a line feed at the end", lambda: t.assertion() + "\n")


@check("RFC7515-5.2-2", MUST, "a second spelling of the same signature is refused", basis="own")
def canonical(t):
    def respelled():
        token = t.assertion()
        if len(token.rpartition(".")[2]) % 4 == 0:
            raise Skip("the signature has no unused bits")
        return token[:-1] + BASE64URL[BASE64URL.index(token[-1]) ^ 1]

    t.refused_by_grants("unused bits of the last letter changed", respelled)


@check("RFC7515-5.2-3", MUST, "header and claims are one JSON object in UTF-8, and nothing behind it")
def one_object(t):
    cases = {
        "text behind the claims": lambda: raw(t, claims=as_json(t.claims()) + "ABCD"),
        "claims in UTF-16": lambda: raw(t, claims=as_json(t.claims()).encode("utf-16")),
        "NaN": lambda: raw(t, claims=claims_with(t, '"x":NaN')),
        "a comment": lambda: raw(t, claims=as_json(t.claims()).replace("{", "{/* x */", 1)),
        "a trailing comma": lambda: raw(t, claims=as_json(t.claims())[:-1] + ",}"),
        "a list": lambda: raw(t, claims=f"[{as_json(t.claims())}]"),
        "invalid UTF-8": lambda: raw(t, claims=claims_with(t, '"x":"').encode() + b'\xff"}'),
        "text behind the header": lambda: raw(t, header=as_json(t.header()) + "{}"),
    }
    for what, make in cases.items():
        t.refused_by_grants(what, make)


@check("RFC7515-5.2-3", MUST, "a byte order mark is refused", basis="own")
def byte_order_mark(t):
    t.refused_by_grants("a byte order mark", lambda: raw(t, claims="\ufeff" + as_json(t.claims())))


@check("RFC7515-4-1", MUST, "a header member that is there twice is refused", basis="own")
def header_twice(t):
    t.refused_by_grants("two alg", lambda: raw(t, header=header_with(t, f'"alg":"{t.platforms["main"].algorithm}"')))
    t.refused_by_grants("two x", lambda: raw(t, header=header_with(t, '"x":1,"x":2')))


@check("RFC7519-4-1", MUST, "a claim that is there twice is refused, at any depth", basis="own")
def claim_twice(t):
    t.refused_by_grants("two aud", lambda: raw(t, claims=claims_with(t, f'"aud":"{t.audience}"')))
    t.refused_by_grants("two members within a claim", lambda: raw(t, claims=claims_with(t, '"x":{"y":1,"y":2}')))


@check("RFC7515-4.1.11-1", MUST, "`crit` with what is not understood, or not well formed, is refused")
def crit(t):
    cases = [["x"], [], "x", ["y"], ["alg"]]
    for value in cases:
        t.refused_by_grants(f"crit={value!r}", lambda: t.assertion(header={"crit": value, "x": 1}))


@check("RFC7515-4.1.2-1", MUST, "key material in the header never selects the key")
def key_in_header(t):
    evil = t.platforms["evil"]
    own = {"kid": None, "alg": evil.algorithm}
    public = {**keys.public(evil.key), "alg": evil.algorithm}
    for name, value in {"jwk": public, "jku": evil.issuer + "/jwks", "x5u": evil.issuer + "/x5u", "x5c": ["MIIB"]}.items():
        t.refused_by_grants(f"{name} of the signer in the header", lambda: t.assertion(header={**own, name: value}, key=evil.key))


@check("RFC7515-4.1.2-1", MUST, "an assertion with jku, jwk, x5u or x5c is refused, though its key is the right one", basis="own")
def key_material_refused(t):
    jwk = keys.public(t.platforms["main"].key)
    for name, value in {"jwk": jwk, "jku": "https://x.example/jwks", "x5u": "https://x.example/", "x5c": ["MIIB"]}.items():
        t.refused_by_grants(f"{name} in the header", lambda: t.assertion(header={name: value}))


@check("RFC8725-3.10-2", MUST, "a URL of a header is not fetched")
def urls_in_header(t):
    if t.platform_server is None:
        raise Skip("this program serves no platforms (`platforms.serve`)")
    canary = t.platforms["evil"].issuer + "/canary"
    for name in ("jku", "x5u"):
        t.ask(t.assertion(header={name: canary}))
        t.ask(t.assertion(header={name: canary, "kid": "unknown"}, key=t.platforms["evil"].key))
    time.sleep(0.5)
    t.expect(not t.platform_server.count("/canary"), "the URL was fetched")


@check("RFC7519-4.1.3-1", MUST, "`aud` is a text or a list of texts")
def aud_kind(t):
    for value in (7, {"x": t.audience}, [t.audience, 7], [], None, True):
        t.refused_by_grants(f"aud={value!r}", lambda: t.assertion(aud=value))


@check("RFC7519-4.1.4-1", MUST, "times are numbers")
def times(t):
    for name in ("exp", "nbf", "iat"):
        for value in ("1700000000", True, None, [1]) if name != "exp" else ("4000000000", True, None, [4000000000]):
            t.refused_by_grants(f"{name}={value!r}", lambda: t.assertion(**{name: value}))


@check("RFC7519-5.2-1", MUST, "encrypted and nested JWTs are refused", basis="own")
def nested(t):
    t.refused_by_grants("five segments", lambda: t.assertion() + "." + ".".join(t.assertion().split(".")[:2]))
    t.refused_by_grants("cty=JWT", lambda: raw(t, header={**t.header(), "cty": "JWT"}, claims=t.assertion()))
    t.refused_by_grants("cty=JWT around claims", lambda: t.assertion(header={"cty": "JWT"}))


@check("RFC7517-5-1", SHOULD, "broken keys of a set are left out, the others are used")
def broken_keys(t):
    t.fetched_platform("broken-keys")
    t.granted(t.ask(t.assertion("broken-keys")), "a good key among broken ones")


@check("RFC7517-5-2", MUST, "a set without `keys` is no set")
def no_keys(t):
    t.fetched_platform("no-keys")
    answer = t.ask(t.assertion("no-keys"))
    t.expect(not answer.token, f"a set without keys: {answer}")


@check("RFC7517-5-2", MUST, "a set that has a member twice is refused whole", basis="own")
def duplicate_keys(t):
    t.fetched_platform("duplicate-keys")
    answer = t.ask(t.assertion("duplicate-keys"))
    t.expect(not answer.token, f"a set with `keys` twice: {answer}")


@check("RFC7517-4-1", MUST, "`use`, `key_ops` and `alg` of a key are respected")
def key_members(t):
    t.fetched_platform("broken-keys")
    for kid in ("for-encryption", "other-operation", "other-algorithm"):
        t.refused_by_grants(f"the key {kid}", lambda: t.assertion("broken-keys", header={"kid": kid}), looked_up=True)


@check("RFC8725-3.1-1", MUST, "the algorithm is one that is allowed, letter by letter")
def algorithms(t):
    for name in ("rs256", "RS256 ", "noNE", "none", "RSA1_5", "", None, 7):
        header = {**t.header(), "alg": name}
        t.refused_by_grants(f"alg={name!r}", lambda: t.remember(keys.jwt(header, t.claims(), t.platforms["main"].key, "RS256")))


@check("RFC8725-3.1-2", MUST, "the algorithm fits the key")
def algorithm_of_key(t):
    main = t.platforms["main"]
    other = "ES256" if main.key["kty"] == "RSA" else "RS256"
    what = f"{other} with a key of type {main.key['kty']}"
    t.refused_by_grants(what, lambda: t.assertion(header={"alg": other}, sign_by=main.algorithm), looked_up=True)
    if main.key["kty"] == "RSA":
        t.refused_by_grants("PS256 with a key that is declared for RS256", lambda: t.assertion(header={"alg": "PS256"}), looked_up=True)


@check("RFC8725-3.2-1", MUST, "HMAC with the public key as the secret, and unsigned tokens, are refused")
def weak_algorithms(t):
    main = t.platforms["main"]
    secrets = [json.dumps(keys.public(main.key)).encode(), keys.unb64(main.key.get("n", main.key.get("x")))]
    for secret in secrets:
        for name in ("HS256", "HS512"):
            t.refused_by_grants(f"{name} with the public key", lambda: t.assertion(header={"alg": name}, key={"k": secret}))
    t.refused_by_grants("alg none without signature", lambda: t.assertion(header={"alg": "none"}).rpartition(".")[0] + ".")


@check("RFC8725-3.2-1", MUST, "an RSA key of 1024 bits is not used")
def small_key(t):
    platform = t.fetched_platform("broken-keys")
    header = {"kid": "small", "alg": "RS256"}
    signed = lambda: t.assertion("broken-keys", header=header, key=platform.extra["small"])
    t.refused_by_grants("signed by a key of 1024 bits", signed, looked_up=True)


@check("RFC8725-3.3-1", MUST, "a signature that is empty, cut or zero is refused")
def signatures(t):
    def replaced(signature):
        return t.assertion().rpartition(".")[0] + "." + signature

    for what, signature in {"empty": "", "zeros": keys.b64(bytes(256)), "of another token": t.assertion().rpartition(".")[2]}.items():
        t.refused_by_grants(f"a signature, {what}", lambda: replaced(signature))
    t.refused_by_grants("a signature, cut", lambda: t.assertion()[:-40])
    if "other" in t.config["platforms"].get("trusted", []):
        t.refused_by_grants("an ECDSA signature of zeros", lambda: t.assertion("other").rpartition(".")[0] + "." + keys.b64(bytes(64)))


@check("RFC8725-3.4-1", MUST, "a key whose point is not on its curve is not used")
def off_curve(t):
    platform = t.fetched_platform("broken-keys")
    signed = lambda: t.assertion("broken-keys", header={"kid": "off-curve"}, key=platform.extra["other_ec"])
    t.refused_by_grants("the key off-curve", signed, looked_up=True)


@check("RFC8725-3.8-2", MUST, "a subject of a trusted platform that nobody named gets nothing")
def unknown_subject(t):
    t.refused_by_grants("an unknown subject", lambda: t.assertion(sub="nobody-knows-this-subject"))


@check("RFC8725-3.10-1", MUST, "what is in `kid` and `sub` does nothing")
def injection(t):
    nasty = ("' OR '1'='1", "../../../../dev/null", "%00", "\x00", "$(touch x)", "a" * 5000, '"}],"x":[{"')
    for text in nasty:
        odd = lambda: t.assertion(header={"kid": text}, key=t.platforms["evil"].key)
        t.refused_by_grants(f"kid={text[:20]!r}", odd, looked_up=True)
        t.refused_by_grants(f"sub={text[:20]!r}", lambda: t.assertion(sub=text))
    t.granted(t.ask(), "the good request afterwards")


@check("RFC8725-3.11-1", SHOULD, "what the server issues is typed")
def explicit_type(t):
    answer = t.ask()
    t.expect(answer.header.get("typ"), f"an access token with typ {answer.header.get('typ')!r}")


@check("RFC8725-3.12-1", MUST, "one kind of JWT does not pass for another")
def kinds(t):
    token = t.as_token().token
    t.refused_by_grants("an access token of the server as assertion", lambda: t.as_token().token)
    t.refused_by_grants("a DPoP proof as assertion", lambda: t.proof(t.token_endpoint))
    if t.config.get("clients", {}).get("jwt"):
        client = t.jwt_client()
        t.refused_by_grants("a client assertion as assertion", lambda: t.client_assertion(client))
        t.refused(t.ask(**t.client_fields(t.assertion())), "a platform's assertion as client assertion", "invalid_client")
        t.refused(t.ask(**t.client_fields(token)), "an access token as client assertion", "invalid_client")


@check("RFC8725BIS-3.14-1", MUST, "what is no compact JWT is refused at once", basis="draft")
def alphabet(t):
    for text in ('{"payload":"x"}', "<saml/>", "a.b.c.", "..", "é.é.é"):
        t.refused_by_grants(f"assertion={text!r}", lambda: text)


@check("RFC8725BIS-3.13-1", SHOULD, "headers of encryption cost nothing", basis="draft")
def costly(t):
    header = {"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 2147483647, "p2s": "AAAA", "zip": "DEF"}
    started = time.monotonic()
    text = keys.segment(header)
    t.refused_by_grants("PBES2 with 2^31 rounds", lambda: f"{text}.AAAA.AAAA.AAAA.AAAA")
    t.refused_by_grants("PBES2 in a JWS", lambda: f"{text}.{keys.segment(t.claims())}.AAAA")
    t.expect(time.monotonic() - started < 5, "the refusal took more than five seconds")
