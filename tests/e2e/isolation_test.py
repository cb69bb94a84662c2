#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The one rule, seen from the kernel: who opens what, who makes which sockets, and what ends up on which disk.

strace attributes every call to the program that its process runs at that moment."""

import os
import re
import shutil
import unittest

from czardtest import main
from czardtest.run import World
from czardtest.s3d import S3d

CALL = re.compile(r"^(\d+)\s+(\w+)\((.*)$")


class Trace:
    """[(program, call, rest of the line)] of a strace -f -y -o file."""

    def __init__(self, path):
        self.calls, program, parents = [], {}, {}
        lines = path.read_text(errors="replace").splitlines()
        # A child's first lines may come before its parent's clone() returned.
        for line in lines:
            m = re.match(r"^(\d+)\s+(?:clone3?|vfork|fork|<\.\.\. (?:clone3?|vfork|fork) resumed>).*= (\d+)$", line)
            if m:
                parents[m[2]] = m[1]
        for line in lines:
            m = CALL.match(line)
            if not m:
                continue
            pid, call, rest = m.groups()
            if pid not in program:
                program[pid] = program.get(parents.get(pid), "?")
            self.calls.append((program[pid], call, rest))
            if call == "execve" and "= 0" in rest or call == "execve" and "unfinished" in rest:
                program[pid] = os.path.basename(re.match(r'"([^"]*)"', rest)[1])

    def of(self, *programs, calls=None):
        return [c for c in self.calls if c[0] in programs and (calls is None or c[1] in calls)]


@unittest.skipUnless(os.geteuid() == 0, "needs root: czard's processes cannot be read by their own user")
@unittest.skipIf(shutil.which("strace") is None, "strace is not installed")
class IsolationTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = w = cls.enterClassContext(World(days=3, weeks=1, courses=2, passphrase="a passphrase"))
        cls.s3 = cls.enterClassContext(S3d(w.package, w.facts, w.certificate))
        w.use(cls.s3.endpoint)
        trace = w.folder / "trace"
        cls.done = w.once(wrapper=["strace", "-f", "-y", "-s", "200", "-o", trace, "-e", "signal=none",
                                   "-e", "trace=%file,%process,%network"])
        cls.trace = Trace(trace)
        cls.programs = {c[0] for c in cls.trace.calls}

    def test_it_worked(self):
        self.assertEqual(self.done.code, 0, self.done)
        self.assertEqual(self.world.differences(), [])
        self.assertLessEqual({"czard", "czard-fetch", "czard-decrypt", "czard-index"}, self.programs)

    def test_czard_fetch_touches_neither_staging_nor_state_nor_keys(self):
        w = self.world
        forbidden = [str(p) for p in (w.staging, w.state, w.package / "gnupg", w.folder / "passphrase", w.run_folder)]
        touched = [c for c in self.trace.of("czard-fetch") if c[1] != "execve" and any(f in c[2] for f in forbidden)]
        self.assertEqual(touched, [])

    def test_czard_fetch_writes_no_file(self):
        writing = [c for c in self.trace.of("czard-fetch", calls=("open", "openat", "openat2", "creat", "mkdir", "mkdirat",
                                                                  "rename", "renameat2", "linkat", "unlink", "unlinkat"))
                   if c[1] not in ("open", "openat", "openat2") or re.search(r"O_(WRONLY|RDWR|CREAT|TMPFILE|TRUNC)", c[2])]
        self.assertEqual([c for c in writing if "/dev/null" not in c[2]], [])

    def test_czard_fetch_starts_no_program(self):
        self.assertEqual([c for c in self.trace.of("czard-fetch", calls=("execve",))], [])

    def test_only_czard_fetch_has_the_network(self):
        others = self.programs - {"czard-fetch", "strace", "?"}
        inet = [c for c in self.trace.of(*others, calls=("socket", "connect", "bind", "sendto"))
                if re.search(r"AF_INET|AF_NETLINK|AF_PACKET|AF_VSOCK", c[2])]
        self.assertEqual(inet, [])
        self.assertTrue([c for c in self.trace.of("czard-fetch", calls=("socket",)) if "AF_INET" in c[2]])

    def test_decrypt_has_no_paths_of_ours(self):
        """czard-decrypt and its gpg see neither staging nor state by name, nor the AWS credentials."""
        w = self.world
        forbidden = [str(w.state), str(w.package / "credentials.csv"), str(w.staging) + "/"]
        decrypting = self.programs - {"czard", "czard-fetch", "strace", "?"}
        opened = [c for c in self.trace.of(*decrypting, calls=("open", "openat", "openat2", "readlink", "stat"))
                  if any(f in c[2].split(" = ")[0] for f in forbidden)]
        self.assertEqual(opened, [])

    def test_czard_index_only_reads_what_it_is_given(self):
        """Once its libraries are there: no file, no socket, no program."""
        after = [c for c in self.trace.of("czard-index") if not re.search(r"/(lib|etc/ld\.so|usr/lib|proc/self)|/dev/null|^\d+<socket", c[2])]
        self.assertEqual([c for c in after if c[1] not in ("execve", "exit_group", "recvmsg", "sendmsg", "access")], [])
        started = [c for c in self.trace.of("czard-index", calls=("execve", "socket", "connect", "sendto", "fork", "vfork", "clone"))]
        self.assertEqual(started, [])
        self.assertTrue(self.trace.of("czard-index", calls=("recvmsg",)))

    def test_the_key_holder_reads_no_directory(self):
        """Who reads an archive's directory decides ranges of requests: one process an archive, never czard-decrypt."""
        index = [c for c in self.trace.calls if c[1] == "execve" and "czard-index" in c[2]]
        archives = sum(o["category"] in ("database", "email-opt-in") for o in self.world.facts["objects"])
        self.assertGreaterEqual(len(index), archives)

    def test_czard_reads_no_credentials(self):
        csv = str(self.world.package / "credentials.csv")
        opened = [c for c in self.trace.of("czard", calls=("open", "openat", "openat2")) if csv in c[2]]
        self.assertEqual([c for c in opened if "O_PATH" not in c[2]], [])  # by O_PATH it looks at owner and mode only

    def written_files(self):
        """Paths of all regular files that any process opened for writing, with the result's name by -y."""
        out = set()
        for _, call, rest in self.trace.calls:
            if call in ("open", "openat", "openat2", "creat") and re.search(r"O_(WRONLY|RDWR|TMPFILE)", rest):
                m = re.search(r"= \d+<([^>]*)>", rest)
                if m:
                    out.add(m[1])
        return out

    def test_where_is_written(self):
        w = self.world
        state = {str(w.state / name) for name in ("lock", "audit.jsonl", "ledger.db", "ledger.db-wal", "ledger.db-shm",
                                                  "ledger.db-journal")}
        # the members of an archive, in a file that loses its name at once
        unnamed = re.compile(re.escape(str(w.state)) + r"/etilqs_\w+( \(deleted\))?$")
        # a worker's GnuPG home: the key ring, the (protected) secret key, locks and settings; never a message
        home = re.compile(re.escape(str(w.run_folder)) + r"/[^/]+/[^/]+(/(private-keys-v1\.d/[0-9A-F]{40}\.key(\.tmp)?|"
                          r"pubring\.kbx(\.tmp|~)?|trustdb\.gpg|\.#lk\S*|[^/]*\.lock|gpg(-agent)?\.conf|random_seed|[\w.-]*tmp[\w.-]*))?$")
        elsewhere = sorted(p for p in self.written_files()
                           if not p.startswith((f"{w.staging}", "/dev/", "/proc/")) and p not in state
                           and not unnamed.match(p) and not home.match(p.removesuffix(" (deleted)").removesuffix("(deleted)")))
        self.assertEqual(elsewhere, [])

    def test_no_plaintext_or_ciphertext_stays_elsewhere(self):
        w = self.world
        needles = []
        for o in w.facts["objects"]:
            data = (w.package / "buckets" / o["bucket"] / o["key"]).read_bytes()
            needles.append(data[len(data) // 2:][:24])
        for path in (w.package / "expected").rglob("*"):
            if path.is_file() and path.name != "SHA256SUMS" and path.stat().st_size > 200:
                needles.append(path.read_bytes()[100:132])
        for folder in (w.state, w.run_folder):
            for path in folder.rglob("*"):
                if path.is_file():
                    data = path.read_bytes()
                    self.assertEqual([n for n in needles if n in data], [], path)

    def test_no_secret_in_arguments(self):
        for program, _, rest in self.trace.of(*self.programs, calls=("execve",)):
            self.assertNotIn("a passphrase", rest, program)
            self.assertNotIn(self.world.facts["secret_access_key"], rest, program)


if __name__ == "__main__":
    main()
