// Decides whether the entries of a verified access token of Carnet allow an operation.

// Answer 403 with the error insufficient_scope. The message is the reason.
export class Denied extends Error {}

const isText = (value) => typeof value === 'string'
const isList = (isElement) => (value) => Array.isArray(value) && value.every(isElement)
const optional = (isMember) => (value) => value === undefined || value === null || isMember(value)

// Whether an object has the known members only. Another one may be a restriction, so such an entry allows nothing.
const isObject = (members) => (value) =>
  value !== null && typeof value === 'object' && Object.keys(value).every((name) => Object.hasOwn(members, name)) &&
  Object.entries(members).every(([name, isMember]) => isMember(value[name]))

const isKind = (value) => value === 'federated_credential' || value === 'principal'
const isGround = isObject({ kind: isKind, id: isText, revision: optional(Number.isInteger) })
export const isEntry = isObject({
  type: isText, actions: isList(isText), packages: isList(isText), owner: isText, principal: isText,
  credential: isText, revision: Number.isInteger, locations: isList(isText),
  version: optional(isText), digest: optional(isText), rests_on: optional(isList(isGround)),
})

const lower = (name) => name.replace(/[A-Z]/g, (letter) => letter.toLowerCase())
export const fold = { // by package_names of the resource server in Carnet
  exact: (name) => name,
  ascii_case_insensitive: lower,
  pep503: (name) => lower(name).replace(/[-_.]+/g, '-'),
  cargo: (name) => lower(name).replaceAll('-', '_'),
}

export const isPattern = (text) =>
  text !== '' && Buffer.byteLength(text) <= 256 && !/[\p{White_Space}\p{Cc}]|^\.|\.$/u.test(text)

// Piece by piece and never back, so that a pattern of many stars costs little time.
export function matches(pattern, name) {
  const [first, ...pieces] = pattern.split('*')
  if (pieces.length === 0) return pattern === name
  const last = pieces.pop()
  if (!name.startsWith(first) || !name.endsWith(last)) return false
  let at = first.length
  for (const piece of pieces) {
    const found = name.indexOf(piece, at)
    if (found < 0) return false
    at = found + piece.length
  }
  return at <= name.length - last.length
}

// The entry that allows the operation: its owner is that of a new package.
export function decide(given, packageNames, operation, { exists, ownedBy, mayActFor }) {
  const { action, package: name, version, digest } = operation
  const entries = given.filter((entry) => isEntry(entry) && entry.type === 'package')
  const folded = fold[packageNames]
  const covers = ({ packages }) =>
    isPattern(name) && !name.includes('*') &&
    packages.some((pattern) => isPattern(pattern) && matches(folded(pattern), folded(name)))
  const conditions = [
    ['package_out_of_scope', covers],
    ['action_out_of_scope', (entry) => entry.actions.includes(action)],
    ['create_denied', (entry) => exists || entry.actions.includes('create')],
    ['version_mismatch', (entry) => (entry.version ?? version) === version],
    ['digest_mismatch', (entry) => (entry.digest ?? digest) === digest],
    ['owner_lost', (entry) => !exists || ownedBy(entry.owner)],
    ['owner_lost', (entry) => mayActFor(entry.principal, entry.owner)],
  ]
  // How far each entry gets, -1 if it allows the operation; the reason is that of the one that gets farthest.
  const reached = entries.map((entry) => conditions.findIndex(([, holds]) => !holds(entry)))
  const entry = entries[reached.indexOf(-1)]
  if (!entry) throw new Denied(conditions[Math.max(0, ...reached)][0])
  const rivals = entries.filter((other) => other.principal !== entry.principal && other.actions.includes('create'))
  if (!exists && rivals.some(covers)) throw new Denied('owner_ambiguous')
  return entry
}
