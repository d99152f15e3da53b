// Every answer of the server through strict response processing.
import { readFileSync } from 'node:fs'
import * as oauth from 'oauth4webapi'

const { issuer, assertion, resource, bot, registry } = JSON.parse(readFileSync(0, 'utf8'))
const identifier = new URL(issuer)

const found = await oauth.discoveryRequest(identifier, { algorithm: 'oauth2' })
const server = await oauth.processDiscoveryResponse(identifier, found)

const holder = { client_id: 'anonymous' }
const granted = await oauth.genericTokenEndpointRequest(
  server, holder, () => {}, 'urn:ietf:params:oauth:grant-type:jwt-bearer', { assertion, resource },
)
const workload = await oauth.processGenericTokenEndpointResponse(server, holder, granted)

const robot = { client_id: bot.clientId }
const given = await oauth.clientCredentialsGrantRequest(
  server, robot, oauth.ClientSecretBasic(bot.secret), { resource },
)
const own = await oauth.processClientCredentialsResponse(server, robot, given)

const asking = { client_id: registry.clientId, introspection_signed_response_alg: 'ES256' }
const introspect = async (requestJwtResponse) => {
  const method = oauth.ClientSecretBasic(registry.secret)
  const response = await oauth.introspectionRequest(server, asking, method, own.access_token, { requestJwtResponse })
  const answer = await oauth.processIntrospectionResponse(server, asking, response)
  if (requestJwtResponse) await oauth.validateApplicationLevelSignature(server, response)
  return answer
}
const before = { json: await introspect(false), jwt: await introspect(true) }

const revoked = await oauth.revocationRequest(server, robot, oauth.ClientSecretBasic(bot.secret), own.access_token)
await oauth.processRevocationResponse(revoked)
const after = { json: await introspect(false), jwt: await introspect(true) }

console.log(JSON.stringify({ server, workload, own, before, after }))
