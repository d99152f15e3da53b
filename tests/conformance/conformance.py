#!/usr/bin/env python3
"""Runs the conformance plan of plan.md against an OAuth authorization server.

Needs Python 3.11 and the package `requests`.
"""

import argparse
import datetime
import importlib
import json
import pathlib
import sys
import tomllib

import requests

from checks import access_tokens, discovery, harness, keys, left_out, platforms

MODULES = [
    "token_endpoint", "limits", "assertions", "assertion_errors", "exchange", "delegation", "targets",
    "access_tokens", "metadata", "features", "discovery", "jose", "workloads",
]
RESULTS = ("pass", "fail", "warning", "skipped")
EXAMPLE = """example:
  %(prog)s --config example.toml --print-jwks > jwks.json     # for the server's configuration
  %(prog)s --config example.toml --json result.json
  %(prog)s --config example.toml --only RFC8693 --verbose

The exit code is 0 if no check failed, 1 if one did, 2 if the plan could not be run."""


def arguments():
    parser = argparse.ArgumentParser(
        description="Tests a server for the grants jwt-bearer (RFC 7523) and token exchange (RFC 8693) of foreign tokens.",
        epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=pathlib.Path, help="the configuration file (TOML); all but --list needs it")
    parser.add_argument("--print-jwks", action="store_true", help="print the public key sets of the platforms and clients, and exit")
    parser.add_argument("--drafts", action="store_true", help="run the checks that rest on drafts as well")
    parser.add_argument("--own", action="store_true", help="run the checks of Carnet's own decisions as well")
    parser.add_argument("--only", metavar="ID", action="append", help="run the checks whose id begins so; may be repeated")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the results to this file")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="write the counts, and what did not pass, to this file")
    parser.add_argument("--list", action="store_true", help="print the checks as a table, and exit")
    parser.add_argument("--verbose", action="store_true", help="print each check as it ends, not only those that did not pass")
    return parser.parse_args()


def read_config(path):
    config = tomllib.loads(path.read_text())
    folder = path.resolve().parent
    config.setdefault("platforms", {})
    config["platforms"].setdefault("keys_file", "platform-keys.json")
    config["platforms"]["keys_file"] = folder / config["platforms"]["keys_file"]
    if "secrets_file" in config:
        config["secrets_file"] = folder / config["secrets_file"]
    if "ca_file" in config["server"]:
        config["server"]["ca_file"] = str(folder / config["server"]["ca_file"])
    logs = config["server"].get("logs")
    if logs:
        config["server"]["logs"] = [folder / log for log in logs]
    return config


def all_platforms(config):
    """The platforms of the configuration, and the keys of the clients."""
    names = [*platforms.PLATFORMS, "client", "dpop"]
    store = platforms.load_keys(config["platforms"]["keys_file"], names)
    issuers = config["platforms"].get("issuers", {})
    origin = config["platforms"]["origin"].rstrip("/")
    made = {name: platforms.Platform(name, issuers.get(name, f"{origin}/{name}"), store[name]) for name in platforms.PLATFORMS}
    return made, store


def print_jwks(config):
    made, store = all_platforms(config)
    trusted = config["platforms"].get("trusted", ["main"])
    sets = {name: {"issuer": made[name].issuer, "jwks": made[name].jwks()} for name in trusted}
    client = {"keys": [{**keys.public(store["client"]["key"]), "alg": "ES256", "use": "sig"}]}
    print(json.dumps({"platforms": sets, "clients": {"jwt": {"jwks": client}}}, indent=1))


def run_check(session, check):
    """Verdict and detail of one check."""
    session.faults, session.notes = [], set()
    try:
        control = session.ask()
        if not control.token and not check.id.startswith(("RFC8414", "PROF-JWKS")):
            return "skipped", f"the good request is refused: {control}"
        check.run(session)
    except harness.Skip as reason:
        if not session.faults:
            return "skipped", str(reason)
    except requests.RequestException as error:
        session.faults.append(f"no answer: {error}")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        session.faults.append(f"an answer in a form that was not expected: {type(error).__name__}: {error}")
    if not session.faults:
        return "pass", "; ".join(sorted(session.notes))
    # What is optional is decided where it is the server's own.
    strict = check.level == harness.MUST or (check.level == harness.MAY and check.basis == "own")
    return ("fail" if strict else "warning"), "; ".join(session.faults)


