"""Three `carnet serve` processes on one database, behind the HAProxy of the guide."""

import base64
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.parse

from cluster import free_port
from signer import Signer

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SAMPLE = ROOT / "docs" / "samples" / "deployment" / "haproxy.cfg"
AUDIENCE = "https://as.test"
RESOURCE = "https://registry.test/pypi/"
COUNT = 3
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Lost(Exception):
    """No answer came; the request may have been received."""


class Refused(Lost):
    """No connection came about; the request was not received."""


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers = status, headers
        try:
            self.body = json.loads(body) if body else {}
        except ValueError:
            self.body = {}

    @property
    def reason(self):
        return self.body.get("reason")


class Place:
    """An address that is asked, over one connection that is opened again where it was closed."""

    def __init__(self, port):
        self.port, self.line = port, None

    def ask(self, method, path, body=None, headers=None, timeout=30):
        if self.line is None:
            self.line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
            try:
                self.line.connect()
            except OSError as error:
                self.line = None
                raise Refused(str(error)) from error
        try:
            self.line.sock.settimeout(timeout)
            self.line.request(method, path, body=body, headers=headers or {})
            answer = self.line.getresponse()
            read = Answer(answer.status, answer.headers, answer.read())
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Lost(f"{type(error).__name__}: {error}") from error
        if answer.will_close:
            self.close()
        return read

    def form(self, path, fields, headers=None, timeout=30):
        headers = {"content-type": "application/x-www-form-urlencoded", **(headers or {})}
        return self.ask("POST", path, urllib.parse.urlencode(fields), headers, timeout)

    def exchange(self, assertion, headers=None, timeout=30):
        return self.form("/token", {"grant_type": JWT_BEARER, "assertion": assertion}, headers, timeout)

    def close(self):
        if self.line:
            self.line.close()
        self.line = None


