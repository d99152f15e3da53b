"""What a fault acts on: replicas and database under load, and how to see that they serve again."""

import contextlib
import subprocess
import threading
import time

from replicas import AUDIENCE, Lost, Place
from signer import claims


class Stage:
    def __init__(self, installation, record, previous=None):
        self.installation, self.record, self.previous = installation, record, previous

    @property
    def cluster(self):
        return self.installation.cluster

    @property
    def replicas(self):
        return self.installation.replicas

    def fresh(self, rule="probe"):
        return self.installation.signer.sign(claims(self.installation.issuer, AUDIENCE, f"project:{rule}"))

    def token(self, place, rule="probe", seconds=60):
        """An access token by this place, however long it takes."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            assertion = self.fresh(rule)
            try:
                answer = place.exchange(assertion)
            except Lost:
                continue
            if answer.status == 200:
                self.record.token(assertion, answer)
                return answer.body["access_token"]
            time.sleep(0.02)
        raise RuntimeError(f"no token in {seconds} s")

    def through_balancer(self):
        """Waits until the balancer passes connections to a primary that takes writes."""
        began = time.monotonic()
        while time.monotonic() - began < 60:
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                if self.cluster.primary.sql("SHOW transaction_read_only", port=self.installation.database_port) == ["off"]:
                    return
            time.sleep(0.02)
        raise RuntimeError("the balancer finds no primary")

    def full_service(self):
        """Waits until every replica, and the balancer, gives a token; how long that took, in seconds."""
        began, failed = time.monotonic(), []

        def ask(port):
            try:
                self.token(Place(port))
            except RuntimeError as error:
                failed.append(f"port {port}: {error}")
        ports = [self.installation.port, *(replica.port for replica in self.replicas)]
        threads = [threading.Thread(target=ask, args=(port,)) for port in ports]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for what in failed:
            self.record.broke(what)
        return time.monotonic() - began
