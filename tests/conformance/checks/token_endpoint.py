"""1.1: the token endpoint, client authentication and errors (RFC 6749)."""

import json
import urllib.parse

from . import keys
from .harness import JWT_BEARER, MAY, MUST, Skip, check
from .platforms import now


@check("RFC6749-3.2-1", MUST, "the token endpoint is served over TLS")
def tls(t):
    url = urllib.parse.urlsplit(t.token_endpoint)
    if url.scheme == "http" and url.hostname in ("127.0.0.1", "::1", "localhost"):
        raise Skip("the server under test runs on a loopback address without TLS")
    t.expect(url.scheme == "https", f"the token endpoint is {t.token_endpoint}")


@check("RFC6749-3.2-2", MUST, "a request by another method than POST gets no token")
def only_post(t):
    for method in ("GET", "PUT", "HEAD"):
        fields = t.fields(t.grants()[0])
        answer = t.send(fields, method=method)
        t.expect(answer.status >= 400 and not answer.token, f"{method} with a body: {answer}")
        query = "?" + urllib.parse.urlencode(t.fields(t.grants()[0]))
        answer = t.send({}, method=method, query=query)
        t.expect(answer.status >= 400 and not answer.token, f"{method} with a query: {answer}")


@check("RFC6749-3.2-2", MUST, "another method than POST is 405 with Allow", basis="own")
def method_not_allowed(t):
    for method in ("GET", "PUT"):
        answer = t.send(t.fields(t.grants()[0]), method=method)
        t.expect(answer.status == 405 and "POST" in answer.headers.get("Allow", ""), f"{method}: {answer}")


@check("RFC6749-3.2-3", MUST, "unknown parameters are ignored")
def unknown_parameters(t):
    t.granted(t.ask(foo="bar"), "with foo=bar")


@check("RFC6749-3.2-3", MUST, "unknown parameters are ignored when repeated, too", basis="own")
def repeated_unknown_parameters(t):
    t.granted(t.ask(foo=["1", "2"]), "with foo=1&foo=2")


@check("RFC6749-3.2-4", MUST, "a parameter without a value counts as absent")
def empty_parameters(t):
    t.refused(t.ask(grant_type=""), "grant_type=", "invalid_request")
    t.granted(t.ask(client_id=""), "client_id=")
    plain, empty = t.ask(scope=None), t.ask(scope="")
    same = plain.status == empty.status and plain.scope == empty.scope and plain.error == empty.error
    t.expect(same, f"without scope: {plain}; with scope=: {empty}")


@check("RFC6749-3.2-5", MUST, "a parameter of the protocol that is sent twice is invalid_request")
def repeated_parameters(t):
    token = t.assertion()
    fields = t.fields(t.grants()[0], token)
    presented = "assertion" if "assertion" in fields else "subject_token"
    twice = {
        "grant_type": [fields["grant_type"]] * 2,
        presented: [token, token],
        "scope": ["a", "a"],
        "client_id": ["a", "a"],
        "client_assertion": ["a", "b"],
    }
    for name, values in twice.items():
        t.refused(t.send({**fields, name: values}), f"two {name}", "invalid_request")


@check("RFC6749-3.2-6", MUST, "the URL of the token endpoint has no fragment")
def no_fragment(t):
    t.expect("#" not in t.token_endpoint, t.token_endpoint)


@check("RFC6749-B-1", MUST, "the body is decoded as a form: + is a space, %2B a plus")
def form_decoding(t):
    two = t.need("scopes.granted")[:2]
    if len(two) < 2:
        raise Skip("`scopes.granted` has fewer than two scopes")
    fields = {name: value for name, value in t.fields(t.grants()[0]).items() if name != "scope"}
    body = urllib.parse.urlencode(fields)
    answer = t.send({}, body=f"{body}&scope={two[0]}+{two[1]}")
    if t.granted(answer, "scope=a+b") and "scope" in answer.json:
        t.expect(answer.scope == set(two), f"scope=a+b: {answer}")
    presented = "assertion" if "assertion" in fields else "subject_token"
    body = urllib.parse.urlencode({**fields, presented: t.assertion()})
    answer = t.send({}, body=f"{body}&scope={two[0]}%2B{two[1]}")
    t.expect(not answer.token or answer.scope != set(two), f"scope=a%2Bb: {answer}")


