set -euo pipefail      # run in bash, so that a failed curl ends the step
assertion=$(curl -sSf -H "Authorization: bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" \
  "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=https://carnet.example" | jq -r .value)
answer=$(curl -sS https://carnet.example/token \
  --data-urlencode grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer \
  --data-urlencode "assertion=$assertion" \
  --data-urlencode resource=https://registry.example/ \
  --data-urlencode principal=octo-org)
token=$(jq -r '.access_token // empty' <<< "$answer")
if [ -z "$token" ]; then jq . <<< "$answer"; exit 1; fi
echo "::add-mask::$token"
