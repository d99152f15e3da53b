// An upload: the token is verified, the decision made within the transaction, and each refusal answered (RFC 6750).
import { Denied, decide, fold } from './carnet-decision.mjs'
import { InvalidToken } from './carnet-tokens.mjs'

const PACKAGE_NAMES = 'exact' // as package_names of the resource server in Carnet
const folded = fold[PACKAGE_NAMES]

function refusal(status, { error, scope, ...about } = {}) {
  const parameters = Object.entries({ realm: 'registry', error, scope }).filter(([, value]) => value)
  const challenge = `Bearer ${parameters.map(([name, value]) => `${name}="${value}"`).join(', ')}`
  return { status, headers: { 'WWW-Authenticate': challenge }, body: { error, ...about } }
}

// Status, headers and body of the answer. `packages` stands for your database.
export async function upload(verifier, packages, { authorization, name, version, digest }) {
  const [, token] = /^bearer +(\S+) *$/i.exec(authorization ?? '') ?? []
  if (!token) return refusal(401)
  let claims
  try {
    claims = await verifier.verify(token)
  } catch (error) {
    if (error instanceof InvalidToken) {
      console.info('token refused:', error.message)
      return refusal(401, { error: 'invalid_token', error_description: error.message })
    }
    console.error('tokens cannot be checked:', error)
    return { status: 503, headers: { 'Retry-After': '30' }, body: {} }
  }
  const key = folded(name)
  return packages.transaction(async () => {
    const { owners, mayActFor } = await packages.find(key) // owners is undefined if there is no such package
    const state = { exists: owners !== undefined, ownedBy: (owner) => owners.includes(owner), mayActFor }
    const operation = { action: 'publish', package: name, version, digest }
    try {
      const { owner } = decide(claims.authorization_details ?? [], PACKAGE_NAMES, operation, state)
      await packages.store(key, version, digest, owner)
      return { status: 201, headers: {}, body: { owner } }
    } catch (error) {
      if (!(error instanceof Denied)) throw error
      const scope = error.message === 'create_denied' ? 'create publish' : 'publish'
      return refusal(403, { error: 'insufficient_scope', scope, reason: error.message })
    }
  })
}
