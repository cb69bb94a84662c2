#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where the secret key is, and where it is not: the memory of every process of a running daemon is searched, as root, for
the secret numbers of the czar's RSA key, for the passphrase, and for the session keys of the messages. Locked and not
for core dumps, not for another process of the same user, gone when it is of no more use."""

import datetime
import hashlib
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from czardtest import keys, main
from czardtest.common import PATIENCE
from czardtest.run import World, children, copy_programs, is_sanitized, program
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


def spellings(number):
    """What betrays a number: its first and its last bytes, as they are written and as an array of little-endian limbs,
    which is how OpenSSL has it in a BIGNUM and in BN_MONT_CTX (the modulus there is the prime itself)."""
    return [n for end in (number[:PREFIX], number[-PREFIX:]) for n in (end, end[::-1])]


def needles(home, passphrase):
    """d, p, q, u and what follows from them, of each key, in all spellings"""
    export = with_copy(home, lambda copy: copy.gpg("--pinentry-mode", "loopback", "--passphrase", passphrase,
                                                   "--export-secret-keys"))
    found = []
    for body in (b for number, b in packets(export) if number in (5, 7)):
        numbers = secret_numbers(body, passphrase)
        d, p, q, _ = (int.from_bytes(n, "big") for n in numbers)
        derived = [d % (p - 1), d % (q - 1), pow(q, -1, p), (p - 1) * (q - 1)]
        numbers += [n.to_bytes((n.bit_length() + 7) // 8, "big") for n in derived]
        found += [s for n in numbers for s in spellings(n)]
    return found


def with_copy(home, use):
    with keys.Home() as copy:
        shutil.rmtree(copy.path)
        shutil.copytree(home, copy.path)
        os.chmod(copy.path, 0o700)
        return use(copy)


def session_keys(home, passphrase, messages):
    """The session key of each message: as it is, in hex as gpg is told it, and with its words swapped."""
    def ask(copy):
        return [copy.gpg("--pinentry-mode", "loopback", "--passphrase", passphrase, "--status-fd", "1", "--show-session-key",
                         "--output", "/dev/null", "--decrypt", message) for message in messages]
    found = []
    for status in with_copy(home, ask):
        text = re.search(rb"SESSION_KEY \d+:([0-9A-F]+)", status)[1]
        key = bytes.fromhex(text.decode())
        found += [key, key[:16], text[:32], text[:32].lower(), b"".join(key[i:i + 4][::-1] for i in range(0, 16, 4))]
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
            data = b""
            try:
                while start + len(data) < end:
                    mem.seek(start + len(data))
                    data += mem.read(end - start - len(data))
            except (OSError, ValueError, OverflowError):
                pass  # pages that nobody can read
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
        # small messages are decrypted in one go, the rdx object as a stream
        self.w = self.enterContext(World(with_tls=False, passphrase=PASSPHRASE, days=8, weeks=1, courses=1, rdx=1,
                                         rdx_size=3 << 20))
        self.numbers = needles(self.w.package / "gnupg", PASSPHRASE)
        self.s3 = self.enterContext(S3d(self.w.package, self.w.facts))
        self.w.use(self.s3.endpoint, tls_endpoint=False)
        self.w.config["daemon"]["poll_interval"] = "1h"
        self.w.build = copy_programs(self.w.folder / "build")
        subprocess.run(["chown", "-R", f"{UID}:{UID}", self.w.folder], check=True)
        os.chmod(self.w.folder, 0o755)
        self.czard = self.w.start(wrapper=("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"))
        self.addCleanup(self.stop)
        self.said = b""
        os.set_blocking(self.czard.stderr.fileno(), False)
        self.wait_for(b"CZARD_EVENT=poll-done")
        self.wait_until(lambda: not self.w.differences())

    def stop(self):
        if self.czard.poll() is None:
            self.czard.terminate()
            self.czard.wait(PATIENCE)
        self.czard.stderr.close()
        self.czard.stdout.close()

    def wait_until(self, condition, seconds=PATIENCE):
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

    def test_while_it_runs(self):
        with self.subTest("key"):
            self.where_the_key_is()
        with self.subTest("session keys"):
            self.session_keys_are_gone()
        with self.subTest("others"):
            self.nobody_can_look()
        with self.subTest("who asks"):
            self.who_asks_is_seen_while_it_is_looked_at()

    def where_the_key_is(self):
        workers = named(self.czard.pid, "czard-decrypt")
        for pid in workers:
            # a second one may just have been started; and that the search finds what is there
            self.wait_until(lambda: search(pid, self.numbers))
            for start, flags in search(pid, self.numbers):
                self.assertIn("lo", flags, f"{start:x}")
                self.assertIn("dd", flags, f"{start:x}")
        # neither the director nor what talks to the network has it
        for pid in [self.czard.pid, *named(self.czard.pid, "czard-fetch")]:
            self.assertEqual(search(pid, self.numbers), [])
        for pid in named(self.czard.pid, "czard-fetch"):
            self.assertEqual(search(pid, [PASSPHRASE.encode()]), [])
        # who has the passphrase has it in locked memory only
        for pid in [self.czard.pid, *workers]:
            for start, flags in search(pid, [PASSPHRASE.encode()]):
                self.assertIn("lo", flags, f"{comm(pid)} {start:x}")
                self.assertIn("dd", flags)

    def session_keys_are_gone(self):
        """From what is czard's own: gpg-agent keeps those that it was asked for."""
        messages = [self.w.package / "buckets" / o["bucket"] / o["key"] for o in self.w.facts["objects"]
                    if o["key"].endswith(".gpg")]
        self.assertTrue([m for m in messages if m.stat().st_size > 3 << 20] and len(messages) > 5)
        keys_of = session_keys(self.w.package / "gnupg", PASSPHRASE, messages)
        for pid in [self.czard.pid, *named(self.czard.pid, "czard-decrypt"), *named(self.czard.pid, "czard-fetch")]:
            self.assertEqual(search(pid, keys_of), [], comm(pid))

    def nobody_can_look(self):
        # without a gpg, which may end while it is looked at
        lasting = {"czard", "czard-fetch", "czard-decrypt", "gpg-agent"}
        self.wait_until(lambda: {comm(pid) for pid in self.all_processes()} == lasting)
        for pid in self.all_processes():
            name = comm(pid)
            limits = Path(f"/proc/{pid}/limits").read_text()
            self.assertRegex(limits, r"Max core file size\s+0\s+0", name)
            self.assertEqual(os.stat(f"/proc/{pid}/mem").st_uid, 0, f"{name} is dumpable")
            for uid in (UID, 65534):
                tried = subprocess.run(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "head", "-c1",
                                        f"/proc/{pid}/mem"], capture_output=True, check=False)
                self.assertIn(b"Permission denied", tried.stderr, f"{name}, uid {uid}")

    def who_asks_is_seen_while_it_is_looked_at(self):
        """czarctl, which gives up root, is dumpable from before it connects to czard until that has said something, and no
        longer."""
        trace = self.w.folder / "ask.trace"
        for command in (("status",), ("resync", "no-such-key")):
            done = subprocess.run(["strace", "-o", trace, "-e", "signal=none", "-e", "trace=prctl,connect,recvmsg,recvfrom,setresuid",
                                   program("czarctl", self.w.build), "--config", self.w.ini(), *command], env=self.w.environment(), capture_output=True,
                                  text=True, check=False)
            calls = re.findall(r"setresuid|(?<=PR_SET_DUMPABLE, )\w+|connect(?=.*control\W.* = 0)|recv", trace.read_text())
            self.assertIn("connect", calls, done)
            said = " ".join(calls).replace("SUID_DUMP_USER", "1").replace("SUID_DUMP_DISABLE", "0")
            seen = re.sub("1 connect recv 0", "", said)
            self.assertNotIn("1", seen, (command, said))

    def renew_workers(self, engine):
        """Other settings: all workers go, and those of the next objects are new."""
        old = {*named(self.czard.pid, "czard-decrypt")}
        self.assertTrue(old)
        old |= {child for pid in old for child in children(pid)}
        self.w.config["openpgp"]["engine"] = engine
        self.w.ini().chmod(0o644)
        self.said = b""
        self.czard.send_signal(signal.SIGHUP)
        self.wait_for(b"CZARD_EVENT=reloaded")
        self.wait_for(b"CZARD_EVENT=poll-done")  # the reload's own
        self.wait_until(lambda: not any(comm(pid) for pid in old))
        for pid in self.all_processes():
            self.assertEqual(search(pid, self.numbers), [], comm(pid))

    def put_one_more(self, days):
        """An event file of so many days after the last one, and waits until it is staged."""
        last = max((o for o in self.w.facts["objects"] if o["category"] == "events"), key=lambda o: o["date"])
        date = (datetime.date.fromisoformat(last["date"]) + datetime.timedelta(days=days)).isoformat()
        there = self.w.package / "buckets" / last["bucket"]
        os.link(there / last["key"], there / last["key"].replace(last["date"], date))
        self.said = b""
        self.czard.send_signal(signal.SIGUSR1)
        self.wait_for(b"CZARD_EVENT=poll-done")
        self.wait_until((self.w.staging / last["path"].replace(last["date"], date)).exists)

    def test_gone_with_the_worker(self):
        # Where gpg-agent alone has the key, the worker does not. The other engine shows that it would be found.
        for days, engine in ((1, "gnupg"), (2, "auto")):
            with self.subTest(engine):
                self.renew_workers(engine)
                self.put_one_more(days)
                new = named(self.czard.pid, "czard-decrypt")
                self.assertTrue(new)
                if engine == "auto":
                    self.wait_until(lambda: all(search(pid, self.numbers) for pid in new))
                else:
                    for pid in new:
                        self.assertEqual(search(pid, self.numbers), [], comm(pid))
                    self.assertEqual([comm(pid) for pid in new], ["czard-decrypt"] * len(new), "it was alive")
        left = self.all_processes()
        self.czard.terminate()
        self.assertEqual(self.czard.wait(PATIENCE), 0)
        end = time.monotonic() + PATIENCE
        while any(comm(pid) for pid in left) and time.monotonic() < end:
            time.sleep(0.1)
        self.assertEqual([(pid, comm(pid)) for pid in left if comm(pid)], [])
        self.assertEqual([p for p in self.w.run_folder.rglob("*.key")], [])


