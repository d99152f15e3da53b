#!/usr/bin/env python3
"""Stands before the example registry with TLS: relay.py PORT REGISTRY_PORT CERTIFICATE KEY [CLIENT_CERTIFICATES]

The suite calls a protected resource, but cannot make an upload. The relay leaves its requests as they are, with token and proof,
and puts an upload of a new version of `widgets` in the place of the body. The registry verifies, decides and stores.

With CLIENT_CERTIFICATES the relay asks for a certificate and takes these; the registry gets it in `Client-Cert` (RFC 9440).
"""

import base64
import gzip
import hashlib
import http.client
import http.server
import io
import itertools
import ssl
import sys
import tarfile

port, registry_port, certificate, key = sys.argv[1:5]
client_certificates = sys.argv[5:]
numbers = itertools.count(1)
HOP_BY_HOP = ("connection", "content-length", "content-type", "keep-alive", "te", "transfer-encoding", "upgrade", "client-cert")


def sdist(version):
    stem = f"widgets-{version}"
    about = f"Metadata-Version: 2.1\nName: widgets\nVersion: {version}\n".encode()
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo(f"{stem}/PKG-INFO")
        member.size = len(about)
        archive.addfile(member, io.BytesIO(about))
    return f"{stem}.tar.gz", gzip.compress(plain.getvalue())


def upload():
    """The form of PyPI's upload (content type, body)."""
    version = f"1.{next(numbers)}"
    name, content = sdist(version)
    fields = {
        ":action": "file_upload", "protocol_version": "1", "metadata_version": "2.1", "name": "widgets", "version": version,
        "filetype": "sdist", "pyversion": "source", "sha256_digest": hashlib.sha256(content).hexdigest(),
    }
    parts = [f'--part\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    last = f'--part\r\nContent-Disposition: form-data; name="content"; filename="{name}"\r\n\r\n'
    return "multipart/form-data; boundary=part", "".join([*parts, last]).encode() + content + b"\r\n--part--\r\n"


class Relay(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content_type, body = upload()
        registry = http.client.HTTPConnection("127.0.0.1", int(registry_port), timeout=30)
        registry.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in HOP_BY_HOP:
                registry.putheader(name, value)
        presented = self.connection.getpeercert(binary_form=True)
        if presented:
            registry.putheader("Client-Cert", f":{base64.b64encode(presented).decode()}:")
        registry.putheader("Content-Type", content_type)
        registry.putheader("Content-Length", str(len(body)))
        registry.endheaders(body)
        response = registry.getresponse()
        content = response.read()
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        registry.close()

    do_GET = do_POST = do_PUT = answer


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = ssl.TLSVersion.TLSv1_2
context.set_ciphers("ECDHE+AESGCM")
context.load_cert_chain(certificate, key)
for file in client_certificates:
    context.load_verify_locations(file)
    context.verify_mode = ssl.CERT_OPTIONAL


class Server(http.server.ThreadingHTTPServer):
    def get_request(self):
        connection, address = super().get_request()
        # The handshake is made by the thread of the connection, at its first read.
        return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def finish_request(self, request, client_address):
        request.settimeout(60)
        request.do_handshake()
        super().finish_request(request, client_address)

    def handle_error(self, request, client_address):
        # The suite tries versions and ciphers of TLS that are refused.
        print(f"relay: {sys.exception() if hasattr(sys, 'exception') else sys.exc_info()[1]!r}", file=sys.stderr)


Server(("127.0.0.1", int(port)), Relay).serve_forever()
