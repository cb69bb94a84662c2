#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A zip64 archive over 5 GiB with one member of 4.5 GiB, from a stand-in that makes the bytes up: right hashes, every
process under 96 MiB. By default all sizes are a 32nd of that; CZARD_TEST_LARGE=1 takes the full ones (5 GiB of disk
for the plaintext, about two minutes).

How a true OpenPGP message of 4.5 GiB needs no disk: with CFB a ciphertext of zeros is the plaintext E(0), one block
again and again. So the object is zeros, with a few short pieces over it: the session-key packets of a small message
made by gpg, the first blocks, the packet lengths, the MDC, and the zip's headers."""

import hashlib
import os
import struct
import subprocess
import sys
import unittest
import zlib

from czardtest.keys import GPG, run
from czardtest.run import check_sums, is_sanitized
from czardtest.zips import Archives

MIB = 1 << 20
LARGE = bool(os.environ.get("CZARD_TEST_LARGE"))
SCALE = 1 if LARGE else 32
SIZES = {"big": 4608 * MIB // SCALE, "other": 700 * MIB // SCALE}  # of the encrypted data
CHUNK = (1 << 30) // SCALE  # a partial packet length is a power of two
LIMIT = 96 * MIB
WEEK = "2024-07-07"
ZEROS = bytes(MIB)


class Run:
    """`n` times the same 16 bytes."""

    def __init__(self, block, n):
        self.block, self.n = block, n

    def feed(self, *updates):
        page = self.block * (MIB // 16)
        for _ in range(self.n // (MIB // 16)):
            for update in updates:
                update(page)
        for update in updates:
            update(self.block * (self.n % (MIB // 16)))


def session_key(a):
    """(session-key packets, cipher key) of a message that gpg made for the czar."""
    message = a.keys.encrypt(b"x")
    done = subprocess.run([*GPG, "--homedir", a.world.package / "gnupg", "--show-session-key", "--decrypt"], input=message,
                          capture_output=True, check=True)
    line = next(x for x in done.stderr.decode().splitlines() if "session key" in x)
    algorithm, _, key = line.split("'")[1].partition(":")
    assert algorithm == "9", line
    at = 0
    while message[at] & 0xfc == 0x84 or message[at] == 0xc1:  # session-key packets
        if message[at] & 0x40:
            n = message[at + 1]
            at += 2 + n if n < 192 else 3 + ((n - 192) << 8) + message[at + 2] + 192
        else:
            size = 1 << (message[at] & 3)
            at += 1 + size + int.from_bytes(message[at + 1:at + 1 + size], "big")
    return message[:at], key


def aes(key, blocks):
    return run(["openssl", "enc", "-aes-256-ecb", "-nopad", "-K", key], input=blocks)


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


class Message:
    """An OpenPGP message whose ciphertext is zeros but for the pieces {offset: bytes}."""

    def __init__(self, packets, key, size):
        blocks = size // 16 - 4
        zero = aes(key, bytes(16))
        # 16 random bytes, the last two again; then a literal packet of indeterminate length, binary, no name, no date
        start = b"0123456789abcdef" + b"ef" + b"\xafb\0\0\0\0\0" + b"id\tval\n"
        first = xor(start[:16], zero)
        second = xor(start[16:32], aes(key, first))
        after = aes(key, second)
        body = Run(zero, blocks)
        sha1, sha256 = hashlib.sha1(start + after), hashlib.sha256(start[25:] + after)
        body.feed(sha1.update, sha256.update)
        sha1.update(b"\xd3\x14")
        mdc = b"\xd3\x14" + sha1.digest()
        last = xor(mdc[:16], zero)
        tail = last + xor(mdc[16:], aes(key, last))
        self.sha256, self.plain_size = sha256.hexdigest(), 7 + 16 * (blocks + 1)
        cipher = {0: b"\1" + first + second, 33 + 16 * (blocks + 1): tail}  # after the version
        self._frame(packets, cipher, 33 + 16 * (blocks + 1) + len(tail))

    def _frame(self, packets, cipher, length):
        """The packet's header and its partial lengths, which push the ciphertext apart."""
        self.pieces = {0: packets + b"\xd2"}
        at, out = 0, len(packets) + 1
        shift = []  # (from this byte of the ciphertext on, its place in the message)
        while length - at > CHUNK:
            self.pieces[out] = bytes([224 + CHUNK.bit_length() - 1])
            shift.append((at, out + 1))
            at, out = at + CHUNK, out + 1 + CHUNK
        self.pieces[out] = b"\xff" + struct.pack(">I", length - at)
        shift.append((at, out + 5))
        for offset, data in cipher.items():
            begin, place = [s for s in shift if s[0] <= offset][-1]
            assert all(s[0] <= offset or s[0] >= offset + len(data) for s in shift), "a piece lies over a boundary"
            self.pieces[place + offset - begin] = data
        self.size = out + 5 + length - at

    def crc(self):
        crc, at = 0, 0
        for offset in sorted(self.pieces):
            crc = zeros_crc(crc, offset - at)
            crc = zlib.crc32(self.pieces[offset], crc)
            at = offset + len(self.pieces[offset])
        return zeros_crc(crc, self.size - at)


def zeros_crc(crc, n):
    for _ in range(n // MIB):
        crc = zlib.crc32(ZEROS, crc)
    return zlib.crc32(ZEROS[:n % MIB], crc)


class Zip:
    """A stored zip64 archive as pieces over zeros."""

    def __init__(self):
        self.pieces, self.size, self.directory, self.n = {}, 0, b"", 0

    def add(self, name, message):
        name, crc, at = name.encode(), message.crc(), self.size
        sizes = struct.pack("<HHQQ", 1, 16, message.size, message.size)
        local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 45, 0, 0, 0, 0x58e7, crc, 0xffffffff, 0xffffffff, len(name), len(sizes))
        self.pieces[at] = local + name + sizes
        begin = at + len(self.pieces[at])
        for offset, data in message.pieces.items():
            self.pieces[begin + offset] = data
        self.size = begin + message.size
        extra = struct.pack("<HHQQQ", 1, 24, message.size, message.size, at)
        self.directory += struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 0x031e, 45, 0, 0, 0, 0x58e7, crc, 0xffffffff, 0xffffffff,
                                      len(name), len(extra), 0, 0, 0, 0o100644 << 16, 0xffffffff) + name + extra
        self.n += 1

    def finish(self):
        at, n = self.size, len(self.directory)
        end64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, self.n, self.n, n, at)
        locator = struct.pack("<4sIQI", b"PK\6\7", 0, at + n, 1)
        end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, self.n, self.n, n, 0xffffffff, 0)
        self.pieces[at] = self.directory + end64 + locator + end
        self.size += len(self.pieces[at])


@unittest.skipIf(is_sanitized(), "sanitizers take memory")
class BigTest(unittest.TestCase):
    def put(self, a, archive):
        """A synthetic object of s3d."""
        files = a.world.folder / "pieces"
        files.mkdir()
        lines = [f"size={archive.size}", "fill=zero", "etag=0123456789abcdef0123456789abcdef-99", "last_modified=1720384304"]
        for offset, data in archive.pieces.items():
            (files / str(offset)).write_bytes(data)
            lines.append(f"splice={offset}:{files / str(offset)}")
        meta = a.world.package / "buckets" / ".meta" / "course-data" / a.key(WEEK)
        meta.parent.mkdir(parents=True)
        meta.write_text("\n".join(lines) + "\n")

    def test_hashes_and_memory(self):
        a = self.enterContext(Archives())
        a.fresh()
        packets, key = session_key(a)
        archive, messages = Zip(), {}
        for what, size in SIZES.items():
            name = f"UniversityX-{what}.1x-2024_T1-courseware_studentmodule-prod-analytics.sql"
            messages[name] = Message(packets, key, size)
            archive.add(f"{a.org}-{WEEK}/{name}.gpg", messages[name])
        archive.finish()
        self.put(a, archive)
        if LARGE:
            self.assertGreater(archive.size, 5 << 30)
            self.assertGreaterEqual(max(m.size for m in messages.values()), 4608 * MIB - 64)
        a.world.config["limits"] = {"max_plaintext": "10G"}
        done = a.world.once(timeout=550)
        self.assertEqual(done.code, 0, done)
        print(f"{archive.size / (1 << 30):.2f} GiB in {done.seconds:.1f} s,",
              ", ".join(f"{n} {p >> 20} MiB" for n, p in sorted(done.peaks.items())), file=sys.stderr)
        sums = dict(reversed(line.split("  ", 1)) for line in (a.folder(WEEK) / "SHA256SUMS").read_text().splitlines())
        self.assertEqual(sums, {name: m.sha256 for name, m in messages.items()})
        self.assertEqual({n: os.stat(a.folder(WEEK) / n).st_size for n in messages}, {n: m.plain_size for n, m in messages.items()})
        self.assertEqual(check_sums(a.folder(WEEK))[0], 0)
        self.assertLess(a.sent(WEEK), archive.size * 1.01 + 4096)
        self.assertLessEqual({"czard", "czard-fetch", "czard-decrypt"}, set(done.peaks))
        self.assertEqual({n: p >> 20 for n, p in done.peaks.items() if p > LIMIT}, {})


if __name__ == "__main__":
    unittest.main()
