"""Assertions of a trusted issuer of our own, signed with the `openssl` program."""

import base64
import json
import subprocess
import time
import uuid

ISSUER = "https://carnet.bench.invalid"


def _encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Platform:
    """An issuer with an RSA key, whose file is made in `folder`."""

    def __init__(self, folder, url):
        self.url, self.file = url, folder / "platform.pem"
        command = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
        subprocess.run([*command, "-out", str(self.file)], check=True, stderr=subprocess.DEVNULL)
        modulus = subprocess.run(
            ["openssl", "rsa", "-in", str(self.file), "-noout", "-modulus"], check=True, capture_output=True, text=True
        ).stdout
        number = bytes.fromhex(modulus.strip().removeprefix("Modulus="))
        self.jwk = {"kty": "RSA", "n": _encode(number), "e": "AQAB", "use": "sig", "alg": "RS256", "kid": "bench"}

    def assertion(self, n):
        """An assertion of the repository that own rule `n` is about."""
        now, repository = int(time.time()), f"organisation-{n}/repository-{n}"
        workflow = f"{repository}/.github/workflows/release.yml@refs/heads/main"
        sha = "1a2b3c4d" * 5
        claims = {
            "iss": self.url, "aud": ISSUER, "sub": f"repo:{repository}:environment:release", "jti": str(uuid.uuid4()),
            "iat": now, "nbf": now - 600, "exp": now + 900, "repository": repository, "repository_id": str(5000 + n),
            "repository_owner": f"organisation-{n}", "repository_owner_id": str(1000 + n),
            "repository_visibility": "public", "ref": "refs/heads/main", "ref_type": "branch", "ref_protected": "true",
            "sha": sha, "workflow": "Release", "workflow_ref": workflow, "workflow_sha": sha, "actor_id": "12",
            "job_workflow_ref": workflow, "job_workflow_sha": sha, "event_name": "push", "environment": "release",
            "run_id": "9001", "run_number": "10", "run_attempt": "1", "runner_environment": "github-hosted",
        }  # fmt: skip
        parts = [{"alg": "RS256", "typ": "JWT", "kid": "bench"}, claims]
        text = ".".join(_encode(json.dumps(part).encode()) for part in parts)
        command = ["openssl", "dgst", "-sha256", "-sign", str(self.file)]
        signature = subprocess.run(command, input=text.encode(), check=True, capture_output=True).stdout
        return f"{text}.{_encode(signature)}"
