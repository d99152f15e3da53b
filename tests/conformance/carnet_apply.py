#!/usr/bin/env python3
"""Prints what Carnet has to know for carnet.toml, as a file for `carnet apply`. Reads the output of `--print-jwks`."""

import json
import sys
import tomllib

config = tomllib.load(open(sys.argv[1], "rb"))
printed = json.load(sys.stdin)
resources, subjects = config["resources"], config["subjects"]


def issuer(name, platform):
    document = {"profile": "generic", "issuer": platform["issuer"]}
    if name in config["platforms"]["static"]:
        document["keys"] = {"source": "static", "jwks": platform["jwks"]}
    if name == "short":
        document["cap_at_assertion_expiry"] = True
    return document


def permission(registry, actions):
    return {"resource_server": registry, "actions": actions, "packages": ["widgets"]}


def rule(platform, subject, permissions, **further):
    match = {"subject": subject, "claims": config["assertion"]["claims"]}
    return {"principal": "acme", "trusted_issuer": platform, "match": match, "permissions": permissions, **further}


granted = config["scopes"]["granted"]
own = [permission("registry", granted)]
rules = {name: rule(name, config["assertion"]["subject"], own) for name in printed["platforms"]}
rules["main"]["actors"] = ["bot", "second-bot"]
rules["bot"] = rule("main", subjects["actor"], own)
rules["second-bot"] = rule("main", subjects["second_actor"], own)
both = [permission("registry", granted[:1]), permission("two", [config["scopes"]["only_at_two"]])]
rules["two"] = rule("main", subjects["two_resources"], both)
rules["opaque"] = rule("main", subjects["opaque"], [permission("opaque", granted)])

permitted = [{**permission("registry", granted), "owner": "acme"}]
ids = {name: client["id"] for name, client in config["clients"].items()}
basic = {"auth_method": "client_secret_basic"}
clients = {
    ids["basic"]: {**basic, "permissions": permitted},
    ids["post"]: {"auth_method": "client_secret_post"},
    ids["guessed"]: basic,
    ids["jwt"]: {"auth_method": "private_key_jwt", "jwks": printed["clients"]["jwt"]["jwks"], "permissions": permitted},
    ids["exchange_only"]: {**basic, "grant_types": ["urn:ietf:params:oauth:grant-type:token-exchange"]},
    ids["introspection"]: {**basic, "resource_server": "registry"},
}
actions = [*granted, "yank"]
document = {
    "principals": {"acme": {"kind": "organization"}},
    "trusted_issuers": {name: issuer(name, platform) for name, platform in printed["platforms"].items()},
    "resource_servers": {
        "registry": {"resource": resources["one"], "actions": actions},
        "two": {"resource": resources["two"], "actions": actions},
        "opaque": {"resource": resources["opaque"], "actions": actions, "token_format": "opaque"},
    },
    "federated_credentials": rules,
    "clients": clients,
}
print(json.dumps(document, indent=1))
