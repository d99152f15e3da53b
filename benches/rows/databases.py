"""Databases for the rows: a SQLite file, or a database of a PostgreSQL server."""

import contextlib
import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile
import urllib.parse
import uuid

from . import processes
from .processes import Skip


class Sqlite:
    """A file in a folder."""

    name = "SQLite"

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    @contextlib.contextmanager
    def fresh(self):
        """The URL of a database that does not exist yet. Its files are removed after the block."""
        path = self.folder / f"{uuid.uuid4().hex}.db"
        try:
            yield f"sqlite://{path}"
        finally:
            for file in self.folder.glob(path.name + "*"):
                file.unlink()

    def cpu_seconds(self):
        """None: SQLite runs in the server."""
        return None


class Postgres:
    """A PostgreSQL server: one of our own, or the one that a URL names."""

    name = "PostgreSQL"

    def __init__(self, url, postmaster=None):
        self.url = urllib.parse.urlsplit(url)
        self.postmaster = postmaster

    def _sql(self, statement):
        subprocess.run(
            ["psql", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement, self.url.geturl()],
            check=True,
            stdin=subprocess.DEVNULL,
        )

    @contextlib.contextmanager
    def fresh(self):
        """The URL of an empty database, which is dropped after the block."""
        name = f"carnet_bench_{uuid.uuid4().hex}"
        self._sql(f"CREATE DATABASE {name}")
        try:
            yield self.url._replace(path="/" + name).geturl()
        finally:
            self._sql(f"DROP DATABASE {name} WITH (FORCE)")

    def cpu_seconds(self):
        """CPU time of all its processes so far; None for a server that is not ours, which others may use."""
        return self.postmaster and processes.cpu_seconds_of_tree(self.postmaster)


def _programs():
    """The folder of `initdb` and `postgres`, which Debian keeps off PATH."""
    found = shutil.which("initdb")
    if found:
        return pathlib.Path(found).resolve().parent
    folders = sorted(
        pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]), reverse=True
    )
    if not folders:
        raise Skip("there is no PostgreSQL: neither TEST_DATABASE_URL nor initdb")
    return folders[0].parent


@contextlib.contextmanager
def postgres(folder):
    """The server that TEST_DATABASE_URL names, or else a private cluster that ends with the block.

    The cluster has the settings of `initdb`, so that commits are durable, and listens on the loopback address alone.
    """
    if not shutil.which("psql"):
        raise Skip("there is no psql")
    if os.environ.get("TEST_DATABASE_URL"):
        yield Postgres(os.environ["TEST_DATABASE_URL"])
        return
    programs, port = _programs(), processes.free_port()
    data = pathlib.Path(tempfile.mkdtemp(prefix="postgres-", dir=folder))
    # PostgreSQL refuses to run as root.
    user = None
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            user = pwd.getpwnam("nobody")
        os.chown(data, user.pw_uid, user.pw_gid)
    options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    options |= {"cwd": data, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    initdb = [programs / "initdb", "-D", data / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"]
    subprocess.run(initdb, check=True, stdin=subprocess.DEVNULL, **options)
    command = [programs / "postgres", "-D", data / "data", "-p", str(port), "-k", data, "-h", "127.0.0.1"]
    url = f"postgres://postgres@127.0.0.1:{port}/postgres"
    is_ready = ["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    try:
        # SIGTERM ends PostgreSQL once its clients are gone.
        with processes.running(command, **options) as process:
            processes.wait_until(
                lambda: subprocess.run([programs / is_ready[0], *is_ready[1:]], check=False).returncode == 0,
                "PostgreSQL",
                60,
                process,
            )
            yield Postgres(url, process.pid)
    finally:
        shutil.rmtree(data, ignore_errors=True)


def each(folder, only, failures):
    """The names of the databases and the databases, one after the other. One that is missing is added to `failures`."""
    if only != "postgres":
        yield Sqlite.name, Sqlite(folder)
    if only != "sqlite":
        try:
            with postgres(folder) as database:
                yield Postgres.name, database
        except Skip as error:
            failures.append(f"{Postgres.name}: {error}")
