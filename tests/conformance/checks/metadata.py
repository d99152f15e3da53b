"""1.6, publishing: the server's metadata (RFC 8414) and key set."""

import urllib.parse

from . import keys
from .harness import JWT_BEARER, MAY, MUST, SHOULD, TOKEN_EXCHANGE, Skip, check

SECRET_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


def loopback(url):
    return urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")


def public_url(t, url, what):
    parts = urllib.parse.urlsplit(url)
    secure = parts.scheme == "https" or (parts.scheme == "http" and loopback(url) and loopback(t.issuer))
    t.expect(secure and parts.netloc, f"{what} is {url}")


@check("RFC8414-2-1", MUST, "`issuer` is a URL with https, without query and fragment")
def issuer(t):
    issuer = t.metadata.get("issuer", "")
    public_url(t, issuer, "issuer")
    t.expect("?" not in issuer and "#" not in issuer, f"issuer is {issuer}")


@check("RFC8414-2-2", MUST, "`token_endpoint` is there")
def token_endpoint(t):
    public_url(t, t.metadata.get("token_endpoint", ""), "token_endpoint")


@check("RFC8414-2-3", MUST, "`authorization_endpoint` is there if a grant uses it")
def authorization_endpoint(t):
    grants = t.metadata.get("grant_types_supported", ["authorization_code", "implicit"])
    if {"authorization_code", "implicit"} & set(grants):
        t.expect("authorization_endpoint" in t.metadata, "no authorization_endpoint, and a grant that uses it")


@check("RFC8414-2-4", MUST, "`jwks_uri` is a URL with https, and its keys can be told apart")
def jwks_uri(t):
    public_url(t, t.metadata.get("jwks_uri", ""), "jwks_uri")
    jwks = t.get(t.metadata["jwks_uri"]).json.get("keys")
    if t.expect(isinstance(jwks, list) and jwks, "no keys"):
        uses = {key.get("use") for key in jwks}
        t.expect(uses == {"sig"} or len(uses) == 1 or None not in uses, f"use: {uses}")


@check("RFC8414-2-4", MUST, "each key has use=sig, kid and alg", basis="own")
def key_members(t):
    for key in t.get(t.metadata["jwks_uri"]).json["keys"]:
        t.expect(key.get("use") == "sig" and key.get("kid") and key.get("alg"), f"a key with {sorted(key)}")


@check("RFC8414-2-5", MUST, "`response_types_supported` is there")
def response_types(t):
    t.expect(isinstance(t.metadata.get("response_types_supported"), list), "no response_types_supported")


