"""The yardstick: one RSA-2048 verification and one P-256 signature, with every core busy.

`openssl speed` counts the CPU time of its process, as the rows of the servers do. One process runs for each core, all at
once, so that shared cores, caches and clock rates make it dearer as they make a server dearer.
"""

import os
import statistics
import subprocess

from .processes import Skip


def version():
    """The version of the `openssl` that is measured."""
    try:
        return subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout.strip()
    except FileNotFoundError as error:
        raise Skip("there is no openssl") from error


def measure(seconds):
    """Microseconds of one verification and of one signature: the means over all cores."""
    command = ["openssl", "speed", "-mr", "-seconds", str(seconds), "rsa2048", "ecdsap256"]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(os.cpu_count() or 1)
    ]
    verify, sign = [], []
    for process in processes:
        output, _ = process.communicate()
        if process.returncode:
            raise RuntimeError("openssl speed failed")
        for line in output.splitlines():
            # +F2:number:bits:signatures a second:verifications a second, and the same as F4 for ECDSA.
            fields = line.split(":")
            if fields[0] == "+F2":
                verify.append(1e6 / float(fields[4]))
            elif fields[0] == "+F4":
                sign.append(1e6 / float(fields[3]))
    if not verify or not sign:
        raise RuntimeError("openssl speed printed no result")
    return statistics.mean(verify), statistics.mean(sign)
