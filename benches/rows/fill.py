"""Adds rows to a database that the server made, by SQL, in bulk: `benches/run --fill` runs it from `BENCH_FILL`.

The rows have the form and the size of those that the server writes: a used assertion is what a token leaves, and an audit
event has its part and its four index keys. The same SQL runs on SQLite and on PostgreSQL; functions with the same names
make ids and keys there.
"""

import dataclasses
import hashlib
import json
import os
import sqlite3
import subprocess
import time

DAY = 86_400_000
PLATFORM = "https://ci-{}.bench.invalid"
OWN_RULES = 5


@dataclasses.dataclass
class Rows:
    """How many rows to add. `jwk` is the public key of the added trusted issuers."""

    jwk: dict
    issuers: int = 0
    consumed: int = 0
    audit: int = 0
    stale_consumed: int = 0
    stale_audit: int = 0

    def bytes(self, database):
        """An estimate of the disk that they need in this database, with what sorting the index needs on the side."""
        event, assertion = (2_500, 150) if database == "SQLite" else (2_900, 200)
        return event * (self.audit + self.stale_audit) + assertion * (self.consumed + self.stale_consumed)


# Milliseconds since 1970 in the first 48 bits, as the server's ids have them.
POSTGRES_FUNCTIONS = """
CREATE FUNCTION bench_id(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT md5(n::text)::uuid $$;
CREATE FUNCTION bench_event_id(ms bigint, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
  $$ SELECT (lpad(to_hex(ms), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid $$;
CREATE FUNCTION bench_consumed_key(n bigint, step bigint) RETURNS bytea LANGUAGE sql IMMUTABLE AS
  $$ SELECT int8send(n * step) || substring(sha256(int8send(n)), 1, 24) $$;
CREATE FUNCTION bench_workload_key(name text) RETURNS bytea LANGUAGE sql IMMUTABLE AS
  $$ SELECT 'w'::bytea || substring(sha256(convert_to(name, 'UTF8')), 1, 8) $$;
CREATE FUNCTION bench_address_key(n bigint) RETURNS bytea LANGUAGE sql IMMUTABLE AS
  $$ SELECT 'a'::bytea || int4send((167772160 + n % 65536)::int) $$;
"""
DROP_FUNCTIONS = """
DROP FUNCTION bench_id, bench_event_id, bench_consumed_key, bench_workload_key, bench_address_key;
VACUUM ANALYZE;
"""
SERIES = {
    "sqlite": "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {0})",
    "postgres": "WITH series(n) AS (SELECT * FROM generate_series(1::bigint, {0}))",
}


def _event_id(ms, n):
    digest = hashlib.md5(str(n).encode(), usedforsecurity=False).hexdigest()
    return bytes.fromhex(f"{ms:012x}7{digest[:3]}8{digest[3:18]}")


def _sqlite_functions(connection):
    def digest(n):
        return hashlib.sha256(n.to_bytes(8, "big")).digest()

    functions = {
        "bench_id": (1, lambda n: hashlib.md5(str(n).encode(), usedforsecurity=False).digest()),
        "bench_event_id": (2, _event_id),
        "bench_consumed_key": (2, lambda n, step: (n * step).to_bytes(8, "big") + digest(n)[:24]),
        "bench_workload_key": (1, lambda name: b"w" + hashlib.sha256(name.encode()).digest()[:8]),
        "bench_address_key": (1, lambda n: b"a" + (167772160 + n % 65536).to_bytes(4, "big")),
    }
    for name, (count, function) in functions.items():
        connection.create_function(name, count, function, deterministic=True)


def _quoted(text):
    return "'" + text.replace("'", "''") + "'"


def own_credentials(jwk, now):
    """A trusted issuer whose key we have, and disabled rules of which each has a repository of its own."""
    document = json.dumps(_issuer(PLATFORM.format("own"), jwk))
    yield f"""INSERT INTO principal (id, name, name_folded, kind, external_id, enabled, version, created_at, updated_at)
        VALUES ('pr_own', 'bench-own', 'bench-own', 'user', 'own', TRUE, 1, {now}, {now})"""
    yield f"""INSERT INTO trusted_issuer
        (id, name, name_folded, issuer, enabled, document, version, created_at, updated_at)
        VALUES (bench_id(-1), 'bench-own', 'bench-own', {_quoted(PLATFORM.format("own"))}, TRUE, {_quoted(document)}, 1,
        {now}, {now})"""
    for n in range(OWN_RULES):
        yield from _credential(f"'own-{n}'", "'bench-own'", "'bench-own'", "FALSE", f"bench_id({-10 - n})", str(n), now, "")


