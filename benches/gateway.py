#!/usr/bin/env python3
"""Compares `carnet gateway` with nginx as proxies of a registry: uploads of a large wheel, and reads.

nginx buffers whole requests, in a folder on the same disk as the gateway's spool. Both get the same requests by turns,
in one run, and forward them to the same registry, which reads and forgets. Printed are the throughput of uploads, the
proxies' CPU time for each read, and the peak of the gateway's memory.

    cargo build --release && python3 benches/gateway.py [--megabytes 100] [--rounds 10] [--reads 20000]

Needs nginx (or NGINX=path) and Python 3.11, and nothing else.
"""

import argparse
import asyncio
import base64
import getpass
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CARNET = ROOT / "target" / "release" / "carnet"
TICK = os.sysconf("SC_CLK_TCK")
FILE = bytes(10_000)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Registry(asyncio.BufferedProtocol):
    """Answers every POST once its body came, and GETs of three paths."""

    def connection_made(self, transport):
        self.transport, self.room, self.head, self.left = transport, bytearray(1 << 20), b"", 0

    def get_buffer(self, _size):
        return self.room

    def buffer_updated(self, count):
        data = memoryview(self.room)[:count]
        while len(data):
            if self.left:
                taken = min(self.left, len(data))
                self.left -= taken
                data = data[taken:]
                if not self.left:
                    self.say(200, b"")
                continue
            self.head += bytes(data)
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, rest = self.head[:end].decode("latin-1"), self.head[end + 4 :]
            self.head, data = b"", memoryview(rest)
            method, path, _ = head.split("\r\n")[0].split(" ")
            length = re.search(r"(?i)content-length: (\d+)", head)
            self.left = int(length.group(1)) if length else 0
            if method == "POST":
                if not self.left:
                    self.say(200, b"")
            elif path.startswith("/packages/"):
                self.say(200, FILE)
            elif path == "/simple/":
                self.say(200, b"<!DOCTYPE html><html><body></body></html>")
            else:
                self.say(404, b"")

    def say(self, status, body):
        self.transport.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )


def serve_registry(port):
    async def forever():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Registry, "127.0.0.1", port)
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(forever()), daemon=True).start()


def wheel_form(megabytes):
    """A wheel that does not compress, as uv sends it."""
    path = pathlib.Path(tempfile.mkdtemp()) / "bench-1.0-py3-none-any.whl"
    metadata = b"Metadata-Version: 2.1\nName: bench\nVersion: 1.0\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("bench/data.bin", os.urandom(megabytes << 20))
        wheel.writestr("bench-1.0.dist-info/METADATA", metadata)
        wheel.writestr("bench-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("bench-1.0.dist-info/RECORD", b"")
    content = path.read_bytes()
    shutil.rmtree(path.parent)
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "name": "bench",
        "version": "1.0",
        "filetype": "bdist_wheel",
        "pyversion": "py3",
        "sha256_digest": hashlib.sha256(content).hexdigest(),
    }
    boundary = "b" * 32
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="content"; filename="bench-1.0-py3-none-any.whl"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
    )
    body = b"".join(parts) + content + f"\r\n--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", body


def cpu_of(pids):
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def upload(port, kind, body, authorization):
    head = (
        f"POST /legacy/ HTTP/1.1\r\nHost: pypi.bench\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"Authorization: {authorization}\r\nConnection: close\r\n\r\n"
    ).encode()
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head)
        connection.sendall(body)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    elapsed = time.perf_counter() - began
    assert answer.startswith(b"HTTP/1.1 200"), answer[:500]
    return elapsed


def read(port, count):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(count):
        connection.request("GET", "/packages/bench-1.0.tar.gz", headers={"Host": "pypi.bench"})
        answer = connection.getresponse()
        assert answer.status == 200 and len(answer.read()) == len(FILE), answer.status


