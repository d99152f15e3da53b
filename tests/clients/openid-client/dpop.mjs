// Bound tokens by each grant, and a bound admin token at the admin API. The library repeats a request for a nonce by itself.
import { readFileSync } from 'node:fs'
import * as client from 'openid-client'

const { issuer, assertion, subjectToken, bot, resource } = JSON.parse(readFileSync(0, 'utf8'))
const grant = (name) => `urn:ietf:params:oauth:grant-type:${name}`
const type = (name) => `urn:ietf:params:oauth:token-type:${name}`

const discover = (id, method) => client.discovery(new URL(issuer), id, undefined, method, { algorithm: 'oauth2' })
const keyPair = await client.randomDPoPKeyPair()

const anonymous = await discover('anonymous', () => {})
const DPoP = client.getDPoPHandle(anonymous, keyPair)
const workload = await client.genericGrantRequest(anonymous, grant('jwt-bearer'), { assertion, resource }, { DPoP })
const exchanged = await client.genericGrantRequest(anonymous, grant('token-exchange'), {
  subject_token: subjectToken, subject_token_type: type('jwt'), resource,
}, { DPoP })
const renewed = await client.genericGrantRequest(anonymous, grant('token-exchange'), {
  subject_token: workload.access_token, subject_token_type: type('access_token'), scope: 'publish',
}, { DPoP })

const robot = await discover(bot.clientId, client.ClientSecretBasic(bot.secret))
const own = client.getDPoPHandle(robot, keyPair)
const admin = await client.clientCredentialsGrant(
  robot, { resource: `${issuer}/admin`, scope: 'admin:read' }, { DPoP: own },
)
const url = new URL(`${issuer}/admin/v1/principals/joel`)
const shown = await client.fetchProtectedResource(robot, admin.access_token, url, 'GET', undefined, undefined, { DPoP: own })
const bearer = await fetch(url, { headers: { authorization: `Bearer ${admin.access_token}` } })
console.log(JSON.stringify({
  thumbprint: await DPoP.calculateThumbprint(), workload, exchanged, renewed, admin,
  shown: [shown.status, (await shown.json()).name], bearer: bearer.status,
}))
