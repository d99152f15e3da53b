"""1.6 and 1.7: lines about features, which hold where the feature is there."""

import socket
import ssl
import urllib.parse

from . import keys
from .harness import MUST, Skip, check

# member of the metadata: what has to be there with it
NEEDS = {
    "code_challenge_methods_supported": "authorization_endpoint",
    "authorization_response_iss_parameter_supported": "authorization_endpoint",
    "require_pushed_authorization_requests": "authorization_endpoint",
    "introspection_signing_alg_values_supported": "introspection_endpoint",
}


@check("RFC8414-2-12", MUST, "members of extensions are there if, and only if, the extension works")
def extensions(t):
    for name, other in NEEDS.items():
        if t.metadata.get(name):
            t.expect(other in t.metadata, f"{name} without {other}")
    answer = t.ask(headers={"DPoP": t.proof(t.token_endpoint)})
    works = answer.json.get("token_type", "").lower() == "dpop"
    listed = t.metadata.get("dpop_signing_alg_values_supported", [])
    t.expect(works == bool(listed), f"DPoP works: {works}; dpop_signing_alg_values_supported: {listed}")
    kinds = t.metadata.get("authorization_details_types_supported", [])
    answer = t.ask(authorization_details='[{"type":"https://x.example/no-such-type"}]')
    if kinds:
        t.refused(answer, "an unknown type of authorization_details", "invalid_authorization_details")


@check("RFC8414-6.1-1", MUST, "TLS is version 1.2 or newer")
def tls_version(t):
    url = urllib.parse.urlsplit(t.metadata_url)
    if url.scheme != "https":
        raise Skip("the server under test speaks no TLS")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection((url.hostname, url.port or 443), 10) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=url.hostname) as secured:
                t.expect(False, f"the server speaks {secured.version()}")
        except ssl.SSLError as error:
            if "NO_PROTOCOLS" in str(error) or "no protocols available" in str(error):
                raise Skip("this machine cannot speak TLS 1.1") from error
        except ConnectionError:
            pass


@check("RFC7515-4.1.9-1", MUST, "`typ` is compared as a media type: any case, `application/` or not")
def media_type(t):
    kind = t.config.get("assertion", {}).get("typ", "JWT")
    for spelled in (kind.lower(), kind.upper(), f"application/{kind}"):
        t.granted(t.ask(t.assertion(header={"typ": spelled})), f"typ={spelled}")


@check("RFC7638-3-1", MUST, "the thumbprint of a bound token is that of the key")
def thumbprint(t):
    answer = t.ask(headers={"DPoP": t.proof(t.token_endpoint)})
    if answer.json.get("token_type", "").lower() != "dpop":
        raise Skip("the server binds no token to the key of a DPoP proof")
    jkt = answer.claims.get("cnf", {}).get("jkt")
    t.expect(jkt == keys.thumbprint(t.dpop_key), f"cnf.jkt is {jkt}, the key's thumbprint {keys.thumbprint(t.dpop_key)}")
