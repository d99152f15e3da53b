// An OpenID provider of another project, at a loopback address, until the input ends. Its keys are new with each start.
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import Provider from 'oidc-provider'

const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
// `pages` is `own` for the pages below, with which a person chooses how they log in, or `bundled` for those of oidc-provider.
const { address, pages, client } = JSON.parse((await input.next()).value)
const issuer = `http://${address}`

const PEOPLE = {
  ada: { name: 'Ada Lovelace', groups: ['owners', 'staff'], email: 'ada@corp.example', email_verified: true },
  olive: { name: 'Olive Operator', groups: ['operators'], email: 'olive@corp.example', email_verified: true },
  nobody: { name: 'Nora Nobody', groups: ['visitors'], email: 'nora@corp.example', email_verified: false },
}

const key = (type, options, alg) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), alg, kid: randomUUID(), use: 'sig',
})

const provider = new Provider(issuer, {
  acrValues: ['one-factor', 'two-factors'],
  claims: {
    openid: ['sub'],
    profile: ['name', 'preferred_username', 'groups'],
    email: ['email', 'email_verified'],
  },
  clients: [client],
  // Without it, claims are at the userinfo endpoint alone.
  conformIdTokenClaims: pages === 'bundled',
  cookies: { keys: [randomUUID()], names: { session: `session-${pages}`, interaction: `interaction-${pages}`, resume: `resume-${pages}` } },
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256'] },
  features: {
    claimsParameter: { enabled: pages === 'own' },
    devInteractions: { enabled: pages === 'bundled' },
  },
  // Its own dispatcher keeps it from fetching the keys of a client at a loopback address.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  findAccount: (_, sub) => ({
    accountId: sub,
    claims: () => ({ sub, preferred_username: sub, groups: [], ...PEOPLE[sub] }),
  }),
  ...(pages === 'own' && {
    interactions: { url: (_, interaction) => `/log-in/${interaction.uid}` },
    loadExistingGrant,
  }),
  jwks: { keys: [key('rsa', { modulusLength: 2048 }, 'RS256'), key('ec', { namedCurve: 'P-256' }, 'ES256')] },
})

// Nobody is asked for consent: the company has decided it for its people.
async function loadExistingGrant(ctx) {
  const { client, session } = ctx.oidc
  const grant = new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId })
  grant.addOIDCScope('openid profile email')
  await grant.save()
  return grant
}

const page = (hint) => `<!doctype html><html lang="en"><title>Corp</title><h1>Log in at Corp</h1><form method="post">
<p><label>Name <input name="name" autofocus value="${/^\w*$/.test(hint) ? hint : ''}"></label>
<p><label><input type="checkbox" name="factors" value="2"> With a second factor</label>
<p><label><input type="checkbox" name="earlier" value="1200"> Twenty minutes ago</label>
<p><button>Log in</button> <button name="cancel" value="yes">Cancel</button></form>`

async function logIn(request, response) {
  if (request.method === 'GET') {
    const { params } = await provider.interactionDetails(request, response)
    response.setHeader('content-type', 'text/html; charset=utf-8')
    return response.end(page(params.login_hint ?? ''))
  }
  let body = ''
  for await (const part of request) body += part
  const form = new URLSearchParams(body)
  const login = {
    accountId: form.get('name'),
    acr: form.has('factors') ? 'two-factors' : 'one-factor',
    amr: form.has('factors') ? ['pwd', 'otp'] : ['pwd'],
    ts: Math.floor(Date.now() / 1000) - Number(form.get('earlier') ?? 0),
  }
  const denied = { error: 'access_denied', error_description: 'the person pressed cancel' }
  await provider.interactionFinished(request, response, form.has('cancel') ? denied : { login })
}

const answer = provider.callback()
const server = createServer((request, response) => {
  if (!request.url.startsWith('/log-in/')) return answer(request, response)
  logIn(request, response).catch((error) => {
    response.statusCode = 400
    response.end(error.message)
  })
})
// What it logs about itself goes elsewhere than the line that says that it is ready.
provider.on('server_error', (_, error) => console.error(error))
provider.on('grant.error', (_, error) => console.error(error.error, error.error_description, error.error_detail))

const [host, port] = address.split(':')
server.listen(Number(port), host, () => process.stdout.write('ready\n'))
await input.next()
process.exit(0)
