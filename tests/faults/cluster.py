"""Two PostgreSQL nodes of the script's own: a primary and a streaming standby."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

OWN = {
    "listen_addresses": "127.0.0.1", "fsync": "on", "max_connections": "100", "shared_buffers": "32MB",
    "wal_keep_size": "256MB", "max_wal_senders": "10", "hot_standby": "on", "wal_receiver_status_interval": "1s",
    # Commits wait until the standby has found the restarted primary again. The default is 5 seconds.
    "wal_retrieve_retry_interval": "200ms",
}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def program(name):
    found = shutil.which(name) or next(iter(sorted(pathlib.Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)
    if not found:
        raise SystemExit(f"{name} is missing")
    return str(found)


def as_owner(*command):
    """PostgreSQL does not run as root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else list(command)


class Node:
    def __init__(self, folder, name):
        self.data = folder / name
        self.log = folder / f"{name}.log"
        self.port = free_port()

    def pg_ctl(self, *arguments):
        command = as_owner(program("pg_ctl"), "-D", str(self.data), "-l", str(self.log), *arguments)
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")

    def start(self):
        options = " ".join(f"-c {name}={value}" for name, value in OWN.items())
        if self.pg_ctl("start", "-w", "-o", f"-p {self.port} -c unix_socket_directories= {options}").returncode:
            raise RuntimeError(self.log.read_text()[-2000:])

    def stop(self, mode):
        self.pg_ctl("stop", "-w", "-m", mode)

    def sql(self, text, database="postgres", options="", port=None):
        """The rows of a query, without columns' names."""
        command = [program("psql"), "-qAtX", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(port or self.port), "-U", "postgres", "-d", database]
        environment = {**os.environ, "PGOPTIONS": options, "PGCONNECT_TIMEOUT": "5"}
        done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment, timeout=60)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.split("\n")[:-1]

    def setting(self, name, value):
        change = f"ALTER SYSTEM SET {name} = '{value}'" if value is not None else f"ALTER SYSTEM RESET {name}"
        self.sql(f"{change}; SELECT pg_reload_conf()", options="-c default_transaction_read_only=off")

    def processes(self):
        """The postmaster and its children."""
        master = int((self.data / "postmaster.pid").read_text().split("\n")[0])
        children = pathlib.Path(f"/proc/{master}/task/{master}/children").read_text().split()
        return [master, *map(int, children)]

    def freeze(self, frozen):
        for process in self.processes():
            os.kill(process, signal.SIGSTOP if frozen else signal.SIGCONT)

    def kill(self):
        """Ends all processes at once, as a machine that loses its power."""
        processes = self.processes()
        for process in processes:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
        while any(pathlib.Path(f"/proc/{process}/stat").exists() and
                  pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX" for process in processes):
            time.sleep(0.02)


class Cluster:
    """A primary, and a standby that follows it; with `synchronous`, a commit waits for the standby."""

    def __init__(self, folder, synchronous=True):
        self.folder, self.synchronous = folder, synchronous
        self.primary, self.standby = Node(folder, "first"), Node(folder, "second")
        folder.chmod(0o777)
        subprocess.run(as_owner(program("initdb"), "-D", str(self.primary.data), "-U", "postgres", "-A", "trust", "-N"),
                       check=True, stdout=subprocess.DEVNULL, cwd="/")
        self.primary.start()
        self.primary.sql("CREATE ROLE health LOGIN; CREATE DATABASE carnet; ALTER SYSTEM SET synchronous_standby_names = ''")
        self.follow()

    def follow(self):
        """Makes the standby anew, and waits until it streams."""
        standby = self.standby
        if standby.data.exists():
            subprocess.run(as_owner("rm", "-rf", str(standby.data)), check=True, cwd="/")
        subprocess.run(as_owner(program("pg_basebackup"), "-D", str(standby.data), "-R", "-c", "fast", "-h", "127.0.0.1",
                                "-p", str(self.primary.port), "-U", "postgres"), check=True, cwd="/")
        standby.start()
        deadline = time.monotonic() + 60
        while self.primary.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") != ["1"]:
            if time.monotonic() > deadline:
                raise RuntimeError("the standby does not stream")
            time.sleep(0.1)
        if self.synchronous:
            self.primary.setting("synchronous_standby_names", "*")

    def promote(self):
        """The standby becomes the primary; the other node has to be gone."""
        self.standby.sql("ALTER SYSTEM SET synchronous_standby_names = ''; SELECT pg_reload_conf()")
        self.standby.pg_ctl("promote", "-w")
        self.primary, self.standby = self.standby, self.primary

    def close(self):
        for node in (self.primary, self.standby):
            if (node.data / "postmaster.pid").exists():
                try:
                    node.freeze(False)
                except (OSError, ValueError):
                    pass
                node.stop("immediate")
