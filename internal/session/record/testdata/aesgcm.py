"""AES-256-GCM decryption, FIPS 197 and SP 800-38D, with nonces of 12 bytes."""


def make_sbox():
    p = q = 1
    box = [0] * 256
    while True:
        p = p ^ (p << 1) & 0xFF ^ (0x1B if p & 0x80 else 0)  # times 3
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q &= 0xFF
        q ^= 0x09 if q & 0x80 else 0  # divided by 3
        rot = lambda n: (q << n | q >> (8 - n)) & 0xFF
        box[p] = q ^ rot(1) ^ rot(2) ^ rot(3) ^ rot(4) ^ 0x63
        if p == 1:
            break
    box[0] = 0x63
    return box


SBOX = make_sbox()


def double(b):
    return (b << 1 ^ (0x1B if b & 0x80 else 0)) & 0xFF


def expand(key):
    words = [list(key[i:i + 4]) for i in range(0, 32, 4)]
    rcon = 1
    for i in range(8, 60):
        w = list(words[-1])
        if i % 8 == 0:
            w = [SBOX[b] for b in w[1:] + w[:1]]
            w[0] ^= rcon
            rcon = double(rcon)
        elif i % 8 == 4:
            w = [SBOX[b] for b in w]
        words.append([a ^ b for a, b in zip(words[i - 8], w)])
    return [sum(words[i:i + 4], []) for i in range(0, 60, 4)]


def encrypt_block(keys, block):
    s = [a ^ b for a, b in zip(block, keys[0])]
    for n, key in enumerate(keys[1:], 1):
        s = [SBOX[s[(i + 4 * (i % 4)) % 16]] for i in range(16)]
        if n < 14:
            mixed = []
            for c in range(0, 16, 4):
                col = s[c:c + 4]
                for i in range(4):
                    a, b = col[i], col[(i + 1) % 4]
                    mixed.append(double(a) ^ double(b) ^ b ^ col[(i + 2) % 4] ^ col[(i + 3) % 4])
            s = mixed
        s = [a ^ b for a, b in zip(s, key)]
    return bytes(s)


R = 0xE1 << 120


def make_table(h):
    """Returns h times x to the power of 0 to 127."""
    table = []
    for _ in range(128):
        table.append(h)
        h = h >> 1 ^ (R if h & 1 else 0)
    return table


def ghash(table, data):
    y = 0
    for i in range(0, len(data), 16):
        y ^= int.from_bytes(data[i:i + 16], "big")
        z = 0
        for bit in range(128):
            if y >> (127 - bit) & 1:
                z ^= table[bit]
        y = z
    return y


def pad(b):
    return b + bytes(-len(b) % 16)


def decrypt(key, nonce, sealed, additional):
    """Returns the plaintext, or None if the tag does not match."""
    if len(sealed) < 16:
        return None
    body, tag = sealed[:-16], sealed[-16:]
    keys = expand(key)
    table = make_table(int.from_bytes(encrypt_block(keys, bytes(16)), "big"))
    lengths = (8 * len(additional)).to_bytes(8, "big") + (8 * len(body)).to_bytes(8, "big")
    want = ghash(table, pad(additional) + pad(body) + lengths)
    want ^= int.from_bytes(encrypt_block(keys, nonce + b"\0\0\0\1"), "big")
    if want.to_bytes(16, "big") != tag:
        return None
    out = bytearray()
    for i in range(0, len(body), 16):
        stream = encrypt_block(keys, nonce + (i // 16 + 2).to_bytes(4, "big"))
        out += bytes(a ^ b for a, b in zip(body[i:i + 16], stream))
    return bytes(out)
