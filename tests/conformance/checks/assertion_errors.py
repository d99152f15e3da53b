"""1.2, the rest: codes of refusals, what is granted for an assertion, and clients beside it."""

from .harness import MAY, MUST, SHOULD, Skip, check
from .platforms import now


@check("RFC7523-3.1-1", MUST, "client credentials that are there are verified, though none are needed")
def wrong_client(t):
    for grant in t.grants():
        token = t.assertion()
        t.refused(t.send(t.fields(grant, token), t.basic("basic", "wrong")), f"{grant} with wrong Basic", "invalid_client")


@check("RFC7523-3.1-2", MUST, "a bad or outdated assertion is invalid_grant")
def invalid_grant(t):
    past = now() - 3600
    cases = {
        "expired": t.assertion(exp=past, iat=past - 300, nbf=past - 300),
        "for another audience": t.assertion(aud="https://other.example/"),
        "by an unknown platform": t.assertion("evil"),
        "signed by another key": t.assertion(key=t.platforms["evil"].key),
        "without sub": t.assertion(drop=("sub",)),
    }
    for what, token in cases.items():
        t.refused(t.jb(token), what, "invalid_grant")


@check("RFC7523-3.2-1", MUST, "a bad client assertion is invalid_client")
def invalid_client(t):
    client, past = t.jwt_client(), now() - 3600
    cases = {
        "expired": t.client_assertion(client, exp=past, iat=past - 60),
        "without exp": t.client_assertion(client, drop=("exp",)),
        "for another audience": t.client_assertion(client, aud="https://other.example/"),
        "signed by another key": t.client_assertion(client, key={**t.dpop_key}),
        "no JWT": "x",
    }
    for what, token in cases.items():
        t.refused(t.ask(**t.client_fields(token)), what, "invalid_client")


@check("RFC7523-5-1", MUST, "RS256 works")
def rs256(t):
    if t.platforms["main"].algorithm != "RS256":
        raise Skip("the platform `main` has no RSA key")
    t.granted(t.ask(), "an assertion with RS256")


@check("RFC7521-4.1-1", MUST, "no scope is granted beyond what the subject has")
def too_much_scope(t):
    scope, more = t.need("scopes.granted")[0], t.need("scopes.not_granted")
    for grant in t.grants():
        answer = t.send(t.fields(grant, scope=f"{scope} {more}"))
        if answer.token:
            t.expect(more not in answer.scope and "scope" in answer.json, f"{grant}: {answer}")
        else:
            t.refused(answer, f"scope={scope} {more} ({grant})", "invalid_scope")


@check("RFC7521-4.1-1", MUST, "too much scope is invalid_scope, nothing is left out silently", basis="own")
def too_much_scope_refused(t):
    scope, more = t.need("scopes.granted")[0], t.need("scopes.not_granted")
    t.refused(t.ask(scope=f"{scope} {more}"), f"scope={scope} {more}", "invalid_scope")


@check("RFC7521-4.1-2", SHOULD, "a token does not outlive its assertion by much")
def life(t):
    answer = t.ask(t.assertion(exp=now() + 100))
    if t.granted(answer, "an assertion with 100 seconds left"):
        seconds = answer.json.get("expires_in", 0)
        t.expect(seconds <= 160, f"an assertion with 100 seconds left: expires_in {seconds}")


@check("RFC7521-4.1-3", SHOULD, "there are no refresh tokens for assertions")
def no_refresh(t):
    for grant in t.grants():
        t.expect("refresh_token" not in t.send(t.fields(grant)).json, f"a refresh_token ({grant})")


@check("RFC7521-4.1-3", MUST, "a refresh token that nobody issued is refused", basis="own")
def refresh(t):
    answer = t.send({"grant_type": "refresh_token", "refresh_token": "made-up"})
    t.refused(answer, "grant_type=refresh_token", "unsupported_grant_type")


@check("RFC7521-4.2-1", MUST, "a second method beside a client assertion is invalid_client")
def second_method(t):
    client = t.jwt_client()
    answer = t.ask(headers=t.basic("basic"), **t.client_fields(t.client_assertion(client)))
    t.refused(answer, "Basic and client_assertion", "invalid_client")


@check("RFC7521-6.2-1", MAY, "a client acts for itself by client_credentials and client_assertion")
def client_for_itself(t):
    client = t.jwt_client()
    fields = {"grant_type": "client_credentials", **t.client_fields(t.client_assertion(client)), **t.common()}
    answer = t.send(fields)
    if answer.error in ("unsupported_grant_type", "unauthorized_client"):
        raise Skip(f"the server does not do so for this client: {answer}")
    if t.granted(answer, "client_credentials with a client assertion"):
        t.expect(answer.claims.get("sub") == client, f"sub is {answer.claims.get('sub')}")


@check("RFC7521-8.3-1", SHOULD, "a refusal does not repeat private claims")
def discreet(t):
    secret = "canary-5d1f0c"
    for grant in t.grants():
        answer = t.send(t.fields(grant, t.assertion(exp=now() - 3600, email=secret, **{"https://x/y": secret})))
        t.refused(answer, f"an expired assertion ({grant})")
        t.expect(secret not in answer.text, f"the answer repeats a claim ({grant})")
