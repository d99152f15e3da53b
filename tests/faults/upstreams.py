"""Thousands of trusted issuers, one in ten of which is dead, and a few that misbehave; a good one beside them."""

import contextlib
import http.server
import json
import pathlib
import socket
import sqlite3
import subprocess
import threading
import time

from cluster import free_port
from replicas import AUDIENCE, RESOURCE, Lost, Place, Replica
from signer import Signer, claims

# How long a good platform's request may take, in seconds: one that waits for another takes five.
UNHINDERED = 4.0
INTERVAL = 30
GOOD = 200


class Platforms(http.server.ThreadingHTTPServer):
    """All good platforms, each below a path of its own."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, signers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.signers, self.fetches, self.lock = signers, {}, threading.Lock()
        self.base = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        name, _, rest = self.path.strip("/").partition("/")
        issuer = f"{self.server.base}/{name}"
        signer = self.server.signers.get(name)
        document = None
        if signer and rest == "jwks":
            with self.server.lock:
                self.server.fetches[name] = self.server.fetches.get(name, 0) + 1
            document = {"keys": [signer.jwk()]}
        elif signer and rest == ".well-known/openid-configuration":
            document = {"issuer": issuer, "jwks_uri": f"{issuer}/jwks"}
        body = json.dumps(document).encode()
        self.send_response(200 if document else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Misbehaving:
    """A platform that takes connections and does this with each."""

    def __init__(self, act):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections, self.act = 0, act
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            line, _ = self.listener.accept()
            self.connections += 1
            threading.Thread(target=self.guarded, args=(line,), daemon=True).start()

    def guarded(self, line):
        try:
            with line:
                line.recv(4096)
                self.act(line)
        except OSError:
            pass


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"


def drip(line):
    line.sendall(HEAD)
    while True:
        line.sendall(b" ")
        time.sleep(0.1)


def flow(line):
    line.sendall(HEAD)
    while True:
        line.sendall(b" " * 65536)


TROUBLE = {
    "silent": lambda line: time.sleep(3600),
    "dripping": drip,
    "endless": flow,
    "redirecting": lambda line: line.sendall(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.2:9/\r\ncontent-length: 0\r\n\r\n"),
    "lying": lambda line: line.sendall(HEAD + b'{"issuer":"https://ci.test","jwks_uri":"https://ci.test/jwks"}'),
    "page": lambda line: line.sendall(HEAD + b"<!doctype html>"),
    "closing": lambda line: None,
}


class Upstreams:
    def __init__(self, binary, folder, record):
        self.record = record
        self.folder = pathlib.Path(folder) / "upstreams"
        self.folder.mkdir()
        environment = {
            "CARNET_ISSUER": AUDIENCE, "CARNET_DATA_DIR": str(self.folder), "CARNET_INSECURE__ALLOW_HTTP_LOOPBACK": "true",
            "CARNET_RATE_LIMITS__REFUSALS_PER_MINUTE_PER_ADDRESS": "0", "CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CREDENTIAL": "0",
        }
        self.server = Replica(binary, self.folder, 0, environment)
        self.places = threading.local()

    def ask(self, signer, issuer, header=None):
        """Status, reason, and how long the answer took."""
        if not hasattr(self.places, "own"):
            self.places.own = Place(self.server.port)
        assertion = signer.sign(claims(issuer, AUDIENCE, "project:load"), header)
        began = time.monotonic()
        try:
            answer = self.places.own.exchange(assertion)
        except Lost as error:
            return 0, str(error), time.monotonic() - began
        return answer.status, answer.reason, time.monotonic() - began

    def run(self, count):
        try:
            return self.tried(count)
        finally:
            if self.server.process and self.server.process.poll() is None:
                self.server.kill()

    def tried(self, count):
        own, signers = Signer("shared"), {}
        # One key for all: what differs is where it is fetched.
        for number in range(count):
            signers[f"many-{number}"] = own
        platforms = Platforms(signers)
        gone = f"http://127.0.0.1:{free_port()}"
        bad = {name: Misbehaving(act) for name, act in TROUBLE.items()}
        places = {0: gone, 10: bad["silent"].url}
        urls = {f"many-{number}": f"{places.get(number % 20, platforms.base)}/many-{number}" for number in range(count)}
        urls |= {name: platform.url for name, platform in bad.items()}
        self.server.start()
        self.server.wait()
        named = {name: url for name, url in urls.items() if name in bad or name in ("many-1", "many-2")}
        (self.folder / "objects.json").write_text(json.dumps(objects(named)))
        done = subprocess.run([self.server.binary, "apply", "--offline", "--yes", "-f", "objects.json"], cwd=self.folder,
                              env=self.server.environment, capture_output=True, text=True)
        if done.returncode:
            self.record.broke(f"apply: {done.stderr[-500:]}")
            return []
        self.server.terminate()
        self.copy(urls, "many-1")
        self.server.start()
        started = self.server.wait(300)
        return [(f"a start with {len(urls)}", f"{started:.1f} s"), *self.firsts(own, urls, count), *self.trouble(own, urls, bad),
                *self.kids(own, urls, platforms)]

    def copy(self, urls, template):
        """Saves the others as copies of one, in the database: that takes a second, and the admin API many minutes."""
        base = urls[template]
        rows = [(name, name, url, base, url, template) for name, url in urls.items()]
        with contextlib.closing(sqlite3.connect(self.folder / "carnet.db")) as database, database:
            database.executemany(
                "INSERT OR IGNORE INTO trusted_issuer (id, name, name_folded, issuer, owner, enabled, document, version, created_at, updated_at) "
                "SELECT randomblob(16), ?, ?, ?, owner, enabled, replace(document, ?, ?), version, created_at, updated_at "
                "FROM trusted_issuer WHERE name = ?", rows)

    def firsts(self, own, urls, count):
        """The first token of each, while the dead ones are asked as well."""
        numbers = [number for number in range(count) if number % 10]
        dead = [number for number in range(count) if number % 10 == 0]
        times, at = [], iter(numbers)
        lock = threading.Lock()

        def alive():
            while True:
                with lock:
                    number = next(at, None)
                if number is None:
                    return
                status, reason, took = self.ask(own, urls[f"many-{number}"])
                times.append(took)
                # Its keys were fetched, and its signature is good; most have no rule.
                if status != 200 and reason != "no_matching_credential":
                    self.record.broke(f"a good issuer beside dead ones: {status} {reason}")

        def gone(part):
            for number in part:
                status, reason, _ = self.ask(own, urls[f"many-{number}"])
                if status != 503:
                    self.record.broke(f"a dead issuer: {status} {reason}")
        threads = [threading.Thread(target=alive) for _ in range(4)]
        threads += [threading.Thread(target=gone, args=(dead[start::40],)) for start in range(40)]
        together(threads)
        return [(f"first request of {len(numbers)} good ones beside {len(dead)} dead ones: half, 99 %, all within", shown(times)), *self.late(times)]

    def trouble(self, own, urls, bad):
        alone = [self.ask(own, urls["many-1"])[2] for _ in range(GOOD)]
        stopped = threading.Event()

        def flood(name):
            while not stopped.is_set():
                status, reason, _ = self.ask(own, urls[name])
                if status != 503:
                    self.record.broke(f"{name}: {status} {reason}")
                stopped.wait(0.1)
        threads = [threading.Thread(target=flood, args=(name,)) for name in bad for _ in range(4)]
        for thread in threads:
            thread.start()
        beside, began = [], time.monotonic()
        # Long enough for a second attempt at each.
        while len(beside) < GOOD or time.monotonic() - began < INTERVAL + 5:
            status, reason, took = self.ask(own, urls["many-1"])
            beside.append(took)
            if status != 200:
                self.record.broke(f"a good issuer beside bad ones: {status} {reason}")
            time.sleep(0.05)
        stopped.set()
        together(threads, begin=False)
        return [("a token alone: half, 99 %, all within", shown(alone)),
                (f"the same beside {', '.join(bad)} ones", shown(beside)), *self.late(beside)]

    def kids(self, own, urls, platforms):
        """Unknown `kid`s as fast as they can be sent, for two intervals."""
        name, counts, stopped = "many-2", [0], threading.Event()
        self.ask(own, urls[name])
        before, began, times = platforms.fetches[name], time.monotonic(), []

        def flood(part):
            number = 0
            while not stopped.is_set():
                number += 1
                header = {"alg": "ES256", "kid": f"unknown-{part}-{number}", "typ": "JWT"}
                status, reason, _ = self.ask(own, urls[name], header)
                counts[0] += 1
                if (status, reason) not in ((400, "key_unknown"), (503, "keys_unavailable")):
                    self.record.broke(f"an unknown kid: {status} {reason}")
        threads = [threading.Thread(target=flood, args=(part,)) for part in range(8)]
        for thread in threads:
            thread.start()
        while time.monotonic() - began < 2 * INTERVAL + 5:
            status, reason, took = self.ask(own, urls[name])
            times.append(took)
            if status != 200:
                self.record.broke(f"a good key beside unknown ones: {status} {reason}")
            time.sleep(0.1)
        stopped.set()
        together(threads, begin=False)
        seconds, fetches = time.monotonic() - began, platforms.fetches[name] - before
        if fetches > 1 + seconds / INTERVAL:
            self.record.broke(f"{fetches} fetches in {seconds:.0f} s for unknown kids")
        return [(f"{counts[0]} unknown kids in {seconds:.0f} s ({counts[0] / seconds:.0f} a second)", f"{fetches} fetches"),
                ("a good token beside them: half, 99 %, all within", shown(times))]

    def late(self, times):
        """Of those that wait for another there would be many; a single one may have waited for this script."""
        slow = sum(took > UNHINDERED for took in times)
        if slow > 1 + len(times) / 100:
            self.record.broke(f"{slow} of {len(times)} requests of good issuers took longer than {UNHINDERED:.0f} s beside others")
        return []


def objects(urls):
    permissions = [{"resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"]}]
    rule = {"principal": "acme", "permissions": permissions, "match": {"subject": "project:load", "claims": {"stage": "release"}}}
    return {
        "principals": {"acme": {"kind": "organization"}},
        "resource_servers": {"pypi": {"resource": RESOURCE, "actions": ["publish"]}},
        "trusted_issuers": {name: {"profile": "generic", "issuer": url} for name, url in urls.items()},
        "federated_credentials": {name: {**rule, "trusted_issuer": name} for name in urls},
    }


def together(threads, begin=True):
    for thread in threads:
        if begin:
            thread.start()
    for thread in threads:
        thread.join()


def shown(times):
    times = sorted(times)
    return ", ".join(f"{1000 * times[min(len(times) - 1, int(len(times) * part))]:.0f} ms" for part in (0.5, 0.99, 1))
