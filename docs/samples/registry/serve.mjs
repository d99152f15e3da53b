// Takes uploads over HTTP and keeps the packages in memory: node serve.mjs ISSUER RESOURCE
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { pathToFileURL } from 'node:url'
import { Verifier } from './carnet-tokens.mjs'
import { upload } from './registry.mjs'

// In your registry this is the database.
export class Packages {
  packages = new Map()
  last = Promise.resolve()

  // One after the other.
  transaction(work) {
    const done = this.last.then(work)
    this.last = done.catch(() => {})
    return done
  }

  async find(key) {
    // Or whether the principal is a member of the owner's organization.
    const mayActFor = (principal, owner) => principal === owner
    return { owners: this.packages.get(key)?.owners, mayActFor }
  }

  async store(key, version, digest, owner) {
    if (!this.packages.has(key)) this.packages.set(key, { owners: [owner], versions: {} })
    this.packages.get(key).versions[version] = digest // a real registry refuses a version that exists
  }
}

function serve(issuer, resource) {
  const [verifier, packages] = [new Verifier(issuer, resource), new Packages()]
  return createServer(async (request, response) => {
    const [name, version] = request.url.replace('/packages/', '').split('/')
    const hash = createHash('sha256')
    for await (const chunk of request) hash.update(chunk)
    const { authorization } = request.headers
    const asked = { authorization, name, version, digest: `sha256:${hash.digest('hex')}` }
    const { status, headers, body } = await upload(verifier, packages, asked)
    response.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(`${JSON.stringify(body)}\n`)
  })
}

const program = process.argv[1]
if (program && import.meta.url === pathToFileURL(program).href) serve(...process.argv.slice(2)).listen(8100, '127.0.0.1')