@check("RFC6749-B-1", MUST, "a body that is no UTF-8 or badly encoded is invalid_request", basis="own")
def malformed_form(t):
    body = urllib.parse.urlencode(t.fields(t.grants()[0]))
    for tail in ("&foo=%ff%fe", "&foo=%zz", "&foo=%"):
        t.refused(t.send({}, body=body + tail), f"a body with {tail}", "invalid_request")


@check("RFC6749-B-2", MUST, "only forms are taken, in UTF-8", basis="own")
def media_types(t):
    fields = t.fields(t.grants()[0])
    for kind in ("application/json", "multipart/form-data; boundary=x", "text/plain", None):
        body = json.dumps(fields) if kind == "application/json" else urllib.parse.urlencode(fields)
        t.refused(t.send({}, {"Content-Type": kind}, body=body.encode()), f"a body of type {kind}", "invalid_request")
    form = "application/x-www-form-urlencoded; charset="
    t.refused(t.send(fields, {"Content-Type": form + "utf-16"}), "charset=utf-16", "invalid_request")
    t.granted(t.send(fields, {"Content-Type": form + "UTF-8"}), "charset=UTF-8")


@check("RFC6749-2.3-1", MUST, "two methods of client authentication in one request are refused")
def two_methods(t):
    client, secret = t.secret("basic")
    answer = t.ask(headers=t.basic("basic"), client_id=client, client_secret=secret)
    t.refused(answer, "Basic and client_secret", "invalid_request", "invalid_client")


@check("RFC6749-2.3-1", MUST, "two methods are invalid_request, and invalid_client if one is an assertion", basis="own")
def two_methods_codes(t):
    client, secret = t.secret("basic")
    answer = t.ask(headers=t.basic("basic"), client_id=client, client_secret=secret)
    t.refused(answer, "Basic and client_secret", "invalid_request")
    answer = t.ask(headers=t.basic("basic"), **t.client_fields(t.client_assertion(client)))
    t.expect(answer.status == 401 and answer.error == "invalid_client", f"Basic and client_assertion: {answer}")


@check("RFC6749-2.3.1-1", MUST, "HTTP Basic is supported, with id and secret form-encoded")
def basic(t):
    t.granted(t.ask(headers=t.basic("basic")), "each character of the secret percent-encoded")


@check("RFC6749-2.3.1-2", MAY, "a client that is registered for Basic is not taken from the body", basis="own")
def basic_in_body(t):
    client, secret = t.secret("basic")
    answer = t.ask(client_id=client, client_secret=secret)
    t.expect(answer.status == 401 and answer.error == "invalid_client", f"the secret in the body: {answer}")


@check("RFC6749-2.3.1-3", MUST, "client secrets in the URL do not authenticate")
def secret_in_url(t):
    client, secret = t.secret("basic")
    query = "?" + urllib.parse.urlencode({"client_id": client, "client_secret": secret})
    answer = t.send({"grant_type": "client_credentials", **t.common()}, query=query)
    t.refused(answer, "client_credentials with the secret in the URL")


@check("RFC6749-2.3.1-3", MUST, "parameters of OAuth in the URL are invalid_request", basis="own")
def parameters_in_url(t):
    t.refused(t.ask(query="?client_id=a&client_secret=b"), "client_id and client_secret in the URL", "invalid_request")


@check("RFC6749-2.3.1-4", MUST, "guesses of a client secret are limited, and other clients are not affected", basis="own", last=1)
def guesses(t):
    answers = [t.ask("x.y.z", headers=t.basic("guessed", f"wrong-{i}")) for i in range(50)]
    limited = [answer for answer in answers if answer.status == 429]
    t.expect(limited, f"50 wrong secrets in a row: the last answer is {answers[-1]}")
    t.expect(all("Retry-After" in answer.headers for answer in limited), "429 without Retry-After")
    t.granted(t.ask(headers=t.basic("basic")), "another client after the guesses")


@check("RFC6749-2.3-2", MUST, "the client_id of a confidential client alone proves nothing")
def client_id_alone(t):
    client, _ = t.secret("basic")
    t.refused(t.ask(client_id=client), "client_id of a confidential client, no credential", "invalid_client")


@check("RFC6749-3.2.1-1", MUST, "a client that has credentials must use them, by every grant")
def credentials_required(t):
    client, _ = t.secret("basic")
    for grant in t.grants():
        t.refused(t.send(t.fields(grant, client_id=client)), f"{grant} without the secret", "invalid_client")


