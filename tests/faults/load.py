"""Jobs that ask for tokens without a pause, and what has to hold for each of them."""

import collections
import random
import threading
import time

from replicas import AUDIENCE, Lost, Place, Refused
from signer import claims, payload

# How long a job sends its request again before that counts as a failure, in seconds.
PATIENCE = 90
LATER = (429, 502, 503, 504)


class Record:
    """What was seen, by all threads."""

    def __init__(self, loses=False):
        # Without synchronous replication a failover loses something: then that is counted, and not held against the server.
        self.loses = loses
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.broken = []
        self.issued = {}
        self.unchecked = []
        self.latencies = []

    def count(self, what, number=1):
        with self.lock:
            self.counts[what] += number

    def broke(self, what):
        with self.lock:
            self.broken.append(what)
        if len(self.broken) <= 20:
            print(f"BROKEN: {what[:300]}", flush=True)

    def token(self, assertion, answer, seconds=None):
        """An access token came: it has to be the only one of its assertion."""
        jti = payload(answer.body["access_token"])["jti"]
        with self.lock:
            self.counts["tokens"] += 1
            before = self.issued.setdefault(assertion, jti)
            self.unchecked.append(jti)
            if seconds is not None:
                self.latencies.append(seconds)
        if before != jti and self.loses:
            self.count("assertions with two tokens, around a failover")
        elif before != jti:
            self.broke(f"two tokens for one assertion: {before} and {jti}")


class Load:
    """Threads that ask through the balancer, and now and then at all replicas at once."""

    def __init__(self, installation, record, threads=6, pause=0.02):
        self.installation, self.record, self.pause = installation, record, pause
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.guarded, args=(number,), daemon=True) for number in range(threads)]

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(PATIENCE + 60)
            if thread.is_alive():
                self.record.broke("a job does not end")

    def guarded(self, number):
        try:
            self.work(number)
        except Exception as error:  # a mistake of the script has to be seen
            self.record.broke(f"a thread of the load ended: {type(error).__name__}: {error}")

    def work(self, number):
        installation, place = self.installation, Place(self.installation.port)
        replicas = [Place(replica.port) for replica in installation.replicas]
        while not self.stopped.is_set():
            assertion = installation.signer.sign(claims(installation.issuer, AUDIENCE, "project:load"))
            kind = random.random()
            if kind < 0.1:
                self.rush(assertion, replicas)
            elif kind < 0.15:
                self.hang_up(assertion)
            elif self.job(place, assertion) and kind < 0.3:
                self.again(assertion, random.choice(replicas))
            self.stopped.wait(self.pause)

    def job(self, place, assertion):
        """A request that is sent again while the answer says later, or none comes. Whether a token came."""
        began, may_be_used, headers = time.monotonic(), False, None
        if random.random() < 0.2:
            headers = {"dpop": self.installation.signer.proof(f"{AUDIENCE}/token")}
        for attempt in range(10_000):
            sent = time.monotonic()
            try:
                answer = place.exchange(assertion, headers)
            except Refused:
                self.record.count("connections refused")
                answer = None
            except Lost:
                self.record.count("answers lost")
                answer, may_be_used = None, True
            if answer and answer.status == 200:
                self.record.token(assertion, answer, time.monotonic() - sent)
                self.record.count("healed by a retry", attempt > 0)
                return True
            if answer and answer.reason in ("replay", "proof_replayed") and may_be_used:
                self.record.count("used up by an answer that was lost")
                return False
            if answer and answer.status not in LATER:
                self.record.broke(f"attempt {attempt}: {answer.status} {answer.body}")
                return False
            if answer:
                self.later(answer)
                # The commit may have begun before the database went.
                may_be_used |= answer.status in (502, 504) or answer.reason in ("database_unavailable", "overloaded")
            if time.monotonic() - began > PATIENCE:
                self.record.broke(f"no token in {PATIENCE} s: {answer and (answer.status, answer.body)}")
                return False
            time.sleep(0.1)
        return False

    def later(self, answer):
        self.record.count(f"answers {answer.status}")
        if answer.status == 503 and not answer.headers.get("retry-after"):
            self.record.broke(f"503 without Retry-After: {answer.body}")

    def again(self, assertion, replica):
        """A second use, at any replica, gives nothing."""
        try:
            answer = replica.exchange(assertion)
        except Lost:
            return
        if answer.status == 200:
            self.record.token(assertion, answer)
        elif answer.status == 503:
            self.later(answer)
        elif answer.reason != "replay":
            self.record.broke(f"a second use: {answer.status} {answer.body}")
        self.record.count("second uses")

    def rush(self, assertion, replicas):
        """One assertion at all replicas at once."""
        answers = []

        def ask(replica):
            try:
                answers.append(replica.exchange(assertion))
            except Lost:
                pass
        threads = [threading.Thread(target=ask, args=(replica,)) for replica in replicas]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for answer in answers:
            if answer.status == 200:
                self.record.token(assertion, answer)
            elif answer.status == 503:
                self.later(answer)
            elif answer.reason != "replay":
                self.record.broke(f"a use at all replicas: {answer.status} {answer.body}")
        if len(answers) == len(replicas) and all(answer.reason == "replay" for answer in answers):
            self.record.broke("all replicas refuse an assertion that none has used")
        self.record.count("uses at all replicas at once")

    def hang_up(self, assertion):
        """A caller that goes away in the middle of its request."""
        place = Place(self.installation.port)
        try:
            place.exchange(assertion, timeout=random.uniform(0.001, 0.02))
        except Lost:
            pass
        place.close()
        self.record.count("callers that hung up")


def settled(record, installation, final=False):
    """Looks the tokens up in the database: each has its audit event, and the record of the assertion that was used."""
    with record.lock:
        jtis, record.unchecked = record.unchecked, []
    for at in range(0, len(jtis), 2000):
        part = jtis[at:at + 2000]
        names = ",".join(f"('{jti}')" for jti in part)
        rows = installation.cluster.primary.sql(
            f"SELECT t.jti FROM (VALUES {names}) AS t(jti) WHERE NOT EXISTS (SELECT 1 FROM audit_event e JOIN consumed c "
            "ON c.event_id = e.id WHERE e.token_id = t.jti AND e.outcome = 'issued')", database="carnet")
        record.count("tokens found in the database", len(part) - len(rows))
        if record.loses:
            record.count("tokens that a failover lost from the database", len(rows))
            continue
        for jti in rows:
            record.broke(f"the token {jti} is lost: it has no audit event, or none of its assertions is remembered")
    if final:
        rows = installation.cluster.primary.sql(
            "SELECT count(*) FROM (SELECT assertion_jti FROM audit_event WHERE outcome = 'issued' AND assertion_jti IS NOT NULL "
            "GROUP BY trusted_issuer, assertion_jti HAVING count(*) > 1) AS twice", database="carnet")
        if record.loses:
            record.count("assertions with two tokens, by the audit log", int(rows[0]))
        elif rows != ["0"]:
            record.broke(f"{rows[0]} assertions gave two tokens, by the audit log")
