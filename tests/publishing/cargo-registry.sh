#!/usr/bin/env bash
# Publishes with cargo through `carnet gateway` to a cargo registry of another project, with keys that the two recorded calls of
# crates-io-auth-action get and end. It is run by hand, since the registry takes long to build:
#
#   tests/publishing/cargo-registry.sh target/debug/carnet ~/.cargo/bin/kellnr
#
# The second program is `kellnr` or `ferro-cargo-registry-server`, which has no users at all. Needs cargo, curl, jq, openssl and
# python3. docs/src/guides/gateway-kellnr.md has the last result. Exits with 1 at the first answer that is another one.
set -euo pipefail

carnet=$(realpath "$1")
program=$(realpath "$2")
kind=$(basename "$program")
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
replays=$root/tests/publishing/replays
folder=$(mktemp -d)
cd "$folder"
jobs_started=()
end() {
    local status=$?
    for job in "${jobs_started[@]}"; do kill "$job" 2>/dev/null || true; done
    wait
    if [ "$status" -ne 0 ]; then tail -n 20 -- *.log; fi
    rm -rf -- "$folder"
}
trap end EXIT

say() { printf 'ok  %s\n' "$*"; }
fail() { printf 'NOT %s\n' "$*" >&2; exit 1; }

port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
start() { # LOG PROGRAM…
    local log=$1
    shift
    "$@" >"$log" 2>&1 </dev/null &
    jobs_started+=("$!")
}
answers() { # URL
    for _ in $(seq 600); do
        if curl -sf --noproxy '*' -o /dev/null "$1"; then return; fi
        sleep 0.05
    done
    fail "$1 does not answer"
}

server=127.0.0.1:$(port)
host=localhost:$(port)
upstream=http://127.0.0.1:$(port)

# --- The registry, with a user for the gateway and a crate of another user.

at_registry() { # METHOD PATH BODY CURL-OPTIONS…
    local method=$1 path=$2 body=$3
    shift 3
    curl -sS --fail-with-body --noproxy '*' -X "$method" -H 'Content-Type: application/json' -d "$body" "$@" "$upstream$path"
}
start_kellnr() {
    mkdir kellnr
    start registry.log env KELLNR_REGISTRY__DATA_DIR="$folder/kellnr" KELLNR_LOCAL__IP=127.0.0.1 KELLNR_LOCAL__PORT="${upstream##*:}" \
        KELLNR_ORIGIN__HOSTNAME=127.0.0.1 KELLNR_ORIGIN__PORT="${upstream##*:}" KELLNR_SETUP__ADMIN_PWD=admins-password \
        KELLNR_DOCS__ENABLED=false KELLNR_PROXY__ENABLED=false "$program" start
    answers "$upstream/api/v1/crates/config.json"
    at_registry POST /api/v1/auth/login '{"user":"admin","pwd":"admins-password"}' -c admin >admin.json
    at_registry POST /api/v1/users '{"name":"carnet","pwd1":"gateways-password","pwd2":"gateways-password"}' -b admin >user.json
    at_registry POST /api/v1/users/me/tokens '{"name":"old"}' -b admin | jq -r .token >admin-token
    at_registry POST /api/v1/auth/login '{"user":"carnet","pwd":"gateways-password"}' -c user >user.json
    at_registry POST /api/v1/users/me/tokens '{"name":"gateway"}' -b user | jq -r .token >gateway-token
    credential="credential = { bearer = { token_file = \"$folder/gateway-token\" } }"
    index=api/v1/crates/
    exists='Crate with version already exists: octo-widgets-1.0.0'
}
start_ferro() {
    start registry.log env FERRO_CARGO_REGISTRY_LISTEN="${upstream#http://}" FERRO_CARGO_REGISTRY_API="$upstream" \
        FERRO_CARGO_REGISTRY_DATA="$folder/ferro" "$program"
    answers "$upstream/config.json"
    echo none >admin-token
    credential=
    index=
    exists='already'
}
case $kind in
kellnr) start_kellnr ;;
ferro-cargo-registry-server) start_ferro ;;
*) fail "there is nothing here for $kind" ;;
esac

# --- cargo, with a home of its own.

