"""Takes uploads over HTTP and keeps the packages in memory: python serve.py ISSUER RESOURCE"""

import contextlib
import hashlib
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from carnet_tokens import Verifier
from registry import upload


class Packages:
    """In your registry this is the database."""

    def __init__(self):
        self.lock, self.packages = threading.Lock(), {}

    @contextlib.contextmanager
    def transaction(self):
        with self.lock:
            yield

    def owners(self, key):
        return self.packages[key]["owners"] if key in self.packages else None

    def may_act_for(self, principal, owner):
        return principal == owner  # or whether the principal is a member of the owner's organization

    def store(self, key, version, digest, owner):
        package = self.packages.setdefault(key, {"owners": [owner], "versions": {}})
        package["versions"][version] = digest  # a real registry refuses a version that exists


class Handler(BaseHTTPRequestHandler):
    def do_PUT(self):
        name, version = self.path.removeprefix("/packages/").split("/")
        artifact = self.rfile.read(int(self.headers["Content-Length"]))
        digest = "sha256:" + hashlib.sha256(artifact).hexdigest()
        status, headers, body = upload(verifier, packages, self.headers["Authorization"], name, version, digest)
        self.send_response(status)
        for header in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body.encode() + b"\n")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    verifier, packages = Verifier(*sys.argv[1:]), Packages()
    ThreadingHTTPServer(("127.0.0.1", 8100), Handler).serve_forever()
