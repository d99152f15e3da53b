"""1.3: token exchange (RFC 8693) for tokens of a foreign platform, and of the server itself where it exchanges them."""

from .harness import MAY, MUST, SHOULD, TOKEN_EXCHANGE, TYPE, Skip, check
from .platforms import now


@check("RFC8693-2.1-1", MUST, "the grant type is compared exactly")
def grant_type(t):
    t.granted(t.tx(), "token exchange")
    t.refused(t.tx(grant_type=TOKEN_EXCHANGE + " "), "the grant type and a space", "unsupported_grant_type")


@check("RFC8693-2.1-2", MUST, "subject_token and subject_token_type are both required")
def both_required(t):
    for name in ("subject_token", "subject_token_type"):
        t.refused(t.tx(**{name: None}), f"without {name}", "invalid_request")


@check("RFC8693-2.1-3", MUST, "actor_token and actor_token_type come together")
def actor_pair(t):
    t.refused(t.tx(actor_token=t.assertion()), "an actor token without type", "invalid_request")
    t.refused(t.tx(actor_token_type=TYPE + "jwt"), "a type without actor token", "invalid_request")


@check("RFC8693-2.1-4", MUST, "a subject token is judged by the rules of its declared type")
def declared_type(t):
    t.refused(t.tx(subject_token_type=TYPE + "saml2"), "a JWT as saml2", "invalid_request")
    t.refused(t.tx(subject_token_type=TYPE + "access_token"), "a platform's JWT as access_token", "invalid_request")


@check("RFC8693-2.1-4", MUST, "the server's own access tokens are no foreign JWTs", basis="own")
def own_token_as_jwt(t):
    t.refused(t.tx(t.as_token().token), "an access token of the server as jwt", "invalid_request")
    kind = {"subject_token_type": TYPE + "id_token"}
    t.refused(t.tx(t.as_token().token, **kind), "an access token of the server as id_token", "invalid_request")


@check("RFC8693-2.1-5", MUST, "an actor token is validated the same way")
def bad_actor(t):
    subject, past = t.need("subjects.actor"), now() - 3600
    bad = {
        "expired": t.assertion(sub=subject, exp=past, iat=past - 60, nbf=past - 60),
        "of an unknown platform": t.assertion("evil", sub=subject),
        "no JWT": "x",
    }
    for what, token in bad.items():
        t.refused(t.tx(actor_token=token, actor_token_type=TYPE + "jwt"), f"an actor token, {what}", "invalid_request")


@check("RFC8693-2.1-6", MUST, "`resource` is an absolute URI without fragment")
def resource_syntax(t):
    for resource in ("/x", "https://r.example/#f", " "):
        t.refused(t.tx(resource=resource), f"resource={resource!r}", "invalid_target", "invalid_request")


@check("RFC8693-2.1-6", MUST, "a malformed `resource` is invalid_target", basis="own")
def resource_syntax_code(t):
    for resource in ("/x", "https://r.example/#f", " "):
        t.refused(t.tx(resource=resource), f"resource={resource!r}", "invalid_target")


@check("RFC8693-2.1-7", MAY, "`resource` may be repeated")
def resource_repeated(t):
    one, two = t.need("resources.one"), t.need("resources.two")
    answer = t.tx(resource=[one, one])
    if t.granted(answer, "the same resource twice"):
        t.expect(answer.claims["aud"] in (one, [one]), f"aud is {answer.claims['aud']}")
    token = t.assertion(sub=t.need("subjects.two_resources"))
    both = t.tx(token, resource=[one, two], scope=None)
    if both.token:
        t.expect(set(both.claims["aud"]) == {one, two}, f"aud is {both.claims['aud']}")
    else:
        t.refused(both, "two resources", "invalid_target")


@check("RFC8693-2.1-8", MUST, "there is no token for an `audience` that the server does not know")
def audience_unknown(t):
    answer = t.tx(audience="nobody-of-this-name", resource=None)
    t.refused(answer, "audience=nobody-of-this-name", "invalid_target", "invalid_request")


