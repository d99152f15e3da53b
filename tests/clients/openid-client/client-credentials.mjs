// client_credentials with every method of client authentication, and what a client sees whose proof is not taken.
import { createPrivateKey, webcrypto } from 'node:crypto'
import { readFileSync } from 'node:fs'
import * as client from 'openid-client'

const { issuer, resource, clients } = JSON.parse(readFileSync(0, 'utf8'))

const methods = {
  client_secret_basic: ({ secret }) => client.ClientSecretBasic(secret),
  client_secret_post: ({ secret }) => client.ClientSecretPost(secret),
  private_key_jwt: async ({ key, kid }) => {
    const jwk = createPrivateKey(key).export({ format: 'jwk' })
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
    return client.PrivateKeyJwt({ key: await webcrypto.subtle.importKey('jwk', jwk, algorithm, false, ['sign']), kid })
  },
  // The platform's token authenticates the workload's client, which has no key of its own.
  // ANCHOR: federated
  federated: ({ assertion }) => (_server, { client_id }, body) => {
    body.set('client_id', client_id)
    body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
    body.set('client_assertion', assertion)
  },
  // ANCHOR_END: federated
}

const answers = {}
for (const given of clients) {
  const method = await methods[given.method](given)
  const config = await client.discovery(new URL(issuer), given.clientId, undefined, method, { algorithm: 'oauth2' })
  try {
    answers[given.name] = await client.clientCredentialsGrant(config, { resource, scope: 'publish' })
  } catch (error) {
    // A 401 carries a challenge; the library shows that and leaves the body to whoever wants it.
    const body = error instanceof client.WWWAuthenticateChallengeError ? await error.response.json() : error.cause
    answers[given.name] = { name: error.constructor.name, error: body.error, reason: body.reason }
  }
}
console.log(JSON.stringify(answers))
