// npm oidc-provider as it is configured for the comparison, and the signer of its assertions.
//
// `node oidc-provider.mjs serve PORT KEY` serves client_credentials with private_key_jwt (RS256) to ES256 JWT access
// tokens; `node oidc-provider.mjs sign PORT KEY COUNT` prints so many form bodies, each with an assertion of its own.
// KEY is a file with the client's private key, which `sign` makes if it is missing.

import { createPrivateKey, createPublicKey, generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [command, port, keyFile, count] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const client = 'bench';
const resource = 'https://registry.bench.invalid/';
const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

function assertion(key) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: client, sub: client, aud: issuer, jti: randomUUID(), iat: now, exp: now + 3000 };
  const input = `${encode({ alg: 'RS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${input}.${sign('sha256', Buffer.from(input), key).toString('base64url')}`;
}

function print(total) {
  if (!existsSync(keyFile)) {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    writeFileSync(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  }
  const key = createPrivateKey(readFileSync(keyFile));
  for (let n = 0; n < total; n += 1) {
    const form = new URLSearchParams({
      grant_type: 'client_credentials',
      resource,
      scope: 'publish',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: assertion(key),
    });
    process.stdout.write(`${form}\n`);
  }
}

async function serve() {
  // The package lies in the working directory, not beside this file.
  const path = createRequire(`${process.cwd()}/`).resolve('oidc-provider');
  const { default: Provider } = await import(pathToFileURL(path));
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwks = { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' }] };
  const clientKey = createPublicKey(readFileSync(keyFile)).export({ format: 'jwk' });
  const provider = new Provider(issuer, {
    clients: [{
      client_id: client,
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'RS256',
      id_token_signed_response_alg: 'ES256',
      jwks: { keys: [{ ...clientKey, alg: 'RS256', use: 'sig' }] },
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    }],
    clientAuthMethods: ['private_key_jwt'],
    jwks,
    scopes: ['publish'],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          audience: resource,
          scope: 'publish',
          accessTokenFormat: 'jwt',
          accessTokenTTL: 900,
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
  });
  provider.on('server_error', (_, error) => console.error(error));
  provider.listen(Number(port), '127.0.0.1');
}

await (command === 'sign' ? print(Number(count)) : serve());
