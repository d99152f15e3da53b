"""Processes: their CPU time and memory, free ports, and how they end."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

TICK = os.sysconf("SC_CLK_TCK")


class Skip(Exception):
    """A row that cannot be measured on this machine, with the reason."""


def say(text):
    """Progress goes to standard error; standard output has the table alone."""
    print(text, file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _stat(pid):
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return text.rpartition(") ")[2].split()


def cpu_seconds(pid):
    """User and system time of all threads of one process."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICK


def cpu_seconds_of_tree(pid):
    """The same for a process, its living children, and all children that it has waited for."""
    total = 0
    for folder in pathlib.Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        # A process may end while it is read; its parent has waited for it then.
        with contextlib.suppress(OSError):
            fields = _stat(folder.name)
            if int(folder.name) == pid:
                total += sum(map(int, fields[11:15]))
            elif int(fields[1]) == pid:
                total += int(fields[11]) + int(fields[12])
    return total / TICK


def memory_mb(pid, field):
    """A field of `/proc/<pid>/status`, such as `VmHWM`, the peak of resident memory."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


@contextlib.contextmanager
def running(command, **options):
    """A process that ends with the block: by SIGTERM, and after half a minute by SIGKILL."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(ready, what, seconds, process=None):
    """Asks `ready` every 5 ms. Fails if it is not true in time, or if the process ended."""
    end = time.monotonic() + seconds
    while not ready():
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{what}: the process ended with {process.returncode}")
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {seconds} s")
        time.sleep(0.005)
