#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ciphertext, gzip and zip as an attacker or an accident would make them, one a row: state and cause of the object, no
plaintext left anywhere, every other object staged; and a good export heals it. Every OpenPGP message comes twice: as an
object of its own, and in the last row as a member of one archive.

    CZARD_BUILD=build/release tests/fault/hostile_test.py [-v] [-k TEXT] [-j N]
"""

import base64
import binascii
import bz2
import gzip
import os
import shutil
import struct
import subprocess
import zipfile
import zlib
from dataclasses import dataclass, field
from itertools import product

import openpgp as pgp
from table import Base, Skip, keys, main, tree

MARK = b"plaintext that must not be left anywhere\n"
SMALL = MARK * 40
LARGE = MARK + pgp.noise(700_000) + MARK  # more than what is kept in memory at once
ANY_DAMAGE = {"bad-integrity", "bad-message"}
LIMITS = {"limits": {"max_plaintext": "4M"}}


class HostileBase(Base):
    """Keys to sign with, and what each message is made with."""

    def __enter__(self):
        super().__enter__()
        exported = keys.run(["gpg", "--homedir", self.keys.folder / "encrypt", "--export", self.keys.czar])
        self.czar = pgp.Recipient(exported)
        self.master = pgp.Recipient(keys.run(["gpg", "--homedir", self.keys.folder / "encrypt", "--export", self.keys.master]))
        self.signed, self.public, self.signer = {SMALL: {}, LARGE: {}}, {}, {}
        for who in ("known", "other", "unknown"):
            with keys.Home() as home:
                self.signer[who] = home.make_key(f"{who} signer", f"{who}@edx.example", 2048)
                self.public[who] = home.gpg("--export", self.signer[who])
                for plain, signed in self.signed.items():
                    signed[who] = home.gpg("--sign", "-z", "0", input=plain)
        return self

    def message(self, inside, session=None, cipher=pgp.AES256, recipients=None, **options):
        """A message to edX and the czar around packets of any kind."""
        session = session or pgp.noise(pgp.KEY_SIZE[cipher])
        if recipients is None:
            recipients = self.master.session(session, cipher) + self.czar.session(session, cipher)
        return recipients + pgp.protected(inside, session, **options)

    def good(self, data):
        return self.keys.encrypt(data)


# -- rows ------------------------------------------------------------------------------------------------------------
@dataclass
class Row:
    name: str
    make: callable                # of the base: the object's bytes
    causes: set = None            # REJECTED with one of these; None: it must be PUBLISHED
    plain: bytes = SMALL          # what is staged when it is published
    category: str = "rdx"
    config: dict = field(default_factory=dict)
    prepare: callable = None
    told: set = field(default_factory=set)  # when published
    member: bool = True           # also good for the row of members
    waits: bool = False           # not REJECTED but RETRY: for want of a key nothing is rejected
    alone: bool = False           # the other objects are none of this row

    def run(self, p):
        o = p.base.find(self.category)
        below = {"rdx": f"{p.org}/rdx", "events": o["path"]}[self.category]
        others = [f"{p.org}/{c}" for c in ("events", "database", "email-opt-in")] if self.alone else []
        if self.alone:
            p.package_section["categories"] = self.category
        for section, values in self.config.items():
            p.config.setdefault(section, {}).update(values)
        if self.prepare:
            self.prepare(p)
        p.put(o["bucket"], o["key"], self.make(p.base))
        if self.causes is None:
            p.expect(o["path"], self.plain)
        p.once(timeout=100)
        row = p.objects()[o["key"]]
        if self.causes is None:
            p.check("exit status", p.last.code, 0)
            p.check("state", [row["state"], row["cause"], row["detail"]], ["PUBLISHED", "none", ""])
            p.check("told", p.told(), self.told)
            p.check_staging("published", ignore=others)
            return
        p.check("exit status", p.last.code, 1)
        p.check("state", row["state"], "RETRY" if self.waits else "REJECTED")
        p.check("cause", row["cause"] if row["cause"] not in self.causes else "", "")
        p.check("told", p.told(), {f"{'retry' if self.waits else 'rejected'} {row['cause']}"})
        # What a worker without a gpg-agent cannot tell is fetched once more, for the one that has it.
        p.check("GETs: one or two", len(p.requests("get", o["key"])) in (1, 2), True)
        p.check_staging("rejected", ignore=[p.org if self.alone else below])
        p.check("staged", (p.staging / o["path"]).exists(), False)
        check_no_plaintext(p)
        p.check("exit status while nothing is new", p.once().code, int(self.waits))
        p.check("GETs while nothing is new", len(p.requests("get", o["key"])) in ((1, 2) if self.waits else (0,)), True)
        p.put(o["bucket"], o["key"], p.base.good((p.base.package / "expected" / o["path"]).read_bytes()))
        for section in self.config:
            if section != "limits":
                p.config[section] = p._default_config()[section]
        p.check("exit status of the run that heals", p.once().code, 0)
        p.check_staging("healed", ignore=others)
        p.check_audit()


def check_no_plaintext(p):
    """Nowhere but in what S3 holds and what is expected."""
    for root in (p.staging, p.state, p.run_folder):
        for name in tree(root):
            path = root / name
            if path.is_file() and not path.is_symlink() and MARK.strip() in path.read_bytes():
                p.problems.append(f"plaintext left in {path}")
    if MARK.strip().decode() in p.last.stderr:
        p.problems.append("plaintext in the journal")


def made(name, inside, causes, plain=SMALL, **options):
    """A message with these packets inside. inside: bytes or of the base."""
    config = options.pop("config", {})
    member = options.pop("member", True)
    return Row(name, lambda b: b.message(inside(b) if callable(inside) else inside, **options), causes, plain, config=config,
               member=member)


def changed(name, change, causes, plain=SMALL, data=SMALL, **more):
    """A good message, and what is done to it."""
    return Row(name, lambda b: change(b.good(data)), causes, plain, **more)


def without_mdc(data, *options):
    """GnuPG 1.4 still makes messages without integrity protection."""
    def make(b):
        if not shutil.which("gpg1"):
            raise Skip("no gpg1")
        with keys.Home() as home:
            gpg1 = ["gpg1", "--batch", "--no-tty", "--quiet", "--homedir", home.path, "--trust-model", "always"]
            for name in ("czar", "master"):
                keys.run([*gpg1, "--import", b.keys.folder / f"{name}.asc"])
            return keys.run([*gpg1, "--disable-mdc", "--cipher-algo", "AES256", *options, *b.keys.recipients(), "--encrypt"],
                            input=data)
    return make


def aead(change=lambda m: m, data=SMALL, mode="OCB"):
    def make(b):
        if not shutil.which("rnp"):
            raise Skip("no rnp")
        with keys.Home() as home:
            source = os.path.join(home.path, "in")
            with open(source, "wb") as f:
                f.write(data)
            keys.run(["rnp", "--homedir", home.path, "--keyfile", b.keys.folder / "czar.asc", "-r", b.keys.czar, f"--aead={mode}",
                      "--aead-chunk-bits=16", "-z", "0", "--output", source + ".rnp", "--encrypt", source])
            with open(source + ".rnp", "rb") as f:
                return change(f.read())
    return make


def symmetric(also=False):
    def make(b):
        with keys.Home() as home:
            for name in ("czar", "master"):
                home.gpg("--import", b.keys.folder / f"{name}.asc")
            return home.gpg("--symmetric", *(["--encrypt", *b.keys.recipients()] if also else []), "--passphrase", "guess",
                            "--pinentry-mode", "loopback", input=SMALL)
    return make


def data_packet(message):
    """Where the packet with the encrypted data begins."""
    at = 0
    while message[at] >> 2 & 15 == pgp.PKESK if not message[at] & 0x40 else message[at] & 63 == pgp.PKESK:
        if message[at] & 0x40:
            n = message[at + 1]
            at += 2 + n if n < 192 else 3 + (n - 192 << 8) + message[at + 2] + 192
        else:
            size = (1, 2, 4)[message[at] & 3]
            at += 1 + size + int.from_bytes(message[at + 1:at + 1 + size], "big")
    return at


LIT = pgp.literal(SMALL)
MANY_FOREIGN = lambda b, n: b"".join(b.master.session(bytes(32), key_id=i.to_bytes(8, "big")) for i in range(1, n + 1))

INTEGRITY = [
    made("every part as it should be", LIT, None),
    Row("no MDC", without_mdc(SMALL), {"no-integrity-protection"}),
    Row("no MDC, large", without_mdc(LARGE, "-z", "0"), {"no-integrity-protection"}),
    Row("no MDC, cut", lambda b: without_mdc(SMALL, "-z", "0")(b)[:-50], {"no-integrity-protection", "bad-message"}),
    made("wrong MDC", LIT, {"bad-integrity"}, mdc=b"\xd3\x14" + bytes(20)),
    made("wrong MDC, large", pgp.literal(LARGE), {"bad-integrity"}, mdc=b"\xd3\x14" + bytes(20)),
    made("wrong MDC, compressed", pgp.zipped(LIT), {"bad-integrity"}, mdc=b"\xd3\x14" + bytes(20)),
    made("MDC left out", LIT, ANY_DAMAGE, mdc=b""),
    made("MDC cut", LIT, ANY_DAMAGE, mdc=b"\xd3\x14" + bytes(10)),
    made("MDC with another length", LIT, ANY_DAMAGE, mdc=b"\xd3\x13" + bytes(19)),
    made("MDC, then more", LIT, ANY_DAMAGE, mdc=b"\xd3\x14" + bytes(20) + b"more"),
    changed("a bit of the data", lambda m: pgp.flip(m, len(m) - 60, 1), ANY_DAMAGE),
    changed("a bit of large data", lambda m: pgp.flip(m, len(m) // 2, 1), ANY_DAMAGE, data=LARGE),
    changed("the last byte", lambda m: pgp.flip(m, -1), {"bad-integrity"}),
    changed("the prefix", lambda m: pgp.flip(m, data_packet(m) + 5), ANY_DAMAGE),
    # To look at it would be the oracle of Mister and Zuccherato; the MDC covers it.
    made("the prefix, repeated wrongly", LIT, None, prefix_ok=False),
    made("data of version 2", LIT, {"bad-message"}, version=2),
    made("data of version 0", LIT, {"bad-message"}, version=0),
]

CUT = [
    changed(f"cut to {name}", lambda m, at=at: m[:at(m)], causes, data=data)
    for name, at, causes, data in (
        ("nothing", lambda m: 0, {"bad-message"}, SMALL),
        ("one byte", lambda m: 1, {"bad-message"}, SMALL),
        ("half a session key", lambda m: 150, {"bad-message"}, SMALL),
        ("the session keys", data_packet, {"bad-message"}, SMALL),
        ("the tag of the data", lambda m: data_packet(m) + 1, {"bad-message"}, SMALL),
        ("the header of the data", lambda m: data_packet(m) + 3, {"bad-message"}, SMALL),
        ("the prefix", lambda m: data_packet(m) + 15, {"bad-message"}, SMALL),
        ("half of the data", lambda m: (data_packet(m) + len(m)) // 2, ANY_DAMAGE, SMALL),
        ("half of large data", lambda m: len(m) // 2, ANY_DAMAGE, LARGE),
        ("all but the MDC", lambda m: len(m) - 22, ANY_DAMAGE, SMALL),
        ("all but one byte", lambda m: len(m) - 1, ANY_DAMAGE, SMALL),
        ("all but one byte of large data", lambda m: len(m) - 1, ANY_DAMAGE, LARGE),
    )]

FOREIGN = {"no-secret-key", "not-for-us"}  # an object of its own, a member
RECIPIENTS = [
    Row("not to us", lambda b: b.keys.encrypt(SMALL, ours=False), FOREIGN, waits=True),
    Row("not to us, large", lambda b: b.keys.encrypt(LARGE, ours=False), FOREIGN, waits=True),
    Row("not to us, more than a pipe holds", lambda b: b.keys.encrypt(LARGE * 3, ours=False), FOREIGN, waits=True),
    Row("to hidden recipients, one of them us", lambda b: b.keys.encrypt(SMALL, "--throw-keyids"), None),
    Row("to hidden recipients, none of them us", lambda b: b.keys.encrypt(SMALL, "--throw-keyids", ours=False), FOREIGN, waits=True),
    Row("symmetric", symmetric(), {"bad-message", "not-for-us"}),
    Row("symmetric and to us", symmetric(also=True), None),
    made("to nobody", LIT, {"bad-message"}, recipients=b""),
    Row("our key id, another key", lambda b: b.message(LIT, bytes(32), recipients=b.master.session(bytes(32), key_id=b.czar.id)),
        ANY_DAMAGE),
    Row("our session key damaged", lambda b: b.message(LIT, bytes(32), recipients=pgp.flip(b.czar.session(bytes(32)), 100)),
        ANY_DAMAGE),
    Row("our session key with a wrong sum", lambda b: b.message(LIT, bytes(32), recipients=b.czar.session(bytes(32), checksum=1)),
        ANY_DAMAGE),
    Row("a session key for another cipher", lambda b: b.message(LIT, bytes(32), recipients=b.czar.session(bytes(32), cipher=99)),
        ANY_DAMAGE),
    Row("a session key of version 6", lambda b: b.message(LIT, bytes(32), recipients=b.czar.session(bytes(32), version=6)),
        {"bad-message", "not-for-us"}),
    Row("a session key of another algorithm", lambda b: b.message(LIT, bytes(32), recipients=b.czar.session(bytes(32), algorithm=18)),
        {"bad-message"}),
    Row("an empty session key packet", lambda b: b.message(LIT, bytes(32), recipients=pgp.packet(1, b"")), {"bad-message"}),
    Row("to 60 others first", lambda b: b.message(LIT, bytes(32), recipients=MANY_FOREIGN(b, 60) + b.czar.session(bytes(32))), None),
    Row("to 300 others first", lambda b: b.message(LIT, bytes(32), recipients=MANY_FOREIGN(b, 300) + b.czar.session(bytes(32))), None),
    Row("twice to us", lambda b: b.message(LIT, bytes(32), recipients=b.czar.session(bytes(32)) * 2), None),
    Row("twice to us, once damaged", lambda b: b.message(LIT, bytes(32), recipients=b.czar.session(bytes(32)) + pgp.flip(
        b.czar.session(bytes(32)), 100)), None),
]


def around(name, before=b"", after=b"", causes=frozenset({"bad-message"}), **more):
    return changed(name, lambda m: before + m + after, causes, **more)


def armored(name, change, causes, **more):
    return Row(name, lambda b: change(b.keys.encrypt(SMALL, "--armor")), causes, **more)


def wrong_crc(text):
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(b"="))
    lines[at] = b"=" + base64.b64encode(pgp.flip(base64.b64decode(lines[at][1:]), 0))
    return b"\n".join(lines) + b"\n"


AROUND = [
    around("garbage before", pgp.noise(100).replace(b"\x85", b"x")),
    around("text before", b"To whom it may concern\n"),
    around("a zero byte before", b"\0"),
    around("a newline before", b"\n"),
    around("garbage behind", after=bytes(range(256)) * 4),
    around("zeros behind", after=bytes(512)),
    around("a newline behind", after=b"\n"),
    around("garbage behind, large", after=b"x" * 1000, data=LARGE),
    changed("twice", lambda m: m * 2, {"bad-message"}),
    changed("twice, large", lambda m: m * 2, {"bad-message"}, data=LARGE),
    around("plaintext behind", after=pgp.literal(MARK)),
    around("plaintext before", pgp.literal(MARK)),
    around("a marker packet before", pgp.packet(pgp.MARKER, b"PGP"), causes=None),
    Row("plaintext only", lambda b: pgp.literal(SMALL), {"bad-message", "no-integrity-protection"}),
    Row("plaintext, compressed", lambda b: pgp.zipped(LIT), {"bad-message", "no-integrity-protection"}),
    Row("plaintext, signed", lambda b: b.signed[SMALL]["known"], {"bad-message", "no-integrity-protection"}),
    Row("plaintext as it is", lambda b: SMALL, {"bad-message"}),
    Row("a public key", lambda b: b.public["known"], {"bad-message"}),
    Row("garbage", lambda b: pgp.noise(5000), {"bad-message"}),
    Row("zeros", lambda b: bytes(5000), {"bad-message"}),
    Row("0xff", lambda b: b"\xff" * 5000, {"bad-message"}),
    Row("armor", lambda b: b.keys.encrypt(SMALL, "--armor"), None),
    armored("armor with CR LF", lambda t: t.replace(b"\n", b"\r\n"), None),
    armored("armor with a wrong sum", wrong_crc, {"bad-message", "bad-integrity"}),
    armored("armor cut", lambda t: t[:len(t) // 2], ANY_DAMAGE),
    armored("armor without its end", lambda t: t[:t.index(b"-----END")], ANY_DAMAGE),
    armored("armor with text before", lambda t: b"Dear czar,\n\n" + t, {"bad-message"}),
    armored("armor with text behind", lambda t: t + b"Kind regards\n", {"bad-message"}),
    armored("armor twice", lambda t: t * 2, {"bad-message"}),
    armored("armor of another kind", lambda t: t.replace(b"PGP MESSAGE", b"PGP SIGNATURE"), {"bad-message"}),
    armored("armor with a foreign letter", lambda t: t[:300] + b"\x80" + t[301:], ANY_DAMAGE),
    armored("armor with an endless line", lambda t: t.replace(b"\n\n", b"\nComment: " + b"x" * 100_000 + b"\n\n", 1), None, member=False),
]

PACKETS = [
    made("no packets inside", b"", {"bad-message"}),
    made("two plaintexts", LIT * 2, ANY_DAMAGE),
    made("plaintext, then garbage", LIT + b"garbage", ANY_DAMAGE),
    made("a message within", lambda b: b.message(LIT), {"bad-message"}),
    made("a public key within", lambda b: b.public["known"], {"bad-message"}),
    made("the plaintext longer than the message", pgp.packet(pgp.LITERAL, b"b" + bytes(5) + SMALL)[:-1] , ANY_DAMAGE),
    made("a plaintext of indefinite length", pgp.old_packet(pgp.LITERAL, b"b" + bytes(5) + SMALL, 0), None),
    made("a plaintext in pieces", pgp.partial(pgp.LITERAL, b"b" + bytes(5) + SMALL), None),
    made("compressed, of indefinite length", pgp.old_packet(pgp.COMPRESSED, pgp.packets(pgp.zipped(LIT))[0][1], 0), None),
    made("data in pieces", LIT, None, make=pgp.partial),
    made("a file name that leads out", pgp.literal(SMALL, b"../../../tmp/escape"), None),
    made("for the eyes only", pgp.literal(SMALL, b"_CONSOLE"), None),
    made("an empty plaintext", pgp.literal(b""), None, plain=b""),
    made("compressed with nothing", pgp.zipped(LIT, 0), None),
    made("compressed by an unknown method", pgp.packet(pgp.COMPRESSED, b"\x63" + SMALL), ANY_DAMAGE),
    made("compressed and cut", pgp.packet(pgp.COMPRESSED, pgp.packets(pgp.zipped(LIT))[0][1][:-9]), ANY_DAMAGE),
    made("compressed and damaged", pgp.packet(pgp.COMPRESSED, b"\2" + b"\x78\x9c" + bytes(50)), ANY_DAMAGE),
    made("AES-128", LIT, None, cipher=pgp.AES128),
]

ZEROS = bytes(64 << 20)
BOMB = {"over-limit"}
BOMBS = [
    made("bomb, zlib", lambda b: pgp.zipped(pgp.literal(ZEROS), 2), BOMB, config=LIMITS),
    made("bomb, zip", lambda b: pgp.zipped(pgp.literal(ZEROS), 1), BOMB, config=LIMITS),
    made("bomb, bzip2", lambda b: pgp.zipped(pgp.literal(ZEROS), 3), BOMB, config=LIMITS),
    made("bomb, by ratio", lambda b: pgp.zipped(pgp.literal(ZEROS + bytes(30 << 20)), 3), BOMB),
    made("bomb, nested", lambda b: pgp.nested(pgp.literal(ZEROS), 3), BOMB | {"bad-message"}, config=LIMITS),
    made("bomb, nested 20 times", lambda b: pgp.nested(pgp.literal(ZEROS[:16 << 20]), 20), BOMB | {"bad-message"}, config=LIMITS),
    made("nested 100 times", lambda b: pgp.nested(LIT, 100), ANY_DAMAGE, config=LIMITS),
    made("bomb that writes nothing", lambda b: pgp.zipped(pgp.literal(SMALL) + pgp.packet(60, ZEROS * 4), 3),
         None, config=LIMITS),
    made("bomb of packets", lambda b: pgp.zipped(pgp.packet(pgp.MARKER, b"PGP") * 2_000_000 + LIT, 2), None, config=LIMITS),
    made("plaintext just over the limit", pgp.literal(bytes((4 << 20) + 1)), BOMB, config=LIMITS),
    # As a member it is over the limit before it is decrypted, by some hundred bytes of OpenPGP.
    made("plaintext just within the limit", pgp.literal(bytes(4 << 20)), None, plain=bytes(4 << 20), config=LIMITS, member=False),
]

AEAD = [
    Row("AEAD: OCB", aead(), None),
    Row("AEAD: OCB, large", aead(data=LARGE), None, plain=LARGE),
    Row("AEAD: OCB, last tag", aead(lambda m: pgp.flip(m, -1)), {"bad-integrity"}),
    Row("AEAD: OCB, a bit", aead(lambda m: pgp.flip(m, -40, 1)), {"bad-integrity", "bad-message"}),
    Row("AEAD: OCB, a bit of large data", aead(lambda m: pgp.flip(m, len(m) // 2, 1), data=LARGE), {"bad-integrity", "bad-message"}),
    Row("AEAD: OCB, cut", aead(lambda m: m[:-1]), ANY_DAMAGE),
    Row("AEAD: OCB, cut large", aead(lambda m: m[:len(m) // 2], data=LARGE), ANY_DAMAGE),
    Row("AEAD: OCB, garbage behind", aead(lambda m: m + b"garbage"), {"bad-message"}),
    Row("AEAD: EAX", aead(mode="EAX"), None),
]


# -- what no row of its own is worth ----------------------------------------------------------------------------------
K = bytes(range(32))
BAD, NO_MDC = {"bad-message"}, {"no-integrity-protection"}


def to_us(name, make, causes=None, **more):
    """make: of the base and the session keys for K; the whole message."""
    return Row(name, lambda b: make(b, b.master.session(K) + b.czar.session(K)), causes, **more)


def first(name, packet, causes=None, **more):
    """Packets before our session key. packet: bytes or of the base."""
    return Row(name, lambda b: (packet(b) if callable(packet) else packet) + b.czar.session(K) + pgp.protected(LIT, K), causes, **more)


def our_key(name, mpi, causes):
    """What stands for our session key."""
    return Row(name, lambda b: pgp.packet(pgp.PKESK, b"\3" + b.czar.id + b"\1" + mpi(b)) + pgp.protected(LIT, K), causes)


def five_bytes(tag, body):
    """A packet with the longest form of its length."""
    return bytes([0xc0 | tag, 0xff]) + len(body).to_bytes(4, "big") + body


def as_foreign(b, n):
    """n session keys for others, made of one."""
    one = b.master.session(K)
    return b"".join(one[:4] + i.to_bytes(8, "big") + one[12:] for i in range(1, n + 1))


CROWD = [
    to_us("lengths of five bytes", lambda b, keys: keys + pgp.protected(LIT, K, make=five_bytes)),
    to_us("data in pieces of a byte", lambda b, keys: keys + pgp.protected(LIT, K, make=lambda t, d: pgp.partial(t, d, 0))),
    to_us("data in pieces without a last", lambda b, keys: keys + pgp.protected(LIT, K, make=lambda t, d: bytes([0xc0 | t, 233]) + d[:512]),
          ANY_DAMAGE),
    to_us("data of 4 GiB that end", lambda b, keys: keys + b"\xd2\xff" + b"\xff" * 4 + pgp.protected(LIT, K)[3:], ANY_DAMAGE),
    to_us("data of length 0", lambda b, keys: keys + b"\xd2\0", ANY_DAMAGE),
    to_us("data of length 1", lambda b, keys: keys + b"\xd2\1\1", ANY_DAMAGE),
    first("10,000 others first", lambda b: as_foreign(b, 10_000)),
    first("our key a hundred times, damaged", lambda b: pgp.flip(b.czar.session(K), 200) * 100),
    our_key("our session key of no bits", lambda b: b"\0\0", ANY_DAMAGE),
    our_key("our session key of 65,535 bits", lambda b: b"\xff\xff" + bytes(256), ANY_DAMAGE),
    our_key("our session key as large as the modulus", lambda b: pgp.mpi(b.czar.n), ANY_DAMAGE),
    our_key("our session key is 1", lambda b: pgp.mpi(1), ANY_DAMAGE),
    *[first(f"first by algorithm {a}", lambda b, a=a: b.czar.session(K, algorithm=a)) for a in (0, 22, 25, 255)],
    *[to_us(f"data of version {v}", lambda b, keys, v=v: keys + pgp.protected(LIT, K, version=v), BAD) for v in (3, 255)],
    # always the same: what gpg takes for the first packet behind the 16 bytes goes by these
    to_us("data without protection", lambda b, keys: keys + pgp.packet(pgp.SED, pgp.aes(bytes(range(16)) + LIT, K)), NO_MDC),
    to_us("data without protection, then with", lambda b, keys: keys + pgp.packet(pgp.SED, pgp.aes(pgp.noise(18) + LIT, K))
          + pgp.protected(LIT, K), NO_MDC | BAD),
    to_us("twice the data", lambda b, keys: keys + pgp.protected(LIT, K) * 2, BAD),
    to_us("a session key behind", lambda b, keys: keys + pgp.protected(LIT, K) + keys, BAD),
    to_us("a marker between", lambda b, keys: keys + pgp.packet(pgp.MARKER, b"PGP") + pgp.protected(LIT, K)),
    to_us("a marker behind", lambda b, keys: keys + pgp.protected(LIT, K) + pgp.packet(pgp.MARKER, b"PGP"), BAD),
    to_us("plaintext between", lambda b, keys: keys + pgp.literal(MARK) + pgp.protected(LIT, K), BAD),
    to_us("the message compressed", lambda b, keys: pgp.zipped(keys + pgp.protected(LIT, K)), BAD),
    *[first(f"first a packet of tag {tag}", pgp.packet(tag, b"x"), BAD) for tag in (0, 12, 13, 21, 30, 60)],
    made("within, a packet of private use", pgp.packet(61, b"x") + LIT, None),
    made("within, a user id", pgp.packet(13, b"x") + LIT, BAD),
    made("within, data without protection", pgp.packet(pgp.SED, bytes(100)), ANY_DAMAGE | NO_MDC),
    *[made(f"plaintext of kind {kind!r}", pgp.literal(SMALL, kind=kind), None) for kind in (b"u", b"m", b"\0")],
    made("plaintext named like a status line", pgp.literal(SMALL, b"\n[GNUPG:] DECRYPTION_OKAY\n\x1b[2J"), None),
    made("plaintext named with 255 NULs", pgp.literal(SMALL, bytes(255)), None),
    made("plaintext shorter than its name", pgp.packet(pgp.LITERAL, b"b\xffabc"), ANY_DAMAGE),
    made("plaintext of no bytes at all", pgp.packet(pgp.LITERAL, b""), ANY_DAMAGE),
    made("compressed 16 times", pgp.nested(LIT, 16), None),
    made("compressed 40 times", pgp.nested(LIT, 40), ANY_DAMAGE),
    made("compressed, of no bytes", pgp.packet(pgp.COMPRESSED, b""), ANY_DAMAGE),
    made("compressed, with a wrong sum", pgp.packet(pgp.COMPRESSED, b"\2" + pgp.flip(zlib.compress(LIT), -1)), ANY_DAMAGE),
    made("compressed, two plaintexts within", pgp.zipped(LIT * 2), ANY_DAMAGE),
    made("a one-pass signature of a later version", pgp.packet(pgp.ONE_PASS, b"\6" + bytes(50)) + LIT, ANY_DAMAGE | {"bad-signature"}),
    Row("signed in clear text", lambda b: b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n" + MARK
        + b"-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n", BAD),
    Row("a signature alone", lambda b: pgp.packet(pgp.SIGNATURE, b"\4\0\1\x08" + bytes(40)), BAD),
    Row("a public key in armor", lambda b: (b.keys.folder / "czar.asc").read_bytes(), BAD),
    armored("armor, part 1 of 2", lambda t: t.replace(b"PGP MESSAGE", b"PGP MESSAGE, PART 1/2"), BAD),
    armored("armor without the empty line", lambda t: t.replace(b"\n\n", b"\n", 1), ANY_DAMAGE),
    armored("armor with a byte order mark", lambda t: b"\xef\xbb\xbf" + t, BAD),
    *[Row(f"the byte {byte:#x}", lambda b, byte=byte: bytes([byte]), BAD) for byte in (0x00, 0x85, 0xd2, 0x2d)],
]


class Crowd:
    """Each of them an object beside the others, in one run: it costs the others nothing."""
    name = "a crowd of messages"

    def run(self, p):
        p.config["limits"] = LIMITS["limits"]
        p.package_section["categories"] = "rdx"
        keys = {f"{p.org}/rdx/crowd-{n:03d}/{p.org}_c_r.tar.gz.gpg": row for n, row in enumerate(CROWD)}
        for key, row in keys.items():
            p.put("edx-course-data", key, row.make(p.base), 1720000000)
        p.once(timeout=140)
        p.check("exit status", p.last.code, 1)
        p.check("told", p.told() - {f"rejected {cause}" for row in CROWD for cause in row.causes or ()}, set())
        objects = p.objects()
        for key, row in keys.items():
            o = objects[key]
            want = ("PUBLISHED", {"none"}) if row.causes is None else ("REJECTED", row.causes)
            p.check(f"{row.name}: {o['state']} {o['cause']}, not {want}", o["state"] == want[0] and o["cause"] in want[1], True)
            path = p.staging / p.org / "rdx" / key.split("/")[2] / f"{p.org}_c_r.tar.gz"
            p.check(f"{row.name}: staged", path.read_bytes() if path.exists() else None, row.plain if row.causes is None else None)
        good = [path for path in (p.staging / p.org / "rdx").iterdir()]
        p.check("folders", len(good), 1 + sum(row.causes is None for row in CROWD))
        p.check("plaintext in the journal", MARK.strip().decode() in p.last.stderr, False)
        p.check("exit status while nothing is new", p.once(timeout=140).code, 0)
        p.check("GETs while nothing is new", len(p.requests("get")), 0)
        p.check_audit()


# -- signatures ------------------------------------------------------------------------------------------------------
def turned(data):
    """The last letter is another."""
    data = bytearray(data)
    data[data.rindex(MARK) + len(MARK) - 2] ^= 1
    return bytes(data)


SIGNED = {
    "none": lambda b, plain: pgp.literal(plain),
    "good": lambda b, plain: b.signed[plain]["known"],
    "of another": lambda b, plain: b.signed[plain]["other"],
    "unknown": lambda b, plain: b.signed[plain]["unknown"],
    "bad": lambda b, plain: turned(b.signed[plain]["known"]),
}


def with_signers(p):
    """The czar's home knows two signers."""
    home = p.folder / "gnupg"
    shutil.copytree(p.config["openpgp"]["homedir"], home)
    os.chmod(home, 0o700)
    for who in ("known", "other"):
        keys.run([*keys.GPG, "--homedir", home, "--import"], input=p.base.public[who])
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True)
    p.config["openpgp"]["homedir"] = home
    if p.config["openpgp"].get("signers"):
        p.config["openpgp"]["signers"] = p.base.signer["known"]


