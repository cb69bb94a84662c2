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
from czardtest.run import World, program

USUAL_COUNT = 1_000_000  # gpg-agent takes what costs a tenth of a second; in memory czard takes the least
PASSPHRASE = "correct horse"


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
                old = w.run_folder / f"ctl-{2 ** 22 + 7}-home0"
                shutil.copytree(w.package / "gnupg", old)
                mine = w.run_folder / f"ctl-{os.getpid()}-home0"
                mine.mkdir(exist_ok=True)
                if how == "czarctl":
                    self.start("check").wait(timeout=60)
                else:
                    w.once()
                self.assertFalse(old.exists())
                self.assertTrue(mine.exists(), "its owner lives")


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
        self.assertLessEqual(min(wait_for(self.worker_counts)), 65536)  # the least that GnuPG writes
        self.assertFalse([e for e in d.entries if "runtime folder is on a disk" in e.message])


if __name__ == "__main__":
    unittest.main()
