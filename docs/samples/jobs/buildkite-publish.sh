#!/usr/bin/env bash
# .buildkite/publish.sh
set -euo pipefail
token=$(carnet exchange --server https://carnet.example --resource https://registry.example/ --principal acme)
printf %s "$token" | buildkite-agent redactor add      # masks the token in the log from here on
curl -sS --fail-with-body -X PUT -H "Authorization: Bearer $token" \
  --data-binary @acme-widgets-1.2.3.tar.gz https://registry.example/packages/acme-widgets/1.2.3
