"""npm `oidc-provider` 9, the yardstick among authorization servers.

It does client_credentials with private_key_jwt (RS256) to a JWT access token (ES256), on distinct assertions. It keeps
used assertions and tokens in memory: nothing is durable, and there is no audit. `wrk` drives it.
"""

import json
import pathlib
import shutil
import signal
import subprocess
import urllib.request

from . import processes
from .processes import Skip, say

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = "oidc-provider@9"
WARM_UP = 500


def _install(folder):
    """Installs what is missing, and returns the version of `oidc-provider`."""
    if not shutil.which("wrk"):
        say("installing wrk")
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "wrk"]):
            if shutil.which("apt-get"):
                subprocess.run(command, check=False, capture_output=True)
        if not shutil.which("wrk"):
            raise Skip("there is no wrk, and apt-get could not install it")
    for program in ("node", "npm"):
        if not shutil.which(program):
            raise Skip(f"there is no {program}")
    manifest = folder / "node_modules" / "oidc-provider" / "package.json"
    if not manifest.exists():
        say(f"installing {PACKAGE}")
        command = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), PACKAGE]
        if subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode:
            raise Skip(f"npm could not install {PACKAGE}")
    return json.loads(manifest.read_text())["version"]


def _node_version():
    return subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout.strip()


def _drive(port, bodies, connections):
    command = ["wrk", "-t1", f"-c{connections}", "-d3600s", "--timeout", "60s", "-s", str(HERE / "wrk.lua")]
    command += [f"http://127.0.0.1:{port}/token", "--", str(bodies)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as wrk:
        for line in wrk.stdout:
            last = line
            if line.strip() == "sent":
                wrk.send_signal(signal.SIGINT)
    result = json.loads(last)
    if result["failed"]:
        raise RuntimeError(f"oidc-provider: {result['failed']} of {result['requests']} requests failed")
    return result


def _sign(port, key, count, path):
    with path.open("w") as file:
        command = ["node", str(HERE / "oidc-provider.mjs"), "sign", str(port), str(key), str(count)]
        subprocess.run(command, check=True, stdout=file, stdin=subprocess.DEVNULL)


def measure(tokens, connections, packages, folder):
    """One row. `packages` is the folder for npm, which is kept for the next run; `folder` is for this one."""
    packages.mkdir(parents=True, exist_ok=True)
    version = _install(packages)
    port, key = processes.free_port(), folder / "client.pem"
    warm_up, bodies = folder / "warm-up", folder / "bodies"
    _sign(port, key, WARM_UP, warm_up)
    node = ["node", str(HERE / "oidc-provider.mjs"), "serve", str(port), str(key)]
    log = (folder / "oidc-provider.log").open("w")
    environment = {"PATH": str(pathlib.Path(shutil.which("node")).parent), "NODE_ENV": "production"}
    with processes.running(node, cwd=packages, env=environment, stdout=log, stderr=log) as server:
        processes.wait_until(lambda: _answers(port), "oidc-provider", 60, server)
        _drive(port, warm_up, connections)
        _sign(port, key, tokens, bodies)
        before = processes.cpu_seconds(server.pid)
        result = _drive(port, bodies, connections)
        cpu = processes.cpu_seconds(server.pid) - before
        peak = processes.memory_mb(server.pid, "VmHWM")
    return {
        "what": f"oidc-provider {version} on Node.js {_node_version()}, in memory",
        "tokens_per_second": result["requests"] * 1e6 / result["micros"],
        "p50_ms": result["p50_ms"],
        "p99_ms": result["p99_ms"],
        "cpu_us": cpu * 1e6 / result["requests"],
        "peak_mb": peak,
    }


def _answers(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/jwks", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