def selected(options):
    bases = {"standard"} | ({"draft"} if options.drafts else set()) | ({"own"} if options.own else set())
    chosen = [check for check in harness.CHECKS if check.basis in bases]
    if options.only:
        chosen = [check for check in chosen if check.id.startswith(tuple(options.only))]
    return sorted(chosen, key=lambda check: check.last)


def run(session, options):
    results = []
    session.expiring = access_tokens.begin_expiry(session)
    discovery.begin_rotation(session)
    for check in selected(options):
        verdict, detail = run_check(session, check)
        results.append({
            "id": check.id, "level": check.level, "basis": check.basis,
            "sentence": check.sentence, "result": verdict, "detail": detail,
        })
        if options.verbose or verdict in ("fail", "warning"):
            print(f"{verdict:8} {check.id:16} {check.level:6} {check.sentence}")
            if detail:
                print(f"{'':9}{detail}")
    return results


def print_checks():
    """The table of plan.md."""
    print("| id | level | basis | what has to hold |")
    print("|---|---|---|---|")
    for check in harness.CHECKS:
        print(f"| {check.id} | {check.level} | {check.basis} | {cell(check.sentence)} |")


def counts(results):
    table = {}
    for result in results:
        row = table.setdefault(result["basis"], dict.fromkeys(RESULTS, 0))
        row[result["result"]] += 1
    return table


def print_counts(table):
    print(f"{'':10}" + "".join(f"{name:>9}" for name in RESULTS))
    for basis, row in table.items():
        print(f"{basis:10}" + "".join(f"{row[name]:9}" for name in RESULTS))


def cell(text):
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def markdown(results):
    lines = ["| checks of | " + " | ".join(RESULTS) + " |", "|---|" + "---|" * len(RESULTS)]
    for basis, row in counts(results).items():
        lines.append(f"| {basis} | " + " | ".join(str(row[name]) for name in RESULTS) + " |")
    lines += ["", "| | id | level | basis | check | why |", "|---|---|---|---|---|---|"]
    for verdict in RESULTS[1:]:
        for result in results:
            if result["result"] == verdict:
                words = [verdict, result["id"], result["level"], result["basis"], cell(result["sentence"]), cell(result["detail"])]
                lines.append("| " + " | ".join(words) + " |")
    return "\n".join(lines) + "\n"


def main():
    options = arguments()
    for name in MODULES:
        importlib.import_module(f"checks.{name}")
    harness.CHECKS.sort(key=lambda check: MODULES.index(check.run.__module__.rpartition(".")[2]))
    if options.list:
        print_checks()
        return 0
    try:
        if options.config is None:
            raise ValueError("--config is missing")
        config = read_config(options.config)
        if options.print_jwks:
            print_jwks(config)
            return 0
        if "secrets_file" in config:
            config["client_secrets"] = json.loads(config["secrets_file"].read_text())
        made, store = all_platforms(config)
        serve, server = config["platforms"].get("serve"), None
        if serve:
            server = platforms.PlatformServer(serve, made, config["platforms"]["keys_file"].parent)
        session = harness.Session(config, made, server, store)
        good = session.ask()
        if not good.token:
            raise ValueError(f"the good request is refused, and every check begins with it: {good}")
    except (OSError, KeyError, ValueError, requests.RequestException) as error:
        print(f"the plan cannot be run: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    results = run(session, options)
    if server:
        server.close()
    print_counts(counts(results))
    document = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "issuer": session.issuer,
        "counts": counts(results), "results": results,
        "elsewhere": left_out.ELSEWHERE, "not_covered": left_out.NOT_COVERED,
    }
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(results))
    return 1 if any(result["result"] == "fail" for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
