"""1.6, consuming: how the server gets the keys of platforms (OpenID Connect Discovery, RFC 8414)."""

import secrets
import time

from .harness import MUST, SHOULD, Skip, check


def granted_for(t, name, what):
    return t.granted(t.ask(t.assertion(name)), what)


def not_granted_for(t, name, what):
    """The fault is the platform's or the network's: any refusal will do, also 503."""
    started = time.monotonic()
    answer = t.ask(t.assertion(name))
    t.expect(not answer.token and answer.status >= 400, f"{what}: {answer}")
    return answer, time.monotonic() - started


@check("OIDCD-4-1", MUST, "discovery is at the issuer with /.well-known/openid-configuration behind it")
def appended(t):
    t.fetched_platform("main")
    granted_for(t, "main", "an assertion of a platform with discovery")
    t.expect(t.platform_server.count("/main/.well-known/openid-configuration"), "the document was not asked for")


@check("OIDCD-4-2", MUST, "if it is not there, the place of RFC 8414 is tried", basis="own")
def inserted(t):
    t.fetched_platform("insertion")
    granted_for(t, "insertion", "a platform that publishes at /.well-known/oauth-authorization-server/…")
    t.expect(t.platform_server.count("/oauth-authorization-server/insertion"), "the document was not asked for")


@check("OIDCD-4-3", MUST, "a document that names another issuer is not used")
def other_issuer(t):
    t.fetched_platform("mismatch")
    not_granted_for(t, "mismatch", "a discovery document with another issuer")
    t.expect(t.platform_server.count("/mismatch/.well-known"), "the document was not asked for, so nothing is shown")
    t.expect(not t.platform_server.count("/mismatch/jwks"), "its jwks_uri was fetched")


@check("OIDCD-4-4", MUST, "a jwks_uri that is no web address is not read")
def file_url(t):
    t.fetched_platform("file-keys")
    not_granted_for(t, "file-keys", "a jwks_uri with file:")


@check("OIDCD-4-5", MUST, "an unknown issuer is not asked for anything", basis="own")
def unknown_issuer(t):
    if t.platform_server is None:
        raise Skip("this program serves no platforms (`platforms.serve`)")
    before = t.platform_server.count("evil")
    not_granted_for(t, "evil", "an unknown issuer")
    header = {"jku": t.platforms["evil"].issuer + "/jwks", "x5u": t.platforms["evil"].issuer + "/x5u"}
    t.refused_by_grants("an unknown issuer with jku and x5u", lambda: t.assertion("evil", header=header))
    time.sleep(0.5)
    t.expect(t.platform_server.count("evil") == before, "the unknown issuer was asked")


@check("OIDCD-4-6", MUST, "keys of 10 MiB, or a byte a second, or at another host are given up soon", basis="own")
def bounded(t):
    for name, what in {"big": "10 MiB", "slow": "a byte a second", "redirect": "a redirect to another host"}.items():
        t.fetched_platform(name)
        _, seconds = not_granted_for(t, name, what)
        t.expect(seconds < 10, f"{what}: answered after {seconds:.0f} seconds")
    t.expect(not t.platform_server.count("redirect-target"), "the redirect was followed")
    granted_for(t, "main", "an assertion of the good platform afterwards")


@check("OIDCD-4-7", MUST, "unknown key ids do not make the server fetch keys again and again", basis="own")
def unknown_kids(t):
    t.fetched_platform("unknown-kid")
    granted_for(t, "unknown-kid", "the known key id")
    before = t.platform_server.count("/unknown-kid/jwks")
    t.expect(before, "the keys were not asked for, so nothing is shown")
    for _ in range(100):
        t.ask(t.assertion("unknown-kid", header={"kid": secrets.token_hex(8)}))
    fetched = t.platform_server.count("/unknown-kid/jwks") - before
    t.expect(fetched <= 2, f"100 unknown key ids: {fetched} fetches")


def begin_rotation(t):
    """Before the checks: the server fetches the first key, so that it may look for the second one when they are done."""
    if t.platform_server and "rotating" in t.config["platforms"].get("trusted", []):
        t.ask(t.assertion("rotating"))


@check("RFC7523-3.1-2", MUST, "a key id that the platform does not have is invalid_grant, once the server has looked for it", last=1)
def unknown_key(t):
    name = "unknown-kid" if "unknown-kid" in t.config["platforms"].get("trusted", []) else "main"
    deadline = time.monotonic() + t.config["platforms"].get("rotation_seconds", 40)
    while True:
        answer = t.jb(t.assertion(name, header={"kid": secrets.token_hex(8)}))
        if answer.status != 503 or time.monotonic() > deadline:
            break
        t.notes.add("503 with Retry-After until then")
        time.sleep(3)
    t.refused(answer, "an unknown key id", "invalid_grant")


@check("OIDCD-4-8", MUST, "a new key of a platform is found without a restart", last=1)
def rotation(t):
    platform = t.fetched_platform("rotating")
    if not t.granted(t.ask(t.assertion("rotating")), "the first key"):
        return
    before = t.platform_server.count("/rotating/jwks")
    platform.key = platform.extra["next"]
    deadline = time.monotonic() + t.config["platforms"].get("rotation_seconds", 40)
    while True:
        answer = t.ask(t.assertion("rotating"))
        if answer.token or time.monotonic() > deadline:
            break
        time.sleep(3)
    t.granted(answer, "the second key")
    t.expect(t.platform_server.count("/rotating/jwks") > before, "the keys were not asked for again")


@check("OIDCD-4-9", SHOULD, "what a platform says of its algorithms does not widen what is accepted")
def widened(t):
    t.fetched_platform("main")
    t.refused_by_grants("alg none, which the platform lists", lambda: unsigned(t))
    header, secret = {"alg": "HS256"}, {"k": b"guessed"}
    t.refused_by_grants("HS256, which the platform lists", lambda: t.assertion(header=header, key=secret))


def unsigned(t):
    return t.assertion(header={"alg": "none"}).rpartition(".")[0] + "."
