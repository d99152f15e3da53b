"""The growth table: what the size of the database does to a request, to memory, to the start and to a changed rule."""

import contextlib
import dataclasses
import http.client
import json
import os
import secrets
import shutil
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse

from . import fill, processes
from .assertion import ISSUER, Platform
from .processes import Skip, say

STARTS = 3


@dataclasses.dataclass
class Size:
    """A row: what is in the database, and whether audit queries run during the load."""

    name: str
    credentials: int = 1_000
    rows: dict = dataclasses.field(default_factory=dict)
    queries: bool = False


def sizes(audit_rows):
    """The rows of the table. The first one is what the others are compared with."""
    queried = min(audit_rows, 1_000_000)
    return [
        Size("1,000 credentials"),
        Size("100,000 credentials", credentials=100_000),
        Size("1,000,000 credentials", credentials=1_000_000),
        Size("10,000 trusted issuers", rows={"issuers": 10_000}),
        Size("10,000,000 consumed assertions", rows={"consumed": 10_000_000}),
        Size(f"{audit_rows:,} audit events", rows={"audit": audit_rows}),
        Size(
            "pruning of 1,000,000 consumed assertions and 100,000 audit events",
            rows={"stale_consumed": 1_000_000, "stale_audit": 100_000},
        ),
        Size(f"queries over {queried:,} audit events", rows={"audit": queried}, queries=True),
    ]


class Growth:
    """Measures the rows of one database."""

    def __init__(self, load, database, tokens, folder, carnet):
        self.load, self.database, self.tokens, self.folder, self.carnet = load, database, tokens, folder, carnet
        self.platform = Platform(folder, fill.PLATFORM.format("own"))
        # The server of the load makes the signing keys; the one that is started afterwards has to decrypt them.
        self.key = secrets.token_hex(32)
        load.environment["CARNET_KEYS__ENCRYPTION_KEY"] = self.key

    def base(self):
        """One load on a database of 1,000 credentials."""
        return self.load.run(self.database, self.tokens, 1_000)["bearer"]

    def measure(self, size, baseline=True):
        """A row, with the mean of a baseline before and one after it."""
        rows = fill.Rows(self.platform.jwk, **size.rows)
        free = shutil.disk_usage(self.folder).free
        needed = rows.bytes(self.database.name)
        if needed > free * 0.9:
            raise Skip(f"needs about {needed >> 30} GiB of disk, {free >> 30} GiB are free")
        bases = [self.base()] if baseline else []
        command = f"{sys.executable} {sys.argv[0]} --fill '{json.dumps(dataclasses.asdict(rows))}'"
        with self.database.fresh() as url:
            with self.queries() if size.queries else contextlib.nullcontext() as on_ready:
                result = self.load.run_on(url, self.database, self.tokens, size.credentials, on_ready, fill=command)
            starts, changes = self.start_and_change(url)
        bases += [self.base()] if baseline else []
        row = result["bearer"] | {"what": size.name, "ready_mb": result["ready_mb"], "peak_mb": result["peak_mb"]}
        row |= {"start_s": max(starts), "change_s": max(changes)}
        for key in ("cpu_us", "p99_ms"):
            row["base_" + key] = statistics.mean(base[key] for base in bases) if bases else row[key]
        return row

    @contextlib.contextmanager
    def queries(self):
        """Gives a function that starts to search the audit record again and again, until the block ends."""
        over, threads, failed = threading.Event(), [], []

        def search(url):
            while not over.is_set():
                command = [self.carnet, "audit", "--json", "--repository", "organisation-7/repository-7", "--limit", "100"]
                found = subprocess.run(command, env=self.environment(url), capture_output=True, check=False)
                if found.returncode:
                    failed.append(found.stderr)
                    return

        def start(url):
            threads.append(threading.Thread(target=search, args=(url,)))
            threads[0].start()

        try:
            yield start
        finally:
            over.set()
            for thread in threads:
                thread.join()
        if failed:
            raise RuntimeError(f"carnet audit failed: {failed[0].decode()}")

    def environment(self, url, port=0):
        """The configuration of the server and of commands on this database."""
        return {
            "PATH": os.environ["PATH"],
            "CARNET_ISSUER": ISSUER,
            "CARNET_SERVER__LISTEN": f"127.0.0.1:{port}",
            "CARNET_SERVER__DRAIN_SECONDS": "0",
            "CARNET_DATA_DIR": str(self.folder),
            "CARNET_DATABASE__URL": url,
            "CARNET_KEYS__ENCRYPTION_KEY": self.key,
            "CARNET_RATE_LIMITS__REFUSALS_PER_MINUTE_PER_ADDRESS": "0",
            "CARNET_LOG__LEVEL": "warn",
        }

    def start_and_change(self, url):
        """Seconds of each start until `/readyz` answers 200, and of each changed rule until it counts."""
        starts = []
        for number in range(STARTS):
            port = processes.free_port()
            began = time.monotonic()
            with processes.running([self.carnet, "serve"], env=self.environment(url, port)) as server:
                processes.wait_until(lambda: _status(port, "GET", "/readyz") == 200, "/readyz", 600, server)
                starts.append(time.monotonic() - began)
                if number == STARTS - 1:
                    return starts, [self.change(url, port, rule) for rule in range(fill.OWN_RULES)]
        raise AssertionError("there is at least one start")

    def change(self, url, port, rule):
        """Enables a rule by a command, a process of its own as another replica would be, while a job asks for a token
        over and over. Returns the seconds from the time that the change bears to the answer with the token."""
        grant, assertion = "urn:ietf:params:oauth:grant-type:jwt-bearer", self.platform.assertion(rule)
        form = urllib.parse.urlencode({"grant_type": grant, "assertion": assertion})
        if _status(port, "POST", "/token", form) == 200:
            raise RuntimeError("a disabled rule gave a token")
        command = [self.carnet, "credentials", "enable", f"bench-own:own-{rule}"]
        with subprocess.Popen(command, env=self.environment(url), stdout=subprocess.DEVNULL) as enabling:
            # Refusals leave the assertion unused.
            processes.wait_until(lambda: _status(port, "POST", "/token", form) == 200, "the changed rule", 60)
            counted = time.time()
        if enabling.returncode:
            raise RuntimeError("carnet credentials enable failed")
        return counted - _updated_at(url, f"own-{rule}") / 1000


