#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Deliveries of any configuration, made by chance from a seed (SEED), against what this program finds in the staged tree
by the words of the manual alone: each outbox has exactly the listed courses, tables and dates."""

import fnmatch
import gzip
import json
import os
import random
import re

from czardtest import main
from deliver_test import PEOPLE, Deliveries, digest, tar_files

TABLES = ("events", "student_*", "student_courseenrollment", "auth_user", "auth_userprofile", "grades_*", "*", "forum",
          "ora/assessment_assessment", "course*", "!student_*", "course", "certificates_generatedcertificate", "wiki_*")


def form(key):
    return re.sub("[+/@]", "-", key.split("-v1:")[-1])


def is_key(word):
    return any(c in word for c in "/:+@")


def chosen(words, matches):
    """Is it in the list, where !WORD takes out?"""
    return (any(w[0] != "!" and matches(w) for w in words) and not any(w[0] == "!" and matches(w[1:]) for w in words))


def wants_key(words, key):
    return chosen(words, lambda w: w == key if is_key(w) else fnmatch.fnmatchcase(form(key), w))


def wants_form(words, name):
    return chosen(words, lambda w: form(w) == name if is_key(w) else fnmatch.fnmatchcase(name, w))


def wants_table(words, table):
    if any(w[0] == "!" and fnmatch.fnmatchcase(table, w[1:]) for w in words):
        return False
    patterns = [] if table.startswith(PEOPLE) else words
    return table in words or any(w[0] != "!" and fnmatch.fnmatchcase(table, w) for w in patterns)


def course_and_table(member):
    """What a member's name says, for the tables that the package of the tests has; None: not of a course."""
    base, ora = member.rpartition("/")[2], "ora/" if member.startswith("ora/") else ""
    found = re.fullmatch(r"(.+?)-(prod-edge|prod|edge)(\.mongo|-analytics\..*)", base)
    if not found or member.endswith(".failed"):
        return None
    if found[3] == ".mongo":
        return found[1], "forum"
    course, _, table = found[1].rpartition("-")
    return course, ora + table


class Any(Deliveries):
    package = {"days": 4, "weeks": 3, "courses": 4, "sites": "edx edge", "event_size": 2000, "member_size": 200}

    def setUp(self):
        super().setUp()
        self.org = self.w.staging / self.w.org
        self.w.config.pop("deliver study")
        self.events = {}  # folder: {key: file}
        for manifest in self.org.glob("events-by-course/*/*/*/MANIFEST.jsonl"):
            lines = map(json.loads, manifest.read_text().splitlines())
            self.events[manifest.parent] = {m["course"]: m["file"] for m in lines if "course" in m}
        self.snapshots = sorted((p for p in (self.org / "database").glob("2*") if not p.is_symlink()), reverse=True)

    def listed_events(self, section, first, last):
        tables, courses = section["tables"].split(), section["courses"].split()
        return {f"{folder.relative_to(self.w.staging)}/{file}" for folder, files in self.events.items() for key, file in files.items()
                if "events" in tables and first <= folder.name <= last and wants_key(courses, key)}

    def listed_members(self, section, last):
        tables, courses, seen, want = section["tables"].split(), section["courses"].split(), set(), set()
        for folder in self.snapshots:
            if folder.name > last:
                continue
            names = [line[66:] for line in (folder / "SHA256SUMS").read_text().splitlines()]
            found = {name: what for name in names if (what := course_and_table(name)) and wants_form(courses, what[0])}
            want |= {f"{folder.relative_to(self.w.staging)}/{name}" for name, (course, table) in found.items()
                     if course not in seen and wants_table(tables, table)}
            seen |= {course for course, _ in found.values()}
        return want

    def make_up(self, chance, name):
        keys = sorted({key for files in self.events.values() for key in files})
        words = [*keys, *map(form, keys), "*", f"{form(keys[0])[:6]}*"]
        courses = chance.sample(words, chance.randint(1, 3))
        if chance.random() < 0.3:
            courses.append(f"!{form(chance.choice(keys))}")
        tables = chance.sample(TABLES, chance.randint(1, 4))
        dates = sorted({p.name for p in [*self.events, *self.snapshots]})
        first, last = sorted(chance.sample(dates, 2))
        values = {"courses": " ".join(courses), "tables": " ".join([*tables, "course"] if tables[0][0] == "!" else tables),
                  "mode": chance.choice(("follow", "once"))}
        if chance.random() < 0.7:
            values["dates"] = chance.choice((f"{first}..{last}", f"{first}..", f"..{last}"))
        return self.add(name, self.w.folder / name, **values)

    def contents(self, message, inputs):
        """The hashes of what the recipient finds in it."""
        data = self.recipients[0].decrypt(message)
        if "/events/" in str(message):
            return [digest(data)]
        files = tar_files(gzip.decompress(data) if message.name.endswith(".tar.gz.gpg") else data)
        self.assertEqual(len(files), len(inputs) + 1)
        return sorted(digest(data) for name, (data, _) in files.items() if name not in ("SHA256SUMS", "metadata_file.json"))

    def test_exactly_what_is_listed(self):
        seed = int(os.environ.get("SEED", "2024"))
        chance = random.Random(seed)
        for i in range(12):
            name = f"any{i}"
            section = self.make_up(chance, name)
            with self.subTest(seed=seed, number=i, **{k: section[k] for k in ("courses", "tables", "mode")}):
                self.run_(name)
                first, _, last = section.get("dates", "..").partition("..")
                outbox = self.w.folder / name
                manifest = [json.loads(line) for line in (outbox / "MANIFEST.jsonl").read_text().splitlines()]
                got = [i["path"] for m in manifest for i in m["inputs"]]
                want = self.listed_events(section, first, last or "9") | self.listed_members(section, last or "9")
                self.assertEqual(sorted(got), sorted(want))
                self.assertEqual(sorted(m["path"] for m in manifest), self.messages(outbox))
                for m in manifest:
                    staged = sorted(digest((self.w.staging / i["path"]).read_bytes()) for i in m["inputs"])
                    self.assertEqual(self.contents(outbox / m["path"], m["inputs"]), staged)


if __name__ == "__main__":
    main()
