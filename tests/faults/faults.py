"""The faults. Each is a function of the stage; those that take the database away return how long full service took."""

import random
import subprocess
import threading
import time

from replicas import AUDIENCE, Lost, Place

# The faults by their sentence: how often each comes for each other one, and what it is.
FAULTS = {}
# How long full service may take, in seconds, once the database is back.
BACK_WITHIN = 2.0
# How long another replica may go without a change, in seconds.
SEEN_WITHIN = 1.0
# Longer than the deadline of requests and the wait for a lock, in seconds.
LONG_PAUSE = 25


def fault(sentence, weight):
    def listed(function):
        FAULTS[sentence] = (weight, function)
        return function
    return listed


# === replicas ===

@fault("a replica is killed (SIGKILL) and started again", 10)
def killed(stage):
    replica = random.choice(stage.replicas)
    replica.kill()
    time.sleep(random.uniform(0, 0.5))
    replica.start()
    replica.wait()


@fault("a replica is paused (SIGSTOP) for up to three seconds", 3)
def paused(stage):
    pause(stage, random.uniform(0.5, 3))


@fault("a replica is paused for longer than every deadline", 0.3)
def paused_long(stage):
    pause(stage, LONG_PAUSE)


def pause(stage, seconds):
    """What is decided while a replica sleeps holds when it wakes up, also for what it had begun."""
    sleeper, other = random.sample(stage.replicas, 2)
    used = stage.fresh()
    sleeper.signal("STOP")
    try:
        began = time.monotonic()
        answer = Place(other.port).exchange(used)
        if answer.status != 200:
            stage.record.broke(f"beside a replica that is paused: {answer.status} {answer.body}")
            return
        stage.record.token(used, answer)
        switch(stage, other, False)
        time.sleep(max(0, seconds - (time.monotonic() - began)))
    finally:
        sleeper.signal("CONT")
    try:
        refused(stage, Place(sleeper.port), "switched", "a rule that was switched off while the replica slept")
        again = Place(sleeper.port).exchange(used)
        if again.status == 200:
            stage.record.token(used, again)
    finally:
        switch(stage, other, True)


@fault("the replicas are restarted one after another (SIGTERM)", 1)
def rolling(stage):
    for replica in stage.replicas:
        replica.terminate()
        replica.start()
        replica.wait()


@fault("the replicas go from the earlier release to this one, one after another", 0.5)
def upgraded(stage):
    if not stage.previous:
        return False
    for binary in (stage.previous, None):
        for replica in stage.replicas:
            replica.terminate()
            replica.start(binary)
            replica.wait()
    return None


@fault("the connections between balancer and a replica are cut", 80)
def cut_replica(stage):
    stage.installation.cut(f"replicas/{random.choice(['one', 'two', 'three'])}")


# === what has to hold across replicas ===

def switch(stage, replica, enabled):
    for _ in range(40):
        try:
            answer = stage.installation.admin(replica, "PATCH", "federated-credentials/switched", {"enabled": enabled})
        except Lost:
            answer = None
        if answer and answer.status == 200:
            return
        time.sleep(0.25)
    raise RuntimeError(f"the rule cannot be switched: {answer and (answer.status, answer.body)}")


def refused(stage, place, rule, what):
    try:
        answer = place.exchange(stage.fresh(rule))
    except Lost:
        return
    if answer.status == 200:
        stage.record.broke(f"a token of {what}")


@fault("a rule is switched off at one replica while all are asked for its tokens", 30)
def switched_off(stage):
    one = random.choice(stage.replicas)
    acknowledged, stopped = [], threading.Event()

    def ask(port):
        place = Place(port)
        while not stopped.is_set():
            sent, assertion = time.monotonic(), stage.fresh("switched")
            try:
                answer = place.exchange(assertion)
            except Lost:
                continue
            if answer.status == 200:
                stage.record.token(assertion, answer)
                if acknowledged and sent > acknowledged[0]:
                    stage.record.broke("a token of a rule after it was switched off")
    threads = [threading.Thread(target=ask, args=(replica.port,)) for replica in stage.replicas]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.1)
        switch(stage, one, False)
        acknowledged.append(time.monotonic())
        time.sleep(0.2)
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    switch(stage, one, True)


@fault("a token is revoked through the balancer and shown at all replicas", 80)
def revoked(stage):
    installation = stage.installation
    token = stage.token(Place(installation.port))
    answer = Place(installation.port).form("/revoke", {"token": token}, installation.registry)
    if answer.status != 200:
        if answer.status != 503:
            stage.record.broke(f"/revoke: {answer.status} {answer.body}")
        return
    for replica in stage.replicas:
        told = Place(replica.port).form("/introspect", {"token": token}, installation.registry)
        if told.status == 200 and told.body != {"active": False}:
            stage.record.broke(f"replica {replica.number} shows a revoked token: {told.body}")


