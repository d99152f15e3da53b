"""An upload: the token is verified, the decision made within the transaction, and each refusal answered (RFC 6750)."""

import json
import logging

from carnet_decision import FOLD, Denied, decide
from carnet_tokens import InvalidToken

PACKAGE_NAMES = "pep503"  # as package_names of the resource server in Carnet
folded = FOLD[PACKAGE_NAMES]


def refusal(status, error=None, scope=None, **about):
    parameters = {"realm": "registry", "error": error, "scope": scope}
    challenge = "Bearer " + ", ".join(f'{name}="{value}"' for name, value in parameters.items() if value)
    return status, {"WWW-Authenticate": challenge}, json.dumps({"error": error, **about})


def upload(verifier, packages, authorization, name, version, digest):
    """Status, headers and body of the answer. `packages` stands for your database."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        return refusal(401)
    try:
        claims = verifier.verify(token.strip())
    except InvalidToken as error:
        logging.info("token refused: %s", error)
        return refusal(401, "invalid_token", error_description=str(error))
    except Exception as error:
        logging.error("tokens cannot be checked: %r", error)
        return 503, {"Retry-After": "30"}, "{}"
    key = folded(name)
    with packages.transaction():
        owners = packages.owners(key)  # None if the package does not exist
        try:
            entry = decide(claims.get("authorization_details", []), PACKAGE_NAMES, "publish", name, version, digest,
                           exists=owners is not None, owned_by=lambda owner: owner in owners,
                           may_act_for=packages.may_act_for)
        except Denied as denied:
            scope = "create publish" if str(denied) == "create_denied" else "publish"
            return refusal(403, "insufficient_scope", scope, reason=str(denied))
        packages.store(key, version, digest, entry["owner"])
    return 201, {}, json.dumps({"owner": entry["owner"]})
