#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The filters of a package section: what they leave out is not fetched, and not marked as a failure."""

import json
import subprocess
import unittest
from pathlib import PurePath

from czardtest import main
from czardtest.run import World, program, tree
from czardtest.s3d import S3d


class FiltersTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World(with_tls=False, days=5, weeks=2, courses=3))
        cls.s3 = cls.enterClassContext(S3d(cls.world.package, cls.world.facts))
        cls.world.use(cls.s3.endpoint, tls_endpoint=False)

    def setUp(self):
        self.world.fresh()
        self.s3.forget_requests()

    def once(self, **section):
        self.world.package_section.update(section)
        done = self.world.once()
        self.assertEqual(done.code, 0, done)
        return {p for p, s in tree(self.world.staging).items() if p != ".czard-id" and not p.endswith(("SHA256SUMS", "MANIFEST.jsonl"))
                and not PurePath(p).name == "latest" and (s.st_mode & 0o170000) == 0o100000}

    def expected(self, wanted):
        """Paths of all files of the package for which wanted(object, member or None)."""
        out = set()
        for o in self.world.facts["objects"]:
            if o.get("superseded"):
                continue
            if "members" in o:
                out |= {f"{o['path']}/{m['path']}" for m in o["members"] if wanted(o, m["path"])}
            elif wanted(o, None):
                out.add(o["path"])
        return out

    def asked(self):
        return {r.key for r in self.s3.requests() if r.op != "list"}

    def test_no_filter(self):
        self.assertEqual(self.once(), self.expected(lambda o, m: True))

    def test_categories(self):
        for chosen in ("events", "database rdx", "email-opt-in"):
            with self.subTest(chosen):
                self.setUp()
                self.assertEqual(self.once(categories=chosen), self.expected(lambda o, m: o["category"] in chosen.split()))

    def test_a_category_that_is_not_chosen_needs_no_location(self):
        for name in ("database", "email_opt_in", "rdx"):
            self.world.package_section[name] = None
        self.assertEqual(self.once(categories="events"), self.expected(lambda o, m: o["category"] == "events"))

    def test_sites(self):
        self.assertEqual(self.once(sites="edge", categories="events"),
                         self.expected(lambda o, m: o.get("site") == "edge"))
        self.assertEqual([r.key for r in self.s3.requests() if "/edx/" in r.key], [])

    def test_since_is_inclusive_and_not_for_rdx(self):
        since = "2024-07-06"
        self.assertEqual(self.once(since=since),
                         self.expected(lambda o, m: o["category"] == "rdx" or o["date"] >= since))

    def test_courses(self):
        """A member of no course (organisation-wide) is not a matter of this filter."""
        found = self.once(courses="UnivHSX-*", categories="database")
        kinds = ("UnivHSX-PH-207x-3T2022", "-email_opt_in-")
        self.assertEqual(found, self.expected(lambda o, m: o["category"] == "database" and any(k in m for k in kinds)))

    def test_course_excluded(self):
        found = self.once(courses="!UniversityX-CS50.1x-*", categories="database")
        courses = {PurePath(p).name for p in found}
        self.assertEqual({c for c in courses if c.startswith("UniversityX-CS50.1x-2023_T1-auth_user")}, set())
        self.assertTrue({c for c in courses if c.startswith("UnivHSX-")})

    def test_courses_are_case_sensitive(self):
        found = self.once(courses="univhsx-*", categories="database")
        self.assertEqual({p for p in found if "UnivHSX" in p}, set())

    def czarctl(self, *args):
        done = subprocess.run([program("czarctl"), "--config", self.world.ini(), "--json", *args], capture_output=True,
                              env=self.world.environment(), check=False)
        return done.returncode, json.loads(done.stdout)

    def test_a_pattern_that_matches_nothing(self):
        """It is told, and `latest` does not move; what is excluded need not be there."""
        latest = self.world.staging / self.world.org / "database/latest"
        for section in ({"courses": "universityx-*"}, {"tables": "auth_user no_such_table"}):
            with self.subTest(section):
                self.world.fresh()
                latest = self.world.staging / self.world.org / "database/latest"
                self.world.package_section.update(categories="database", **section)
                done = self.world.once()
                said = [e.message for e in done.entries if e.level == "warning" and "matches nothing" in e.message]
                self.assertTrue(said, done)
                self.assertIn(" ".join(section.values()).split()[-1], said[0])
                self.assertFalse(latest.is_symlink())
                pattern = " ".join(section.values()).split()[-1]
                code, status = self.czarctl("status")
                self.assertEqual((code, [p["what"] for p in status["problems"]]), (1, ["filter"]), status)
                self.assertIn(pattern, status["problems"][0]["text"])
                # nor when an admin lets it go where it will
                code, told = self.czarctl("latest", self.world.org, "auto")
                self.assertFalse(latest.is_symlink(), told)
                (database,) = (c for c in told["latest"] if c["category"] == "database")
                self.assertEqual((code, [u.split()[-1] for u in database["unmatched"]]), (0, [pattern]), told)
        # corrected
        self.world.package_section.update(tables="auth_user !no_such_table")
        done = self.world.once()
        self.assertFalse([e for e in done.entries if "matches nothing" in e.message], done)
        self.assertTrue(latest.is_symlink())

    def test_tables(self):
        found = self.once(tables="user_id_map ora/assessment_* forum course_structure", categories="database")
        kinds = ("-user_id_map-", "ora/", ".mongo", "-course_structure-")

        def wanted(_, m):
            return m and any(k in m for k in kinds) and "submissions_" not in m
        self.assertEqual(found, self.expected(lambda o, m: o["category"] == "database" and wanted(o, m)))

    def test_only_the_wanted_bytes_are_fetched(self):
        self.once(tables="user_id_map", categories="database")
        size = sum(o["size"] for o in self.world.facts["objects"] if o["category"] == "database")
        sent = sum(r.sent for r in self.s3.requests() if r.op == "get")
        self.assertLess(sent, size * 0.7)

    def test_widening_makes_the_rest_due(self):
        self.once(sites="edge", categories="events database", tables="forum")
        self.world.package_section.update(sites="edx edge", categories="events database", tables="*")
        done = self.world.once()
        self.assertEqual(done.code, 0, done)
        found = {p for p in tree(self.world.staging)}
        self.assertEqual(self.expected(lambda o, m: o["category"] in ("events", "database")) - found, set())

    def test_narrowing_deletes_nothing(self):
        first = self.once()
        self.assertEqual(self.once(sites="edge", categories="events"), first)


if __name__ == "__main__":
    main()