@fault("one DPoP proof at all replicas at once, with an assertion for each", 80)
def proof(stage):
    proof, answers = stage.installation.signer.proof(f"{AUDIENCE}/token"), []

    def ask(port):
        assertion = stage.fresh()
        try:
            answer = Place(port).exchange(assertion, {"dpop": proof})
        except Lost:
            return
        answers.append(answer.status)
        if answer.status == 200:
            stage.record.token(assertion, answer)
    threads = [threading.Thread(target=ask, args=(replica.port,)) for replica in stage.replicas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if answers.count(200) > 1:
        stage.record.broke(f"a DPoP proof was good for {answers.count(200)} tokens")


@fault("the signing key is rotated at one replica", 2)
def rotated(stage):
    one = random.choice(stage.replicas)
    answer = stage.installation.admin(one, "POST", "signing-keys/rotate")
    if answer.status != 200:
        stage.record.broke(f"the key is not rotated: {answer.status} {answer.body}")
        return
    time.sleep(SEEN_WITHIN)
    sets = [{key["kid"] for key in Place(replica.port).ask("GET", "/jwks").body["keys"]} for replica in stage.replicas]
    if any(keys != sets[0] for keys in sets):
        stage.record.broke("the replicas publish different keys a second after a rotation")
    for replica in stage.replicas:
        token = stage.token(Place(replica.port))
        for other in stage.replicas:
            told = Place(other.port).form("/introspect", {"token": token}, stage.installation.registry)
            if told.status == 200 and not told.body["active"]:
                stage.record.broke(f"replica {other.number} does not know a token of replica {replica.number} after a rotation")


# === the database ===

@fault("all connections are ended by PostgreSQL", 60)
def terminated(stage):
    stage.cluster.primary.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'carnet' AND pid <> pg_backend_pid()")
    return stage.full_service()


@fault("the connections between replicas and database are cut by the balancer", 60)
def cut_database(stage):
    for name in ("first", "second"):
        stage.installation.cut(f"postgresql/{name}")
    return stage.full_service()


@fault("the tables of the ledger are locked for a second", 4)
def locked(stage):
    stage.cluster.primary.sql("BEGIN; LOCK TABLE consumed IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(1); ROLLBACK", database="carnet")
    return stage.full_service()


@fault("PostgreSQL is restarted (fast)", 2)
def restarted_fast(stage):
    return restarted(stage, "fast")


@fault("PostgreSQL is restarted (immediate)", 2)
def restarted_immediate(stage):
    return restarted(stage, "immediate")


def restarted(stage, mode):
    stage.cluster.primary.stop(mode)
    time.sleep(random.choice([0, 0, 1, 4, 8]))
    stage.cluster.primary.start()
    return stage.full_service()


@fault("PostgreSQL is made read-only (default_transaction_read_only)", 2)
def read_only(stage):
    stage.cluster.primary.setting("default_transaction_read_only", "on")
    time.sleep(random.uniform(0.5, 4))
    stage.cluster.primary.setting("default_transaction_read_only", None)
    return stage.full_service()


@fault("PostgreSQL is frozen for five seconds", 1)
def frozen(stage):
    stage.cluster.primary.freeze(True)
    time.sleep(5)
    stage.cluster.primary.freeze(False)
    return stage.full_service()


@fault("the primary loses its power, and the standby is promoted", 1)
def failed_over(stage):
    stage.cluster.primary.kill()
    time.sleep(random.choice([0, 2]))
    stage.cluster.promote()
    stage.through_balancer()
    took = stage.full_service()
    stage.cluster.follow()
    return took


@fault("the primary stops answering without closing anything, and the standby is promoted", 1)
def failed_over_frozen(stage):
    former = stage.cluster.primary
    former.freeze(True)
    time.sleep(random.choice([0, 3]))
    stage.cluster.promote()
    stage.through_balancer()
    took = stage.full_service()
    former.kill()
    stage.cluster.follow()
    return took


@fault("the disk of the database is full", 1)
def full(stage):
    filler = stage.cluster.folder / "filler"
    if not stage.cluster.has_own_disk:
        return False
    with open(filler, "wb") as file:
        subprocess.run(["dd", "if=/dev/zero", "bs=64k"], stdout=file, stderr=subprocess.DEVNULL)
    time.sleep(random.uniform(1, 4))
    filler.unlink()
    # A PostgreSQL that finds no room for its log ends.
    for node in (stage.cluster.standby, stage.cluster.primary):
        if node.pg_ctl("status").returncode:
            node.start()
    return stage.full_service()
