#!/usr/bin/env bash
# The one step of action.yml: fetches the program if it has to, exchanges, and hands the token on as an output.
set -euo pipefail

fail() {
    printf '::error::%s\n' "$*"
    exit 1
}

sha256() {
    if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1
}

program=$EXCHANGE_PROGRAM
if [ -n "$EXCHANGE_PROGRAM_URL" ]; then
    [ -n "$EXCHANGE_PROGRAM_SHA256" ] || fail 'carnet-url is given without carnet-sha256'
    program=$RUNNER_TEMP/carnet-$EXCHANGE_PROGRAM_SHA256
    curl --proto '=https' --fail --silent --show-error --location --max-time 300 --output "$program" "$EXCHANGE_PROGRAM_URL"
    [ "$(sha256 "$program")" = "$EXCHANGE_PROGRAM_SHA256" ] || fail 'what is at carnet-url has another SHA-256'
    chmod 0700 "$program"
fi
command -v "$program" >/dev/null || fail "the runner has no program $program: give carnet-url and carnet-sha256"

# Only the token comes on standard output. The program masks it by a line on standard error, which the runner reads as well.
token=$("$program" exchange --source github-actions --server "$EXCHANGE_SERVER" --resource "$EXCHANGE_RESOURCE" \
    --scope "$EXCHANGE_SCOPE" --principal "$EXCHANGE_PRINCIPAL" --audience "$EXCHANGE_AUDIENCE" \
    --authorization-details "$EXCHANGE_DETAILS")
printf '::add-mask::%s\n' "$token"
printf 'token=%s\n' "$token" >> "$GITHUB_OUTPUT"