crate() { # NAME VERSION [DEPENDENCY]
    local crate=crates/$1-$2
    mkdir -p "$crate/src"
    printf '[package]\nname = "%s"\nversion = "%s"\nedition = "2021"\nlicense = "MIT"\ndescription = "A crate of a test"\n\n[dependencies]\n%s\n[workspace]\n' \
        "$1" "$2" "${3-}" >"$crate/Cargo.toml"
    printf 'pub const VERSION: &str = env!("CARGO_PKG_VERSION");\n' >"$crate/src/lib.rs"
}
run_cargo() { # URL KEY FOLDER ARGUMENTS…
    local url=$1 key=$2 in=$3
    shift 3
    (cd "crates/$in" && CARGO_HOME="$folder/cargo" CARGO_TARGET_DIR="$folder/target" CARGO_REGISTRIES_OURS_TOKEN="$key" \
        CARGO_REGISTRIES_OURS_INDEX="sparse+$url/$index" cargo "$@" 2>&1)
}
publish() { # KEY NAME VERSION
    crate "$2" "$3"
    run_cargo "http://$host" "$1" "$2-$3" publish --registry ours --allow-dirty
}
published() { publish "$@" >cargo.log || fail "$2 $3 is published"; say "cargo publish $2 $3"; }
refused() { # TEXT KEY NAME VERSION
    local text=$1
    shift
    if publish "$@" >cargo.log; then fail "$2 $3 is refused"; fi
    grep -qF "$text" cargo.log || fail "the refusal of $2 $3 says: $text"
    say "refused: $2 $3: $text"
}
crate octo-older 1.0.0
run_cargo "$upstream" "$(cat admin-token)" octo-older-1.0.0 publish --registry ours --allow-dirty >cargo.log

# --- Carnet, with the key of a stand-in for GitHub.

openssl genrsa -out issuer.pem 2048 2>/dev/null
encoded() { base64 -w0 | tr '+/' '-_' | tr -d '='; }
modulus=$(openssl rsa -in issuer.pem -noout -modulus | python3 -c 'import sys; sys.stdout.buffer.write(bytes.fromhex(input()[8:]))' | encoded)
cat >carnet.toml <<END
issuer = "http://$server"
data_dir = "$folder/data"
[server]
listen = "$server"
trusted_proxies = ["127.0.0.1"]
drain_seconds = 0
[gateway]
listen = "127.0.0.1:${host##*:}"
[[gateway.registries]]
resource_server = "crates"
protocol = "crates-io"
hosts = ["$host"]
public_url = "http://$host/"
upstream = "$upstream/"
$credential
END
cat >objects.toml <<END
[principals.octo-org]
kind = "organization"
[trusted_issuers.github]
profile = "github-actions"
issuer = "https://token.actions.githubusercontent.com"
keys = { source = "static", jwks = { keys = [{ kty = "RSA", kid = "1", alg = "RS256", use = "sig", e = "AQAB", n = "$modulus" }] } }
[resource_servers.crates]
resource = "http://$host/"
actions = ["create", "publish", "unlist"]
package_names = "cargo"
token_format = "opaque"
front_door = { kind = "crates-io", hosts = ["$host"] }
[federated_credentials.octo-release]
principal = "octo-org"
trusted_issuer = "github"
match = { repository = "octo-org/octo-repo", workflow_file = "release.yml" }
permissions = [{ resource_server = "crates", actions = ["create", "publish", "unlist"], packages = ["octo-*"] }]
END
start server.log "$carnet" serve --config carnet.toml
answers "http://$server/readyz"
"$carnet" apply --config carnet.toml -f objects.toml --offline --yes >apply.log
"$carnet" check --config carnet.toml >check.log
start gateway.log "$carnet" gateway --config carnet.toml
answers "http://$host/${index}config.json"

