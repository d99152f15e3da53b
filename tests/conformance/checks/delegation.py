"""1.3, delegation: `actor_token`, `act` and `may_act` of RFC 8693 sections 4.1 and 4.4."""

from .harness import MAY, MUST, TYPE, Skip, check


def acting(t, actor, subject_token=None, **changes):
    fields = {"actor_token": actor, "actor_token_type": TYPE + "jwt", **changes}
    return t.tx(subject_token, **fields)


def delegated(t):
    """A token that the actor of the configuration got for the subject."""
    answer = acting(t, t.assertion(sub=t.need("subjects.actor")))
    if not answer.token:
        raise Skip(f"no delegated token to begin with: {answer}")
    return answer


@check("RFC8693-4.1-1", MUST, "`act` has members of identity, nothing else")
def act_members(t):
    act = delegated(t).claims.get("act")
    if t.expect(isinstance(act, dict), f"act is {act!r}"):
        t.expect(not set(act) & {"exp", "nbf", "aud", "iat"}, f"act has {sorted(act)}")
        t.expect(act.get("sub") == t.need("subjects.actor"), f"act is {act}")


@check("RFC8693-4.1-2", MUST, "the present actor is outside, earlier ones are inside")
def act_order(t):
    second = t.need("subjects.second_actor")
    first = delegated(t)
    answer = t.exchange(first.token, actor_token=t.assertion(sub=second), actor_token_type=TYPE + "jwt")
    if t.granted(answer, "a second actor"):
        act = answer.claims.get("act", {})
        t.expect(act.get("sub") == second, f"outside is {act.get('sub')}")
        t.expect(act.get("act", {}).get("sub") == t.need("subjects.actor"), f"inside is {act.get('act')}")


@check("RFC8693-4.1-4", MUST, "an exchange never drops `act`", basis="own")
def act_stays(t):
    first = delegated(t)
    t.expect("act" in first.claims, "the delegated token has no act")
    answer = t.exchange(first.token)
    if t.granted(answer, "the exchange of a delegated token"):
        t.expect(answer.claims.get("act") == first.claims.get("act"), f"act is {answer.claims.get('act')}")


@check("RFC8693-4.1-5", MUST, "at most four actors are nested", basis="own")
def act_depth(t):
    actors = [t.need("subjects.actor"), t.need("subjects.second_actor")]
    token = delegated(t).token
    for count in range(2, 6):
        fields = {"actor_token": t.assertion(sub=actors[count % 2]), "actor_token_type": TYPE + "jwt"}
        answer = t.exchange(token, **fields)
        if not answer.token:
            t.expect(count == 5, f"actor {count} of four: {answer}")
            t.refused(answer, f"actor {count}", "invalid_request")
            return
        token = answer.token
    t.expect(False, "five actors are nested")


@check("RFC8693-4.4-1", MAY, "`may_act` says who may act, and nobody else may")
def may_act(t):
    actor = t.need("subjects.actor")
    issuer = t.platforms["main"].issuer
    good = acting(t, t.assertion(sub=actor), t.assertion(may_act={"iss": issuer, "sub": actor}))
    if not good.token:
        raise Skip(f"the server does not take a platform's may_act, as it may: {good}")
    other = acting(t, t.assertion(sub=actor), t.assertion(may_act={"iss": issuer, "sub": "somebody-else"}))
    t.refused(other, "may_act names somebody else", "invalid_request")


@check("RFC8693-4.4-1", MAY, "a member of `may_act` that the actor lacks is no match", basis="own")
def may_act_members(t):
    actor = t.need("subjects.actor")
    odd = {"iss": t.platforms["main"].issuer, "sub": actor, "level": "7"}
    answer = acting(t, t.assertion(sub=actor), t.assertion(may_act=odd))
    t.refused(answer, "may_act with a further member", "invalid_request")


@check("RFC8693-4.4-2", MUST, "an actor whom nobody admitted is refused", basis="own")
def no_delegation(t):
    answer = acting(t, t.assertion(sub="nobody-knows-this-subject"))
    t.refused(answer, "an actor whom neither may_act nor a rule names", "invalid_request")


@check("RFC8693-4.4-2", MUST, "a token whose actor token is not understood does not pass for the subject's own")
def actor_is_not_lost(t):
    answer = acting(t, t.assertion(sub="nobody-knows-this-subject"))
    if answer.token:
        t.expect("act" in answer.claims, "the actor token was ignored: the token has no act")
    else:
        t.refused(answer, "an unknown actor")
