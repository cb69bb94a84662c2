# SPDX-License-Identifier: Apache-2.0
"""OpenPGP messages made packet by packet (RFC 4880), for what no program would make. AES is openssl's."""

import bz2
import hashlib
import random
import zlib

from table import keys

PKESK, SIGNATURE, SKESK, ONE_PASS, COMPRESSED, SED, MARKER, LITERAL, SEIPD, MDC = 1, 2, 3, 4, 8, 9, 10, 11, 18, 19
RSA, AES128, AES256 = 1, 7, 9
KEY_SIZE = {2: 24, AES128: 16, 8: 24, AES256: 32}


def length(n):
    """A new-format length."""
    if n < 192:
        return bytes([n])
    if n < 8384:
        return bytes([(n - 192 >> 8) + 192, (n - 192) & 255])
    return b"\xff" + n.to_bytes(4, "big")


def packet(tag, body):
    return bytes([0xc0 | tag]) + length(len(body)) + body


def old_packet(tag, body, size=4):
    """An old-format packet; size: bytes of the length, 0: to the end of what it is in."""
    kind = {1: 0, 2: 1, 4: 2, 0: 3}[size]
    return bytes([0x80 | tag << 2 | kind]) + (len(body).to_bytes(size, "big") if size else b"") + body


def partial(tag, body, power=9):
    """In pieces of 2^power bytes, the last one with its length."""
    out, size = bytes([0xc0 | tag]), 1 << power
    while len(body) > size:
        out += bytes([224 + power]) + body[:size]
        body = body[size:]
    return out + length(len(body)) + body


def literal(data, name=b"", kind=b"b"):
    return packet(LITERAL, kind + bytes([len(name)]) + name + bytes(4) + data)


def zipped(data, algorithm=2):
    packed = {0: lambda d: d, 1: lambda d: zlib.compress(d, 9)[2:-4], 2: lambda d: zlib.compress(d, 9), 3: bz2.compress}
    return packet(COMPRESSED, bytes([algorithm]) + packed[algorithm](data))


def nested(data, times, algorithm=2):
    for _ in range(times):
        data = zipped(data, algorithm)
    return data


def mpi(n):
    return n.bit_length().to_bytes(2, "big") + n.to_bytes((n.bit_length() + 7) // 8, "big")


def aes(data, key):
    return keys.run(["openssl", "enc", f"-aes-{len(key) * 8}-cfb", "-K", key.hex(), "-iv", "0" * 32], input=data)


def packets(data):
    """[(tag, body)] of what gpg exports: old format, and new without pieces."""
    out = []
    while data:
        head, data = data[0], data[1:]
        if head & 0x40:
            tag, n, used = head & 63, data[0], 1
            if n >= 192:
                n, used = (n - 192 << 8) + data[1] + 192, 2
            assert n < 8384
        else:
            tag, used = head >> 2 & 15, (1, 2, 4)[head & 3]
            n = int.from_bytes(data[:used], "big")
        out.append((tag, data[used:used + n]))
        data = data[used + n:]
    return out


def noise(n, seed=b""):
    """Bytes of no meaning, the same in each run: what a reader takes garbage for goes by each of them."""
    return random.Random(b"%d %b" % (n, seed)).randbytes(n)


class Recipient:
    """An RSA encryption subkey, from an exported key."""

    def __init__(self, exported):
        body = [body for tag, body in packets(exported) if tag == 14][-1]
        self.id = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).digest()[-8:]
        n_bits = int.from_bytes(body[6:8], "big")
        at = 8 + (n_bits + 7) // 8
        self.n, self.e = int.from_bytes(body[8:at], "big"), int.from_bytes(body[at + 2:], "big")

    def session(self, key, cipher=AES256, key_id=None, version=3, algorithm=RSA, checksum=0):
        """The session-key packet."""
        plain = bytes([cipher]) + key + ((sum(key) + checksum) & 0xffff).to_bytes(2, "big")
        size = (self.n.bit_length() + 7) // 8
        filler = bytes(b or 1 for b in noise(size - len(plain) - 3, key))
        em = int.from_bytes(b"\0\2" + filler + b"\0" + plain, "big")
        return packet(PKESK, bytes([version]) + (self.id if key_id is None else key_id) + bytes([algorithm])
                      + mpi(pow(em, self.e, self.n)))


def protected(inside, key, mdc=None, version=1, make=packet, prefix_ok=True):
    """Data with integrity protection. mdc: what stands there instead of the right one."""
    prefix = noise(16)
    plain = prefix + (prefix[14:] if prefix_ok else bytes(b ^ 1 for b in prefix[14:])) + inside
    right = bytes([0xd3, 20]) + hashlib.sha1(plain + b"\xd3\x14").digest()
    return make(SEIPD, bytes([version]) + aes(plain + (right if mdc is None else mdc), key))


def flip(data, at, bits=0x55):
    data = bytearray(data)
    data[at] ^= bits
    return bytes(data)
