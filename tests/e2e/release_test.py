#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/release keeps the root of another release and makes it again when it must: with a debootstrap that makes next to
nothing, so that no command can run in it; what is looked at is when it is called, and what is said. Needs root."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

RELEASE = pathlib.Path(__file__).resolve().parents[1] / "release"
DEBOOTSTRAP = """#!/bin/sh
for last; do before=${root:-} root=$last; done
cd "$before" 2>/dev/null || { mkdir -p "$before" && cd "$before"; }
mkdir -p proc sys dev run tmp mnt etc/dpkg/dpkg.cfg.d usr/sbin var/lib/dpkg/updates
echo made >> "$MADE"
"""


class ReleaseTest(unittest.TestCase):
    def setUp(self):
        self.cache = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="czard-release-")))
        self.fake = self.cache / "debootstrap"
        self.fake.write_text(DEBOOTSTRAP)
        self.fake.chmod(0o755)
        self.root = self.cache / "trixie"
        self.made = self.cache / "made"

    def run_it(self, **env):
        """How often a root was made for this run, and what was said."""
        before = self.made.read_text().count("made") if self.made.exists() else 0
        done = subprocess.run([RELEASE, "trixie", "true"], capture_output=True, text=True, timeout=120,
                              env={**os.environ, "CZARD_RELEASES": str(self.cache), "CZARD_DEBOOTSTRAP": str(self.fake),
                                   "MADE": str(self.made), **env})
        return self.made.read_text().count("made") - before, done.stderr

    def test_made_once_and_again_when_it_must(self):
        n, said = self.run_it()
        self.assertEqual((n, "again" in said), (1, False), said)
        self.assertEqual(self.run_it()[0], 0)

        # left by a run that was killed while packages were unpacked
        (self.root / "var/lib/dpkg/updates/0001").write_text("Package: half\n")
        (self.root / "here-before").touch()
        n, said = self.run_it()
        self.assertEqual(n, 1)
        self.assertIn(f"{self.root} is made again: an installation in it was interrupted", said)
        self.assertFalse((self.root / "here-before").exists())
        self.assertEqual(self.run_it()[0], 0)

        # of a tests/release that made it otherwise, and of one that left no stamp
        stamp = self.root / "etc/made-from"
        for change in (lambda: stamp.write_text("something else\n"), stamp.unlink):
            change()
            n, said = self.run_it()
            self.assertEqual(n, 1)
            self.assertIn("another tests/release made it", said)
            self.assertEqual(self.run_it()[0], 0)

    def test_one_that_cannot_be_made_stays_as_it_was(self):
        self.run_it()
        (self.root / "etc/made-from").unlink()
        (self.root / "here-before").touch()
        self.fake.write_text("#!/bin/sh\necho no mirror >&2\nexit 1\n")
        n, said = self.run_it()
        self.assertIn("no mirror", said)
        self.assertTrue((self.root / "here-before").exists())


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("skipped: needs root")
        sys.exit(77)
    unittest.main()