@check("RFC8414-2-6", MUST, "each grant that is listed works, and the grants of this plan are listed")
def grant_types(t):
    listed = t.metadata.get("grant_types_supported", [])
    urns = {"jwt-bearer": JWT_BEARER, "token-exchange": TOKEN_EXCHANGE}
    for grant in t.grants():
        t.expect(urns[grant] in listed, f"{grant} works and is not listed")
    for grant in listed:
        answer = t.send({"grant_type": grant})
        t.expect(answer.error != "unsupported_grant_type", f"{grant} is listed and is {answer.error}")
    for grant in ("password", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"):
        if grant not in listed:
            t.expect(not t.send({"grant_type": grant}).token, f"{grant} is not listed and works")


@check("RFC8414-2-7", MUST, "the methods of client authentication that are listed work")
def auth_methods(t):
    listed = t.metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    clients = t.config.get("clients", {})
    if "client_id" not in t.common() and t.ask().token:
        t.expect("none" in listed, f"a request without a client works, and `none` is not listed: {listed}")
    if "basic" in clients and "client_secret_basic" in listed:
        t.granted(t.ask(headers=t.basic("basic")), "client_secret_basic")
    if "jwt" in clients and "private_key_jwt" in listed:
        t.granted(t.ask(**t.client_fields(t.client_assertion(clients["jwt"]["id"]))), "private_key_jwt")
    if "post" in clients and "client_secret_post" in listed:
        client, secret = t.secret("post")
        t.granted(t.ask(client_id=client, client_secret=secret), "client_secret_post")


@check("RFC8414-2-8", MUST, "algorithms for client assertions are listed, without `none`, and no other one is taken")
def auth_algorithms(t):
    if "private_key_jwt" not in t.metadata.get("token_endpoint_auth_methods_supported", []):
        raise Skip("private_key_jwt is not listed")
    listed = t.metadata.get("token_endpoint_auth_signing_alg_values_supported")
    if t.expect(isinstance(listed, list) and listed, "no list of algorithms"):
        t.expect("none" not in listed, "`none` is listed")
    client = t.jwt_client()
    unlisted = t.client_assertion(client, {"alg": "HS256"}).rpartition(".")[0]
    forged = unlisted + "." + keys.b64(keys.sign("HS256", {"k": b"secret"}, unlisted.encode()))
    t.refused(t.ask(**t.client_fields(forged)), "a client assertion with HS256", "invalid_client")


@check("RFC8414-2-9", SHOULD, "`scopes_supported` is there, and has the scopes of this plan")
def scopes(t):
    listed = t.metadata.get("scopes_supported")
    if t.expect(isinstance(listed, list), "no scopes_supported"):
        missing = set(t.config.get("scopes", {}).get("granted", [])) - set(listed)
        t.expect(not missing, f"granted and not listed: {missing}")


@check("RFC8414-2-10", MUST, "introspection and revocation list their methods, and the algorithms of JWT methods")
def other_endpoints(t):
    for name in ("introspection", "revocation"):
        if f"{name}_endpoint" not in t.metadata:
            continue
        public_url(t, t.metadata[f"{name}_endpoint"], f"{name}_endpoint")
        methods = t.metadata.get(f"{name}_endpoint_auth_methods_supported", [])
        if {"private_key_jwt", "client_secret_jwt"} & set(methods):
            algorithms = t.metadata.get(f"{name}_endpoint_auth_signing_alg_values_supported")
            t.expect(algorithms and "none" not in algorithms, f"{name}: {methods}, and algorithms {algorithms}")


@check("RFC8414-2-11", MAY, "URLs of documentation, policies and registration are URLs")
def documents(t):
    for name in ("service_documentation", "op_policy_uri", "op_tos_uri", "registration_endpoint"):
        if name in t.metadata:
            public_url(t, t.metadata[name], name)


@check("RFC8414-3-1", MUST, "the well-known part stands between host and path of the issuer")
def place(t):
    if not urllib.parse.urlsplit(t.issuer).path.strip("/"):
        raise Skip("the issuer has no path")
    answer = t.get(t.metadata_url)
    t.expect(answer.status == 200 and answer.json.get("issuer"), f"{t.metadata_url}: {answer.status}")


@check("RFC8414-3.1-1", MUST, "metadata are answered on GET")
def get(t):
    t.expect(t.get(t.metadata_url).status == 200, f"GET {t.metadata_url}: {t.get(t.metadata_url).status}")


@check("RFC8414-3.1-1", MUST, "POST to the metadata is 405", basis="own")
def no_post(t):
    answer = t.send({}, url=t.metadata_url)
    t.expect(answer.status == 405, f"POST: {answer.status}")


@check("RFC8414-3.2-1", MUST, "metadata are 200 with application/json")
def media_type(t):
    answer = t.get(t.metadata_url)
    kind = answer.headers.get("Content-Type", "")
    t.expect(answer.status == 200 and kind.startswith("application/json"), f"{answer.status}, {kind}")


@check("RFC8414-3.2-2", MUST, "lists without elements are left out")
def no_empty_lists(t):
    empty = [name for name, value in t.metadata.items() if value == [] and name != "response_types_supported"]
    t.expect(not empty, f"empty: {empty}")


@check("RFC8414-3.3-1", MUST, "`issuer` is the configured one, whatever the Host header says")
def same_issuer(t):
    t.expect(t.metadata.get("issuer") == t.issuer, f"issuer is {t.metadata.get('issuer')}")
    for headers in ({"Host": "evil.example"}, {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}):
        answer = t.get(t.metadata_url, headers=headers)
        if answer.status == 200:
            t.expect(answer.json.get("issuer") == t.issuer, f"with {headers}: {answer.json.get('issuer')}")


@check("RFC8414-2.1-1", MAY, "signed metadata, if there are any, are the server's own")
def signed_metadata(t):
    signed = t.metadata.get("signed_metadata")
    if signed is None:
        raise Skip("no signed_metadata")
    claims = keys.read(signed)[1]
    t.expect("iss" in claims and "signed_metadata" not in claims, f"signed_metadata with {sorted(claims)}")
    t.expect(keys.verify(signed, t.get(t.metadata["jwks_uri"]).json["keys"]) is not False, "the signature is wrong")


@check("RFC9068-4-7", MUST, "the documents of OAuth and OpenID agree, if there are both")
def documents_agree(t):
    other = t.get(t.issuer.rstrip("/") + "/.well-known/openid-configuration")
    if other.status != 200:
        raise Skip("there is no openid-configuration")
    shared = set(other.json) & set(t.metadata)
    differ = [name for name in shared if other.json[name] != t.metadata[name]]
    t.expect(not differ, f"they differ in {differ}")


@check("PROF-JWKS-1", MUST, "the key set has public members, and no kid twice", basis="own")
def public_keys(t):
    jwks = t.get(t.metadata["jwks_uri"]).json["keys"]
    t.expect(not any(set(key) & SECRET_MEMBERS for key in jwks), "a private member")
    kids = [key.get("kid") for key in jwks]
    t.expect(len(set(kids)) == len(kids), f"kids: {kids}")