def signature_rows():
    good = {"none": {"none", "good", "of another", "unknown", "bad"},
            "optional": {"none", "good", "of another", "unknown"},
            "required": {"good", "of another"},
            "required, of one": {"good"},
            "optional, of one": {"none", "good", "of another", "unknown"}}
    sizes = {"": SMALL, ", large": LARGE}
    for (policy, passes), (kind, inside), (size, plain) in product(good.items(), SIGNED.items(), sizes.items()):
        config = {"openpgp": {"signatures": policy.split(",")[0], "signers": "known" if "," in policy else None}}
        yield Row(f"signature {kind}, {policy}{size}", lambda b, inside=inside, plain=plain: b.message(inside(b, plain)),
                  None if kind in passes else {"bad-signature"}, turned(plain) if kind == "bad" else plain, config=config,
                  prepare=with_signers, member=False, alone="required" in policy)


SIGNATURES = list(signature_rows())


# -- gzip ------------------------------------------------------------------------------------------------------------
LINES = MARK * 400
GZ = gzip.compress(LINES, mtime=0)
CRC, SIZE = struct.pack("<I", binascii.crc32(LINES)), struct.pack("<I", len(LINES))


def gz(name, data, good=False, **more):
    causes = None if good else {"bad-gzip"}
    return Row(f"gzip: {name}", lambda b: b.good(data), causes, data, category="events", member=False, **more)


