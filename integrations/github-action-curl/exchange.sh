#!/usr/bin/env bash
# The one step of action.yml: asks GitHub for an identity token, exchanges it at the server, and hands the access token on as an output.
# Tokens go to curl by standard input, so that they are in no list of processes.
set -euo pipefail

# An error of the step, shown at the run. The runner ends a message at a line break that is not escaped.
fail() {
    local text=$*
    text=${text//'%'/%25}
    text=${text//$'\r'/%0D}
    printf '::error::%s\n' "${text//$'\n'/%0A}"
    exit 1
}

for program in curl jq; do
    command -v "$program" > /dev/null || fail "the runner has no $program"
done
server=$EXCHANGE_SERVER
case $server in
    */) fail "server is $server: write it without the slash at its end, as the server's issuer is configured" ;;
    https://* | http://127.0.0.1:*) ;;
    *) fail "server is $server, which is no https URL" ;;
esac
[ -n "$EXCHANGE_RESOURCE" ] || fail 'resource is empty'
[ -n "${ACTIONS_ID_TOKEN_REQUEST_URL:-}" ] ||
    fail 'the job may not ask GitHub for an identity token: add "id-token: write" to its permissions. Runs for pull requests from forks never may'

# === the assertion ===
audience=$(jq -rn --arg audience "${EXCHANGE_AUDIENCE:-$server}" '$audience | @uri')
answer=$(printf 'Authorization: bearer %s' "$ACTIONS_ID_TOKEN_REQUEST_TOKEN" |
    curl --silent --show-error --fail --retry 3 --max-time 30 --header @- \
        "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=$audience") || fail 'GitHub did not give an identity token'
assertion=$(jq -r '.value // empty' <<< "$answer")
[ -n "$assertion" ] || fail "the answer of GitHub has no identity token"
printf '::add-mask::%s\n' "$assertion"

# === the exchange ===
form=(
    --data-urlencode grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer
    --data-urlencode "resource=$EXCHANGE_RESOURCE"
    --data-urlencode assertion@-
)
[ -z "$EXCHANGE_PRINCIPAL" ] || form+=(--data-urlencode "principal=$EXCHANGE_PRINCIPAL")
[ -z "$EXCHANGE_SCOPE" ] || form+=(--data-urlencode "scope=$EXCHANGE_SCOPE")
[ -z "$EXCHANGE_DETAILS" ] || form+=(--data-urlencode "authorization_details=$EXCHANGE_DETAILS")
# Answers that pass are asked for again with the same assertion, which such an answer does not use up.
for pause in 1 3 9 -; do
    answer=$(printf '%s' "$assertion" |
        curl --silent --show-error --max-time 30 --write-out '\n%{http_code}' "${form[@]}" "$server/token") || answer=$'\n000'
    status=${answer##*$'\n'}
    body=${answer%$'\n'*}
    case $status in
        000 | 429 | 502 | 503 | 504) [ "$pause" = - ] || sleep "$pause" ;;
        *) break ;;
    esac
done

if [ "$status" != 200 ]; then
    # What the server says of its refusal, one fact a line; anything else is no answer of the server.
    told=$(jq -r '
        "\(.error_description) (\(.reason))",
        (.mismatches // [] | .[] | "\(.name // .credential): \(.field) expected \(.expected | tojson), received \(.received | tojson)"),
        (.remedy // empty),
        "\(.error_uri)  error_id \(.error_id)"' <<< "$body" 2> /dev/null) || told="$server/token answered with status $status"
    fail "no token: $told"
fi
token=$(jq -r '.access_token // empty' <<< "$body")
[ -n "$token" ] || fail 'the answer of the server has no access token'
printf '::add-mask::%s\n' "$token"
printf 'token=%s\n' "$token" >> "$GITHUB_OUTPUT"