def _issuer(url, jwk):
    keys = {"source": "static", "jwks": {"keys": [jwk]}}
    return {"profile": "github-actions", "issuer": url, "keys": keys, "enabled": True}


def _credential(name, principal, issuer, enabled, identity, n, now, source):
    """A rule with its permission, as the population of `benches/support/mod.rs` has them."""
    number = f"CAST({n} AS text)"
    matcher = (
        f"""'{{"repository":"organisation-' || {number} || '/repository-' || {number} """
        """|| '","workflow_file":"release.yml","environment":"release"}'"""
    )
    pinned = (
        f"""'{{"repository_owner_id":"' || CAST(1000 + {n} AS text) || '","repository_id":"' """
        f"""|| CAST(5000 + {n} AS text) || '"}}'"""
    )
    yield f"""INSERT INTO federated_credential (id, name, name_folded, principal, trusted_issuer, consent, pinned, matcher,
        enabled, revision, version, created_at, updated_at)
        {source} SELECT {identity}, {name}, {name}, {principal}, {issuer}, 'vouched', {pinned}, {matcher},
        {enabled}, 1, 1, {now}, {now} {"FROM series" if source else ""}"""
    yield f"""INSERT INTO permission (credential_id, position, resource_server, actions, packages, require_sender_constraint)
        {source} SELECT {identity}, 0, 'registry', '["publish"]', '["package-' || {number} || '"]', FALSE
        {"FROM series" if source else ""}"""


def issuers(series, jwk, now):
    """Trusted issuers with a rule each."""
    before, after = json.dumps(_issuer("https://ci-#.bench.invalid", jwk)).split("#")
    yield f"""INSERT INTO trusted_issuer
        (id, name, name_folded, issuer, enabled, document, version, created_at, updated_at)
        {series} SELECT bench_id(n), 'ci-' || n, 'ci-' || n, 'https://ci-' || n || '.bench.invalid', TRUE,
        {_quoted(before)} || n || {_quoted(after)}, 1, {now}, {now} FROM series"""
    yield from _credential("'ci-' || n", "'owner-0'", "'ci-' || n", "TRUE", "bench_id(n)", "n", now, series)


def consumed(series, count, newest, groups, now):
    """Used assertions that expired in groups of ten minutes, the last of them `newest` after now."""
    rounded = now // 600_000 * 600_000 + newest
    yield f"""INSERT INTO consumed (key, expires_at, event_id)
        {series} SELECT bench_consumed_key(n, {2**62 // count}), {rounded} - (n % {groups}) * 600000, bench_id(n)
        FROM series"""


