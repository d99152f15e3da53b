// A registry that validates our tokens (RFC 9068) with nothing but the issuer identifier, and what it refuses.
import { readFileSync } from 'node:fs'
import * as oauth from 'oauth4webapi'

const { issuer, resource, tokens } = JSON.parse(readFileSync(0, 'utf8'))
const identifier = new URL(issuer)
const found = await oauth.discoveryRequest(identifier, { algorithm: 'oauth2' })
const server = await oauth.processDiscoveryResponse(identifier, found)

const validate = (token) => {
  const request = new Request(resource, { headers: { authorization: `Bearer ${token}` } })
  return oauth.validateJwtAccessToken(server, request, resource).catch(({ code }) => ({ code }))
}
const seen = {}
for (const [name, token] of Object.entries(tokens)) seen[name] = await validate(token)
console.log(JSON.stringify(seen))