def _updated_at(url, name):
    query = f"SELECT updated_at FROM federated_credential WHERE name = '{name}'"
    if url.startswith("sqlite://"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite://"))) as connection:
            return connection.execute(query).fetchone()[0]
    return int(subprocess.run(["psql", "-At", "-c", query, url], check=True, capture_output=True, text=True).stdout)


def _status(port, method, path, form=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, form, {"content-type": "application/x-www-form-urlencoded"} if form else {})
        return connection.getresponse().status
    except ConnectionRefusedError:
        return None
    finally:
        connection.close()


COLUMNS = ["database", "CPU µs a token (baseline)", "p99 ms (baseline)", "memory ready, at most MB", "start s", "change s"]


def cells(row):
    """The cells of one row, in the order of `COLUMNS`."""
    ratios = {key: row[key] / row["base_" + key] for key in ("cpu_us", "p99_ms")}
    return [
        row["what"],
        f"{row['cpu_us']:.0f} ({row['base_cpu_us']:.0f}: {ratios['cpu_us']:.2f} x)",
        f"{row['p99_ms']:.1f} ({row['base_p99_ms']:.1f}: {ratios['p99_ms']:.2f} x)",
        f"{row['ready_mb']:.0f}, {row['peak_mb']:.0f}",
        f"{row['start_s']:.2f}",
        f"{row['change_s']:.2f}",
    ]


def table(growth, audit_rows, failures):
    """Measures all rows; those that fail are left out and said."""
    lines = []
    for number, size in enumerate(sizes(audit_rows)):
        say(f"growth on {growth.database.name}: {size.name}")
        try:
            lines.append(cells(growth.measure(size, baseline=number > 0)))
        except (Skip, RuntimeError, OSError, subprocess.SubprocessError) as error:
            failures.append(f"{growth.database.name}, {size.name}: {error}")
    return lines
