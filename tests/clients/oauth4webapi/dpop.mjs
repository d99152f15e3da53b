// Bound tokens through strict response processing; the script repeats a request whose proof needs a nonce, as the library says.
import { readFileSync } from 'node:fs'
import * as oauth from 'oauth4webapi'

const { issuer, assertion, bot, resource } = JSON.parse(readFileSync(0, 'utf8'))
const identifier = new URL(issuer)
const found = await oauth.discoveryRequest(identifier, { algorithm: 'oauth2' })
const server = await oauth.processDiscoveryResponse(identifier, found)
const keyPair = await oauth.generateKeyPair('ES256')

let nonces = 0
const withNonce = async (request) => request().catch((error) => {
  if (!oauth.isDPoPNonceError(error)) throw error
  nonces += 1
  return request()
})

const holder = { client_id: 'anonymous' }
const DPoP = oauth.DPoP(holder, keyPair)
const grant = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const workload = await withNonce(async () => {
  const parameters = { assertion, resource }
  const answer = await oauth.genericTokenEndpointRequest(server, holder, () => {}, grant, parameters, { DPoP })
  return oauth.processGenericTokenEndpointResponse(server, holder, answer)
})

const robot = { client_id: bot.clientId }
const own = oauth.DPoP(robot, keyPair)
const secret = oauth.ClientSecretBasic(bot.secret)
const admin = await withNonce(async () => {
  const parameters = { resource: `${issuer}/admin`, scope: 'admin:read' }
  const answer = await oauth.clientCredentialsGrantRequest(server, robot, secret, parameters, { DPoP: own })
  return oauth.processClientCredentialsResponse(server, robot, answer)
})
const url = new URL(`${issuer}/admin/v1/principals/joel`)
const shown = await withNonce(() =>
  oauth.protectedResourceRequest(admin.access_token, 'GET', url, undefined, undefined, { DPoP: own }))
console.log(JSON.stringify({
  thumbprint: await own.calculateThumbprint(), nonces, workload, admin, shown: [shown.status, (await shown.json()).name],
}))
