"""The platforms whose assertions are presented: their keys, and the server with their discovery documents.

Each platform is an issuer of its own, `<origin>/<name>`. `main` is the good one; the others are good or faulty in one way.
"""

import http.server
import json
import os
import threading
import time

from . import keys

# name: what is special about it
PLATFORMS = {
    "main": "the platform of the good request",
    "other": "a second trusted platform with another key",
    "evil": "a platform that the server does not trust",
    "insertion": "publishes at the place of RFC 8414 only",
    "mismatch": "its discovery document names another issuer",
    "file-keys": "its jwks_uri is a file: URL",
    "redirect": "its keys are redirected to another host",
    "big": "its key set has 10 MiB",
    "slow": "its key set comes by a byte a second",
    "down": "its keys cannot be fetched",
    "unknown-kid": "its keys are asked for by key ids that it does not have",
    "rotating": "changes its key while the server runs",
    "broken-keys": "its set has broken keys beside the good one",
    "no-keys": "its set has no member keys",
    "duplicate-keys": "its set has the member keys twice",
    "short": "optional: tokens for it expire with their assertion",
}
MEBIBYTE = 1 << 20


class Platform:
    def __init__(self, name, issuer, material):
        self.name, self.issuer = name, issuer
        self.key = material["key"]
        self.extra = {label: key for label, key in material.items() if label != "key"}

    @property
    def algorithm(self):
        return "RS256" if self.key["kty"] == "RSA" else "ES256"

    def jwks(self):
        own = {**keys.public(self.key), "use": "sig", "alg": self.algorithm}
        if self.name != "broken-keys":
            return {"keys": [own]}
        good = keys.public(self.key)
        off_curve = {**keys.public(self.extra["other_ec"]), "kid": "off-curve", "y": good["x"]}
        return {
            "keys": [
                {"kty": "OKP2", "kid": "unknown-type", "crv": "None"},
                {"kty": "RSA", "kid": "no-modulus", "e": "AQAB"},
                {**keys.public(self.extra["small"]), "kid": "small"},
                off_curve,
                {**good, "kid": "for-encryption", "use": "enc"},
                {**good, "kid": "other-algorithm", "alg": "ES384"},
                {**good, "kid": "other-operation", "key_ops": ["deriveBits"]},
                own,
            ]
        }


def new_material(name):
    """Private keys of one platform."""
    key = keys.new_rsa() if name in ("main", "evil") else keys.new_ec()
    material = {"key": {**key, "kid": f"{name}-1"}}
    if name == "rotating":
        material["next"] = {**keys.new_ec(), "kid": "rotating-2"}
    if name == "broken-keys":
        material["small"], material["other_ec"] = keys.new_rsa(1024), keys.new_ec()
    return material


def load_keys(path, names):
    """The private keys in the file; those that are missing are made and written."""
    store = json.loads(path.read_text()) if path.exists() else {}
    missing = [name for name in names if name not in store]
    if missing:
        store |= {name: new_material(name) for name in missing}
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump(store, out, indent=1)
    return store


class PlatformServer:
    """Discovery documents and key sets over HTTP. `requests` counts what was asked for, by path."""

    def __init__(self, listen, platforms, folder):
        self.platforms, self.folder = platforms, folder
        self.requests, self.lock, self.closing = [], threading.Lock(), threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                with outer.lock:
                    outer.requests.append((self.headers.get("Host", ""), self.path))
                try:
                    outer.answer(self)
                except ConnectionError:
                    pass  # the server under test gave up, which is its right

            def log_message(self, *_):
                pass

        host, _, port = listen.rpartition(":")
        self.server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.closing.set()
        self.server.shutdown()

    def count(self, part):
        with self.lock:
            return sum(part in path for _, path in self.requests)

    def answer(self, handler):
        prefix, path = "/.well-known/", handler.path
        if path.startswith(prefix):
            kind, _, name = path.removeprefix(prefix).partition("/")
            if name == "insertion" and kind == "oauth-authorization-server":
                return self.send(handler, self.document(self.platforms[name]))
            return self.send(handler, {}, 404)
        name, _, rest = path.removeprefix("/").partition("/")
        platform = self.platforms.get(name)
        if platform and rest == ".well-known/openid-configuration" and name != "insertion":
            return self.send(handler, self.document(platform))
        if platform and rest == "jwks":
            return self.send_keys(handler, platform)
        return self.send(handler, {}, 404)

    def document(self, platform):
        issuer = platform.issuer + ("/" if platform.name == "mismatch" else "")
        jwks_uri = f"{platform.issuer}/jwks"
        if platform.name == "file-keys":
            path = self.folder / "file-keys.json"
            path.write_text(json.dumps(platform.jwks()))
            jwks_uri = f"file://{path.resolve()}"
        # What the platform says of itself must not widen what the server accepts.
        algorithms = ["none", "HS256", platform.algorithm]
        return {
            "issuer": issuer,
            "jwks_uri": jwks_uri,
            "authorization_endpoint": f"{platform.issuer}/authorize",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        }

    def send_keys(self, handler, platform):
        name, text = platform.name, json.dumps(platform.jwks())
        if name == "down":
            return self.send(handler, {}, 500)
        if name == "redirect":
            port = self.server.server_address[1]
            handler.send_response(302)
            handler.send_header("Location", f"http://localhost:{port}/redirect-target/jwks")
            handler.send_header("Content-Length", "0")
            return handler.end_headers()
        if name == "no-keys":
            text = json.dumps({"key": platform.jwks()["keys"]})
        if name == "duplicate-keys":
            text = '{"keys":[],' + text.removeprefix("{")
        if name == "big":
            text = text.removesuffix("}") + ',"x":"' + "x" * (10 * MEBIBYTE) + '"}'
        if name == "slow":
            return self.drip(handler, text)
        return self.send(handler, text)

    def drip(self, handler, text):
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        for letter in text.encode():
            handler.wfile.write(bytes([letter]))
            handler.wfile.flush()
            if self.closing.wait(1):
                return

    def send(self, handler, body, status=200):
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)


def now():
    return int(time.time())
