# SPDX-License-Identifier: Apache-2.0
"""Keys as Sequoia and OpenPGP.js make them: what gpg made, its user ids signed again with other Features."""

import hashlib

PREFIX = {8: bytes.fromhex("3031300d060960864801650304020105000420"), 10: bytes.fromhex("3051300d060960864801650304020305000440")}
HASH = {8: "sha256", 10: "sha512"}


def packets(data):
    at = 0
    while at < len(data):
        head = data[at]
        if head & 0x40:
            tag, n = head & 0x3F, data[at + 1]
            at += 2
            if n >= 192:
                n = ((n - 192) << 8) + data[at] + 192
                at += 1
        else:
            tag, size = head >> 2 & 15, 1 << (head & 3)
            n = int.from_bytes(data[at + 1:at + 1 + size], "big")
            at += 1 + size
        yield tag, data[at:at + n]
        at += n


def packet(tag, body):
    return bytes([0x80 | tag << 2 | 1]) + len(body).to_bytes(2, "big") + body


def mpi(data, at):
    n = (int.from_bytes(data[at:at + 2], "big") + 7) // 8
    return int.from_bytes(data[at + 2:at + 2 + n], "big"), at + 2 + n


def signed_again(body, key, user_id, n, d, features):
    """A certification of a user id, by the key itself, with these Features."""
    end = 6 + int.from_bytes(body[4:6], "big")
    hashed, at = b"", 6
    while at < end:
        sub = body[at + 1:at + 1 + body[at]]
        at += 1 + body[at]
        if sub[0] == 30:
            sub = bytes([30, features])
        hashed += bytes([len(sub)]) + sub
    unhashed = body[end:end + 2 + int.from_bytes(body[end:end + 2], "big")]
    head = body[:4] + len(hashed).to_bytes(2, "big") + hashed
    data = (b"\x99" + len(key).to_bytes(2, "big") + key + b"\xb4" + len(user_id).to_bytes(4, "big") + user_id + head + b"\x04\xff"
            + len(head).to_bytes(4, "big"))
    digest = hashlib.new(HASH[body[3]], data).digest()
    size = (n.bit_length() + 7) // 8
    info = PREFIX[body[3]] + digest
    padded = b"\0\1" + b"\xff" * (size - 3 - len(info)) + b"\0" + info
    s = pow(int.from_bytes(padded, "big"), d, n)
    return head + unhashed + digest[:2] + s.bit_length().to_bytes(2, "big") + s.to_bytes((s.bit_length() + 7) // 8, "big")


def with_features(export, features):
    """An export of an RSA key without a passphrase, whose user ids announce these features."""
    out, key, n, d, user_id = b"", b"", 0, 0, b""
    for tag, body in packets(export):
        if tag == 5:
            n, at = mpi(body, 6)
            _, at = mpi(body, at)
            key = body[:at]
            d, _ = mpi(body, at + 1)
        elif tag == 13:
            user_id = body
        elif tag == 2 and 0x10 <= body[1] <= 0x13:
            body = signed_again(body, key, user_id, n, d, features)
        out += packet(tag, body)
    return out