@check("RFC6749-3.2.1-2", MUST, "an unknown client is invalid_client")
def unknown_client(t):
    t.refused(t.ask(client_id="nobody-of-this-name"), "client_id=nobody-of-this-name", "invalid_client")


@check("RFC6749-3.2.1-2", MUST, "an unknown client is answered like a wrong secret", basis="own")
def unknown_client_looks_the_same(t):
    wrong = t.ask(headers=t.basic("basic", "wrong"))
    pair = keys.base64.b64encode(b"nobody-of-this-name:wrong").decode()
    unknown = t.ask(headers={"Authorization": f"Basic {pair}"})
    same = all(wrong.json.get(name) == unknown.json.get(name) for name in ("error", "error_description"))
    t.expect(same and wrong.status == unknown.status, f"wrong secret: {wrong}; unknown client: {unknown}")


@check("RFC6749-3.3-1", MUST, "scope is read by its grammar, with upper and lower case")
def scope_grammar(t):
    for scope in ('a"b', "a\\b", "a\tb", "é"):
        t.refused(t.ask(scope=scope), f"scope={scope!r}", "invalid_scope")
    scope = t.need("scopes.granted")[0]
    other = scope.upper() if scope.upper() != scope else scope.lower()
    answer = t.ask(scope=other)
    if answer.token:
        t.expect("scope" in answer.json and other not in answer.scope, f"scope={other}: {answer}")
    else:
        t.refused(answer, f"scope={other}", "invalid_scope")


@check("RFC6749-3.3-2", MUST, "the order of scopes has no meaning")
def scope_order(t):
    scopes = t.need("scopes.granted")
    forth, back = t.ask(scope=" ".join(scopes)), t.ask(scope=" ".join(reversed(scopes)))
    if t.granted(forth, "scopes in order") and t.granted(back, "scopes in reverse"):
        t.expect(forth.scope == back.scope, f"{forth}; in reverse: {back}")


@check("RFC6749-3.3-2", MUST, "a repeated scope counts once", basis="own")
def repeated_scope(t):
    scope = t.need("scopes.granted")[0]
    answer = t.ask(scope=f"{scope} {scope}")
    if t.granted(answer, "a repeated scope"):
        t.expect(answer.json.get("scope") == scope, f"a repeated scope: {answer}")


@check("RFC6749-3.3-3", MUST, "the answer says the scope when it is not what was asked for")
def scope_said(t):
    scope = t.need("scopes.granted")[0]
    for asked in (None, scope):
        answer = t.ask(scope=asked)
        if t.granted(answer, f"scope {asked}") and "scope" not in answer.json:
            inside = set((answer.claims.get("scope") or "").split())
            t.expect(asked is not None and inside == {asked}, f"asked for {asked}, the token has {inside}, the answer says none")


@check("RFC6749-3.3-3", MUST, "every answer with a token has scope", basis="own")
def scope_always(t):
    for grant in t.grants():
        t.expect("scope" in t.send(t.fields(grant)).json, f"no scope ({grant})")


@check("RFC6749-3.3-4", MUST, "without scope there is a default, or invalid_scope")
def scope_omitted(t):
    answer = t.ask(scope=None)
    if answer.token:
        t.expect(answer.scope or answer.claims.get("scope"), "a token without scope")
    else:
        t.refused(answer, "without scope", "invalid_scope")


@check("RFC6749-4.5-1", MUST, "an unknown grant type is unsupported_grant_type")
def unknown_grants(t):
    offered = t.metadata.get("grant_types_supported", [])
    for grant in ("password", "implicit", "urn:example:no-grant", JWT_BEARER.replace("jwt-bearer", "Jwt-bearer")):
        if grant not in offered:
            t.refused(t.ask(grant_type=grant), f"grant_type={grant}", "unsupported_grant_type")


@check("RFC6749-5.1-1", MUST, "success is JSON with access_token, token_type and, recommended, expires_in")
def success(t):
    for grant in t.grants():
        answer = t.send(t.fields(grant))
        if t.granted(answer, grant):
            t.expect(answer.headers.get("Content-Type", "").startswith("application/json"), f"no JSON ({grant})")
            t.expect(isinstance(answer.token, str), f"access_token is no text ({grant})")
            t.expect(isinstance(answer.json.get("token_type"), str), f"no token_type ({grant})")


