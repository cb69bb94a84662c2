#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""czarctl asks a person: on a terminal of our own, typed at as a person would."""

import codecs
import os
import pty
import select
import signal
import stat
import subprocess
import termios
import time
import unittest

from czardtest.run import World, program
from czardtest.s3d import S3d

PATIENCE = 120  # seconds for one answer: a key of 4096 bits on a busy machine with sanitizers
SECRET = "correct horse ☃ battery"


class Terminal:
    """czarctl as the leader of a session with a terminal. Everything it shows is in .shown."""

    def __init__(self, world, *args, below=()):
        argv = [str(a) for a in (*below, program("czarctl", world.build), "--config", world.ini(), *args)]
        self.master, self.slave = pty.openpty()
        self.shown, self.decoder = "", codecs.getincrementaldecoder("utf-8")()
        self.at = 0
        self.child = subprocess.Popen(argv, stdin=self.slave, stdout=self.slave, stderr=self.slave, env=world.environment(),
                                      preexec_fn=self._own_session)

    def _own_session(self):
        os.setsid()
        fd = os.open(os.ttyname(self.slave), os.O_RDWR)
        os.close(fd)

    def _read(self, seconds):
        if select.select([self.master], [], [], seconds)[0]:
            self.shown += self.decoder.decode(os.read(self.master, 4096))  # which may end within a character

    def until(self, text):
        """Waits for text after what was waited for before."""
        end = time.monotonic() + PATIENCE
        while text not in self.shown[self.at:]:
            if time.monotonic() > end:
                self.close()
                raise AssertionError(f"no {text!r} in {self.shown!r}")
            self._read(0.1)
        self.at = self.shown.index(text, self.at) + len(text)
        return self

    def type(self, text):
        os.write(self.master, text.encode())
        return self

    def answer(self, question, text):
        return self.until(question).type(text + "\n")

    def echoes(self):
        return bool(termios.tcgetattr(self.slave)[3] & termios.ECHO)

    def dark(self, question):
        """Waits for a question whose answer is not shown."""
        self.until(question)
        assert not self.echoes(), question
        return self

    def end(self):
        """Waits for the end. Exit status, or minus the signal."""
        limit = time.monotonic() + PATIENCE
        while self.child.poll() is None and time.monotonic() < limit:
            self._read(0.05)
        if self.child.poll() is None:
            self.close()
            raise AssertionError(f"does not end: {self.shown!r}")
        while select.select([self.master], [], [], 0)[0]:
            self._read(0)
        return self.child.returncode

    def close(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        if self.master >= 0:
            os.close(self.master)
            os.close(self.slave)
        self.master = self.slave = -1


class PromptsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World(with_tls=False))

    def setUp(self):
        w = self.world
        w.fresh()
        self.top = w.folder / self.id().split(".")[-1]
        self.out = self.top / "out"
        self.out.mkdir(parents=True)
        w.config["openpgp"] = {"homedir": self.top / "home", "passphrase_file": self.top / "secret"}
        w.config["s3"]["credentials"] = self.top / "credentials"

    def start(self, *args, below=()):
        t = Terminal(self.world, *args, below=below)
        self.addCleanup(t.close)
        return t

    def keygen(self, *below):
        return self.start("keygen", "--output", self.out, below=below)

    def to_passphrase(self, *below):
        t = self.keygen(*below)
        t.answer("Real name", "Žofie Czar").answer("mail address", "czar@universityx.example")
        return t.dark("Passphrase")

    def test_keygen(self):
        t = self.keygen()
        t.answer("Real name", "").answer("Expected is a name", "Žofie Czar")
        t.answer("mail address", "none").answer("Expected is an address", "czar@universityx.example")
        t.dark("Passphrase").type("short\n").until("at least 8")
        t.dark("Passphrase").type(SECRET + "\n").dark("again").type(SECRET + "x\n").until("differ")
        t.dark("Passphrase").type(SECRET + "\n").dark("again").type(SECRET + "\n")
        self.assertEqual(t.end(), 0, t.shown)
        self.assertTrue(t.echoes())
        self.assertNotIn("horse", t.shown)
        self.assertIn("user id      Žofie Czar <czar@universityx.example>", t.shown)
        stored = self.top / "secret"
        self.assertEqual(stored.read_text().strip(), SECRET)
        self.assertEqual(stat.S_IMODE(stored.stat().st_mode), 0o400)
        self.assertIn("Žofie", self.start("key", "list").until("@universityx").shown)

        # what edX answers, and a passphrase that is asked for because it is no longer where it was
        w = self.world
        s3 = self.enterContext(S3d(w.package, w.facts))
        w.use(s3.endpoint, tls_endpoint=False)
        message = self.top / "credentials.csv.gpg"
        gpg = ["gpg", "--homedir", self.top / "home", "--batch", "--quiet", "--trust-model", "always"]
        subprocess.run([*gpg, "-o", message, "-r", "czar@universityx.example", "--encrypt", w.package / "credentials.csv"],
                       check=True, capture_output=True)
        stored.unlink()
        t = self.start("import-credentials", message)
        t.dark("Passphrase").type("a wrong one\n").until("does not open")
        t.dark("Passphrase").type(SECRET + "\n")
        self.assertEqual(t.end(), 0, t.shown)
        self.assertIn("listing works", t.shown)

    def test_nobody_answers(self):
        t = self.keygen().until("Real name").type("\x04")
        self.assertEqual(t.end(), 3, t.shown)
        self.assertIn("nothing was entered", t.shown)
        t = self.to_passphrase().type("\x04")
        self.assertEqual(t.end(), 3, t.shown)
        self.assertIn("passphrase: nothing was entered", t.shown)
        self.assertTrue(t.echoes())
        t = self.keygen()
        for _ in range(3):
            t.answer("Real name", "x")
        self.assertEqual(t.end(), 3, t.shown)
        self.assertIn("given up after three tries", t.shown)
        self.assertEqual(list(self.out.iterdir()), [])

    def test_interrupted(self):
        """The terminal is left as it was found, whatever ends the question."""
        for how, number in (("\x03", signal.SIGINT), ("\x1c", signal.SIGQUIT), (None, signal.SIGTERM), (None, signal.SIGHUP)):
            with self.subTest(number):
                t = self.to_passphrase().type("half of i")
                if how:
                    t.type(how)
                else:
                    t.child.send_signal(number)
                self.assertEqual(t.end(), -number, t.shown)
                self.assertTrue(t.echoes())
                self.assertNotIn("half", t.shown)
        self.assertFalse((self.top / "secret").exists())

    @unittest.skipUnless(os.geteuid() == 0, "only root can become another user")
    def test_interrupted_as_root(self):
        """Then two processes are there: the one that asks, as the owner of the state, and the keeper that root started."""
        w, uid = self.world, 64123
        w.folder.chmod(0o755)
        for path in (w.state, self.top):
            os.chown(path, uid, uid)
        t = self.to_passphrase().type("half of i\x03")
        self.assertEqual(t.end(), 128 + signal.SIGINT, t.shown)
        self.assertTrue(t.echoes())
        # below a shell: when the leader of a session ends, the terminal's processes are told anyway
        t = self.to_passphrase("sh", "-c", '"$@"; sleep 600', "-").type("half of i")
        keeper = subprocess.run(["pgrep", "-P", f"{t.child.pid}"], capture_output=True, text=True, check=True).stdout
        os.kill(int(keeper), signal.SIGTERM)
        end = time.monotonic() + PATIENCE
        while not t.echoes() and time.monotonic() < end:
            time.sleep(0.05)
        self.assertTrue(t.echoes())

    def test_interrupted_while_the_key_is_made(self):
        t = self.to_passphrase().type(SECRET + "\n").dark("again").type(SECRET + "\n").until("Making two")
        agent = ["pgrep", "-f", f"gpg-agent --homedir {self.top}/home"]
        while subprocess.run(agent, stdout=subprocess.DEVNULL).returncode and t.child.poll() is None:
            time.sleep(0.01)
        t.type("\x03")
        self.assertEqual(t.end(), 3, t.shown)
        self.assertIn("could not make the key", t.shown)
        # it ends when the prime that it is at has been found
        end = time.monotonic() + PATIENCE
        while subprocess.run(agent, stdout=subprocess.DEVNULL).returncode == 0:
            self.assertLess(time.monotonic(), end, "an agent is left")
            time.sleep(0.1)
        self.assertFalse((self.top / "secret").exists())

    def test_stopped(self):
        """ctrl-Z: asked again when it goes on. (As the leader of a session it goes on at once.)"""
        t = self.to_passphrase().type("half of i").type("\x1a")
        t.dark("Passphrase").type("\x03")
        self.assertEqual(t.end(), -signal.SIGINT, t.shown)
        self.assertTrue(t.echoes())
        self.assertNotIn("half", t.shown)

    def test_import_key(self):
        w = self.world
        home = self.top / "other"
        home.mkdir(mode=0o700)
        gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", SECRET]
        subprocess.run([*gpg, "--quick-generate-key", "czar@universityx.example", "rsa2048"], check=True, capture_output=True)
        fingerprint = subprocess.run([*gpg, "--with-colons", "--list-keys"], check=True, capture_output=True, text=True).stdout
        fingerprint = next(line.split(":")[9] for line in fingerprint.splitlines() if line.startswith("fpr"))
        subprocess.run([*gpg, "--quick-add-key", fingerprint, "rsa2048", "encrypt"], check=True, capture_output=True)
        subprocess.run([*gpg, "--armor", "-o", self.top / "secret.asc", "--export-secret-keys"], check=True, capture_output=True)
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
        t = self.start("import-key", self.top / "secret.asc")
        t.dark("Passphrase").type("a wrong one\n").until("does not open")
        t.dark("Passphrase").type(SECRET + "\n")
        self.assertEqual(t.end(), 0, t.shown)
        self.assertIn("can be used", t.shown)
        self.assertTrue(t.echoes())
        self.assertNotIn("horse", t.shown)
        self.assertEqual((self.top / "secret").read_text().strip(), SECRET)


if __name__ == "__main__":
    unittest.main()
