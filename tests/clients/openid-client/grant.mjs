// Discovers the server and completes the jwt-bearer grant with the unmodified openid-client, and prints what it got.
// Arguments: issuer identifier, assertion, client_id (empty: no client at all).
import * as client from 'openid-client'

const [issuer, assertion, clientId] = process.argv.slice(2)

// A client authentication that adds nothing to the request: the grant needs no registered client (RFC 7523 section 2.1).
const anonymous = () => {}

const config = await client.discovery(
  new URL(issuer),
  clientId || 'anonymous',
  undefined,
  clientId ? client.None() : anonymous,
  { algorithm: 'oauth2', execute: [client.allowInsecureRequests] },
)
const answer = await client.genericGrantRequest(config, 'urn:ietf:params:oauth:grant-type:jwt-bearer', { assertion, scope: 'publish' })
let refusal
try {
  await client.genericGrantRequest(config, 'urn:ietf:params:oauth:grant-type:jwt-bearer', { assertion })
} catch (error) {
  refusal = { name: error.constructor.name, error: error.error, description: error.error_description, reason: error.cause?.reason }
}
console.log(JSON.stringify({ issuer: config.serverMetadata().issuer, answer, refusal }))
