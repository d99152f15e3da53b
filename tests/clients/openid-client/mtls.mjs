// Clients that connect with a certificate: one that authenticates by it, and one that has no registration.
import { readFileSync } from 'node:fs'
import { request } from 'node:https'
import * as client from 'openid-client'

const { issuer, assertion, resource, certificate, key, authority } = JSON.parse(readFileSync(0, 'utf8'))

// The library leaves the certificate of a connection to the runtime, whose own fetch cannot have one.
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

const discover = async (id, method) => {
  const configuration = await client.discovery(
    new URL(issuer), id, { use_mtls_endpoint_aliases: true }, method,
    { algorithm: 'oauth2', [client.customFetch]: withCertificate },
  )
  configuration[client.customFetch] = withCertificate
  return configuration
}

const builder = await discover('builder', client.TlsClientAuth())
const own = await client.clientCredentialsGrant(builder, { resource })
const introspected = await client.tokenIntrospection(builder, own.access_token)
const anonymous = await discover('anonymous', () => {})
const workload = await client.genericGrantRequest(
  anonymous, 'urn:ietf:params:oauth:grant-type:jwt-bearer', { assertion, resource },
)
console.log(JSON.stringify({ own, workload, introspected }))
