#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""czard --once on an S3 server that we did not write, with the czar's policy, over TLS and by both addressings."""

import unittest

from czardtest import main, rgw
from czardtest.run import World, fingerprint


@unittest.skipIf(rgw.missing_programs(), "ceph is not installed")
class OnceOnCephTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Multipart objects too: Ceph does not answer partNumber, as other servers do not.
        cls.world = w = cls.enterClassContext(World(event_size=200000, zip64_member_size=20 << 20))
        cls.rgw = cls.enterClassContext(rgw.RadosGateway(w.certificate[2]))
        cls.owner = cls.rgw.serve(w.package, w.facts)
        w.use(cls.rgw.tls_endpoint)

    def once(self):
        """(run, requests of czard)"""
        before = len(self.rgw.requests())
        done = self.world.once()
        return done, self.rgw.requests()[before:]

    def test_1_everything_is_staged(self):
        done, requests = self.once()
        self.assertEqual(done.code, 0, done)
        self.assertEqual(self.world.differences(modified=None), [], done)
        self.assertEqual([r for r in requests if r.status >= 400], [])
        ours = {f"/{o['bucket']}/{o['key']}" for o in self.world.facts["objects"]}
        self.assertEqual({r.path for r in requests if "list-type=2" not in r.query} - ours, set())

    def test_2_nothing_is_fetched_again(self):
        before = fingerprint(self.world.staging)
        done, requests = self.once()
        self.assertEqual(done.code, 0, done)
        self.assertTrue(requests)
        self.assertEqual([r for r in requests if "list-type=2" not in r.query], [])
        self.assertEqual(fingerprint(self.world.staging), before)

    def test_3_a_rewritten_key_is_fetched_again(self):
        o = next(o for o in self.world.facts["objects"] if o["category"] == "events")
        other = next(p for p in self.world.facts["objects"] if p["category"] == "events" and p["date"] != o["date"])
        self.owner.upload(o["bucket"], o["key"], self.world.package / "buckets" / other["bucket"] / other["key"])
        done, requests = self.once()
        self.assertEqual(done.code, 0, done)
        self.assertEqual([r.path for r in requests if "list-type=2" not in r.query and r.method == "GET"],
                         [f"/{o['bucket']}/{o['key']}"])
        self.assertEqual((self.world.staging / o["path"]).read_bytes(),
                         (self.world.package / "expected" / other["path"]).read_bytes())
        self.assertTrue(done.events("replaced"), done)
        kept = list((self.world.staging / o["path"]).parent.glob(".replaced/*")) or \
            list(self.world.staging.rglob(".replaced/*"))
        self.assertEqual(len(kept), 1, kept)
    def test_4_virtual_hosts(self):
        self.world.fresh()
        self.world.config["s3"]["addressing"] = "virtual"
        self.world.package_section.update(categories="events rdx")
        done, requests = self.once()
        self.assertEqual(done.code, 0, done)
        self.assertTrue([r for r in requests if not r.query and r.status == 200])
        self.assertEqual([r for r in requests if r.status >= 400], [])
        for o in self.world.facts["objects"]:
            if o["category"] == "rdx":
                self.assertEqual((self.world.staging / o["path"]).read_bytes(),
                                 (self.world.package / "expected" / o["path"]).read_bytes())


if __name__ == "__main__":
    main()
