"""1.8 and 1.9: credentials of workloads, and their exchange (two drafts of the WIMSE working group)."""

from . import keys
from .harness import MAY, MUST, SHOULD, Skip, check
from .platforms import now


def needs_dpop(t):
    if "dpop_signing_alg_values_supported" not in t.metadata and not t.config["server"].get("dpop"):
        raise Skip("the server does not say that it takes DPoP (metadata, or `server.dpop`)")


def bound(t, key=None, **changes):
    needs_dpop(t)
    answer = t.ask(headers={"DPoP": t.proof(t.token_endpoint, key=key)}, **changes)
    if not t.granted(answer, "a bound token"):
        raise Skip("no bound token to begin with")
    return answer


@check("WIMSE-FMT-1", MUST, "a platform's credential has iss, sub, aud and exp", basis="draft")
def required(t):
    for name in ("iss", "sub", "aud", "exp"):
        t.refused_by_grants(f"no {name}", lambda: t.assertion(drop=(name,)))


@check("WIMSE-TYP-1", SHOULD, "the types of assertions are taken, absent ones too", basis="own")
def types(t):
    for kind in (None, "JWT", "jwt", "application/jwt", "JOSE", "authorization-grant+jwt"):
        t.granted(t.ask(t.assertion(header={"typ": kind})), f"typ={kind}")


@check("WIMSE-TYP-2", MUST, "tokens of another kind are no assertions", basis="draft")
def other_types(t):
    for kind in ("at+jwt", "application/at+jwt", "AT+JWT", "dpop+jwt", "logout+jwt", "secevent+jwt", "token-introspection+jwt"):
        t.refused_by_grants(f"typ={kind}", lambda: t.assertion(header={"typ": kind}))


@check("WIMSE-CLM-1", SHOULD, "claims of the context count: the branch, the environment, the workflow", basis="draft")
def context(t):
    name = t.need("assertion.deciding_claim")
    t.refused_by_grants(f"{name} of another value", lambda: t.assertion(**{name: "something-else"}))


@check("WIMSE-CLM-2", MUST, "a claim that is asked for and absent is no match", basis="own")
def absent_claim(t):
    name = t.need("assertion.deciding_claim")
    for value in (None, "", [], {}):
        t.refused_by_grants(f"{name}={value!r}", lambda: t.assertion(**{name: value}))
    t.refused_by_grants(f"no {name}", lambda: t.assertion(drop=(name,)))


@check("WIMSE-POP-1", SHOULD, "an assertion that is bound to a key needs the proof of that key", basis="draft")
def bound_assertion(t):
    needs_dpop(t)
    jkt = keys.thumbprint(t.dpop_key)
    t.refused_by_grants("cnf.jkt without a proof", lambda: t.assertion(cnf={"jkt": jkt}))
    other = t.proof(t.token_endpoint, key=t.client_key)
    answer = t.ask(t.assertion(cnf={"jkt": jkt}), {"DPoP": other})
    t.refused(answer, "cnf.jkt with a proof of another key", "invalid_grant", "invalid_request", "invalid_dpop_proof")
    answer = t.ask(t.assertion(cnf={"jkt": jkt}), {"DPoP": t.proof(t.token_endpoint)})
    if t.granted(answer, "cnf.jkt with its proof"):
        t.expect(answer.claims.get("cnf", {}).get("jkt") == jkt, f"cnf is {answer.claims.get('cnf')}")


@check("WIMSE-POP-2", SHOULD, "a bearer token lives for 15 minutes at most", basis="draft")
def bearer_life(t):
    seconds = t.ask().json.get("expires_in", 0)
    t.expect(0 < seconds <= 900, f"expires_in {seconds}")


@check("WIMSE-AUD-2", SHOULD, "an assertion has one audience", basis="draft")
def one_audience(t):
    t.refused_by_grants("this server and another one", lambda: t.assertion(aud=[t.audience, "https://other.example/"]))
    t.granted(t.ask(t.assertion(aud=[t.audience])), "a list of this server alone")


@check("WIMSE-AUD-4", MUST, "a credential for the platform's own interface is no assertion", basis="draft")
def platform_audience(t):
    for aud in ("https://kubernetes.default.svc", [t.audience, "https://kubernetes.default.svc"], t.platforms["main"].issuer):
        t.refused_by_grants(f"aud={aud!r}", lambda: t.assertion(aud=aud))


@check("WIMSE-VAR-1", MAY, "token exchange of a platform's credential decides as jwt-bearer does", basis="draft")
def same_decision(t):
    by_jb, by_tx = t.jb(), t.tx()
    if t.granted(by_jb, "jwt-bearer") and t.granted(by_tx, "token exchange"):
        t.expect(by_jb.scope == by_tx.scope, f"scopes {by_jb.scope} and {by_tx.scope}")
        for name in ("aud", "sub", "client_id", "scope", "authorization_details"):
            t.expect(by_jb.claims.get(name) == by_tx.claims.get(name), f"{name} differs")
        lives = [answer.claims["exp"] - answer.claims["iat"] for answer in (by_jb, by_tx)]
        t.expect(abs(lives[0] - lives[1]) <= 2, f"lives of {lives[0]} and {lives[1]} seconds")


