"""1.1, the rest: kinds of tokens, logs, the order of checks and limits."""

import pathlib
import urllib.parse

from .harness import MUST, check
from .platforms import now


@check("RFC6749-7.1-1", MUST, "token_type says how the token is used: Bearer, or DPoP if it is bound to a key")
def token_type(t):
    t.expect((t.ask().json.get("token_type") or "").lower() == "bearer", f"without a proof: {t.ask().json.get('token_type')}")
    if "dpop_signing_alg_values_supported" in t.metadata or t.config["server"].get("dpop"):
        answer = t.ask(headers={"DPoP": t.proof(t.token_endpoint)})
        if t.granted(answer, "with a DPoP proof"):
            t.expect(answer.json.get("token_type", "").lower() == "dpop", f"with a proof: {answer.json.get('token_type')}")


@check("RFC6749-10.3-1", MUST, "no token, assertion or secret of this run is in the logs", last=2)
def logs(t):
    for name in t.need("server.logs"):
        text = pathlib.Path(name).read_text(errors="replace")
        t.expect(text, f"{name} is empty, so nothing is shown")
        found = [secret for secret in t.secrets if len(secret) > 12 and secret in text]
        t.expect(not found, f"{name} has {len(found)} of {len(t.secrets)} secrets of this run")


@check("RFC6749-10.10-1", MUST, "opaque tokens cannot be guessed: long, and never the same")
def opaque(t):
    target = t.need("resources.opaque")
    answers = [t.ask(t.assertion(sub=t.need("subjects.opaque")), resource=target, scope=None) for _ in range(50)]
    if not t.granted(answers[0], "a token for the resource with opaque tokens"):
        return
    tokens = [answer.token for answer in answers]
    t.expect(len(set(tokens)) == len(tokens), "a token was issued twice")
    t.expect(min(map(len, tokens)) >= 22, f"a token of {min(map(len, tokens))} characters")


@check("PROF-TOK-1", MUST, "of two faults the answer names the earlier one", basis="own")
def order(t):
    wrong_client = t.basic("basic", "wrong")
    expired = lambda: t.assertion(exp=now() - 3600, iat=now() - 7200, nbf=now() - 7200)
    cases = {
        "media type before grant_type": (t.ask(grant_type="x", headers={"Content-Type": "text/plain"}), "invalid_request"),
        "grant_type before client": (t.ask(grant_type="x", headers=wrong_client), "unsupported_grant_type"),
        "client before assertion": (t.ask("x.y.z", headers=wrong_client), "invalid_client"),
        "client before a missing assertion": (t.jb("", headers=wrong_client), "invalid_client"),
        "missing assertion before resource": (t.jb("", resource="https://unknown.example/"), "invalid_request"),
        "syntax of scope before assertion": (t.jb("x.y.z", scope='"'), "invalid_scope"),
        "syntax of resource before assertion": (t.jb("x.y.z", resource="/x"), "invalid_target"),
        "assertion before unknown resource": (t.jb(expired(), resource="https://unknown.example/"), "invalid_grant"),
        "assertion before ungranted scope": (t.jb(expired(), scope="unknown"), "invalid_grant"),
        "resource before scope": (t.jb(resource="https://unknown.example/", scope="unknown"), "invalid_target"),
    }
    for what, (answer, code) in cases.items():
        t.refused(answer, what, code)


@check("PROF-TOK-2", MUST, "a body is at most 64 KiB, a JWT 16 KiB, a form 64 parameters", basis="own")
def sizes(t):
    answer = t.ask(foo="x" * 70_000)
    t.expect(answer.status == 413, f"a body of 70,000 bytes: {answer}")
    t.refused(t.jb(t.assertion(padding="x" * 20_000)), "a JWT of 27,000 bytes", "invalid_grant")
    body = urllib.parse.urlencode(t.fields(t.grants()[0])) + "".join(f"&p{i}=1" for i in range(65))
    t.refused(t.send({}, body=body), "65 further parameters", "invalid_request")


@check("PROF-TOK-3", MUST, "if the platform's keys cannot be fetched the answer is 503 with Retry-After", basis="own")
def keys_out_of_reach(t):
    t.fetched_platform("down")
    for grant in t.grants():
        answer = t.send(t.fields(grant, t.assertion("down")))
        t.expect(answer.status == 503 and answer.error == "temporarily_unavailable", f"keys out of reach ({grant}): {answer}")
        t.expect("Retry-After" in answer.headers, f"no Retry-After ({grant})")


@check("PROF-TOK-2", MUST, "a refusal leaves the assertion unused", basis="own")
def refusal_leaves_assertion(t):
    token = t.assertion()
    t.refused(t.ask(token, resource="https://unknown.example/"), "an unknown resource", "invalid_target")
    t.refused(t.ask(token, scope="unknown"), "an unknown scope", "invalid_scope")
    t.granted(t.ask(token), "the same assertion, corrected")
