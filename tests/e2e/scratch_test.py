#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What holds a key or credentials for a while: folders of czarctl and of workers. Gone however a command ends, in memory
where there is such a place, and else with the key as protected as it was."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from czardtest.daemon import Daemon
from czardtest.run import World, copy_programs, is_sanitized, program

USUAL_COUNT = 1_000_000  # gpg-agent takes what costs a tenth of a second; in memory czard takes the least
PASSPHRASE = "correct horse"
DEAD = 2**22 + 7  # above the largest process number


def wait_for(what, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it does not come")


def counts(home):
    """The S2K counts of the private keys in a GnuPG home."""
    found = []
    for path in (home / "private-keys-v1.d").glob("*.key"):
        data = path.read_bytes()
        found += [int(n) for n in re.findall(rb"sha1\s*8:.{8}\s*\d+:(\d+)", data, re.S)]
        found += [int(n) for n in re.findall(rb"sha1 #[0-9A-Fa-f]+#\s*\"?(\d+)\"?", data)]
    return found


class Base(unittest.TestCase):
    def setUp(self):
        self.world = self.enterContext(World(with_tls=False, passphrase=PASSPHRASE))
        # a server that takes a request and never answers
        self.silent = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        self.world.use(f"http://127.0.0.1:{self.silent.getsockname()[1]}", tls_endpoint=False)

    def left(self):
        return [p.name for p in self.world.run_folder.iterdir() if p.name.startswith("ctl-")]

    def start(self, *args):
        w = self.world
        child = subprocess.Popen([str(a) for a in (program("czarctl", w.build), "--config", w.ini(), *args)], env=w.environment(),
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 start_new_session=True)
        self.addCleanup(lambda: child.poll() is None and child.kill())
        return child


class CommandTest(Base):
    def importing(self):
        """A command that waits for S3 with the credentials in its folder."""
        self.world.config["s3"]["credentials"] = self.world.folder / "new"
        child = self.start("import-credentials", self.world.package / "credentials.csv")
        wait_for(lambda: [n for n in self.left() if "s3" in n])
        return child

    def test_signals(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            with self.subTest(number.name):
                child = self.importing()
                os.killpg(child.pid, number)
                self.assertEqual(child.wait(timeout=60), -number)
                self.assertEqual(self.left(), [])

    def test_signals_while_the_key_is_opened(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            for delay in (0, 0.05, 0.2):
                with self.subTest(number.name, delay=delay):
                    child = self.start("check")
                    wait_for(lambda: [n for n in self.left() if "home" in n] or child.poll() is not None)
                    time.sleep(delay)
                    os.killpg(child.pid, number)
                    self.assertEqual(child.wait(timeout=60), -number)
                    self.assertEqual(self.left(), [])

    def test_killed(self):
        child = self.importing()
        child.kill()
        child.wait(timeout=60)
        wait_for(lambda: self.left() == [])

    def test_a_machine_that_stopped(self):
        """What nobody could remove is swept by the next command, and by czard."""
        w = self.world
        w.config["s3"]["endpoint"] = "http://127.0.0.1:9"
        for how in ("czarctl", "czard"):
            with self.subTest(how):
                old = w.run_folder / f"ctl-{DEAD}-home0"
                shutil.copytree(w.package / "gnupg", old)
                mine = w.run_folder / f"ctl-{os.getpid()}-home0"
                mine.mkdir(exist_ok=True)
                if how == "czarctl":
                    self.start("check").wait(timeout=60)
                else:
                    w.once()
                self.assertFalse(old.exists())
                self.assertTrue(mine.exists(), "its owner lives")


NOBODY_ELSE = 64397  # his folder in /run is of these tests alone


@unittest.skipUnless(os.geteuid() == 0, "needs root, who becomes the owner of state_dir")
class KilledTest(Base):
    """What kill -9 left is found where it is, and not only where the next command would put it."""

    def setUp(self):
        super().setUp()
        w = self.world
        w.folder.chmod(0o755)
        w.build = copy_programs(w.folder / "build")
        w.config["s3"] |= {"endpoint": "http://127.0.0.1:9", "credentials": w.folder / "own" / "stored"}
        (w.folder / "own").mkdir()
        subprocess.run(["chown", "-R", f"{NOBODY_ELSE}:{NOBODY_ELSE}", w.state, w.staging, w.run_folder, w.package, w.folder / "own",
                        w.folder / "passphrase"], check=True)

    def places(self):
        """Where folders with a key may lie, but for the runtime folder of today."""
        in_run = Path(f"/run/czarctl-{NOBODY_ELSE}")
        self.addCleanup(shutil.rmtree, in_run, ignore_errors=True)
        return self.world.state / "run", in_run

    def plant(self, folder, name):
        old = folder / name
        folder.mkdir(mode=0o700, exist_ok=True)
        shutil.copytree(self.world.package / "gnupg", old, dirs_exist_ok=True)
        subprocess.run(["chown", "-R", f"{NOBODY_ELSE}:{NOBODY_ELSE}", folder], check=True)
        return old

    def as_owner(self):
        return ("setpriv", f"--reuid={NOBODY_ELSE}", f"--regid={NOBODY_ELSE}", "--clear-groups")

    def test_swept_wherever_it_is(self):
        for how in ("czarctl", "czard"):
            for folder in self.places():
                with self.subTest(how, folder=folder.name):
                    old = self.plant(folder, f"ctl-{DEAD}-home0")
                    mine = self.plant(folder, f"ctl-{os.getpid()}-home0")
                    if how == "czarctl":
                        self.start("check").wait(timeout=60)
                    else:
                        self.world.once(wrapper=self.as_owner())
                    self.assertFalse(old.exists())
                    self.assertTrue(mine.exists(), "its owner lives")

    def test_homes_of_a_czard_with_another_runtime_folder(self):
        st = self.world.state.stat()
        old = self.plant(self.world.state / "run", f"{st.st_ino ^ st.st_dev:x}")
        self.world.once(wrapper=self.as_owner())
        self.assertFalse(old.exists())

    def store(self, *below):
        w = self.world
        return subprocess.run([str(a) for a in (*below, program("czarctl", w.build), "--config", w.ini(), "import-credentials",
                                                "--force", w.package / "new.csv")], env=w.environment(), check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60)

    @unittest.skipUnless(shutil.which("strace"), "strace is not installed")
    @unittest.skipIf(is_sanitized(), "the sanitizers trace themselves")
    def test_credentials_are_the_old_or_the_new(self):
        """Killed at each call that stores them; the next import leaves no second copy."""
        w = self.world
        stored = w.folder / "own" / "stored"
        before = (w.package / "credentials.csv").read_bytes()
        after = before.replace(b"AKIA", b"AKIB", 1)
        self.assertNotEqual(before, after)
        (w.package / "new.csv").write_bytes(after)
        (w.package / "new.csv").chmod(0o600)
        os.chown(w.package, 0, 0)
        os.chown(w.package / "new.csv", 0, 0)
        left = 0
        for call in ("fchown", "fchmod", "fsync", "renameat"):
            with self.subTest(call):
                stored.write_bytes(before)
                self.store("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when=1")
                self.assertIn(stored.read_bytes(), (before, after))
                left += len(list(stored.parent.glob(".*")))
                self.store()
                self.assertEqual(stored.read_bytes(), after)
                self.assertEqual([p.name for p in stored.parent.iterdir()], ["stored"])
        self.assertGreater(left, 0, "nothing was killed between")


class ProtectionTest(Base):
    def worker_counts(self):
        """The counts in the homes of workers; none while a key is still being written there."""
        return [n for home in self.world.run_folder.glob("*/w*") for n in counts(home)]

    def test_on_a_disk(self):
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="czr.", dir="/var/tmp"))
        if subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=True).stdout.strip() in (
                "tmpfs", "ramfs"):
            self.skipTest("/var/tmp is in memory here")
        self.world.run_folder = Path(folder)
        d = self.enterContext(Daemon(self.world))
        d.until("ready")
        self.assertGreaterEqual(min(wait_for(self.worker_counts)), USUAL_COUNT)
        self.assertTrue([e for e in d.entries if "runtime folder is on a disk" in e.message], d.entries)

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_in_memory(self):
        """The same with the runtime folder on a tmpfs."""
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "czard-test", self.world.run_folder], check=False).returncode:
            self.skipTest("no mounts here")
        self.addCleanup(subprocess.run, ["umount", "--lazy", self.world.run_folder], check=False)
        d = self.enterContext(Daemon(self.world))
        d.until("ready")
        # A home has the key as it is protected in czard's at first. 65536 is the least that GnuPG writes.
        wait_for(lambda: min(self.worker_counts(), default=USUAL_COUNT) <= 65536)
        self.assertFalse([e for e in d.entries if "runtime folder is on a disk" in e.message])


if __name__ == "__main__":
    unittest.main()
