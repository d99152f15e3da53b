#!/bin/sh
# Runs the conformance plan against Carnet and its example registry, in a temporary folder.
#
#   CARNET=target/debug/carnet tests/conformance/carnet.sh [options of conformance.py]
#
# CARNET            the program; the default is the debug build
# EXAMPLE_REGISTRY  carnet-example-registry; the default is the one beside CARNET. Without it the calls of a resource are skipped
# PORTS             the first four digits of the ports, 1843 by default: 18430 to 18432
# PYTHON            a Python 3.11 with `requests`, python3 by default
#
# The program openssl makes the certificate.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
CARNET=${CARNET:-$here/../../target/debug/carnet}
EXAMPLE_REGISTRY=${EXAMPLE_REGISTRY:-$(dirname "$CARNET")/carnet-example-registry}
PORTS=${PORTS:-1843}
PYTHON=${PYTHON:-python3}

folder=$(mktemp -d)
server='' registry=''
finish() {
    for process in $server $registry; do kill "$process" 2>/dev/null || true; done
    for process in $server $registry; do wait "$process" 2>/dev/null || true; done
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT TERM

sed "s/:1843\([0-9]\)/:$PORTS\1/g" "$here/carnet.toml" > "$folder/carnet.toml"
if [ ! -x "$EXAMPLE_REGISTRY" ]; then
    echo "there is no $EXAMPLE_REGISTRY: the calls of a resource are skipped" >&2
    sed -i '/^\[resource_call\]/,$d; s/, "registry.log"//' "$folder/carnet.toml"
fi
issuer=https://127.0.0.1:${PORTS}0/auth
SSL_CERT_FILE=$folder/certificate.pem
export SSL_CERT_FILE
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=conformance -addext subjectAltName=IP:127.0.0.1 \
    -keyout "$folder/certificate.key" -out "$SSL_CERT_FILE" 2> "$folder/openssl.log" || { cat "$folder/openssl.log" >&2; exit 2; }

cat > "$folder/server.toml" << END
issuer = "$issuer"
data_dir = "./data"

[server]
listen = "127.0.0.1:${PORTS}0"
tls.certificates = [{ certificate_file = "certificate.pem", key_file = "certificate.key" }]

[log]
level = "debug"

[rate_limits]
refusals_per_minute_per_address = 0
tokens_per_minute_per_credential = 0

[insecure]
allow_http_loopback = true
END
"$CARNET" serve --config "$folder/server.toml" > "$folder/carnet.log" 2>&1 &
server=$!

ready() { # name, URL
    tries=0
    until "$PYTHON" -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1])' "$2" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || { echo "$1 did not start" >&2; tail "$folder"/*.log >&2; exit 2; }
        sleep 0.2
    done
}
ready Carnet "$issuer/readyz"

"$PYTHON" "$here/conformance.py" --config "$folder/carnet.toml" --print-jwks > "$folder/jwks.json"
"$PYTHON" "$here/carnet_apply.py" "$folder/carnet.toml" < "$folder/jwks.json" > "$folder/apply.json"
"$CARNET" apply --config "$folder/server.toml" --offline --yes -f "$folder/apply.json" \
    --secrets-file "$folder/secrets.json" > "$folder/apply.log" 2>&1 || { cat "$folder/apply.log" >&2; exit 2; }

if [ -x "$EXAMPLE_REGISTRY" ]; then
    "$EXAMPLE_REGISTRY" "$issuer" "http://127.0.0.1:${PORTS}2/" "127.0.0.1:${PORTS}2" "$folder/packages" \
        > "$folder/registry.log" 2>&1 &
    registry=$!
    ready 'The example registry' "http://127.0.0.1:${PORTS}2/.well-known/oauth-protected-resource"
fi

status=0
"$PYTHON" "$here/conformance.py" --config "$folder/carnet.toml" --drafts --own "$@" || status=$?
[ $status -ne 2 ] || tail -n 5 "$folder"/*.log >&2
exit $status
