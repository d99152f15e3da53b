#!/bin/sh
# The build system writes its token into a file. The token has the audience https://carnet.example.
set -eu
token=$(carnet exchange --server https://carnet.example --resource https://registry.example/ --principal acme \
    --assertion-file "$BUILD_TOKEN_FILE")
curl -sS --fail-with-body -X PUT -H "Authorization: Bearer $token" \
    --data-binary @acme-widgets-1.2.3.tar.gz https://registry.example/packages/acme-widgets/1.2.3
