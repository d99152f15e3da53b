// A client that authenticates by the certificate of its connection, through strict response processing.
import { readFileSync } from 'node:fs'
import { request } from 'node:https'
import * as oauth from 'oauth4webapi'

const { issuer, resource, certificate, key, authority } = JSON.parse(readFileSync(0, 'utf8'))

const withCertificate = (url, options) => new Promise((resolve, reject) => {
  const { method, headers, body } = options
  const sent = request(url, { method, headers, cert: certificate, key, ca: authority }, (answer) => {
    const parts = []
    answer.on('data', (part) => parts.push(part))
    answer.on('end', () => resolve(new Response(Buffer.concat(parts), { status: answer.statusCode, headers: answer.headers })))
  })
  sent.on('error', reject)
  sent.end(body?.toString())
})

const identifier = new URL(issuer)
const found = await oauth.discoveryRequest(identifier, { algorithm: 'oauth2' })
const server = await oauth.processDiscoveryResponse(identifier, found)
const builder = { client_id: 'builder', use_mtls_endpoint_aliases: true }
const answer = await oauth.clientCredentialsGrantRequest(
  server, builder, oauth.TlsClientAuth(), { resource }, { [oauth.customFetch]: withCertificate },
)
const own = await oauth.processClientCredentialsResponse(server, builder, answer)
console.log(JSON.stringify({ own, bound: server.tls_client_certificate_bound_access_tokens }))