@unittest.skipIf(is_sanitized(), "sanitizer builds are dumpable on purpose")
class CoreTest(unittest.TestCase):
    def dies(self, command, sent, **kwargs):
        """How it ends by the signal, once it is not dumpable: CLD_KILLED or CLD_DUMPED."""
        def unlimited():
            resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        with tempfile.TemporaryDirectory() as folder:
            child = subprocess.Popen(command, cwd=folder, preexec_fn=unlimited, stdin=subprocess.DEVNULL, **kwargs)
            end = time.monotonic() + PATIENCE
            while "State:\tS" not in Path(f"/proc/{child.pid}/status").read_text() and time.monotonic() < end:
                time.sleep(0.02)
            child.send_signal(sent)
            done = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            child.wait()
            self.assertEqual(done.si_status, sent)
            return done.si_code

    @unittest.skipIf(resource.getrlimit(resource.RLIMIT_CORE)[1] != resource.RLIM_INFINITY and os.geteuid() != 0,
                     "the limit would prevent it")
    def test_no_core(self):
        """What the limit was before does not matter."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        for sent in (signal.SIGSEGV, signal.SIGQUIT, signal.SIGABRT):
            if Path("/proc/sys/kernel/core_pattern").read_text() == "core\n":
                self.assertEqual(self.dies(["sleep", "100"], sent), os.CLD_DUMPED, "or nothing is proved")
            worker = ["sh", "-c", f'exec "$0" --channel 3 3<&{theirs.fileno()}', program("czard-decrypt")]
            self.assertEqual(self.dies(worker, sent, pass_fds=[theirs.fileno()]), os.CLD_KILLED)


if __name__ == "__main__":
    main()
