// OpenID Connect, step by step, with the library's strict response processing, and what it refuses.
import { readFileSync } from 'node:fs'
import * as oauth from 'oauth4webapi'

const { issuer, browser, redirectUri, resource, shop } = JSON.parse(readFileSync(0, 'utf8'))
const identifier = new URL(issuer)
const server = await oauth.processDiscoveryResponse(identifier, await oauth.discoveryRequest(identifier))
const client = { client_id: shop.clientId, require_auth_time: true }
const method = oauth.ClientSecretBasic(shop.secret)

const ask = async (parameters) => {
  const verifier = oauth.generateRandomCodeVerifier()
  const [state, nonce] = [oauth.generateRandomState(), oauth.generateRandomNonce()]
  const url = new URL(server.authorization_endpoint)
  url.search = new URLSearchParams({
    client_id: client.client_id, redirect_uri: redirectUri, response_type: 'code', state, nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', ...parameters,
  })
  const asked = new URL(browser)
  asked.search = new URLSearchParams({ url: url.href })
  return { answer: new URL(await (await fetch(asked)).text()), verifier, state, nonce }
}

const redeem = async ({ answer, verifier, state, nonce }) => {
  const parameters = oauth.validateAuthResponse(server, client, answer, state)
  const response = await oauth.authorizationCodeGrantRequest(server, client, method, parameters, redirectUri, verifier)
  const tokens = await oauth.processAuthorizationCodeResponse(server, client, response, {
    expectedNonce: nonce, requireIdToken: true, maxAge: 600,
  })
  await oauth.validateApplicationLevelSignature(server, response)
  return { tokens, claims: oauth.getValidatedIdTokenClaims(tokens) }
}

const openid = { scope: 'openid profile email', max_age: '600' }
const shown = await redeem(await ask(openid))
const told = await oauth.userInfoRequest(server, client, shown.tokens.access_token)
const userinfo = await oauth.processUserInfoResponse(server, client, shown.claims.sub, told)

const registry = await redeem(await ask({ scope: 'openid publish', resource }))
const request = new Request(new URL(resource), { headers: { authorization: `Bearer ${registry.tokens.access_token}` } })
const accepted = await oauth.validateJwtAccessToken(server, request, resource)

const refused = async (change) => {
  const asked = await ask(openid)
  change(asked)
  try {
    return await redeem(asked)
  } catch (error) {
    return { code: error.code, error: error.error, message: error.message }
  }
}
const used = await ask(openid)
await redeem(used)
console.log(JSON.stringify({
  server, shown, userinfo, registry, accepted,
  refused: {
    otherIssuer: await refused(({ answer }) => answer.searchParams.set('iss', 'https://evil.test')),
    noIssuer: await refused(({ answer }) => answer.searchParams.delete('iss')),
    otherNonce: await refused((asked) => { asked.nonce = 'x' }),
    otherVerifier: await refused((asked) => { asked.verifier = oauth.generateRandomCodeVerifier() }),
    used: await redeem(used).catch(({ error }) => ({ error })),
  },
}))
