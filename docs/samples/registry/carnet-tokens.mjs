// Verifies an access token of Carnet. Needs jose.
import { createRemoteJWKSet, errors, jwtVerify } from 'jose'
import { isEntry } from './carnet-decision.mjs'

// Answer 401 with the error invalid_token. On any other exception answer 503. The message is the cause.
export class InvalidToken extends Error {}

// What jose throws when the answer of the server is at fault, not the token.
const OUTAGES = ['ERR_JOSE_GENERIC', 'ERR_JWKS_INVALID', 'ERR_JWKS_TIMEOUT']

// Make one and share it, because it keeps the keys.
export class Verifier {
  constructor(issuer, resource) {
    Object.assign(this, { issuer, resource, keys: undefined })
  }

  async keySet() {
    const { origin, pathname } = new URL(this.issuer)
    const url = `${origin}/.well-known/oauth-authorization-server${pathname.replace(/\/+$/, '')}`
    const answer = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(5000) })
    if (!answer.ok) throw new Error(`${url} answers ${answer.status}`)
    const { issuer, jwks_uri } = await answer.json()
    if (issuer !== this.issuer) throw new Error(`the metadata is of ${issuer}, not of ${this.issuer}`)
    // An unknown kid fetches the keys again, at most every 30 seconds.
    return createRemoteJWKSet(new URL(jwks_uri), { cacheMaxAge: 300_000, cooldownDuration: 30_000 })
  }

  async verify(token) {
    this.keys ??= await this.keySet()
    const { payload: claims } = await jwtVerify(token, this.keys, {
      issuer: this.issuer,
      typ: 'at+jwt',
      algorithms: ['ES256', 'RS256', 'EdDSA'],
      clockTolerance: 60,
      requiredClaims: ['aud', 'exp', 'iat', 'sub', 'client_id', 'jti'],
    }).catch((error) => {
      if (!(error instanceof errors.JOSEError) || OUTAGES.includes(error.code)) throw error
      throw new InvalidToken(`not valid: ${error.message}`, { cause: error })
    })
    const { aud, iat, authorization_details: entries = [] } = claims
    if (aud !== this.resource) throw new InvalidToken(`for ${aud}, not for ${this.resource}`) // a list is refused too
    if (iat > Date.now() / 1000 + 60) throw new InvalidToken('issued in the future') // jose does not look at it
    if ('cnf' in claims || !Array.isArray(entries)) throw new InvalidToken('bound to a key, or malformed')
    if (entries.some((entry) => isEntry(entry) && !entry.locations.includes(this.resource))) {
      throw new InvalidToken('has an entry for another registry')
    }
    return claims
  }
}