@check("RFC8693-2.1-9", MAY, "`resource` and `audience` are taken together")
def both_targets(t):
    one, name = t.need("resources.one"), t.need("audiences.one")
    answer = t.tx(resource=one, audience=name)
    if t.granted(answer, "resource and audience of one target"):
        t.expect(answer.claims["aud"] in (one, name, [one], [name]), f"aud is {answer.claims['aud']}")
    answer = t.tx(resource=t.need("resources.two"), audience=name, scope=None)
    t.expect(not answer.token, f"a resource that the subject has nothing at, and an audience: {answer}")


@check("RFC8693-2.1-10", MUST, "`scope` is read by its grammar")
def scope_grammar(t):
    for scope in ('a"b', "a\\b", "a\tb", "é"):
        t.refused(t.tx(scope=scope), f"scope={scope!r}", "invalid_scope")


@check("RFC8693-2.1-11", MAY, "without requested_token_type the server chooses")
def default_type(t):
    answer = t.tx()
    t.granted(answer, "without requested_token_type")
    t.expect(answer.json.get("issued_token_type", "").startswith(TYPE), f"issued_token_type: {answer.json.get('issued_token_type')}")


@check("RFC8693-2.1-12", MUST, "a token type that the server does not know is refused")
def unknown_types(t):
    t.refused(t.tx(subject_token_type="urn:x"), "subject_token_type=urn:x", "invalid_request")
    t.refused(t.tx(requested_token_type="urn:x"), "requested_token_type=urn:x", "invalid_request")


@check("RFC8693-2.1-12", MUST, "any requested type but access_token is refused", basis="own")
def other_types(t):
    for kind in ("refresh_token", "id_token", "saml2", "jwt"):
        t.refused(t.tx(requested_token_type=TYPE + kind), f"requested_token_type …{kind}", "invalid_request")
    for kind in ("refresh_token", "saml1", "saml2"):
        t.refused(t.tx(subject_token_type=TYPE + kind), f"subject_token_type …{kind}", "invalid_request")


@check("RFC8693-2.1-14", MUST, "an exchanged token stays valid")
def input_stays(t):
    client = t.basic("introspection")
    if "introspection_endpoint" not in t.metadata:
        raise Skip("the metadata have no introspection_endpoint")
    token = t.as_token().token
    t.granted(t.exchange(token), "the exchange of an access token")
    answer = t.send({"token": token}, client, url=t.metadata["introspection_endpoint"])
    t.expect(answer.json.get("active") is True, f"introspection after the exchange: {answer.json}")


@check("RFC8693-2.1.1-1", MUST, "what is granted holds for every scope at every target")
def scopes_by_target(t):
    one, two = t.need("resources.one"), t.need("resources.two")
    only_two = t.need("scopes.only_at_two")
    subject = t.need("subjects.two_resources")
    t.granted(t.tx(t.assertion(sub=subject), resource=two, scope=only_two), f"scope={only_two} at the second resource")
    answer = t.tx(t.assertion(sub=subject), resource=one, scope=only_two)
    if answer.token:
        t.expect(only_two not in (answer.claims.get("scope") or "").split(), f"{only_two} at the first resource: {answer}")
    else:
        t.refused(answer, f"scope={only_two} at the first resource", "invalid_scope", "invalid_target")


@check("RFC8693-2.1.1-2", MAY, "too many targets are invalid_target", basis="own")
def many_targets(t):
    resources = [f"https://r{i}.example/" for i in range(20)]
    t.refused(t.tx(resource=resources), "20 resources", "invalid_target")


@check("RFC8693-2.2.1-1", MUST, "success has access_token, issued_token_type and token_type")
def members(t):
    answer = t.tx()
    t.granted(answer)
    for name in ("access_token", "issued_token_type", "token_type"):
        t.expect(isinstance(answer.json.get(name), str), f"{name}: {answer.json.get(name)!r}")


