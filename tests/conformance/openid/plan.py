#!/usr/bin/env python3
"""Runs the test plan in a suite that listens at PORT, and prints the result of every module as Markdown.

plan.py PORT CONFIGURATION CLIENT_AUTH SENDER_CONSTRAIN [--only MODULE]... [--logs FOLDER]

The exit code is 0 if no module failed, 1 if one did, 2 if the plan could not be run.
"""

import argparse
import json
import pathlib
import sys
import time

import requests

PLAN = "fapi2-security-profile-final-test-plan"
PREFIX = "fapi2-security-profile-final-"
PASSED = ("PASSED", "SKIPPED", "REVIEW", "WARNING")


class Suite:
    def __init__(self, port):
        self.api = f"http://127.0.0.1:{port}/api"
        self.session = requests.Session()
        # The suite takes requests from a proxy with TLS only. It listens on the loopback here, so claim to be one.
        forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "localhost", "X-Forwarded-Port": "8443"}
        self.session.headers.update(forwarded)

    def call(self, method, path, **options):
        response = self.session.request(method, f"{self.api}/{path}", timeout=120, **options)
        if not response.ok:
            raise SystemExit(f"{method} {path}: {response.status_code} {response.text[:500]}")
        return response.json()

    def wait_until_ready(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                if self.session.get(f"{self.api}/plan?length=1", timeout=10).ok:
                    return
            except requests.RequestException:
                pass
            time.sleep(2)
        raise SystemExit(f"the suite did not start within {seconds} seconds")

    def run(self, plan, module):
        """Runs one module; its information and its log."""
        parameters = {"plan": plan, "test": module["testModule"], "variant": json.dumps(module["variant"])}
        id = self.call("POST", "runner", params=parameters)["id"]
        until, started = time.monotonic() + 300, False
        while time.monotonic() < until:
            info = self.call("GET", f"info/{id}")
            if info["status"] in ("FINISHED", "INTERRUPTED"):
                break
            if info["status"] == "CONFIGURED" and not started:
                self.call("POST", f"runner/{id}")
                started = True
            time.sleep(0.5)
        return info, self.call("GET", f"log/{id}")


def problems(log):
    """The conditions that did not hold, each in a line."""
    blocks = {entry["blockId"]: entry["msg"] for entry in log if entry.get("startBlock")}
    for entry in log:
        if entry.get("result") in ("FAILURE", "WARNING", "INTERRUPTED"):
            said = [blocks.get(entry.get("blockId")), entry.get("src"), entry.get("msg"), ", ".join(entry.get("requirements") or [])]
            yield ": ".join([entry["result"].lower(), *filter(None, said)])


def cell(text):
    return " ".join(text.split()).replace("|", "\\|")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("port", type=int)
    parser.add_argument("configuration", type=pathlib.Path)
    parser.add_argument("client_auth", choices=["private_key_jwt", "mtls"])
    parser.add_argument("sender_constrain", choices=["dpop", "mtls"])
    parser.add_argument("--only", action="append", help="run this module alone, by the end of its name; repeatable")
    parser.add_argument("--logs", type=pathlib.Path, help="keep the log of every module in this folder")
    return parser.parse_args()


def main():
    options = arguments()
    suite = Suite(options.port)
    suite.wait_until_ready(300)
    variant = {
        "fapi_profile": "fapi_client_credentials_grant", "client_auth_type": options.client_auth,
        "sender_constrain": options.sender_constrain, "openid": "plain_oauth", "authorization_request_type": "simple",
    }
    configuration = options.configuration.read_text()
    plan = suite.call(
        "POST", "plan", params={"planName": PLAN, "variant": json.dumps(variant)}, data=configuration,
        headers={"Content-Type": "application/json"},
    )
    modules = plan["modules"]
    if options.only:
        modules = [module for module in modules if module["testModule"].endswith(tuple(options.only))]
    print(f"\n{PLAN}, {options.client_auth} with {options.sender_constrain}\n\n| module | result | what did not hold |\n|---|---|---|")
    counts = {}
    for module in modules:
        info, log = suite.run(plan["id"], module)
        name = module["testModule"]
        if options.logs:
            options.logs.mkdir(parents=True, exist_ok=True)
            (options.logs / f"{options.client_auth}-{options.sender_constrain}-{name}.json").write_text(json.dumps(log, indent=1))
        result = info.get("result") or info["status"]
        print(f"| `{name.removeprefix(PREFIX)}` | {result} | {'<br>'.join(map(cell, problems(log)))} |", flush=True)
        counts[result] = counts.get(result, 0) + 1
    print("\n" + ", ".join(f"{count} {result}" for result, count in sorted(counts.items())))
    return 1 if set(counts) - set(PASSED) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
            sys.exit(2)
        raise
