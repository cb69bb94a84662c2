#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an attacker could do who runs code within one of the helpers: a preload tries it from inside, after the helper
has locked itself in. Started by hand, without units, as one user for all: only the locks of the programs hold."""

import os
import signal
import socket
import subprocess
import time
import unittest

from czardtest import main
from czardtest.common import PATIENCE
from czardtest.run import World, build_folder, is_sanitized, program
from czardtest.s3d import S3d

LOG_SIZE = 65536
HIGH = 1 << 32
CHANGES = ("chmod", "fchmodat", "fchmodat2", "chown", "lchown", "times", "setxattr", "removexattr", "truncate", "watch")
MEDDLES = ("prlimit", "nice", "pidfd", "queue", "tkill", "tgkill", "group", "everybody", "owner")
# In a name space of its own, czard-decrypt can make no other one, as where the kernel lets nobody.
WITHOUT = ("unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c",
           'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"', "sh")
HAS_ROOT = subprocess.run(["unshare", "--user", "--mount", "--net", "--map-current-user", "true"], capture_output=True).returncode == 0
AF_PACKET, AF_VSOCK, AF_ALG, MPTCP = 17, 40, 38, 262


@unittest.skipIf(is_sanitized(), "sanitizer builds run without locks, and say so")
class InsideTest(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        w = cls.world = cls.enterClassContext(World(with_tls=False, passphrase="a passphrase", days=2, weeks=1, courses=1, rdx=0))
        cls.s3 = cls.enterClassContext(S3d(w.package, w.facts))
        w.use(cls.s3.endpoint, tls_endpoint=False)
        w.config["daemon"]["workers"] = 1
        done = w.once()
        assert done.code == 0, done
        cls.forbidden_folders = [w.staging, w.staging / w.org, w.state, w.package / "gnupg", w.folder, "/", "/root", "/home",
                                 "/tmp", "/var", "/dev", "/proc/self", "/sys"]
        staged = next(p for p in w.staging.rglob("*.log.gz"))
        key = next((w.package / "gnupg/private-keys-v1.d").iterdir())
        cls.forbidden_files = [staged, w.staging / ".czard-id", w.state / "ledger.db", w.state / "audit.jsonl",
                               w.state / "lock", w.package / "credentials.csv", w.folder / "passphrase", key,
                               w.package / "gnupg/pubring.kbx", w.folder / "czard.ini", "/etc/shadow", "/etc/passwd",
                               "/proc/self/mem", "/proc/self/environ", "/proc/1/status", "/dev/mem", "/dev/kmsg", "/dev/tty"]
        cls.listener = socket.create_server(("127.0.0.1", 0))
        cls.addClassCleanup(cls.listener.close)

    def ask_inside(self, program, things, early=False, wrapper=()):
        """{thing: result} of what was tried inside a helper of a running czard. early: before it locks itself in."""
        w = self.world
        log = w.folder / f"inside-{program}"
        log.write_bytes(bytes(LOG_SIZE))
        inside = {"LD_PRELOAD": build_folder() / "tests/inside.so", "INSIDE_PROGRAM": program, "INSIDE_LOG": log,
                  "INSIDE_TRY": "\n".join(things), **({"INSIDE_EARLY": "1"} if early else {})}
        before = w.environment
        w.environment = lambda: {**before(), **{k: str(v) for k, v in inside.items()}}
        for path in (w.state, w.staging):
            self.assertTrue(path.is_dir())
        w.package_section["since"] = "2000-01-01"
        self.addCleanup(w.package_section.pop, "since", None)
        try:
            czard = w.start(wrapper=wrapper)
        finally:
            del w.environment
        self.addCleanup(czard.stderr.close)
        self.addCleanup(czard.stdout.close)
        try:
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end and czard.poll() is None:
                lines = log.read_bytes().rstrip(b"\0").decode().splitlines()
                if len(lines) == len(things):
                    break
                time.sleep(0.05)
        finally:
            if czard.poll() is None:
                czard.send_signal(signal.SIGTERM)
            try:
                czard.wait(PATIENCE)
            except Exception:
                czard.kill()
                raise
        said = czard.stderr.read().decode(errors="replace")
        self.assertEqual(len(lines), len(things), (lines, said[-3000:]))
        results = dict(line.rsplit(": ", 1) if not line.startswith("ask") else line.split(": ", 1) for line in lines)
        self.assertEqual(set(results), set(things))
        self.said = said
        return results

    def common(self):
        """What no helper may do. {thing: errno}"""
        w = self.world
        want = {f"list {p}": "EACCES" for p in self.forbidden_folders}
        for p in self.forbidden_files:
            if os.path.exists(p):
                want |= {f"read {p}": "EACCES", f"write {p}": "EACCES"}
        for p in (w.staging, w.state, w.package / "gnupg", w.folder, "/tmp", "/etc", "/dev/shm", "/var/tmp"):
            want |= {f"create {p}/probe": "EACCES", f"mkdir {p}/probe": "EACCES", f"symlink {p}/probe": "EACCES"}
        want |= {f"unlink {w.state}/audit.jsonl": "EACCES",
                 f"unlink {w.staging}/.czard-id": "EACCES"}
        want |= {f"socket {family} {socket.SOCK_RAW}": "EAFNOSUPPORT"
                 for family in (socket.AF_NETLINK, AF_PACKET, AF_VSOCK, AF_ALG)}
        staged = self.forbidden_files[0]
        want |= {f"change {how} {p}": "EPERM" for p in (staged, w.state / "audit.jsonl") for how in CHANGES}
        want |= {f"truncate {w.state}/audit.jsonl": "EPERM"}
        # the upper half of an int argument is dropped by the kernel: what is in it must not hide the lower half
        want |= {f"socket {family} {kind} {protocol}": error for family, kind, protocol, error in (
            (socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, "EPERM"), (socket.AF_UNIX, HIGH | socket.SOCK_SEQPACKET, 0, "EPERM"),
            (HIGH | AF_VSOCK, socket.SOCK_STREAM, 0, "EAFNOSUPPORT"),
            (socket.AF_INET, socket.SOCK_STREAM, HIGH | MPTCP, "EAFNOSUPPORT"))}
        want |= {f"meddle {how}": "EPERM" for how in MEDDLES}
        want |= {"child clone3": "ENOSYS", "child namespace": "EPERM", "child sibling": "EPERM", "memfd": "EPERM"}
        want |= {"thread": "done"}
        want |= {"uring": "EPERM", "kill": "EPERM", "ptrace": "EPERM", "peek": "EPERM",
                 "proc mem": "EACCES", "proc environ": "EACCES", "proc fd/3": "EACCES"}
        return want

    def open_sockets(self):
        """{path: socket}: whoever may connect to anything may connect to these."""
        found = {}
        for folder in ("/run", "/tmp"):
            if not os.access(folder, os.W_OK):
                continue
            for name, kind in (("stream", socket.SOCK_STREAM), ("datagram", socket.SOCK_DGRAM)):
                path = f"{folder}/czard-inside-{os.getpid()}-{name}"
                s = socket.socket(socket.AF_UNIX, kind)
                s.bind(path)
                self.addCleanup(os.unlink, path)
                self.addCleanup(s.close)
                os.chmod(path, 0o666)
                s.setblocking(False)
                if kind == socket.SOCK_STREAM:
                    s.listen()
                found[path] = s
        return found

    def reach(self, paths, errors):
        return {f"{how} {path}": error for path in paths for how, error in errors.items()
                if (how == "stream") == path.endswith("stream")}

    def nobody_came(self, sockets):
        for path, s in sockets.items():
            with self.assertRaises(BlockingIOError, msg=path):
                s.accept() if path.endswith("stream") else s.recv(1)

    def check(self, program, want, own_root=False, wrapper=()):
        # nobody locked in can connect to the control socket: it is of a type that they cannot make
        control = self.world.run_folder / "control"
        want |= {f"ask {control}": "EPERM", f"ask-orphaned {control}": "EPERM"}
        got = self.ask_inside(program, want, wrapper=wrapper)
        if own_root:  # what it may not open, change or make is not even there
            got = {k: want[k] if want[k] in ("EACCES", "EPERM") and v in ("ENOENT", "EROFS") else v for k, v in got.items()}
        self.assertEqual({k: v for k, v in got.items() if v != want[k]}, {})
        left = [p for root in (self.world.staging, self.world.state, self.world.folder) for p in root.glob("probe")]
        self.assertEqual(left, [])

    def template(self):
        """Where the template will be: the names that czard gives are the same in each run."""
        run = self.world.run_folder
        czard = self.world.start()
        self.addCleanup(czard.stderr.close)
        self.addCleanup(czard.stdout.close)
        end = time.monotonic() + PATIENCE
        while not (found := list(run.glob("*/t*/gpg.conf"))) and time.monotonic() < end:
            time.sleep(0.05)
        czard.send_signal(signal.SIGTERM)
        czard.wait(PATIENCE)
        self.assertEqual(len(found), 1)
        self.assertEqual(list(run.glob("*/*")), [], "homes that are left")
        return found[0].parent

    def test_the_control_socket_refuses_helpers(self):
        """Also one that could connect to it."""
        control = self.world.run_folder / "control"
        answers = self.ask_inside("czard-decrypt", [f"ask {control}", f"ask-orphaned {control}"], early=True)
        for how, answer in answers.items():
            # it is told why, unless the connection was closed over what it had sent
            self.assertTrue("these may ask for nothing" in answer or answer in ("ECONNRESET", "EPIPE"), (how, answer))
        self.assertIn("a process of czard itself", self.said)
        self.assertNotIn("from inside", (self.world.state / "audit.jsonl").read_text())

    def test_fetch(self):
        port = self.listener.getsockname()[1]
        self.check("czard-fetch", self.common() | {
            "child fork": "EPERM", "child clone": "EPERM", "exec /bin/sh": "EPERM", "listen": "EPERM",
            f"tcp {port}": "EACCES", "tcp 22": "EACCES",
            f"socket {socket.AF_INET} {socket.SOCK_STREAM} {MPTCP}": "EAFNOSUPPORT",
            f"tcp {self.s3.port}": "done",  # so that the probe can do what is allowed
            "read /etc/hosts": "done"})

    def test_decrypt(self):
        self.look_into_decrypt(wrapper=WITHOUT if HAS_ROOT else ())

    @unittest.skipUnless(HAS_ROOT, "no name spaces here")
    def test_decrypt_with_a_root_of_its_own(self):
        self.look_into_decrypt(own_root=True)

    def look_into_decrypt(self, **how):
        port = self.listener.getsockname()[1]
        no_socket = {f"socket {family} {kind}": "EAFNOSUPPORT" for family in (socket.AF_INET, socket.AF_INET6)
                     for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW)}
        no_program = {f"exec {p}": "EACCES" for p in ("/bin/sh", "/usr/bin/python3", "/usr/bin/id")}
        # Of a worker before: what the workers to come copy is in no worker's hands.
        template = self.template()
        no_template = {f"create {template}/probe": "EACCES", f"mkdir {template}/probe": "EACCES",
                       f"symlink {template}/probe": "EACCES", f"unlink {template}/gpg.conf": "EACCES",
                       f"write {template}/gpg.conf": "EACCES", f"read {template}/gpg.conf": "EACCES"}
        sockets = self.open_sockets()
        no_socket |= self.reach(sockets, {"stream": "EAFNOSUPPORT", "datagram": "EAFNOSUPPORT", "raw": "EAFNOSUPPORT",
                                          "pair": "EPERM", "channel": "EPERM"})
        self.check("czard-decrypt", self.common() | no_socket | no_program | no_template | {
            "child fork": "done", "listen": "EAFNOSUPPORT",
            f"tcp {port}": "EAFNOSUPPORT", f"tcp {self.s3.port}": "EAFNOSUPPORT",
            "read /etc/hosts": "EACCES", "list /etc/ssl": "EACCES", "read /etc/resolv.conf": "EACCES",
            "exec /usr/bin/gpgconf": "EACCES", "exec /usr/bin/gpg-agent": "EACCES", "read /dev/null": "done"}, **how)
        self.nobody_came(sockets)

    def test_the_reference_worker(self):
        """It has sockets of the kind of its agent's, and no other. Which path they may be at no lock tells: where it cannot
        have a root of its own, that is the unit's (systemd_test)."""
        sockets = {p: s for p, s in self.open_sockets().items() if p.endswith("datagram")}
        self.look_into_the_reference_worker(sockets, wrapper=WITHOUT if HAS_ROOT else ())

    @unittest.skipUnless(HAS_ROOT, "no name spaces here")
    def test_the_reference_worker_with_a_root_of_its_own(self):
        """There is no path that it may not be at."""
        self.look_into_the_reference_worker(self.open_sockets(), own_root=True)

    def look_into_the_reference_worker(self, sockets, **how):
        self.world.config["openpgp"]["engine"] = "gnupg"
        self.addCleanup(self.world.config["openpgp"].pop, "engine")
        no_socket = {f"socket {family} {kind}": "EAFNOSUPPORT" for family in (socket.AF_INET, socket.AF_INET6)
                     for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW)}
        no_socket |= self.reach(sockets, {"stream": "ENOENT", "datagram": "EPERM", "raw": "EPERM", "pair": "EPERM"})
        self.check("czard-decrypt", self.common() | no_socket | {
            "exec /bin/sh": "EACCES", "read /etc/hosts": "EACCES", "exec /usr/bin/gpgconf": "done",
            f"socket {int(socket.AF_UNIX)} {int(socket.SOCK_STREAM)}": "done"}, **how)
        self.nobody_came(sockets)

    def test_index(self):
        """It has no file, no socket of any kind, no child, no program: what it reads and answers was given to it."""
        key = next(o["key"] for o in self.world.facts["objects"] if o["category"] == "database")
        done = subprocess.run([program("czarctl"), "--config", self.world.folder / "czard.ini", "resync", key],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done)
        no_socket = {f"socket {family} {kind}": "EAFNOSUPPORT"
                     for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
                     for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)}
        sockets = self.open_sockets()
        no_socket |= self.reach(sockets, {"stream": "EAFNOSUPPORT", "datagram": "EAFNOSUPPORT", "pair": "EPERM", "channel": "EPERM"})
        want = self.common() | no_socket | {
            "child fork": "EPERM", "child clone": "EPERM", "exec /bin/sh": "EPERM", "exec /usr/bin/gpgconf": "EPERM",
            "listen": "EAFNOSUPPORT", f"tcp {self.s3.port}": "EAFNOSUPPORT", "tcp 22": "EAFNOSUPPORT",
            "read /etc/hosts": "EACCES", "read /dev/null": "EACCES", "list /usr/lib": "EACCES"}
        self.check("czard-index", want)
        self.nobody_came(sockets)

    def test_filter(self):
        """It has the file that it was handed, one hidden folder, and nothing else."""
        self.world.package_section["events_by_course"] = "edx"
        self.addCleanup(self.world.package_section.pop, "events_by_course")
        no_socket = {f"socket {family} {kind}": "EAFNOSUPPORT"
                     for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
                     for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)}
        sockets = self.open_sockets()
        no_socket |= self.reach(sockets, {"stream": "EAFNOSUPPORT", "datagram": "EAFNOSUPPORT", "pair": "EPERM", "channel": "EPERM"})
        want = self.common() | no_socket | {
            "child fork": "EPERM", "child clone": "EPERM", "exec /bin/sh": "EPERM", "exec /usr/bin/gpgconf": "EPERM",
            "listen": "EAFNOSUPPORT", f"tcp {self.s3.port}": "EAFNOSUPPORT", "tcp 22": "EAFNOSUPPORT",
            "read /etc/hosts": "EACCES", "read /dev/null": "EACCES", "list /usr/lib": "EACCES"}
        self.check("czard-filter", want)
        self.nobody_came(sockets)


if __name__ == "__main__":
    main()