def start_carnet(folder, upstream):
    server, gateway = free_port(), free_port()
    password = folder / "password"
    password.write_text("secret\n")
    config = folder / "carnet.toml"
    config.write_text(
        f"""
issuer = "http://127.0.0.1:{server}"
data_dir = "{folder}/data"
server.listen = "127.0.0.1:{server}"
log.level = "warn"
[gateway]
listen = "127.0.0.1:{gateway}"
[[gateway.registries]]
resource_server = "pypi"
protocol = "pypi"
hosts = ["pypi.bench"]
upstream = "http://127.0.0.1:{upstream}/"
credential = {{ basic = {{ username = "carnet", password_file = "{password}" }} }}
"""
    )
    command = lambda *arguments: [str(CARNET), *arguments, "--config", str(config)]
    serving = subprocess.Popen(command("serve"))
    wait_for(server)
    token = subprocess.run(command("admin-token"), check=True, capture_output=True, text=True).stdout.strip()

    def put(path, document):
        connection = http.client.HTTPConnection("127.0.0.1", server)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request("PUT", f"/admin/v1/{path}", json.dumps(document), headers)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status in (200, 201), body
        return json.loads(body)

    put("principals/bench", {"kind": "user"})
    resource = "https://pypi.bench/"
    actions = ["create", "publish"]
    put("resource-servers/pypi", {"resource": resource, "actions": actions, "package_names": "pep503"})
    permission = {"resource_server": "pypi", "actions": actions, "packages": ["*"], "owner": "bench"}
    client = {"auth_method": "client_secret_post", "grant_types": ["client_credentials"], "permissions": [permission]}
    secret = put("clients/bencher", client)["client_secret"]
    form = f"grant_type=client_credentials&client_id=bencher&client_secret={secret}&resource={resource}"
    connection = http.client.HTTPConnection("127.0.0.1", server)
    connection.request("POST", "/token", form, {"Content-Type": "application/x-www-form-urlencoded"})
    answered = json.loads(connection.getresponse().read())
    proxy = subprocess.Popen(command("gateway"))
    wait_for(gateway)
    return [serving, proxy], gateway, answered["access_token"]


def start_nginx(folder, upstream):
    port = free_port()
    (folder / "body").mkdir()
    config = folder / "nginx.conf"
    config.write_text(
        f"""
user {getpass.getuser()};
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    upstream registry {{ server 127.0.0.1:{upstream}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        keepalive_requests 1000000;
        location / {{
            proxy_pass http://registry;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }}
    }}
}}
"""
    )
    program = os.environ.get("NGINX") or shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen([program, "-c", str(config), "-e", "stderr"])
    wait_for(port)
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return process, port, children


def wait_for(port):
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing listens on {port}")


def median(values):
    values = sorted(values)
    return values[len(values) // 2]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--reads", type=int, default=20_000)
    arguments = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(dir=ROOT / "target"))
    upstream = free_port()
    serve_registry(upstream)
    wait_for(upstream)
    processes, gateway, token = start_carnet(folder, upstream)
    nginx, nginx_port, workers = start_nginx(folder, upstream)
    try:
        kind, body = wheel_form(arguments.megabytes)
        authorization = "Basic " + base64.b64encode(f"__token__:{token}".encode()).decode()
        times = {"gateway": [], "nginx": []}
        for at in range(arguments.rounds + 1):
            for name, port in (("gateway", gateway), ("nginx", nginx_port)):
                elapsed = upload(port, kind, body, authorization)
                if at:
                    times[name].append(elapsed)
        rates = {name: len(body) / median(all) / 1e6 for name, all in times.items()}
        peak = re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{processes[1].pid}/status").read_text())
        print(f"upload of {len(body) / 1e6:.0f} MB, median of {arguments.rounds}:")
        for name, rate in rates.items():
            print(f"  {name} {rate:.0f} MB/s")
        print(f"  throughput of the gateway: {rates['gateway'] / rates['nginx']:.0%} of nginx")
        print(f"  peak memory of the gateway: {int(peak.group(1)) / 1000:.0f} MB")
        used = {"gateway": 0.0, "nginx": 0.0}
        for _ in range(10):
            for name, port, pids in (("gateway", gateway, [processes[1].pid]), ("nginx", nginx_port, workers)):
                before = cpu_of(pids)
                read(port, arguments.reads // 10)
                used[name] += cpu_of(pids) - before
        print(f"reads of {len(FILE)} bytes, {arguments.reads} each, CPU of the proxy:")
        for name, cpu in used.items():
            print(f"  {name} {cpu * 1e6 / arguments.reads:.0f} us")
        print(f"  the gateway costs {used['gateway'] / used['nginx']:.2f} times nginx")
    finally:
        for process in [*processes, nginx]:
            process.terminate()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
