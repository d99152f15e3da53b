#!/usr/bin/env bash
# Runs on a virtual machine with a managed identity. The resource is the application that is registered in Entra for Carnet.
set -euo pipefail
ENTRA_TOKEN=$(curl -sSf --noproxy '*' --max-time 30 -H 'Metadata: true' \
    'http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=api%3A%2F%2Fcarnet' | jq -r .access_token)
export ENTRA_TOKEN
token=$(carnet exchange --server https://carnet.example --resource https://registry.example/ --principal acme \
    --assertion-env ENTRA_TOKEN --audience aaaaaaaa-0000-4000-8000-000000000001)
curl -sS --fail-with-body -X PUT -H "Authorization: Bearer $token" \
  --data-binary @acme-widgets-1.2.3.tar.gz https://registry.example/packages/acme-widgets/1.2.3
