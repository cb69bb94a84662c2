#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where the secret key is, and where it is not: the memory of every process of a running daemon is searched for the
primes of the czar's RSA key and for the passphrase, as root. Not in a core dump, not for another process of the same
user, gone when the worker is."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

from czardtest import keys, main
from czardtest.run import World, children, is_sanitized
from czardtest.s3d import S3d

PASSPHRASE = "velvet-otter 42 in the attic"
UID = 64321  # nobody else's
PREFIX = 32  # bytes of a number that are looked for: enough to be no accident


# -- the numbers of an exported key (RFC 4880, 5.5.3), with nothing of czard's ----------------------------------------
def packets(data):
    while data:
        tag = data[0]
        if tag & 0x40:
            first = data[1]
            size, head = (first, 2) if first < 192 else (((first - 192) << 8) + data[2] + 192, 3)
            number = tag & 63
        else:
            width = 1 << (tag & 3)
            size, head = int.from_bytes(data[1:1 + width], "big"), 1 + width
            number = tag >> 2 & 15
        yield number, data[head:head + size]
        data = data[head + size:]


def mpi(data):
    size = (int.from_bytes(data[:2], "big") + 7) // 8
    return data[2:2 + size], data[2 + size:]


def secret_numbers(body, passphrase):
    """d, p, q, u of one protected RSA key packet."""
    _, rest = mpi(body[6:])
    _, rest = mpi(rest)
    usage, cipher, kind, digest = rest[:4]
    assert (usage, kind) == (254, 3), "protected by an iterated, salted passphrase"
    salt, count, rest = rest[4:12], rest[12], rest[13:]
    bits = {7: 128, 9: 256}[cipher]
    name = {2: "sha1", 8: "sha256", 10: "sha512"}[digest]
    total = (16 + (count & 15)) << ((count >> 4) + 6)
    unit = salt + passphrase.encode()
    stream = (unit * (total // len(unit) + 1))[:total]
    key = (hashlib.new(name, stream).digest() + hashlib.new(name, b"\0" + stream).digest())[:bits // 8]
    iv, rest = rest[:16], rest[16:]
    plain = keys.run(["openssl", "enc", "-d", f"-aes-{bits}-cfb", "-K", key.hex(), "-iv", iv.hex()], input=rest)
    assert hashlib.sha1(plain[:-20]).digest() == plain[-20:], "the passphrase does not open the export"
    numbers = []
    for _ in range(4):
        number, plain = mpi(plain)
        numbers.append(number)
    return numbers


def needles(home, passphrase):
    """name -> what would betray the primes, in both byte orders"""
    with keys.Home() as copy:
        shutil.rmtree(copy.path)
        shutil.copytree(home, copy.path)
        os.chmod(copy.path, 0o700)
        export = copy.gpg("--pinentry-mode", "loopback", "--passphrase", passphrase, "--export-secret-keys")
    found = {}
    for n, body in enumerate(b for number, b in packets(export) if number in (5, 7)):
        _, p, q, _ = secret_numbers(body, passphrase)
        for name, number in (("p", p), ("q", q)):
            found[f"{name}{n}"] = (number[:PREFIX], number[::-1][:PREFIX])
    return found


# -- memory -----------------------------------------------------------------------------------------------------------
def regions(pid):
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+\s*(.*)$", line)
        if head:
            region = (int(head[1], 16), int(head[2], 16), head[3], head[4])
        elif line.startswith("VmFlags:") and region[2].startswith("r") and region[3] not in ("[vvar]", "[vsyscall]"):
            yield (*region, line.split()[1:])


def search(pid, patterns):
    """[(start of the region, its flags)] for everything of patterns that is found in the memory of a process."""
    found = []
    if not comm(pid):
        return found
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for start, end, _, _, flags in regions(pid):
            try:
                mem.seek(start)
                data = mem.read(end - start)
            except (OSError, ValueError, OverflowError):
                continue
            found += [(start, flags) for p in patterns if p in data]
    return found


def comm(pid):
    """Its name; "" for one that is gone, or a zombie: it has no memory any more."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    name, _, rest = stat.partition("(")[2].rpartition(")")
    return "" if rest.split()[0] in "ZX" else name


def named(pid, name):
    return [p for p in children(pid) if comm(p) == name]


@unittest.skipIf(os.geteuid() != 0, "only root may look into other processes")
@unittest.skipIf(is_sanitized(), "sanitizer builds are dumpable on purpose, and keep freed memory")
class KeyMemoryTest(unittest.TestCase):
    def setUp(self):
        self.w = self.enterContext(World(with_tls=False, passphrase=PASSPHRASE, days=8, weeks=1, courses=1, rdx=0))
        self.numbers = needles(self.w.package / "gnupg", PASSPHRASE)
        self.primes = [n for pair in self.numbers.values() for n in pair]
        self.s3 = self.enterContext(S3d(self.w.package, self.w.facts))
        self.w.use(self.s3.endpoint, tls_endpoint=False)
        self.w.config["daemon"]["poll_interval"] = "1h"
        subprocess.run(["chown", "-R", f"{UID}:{UID}", self.w.folder], check=True)
        os.chmod(self.w.folder, 0o755)
        self.czard = self.w.start(wrapper=("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"))
        self.addCleanup(self.stop)
        self.said = b""
        os.set_blocking(self.czard.stderr.fileno(), False)
        self.wait_for(b"CZARD_EVENT=poll-done")
        self.wait_until(lambda: self.said.count(b"CZARD_EVENT=published") >= 5)

    def stop(self):
        if self.czard.poll() is None:
            self.czard.terminate()
            self.czard.wait(30)
        self.czard.stderr.close()
        self.czard.stdout.close()

    def wait_until(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            self.said += self.czard.stderr.read() or b""
            self.assertIsNone(self.czard.poll(), self.said[-3000:])
            self.assertLess(time.monotonic(), end, self.said[-3000:])
            time.sleep(0.05)

    def wait_for(self, text):
        self.wait_until(lambda: text in self.said)

    def all_processes(self):
        return [self.czard.pid, *children(self.czard.pid)]

    def test_where_the_key_is(self):
        workers = named(self.czard.pid, "czard-decrypt")
        self.assertTrue(workers)
        # that the search finds what is there
        held = search(workers[0], self.primes)
        self.assertTrue(held, "the worker holds its key somewhere")
        self.assertTrue([1 for _, flags in held if "lo" in flags and "dd" in flags], "in locked memory, not in dumps")
        print(f"primes in the worker: {len(held)} places, {sum('lo' in f for _, f in held)} of them locked", file=sys.stderr)
        # neither the director nor what talks to the network has it
        for pid in [self.czard.pid, *named(self.czard.pid, "czard-fetch")]:
            self.assertEqual(search(pid, self.primes), [])
        for pid in named(self.czard.pid, "czard-fetch"):
            self.assertEqual(search(pid, [PASSPHRASE.encode()]), [])
        # who has the passphrase has it in locked memory only
        for pid in [self.czard.pid, *workers]:
            for start, flags in search(pid, [PASSPHRASE.encode()]):
                self.assertIn("lo", flags, f"{comm(pid)} {start:x}")
                self.assertIn("dd", flags)

    def test_nobody_can_look(self):
        for pid in self.all_processes():
            name = comm(pid)
            if not name:
                continue
            limits = Path(f"/proc/{pid}/limits").read_text()
            self.assertRegex(limits, r"Max core file size\s+0\s+0", name)
            if name not in ("czard", "czard-decrypt"):
                continue
            self.assertEqual(os.stat(f"/proc/{pid}/mem").st_uid, 0, f"{name} is dumpable")
            for uid in (UID, 65534):
                tried = subprocess.run(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "head", "-c1",
                                        f"/proc/{pid}/mem"], capture_output=True, check=False)
                self.assertIn(b"Permission denied", tried.stderr, f"{name}, uid {uid}")

    def test_gone_with_the_worker(self):
        workers = named(self.czard.pid, "czard-decrypt")
        self.w.config["limits"] = {"max_members": 1000}  # other settings: the workers are renewed
        self.w.ini().chmod(0o644)
        self.czard.send_signal(signal.SIGHUP)
        self.wait_for(b"CZARD_EVENT=reloaded")
        self.wait_until(lambda: not set(workers) & set(named(self.czard.pid, "czard-decrypt")))
        new = set(named(self.czard.pid, "czard-decrypt"))
        for pid in self.all_processes():
            if pid not in new and pid not in {c for n in new for c in children(n)}:
                self.assertEqual(search(pid, self.primes), [], comm(pid))
        left = self.all_processes()
        self.czard.terminate()
        self.assertEqual(self.czard.wait(30), 0)
        end = time.monotonic() + 20
        while any(comm(pid) for pid in left) and time.monotonic() < end:
            time.sleep(0.1)
        self.assertEqual([(pid, comm(pid)) for pid in left if comm(pid)], [])
        self.assertEqual([p for p in self.w.run_folder.rglob("*.key")], [])


if __name__ == "__main__":
    main()