identity_token() { # WORKFLOW-FILE
    local now workflow signed
    now=$(date +%s)
    workflow=octo-org/octo-repo/.github/workflows/$1@refs/heads/main
    signed=$(printf '{"alg":"RS256","typ":"JWT","kid":"1"}' | encoded).$(jq -cn --arg aud "$host" --arg workflow "$workflow" --argjson now "$now" \
        --arg jti "$(openssl rand -hex 16)" --arg sha "$(printf '1a2b3c4d%.0s' 1 2 3 4 5)" '{
            iss: "https://token.actions.githubusercontent.com", aud: $aud, sub: "repo:octo-org/octo-repo:ref:refs/heads/main",
            jti: $jti, iat: $now, nbf: $now, exp: ($now + 300), repository: "octo-org/octo-repo", repository_id: "74",
            repository_owner: "octo-org", repository_owner_id: "65", repository_visibility: "public", actor: "octocat", actor_id: "12",
            ref: "refs/heads/main", ref_type: "branch", ref_protected: "true", sha: $sha, event_name: "push", workflow: "Release",
            workflow_ref: $workflow, workflow_sha: $sha, job_workflow_ref: $workflow, job_workflow_sha: $sha, run_id: "9001",
            run_number: "10", run_attempt: "1", runner_environment: "github-hosted", head_ref: "", base_ref: ""}' | encoded)
    printf '%s.%s' "$signed" "$(printf '%s' "$signed" | openssl dgst -sha256 -sign issuer.pem -binary | encoded)"
}
# Sends a recorded request to the gateway as it was recorded; prints status and body.
replay() { # NAME MEMBER VALUE
    python3 - "$replays/$1.http" "$host" "$2" "$3" <<'END'
import http.client, socket, sys

path, host, member, value = sys.argv[1:]
head, body = open(path).read().split("\n\n", 1)
fill = lambda text: text.replace("{{%s}}" % member, value).replace("{{host}}", host)
body = fill(body.rstrip("\n"))
head = fill(head).replace("{{length}}", str(len(body)))
assert "{{" not in head + body
connection = socket.create_connection(("127.0.0.1", int(host.split(":")[1])))
connection.sendall((head.replace("\n", "\r\n") + "\r\n\r\n" + body).encode())
answer = http.client.HTTPResponse(connection)
answer.begin()
print(answer.status, answer.read().decode())
END
}
key_for() { # IDENTITY-TOKEN
    replay crates-io-auth-action-exchange jwt "$1" >answer
    grep -q '^200 ' answer || fail "a key is issued: $(cat answer)"
    cut -d' ' -f2- answer | jq -r .token
}
no_key() { # TEXT IDENTITY-TOKEN
    replay crates-io-auth-action-exchange jwt "$2" >answer
    { grep -q '^400 ' answer && grep -qF "$1" answer; } || fail "no key is issued: $(cat answer)"
    say "no key: $1"
}

# --- What has to hold.

jwt=$(identity_token release.yml)
key=$(key_for "$jwt")
say "crates-io-auth-action gets a key"
no_key 'the assertion was used before' "$jwt"
no_key 'workflow_file expected release.yml' "$(identity_token nightly.yml)"
published "$key" octo-widgets 1.0.0
crate program 0.1.0 'octo-widgets = { version = "=1.0.0", registry = "ours" }'
printf 'fn main() { println!("{}", octo_widgets::VERSION); }\n' >crates/program-0.1.0/src/main.rs
run_cargo "http://$host" '' program-0.1.0 run --quiet >cargo.log
grep -qx '1.0.0' cargo.log || fail "a program that depends on octo-widgets runs"
say "cargo run of a program that depends on octo-widgets 1.0.0, fetched through the gateway"
refused 'already exists on' "$key" octo-widgets 1.0.0
# cargo itself looks into the index first. This is what cargo sent of another crate of this name and version.
curl -s --noproxy '*' -w ' %{http_code}' -X PUT -H "Authorization: $key" --data-binary "@$root/stand-ins/tests/data/cargo.body" \
    "http://$host/api/v1/crates/new" >answer
grep -qF "$exists" answer || fail "the registry has octo-widgets 1.0.0: $(cat answer)"
say "the registry itself refuses octo-widgets 1.0.0: $(cat answer)"
refused package_out_of_scope "$key" widgets 1.0.0
refused package_not_imported "$key" octo-older 1.1.0
published "$key" octo-widgets 1.1.0
run_cargo "http://$host" "$key" octo-widgets-1.1.0 yank --registry ours --version 1.1.0 >cargo.log || fail "octo-widgets 1.1.0 is yanked"
curl -sf --noproxy '*' "$upstream/${index}oc/to/octo-widgets" | jq -e 'select(.vers == "1.1.0").yanked' >yanked.log || fail "1.1.0 is yanked"
say "cargo yank octo-widgets 1.1.0"
if [ "$kind" = kellnr ]; then
    "$carnet" gateway owners set crates octo-older octo-org --config carnet.toml >owners.log
    refused 'Not the owner of the crate' "$key" octo-older 1.1.0
    at_registry PUT /api/v1/crates/octo-older/owners '{"users":["carnet"]}' -H "Authorization: $(cat admin-token)" >owners.json
    published "$key" octo-older 1.1.0
    crate octo-direct 1.0.0
    if run_cargo "$upstream" "$key" octo-direct-1.0.0 publish --registry ours --allow-dirty >cargo.log; then fail "kellnr takes no key of Carnet"; fi
    say "refused: a key of Carnet at the registry itself"
fi
replay crates-io-auth-action-revoke key "$key" | grep -q '^204 ' || fail "the key is ended"
say "crates-io-auth-action ends the key"
refused 'the token is not in force' "$key" octo-widgets 1.2.0
"$carnet" gateway publications crates octo-widgets --config carnet.toml --json | jq -e 'length == 3 and all(.state == "accepted" and .owner == "octo-org")' >publications.log ||
    fail "three publications are on record"
say "on record: two publications and a yank of octo-org, run 9001"
echo "all passed: $kind, $(cargo --version)"
