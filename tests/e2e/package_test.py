#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The package maker makes what edX delivers: looked at with gpg, unzip and zcat, not with its own code."""

import gzip
import json
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from czardtest import keys, main, package
from czardtest.run import check_sums


class PackageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="czt.", dir="/tmp")))
        cls.out = cls.folder / "p"
        cls.facts = package.make(cls.out, tables="all", days=5)
        cls.home = cls.enterClassContext(keys.Home())
        subprocess.run(["cp", "-a", f"{cls.out}/gnupg/.", cls.home.path], check=True)

    def packets(self, path):
        return subprocess.run(["gpg", "--homedir", self.home.path, "--batch", "--list-packets", "--verbose", path],
                              capture_output=True, text=True, check=False).stdout

    def decrypt(self, path):
        return self.home.gpg("--decrypt", path)

    def objects(self, category):
        return [(o, self.out / "buckets" / o["bucket"] / o["key"]) for o in self.facts["objects"] if o["category"] == category]

    def test_messages(self):
        said = [self.packets(path) for _, path in self.objects("events")]
        for text in said:
            self.assertEqual(len(re.findall("^:pubkey enc packet: ", text, re.M)), 2)
            self.assertIn("mdc_method: 2", text)
            self.assertIn(":compressed packet:", text)
            self.assertNotIn(":signature packet", text)
        listing = self.home.gpg("--with-colons", "--list-secret-keys").decode()
        ours = re.findall(r"^ssb:[^:]*:[^:]*:[^:]*:([0-9A-F]{16}):", listing, re.M)
        first = {re.search(r"keyid ([0-9A-F]{16})", text)[1] for text in said}
        self.assertEqual(first & set(ours), set(), "the first recipient is never ours")

    def test_one_message_is_armored(self):
        starts = [path.read_bytes()[:10] for _, path in self.objects("events")]
        self.assertEqual(starts.count(b"-----BEGIN"), 1)

    def test_events(self):
        for o, path in self.objects("events"):
            data = self.decrypt(path)
            self.assertEqual(data, (self.out / "expected" / o["path"]).read_bytes())
            for line in gzip.decompress(data).splitlines():
                self.assertTrue(json.loads(line)["time"].startswith(o["date"]))

    def test_snapshots(self):
        for o, path in self.objects("database"):
            names = subprocess.run(["unzip", "-Z1", path], capture_output=True, text=True, check=True).stdout.splitlines()
            self.assertEqual({name.split("/")[0] for name in names}, {f"universityx-{o['date']}"})
            subprocess.run(["unzip", "-tq", path], capture_output=True, check=True)
            staged = {m["path"] for m in o["members"]}
            inside = {name.split("/", 1)[1][:-len(".gpg")] for name in names if name.endswith(".gpg")}
            self.assertEqual(inside, staged)
            for wanted in ("UnivHSX-", "-ccx-", ".failed", ".mongo", "ora/", "-prod-edge-analytics", ".xml.tar.gz", "future_table"):
                self.assertTrue([name for name in staged if wanted in name], wanted)
            self.assertEqual(check_sums(self.out / "expected" / o["path"])[0], 0)

    def test_member(self):
        o, path = self.objects("database")[-1]
        name = next(m["path"] for m in o["members"] if "user_id_map" in m["path"])
        member = subprocess.run(["unzip", "-p", path, f"universityx-{o['date']}/{name}.gpg"], capture_output=True, check=True)
        (self.folder / "member.gpg").write_bytes(member.stdout)
        self.assertEqual(self.decrypt(self.folder / "member.gpg"), (self.out / "expected" / o["path"] / name).read_bytes())

    def test_same_seed_same_plaintext(self):
        again = package.make(self.folder / "again", tables="all", days=5)
        sums = [[m["sha256"] for o in f["objects"] for m in o.get("members", [o]) if "sha256" in m]
                for f in (self.facts, again)]
        self.assertEqual(*sums)


if __name__ == "__main__":
    main()
