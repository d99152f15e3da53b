// Clients that a person lets act: OpenID discovery, PKCE, state, nonce, `iss`, signed ID token, userinfo, DPoP; and what the library refuses.
import { readFileSync } from 'node:fs'
import * as client from 'openid-client'

const { issuer, browser, redirectUri, resource, shop, tool } = JSON.parse(readFileSync(0, 'utf8'))

// Where the browser of a person who decides like this is sent from the authorization endpoint.
const follow = async (url, decision) => {
  const asked = new URL(browser)
  asked.search = new URLSearchParams({ url: url.href, decision })
  return new URL(await (await fetch(asked)).text())
}

const discover = async (id, method) => {
  const config = await client.discovery(new URL(issuer), id, undefined, method)
  client.enableNonRepudiationChecks(config)
  return config
}

const getTokens = async (config, parameters, { decision = 'allow', change = () => {}, expected = {}, more = {}, options } = {}) => {
  const [pkceCodeVerifier, expectedState, expectedNonce] =
    [client.randomPKCECodeVerifier(), client.randomState(), client.randomNonce()]
  const url = client.buildAuthorizationUrl(config, {
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier), code_challenge_method: 'S256',
    state: expectedState, nonce: expectedNonce, ...parameters,
  })
  const answer = await follow(url, decision)
  change(answer.searchParams)
  const checks = { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true, ...expected }
  return client.authorizationCodeGrant(config, answer, checks, more, options)
}

const openid = { redirect_uri: redirectUri, scope: 'openid profile email' }
const shown = async (config, tokens, options) => {
  const claims = tokens.claims()
  return { tokens, claims, userinfo: await client.fetchUserInfo(config, tokens.access_token, claims.sub, options) }
}

const confidential = await discover(shop.clientId, client.ClientSecretBasic(shop.secret))
const seen = { metadata: confidential.serverMetadata() }
seen.shop = await shown(confidential, await getTokens(confidential, { ...openid, max_age: '600' }, { expected: { maxAge: 600 } }))
const post = await discover(shop.clientId, client.ClientSecretPost(shop.secret))
seen.post = await getTokens(post, openid).catch(async ({ response }) => (await response.json()).error)

const registry = { redirect_uri: redirectUri, scope: 'openid publish', resource }
seen.registry = await getTokens(confidential, registry, { more: { resource } })

const native = await discover(tool.clientId, client.None())
seen.tool = await shown(native, await getTokens(native, { ...openid, redirect_uri: tool.redirectUri }))
const DPoP = client.getDPoPHandle(native, await client.randomDPoPKeyPair())
const thumbprint = await DPoP.calculateThumbprint()
const bound = { ...openid, redirect_uri: tool.redirectUri, dpop_jkt: thumbprint }
seen.bound = { thumbprint, ...await shown(native, await getTokens(native, bound, { options: { DPoP } }), { DPoP }) }

const refused = async (how, parameters = openid) => {
  try {
    return { tokens: await getTokens(confidential, parameters, how) }
  } catch (error) {
    return { name: error.constructor.name, code: error.code, error: error.error, message: error.cause?.message ?? error.message }
  }
}
seen.refused = {
  otherIssuer: await refused({ change: (answer) => answer.set('iss', 'https://evil.test') }),
  noIssuer: await refused({ change: (answer) => answer.delete('iss') }),
  otherState: await refused({ change: (answer) => answer.set('state', 'x') }),
  otherNonce: await refused({ expected: { expectedNonce: 'x' } }),
  otherVerifier: await refused({ expected: { pkceCodeVerifier: client.randomPKCECodeVerifier() } }),
  denied: await refused({ decision: 'deny' }),
  silent: await refused({}, { ...openid, prompt: 'none' }),
}
console.log(JSON.stringify(seen))