@check("WIMSECX-TRUST-1", MUST, "an exchange raises no trust", basis="own")
def no_more_trust(t):
    first = t.as_token()
    answer = t.exchange(first.token, {"DPoP": t.proof(t.token_endpoint)})
    if answer.token:
        before = first.claims.get("workload", {}).get("proof")
        t.expect(before, "the token does not say what the workload proved (workload.proof)")
        after = answer.claims.get("workload", {}).get("proof")
        t.expect(before == after, f"workload.proof was {before} and is {after}")


@check("WIMSECX-TRUST-2", MUST, "a bound token is not exchanged for a bearer token", basis="draft")
def stays_bound(t):
    token = bound(t).token
    t.refused(t.exchange(token), "a bound token without a proof", "invalid_request", "invalid_grant", "invalid_dpop_proof")
    answer = t.exchange(token, {"DPoP": t.proof(t.token_endpoint, key=t.client_key)})
    t.refused(answer, "a bound token with a proof of another key", "invalid_request", "invalid_grant", "invalid_dpop_proof")
    answer = t.exchange(token, {"DPoP": t.proof(t.token_endpoint)})
    if t.granted(answer, "a bound token with its proof"):
        jkt = answer.claims.get("cnf", {}).get("jkt")
        t.expect(jkt == keys.thumbprint(t.dpop_key), f"cnf.jkt is {jkt}")


@check("WIMSECX-LIFE-1", MUST, "an exchange does not lengthen a life", basis="draft")
def no_longer(t):
    token, end = None, None
    first = t.as_token()
    token, end = first.token, first.claims["exp"]
    for count in range(10):
        answer = t.exchange(token)
        if not t.granted(answer, f"exchange {count + 1} in a row"):
            return
        t.expect(answer.claims["exp"] <= end, f"exchange {count + 1}: exp moved by {answer.claims['exp'] - end} seconds")
        token, end = answer.token, answer.claims["exp"]


@check("WIMSECX-LIFE-2", MUST, "the first token ends with its assertion", basis="draft")
def ends_with_assertion(t):
    end = now() + 100
    for grant in t.grants():
        answer = t.send(t.fields(grant, t.assertion(exp=end)))
        if t.granted(answer, f"an assertion with 100 seconds left ({grant})"):
            t.expect(answer.claims["exp"] <= end, f"the token ends {answer.claims['exp'] - end} seconds after it ({grant})")


@check("WIMSECX-SCOPE-1", MUST, "an exchange widens neither scope nor resource", basis="draft")
def no_wider(t):
    scope, *rest = t.need("scopes.granted")
    token = t.as_token(scope=scope).token
    for more in [*rest, t.need("scopes.not_granted")]:
        answer = t.exchange(token, scope=f"{scope} {more}")
        if answer.token:
            t.expect(more not in answer.scope, f"scope={scope} {more}: {answer}")
        else:
            t.refused(answer, f"scope={scope} {more} from a token with {scope}", "invalid_scope")
    answer = t.exchange(token, scope=None, resource=t.need("resources.two"))
    t.refused(answer, "another resource than that of the token", "invalid_target")


@check("WIMSECX-SCOPE-2", MUST, "an exchange may narrow the scope", basis="draft")
def narrower(t):
    scopes = t.need("scopes.granted")
    answer = t.exchange(t.as_token(scope=" ".join(scopes)).token, scope=scopes[0])
    if t.granted(answer, f"scope={scopes[0]} of a token with {scopes}"):
        t.expect(answer.scope == {scopes[0]}, f"scope is {answer.scope}")


@check("WIMSECX-ID-1", MUST, "an exchange keeps the subject", basis="draft")
def same_subject(t):
    first = t.as_token()
    answer = t.exchange(first.token)
    if t.granted(answer, "an exchange"):
        t.expect(answer.claims["sub"] == first.claims["sub"], f"sub was {first.claims['sub']} and is {answer.claims['sub']}")


@check("WIMSECX-AUTH-1", MUST, "nothing is issued without a credential", basis="draft")
def no_credential(t):
    for grant, name in (("jwt-bearer", "assertion"), ("token-exchange", "subject_token")):
        if grant in t.grants():
            t.refused(t.send(t.fields(grant, **{name: None})), f"{grant} without {name}", "invalid_request")
    t.refused(t.send({"grant_type": "client_credentials", **t.common()}), "client_credentials without a client", statuses=(400, 401))


@check("WIMSECX-IND-1", SHOULD, "each token is individual", basis="draft")
def individual(t):
    first, second = t.ask(), t.ask()
    if t.granted(first) and t.granted(second):
        t.expect(first.token != second.token, "two requests got the same token")
        t.expect(first.claims.get("jti") != second.claims.get("jti"), "two tokens have the same jti")
