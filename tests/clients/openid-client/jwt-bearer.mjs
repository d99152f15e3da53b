// jwt-bearer for the registered public client `clientId`, or for no client if it is null, and the same assertion once more.
import { readFileSync } from 'node:fs'
import * as client from 'openid-client'

const { issuer, clientId, assertion } = JSON.parse(readFileSync(0, 'utf8'))
const grant = 'urn:ietf:params:oauth:grant-type:jwt-bearer'

// A client authentication that adds nothing to the request: the grant needs no registered client (RFC 7523 section 2.1).
const anonymous = () => {}

const config = await client.discovery(
  new URL(issuer), clientId ?? 'anonymous', undefined, clientId ? client.None() : anonymous, { algorithm: 'oauth2' },
)
const answer = await client.genericGrantRequest(config, grant, { assertion, scope: 'publish' })
const refusal = await client.genericGrantRequest(config, grant, { assertion }).catch((error) => error)
console.log(JSON.stringify({
  metadata: config.serverMetadata(),
  answer,
  refusal: { name: refusal.constructor.name, error: refusal.error, reason: refusal.cause?.reason },
}))
