"""1.4: resource indicators (RFC 8707)."""

from .harness import MAY, MUST, SHOULD, check


def audiences(answer):
    aud = answer.claims.get("aud")
    return [aud] if isinstance(aud, str) else aud


@check("RFC8707-2-1", MUST, "`resource` is an absolute URI without fragment, by every grant")
def syntax(t):
    for grant in t.grants():
        for resource in ("/x", "https://r.example/#f", "not a uri"):
            t.refused(t.send(t.fields(grant, resource=resource)), f"resource={resource} ({grant})", "invalid_target")


@check("RFC8707-2-2", SHOULD, "a token is for the resource that was asked for, and no other")
def restricted(t):
    one = t.need("resources.one")
    for grant in t.grants():
        answer = t.send(t.fields(grant, resource=one))
        if t.granted(answer, f"resource={one} ({grant})"):
            t.expect(audiences(answer) == [one], f"aud is {answer.claims.get('aud')} ({grant})")


@check("RFC8707-2-3", MAY, "`resource` may be repeated")
def repeated(t):
    one = t.need("resources.one")
    t.granted(t.ask(resource=[one, one]), "the same resource twice")


@check("RFC8707-2-4", MUST, "an unknown resource is invalid_target")
def unknown(t):
    for grant in t.grants():
        answer = t.send(t.fields(grant, resource="https://unknown.example/"))
        t.refused(answer, f"an unknown resource ({grant})", "invalid_target")


@check("PROF-RES-1", MUST, "resources are compared character by character", basis="own")
def exact(t):
    one = t.need("resources.one")
    scheme, _, rest = one.partition("://")
    for other in (one.rstrip("/"), one + "x/../", one + "%2F", f"{scheme.upper()}://{rest}"):
        if other != one:
            t.refused(t.ask(resource=other), f"resource={other}", "invalid_target")


@check("RFC8707-2.2-1", MUST, "`resource` counts with every grant")
def every_grant(t):
    for grant in t.grants():
        t.refused(t.send(t.fields(grant, resource="https://unknown.example/")), grant, "invalid_target")
    if "client_credentials" in t.metadata.get("grant_types_supported", []) and t.config.get("clients", {}).get("jwt"):
        fields = t.client_fields(t.client_assertion(t.need("clients.jwt")["id"]))
        answer = t.send({"grant_type": "client_credentials", "resource": "https://unknown.example/", **fields})
        t.refused(answer, "client_credentials", "invalid_target")


@check("RFC8707-2.2-2", SHOULD, "without scope, the token has what its resource knows")
def scopes_of_resource(t):
    subject, only_two = t.need("subjects.two_resources"), t.need("scopes.only_at_two")
    answer = t.ask(t.assertion(sub=subject), resource=t.need("resources.one"), scope=None)
    if t.granted(answer, "a subject with rights at two resources"):
        t.expect(only_two not in answer.scope, f"scope is {answer.scope} at the first resource")


@check("RFC8707-3-2", SHOULD, "a token has one audience")
def one_audience(t):
    answer = t.ask()
    t.granted(answer)
    t.expect(len(audiences(answer)) == 1, f"aud is {answer.claims.get('aud')}")


@check("RFC8707-3-2", SHOULD, "two resources in one request are invalid_target", basis="own")
def one_target(t):
    token = t.assertion(sub=t.need("subjects.two_resources"))
    answer = t.ask(token, resource=[t.need("resources.one"), t.need("resources.two")], scope=None)
    t.refused(answer, "two resources", "invalid_target")
