#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Objects that must be refused, among good ones: each gets its cause, and every other object is staged."""

import re
import shutil
import unittest

from czardtest import main
from czardtest.run import World, check_sums, fingerprint
from czardtest.s3d import S3d


class BadObjectsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.maxDiff = 4000
        cls.world = w = cls.enterClassContext(World(with_tls=False, days=3, weeks=1, courses=1, poison=True))
        cls.s3 = cls.enterClassContext(S3d(w.package, w.facts))
        w.use(cls.s3.endpoint, tls_endpoint=False)
        cls.first = w.once(timeout=120)
        cls.objects = w.objects()
        cls.before = fingerprint(w.staging)
        cls.s3.forget_requests()
        cls.second = w.once(timeout=120)
        cls.bad = [o for o in w.facts["objects"] if "state" in o]
        cls.partly = [o for o in w.facts["objects"] if o.get("rejected")]

    def test_exit_status(self):
        self.assertEqual(self.first.code, 1, self.first)

    def test_causes_in_the_ledger(self):
        for o in self.bad:
            with self.subTest(o["poison"]):
                row = self.objects[o["key"]]
                self.assertEqual(row["state"], o["state"], row["detail"])
                self.assertIn(row["cause"], o["causes"], row["detail"])
                self.assertTrue(row["detail"])

    def test_causes_in_the_journal(self):
        said = {e.fields.get("CZARD_OBJECT"): e for e in self.first.events("rejected") if "CZARD_MEMBER" not in e.fields}
        for o in self.bad:
            with self.subTest(o["poison"]):
                self.assertIn(o["key"], said)
                self.assertIn(said[o["key"]].fields["CZARD_CAUSE"], o["causes"])
                self.assertEqual(said[o["key"]].level, "err")

    def test_everything_else_is_staged(self):
        ignore = [f"{o['path']}/REJECTED" for o in self.partly]
        self.assertEqual(self.world.differences(ignore=ignore), [], self.first)

    def test_rejected_members(self):
        for o in self.partly:
            rows = self.world.members(o["key"])
            for m in o["rejected"]:
                with self.subTest(o["poison"], member=m["name"]):
                    name = re.sub(r"[\x00-\x1f]", lambda c: f"\\x{ord(c[0]):02x}", m["name"])
                    found = [r for n, r in rows.items() if n == name]
                    self.assertEqual([r["state"] for r in found], ["REJECTED"], sorted(rows))
                    self.assertIn(found[0]["cause"], m["causes"], found[0]["detail"])

    def test_rejected_file(self):
        for o in self.partly:
            folder = self.world.staging / o["path"]
            with self.subTest(o["poison"]):
                lines = (folder / "REJECTED").read_text().splitlines()
                self.assertEqual(len(lines), len(o["rejected"]), lines)
                causes = {c for m in o["rejected"] for c in m["causes"]}
                for line in lines:
                    cause, _, name = line.partition("\t")
                    self.assertIn(cause, causes)
                    self.assertTrue(name)
                self.assertEqual(check_sums(folder)[0], 0)

    def test_latest_is_a_complete_snapshot(self):
        latest = self.world.staging / self.world.org / "database/latest"
        self.assertEqual(latest.resolve().name, "2024-07-07")

    def test_nothing_escaped(self):
        names = [p.name for p in self.world.folder.rglob("*") if "escape" in p.name]
        self.assertEqual(names, [])

    def test_rejected_is_not_tried_again(self):
        self.assertEqual([r for r in self.s3.requests() if r.op != "list"], [])
        self.assertEqual(self.second.code, 0, self.second)
        self.assertEqual(fingerprint(self.world.staging), self.before)

    def test_audit(self):
        lines, _ = self.world.audit()
        rejected = {line.get("key") for line in lines if line["event"] == "rejected"}
        self.assertLessEqual({o["key"] for o in self.bad}, rejected)


class RequestIdTest(unittest.TestCase):
    """Request ids are free text, within what is a safe name of a folder. What is not is refused loudly."""
    GOOD = ["a`b", "x + y", "50%", "k=v&w", "~me", "'q' \"r\"", "$(id);*?", "d\u00e9j\u00e0 vu", "\u65e5\u672c", "r" * 127]
    BAD = {".hidden": "unsafe-name", "-rf": "unsafe-name", "tab\there": "unsafe-name", "back\\slash": "unsafe-name",
           "r" * 128: "over-limit", "esc\x1b[2J": "unsafe-name"}

    def test_request_ids(self):
        with World(with_tls=False, days=1, weeks=0, courses=0, rdx=1) as w, S3d(w.package, w.facts) as s3:
            w.use(s3.endpoint, tls_endpoint=False)
            (o,) = (o for o in w.facts["objects"] if o["category"] == "rdx")
            there = w.package / "buckets" / o["bucket"] / o["key"]
            plain = (w.package / "expected" / o["path"]).read_bytes()
            for request in [*self.GOOD, *self.BAD]:
                (there.parent.parent / request).mkdir()
                shutil.copy2(there, there.parent.parent / request / there.name)
            done = w.once()
            self.assertEqual(done.code, 1, done)
            folder = w.staging / w.org / "rdx"
            self.assertEqual({p.name for p in folder.iterdir()}, {*self.GOOD, o["request"]}, done)
            for request in self.GOOD:
                (file,) = (folder / request).iterdir()
                self.assertEqual(file.read_bytes(), plain)
            rows = {key.split("/")[2]: row for key, row in w.objects().items() if key.split("/")[1] == "rdx"}
            self.assertEqual({r: rows[r]["request"] for r in self.GOOD}, {r: r for r in self.GOOD})
            self.assertEqual({r: rows[r]["state"] for r in self.BAD}, {r: "REJECTED" for r in self.BAD})
            self.assertEqual({r: rows[r]["cause"] for r in self.BAD}, self.BAD)
            said = done.events("rejected")
            self.assertEqual(sorted(e.fields["CZARD_CAUSE"] for e in said), sorted(self.BAD.values()), done)
            self.assertEqual({e.level for e in said}, {"err"})
            self.assertEqual(len([line for line in w.audit()[0] if line["event"] == "rejected"]), len(self.BAD))
            s3.forget_requests()
            again = w.once()
            self.assertEqual((again.code, again.events("rejected")), (0, []), again)
            self.assertEqual([r for r in s3.requests() if r.op != "list"], [])
            self.assertEqual(s3.requests() != [], True)


class ForeignMessageTest(unittest.TestCase):
    def test_a_message_for_other_keys(self):
        """One such message says which key it wants, is tried again later, and stops nothing."""
        with World(with_tls=False, days=2, weeks=1, courses=1, foreign=True) as w, S3d(w.package, w.facts) as s3:
            w.use(s3.endpoint, tls_endpoint=False)
            done = w.once(timeout=200)
            self.assertEqual(done.code, 1, done)
            self.assertEqual(w.differences(), [], done)
            o = next(o for o in w.facts["objects"] if "state" in o)
            row = w.objects()[o["key"]]
            self.assertEqual((row["state"], row["cause"]), ("RETRY", "no-secret-key"))
            self.assertRegex(row["detail"], "[0-9A-F]{16}")
            self.assertLessEqual(row["attempts"], 5)


if __name__ == "__main__":
    main()