@check("RFC8693-2.2.1-2", MUST, "token_type is N_A for what is no access token")
def not_applicable(t):
    answer = t.tx(requested_token_type=TYPE + "jwt")
    if not answer.token:
        raise Skip(f"the server issues nothing but access tokens: {answer}")
    if answer.json.get("issued_token_type") != TYPE + "access_token":
        t.expect(answer.json.get("token_type") == "N_A", f"token_type {answer.json.get('token_type')}")


@check("RFC8693-2.2.1-3", SHOULD, "expires_in is there, and is the token's")
def expires_in(t):
    answer, moment = t.tx(), now()
    if t.expect("expires_in" in answer.json, "no expires_in"):
        rest = answer.claims["exp"] - moment
        t.expect(abs(rest - answer.json["expires_in"]) <= 2, f"expires_in {answer.json['expires_in']}, exp in {rest} s")


@check("RFC8693-2.2.1-4", MUST, "`scope` is in the answer when it is not what was asked for")
def scope_said(t):
    answer = t.tx(scope=None)
    t.granted(answer)
    t.expect("scope" in answer.json or not answer.claims.get("scope"), "a token with a scope that nobody asked for, unsaid")


@check("RFC8693-2.2.1-5", MUST, "there is no refresh token", basis="own")
def no_refresh(t):
    t.expect("refresh_token" not in t.tx().json, "a refresh_token")


@check("RFC8693-2.2.2-1", MUST, "a bad subject token is invalid_request")
def invalid_request(t):
    past = now() - 3600
    cases = {
        "expired": t.assertion(exp=past, iat=past - 300, nbf=past - 300),
        "for another audience": t.assertion(aud="https://other.example/"),
        "signed by another key": t.assertion(key=t.platforms["evil"].key),
        "of an unknown platform": t.assertion("evil"),
        "of a subject without any right": t.assertion(sub="nobody-knows-this-subject"),
    }
    for what, token in cases.items():
        t.refused(t.tx(token), f"a subject token, {what}", "invalid_request")


@check("RFC8693-2.2.2-2", SHOULD, "an unknown target is invalid_target")
def unknown_target(t):
    t.refused(t.tx(resource="https://unknown.example/"), "an unknown resource", "invalid_target")
    t.refused(t.tx(resource=None, audience="nope"), "audience=nope", "invalid_target")


@check("RFC8693-3-1", MUST, "the type access_token means tokens of this server")
def foreign_access_token(t):
    token = t.assertion(header={"typ": "at+jwt"}, client_id="x")
    t.refused(t.tx(token, subject_token_type=TYPE + "access_token"), "a foreign at+jwt as access_token", "invalid_request")
    t.refused(t.tx("made-up", subject_token_type=TYPE + "refresh_token"), "a made-up refresh_token", "invalid_request")


@check("RFC8693-3-2", MUST, "issued_token_type says what was issued")
def issued(t):
    answer = t.tx()
    if answer.header.get("typ", "").lower() in ("at+jwt", "application/at+jwt"):
        kind = answer.json.get("issued_token_type")
        t.expect(kind == TYPE + "access_token", f"an at+jwt with issued_token_type {kind}")


@check("RFC8693-4.2-1", MUST, "the claim `scope` is one text with spaces between")
def scope_claim(t):
    scope = t.tx(scope=t.need("scopes.granted")[0]).claims.get("scope")
    t.expect(scope is None or isinstance(scope, str), f"scope is {scope!r}")


@check("RFC8693-4.3-1", MUST, "the claim `client_id` is the client of the request")
def client_id(t):
    client, _ = t.secret("basic")
    answer = t.tx(headers=t.basic("basic"))
    if t.granted(answer, "token exchange by a client"):
        t.expect(answer.claims.get("client_id") == client, f"client_id is {answer.claims.get('client_id')}")


@check("RFC8693-6-1", MUST, "a token has no personal claims of the platform that nobody asked for")
def least_data(t):
    token = t.assertion(email="canary@person.example", name="canary-name", phone_number="canary-phone")
    answer = t.tx(token)
    if t.granted(answer, "an assertion with personal claims"):
        t.expect("canary" not in str(answer.claims), "the token has the platform's personal claims")
