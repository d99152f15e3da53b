// A registry's introspection as JSON and as a signed JWT (RFC 9701) whose signature is checked, and the revocation by the holder.
import { readFileSync } from 'node:fs'
import * as client from 'openid-client'

const { issuer, token, registry } = JSON.parse(readFileSync(0, 'utf8'))
const options = { algorithm: 'oauth2' }

const asRegistry = (metadata, ...execute) =>
  client.discovery(new URL(issuer), registry.clientId, metadata, client.ClientSecretBasic(registry.secret), {
    ...options, execute,
  })
const plain = await asRegistry()
// Without these checks the library trusts TLS and does not look at the signature.
const signed = await asRegistry({ introspection_signed_response_alg: 'ES256' }, client.enableNonRepudiationChecks)

const before = {
  json: await client.tokenIntrospection(plain, token),
  jwt: await client.tokenIntrospection(signed, token),
}
const holder = await client.discovery(new URL(issuer), 'anonymous', undefined, () => {}, options)
await client.tokenRevocation(holder, token, { token_type_hint: 'access_token' })
await client.tokenRevocation(holder, token)
const after = {
  json: await client.tokenIntrospection(plain, token),
  jwt: await client.tokenIntrospection(signed, token),
}
console.log(JSON.stringify({ before, after }))