def audit(series, count, first, last):
    """Audit events of issued tokens, evenly from the time `first` to the time `last`, with their index."""
    ms = f"({first} + n * {(last - first) / count:.3f})"
    ident = f"bench_event_id(CAST({ms} AS bigint), n)"
    number, repository = "CAST(n % 100000 AS text)", "'organisation-' || {0} || '/repository-' || {0}"
    repository = repository.format(number)
    claims = (
        """{"environment":"release","event_name":"push","job_workflow_sha":"1a2b3c4d1a2b3c4d1a2b3c4d1a2b3c4d1a2b3c4d","""
        """"ref":"refs/heads/main","repository_visibility":"public","run_attempt":"1","run_id":"9001","""
        """"runner_environment":"github-hosted","sha":"1a2b3c4d1a2b3c4d1a2b3c4d1a2b3c4d1a2b3c4d","actor_id":"12","""
        """"ref_protected":"true","ref_type":"branch","workflow":"Release","repository_id":"5000","repository_owner_id":"1000","""
        """"workflow_sha":"1a2b3c4d1a2b3c4d1a2b3c4d1a2b3c4d1a2b3c4d","repository_owner":"organisation-7","repository":"""
    )
    start = """{"grant_type":"urn:ietf:params:oauth:grant-type:jwt-bearer","workload":{"profile":"github-actions","claims":"""
    detail = (
        f"""{_quoted(start + claims + '"')} || {repository} || '","job_workflow_ref":"' || {repository} """
        f"""|| '/.github/workflows/release.yml@refs/heads/main","workflow_ref":"' || {repository} """
        f"""|| '/.github/workflows/release.yml@refs/heads/main"}},"sub":"repo:' || {repository} || ':environment:release",'"""
        f"""|| '"iss":"https://token.actions.githubusercontent.com","proof":"bearer"}},"scope":"publish",'"""
        """|| '"expires_at":"2026-11-29T21:14:11Z","credentials":[{"credential":"fc_1TFKYA878CP9MJBZ7Q2M0W17XD","revision":1}],'"""
        f"""|| '"workload_url":"https://github.com/' || {repository} || '/actions/runs/9001/attempts/1"}}'"""
    )
    yield f"""INSERT INTO audit_event (id, outcome, trusted_issuer, credential_id, principal, resource, client_id, token_id,
        address, detail, assertion_digest, assertion_jti, parts, workload)
        {series} SELECT {ident}, 'issued', 'github', bench_id(n), 'owner-' || (n % 100), 'https://registry.bench.invalid/',
        'federated:fc_1TFKYA878CP9MJBZ7Q2M0W17XD', '01a2291a-cadf-7a16-a7a0-cf0a1f9b1511', '10.0.0.1', {detail},
        'eJSprjG11t9eMR74nWrPijkkiA_-1sOW-I0osM_GzMA', '2cb16554-b86f-99f6-ac5b-9a874d580cd8',
        '[["pr_' || (n % 100) || '","fc_1TFKYA878CP9MJBZ7Q2M0W17XD",1,true]]',
        '["' || {repository} || '","' || {number} || '","repo:' || {repository} || ':environment:release"]' FROM series"""
    yield f"""INSERT INTO audit_part (principal_id, event_id, position, credential_id, sees_claims)
        {series} SELECT 'pr_' || (n % 100), {ident}, 0, bench_id(n), TRUE FROM series ORDER BY 1, 2"""
    names = [repository, number, f"'repo:' || {repository} || ':environment:release'"]
    for key in [*(f"bench_workload_key({name})" for name in names), "bench_address_key(n)"]:
        yield f"INSERT INTO audit_key (key, event_id) {series} SELECT {key}, {ident} FROM series ORDER BY 1, 2"
    # Without it the server would index these events again.
    yield f"UPDATE audit_watermark SET up_to = bench_event_id({last}, {count})"


def statements(kind, rows):
    """The statements that add `rows`, for "sqlite" or "postgres"."""
    now = int(time.time() * 1000)
    series = SERIES[kind].format
    yield from own_credentials(rows.jwk, now)
    if rows.issuers:
        yield from issuers(series(rows.issuers), rows.jwk, now)
    if rows.consumed:
        # Kept: the server removes them 24 hours after they expired.
        yield from consumed(series(rows.consumed), rows.consumed, 3_000_000, 138, now)
    if rows.stale_consumed:
        yield from consumed(series(rows.stale_consumed), rows.stale_consumed, -25 * 3_600_000, 6, now)
    if rows.stale_audit:
        yield from audit(series(rows.stale_audit), rows.stale_audit, now - 405 * DAY, now - 401 * DAY)
    if rows.audit:
        yield from audit(series(rows.audit), rows.audit, now - 390 * DAY, now - 3_600_000)


def fill(url, rows):
    """Adds `rows` to the database of this URL, which nothing else uses."""
    if url.startswith("sqlite://"):
        connection = sqlite3.connect(url.removeprefix("sqlite://"), isolation_level=None)
        _sqlite_functions(connection)
        for pragma in ["journal_mode = DELETE", "journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000"]:
            connection.execute(f"PRAGMA {pragma}")
        for statement in statements("sqlite", rows):
            connection.execute(statement)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
        return
    script = POSTGRES_FUNCTIONS + ";\n".join(statements("postgres", rows)) + ";\n" + DROP_FUNCTIONS
    subprocess.run(["psql", "-q", "-v", "ON_ERROR_STOP=1", url], input=script, text=True, check=True)


def fill_from_environment(text):
    """What `BENCH_FILL` runs."""
    fill(os.environ["DATABASE_URL"], Rows(**json.loads(text)))
