// Verifies messages as a receiver does, with the reference library of the convention: the message as it came, with each of `secrets`,
// and changed in one character.
import { readFileSync } from 'node:fs'
// ANCHOR: verify
import { Webhook } from 'standardwebhooks'

// Throws unless one of the signatures is by this secret, and the timestamp is right to within five minutes.
const verified = (secret, body, headers) => new Webhook(secret).verify(body, headers)
// ANCHOR_END: verify

const { headers, body, secrets } = JSON.parse(readFileSync(0, 'utf8'))

const verify = (secret, text) => {
  try {
    return { payload: verified(secret, text, headers) }
  } catch (error) {
    return { error: error.constructor.name }
  }
}

console.log(JSON.stringify({
  verified: secrets.map((secret) => verify(secret, body)),
  changed: verify(secrets[0], body.replace('carnet.', 'Carnet.')),
}))
