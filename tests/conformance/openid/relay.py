#!/usr/bin/env python3
"""Stands before the example registry: relay.py PORT REGISTRY_PORT CERTIFICATE KEY [CLIENT_CERTIFICATE...]

The suite calls a protected resource, but cannot make an upload. The relay leaves its requests as they are, with token and proof,
and puts an upload of a new version of `widgets` in the place of the body. The registry verifies, decides and stores.

With CLIENT_CERTIFICATEs the relay asks for a certificate. It shows the registry the same one: the key of `client.pem` is in
`client-key.pem`.
"""

import gzip
import hashlib
import http.client
import http.server
import io
import itertools
import pathlib
import ssl
import sys
import tarfile

port, registry_port, certificate, key = sys.argv[1:5]
client_certificates = [pathlib.Path(file) for file in sys.argv[5:]]
numbers = itertools.count(1)
HOP_BY_HOP = ("connection", "content-length", "content-type", "keep-alive", "te", "transfer-encoding", "upgrade")


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


def towards_registry(shown):
    """The TLS of a connection to the registry, for a client that showed this certificate."""
    context = ssl.create_default_context(cafile=certificate)
    for file in client_certificates:
        if shown == ssl.PEM_cert_to_DER_cert(file.read_text()):
            context.load_cert_chain(file, file.with_name(f"{file.stem}-key.pem"))
    return context


class Relay(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content_type, body = upload()
        context = towards_registry(self.connection.getpeercert(binary_form=True))
        registry = http.client.HTTPSConnection("localhost", int(registry_port), timeout=30, context=context)
        registry.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in HOP_BY_HOP:
                registry.putheader(name, value)
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
        print(f"relay: {sys.exception()!r}", file=sys.stderr)


Server(("127.0.0.1", int(port)), Relay).serve_forever()
