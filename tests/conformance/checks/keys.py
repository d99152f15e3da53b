"""Keys and JWTs with Python's integers alone.

The plan has to sign with keys that no good library makes or uses (an RSA key of 1024 bits, a point that is not on its curve,
a header that says another algorithm than the key), and a run should need nothing but `requests`. Nothing here is fit for secrets
of value: it is not constant in time.
"""

import base64
import hashlib
import hmac
import json
import secrets

HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}

# P-256
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(text):
    return int.from_bytes(unb64(text), "big")


def octets(value, length=None):
    return value.to_bytes(length or (value.bit_length() + 7) // 8, "big")


def add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def times(scalar, point):
    result = None
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def probably_prime(candidate):
    if any(candidate % small == 0 for small in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)):
        return False
    odd, twos = candidate - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(20):
        x = pow(secrets.randbelow(candidate - 3) + 2, odd, candidate)
        if x in (1, candidate - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % candidate
            if x == candidate - 1:
                break
        else:
            return False
    return True


def prime(bits):
    while True:
        candidate = secrets.randbits(bits) | 3 << bits - 2 | 1
        if candidate % 65537 != 1 and probably_prime(candidate):
            return candidate


def new_rsa(bits=2048):
    p, q = prime(bits // 2), prime(bits // 2)
    private = {"d": pow(65537, -1, (p - 1) * (q - 1)), "p": p, "q": q}
    return {"kty": "RSA", "n": b64(octets(p * q)), "e": "AQAB", **{name: b64(octets(value)) for name, value in private.items()}}


def new_ec():
    d = secrets.randbelow(N - 1) + 1
    x, y = times(d, G)
    return {"kty": "EC", "crv": "P-256", "x": b64(octets(x, 32)), "y": b64(octets(y, 32)), "d": b64(octets(d, 32))}


def public(key):
    return {name: value for name, value in key.items() if name not in ("d", "p", "q")}


def thumbprint(key):
    """RFC 7638 section 3."""
    names = ("e", "kty", "n") if key["kty"] == "RSA" else ("crv", "kty", "x", "y")
    canonical = json.dumps({name: key[name] for name in names}, separators=(",", ":"), sort_keys=True)
    return b64(hashlib.sha256(canonical.encode()).digest())


def padded(message, hash_name, length):
    """EMSA-PKCS1-v1_5 of RFC 8017 section 9.2."""
    last = {"256": 1, "384": 2, "512": 3}[hash_name]
    size = HASHES[hash_name]().digest_size
    prefix = bytes([0x30, 17 + size, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, last, 5, 0, 4, size])
    info = prefix + HASHES[hash_name](message).digest()
    return b"\0\1" + b"\xff" * (length - len(info) - 3) + b"\0" + info


def masked(seed, length, hash_name):
    """MGF1 of RFC 8017."""
    blocks = (HASHES[hash_name](seed + octets(i, 4)).digest() for i in range(length // 32 + 1))
    return b"".join(blocks)[:length]


def pss_padded(message, hash_name, bits):
    """EMSA-PSS of RFC 8017 section 9.1.1, with a salt as long as the hash."""
    digest, size = HASHES[hash_name], HASHES[hash_name]().digest_size
    length, salt = (bits + 7) // 8, secrets.token_bytes(size)
    inner = digest(b"\0" * 8 + digest(message).digest() + salt).digest()
    block = b"\0" * (length - 2 * size - 2) + b"\1" + salt
    mask = masked(inner, len(block), hash_name)
    hidden = bytearray(a ^ b for a, b in zip(block, mask))
    hidden[0] &= 0xFF >> (8 * length - bits)
    return bytes(hidden) + inner + b"\xbc"


def rsa_private(key, value):
    """RFC 8017 section 5.1.2, by the remainders of both primes, which is four times as fast."""
    d, p, q = (number(key[name]) for name in ("d", "p", "q"))
    by_p, by_q = pow(value % p, d % (p - 1), p), pow(value % q, d % (q - 1), q)
    return by_q + q * ((by_p - by_q) * pow(q, -1, p) % p)


def sign(algorithm, key, message):
    """A signature by the algorithm, or by what the key can do if they do not fit."""
    if algorithm.startswith("HS"):
        return hmac.new(key["k"], message, HASHES[algorithm[2:]]).digest()
    if key["kty"] == "RSA":
        modulus, hash_name = number(key["n"]), algorithm[2:] if algorithm[2:] in HASHES else "256"
        length = (modulus.bit_length() + 7) // 8
        if algorithm.startswith("PS"):
            block = pss_padded(message, hash_name, modulus.bit_length() - 1)
        else:
            block = padded(message, hash_name, length)
        return octets(rsa_private(key, int.from_bytes(block, "big")), length)
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    while True:
        nonce = secrets.randbelow(N - 1) + 1
        r = times(nonce, G)[0] % N
        s = pow(nonce, -1, N) * (digest + r * number(key["d"])) % N
        if r and s:
            return octets(r, 32) + octets(s, 32)


def verify(token, keys):
    """Whether a key of the set signed the token; None if the algorithm is none that this module knows."""
    signed, _, signature = token.rpartition(".")
    header = json.loads(unb64(signed.split(".")[0]))
    algorithm, signature = header["alg"], unb64(signature)
    for key in keys:
        if key.get("kid") != header.get("kid"):
            continue
        if algorithm == "ES256":
            r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            digest = int.from_bytes(hashlib.sha256(signed.encode()).digest(), "big")
            inverse = pow(s, -1, N)
            key_point = (number(key["x"]), number(key["y"]))
            point = add(times(digest * inverse % N, G), times(r * inverse % N, key_point))
            return point is not None and point[0] % N == r
        if algorithm in ("RS256", "RS384", "RS512"):
            modulus = number(key["n"])
            length = (modulus.bit_length() + 7) // 8
            opened = pow(int.from_bytes(signature, "big"), number(key["e"]), modulus)
            return octets(opened, length) == padded(signed.encode(), algorithm[2:], length)
        return None
    return False


def segment(part):
    """One segment: of bytes and texts as they are, of anything else as JSON."""
    if isinstance(part, str):
        part = part.encode()
    if not isinstance(part, bytes):
        part = json.dumps(part, separators=(",", ":"), ensure_ascii=False).encode()
    return b64(part)


def jwt(header, claims, key, algorithm=None):
    """A JWT. Header and claims may be bytes, to hold what is not JSON; `algorithm` signs by another one than the header says."""
    signed = segment(header) + "." + segment(claims)
    return signed + "." + b64(sign(algorithm or header["alg"], key, signed.encode()))


def read(token):
    """Header and claims of a JWT, unverified; None if it is none."""
    try:
        header, claims, _ = token.split(".")
        return json.loads(unb64(header)), json.loads(unb64(claims))
    except ValueError:
        return None
