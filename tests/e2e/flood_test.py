#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Floods: a listing without an end, a ledger that would grow without one, a disk under state_dir that gets full, and very many
objects that are refused for one cause."""

import os
import re
import shutil
import unittest

from czardtest import main
from czardtest.run import World
from czardtest.s3d import S3d


class FloodTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.maxDiff = 4000
        cls.world = w = cls.enterClassContext(World(with_tls=False, days=4, weeks=1, courses=1, rdx=1))
        cls.s3 = cls.enterClassContext(S3d(w.package, w.facts))
        w.use(cls.s3.endpoint, tls_endpoint=False)

    def setUp(self):
        w = self.world
        w.fresh()
        w.use(self.s3.endpoint, tls_endpoint=False)

    def failed(self, done):
        return [e for e in done.events("retry") if "listing s3://" in e.message]

    def test_more_objects_than_allowed(self):
        """That listing is given up, by its prefix and the key's name; the others go on, and nothing counts as gone."""
        w = self.world
        w.config["limits"] = {"max_listed": 3}
        first = w.once()
        self.assertEqual(first.code, 1, first)
        said = self.failed(first)
        for e in said:
            self.assertRegex(e.message, r"listing s3://\S+ failed: .*\[limits\] max_listed, which is 3; ")
            self.assertEqual(e.fields["CZARD_CAUSE"], "over-limit")
        self.assertEqual({e.message.split()[1] for e in said},
                         {f"s3://edx-course-data/{w.org}/edx/events/", f"s3://course-data/{w.org}-"}, first)
        staged = {o["key"].split("/")[1] for o in w.objects().values() if o["state"] == "PUBLISHED"}
        self.assertLessEqual({"edge", "rdx"}, staged, first)
        w.config["limits"] = {"max_listed": 1000}
        self.assertEqual(w.once().code, 0)
        self.assertEqual(w.differences(), [])
        w.config["limits"] = {"max_listed": 3}
        again = w.once()
        self.assertEqual(len(self.failed(again)), 2, again)
        self.assertNotIn("GONE", {o["state"] for o in w.objects().values()})

    def test_more_growth_than_allowed(self):
        w = self.world
        w.config["limits"] = {"max_growth": "1K"}
        first = w.once()
        self.assertEqual(first.code, 1, first)
        said = self.failed(first)
        self.assertTrue(said, first)
        for e in said:
            self.assertRegex(e.message, r"listing s3://\S+ failed: .*\[limits\] max_growth, which is 1\.0 KiB")
        # poll by poll a ledger gets there all the same
        for _ in range(12):
            if w.once().code == 0:
                break
        self.assertEqual(w.differences(ignore=[f"{w.org}/email-opt-in/.replaced"]), [], "both spellings of one date, in two polls")

    def test_room_for_the_ledger(self):
        """Below min_free of state_dir nothing is fetched; it is said, and what to do; with room it goes on."""
        w = self.world
        w.config["daemon"]["min_free"] = "900T"
        first = w.once()
        self.assertEqual(first.code, 1, first)
        (said,) = first.events("paused")
        self.assertRegex(said.message, rf"\(state-space\): .* free on {w.state}, \[daemon\] min_free is 900\.0 TiB; make room in state_dir")
        self.assertEqual({o["state"] for o in w.objects().values()} - {"IGNORED"}, {"NEW"}, "it was listed")
        del w.config["daemon"]["min_free"]
        self.assertEqual(w.once().code, 0)
        self.assertEqual(w.differences(), [])

    def test_many_of_one_cause(self):
        """A hundred are named, the others are counted; the ledger and the audit record have all of them."""
        w, n = self.world, 250
        (o,) = (o for o in w.facts["objects"] if o["category"] == "rdx")
        there = w.package / "buckets" / o["bucket"] / o["key"]
        made = [there.parent.parent / f"bell\a{i}" for i in range(n)]
        self.addCleanup(lambda: [shutil.rmtree(folder) for folder in made])
        for folder in made:
            folder.mkdir()
            os.link(there, folder / there.name)
        done = w.once()
        self.assertEqual(done.code, 1, done)
        said = done.events("rejected")
        named = [e for e in said if "CZARD_OBJECT" in e.fields]
        self.assertEqual(len(named), 100)
        rest = [e for e in said if "CZARD_OBJECT" not in e.fields]
        self.assertEqual([e.fields["CZARD_CAUSE"] for e in rest], ["unsafe-name"] * len(rest))
        self.assertEqual(sum(int(e.fields["CZARD_SUPPRESSED"]) for e in rest), n - 100)
        self.assertTrue(all(re.search(r"and \d+ more rejected: unsafe-name; czarctl list", e.message) for e in rest), rest)
        self.assertLessEqual(len(rest), 3)
        self.assertEqual(len([line for line in w.audit()[0] if line["event"] == "rejected"]), n)
        self.assertEqual(len([r for r in w.objects().values() if r["state"] == "REJECTED"]), n)


if __name__ == "__main__":
    main()
