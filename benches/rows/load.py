"""Runs the compiled load generator, `benches/load.rs`, against a server of its own."""

import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Load:
    """The generator and the server that it drives. Without binaries, cargo builds both."""

    def __init__(self, carnet, binary, connections):
        self.carnet, self.binary, self.connections = carnet, binary, connections
        self.environment = {}

    def command(self):
        if self.binary:
            return [self.binary, "--bench"]
        return ["cargo", "bench", "--quiet", "--manifest-path", str(ROOT / "Cargo.toml"), "--bench", "load"]

    def run(self, database, tokens, credentials, on_ready=None, **settings):
        """One run on a database that is made for it. Returns what the generator measured and, in `database_us`, the CPU
        time of the database's processes for each request, None where they are not apart.

        `settings` become variables `BENCH_…` of the generator. `on_ready` is called once the server serves.
        """
        with database.fresh() as url:
            return self.run_on(url, database, tokens, credentials, on_ready, **settings)

    def run_on(self, url, database, tokens, credentials, on_ready=None, **settings):
        """The same on the database of this URL, which stays."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("CARNET_", "BENCH_"))}
        environment |= self.environment
        environment |= {"TEST_DATABASE_URL": url, "BENCH_JSON": "1", "BENCH_TOKENS": str(tokens)}
        environment |= {"BENCH_CREDENTIALS": str(credentials), "BENCH_CONNECTIONS": str(self.connections)}
        environment |= {f"BENCH_{name.upper()}": str(value) for name, value in settings.items()}
        if self.carnet:
            environment["BENCH_CARNET"] = str(self.carnet)
        before = after = last = None
        with subprocess.Popen(
            self.command(), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        ) as process:
            for line in process.stdout:
                last = line
                if line.startswith("resident when ready"):
                    before = database.cpu_seconds()
                    if on_ready:
                        on_ready(url)
                elif line.startswith("peak memory"):
                    after = database.cpu_seconds()
        if process.returncode:
            raise RuntimeError(f"the load generator ended with {process.returncode}")
        result = json.loads(last)
        apart = before is not None and after is not None
        result["database_us"] = (after - before) * 1e6 / result["requests"] if apart else None
        return result
