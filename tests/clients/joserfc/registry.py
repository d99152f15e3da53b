"""A registry with the modules of the book, docs/samples/registry: what it answers to the vectors, and to real tokens."""

import json
import sys
import time

import requests

given = json.load(sys.stdin)
sys.path.insert(0, given["samples"])
import carnet_decision  # noqa: E402
import carnet_tokens  # noqa: E402
import registry  # noqa: E402
import serve  # noqa: E402

vectors, seen = given["vectors"], {}


def name(case):
    names, text = case["package_names"], case["text"]
    is_pattern = carnet_decision.is_pattern(text)
    return {
        "folded": carnet_decision.FOLD[names](text),
        "is_name": is_pattern and "*" not in text,
        "is_pattern": is_pattern,
    }


def decision(case):
    operation, registry = case["operation"], case["registry"]
    acts = [tuple(pair) for pair in registry["may_act_for"]]
    try:
        entry = carnet_decision.decide(
            case["authorization_details"], case["package_names"], operation["action"], operation["package"],
            operation["version"], operation["digest"], registry["exists"], registry["owned_by"].__contains__,
            lambda principal, owner: (principal, owner) in acts,
        )
    except carnet_decision.Denied as denied:
        return {"expect": "deny", "reason": str(denied)}
    at = next(at for at, element in enumerate(case["authorization_details"]) if element is entry)
    return {"expect": "allow", "entry": at, "principal": entry["principal"], "owner": entry["owner"]}


def usable(claims):
    entries = claims.get("authorization_details", [])
    return [at for at, entry in enumerate(entries) if carnet_decision.fits(entry, carnet_decision.ENTRY)]


def accepted(verifier, token):
    try:
        return {"expect": "accept", "usable_entries": usable(verifier.verify(token))}
    except carnet_tokens.InvalidToken:
        return {"expect": "reject", "error": "invalid_token"}


class Answer:
    status_code = 200

    def __init__(self, document):
        self.document = document

    def json(self):
        return self.document

    def raise_for_status(self):
        pass


class Asked:
    """Counts the requests for keys; answers them if it is given what to answer."""

    def __init__(self, answers=None):
        self.answers, self.keys, self.get = answers, 0, requests.get

    def __enter__(self):
        requests.get = self.answer
        return self

    def __exit__(self, *_):
        requests.get = self.get

    def answer(self, url, **options):
        self.keys += "oauth-authorization-server" not in url
        return Answer(self.answers[url]) if self.answers else self.get(url, **options)


seen["names"] = {case["id"]: name(case) for case in vectors["names"]}
seen["decisions"] = {case["id"]: decision(case) for case in vectors["decisions"]}

setting = vectors["token_setting"]
issuer, resource = setting["issuer"], setting["resource"]
answers = {
    issuer + "/.well-known/oauth-authorization-server": {"issuer": issuer, "jwks_uri": issuer + "/jwks"},
    issuer + "/jwks": setting["jwks"],
}
clock = time.time
time.time = lambda: setting["now"]
with Asked(answers):
    verifier = carnet_tokens.Verifier(issuer, resource)
    seen["tokens"] = {case["id"]: accepted(verifier, case["token"]) for case in vectors["tokens"]}
time.time = clock

# A real server: its tokens, and how often its keys are asked for.
with Asked() as asked:
    verifier = carnet_tokens.Verifier(given["issuer"], given["resource"])
    seen["real"] = {kind: accepted(verifier, token) for kind, token in given["tokens"].items()}
    claims = verifier.verify(given["tokens"]["good"])
    seen["decided"] = carnet_decision.decide(
        claims["authorization_details"], "exact", "publish", "widgets", "1.0.0", None, True,
        lambda owner: owner == "joel", lambda principal, owner: principal == owner,
    )
    stranger = vectors["tokens"][0]["token"]
    fetched = [asked.keys]
    monotonic = time.monotonic
    for later in (0, 31, 32, 62):
        time.monotonic = lambda: monotonic() + later
        seen["stranger"] = [accepted(verifier, stranger), accepted(verifier, stranger)][0]
        fetched.append(asked.keys)
    seen["fetched"] = fetched

# A server that is away, or another one: not the token's fault.
seen["outages"] = []
for away in given["away"]:
    try:
        seen["outages"].append(accepted(carnet_tokens.Verifier(away, given["resource"]), given["tokens"]["good"]))
    except Exception:
        seen["outages"].append("outage")


def upload(one):
    database = databases[one["resource"]]
    verifier = carnet_tokens.Verifier(one["issuer"], one["resource"])
    status, headers, body = registry.upload(
        verifier, database, one["authorization"], one["name"], "1.0.0", "sha256:" + "0" * 64)
    return [status, headers, json.loads(body), database.owners(one["name"])]


databases = {resource: serve.Packages() for resource in given["packages"]}
for resource, packages in given["packages"].items():
    databases[resource].packages = {name: {"owners": owners, "versions": {}} for name, owners in packages.items()}
seen["uploads"] = [upload(one) for one in given["uploads"]]
print(json.dumps(seen))
