"""A job that connects with a certificate, by Python's requests."""

import json
import sys

import requests

given = json.load(sys.stdin)
metadata = requests.get(given["issuer"] + "/.well-known/oauth-authorization-server", timeout=30).json()
session = requests.Session()
session.cert = (given["certificateFile"], given["keyFile"])
answer = session.post(
    metadata["mtls_endpoint_aliases"]["token_endpoint"],
    data={
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": given["assertion"],
        "resource": given["resource"],
    },
    timeout=30,
)
print(json.dumps({"status": answer.status_code, "workload": answer.json()}))
