#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who may do what with czarctl: root, the user of czard, members of czard-admin, strangers; and where czarctl puts what
holds a key when root starts it: /run/czarctl-UID, whatever lies there already."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from czarctl_test import Answer
from czardtest.daemon import until
from czardtest.run import World, program, verify_audit
from czardtest.s3d import S3d

CZARD, ADMIN, STRANGER, OPERATORS = 64401, 64402, 64403, 64404
KNOWN = """
echo 'czard:x:64401:64401::/nonexistent:/usr/sbin/nologin
helpdesk:x:64402:64402::/nonexistent:/bin/sh
stranger:x:64403:64403::/nonexistent:/bin/sh' >> /etc/passwd
echo 'czard:x:64401:
helpdesk:x:64402:
stranger:x:64403:
czard-admin:x:64404:helpdesk,czard' >> /etc/group
"""


def why_not():
    if os.geteuid() != 0:
        return "needs root"
    if subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False).returncode:
        return "no mounts here"
    return None


class Machine:
    """An /etc with these users and an empty /run, for who enters it."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        script = ("mount -t tmpfs -o size=16M none $0 && mkdir $0/u $0/w && "
                  "mount -t overlay overlay -o lowerdir=/etc,upperdir=$0/u,workdir=$0/w /etc && "
                  "mount -t tmpfs -o mode=0755 none /run &&" + KNOWN + "echo ready && exec sleep infinity")
        self.child = subprocess.Popen(["unshare", "--mount", "sh", "-ec", script, self.folder], stdout=subprocess.PIPE, text=True)
        if self.child.stdout.readline() != "ready\n":
            raise RuntimeError("no such machine can be made here")
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()
        self.child.stdout.close()

    def command(self, *args, user=None, env=None):
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"] if user else []
        environment = [f"{k}={v}" for k, v in (env or {}).items()]
        return [str(a) for a in ("nsenter", "--target", self.child.pid, "--mount", "--", *become, "env", *environment, *args)]

    def run(self, *args, **kwargs):
        return Answer(subprocess.run(self.command(*args, **kwargs), capture_output=True, text=True, check=False, timeout=120,
                                     stdin=subprocess.DEVNULL))


class Base(unittest.TestCase):
    package_options = {"days": 3, "weeks": 2, "courses": 1}

    def make_world(self, **options):
        self.world = w = self.enterContext(World(with_tls=False, **self.package_options, **options))
        (w.folder / "machine").mkdir()
        self.machine = self.enterContext(Machine(w.folder / "machine"))
        self.env = {k: v for k, v in w.environment().items() if k != "RUNTIME_DIRECTORY"}
        for path in (w.folder, w.package):
            path.chmod(0o755)
        self.give(w.state, w.staging, w.package / "gnupg", w.package / "credentials.csv")
        return w

    @staticmethod
    def give(*paths, uid=CZARD):
        for top in paths:
            for path in (top, *(top.rglob("*") if top.is_dir() else ())):
                os.chown(path, uid, uid, follow_symlinks=False)

    def ctl(self, *args, user=None, code=0):
        answer = self.machine.run(program("czarctl"), "--config", self.world.ini(), *args, user=user, env=self.env)
        if code is not None:
            self.assertEqual(answer.code, code, (args, answer))
        return answer


class WhoTest(Base):
    CHANGES = (("pause", "--reason", "drill"), ("unpause",), ("resync",), ("resync", "--wait"), ("latest", "ORG", "DATE"),
               ("latest", "ORG", "auto"), ("prune", "--apply"), ("forget", "*-events-*", "--reason", "drill"))
    LOOKS = (("status",), ("list",), ("plan", "--offline"), ("gaps",), ("verify",), ("check",), ("audit",), ("metrics",),
             ("backup", "/dev/shm/never"), ("report", "--html", "/dev/shm/never"), ("prune",), ("key", "list"))

    def setUp(self):
        w = self.make_world()
        s3 = self.enterContext(S3d(w.package, w.facts))
        w.use(s3.endpoint, tls_endpoint=False)
        self.dates = sorted(o["date"] for o in w.facts["objects"] if o["category"] == "database" and "state" not in o)
        self.machine.run("install", "-d", "-o", "czard", "-m", "0711", "/run/czard")

    def start(self):
        with (self.world.folder / "log").open("ab") as log:
            self.czard = subprocess.Popen(
                self.machine.command(program("czard"), "--config", self.world.ini(), user="czard",
                                     env={**self.env, "RUNTIME_DIRECTORY": "/run/czard"}),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.addCleanup(self.stop)
        until("czard answers", lambda: self.ctl("resync", "--wait", code=None).code == 0,
              said=lambda: (self.world.folder / "log").read_text()[-3000:])

    def stop(self):
        if self.czard.poll() is None:
            self.czard.terminate()
            try:
                self.czard.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.czard.kill()
                self.czard.wait()

    def changes(self):
        return [[a.replace("ORG", self.world.org).replace("DATE", self.dates[0]) for a in args] for args in self.CHANGES]

    def test_who_may_do_what(self):
        self.start()
        # members of czard-admin change things, in their name
        for args in self.changes():
            with self.subTest(args, user="helpdesk"):
                answer = self.ctl(*args, user="helpdesk")
                self.assertNotIn("ermission", answer.err)
        entries, _ = verify_audit(self.world.state / "audit.jsonl")
        self.assertEqual([e["uid"] for e in entries if e["event"] in ("pause", "unpause")], [ADMIN, ADMIN])
        self.assertIn(ADMIN, {e.get("uid") for e in entries if e["event"] == "forgotten"})
        # and look at nothing, which is said, with what helps
        for args in self.LOOKS:
            with self.subTest(args, user="helpdesk"):
                answer = self.ctl(*args, user="helpdesk", code=None)
                self.assertIn(answer.code, (1, 3) if args == ("check",) else (3,), answer)
                said = answer.out + answer.err
                if args != ("key", "list"):
                    self.assertIn("run czarctl as root or as the user of czard", said)
                    self.assertIn("czard-admin", said)
                self.assertNotIn("chown", said)
                self.assertNotIn("chmod", said)
        # a stranger does neither
        before = (self.world.state / "audit.jsonl").read_bytes()
        for args in self.changes():
            with self.subTest(args, user="stranger"):
                answer = self.ctl(*args, user="stranger", code=3)
                self.assertIn("only root, the user of czard and the group czard-admin may use it", answer.err)
        self.assertEqual((self.world.state / "audit.jsonl").read_bytes(), before)
        # the user of czard does all that root does
        for args in (*self.LOOKS[:4], *self.changes()[:4], ("key", "list")):
            with self.subTest(args, user="czard"):
                self.assertIn(self.ctl(*args, user="czard", code=None).code, (0, 1) if args in self.LOOKS else (0,))

    def test_beside_no_czard(self):
        """Nothing is changed by who cannot write the state, and why is said."""
        self.start()
        self.stop()
        before = (self.world.state / "audit.jsonl").read_bytes()
        for user in ("helpdesk", "stranger"):
            for args in self.changes():
                with self.subTest(args, user=user):
                    self.assertIn("czard does not run", self.ctl(*args, user=user, code=3).err)
        self.assertEqual((self.world.state / "audit.jsonl").read_bytes(), before)
        self.ctl("pause", "--reason", "drill", user="czard")
        self.assertEqual({p.stat().st_uid for p in self.world.state.iterdir()}, {CZARD})

    def test_a_configuration_for_few(self):
        """Members read it too: it says where the socket is."""
        self.start()
        ini = self.world.ini()
        ini.chmod(0o640)
        os.chown(ini, 0, CZARD)
        for args in (("pause",), ("status",)):
            said = self.ctl(*args, user="helpdesk", code=3).err
            self.assertIn("must be able to read it too", said)
            self.ctl(*args, user="czard", code=None)
        ini.chmod(0o644)
        self.ctl("unpause", user="helpdesk")

    def test_what_the_user_of_czard_is_told(self):
        """Not to become the user of czard: what is wrong with the path."""
        self.start()
        self.stop()
        os.chown(self.world.staging, 0, 0)
        lock = self.world.state / "lock"
        os.chown(lock, 0, 0)
        lock.chmod(0o600)
        for user in (None, "czard"):
            with self.subTest(user=user):
                answer = self.ctl("check", "--json", user=user, code=1)
                fix, = {c["fix"] for c in answer.json["checks"] if c["name"] == "staging" and not c["ok"]}
                self.assertIn(f"chown -R czard {self.world.staging}", fix)
                self.assertNotIn("as the user of czard", fix)
                said = self.ctl("pause", user=user, code=3).err
                self.assertIn(f"chown -R czard {lock}", said)
        # it is what helps
        self.give(self.world.staging, lock)
        self.ctl("pause", user="czard")
        # a home that cannot be made where it is to be
        closed = self.world.folder / "closed"
        closed.mkdir(mode=0o755)
        self.world.config["openpgp"]["homedir"] = closed / "home o'key"
        out = self.world.folder / "out"
        out.mkdir(mode=0o755)
        self.give(out)
        (self.world.folder / "pin").write_text("long enough for a key\n")
        (self.world.folder / "pin").chmod(0o400)
        self.give(self.world.folder / "pin")
        make = ("keygen", "--batch", "--name", "Data Czar", "--email", "czar@u.example", "--output", out, "--passphrase-file",
                self.world.folder / "pin")
        self.world.config["openpgp"]["passphrase_file"] = self.world.folder / "stored"
        said = self.ctl(*make, code=3).err
        self.assertIn("install -d -o czard -m 0700 ", said)
        pasted = said[said.index("install -d"):].split(", or use")[0]
        self.assertEqual(self.machine.run("bash", "-c", pasted).code, 0, pasted)
        self.ctl(*make)
        self.assertTrue(list((closed / "home o'key" / "private-keys-v1.d").glob("*.key")))


class PastedTest(Base):
    """Paths with what a shell reads in another way: what is advised for them works as it is, and on nothing else."""

    def setUp(self):
        w = self.make_world()
        w.config["s3"]["endpoint"] = "http://127.0.0.1:9"
        self.odd = w.folder / "d'Été $HOME \\n; x"
        self.odd.mkdir()
        self.give(self.odd)

    def fix(self, name):
        finding, *_ = [c for c in self.ctl("check", "--json", code=1).json["checks"] if c["name"] == name and not c["ok"]]
        return finding["fix"] or finding["detail"]

    def paste(self, text, command):
        line = text[text.index(command):]
        self.assertEqual(self.machine.run("bash", "-c", line, env=self.env).code, 0, line)

    def test_folders(self):
        self.world.config["staging"]["path"] = self.odd / "staging"
        self.paste(self.fix("staging"), "install -d")
        self.assertEqual((self.odd / "staging").stat().st_uid, CZARD)
        (self.odd / "staging").chmod(0o757)
        finding, = [c for c in self.ctl("check", "--json", code=1).json["checks"] if c["name"] == "staging" and not c["ok"]]
        self.paste(finding["detail"], "chmod 0750")
        self.assertEqual(stat.S_IMODE((self.odd / "staging").stat().st_mode), 0o750)
        os.chown(self.odd / "staging", 0, 0)
        self.paste(self.fix("staging"), "chown -R")
        self.assertEqual((self.odd / "staging").stat().st_uid, CZARD)
        self.world.config["staging"]["group"] = "helpdesk"
        self.paste(self.fix("group") if "chgrp" in self.fix("group") else next(
            c["fix"] for c in self.ctl("check", "--json", code=1).json["checks"] if "chgrp" in (c["fix"] or "")), "chgrp")
        self.assertEqual((self.odd / "staging").stat().st_gid, ADMIN)

    def test_the_way_to_staging(self):
        """Readers need every folder above it."""
        staging = self.odd / "staging"
        staging.mkdir(mode=0o750)
        self.odd.chmod(0o700)
        self.give(self.odd)
        os.chown(staging, CZARD, ADMIN)
        self.world.config["staging"].update(path=staging, group="helpdesk")
        told = lambda: [c for c in self.ctl("check", "--json", code=1).json["checks"]  # noqa: E731
                        if c["name"] == "group" and "get through" in c["detail"]]
        finding, = told()
        self.assertTrue(finding["detail"].endswith(str(self.odd)), finding)
        self.assertEqual(self.machine.run("ls", staging, user="helpdesk").code, 2)
        if shutil.which("setfacl"):
            self.paste(finding["fix"], "setfacl")
            self.assertEqual(told(), [])
            self.assertEqual(self.machine.run("ls", staging, user="helpdesk").code, 0)

    def test_a_home(self):
        home, key = self.odd / "home", self.world.folder / "key.asc"
        key.write_bytes(subprocess.run(["gpg", "--homedir", self.world.package / "gnupg", "--batch", "--armor",
                                        "--export-secret-keys"], capture_output=True, check=True).stdout)
        key.chmod(0o444)
        shutil.copytree(self.world.package / "gnupg", home, ignore=shutil.ignore_patterns("S.*"))
        home.chmod(0o700)
        lock = home / "pubring.kbx.lock"
        lock.write_text("      4242\nlaptop.local\n")
        self.give(home)
        self.world.config["openpgp"]["homedir"] = home
        self.paste(self.ctl("import-key", key, "--batch", code=3).err, "rm ")
        self.assertFalse(lock.exists())
        self.assertTrue(home.exists())
        # gpg by the one that home is of: as root it would leave files there that czard cannot read
        home.chmod(0o500)
        fixes = [c["fix"] for c in self.ctl("check", "--json", code=None).json["checks"] if not c["ok"]]
        home.chmod(0o700)
        for fix in fixes:
            self.assertNotRegex(fix or "", "(^|[|] )gpg --homedir")


class RunFolderTest(Base):
    """Without a runtime folder in memory, root makes one for the user of czard."""

    @classmethod
    def setUpClass(cls):
        kind = subprocess.run(["stat", "-f", "-c", "%T", "/var/tmp"], capture_output=True, text=True, check=True).stdout.strip()
        if kind in ("tmpfs", "ramfs"):
            raise unittest.SkipTest("/var/tmp is in memory here")

    def setUp(self):
        self.place = self.enterContext(tempfile.TemporaryDirectory(prefix="czr.", dir="/var/tmp"))
        os.chmod(self.place, 0o755)
        before = os.environ.get("CZARD_TEST_FOLDERS")
        os.environ["CZARD_TEST_FOLDERS"] = self.place
        try:
            self.make_world()
        finally:
            if before is None:
                del os.environ["CZARD_TEST_FOLDERS"]
            else:
                os.environ["CZARD_TEST_FOLDERS"] = before
        # a server that takes a request and never answers: what the command holds can be looked at
        silent = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        self.world.use(f"http://127.0.0.1:{silent.getsockname()[1]}", tls_endpoint=False)
        self.world.config["s3"]["credentials"] = self.world.state / "new"
        self.own, self.disk = f"/run/czarctl-{CZARD}", self.world.state / "run"

    def held(self):
        """Folders that a waiting import-credentials has: [(path, mode, uid)]"""
        child = subprocess.Popen(
            self.machine.command(program("czarctl"), "--config", self.world.ini(), "import-credentials",
                                 self.world.package / "credentials.csv", env=self.env),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
        found, end = "", time.monotonic() + 60
        look = f"find -L {self.own} {self.disk} /run/elsewhere -maxdepth 1 -name 'ctl-*' -printf '%p %m %U\\n' 2>/dev/null; true"
        try:
            while not found and time.monotonic() < end and child.poll() is None:
                found = self.machine.run("sh", "-c", look).out
                time.sleep(0.05)
            self.assertTrue(found, child.stderr.read() if child.poll() is not None else "nothing is held")
        finally:
            if child.poll() is None:
                os.killpg(child.pid, 15)
            child.wait(timeout=60)
            child.stderr.close()
        until("nothing is left", lambda: self.machine.run("sh", "-c", look).out == "")
        return [(Path(line.split()[0]).parent, int(line.split()[1], 8), int(line.split()[2])) for line in found.splitlines()]

    def test_made_for_the_user_of_czard(self):
        for _ in range(2):
            self.assertEqual({h for h in self.held()}, {(Path(self.own), 0o700, CZARD)})
            self.assertEqual(self.machine.run("stat", "-c", "%F %a %U", self.own).out, "directory 700 czard\n")
        self.assertFalse(list(self.disk.glob("ctl-*")) if self.disk.exists() else [])

    def test_what_lies_there_already(self):
        """Whatever it is: nothing that holds a key goes there, nothing of it is given away, and the work is done elsewhere."""
        for name, make in (("link", f"mkdir -m 0700 /run/elsewhere && ln -s /run/elsewhere {self.own}"),
                           ("link to one of its own", f"install -d -o czard -m 0700 /run/elsewhere && ln -s /run/elsewhere {self.own}"),
                           ("of another user", f"install -d -o stranger -m 0700 {self.own}"),
                           ("open to others", f"install -d -o czard -m 0777 {self.own}"),
                           ("open to its group", f"install -d -o czard -g stranger -m 0770 {self.own}"),
                           ("file", f"touch {self.own}"), ("fifo", f"mkfifo {self.own}"),
                           ("dangling link", f"ln -s /run/nothing {self.own}")):
            with self.subTest(name):
                self.machine.run("rm", "-rf", "--one-file-system", self.own, "/run/elsewhere", "/run/nothing")
                self.assertEqual(self.machine.run("sh", "-c", make).code, 0)
                show = f"ls -ldn --time-style=+ {self.own} /run/elsewhere /run/nothing 2>&1; ls -A {self.own}/ /run/elsewhere/ 2>&1"
                before = self.machine.run("sh", "-c", show).out
                self.assertEqual({h[0] for h in self.held()}, {self.disk})
                self.assertEqual(self.machine.run("sh", "-c", show).out, before)
                self.assertEqual(stat.S_IMODE(self.disk.stat().st_mode), 0o700)
        shutil.rmtree(self.disk, ignore_errors=True)


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(77)
    unittest.main()