@check("RFC6749-5.1-2", MUST, "answers with tokens have Cache-Control: no-store and Pragma: no-cache")
def not_cached(t):
    for grant in t.grants():
        headers = t.send(t.fields(grant)).headers
        t.expect("no-store" in headers.get("Cache-Control", ""), f"Cache-Control: {headers.get('Cache-Control')} ({grant})")
        t.expect("no-cache" in headers.get("Pragma", ""), f"Pragma: {headers.get('Pragma')} ({grant})")


@check("RFC6749-5.1-2", MUST, "refusals, introspection and revocation are not cached either", basis="own")
def nothing_cached(t):
    answers = {"a refusal": t.ask("x.y.z")}
    for name in ("introspection_endpoint", "revocation_endpoint"):
        if name in t.metadata:
            answers[name] = t.send({"token": "x"}, url=t.metadata[name])
    for what, answer in answers.items():
        t.expect("no-store" in answer.headers.get("Cache-Control", ""), f"{what}: {answer.headers.get('Cache-Control')}")


@check("RFC6749-5.1-3", MUST, "expires_in is a number, above zero")
def numbers(t):
    answer = t.ask()
    if "expires_in" not in answer.json:
        raise Skip("the answer has no expires_in")
    seconds = answer.json["expires_in"]
    t.expect(type(seconds) in (int, float) and seconds > 0, f"expires_in is {seconds!r}")


@check("RFC6749-5.2-1", MUST, "a refusal is 400 with a JSON object and one error code")
def refusals(t):
    cases = {
        "a broken assertion": t.ask("x.y.z"),
        "no grant_type": t.send({"assertion": "x"}),
        "an expired assertion": t.ask(t.assertion(exp=now() - 3600, iat=now() - 7200, nbf=now() - 7200)),
    }
    for what, answer in cases.items():
        t.refused(answer, what)
        t.expect(answer.text.count('"error":') == 1, f"{what}: not one error code")


@check("RFC6749-5.2-2", MUST, "error and error_description are printable ASCII without quotation marks and backslashes")
def description(t):
    nasty = 'https://evil.example/"\\\r\nX-Injected: 1\r\n\U0001f600'
    for grant in t.grants():
        answer = t.send(t.fields(grant, t.assertion(iss=nasty)))
        t.refused(answer, f"an odd iss ({grant})")
        for name in ("error", "error_description"):
            text = answer.json.get(name) or ""
            bad = [c for c in text if not (" " <= c <= "~") or c in '"\\']
            t.expect(not bad, f"{name} has {bad} ({grant})")
        t.expect("X-Injected" not in answer.headers, "a header was injected")


@check("RFC6749-5.2-3", MUST, "a wrong Authorization header is 401 with a challenge of its scheme")
def basic_challenge(t):
    answer = t.ask(headers=t.basic("basic", "wrong"))
    t.expect(answer.status == 401 and answer.error == "invalid_client", f"wrong Basic: {answer}")
    challenge = answer.headers.get("WWW-Authenticate", "")
    t.expect(challenge.lower().startswith("basic"), f"wrong Basic: WWW-Authenticate: {challenge}")


@check("RFC6749-5.2-4", MUST, "other failures of client authentication are 401 with a challenge, too", basis="own")
def other_challenge(t):
    client = t.jwt_client()
    answer = t.ask(**t.client_fields(t.client_assertion(client, exp=now() - 3600)))
    t.expect(answer.status == 401 and answer.error == "invalid_client", f"expired client assertion: {answer}")
    t.expect("WWW-Authenticate" in answer.headers, "no challenge")


@check("RFC6749-5.2-5", MUST, "a missing parameter is invalid_request")
def missing_parameters(t):
    t.refused(t.ask(grant_type=None), "without grant_type", "invalid_request")
    for grant, name in (("jwt-bearer", "assertion"), ("token-exchange", "subject_token")):
        if grant in t.grants():
            t.refused(t.send(t.fields(grant, **{name: None})), f"without {name}", "invalid_request")


@check("RFC6749-5.2-6", MUST, "a client that may not use the grant is unauthorized_client")
def unauthorized_client(t):
    t.secret("exchange_only")
    answer = t.jb(headers=t.basic("exchange_only"))
    t.refused(answer, "jwt-bearer by a client for token exchange", "unauthorized_client")