class Replica:
    def __init__(self, binary, folder, number, environment):
        self.binary, self.folder, self.number = binary, folder, number
        self.port = free_port()
        self.environment = {**environment, "CARNET_SERVER__LISTEN": f"127.0.0.1:{self.port}", "CARNET_SERVER__DRAIN_SECONDS": "1"}
        self.process = None

    def start(self, binary=None):
        with open(self.folder / f"replica-{self.number}.log", "ab") as log:
            self.process = subprocess.Popen([binary or self.binary, "serve"], cwd=self.folder, env=self.environment,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait(self, seconds=60):
        """Until it is ready; how long that took."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            try:
                if Place(self.port).ask("GET", "/readyz", timeout=5).status == 200:
                    return time.monotonic() - began
            except Lost:
                pass
            time.sleep(0.02)
        raise RuntimeError(f"replica {self.number} is not ready: {(self.folder / f'replica-{self.number}.log').read_text()[-3000:]}")

    def signal(self, name):
        self.process.send_signal(getattr(signal, f"SIG{name}"))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self):
        self.process.terminate()
        self.process.wait(60)


class Installation:
    """Replicas, their objects, and the balancer in front of both replicas and database."""

    def __init__(self, binary, folder, cluster):
        self.binary, self.folder, self.cluster = binary, folder, cluster
        self.database_port, self.port = free_port(), free_port()
        self.signer = Signer("release")
        self.issuer = "https://ci.test"
        variables = {name: value for name, value in os.environ.items() if not name.startswith("CARNET_")}
        self.environment = {
            **variables, "CARNET_ISSUER": AUDIENCE, "CARNET_DATA_DIR": str(folder),
            "CARNET_DATABASE__URL": f"postgres://postgres@127.0.0.1:{self.database_port}/carnet",
            "CARNET_SERVER__TRUSTED_PROXIES": '["127.0.0.1/32"]', "CARNET_SERVER__UNSHARED_PEERS": '["127.0.0.1/32"]',
            "CARNET_INSECURE__ALLOW_HTTP_LOOPBACK": "true",
            "CARNET_RATE_LIMITS__REFUSALS_PER_MINUTE_PER_ADDRESS": "0", "CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CREDENTIAL": "0",
            "CARNET_RATE_LIMITS__ADMIN_WRITES_PER_MINUTE_PER_SUBJECT": "0",
            "CARNET_RATE_LIMITS__INACTIVE_INTROSPECTIONS_PER_MINUTE_PER_CLIENT": "0",
        }
        self.replicas = [Replica(binary, folder, number, self.environment) for number in range(COUNT)]
        self.balancer = None
        self.start_balancer()
        # One creates the encryption key; an operator would give all the same one.
        self.replicas[0].start()
        self.replicas[0].wait()
        for replica in self.replicas[1:]:
            replica.start()
            replica.wait()
        self.apply(self.objects())
        # The replicas learn of changes within a second.
        time.sleep(2)
        self.token, self.token_until = None, 0

    def start_balancer(self):
        text = SAMPLE.read_text()
        first, second = self.cluster.primary, self.cluster.standby
        places = {
            "bind :443 ssl crt /etc/haproxy/carnet.pem": f"bind 127.0.0.1:{self.port}",
            "bind 127.0.0.1:5432": f"bind 127.0.0.1:{self.database_port}",
            "10.0.1.5:5432": f"127.0.0.1:{first.port}", "10.0.1.6:5432": f"127.0.0.1:{second.port}",
        }
        for number, replica in enumerate(self.replicas):
            places[f"10.0.0.{5 + number}:8080"] = f"127.0.0.1:{replica.port}"
        for ours, theirs in places.items():
            if ours not in text:
                raise SystemExit(f"{SAMPLE} has no {ours}")
            text = text.replace(ours, theirs)
        # For the faults that cut connections.
        text = f"global\n    stats socket {self.folder}/haproxy.sock level admin\n{text}"
        (self.folder / "haproxy.cfg").write_text(text)
        program = next(path for path in ("/usr/sbin/haproxy", "/usr/local/sbin/haproxy", "haproxy") if path == "haproxy" or os.path.exists(path))
        with open(self.folder / "haproxy.log", "ab") as log:
            self.balancer = subprocess.Popen([program, "-db", "-f", str(self.folder / "haproxy.cfg")], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        time.sleep(1)

    def command(self, *arguments):
        done = subprocess.run([self.binary, *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise RuntimeError(f"carnet {arguments}: {done.stdout[-1000:]} {done.stderr[-2000:]}")
        return done.stdout

    def objects(self):
        jwks = {"keys": [self.signer.jwk()]}
        permissions = [{"resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"]}]
        rule = {"principal": "acme", "trusted_issuer": "ci", "permissions": permissions}
        rules = {name: {**rule, "match": {"subject": f"project:{name}", "claims": {"stage": "release"}}} for name in ("load", "probe", "switched")}
        return {
            "principals": {"acme": {"kind": "organization"}},
            "trusted_issuers": {"ci": {"profile": "generic", "issuer": self.issuer, "keys": {"source": "static", "jwks": jwks}}},
            "resource_servers": {"pypi": {"resource": RESOURCE, "actions": ["publish"]}},
            "federated_credentials": rules,
            "clients": {"registry": {"auth_method": "client_secret_basic", "resource_server": "pypi"}},
        }

    def apply(self, objects):
        (self.folder / "objects.json").write_text(json.dumps(objects))
        secrets = self.folder / "secrets.json"
        self.command("apply", "--offline", "--yes", "-f", "objects.json", "--secrets-file", str(secrets))
        (secret,) = json.loads(secrets.read_text()).values()
        pair = base64.b64encode(f"registry:{secret}".encode()).decode()
        self.registry = {"authorization": f"Basic {pair}"}

    def admin(self, replica, method, path, body=None):
        if time.monotonic() > self.token_until:
            self.token, self.token_until = self.command("admin-token").strip(), time.monotonic() + 600
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        return Place(replica.port).ask(method, f"/admin/v1/{path}", json.dumps(body) if body is not None else None, headers)

    def cut(self, section):
        """Ends the connections of one part of the balancer."""
        command = f"shutdown sessions server {section}\n"
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(f"{self.folder}/haproxy.sock")
            line.sendall(command.encode())
            line.recv(4096)

    def close(self):
        for replica in self.replicas:
            if replica.process and replica.process.poll() is None:
                replica.signal("CONT")
                replica.kill()
        if self.balancer:
            self.balancer.kill()
            self.balancer.wait()
