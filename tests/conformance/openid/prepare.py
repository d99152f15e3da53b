#!/usr/bin/env python3
"""Makes keys, and writes what the suite and Carnet have to know of each other: prepare.py FOLDER CLIENT_AUTH SENDER_CONSTRAIN PORTS FAPI2

FOLDER/suite.json   the configuration of the test plan
FOLDER/apply.json   the objects for `carnet apply`
FOLDER/client*.pem  certificates of the clients, for the resource's listener
"""

import base64
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from checks import keys

folder, client_auth, sender_constrain, ports, fapi2 = sys.argv[1:]
folder = pathlib.Path(folder)
issuer, resource = f"https://localhost:{ports}0", f"https://localhost:{ports}2/"
METHODS = {"private_key_jwt": "private_key_jwt", "mtls": "self_signed_tls_client_auth"}
BOUND = {"dpop": "dpop_bound_access_tokens", "mtls": "tls_client_certificate_bound_access_tokens"}


def pem(label, der):
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n"


def private_key(key):
    """RFC 5915: a key of P-256 in DER."""
    d, x, y = (keys.unb64(key[name]) for name in "dxy")
    curve = bytes.fromhex("a00a06082a8648ce3d030107")
    return pem("EC PRIVATE KEY", bytes.fromhex("30770201010420") + d + curve + bytes.fromhex("a14403420004") + x + y)


def certificate(name, key):
    """A certificate that the client signs itself, and its key, as PEM."""
    key_file, file = folder / f"{name}-key.pem", folder / f"{name}.pem"
    key_file.write_text(private_key(key))
    command = ["openssl", "req", "-x509", "-new", "-days", "2", "-key", key_file, "-subj", f"/CN={name}", "-out", file]
    subprocess.run(command, check=True, capture_output=True)
    return file.read_text(), key_file.read_text()


def rsa_for_suite(key):
    """Java wants what can be computed from the other members too (RFC 7518 section 6.3.2)."""
    d, p, q = (keys.number(key[name]) for name in "dpq")
    further = {"dp": d % (p - 1), "dq": d % (q - 1), "qi": pow(q, -1, p)}
    return key | {name: keys.b64(keys.octets(value)) for name, value in further.items()}


def client(name, key):
    """The same client as the suite, the configuration of its certificate, and Carnet see it."""
    key = {**key, "kid": name, "use": "sig", "alg": "PS256" if key["kty"] == "RSA" else "ES256"}
    tls_key = keys.new_ec()
    cert, cert_key = certificate(name, tls_key)
    public = keys.public(key)
    if fapi2 == "yes":
        # RS256 is refused for what `fapi2` says, not for what the key says.
        del public["alg"]
    if client_auth == "mtls":
        body = "".join(line for line in cert.splitlines() if not line.startswith("-"))
        public = {**keys.public(tls_key), "kid": name, "x5c": [body]}
    permission = {"resource_server": "registry", "actions": ["create", "publish"], "packages": ["widgets"], "owner": "acme"}
    registered = {"auth_method": METHODS[client_auth], "jwks": {"keys": [public]}, "permissions": [permission]}
    registered[BOUND[sender_constrain]] = True
    if fapi2 == "yes":
        registered["fapi2"] = True
    private = rsa_for_suite(key) if key["kty"] == "RSA" else key
    seen_by_suite = {"client_id": name, "scope": "create publish", "jwks": {"keys": [private]}, "dpop_signing_alg": key["alg"]}
    return seen_by_suite, {"cert": cert, "key": cert_key}, registered


# The suite tries RS256 only for a client with an RSA key. It takes the algorithm of proofs that the server lists first, if the server
# does not list that of the client.
first, first_tls, first_registered = client("client-one", keys.new_rsa())
second, second_tls, second_registered = client("client-two", keys.new_ec())
configuration = {
    "description": "Carnet",
    "server": {"discoveryUrl": f"{issuer}/.well-known/oauth-authorization-server"},
    "client": first,
    "client2": second,
    # relay.py makes an upload of it. The method has to be one that is not PUT: a proof for PUT is a negative test.
    "resource": {"resourceUrl": f"{resource}legacy/", "resourceMethod": "POST"},
}
if "mtls" in (client_auth, sender_constrain):
    configuration |= {"mtls": first_tls, "mtls2": second_tls}
objects = {
    "principals": {"acme": {"kind": "organization"}},
    "resource_servers": {"registry": {"resource": resource, "actions": ["create", "publish"], "package_names": "pep503"}},
    "clients": {"client-one": first_registered, "client-two": second_registered},
}
(folder / "suite.json").write_text(json.dumps(configuration, indent=1))
(folder / "apply.json").write_text(json.dumps(objects, indent=1))
