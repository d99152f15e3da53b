"""Workload identity credentials of google-auth: a platform's token in a file becomes one of ours, and later not again."""

import json
import pathlib
import sys

from google.auth import exceptions, identity_pool
from google.auth.transport.requests import Request

given = json.load(sys.stdin)
path = pathlib.Path(given["file"])


def credentials(audience):
    return identity_pool.Credentials(
        audience=audience,
        subject_token_type="urn:ietf:params:oauth:token-type:jwt",
        token_url=given["issuer"] + "/token",
        credential_source={"file": str(path)},
        scopes=given.get("scopes"),
    )


seen = {"tokens": []}
for audience, assertion in zip(given["audiences"], given["assertions"]):
    path.write_text(assertion)
    ours = credentials(audience)
    ours.refresh(Request())
    # The library's clock is naive and in UTC.
    seen["tokens"].append({"token": ours.token, "valid": ours.valid, "expiry": ours.expiry.isoformat() + "Z"})

try:
    credentials(given["audiences"][-1]).refresh(Request())
except exceptions.OAuthError as error:
    # The message has error, description and URI; the body comes beside it.
    seen["refusal"] = {"message": error.args[0], "reason": json.loads(error.args[1])["reason"]}

print(json.dumps(seen))