GZIP = [
    gz("whole", GZ, good=True),
    gz("two members", GZ * 2, good=True),
    gz("an empty member", GZ + gzip.compress(b"", mtime=0), good=True),
    gz("zeros behind", GZ + bytes(512), good=True),
    gz("stored", gzip.compress(LINES, 0, mtime=0), good=True),
    gz("with name and comment", GZ[:3] + b"\x18" + GZ[4:10] + b"name\0comment\0" + GZ[10:], good=True),
    gz("empty", b""),
    gz("not gzip", LINES),
    gz("cut to a byte", GZ[:1]),
    gz("cut in the header", GZ[:8]),
    gz("header only", GZ[:10]),
    gz("cut in the data", GZ[:len(GZ) // 2]),
    gz("no trailer", GZ[:-8]),
    gz("no length", GZ[:-4]),
    gz("cut by a byte", GZ[:-1]),
    gz("wrong CRC", GZ[:-8] + pgp.flip(CRC, 0) + SIZE),
    gz("wrong length", GZ[:-4] + pgp.flip(SIZE, 0)),
    gz("a bit of the data", pgp.flip(GZ, len(GZ) // 2, 1)),
    gz("another method", GZ[:2] + b"\7" + GZ[3:]),
    gz("reserved flags", GZ[:3] + b"\xe0" + GZ[4:]),
    gz("an endless name", GZ[:3] + b"\x08" + GZ[4:10] + b"x" * 70_000),
    gz("garbage behind", GZ + b"garbage"),
    gz("garbage behind zeros", GZ + bytes(100) + b"x"),
    gz("a second member cut", GZ + GZ[:-9]),
    gz("a second member damaged", GZ + GZ[:-8] + bytes(8)),
    gz("zlib", b"\x78\x9c" + GZ[10:-8] + bytes(4)),
    gz("bzip2", bz2.compress(LINES)),
    Row("gzip: bomb", lambda b: b.good(gzip.compress(ZEROS, mtime=0)), BOMB, category="events", config=LIMITS, member=False),
    Row("gzip: bomb in a bomb", lambda b: b.good(gzip.compress(gzip.compress(ZEROS, mtime=0), mtime=0)), None,
        gzip.compress(gzip.compress(ZEROS, mtime=0), mtime=0), category="events", config=LIMITS, member=False),
]


# -- zip -------------------------------------------------------------------------------------------------------------
def good_zip(b, date="2024-07-07", members=2, **options):
    """An archive, and where its parts are."""
    import io
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for n in range(members):
            info = zipfile.ZipInfo(f"{b.org}-{date}/UniversityX-A.{n}x-2024-auth_user-prod-analytics.sql.gpg", (2024, 7, 7, 1, 2, 4))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            info.compress_type = options.get("method", zipfile.ZIP_DEFLATED)
            z.writestr(info, b.good(b"id\tname\n%d\t" % n + MARK))
    return out.getvalue()


@dataclass
class ZipRow:
    """An archive as a whole: REJECTED, or shown without the members that are bad."""
    name: str
    change: callable               # of (bytes, base): the object's bytes
    rejected: dict = None          # number of the member -> causes; None: the whole archive is bad-zip
    members: int = 2
    causes: frozenset = frozenset({"bad-zip"})
    config: dict = field(default_factory=dict)

    def run(self, p):
        o = p.base.find("database")
        for section, values in self.config.items():
            p.config.setdefault(section, {}).update(values)
        path = p.folder / "expected" / o["path"]
        good = good_zip(p.base, members=self.members)
        p.put(o["bucket"], o["key"], self.change(good, p.base))
        p.once(timeout=100)
        row = p.objects()[o["key"]]
        p.check("exit status", p.last.code, 0 if self.rejected == {} else 1)
        if self.rejected is None:
            p.check("state", row["state"], "REJECTED")
            p.check(f"cause one of {sorted(self.causes)}", row["cause"] in self.causes, True)
            p.check("told", p.told(), {f"rejected {row['cause']}"})
            p.check_staging("rejected", ignore=[o["path"], str(path.parent.relative_to(p.folder / "expected")) + "/latest",
                                                str(path.parent.relative_to(p.folder / "expected"))])
            check_no_plaintext(p)
        else:
            self.look(p, o, row)
        p.check("exit status while nothing is new", p.once().code, 0)
        p.check("GETs while nothing is new", len(p.requests("get", o["key"])), 0)
        p.config.pop("limits", None)
        whole = (p.base.package / "buckets" / o["bucket"] / o["key"]).read_bytes()
        p.put(o["bucket"], o["key"], whole)
        p.config["staging"]["keep_replaced"] = "0"
        p.check("exit status of the run that heals", p.once().code, 0)
        p.check_staging("healed")
        p.check_audit()

    def look(self, p, o, row):
        """The good members are staged, and the others are told."""
        p.check("state", row["state"], "PUBLISHED")
        folder = p.staging / o["path"]
        want = {f"UniversityX-A.{n}x-2024-auth_user-prod-analytics.sql" for n in range(self.members) if n not in self.rejected}
        have = set(os.listdir(folder)) - {"SHA256SUMS", "MANIFEST.jsonl", "REJECTED"} if folder.exists() else set()
        p.check("members", have, want)
        lines = (folder / "REJECTED").read_text().splitlines() if (folder / "REJECTED").exists() else []
        p.check("lines of REJECTED", len(lines), len(self.rejected))
        allowed = set().union(*self.rejected.values()) if self.rejected else set()
        p.check("causes", {line.split("\t")[0] for line in lines} <= allowed, True)
        for name in tree(p.staging):
            if any(part.startswith(".") for part in name.split("/")) and name != ".czard-id":
                p.problems.append(f"left behind: {name}")


def at_directory(data, n=0):
    """Where the n-th record of the directory begins."""
    at = data.index(b"PK\1\2")
    for _ in range(n):
        at = data.index(b"PK\1\2", at + 4)
    return at


def put(data, at, fmt, value):
    return data[:at] + struct.pack(fmt, value) + data[at + struct.calcsize(fmt):]


def end(data):
    return data.rindex(b"PK\5\6")


def zip64(data, **lies):
    """With a zip64 end record in front of the other one."""
    at = end(data)
    (n, size, offset) = struct.unpack("<HII", data[at + 10:at + 20])
    n, size, offset = lies.get("count", n), lies.get("size", size), lies.get("offset", offset)
    record = struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 45, 45, 0, 0, n, n, size, offset)
    return data[:at] + record + struct.pack("<IIQI", 0x07064b50, 0, at, 1) + data[at:]


ONE_BAD = {0: {"bad-zip"}}
UNSUPPORTED = {0: {"unsupported-zip"}}
DAMAGED = {0: {"bad-zip", "bad-message", "bad-integrity"}}
ZIP = [
    ZipRow("whole", lambda d, b: d, {}),
    ZipRow("empty", lambda d, b: b""),
    ZipRow("garbage", lambda d, b: pgp.noise(5000)),
    ZipRow("one byte", lambda d, b: b"P"),
    ZipRow("a header only", lambda d, b: d[:30]),
    ZipRow("no directory", lambda d, b: d[:at_directory(d)]),
    ZipRow("cut in the directory", lambda d, b: d[:at_directory(d) + 20]),
    ZipRow("cut before the end record", lambda d, b: d[:end(d)]),
    ZipRow("cut by a byte", lambda d, b: d[:-1]),
    ZipRow("cut at the front", lambda d, b: d[10:]),
    ZipRow("garbage in front", lambda d, b: b"x" * 100 + d),
    ZipRow("garbage behind", lambda d, b: d + b"garbage", {}),
    ZipRow("zeros behind", lambda d, b: d + bytes(1000), {}),
    ZipRow("a comment that is longer than the file", lambda d, b: put(d, len(d) - 2, "<H", 1000)),
    ZipRow("a directory outside", lambda d, b: put(d, end(d) + 16, "<I", len(d) + 9)),
    ZipRow("a directory too early", lambda d, b: put(d, end(d) + 16, "<I", 0)),
    ZipRow("a directory too large", lambda d, b: put(d, end(d) + 12, "<I", 0x7fffffff)),
    ZipRow("more members than there are", lambda d, b: put(put(d, end(d) + 8, "<H", 3), end(d) + 10, "<H", 3)),
    ZipRow("fewer members than there are", lambda d, b: put(put(d, end(d) + 8, "<H", 1), end(d) + 10, "<H", 1)),
    ZipRow("several disks", lambda d, b: put(d, end(d) + 4, "<H", 1)),
    ZipRow("a header outside", lambda d, b: put(d, at_directory(d) + 42, "<I", len(d))),
    ZipRow("a header in the directory", lambda d, b: put(d, at_directory(d) + 42, "<I", at_directory(d))),
    ZipRow("two records of one header", lambda d, b: put(d, at_directory(d, 1) + 42, "<I", 0)),
    ZipRow("a record of another kind", lambda d, b: pgp.flip(d, at_directory(d))),
    ZipRow("zip64 sizes that are not there", lambda d, b: put(d, at_directory(d) + 20, "<I", 0xffffffff)),
    ZipRow("too many members", lambda d, b: d, causes=frozenset({"over-limit"}), config={"limits": {"max_members": "1"}}),
    ZipRow("no members", lambda d, b: b"PK\5\6" + bytes(18)),
    ZipRow("another local name", lambda d, b: pgp.flip(d, 30, 1), ONE_BAD),
    ZipRow("another name in the directory", lambda d, b: pgp.flip(d, at_directory(d) + 46 + 40, 1), ONE_BAD),
    ZipRow("another local method", lambda d, b: put(d, 8, "<H", 0), ONE_BAD),
    ZipRow("another local CRC", lambda d, b: pgp.flip(d, 14), ONE_BAD),
    ZipRow("another local size", lambda d, b: pgp.flip(d, 22), ONE_BAD),
    ZipRow("a local header of another kind", lambda d, b: pgp.flip(d, 2), ONE_BAD),
    ZipRow("wrong CRC", lambda d, b: pgp.flip(pgp.flip(d, 14), at_directory(d) + 16), ONE_BAD),
    ZipRow("a size too small", lambda d, b: put(put(d, 22, "<I", 50), at_directory(d) + 24, "<I", 50), DAMAGED),
    ZipRow("a size too large", lambda d, b: put(put(d, 22, "<I", 99999), at_directory(d) + 24, "<I", 99999), DAMAGED),
    ZipRow("a packed size too small", lambda d, b: put(put(d, 18, "<I", 50), at_directory(d) + 20, "<I", 50), DAMAGED),
    ZipRow("an unknown method", lambda d, b: put(put(d, 8, "<H", 98), at_directory(d) + 10, "<H", 98), UNSUPPORTED),
    ZipRow("AES by zip, without its extra field", lambda d, b: put(put(d, 8, "<H", 99), at_directory(d) + 10, "<H", 99), UNSUPPORTED),
    ZipRow("encrypted by zip", lambda d, b: put(put(d, 6, "<H", 1), at_directory(d) + 8, "<H", 1), UNSUPPORTED),
    ZipRow("damaged data", lambda d, b: pgp.flip(d, 200), DAMAGED),
    ZipRow("zip64 with the old numbers kept", lambda d, b: zip64(d), {}),
    ZipRow("zip64 of 2^63 members", lambda d, b: zip64(d, count=1 << 63)),
    ZipRow("zip64 with an offset that wraps", lambda d, b: zip64(d, size=200, offset=(1 << 64) - 100)),
    ZipRow("zip64 of another number than without", lambda d, b: zip64(d, count=1)),
    ZipRow("two archives, one behind the other", lambda d, b: d * 2),
    ZipRow("a comment with an archive in it", lambda d, b: put(d, len(d) - 2, "<H", len(d)) + d),
    ZipRow("another CRC in the directory", lambda d, b: pgp.flip(d, at_directory(d) + 16), ONE_BAD),
    ZipRow("deflate64", lambda d, b: put(put(d, 8, "<H", 9), at_directory(d) + 10, "<H", 9), UNSUPPORTED),
    ZipRow("a link", lambda d, b: put(d, at_directory(d) + 40, "<H", 0o120777), {0: {"unsafe-name"}}),
    ZipRow("a device", lambda d, b: put(d, at_directory(d) + 40, "<H", 0o060666), {0: {"unsafe-name"}}),
    ZipRow("damage in the last of five", lambda d, b: pgp.flip(d, at_directory(d) - 30), {4: DAMAGED[0]}, members=5),
    ZipRow("damage in the middle of five", lambda d, b: pgp.flip(d, at_directory(d) // 2), {2: DAMAGED[0]}, members=5),
]
for row in ZIP:
    row.name = f"zip: {row.name}"


# -- all messages as members -----------------------------------------------------------------------------------------
class Members:
    """Every message above as a member of one archive, between good ones."""
    name = "all messages as members"

    def run(self, p):
        import io
        o, b = p.base.find("database"), p.base
        p.config["limits"] = LIMITS["limits"]
        top, out = f"{b.org}-2024-07-07", io.BytesIO()
        member = lambda n: f"UniversityX-M{n:03d}-2024-auth_user-prod-analytics.sql"
        rows = [r for r in MESSAGES if r.member]
        want, skipped = {}, 0
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as z:
            for n, row in enumerate(rows):
                try:
                    data = row.make(b)
                except Skip:
                    skipped += 1
                    continue
                want[member(n)] = row
                z.writestr(f"{top}/{member(n)}.gpg", data)
                z.writestr(f"{top}/{member(1000 + n)}.gpg", b.good(b"%d\n" % n))
        p.put(o["bucket"], o["key"], out.getvalue())
        p.once(timeout=145)
        p.check("exit status", p.last.code, 1)
        p.check("state", p.objects()[o["key"]]["state"], "PUBLISHED")
        if p.problems:
            return
        folder = p.staging / o["path"]
        lines = dict(line.split("\t")[::-1] for line in (folder / "REJECTED").read_text().splitlines())
        lines = {name.rsplit("/", 1)[-1].removesuffix(".gpg"): cause for name, cause in lines.items()}
        for name, row in want.items():
            if row.causes is None:
                p.check(f"{row.name}: cause", lines.get(name), None)
                good = (folder / name).exists() and (folder / name).read_bytes() == row.plain
                p.check(f"{row.name}: staged", good, True)
            else:
                p.check(f"{row.name}: cause {lines.get(name)} one of {sorted(row.causes)}", lines.get(name) in row.causes, True)
                p.check(f"{row.name}: staged", (folder / name).exists(), False)
            n = 1000 + int(name[len("UniversityX-M"):][:3])
            p.check(f"{row.name}: the next member", (folder / member(n)).exists()
                    and (folder / member(n)).read_bytes() == b"%d\n" % (n - 1000), True)
        p.check("members that were looked at", len(want) + skipped, len(rows))


MESSAGES = INTEGRITY + CUT + RECIPIENTS + AROUND + PACKETS + BOMBS + AEAD
ROWS = MESSAGES + SIGNATURES + GZIP + ZIP + [Crowd(), Members()]

if __name__ == "__main__":
    main(ROWS, HostileBase)
