// Token exchange: a platform's token for one of ours, that one for a narrower one, and the platform's token once more.
import { readFileSync } from 'node:fs'
import * as client from 'openid-client'

const { issuer, assertion, audience } = JSON.parse(readFileSync(0, 'utf8'))
const type = (name) => `urn:ietf:params:oauth:token-type:${name}`

const anonymous = () => {}
const config = await client.discovery(new URL(issuer), 'anonymous', undefined, anonymous, { algorithm: 'oauth2' })
const exchange = (parameters) =>
  client.genericGrantRequest(config, 'urn:ietf:params:oauth:grant-type:token-exchange', {
    requested_token_type: type('access_token'), audience, ...parameters,
  })

const first = await exchange({ subject_token: assertion, subject_token_type: type('jwt') })
const second = await exchange({
  subject_token: first.access_token, subject_token_type: type('access_token'), scope: 'publish',
})
const refusal = await exchange({ subject_token: assertion, subject_token_type: type('jwt') }).catch((error) => error)
console.log(JSON.stringify({
  first,
  second,
  refusal: { name: refusal.constructor.name, error: refusal.error, reason: refusal.cause?.reason },
}))
