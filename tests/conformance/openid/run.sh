#!/bin/sh
# Runs the FAPI 2 plan of the OpenID conformance suite against Carnet and its example registry, in a temporary folder.
#
#   SUITE=/path/to/conformance-suite CARNET=target/release/carnet tests/conformance/openid/run.sh [VARIANT...]
#
# VARIANT is how the client authenticates and how its token is bound: private_key_jwt+dpop (the default), private_key_jwt+mtls,
# mtls+dpop, mtls+mtls. README.md beside this file says what is needed, and what happens.
#
# SUITE             a checkout of the conformance suite, required
# CARNET            the program; the default is the release build
# EXAMPLE_REGISTRY  carnet-example-registry; the default is the one beside CARNET
# FAPI2             yes: the clients are registered with `fapi2`
# ONLY              run this module alone, by the end of its name
# LOGS              a folder in which the suite's log of every module is kept, with those of Carnet and the registry
# PORTS             the first four digits of the ports, 1844 by default: 18440 to 18445
# JAVA, MVN, PYTHON the programs; the defaults are java, mvn, python3
set -eu

here=$(cd "$(dirname "$0")" && pwd)
SUITE=$(cd "${SUITE:?names the checkout of the conformance suite}" && pwd)
CARNET=${CARNET:-$here/../../../target/release/carnet}
EXAMPLE_REGISTRY=${EXAMPLE_REGISTRY:-$(dirname "$CARNET")/carnet-example-registry}
PORTS=${PORTS:-1844}
JAVA=${JAVA:-java}
MVN=${MVN:-mvn}
PYTHON=${PYTHON:-python3}
FAPI2=${FAPI2:-no}
variants=${*:-private_key_jwt+dpop}
for variant in $variants; do
    case $variant in
        private_key_jwt+dpop | private_key_jwt+mtls | mtls+dpop | mtls+mtls) ;;
        *) echo "there is no variant $variant" >&2; exit 2 ;;
    esac
done
for program in "$CARNET" "$EXAMPLE_REGISTRY"; do
    [ -x "$program" ] || { echo "there is no $program" >&2; exit 2; }
done
export JAVA MVN PYTHON

folder=$(mktemp -d)
suite='' mongo='' server='' registry='' relay=''
stop() {
    for process in "$@"; do kill "$process" 2>/dev/null || true; done
    for process in "$@"; do wait "$process" 2>/dev/null || true; done
}
finish() {
    # shellcheck disable=SC2086 # those that were started, one word each
    stop $relay $registry $server $suite $mongo
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT TERM
fail() { # what happened, name of the log
    echo "$1" >&2
    tail -n 20 "$folder/$2.log" >&2
    exit 2
}

# The suite
jar=$SUITE/target/fapi-test-suite.jar parts=$SUITE/target/without-mdoc
[ -e "$jar" ] || [ -e "$parts/built" ] || "$here/build.sh" "$SUITE"
"$MVN" -B -q -f "$here/mongo/pom.xml" dependency:build-classpath -Dmdep.outputFile="$folder/mongo-classpath" \
    > "$folder/maven.log" 2>&1 || fail 'Maven did not get the stand-in for MongoDB' maven
"$JAVA" -cp "$(cat "$folder/mongo-classpath")" "$here/mongo/MongoStandIn.java" "${PORTS}5" > "$folder/mongo.log" 2>&1 &
mongo=$!
listening() { # name, port, name of the log
    tries=0
    until "$PYTHON" -c 'import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1)' "$2" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || fail "$1 did not start" "$3"
        sleep 0.2
    done
}
listening 'The stand-in for MongoDB' "${PORTS}5" mongo
# No login (devmode), and no question to the hosts of a login that is not used.
set -- --fintechlabs.devmode=true --server.address=127.0.0.1 --server.port="${PORTS}4" \
    --spring.mongodb.uri="mongodb://127.0.0.1:${PORTS}5/test_suite" --openid.mongodb.targetFeatureCompatibilityVersion= \
    --oidc.gitlab.iss=https://localhost:9 --oidc.google.iss=https://localhost:9
if [ -e "$jar" ]; then
    set -- -jar "$jar" "$@"
else
    set -- -cp "$parts/classes:$(cat "$parts/classpath")" net.openid.conformance.Application "$@"
fi
"$JAVA" -Djdk.tls.maxHandshakeMessageSize=65536 "$@" > "$folder/suite.log" 2>&1 &
suite=$!

# One certificate for all servers. The suite does not verify it, Carnet's registry does.
SSL_CERT_FILE=$folder/certificate.pem
export SSL_CERT_FILE
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
    -keyout "$folder/certificate.key" -out "$SSL_CERT_FILE" 2> "$folder/openssl.log" || fail 'openssl made no certificate' openssl

run_variant() { # client_auth, sender_constrain
    run=$folder/$1-$2 issuer=https://localhost:${PORTS}0 resource=https://localhost:${PORTS}2/
    mkdir "$run"
    "$PYTHON" "$here/prepare.py" "$run" "$1" "$2" "$PORTS" "$FAPI2"
    mtls='' certificates=''
    case $1$2 in
        *mtls*)
            mtls="mtls_listen = \"127.0.0.1:${PORTS}1\"
mtls_url = \"https://localhost:${PORTS}1\""
            certificates="$run/client-one.pem $run/client-two.pem"
            ;;
    esac
    cat > "$run/server.toml" << END
issuer = "$issuer"
data_dir = "./data"

[server]
listen = "127.0.0.1:${PORTS}0"
tls.certificates = [{ certificate_file = "../certificate.pem", key_file = "../certificate.key" }]
$mtls

[log]
level = "debug"

[rate_limits]
refusals_per_minute_per_address = 0
tokens_per_minute_per_credential = 0
END
    "$CARNET" serve --config "$run/server.toml" > "$folder/carnet.log" 2>&1 &
    server=$!
    listening Carnet "${PORTS}0" carnet
    "$CARNET" apply --config "$run/server.toml" --offline --yes -f "$run/apply.json" > "$folder/apply.log" 2>&1 ||
        fail 'Carnet did not take the objects' apply
    "$EXAMPLE_REGISTRY" "$issuer" "$resource" "127.0.0.1:${PORTS}3" "$run/packages" --protocol pypi \
        --tls-certificate "$SSL_CERT_FILE" --tls-key "$folder/certificate.key" > "$folder/registry.log" 2>&1 &
    registry=$!
    listening 'The example registry' "${PORTS}3" registry
    # shellcheck disable=SC2086 # file names of ours, without spaces
    "$PYTHON" "$here/relay.py" "${PORTS}2" "${PORTS}3" "$SSL_CERT_FILE" "$folder/certificate.key" $certificates > "$folder/relay.log" 2>&1 &
    relay=$!
    listening 'The relay' "${PORTS}2" relay
    result=0
    "$PYTHON" "$here/plan.py" "${PORTS}4" "$run/suite.json" "$1" "$2" ${ONLY:+--only "$ONLY"} ${LOGS:+--logs "$LOGS"} || result=$?
    [ $result -ne 2 ] || fail 'The plan did not run' suite
    stop "$relay" "$registry" "$server"
    relay='' registry='' server=''
    if [ -n "${LOGS:-}" ]; then
        for log in carnet registry relay; do cp "$folder/$log.log" "$LOGS/$1-$2-$log.log"; done
    fi
    [ $result -eq 0 ] || status=$result
}

status=0
for variant in $variants; do run_variant "${variant%+*}" "${variant#*+}"; done
exit $status
