// A registry with the modules of the book, docs/samples/registry: what it answers to the vectors, and to real tokens.
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const given = JSON.parse(readFileSync(0, 'utf8'))
// Packages are looked up from where a module is, so the modules have to be below their folder.
const folder = mkdtempSync(join(process.cwd(), 'registry-'))
const load = (file) => {
  copyFileSync(join(given.samples, file), join(folder, file))
  return pathToFileURL(join(folder, file)).href
}
const files = ['carnet-decision.mjs', 'carnet-tokens.mjs', 'registry.mjs', 'serve.mjs']
const [decisions, tokens, registry, serve] = files.map(load)
const { Denied, decide, fold, isEntry, isPattern } = await import(decisions)
const { InvalidToken, Verifier } = await import(tokens)
const { upload } = await import(registry)
const { Packages } = await import(serve)
rmSync(folder, { recursive: true })

const { vectors } = given
const each = (cases, judge) => Object.fromEntries(cases.map((one) => [one.id, judge(one)]))
const name = ({ package_names: names, text }) => ({
  folded: fold[names](text),
  is_name: isPattern(text) && !text.includes('*'),
  is_pattern: isPattern(text),
})
const decision = ({ authorization_details: entries, package_names: names, operation, registry }) => {
  const state = {
    exists: registry.exists,
    ownedBy: (owner) => registry.owned_by.includes(owner),
    mayActFor: (principal, owner) => registry.may_act_for.some(([by, of]) => by === principal && of === owner),
  }
  try {
    const entry = decide(entries, names, operation, state)
    return { expect: 'allow', entry: entries.indexOf(entry), principal: entry.principal, owner: entry.owner }
  } catch (error) {
    if (error instanceof Denied) return { expect: 'deny', reason: error.message }
    throw error
  }
}
const accepted = async (verifier, token) => {
  try {
    const { authorization_details: entries = [] } = await verifier.verify(token)
    return { expect: 'accept', usable_entries: [...entries.keys()].filter((at) => isEntry(entries[at])) }
  } catch (error) {
    if (error instanceof InvalidToken) return { expect: 'reject', error: 'invalid_token' }
    throw error
  }
}

const seen = { names: each(vectors.names, name), decisions: each(vectors.decisions, decision), tokens: {}, real: {} }

const { fetch: realFetch, Date: RealDate } = globalThis
let later = 0
const clockFrom = (start) => {
  globalThis.Date = class extends RealDate {
    constructor(...when) {
      super(...(when.length > 0 ? when : [globalThis.Date.now()]))
    }
    static now() {
      return start() + later * 1000
    }
  }
}

const { issuer, resource, now, jwks } = vectors.token_setting
globalThis.fetch = async (url) => Response.json(String(url) === `${issuer}/jwks` ? jwks : { issuer, jwks_uri: `${issuer}/jwks` })
clockFrom(() => now * 1000)
const verifier = new Verifier(issuer, resource)
for (const one of vectors.tokens) seen.tokens[one.id] = await accepted(verifier, one.token)

// A real server: its tokens, and how often its keys are asked for.
let asked = 0
globalThis.fetch = (url, options) => {
  if (!String(url).includes('oauth-authorization-server')) asked += 1
  return realFetch(url, options)
}
clockFrom(() => RealDate.now())
const real = new Verifier(given.issuer, given.resource)
for (const [kind, token] of Object.entries(given.tokens)) seen.real[kind] = await accepted(real, token)
const claims = await real.verify(given.tokens.good)
const operation = { action: 'publish', package: 'widgets', version: '1.0.0' }
const state = { exists: true, ownedBy: (owner) => owner === 'joel', mayActFor: (principal, owner) => principal === owner }
seen.decided = decide(claims.authorization_details, 'exact', operation, state)
seen.fetched = [asked]
for (later of [0, 31, 32, 62]) {
  seen.stranger = await accepted(real, vectors.tokens[0].token)
  await accepted(real, vectors.tokens[0].token)
  seen.fetched.push(asked)
}

// A server that is away, or another one: not the token's fault.
seen.outages = []
for (const away of given.away) {
  seen.outages.push(await accepted(new Verifier(away, given.resource), given.tokens.good).catch(() => 'outage'))
}

const databases = Object.fromEntries(Object.keys(given.packages).map((uri) => [uri, new Packages()]))
for (const [uri, packages] of Object.entries(given.packages)) {
  for (const [name, owners] of Object.entries(packages)) databases[uri].packages.set(name, { owners, versions: {} })
}
console.error = console.info = () => {}
seen.uploads = []
for (const { authorization, name, ...at } of given.uploads) {
  const asked = { authorization, name, version: '1.0.0', digest: `sha256:${'0'.repeat(64)}` }
  const database = databases[at.resource]
  const { status, headers, body } = await upload(new Verifier(at.issuer, at.resource), database, asked)
  seen.uploads.push([status, headers, body, database.packages.get(name)?.owners ?? null])
}
console.log(JSON.stringify(seen))
