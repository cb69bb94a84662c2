#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What root names to czarctl may lie in a folder of the user that czard runs as, and be another thing a moment later. Root
reads and writes what lies there, and nothing that a link put there leads to; it waits for nobody."""

import os
import shutil
import subprocess
import time
import unittest

from czardtest.run import World, program

UID = 64124  # nobody's
PATIENCE = 60
SECRET = "what only root may read"
RACE_SECONDS = 3


def as_service(work):
    """Runs it in a child that is the user of czard, until it is told to end. Returns what ends it."""
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setgid(UID)
        os.setuid(UID)
        while True:
            try:
                work()
            except OSError:
                pass

    def end():
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return end


@unittest.skipUnless(os.geteuid() == 0, "only root can be led astray")
class RootLinksTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World(with_tls=False))
        w = cls.world
        w.use("http://127.0.0.1:9", tls_endpoint=False)
        w.once()
        w.folder.chmod(0o755)
        cls.key = w.folder / "private" / "key.asc"
        cls.key.parent.mkdir(mode=0o700)
        cls.key.write_bytes(subprocess.run(["gpg", "--homedir", w.package / "gnupg", "--batch", "--armor", "--export-secret-keys"],
                                           capture_output=True, check=True).stdout)
        cls.secret = cls.key.parent / "secret"
        cls.secret.write_text(SECRET + "\n")
        for path in (cls.key, cls.secret):
            path.chmod(0o600)
        w.package.chmod(0o755)
        cls.home = w.folder / "home"  # of the user of czard, without a key
        cls.home.mkdir(mode=0o700)
        w.config["openpgp"]["homedir"] = cls.home
        for path in (w.state, *w.state.iterdir(), cls.home, w.run_folder):
            os.chown(path, UID, UID)

    def setUp(self):
        self.folder = self.world.folder / "service"
        self.folder.mkdir(mode=0o755)
        os.chown(self.folder, UID, UID)
        self.addCleanup(shutil.rmtree, self.folder)

    def ctl(self, *args, **kwargs):
        w = self.world
        return subprocess.run([str(a) for a in (program("czarctl", w.build), "--config", w.ini(), *args)], env=w.environment(),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE, **kwargs)

    def commands(self, name):
        """Each that reads a file that root names, of that name."""
        pin = self.world.folder / "private" / "secret"
        return (("import-key", name, "--batch"), ("import-credentials", name, "--force"),
                ("import-key", self.key, "--batch", "--passphrase-file", name),
                ("keygen", "--batch", "--name", "A Czar", "--email", "czar@universityx.example", "--output", pin.parent,
                 "--passphrase-file", name))

    def assert_refused(self, said, command, word):
        self.assertEqual(said.returncode, 3, (command, said))
        self.assertIn(word, said.stderr, command)
        self.assertNotIn(SECRET, said.stdout + said.stderr)
        self.assertEqual(list(self.home.glob("private-keys-v1.d/*.key")), [], command)

    def test_a_link_is_not_read_through(self):
        for number, target in enumerate((self.key, self.secret, self.folder / "real" / "x")):
            name = self.folder / f"in{number}"
            name.symlink_to(target)
            os.chown(name, UID, UID, follow_symlinks=False)
            for command in self.commands(name):
                self.assert_refused(self.ctl(*command), command, "a link in a folder of somebody else")

    def test_a_folder_that_is_a_link(self):
        (self.folder / "dir").symlink_to(self.key.parent)
        os.chown(self.folder / "dir", UID, UID, follow_symlinks=False)
        for command in self.commands(self.folder / "dir" / "secret"):
            self.assert_refused(self.ctl(*command), command, "a link in a folder of somebody else")

    def test_a_second_name_of_a_file_of_root(self):
        """Where the kernel lets anybody make one (fs.protected_hardlinks = 0)."""
        os.link(self.secret, self.folder / "in")
        for command in self.commands(self.folder / "in"):
            self.assert_refused(self.ctl(*command), command, "no file of one name")

    def test_a_pipe_holds_nobody(self):
        os.mkfifo(self.folder / "in")
        os.chown(self.folder / "in", UID, UID)
        for command in self.commands(self.folder / "in"):
            self.assert_refused(self.ctl(*command), command, "no file of one name")

    def test_what_is_exchanged_meanwhile(self):
        """The file, the link, the pipe and the folder take turns as fast as they can."""
        name, dirs = self.folder / "in", self.folder / "dir"
        target, private = str(self.secret), str(self.key.parent)

        def exchange():
            fresh = self.folder / "fresh"
            for make in (lambda: fresh.write_text("no key\n"), lambda: os.symlink(target, fresh), lambda: os.mkfifo(fresh)):
                make()
                os.rename(fresh, name)
            for make in (lambda: (fresh.mkdir(), (fresh / "secret").write_text("x\n")), lambda: os.symlink(private, fresh)):
                shutil.rmtree(dirs) if dirs.is_dir() and not dirs.is_symlink() else dirs.unlink(missing_ok=True)
                make()
                os.rename(fresh, dirs)

        self.addCleanup(as_service(exchange))
        before = self.listing(self.key.parent)
        end = time.monotonic() + RACE_SECONDS
        while time.monotonic() < end:
            for command in (*self.commands(name)[:2], *self.commands(dirs / "secret")[:2], ("metrics", "--output", dirs / "out"),
                            ("backup", dirs / "out"), ("report", "--html", dirs / "out")):
                said = self.ctl(*command)
                self.assertNotIn(SECRET, said.stdout + said.stderr)
        self.assertEqual(self.listing(self.key.parent), before)

    @staticmethod
    def listing(folder):
        return {p.name: (p.stat().st_mode, p.stat().st_uid, p.read_bytes()) for p in folder.iterdir()}

    def test_what_root_itself_links_is_read(self):
        roots = self.world.folder / "roots"
        roots.mkdir(mode=0o755)
        self.addCleanup(shutil.rmtree, roots)
        (roots / "in").symlink_to("../private/secret")
        (self.folder / "plain").write_text(SECRET + "\n")
        os.chown(self.folder / "plain", UID, UID)
        for path in (roots / "in", self.secret, self.folder / "plain"):
            said = self.ctl("import-key", path, "--batch")
            self.assertIn("is not an OpenPGP key", said.stderr, said)
        with self.secret.open("rb") as f:
            said = subprocess.run(["sh", "-c", 'cat | "$@"', "sh", program("czarctl", self.world.build), "--config",
                                   self.world.ini(), "import-key", "/dev/stdin", "--batch"], stdin=f, capture_output=True,
                                  text=True, check=False, timeout=PATIENCE, env=self.world.environment())
        self.assertIn("is not an OpenPGP key", said.stderr, said)


if __name__ == "__main__":
    unittest.main()
