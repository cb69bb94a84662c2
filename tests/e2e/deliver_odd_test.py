#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Deliveries where something is odd: keys that somebody invented, names that become known late, snapshots that are not
to be had, outboxes that nobody looks after, a revocation in the middle of a run."""

import csv
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

from czardtest import main
from czardtest.run import program
from deliver_test import Deliveries, digest, gzip, tar_files


def write(path, data):
    """A staged file, as czard would leave it there."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(0o440)


class Odd(Deliveries):
    package = {"days": 2, "weeks": 2, "courses": 2, "sites": "edx", "event_size": 3000, "member_size": 300}

    def edit_day(self, day, courses):
        """The day by course is these files: {key: (file name, bytes)}."""
        rest = [line for line in (day / "MANIFEST.jsonl").read_text().splitlines() if '"course"' not in line]
        files = sorted((name, key, data) for key, (name, data) in courses.items())
        for old in day.glob("*.log.gz"):
            if old.name not in [name for name, *_ in files]:
                old.unlink()
        for name, _, data in files:
            write(day / name, data)
        lines = [json.dumps({"course": key, "file": name}, separators=(",", ":")) for name, key, _ in files]
        write(day / "MANIFEST.jsonl", ("\n".join([*lines, *rest]) + "\n").encode())
        write(day / "SHA256SUMS", "".join(f"{digest(data)}  {name}\n" for name, _, data in files).encode())

    def courses_of(self, day):
        lines = [json.loads(line) for line in (day / "MANIFEST.jsonl").read_text().splitlines()]
        return {m["course"]: (m["file"], (day / m["file"]).read_bytes()) for m in lines if "course" in m}

    def add_member(self, folder, name, data=b"id\n1\n"):
        write(folder / name, data)
        sums = (folder / "SHA256SUMS").read_text().splitlines()
        sums = sorted([*(line for line in sums if line[66:] != name), f"{digest(data)}  {name}"], key=lambda line: line[66:].encode())
        write(folder / "SHA256SUMS", ("\n".join(sums) + "\n").encode())

    def reason(self):
        return self.audit("delivery-stopped")[-1]["reason"]


class Keys(Odd):
    """Anybody can invent a key in the log."""

    def invent(self, day, key):
        """The day comes again with an event of that key, which takes the name of the course as well."""
        courses = self.courses_of(day)
        mark = hashlib.sha256(self.key.encode()).hexdigest()[:16]
        courses[self.key] = (f"{self.name}~{mark}.log.gz", courses[self.key][1])
        courses[key] = (f"{self.name}~{hashlib.sha256(key.encode()).hexdigest()[:16]}.log.gz", gzip.compress(b"{}\n"))
        self.edit_day(day, courses)
        return mark

    def test_one_invented_event(self):
        self.run_()
        had, slash = self.messages(), self.key.partition(":")[2].replace("+", "/")
        day = [d for d in self.days if self.key in self.courses_of(d)][-1]
        mark = self.invent(day, slash)
        err = self.run_(code=1)
        self.assertIn("CZARD_EVENT=delivery-stopped", err)
        self.assertIn(f"({slash}, {self.key})" if slash in self.reason().split("(")[1][:len(slash) + 1] else f"({self.key}, {slash})",
                      self.reason())
        self.assertEqual(self.messages(), had)
        self.assertEqual(self.audit("please-destroy"), [])
        self.assertIn("list the full key", self.ctl("check", code=1))
        plan = json.loads(self.ctl("--json", "deliver", "plan"))["deliveries"][0]
        self.assertEqual((plan["held_back"], plan["items"], plan["leaves"]), ([self.form], [], []))
        # the advice is followed
        section = self.w.config["deliver study"]
        section["courses"] = f"{self.form} {self.key}"
        self.run_()
        old = f"{self.name}/events/edx/{day.name}.log.gz.gpg"
        new = f"{self.name}~{mark}/events/edx/{day.name}.log.gz.gpg"
        self.assertEqual(self.messages(), sorted([*(m for m in had if m != old), new]))
        self.assertEqual(self.recipients[0].decrypt(self.outbox / new), self.courses_of(day)[self.key][1])
        self.assertEqual(self.audit("please-destroy"), [])
        # with the full key alone nothing changes: the tables are those of the same course
        section["courses"] = self.key
        self.run_()
        self.assertEqual(len(self.messages()), len(had))
        self.assertEqual(self.audit("please-destroy"), [])

    def test_once_stays_done(self):
        self.w.config["deliver study"]["mode"] = "once"
        self.w.config["deliver study"]["courses"] = self.key
        self.run_()
        had = self.messages()
        self.invent([d for d in self.days if self.key in self.courses_of(d)][-1], self.key.partition(":")[2].replace("+", "/"))
        self.run_(code=None)
        self.assertEqual([m.replace("-r2", "") for m in self.messages()], had)
        got = tar_files(gzip.decompress(self.recipients[0].decrypt(self.outbox / self.messages()[0])))
        self.assertFalse([name for name, (data, _) in got.items() if name.endswith(".gz") and gzip.decompress(data) == b"{}\n"])

    def test_whose_tables(self):
        """Of a key with other parts nobody can tell: they stay, what was handed out stays there, and it is told."""
        form, mine, other = "X-Y-Z-1T", "course-v1:X-Y+Z+1T", "course-v1:X+Y-Z+1T"
        member = f"{form}-student_courseenrollment-prod-analytics.sql"
        for folder in (self.older, self.newest):
            self.add_member(folder, member)
        day = self.days[0]
        self.edit_day(day, {**self.courses_of(day), mine: ("X-Y_Z_1T.log.gz", gzip.compress(b"mine\n"))})
        self.w.config["deliver study"].update(courses=mine, tables="events student_*")
        self.run_()
        had = [f"X-Y_Z_1T/events/edx/{day.name}.log.gz.gpg", f"X-Y_Z_1T/state/{self.newest.name}.tar.gpg"]
        self.assertEqual(self.messages(), had)
        self.edit_day(day, {**self.courses_of(day), other: ("X_Y-Z_1T.log.gz", gzip.compress(b"other\n"))})
        self.run_(code=1)
        self.assertEqual(self.messages(), had)
        self.assertIn(other, self.reason())
        self.w.config["deliver study"]["courses"] = f"{mine} {form}"
        self.run_()
        self.assertEqual(self.messages(), had)

    def test_name_known_later(self):
        """The same inputs are not encrypted again because a course gets its name."""
        form, key = "X-Y-Z-1T", "course-v1:X-Y+Z+1T"
        self.add_member(self.newest, f"{form}-student_courseenrollment-prod-analytics.sql")
        self.w.config["deliver study"].update(courses=form, tables="events student_*")
        self.run_()
        had = [f"X_Y-Z_1T/state/{self.newest.name}.tar.gpg"]
        self.assertEqual(self.messages(), had)
        day = self.days[0]
        self.edit_day(day, {**self.courses_of(day), key: ("X-Y_Z_1T.log.gz", gzip.compress(b"e\n"))})
        self.run_()
        self.assertEqual(self.messages(), [f"X-Y_Z_1T/events/edx/{day.name}.log.gz.gpg", *had])
        # and when they change, the new one takes the old one's place
        self.add_member(self.newest, f"{form}-student_courseenrollment-prod-analytics.sql", b"id\n2\n")
        self.run_()
        self.assertEqual(self.messages()[1:], [f"X-Y_Z_1T/state/{self.newest.name}.tar.gpg"])

    def test_ending_inside_a_key(self):
        key, name, day = "course-v1:A+B.log.gz+C", "A_B.log.gz_C", self.days[0]
        self.edit_day(day, {**self.courses_of(day), key: (f"{name}.log.gz", gzip.compress(b"e\n"))})
        self.w.config["deliver study"].update(courses=key, tables="events")
        self.run_()
        self.assertEqual(self.messages(), [f"{name}/events/edx/{day.name}.log.gz.gpg"])

    def test_folders_nobody_knows(self):
        """Tables there are in no pattern."""
        for folder in ("ora", "other"):
            (self.newest / folder).mkdir(exist_ok=True)
            self.add_member(self.newest, f"{folder}/{self.form}-submissions_odd-prod-analytics.sql")
        self.w.config["deliver study"]["tables"] = "submissions_* *"
        self.run_()
        got = tar_files(self.recipients[0].decrypt(self.outbox / self.name / "state" / f"{self.newest.name}.tar.gpg"))
        self.assertEqual([name for name in got if "/" in name], [])
        self.w.config["deliver study"]["tables"] = "submissions_odd"
        self.run_()
        got = tar_files(self.recipients[0].decrypt(self.outbox / self.messages()[0]))
        self.assertEqual(sorted(got), ["SHA256SUMS", f"other/{self.form}-submissions_odd-prod-analytics.sql"])


class Snapshots(Odd):
    def pin(self, date):
        self.ctl("latest", self.w.org, date)

    def test_what_latest_did_not_follow(self):
        self.pin(self.older.name)
        self.run_()
        state = [f"{self.name}/state/{f.name}.tar.gpg" for f in (self.older, self.newest)]
        self.assertEqual([m for m in self.messages() if "/state/" in m], state[:1])
        self.pin("auto")
        self.run_()
        self.assertEqual([m for m in self.messages() if "/state/" in m], state)
        self.pin(self.older.name)  # what was handed out is not taken back
        self.run_()
        self.assertEqual([m for m in self.messages() if "/state/" in m], state)
        self.assertEqual(self.audit("please-destroy"), [])

    def test_once_means_once(self):
        ada, bob = self.recipients
        section = self.w.config["deliver study"]
        section["mode"] = "once"
        self.pin(self.older.name)
        self.run_()
        had = self.messages()
        self.assertEqual(had, [f"{self.name}.tar.gz.gpg"])
        self.pin("auto")
        self.run_()
        self.assertEqual(self.messages(), had)
        # who came later gets it when asked for, and as it is now
        section["recipients"] = f"{bob.fingerprint} {ada.fingerprint}"
        self.run_()
        self.assertEqual(self.messages(), had)
        self.run_("--again")
        self.assertEqual(self.messages(), [f"{self.name}-r2.tar.gz.gpg"])
        got = tar_files(gzip.decompress(bob.decrypt(self.outbox / self.messages()[0])))
        self.assertEqual({name.split("/")[1] for name in got if name.startswith("state/")}, {self.newest.name})
        section["recipients"] = f"{ada.fingerprint} {bob.fingerprint}"
        self.run_("--again")
        self.assertEqual(self.messages(), [f"{self.name}-r2.tar.gz.gpg"])
        # a table that is not listed any more is
        section["tables"] = "events student_*"
        self.run_()
        got = tar_files(gzip.decompress(bob.decrypt(self.outbox / f"{self.name}-r3.tar.gz.gpg")))
        self.assertFalse([name for name in got if "auth_user" in name])


class Outboxes(Odd):
    """Ciphertext that nobody looks after."""

    def test_section_removed(self):
        self.run_()
        had = self.messages()
        section = self.w.config.pop("deliver study")
        for command in (("status",), ("check",)):
            self.assertRegex(self.ctl(*command, code=1), f"study stands still: .*{len(had)} messages lie in {self.outbox}")
        self.assertIn(f"{len(had)} messages lie in {self.outbox}", self.ctl("deliver", "list"))
        self.assertIn('czard_delivery_outbox_messages{delivery="study"}', self.ctl("metrics"))
        # another one is not put on top of it
        self.w.config["deliver other"] = section
        self.assertIn("is that of the delivery study", self.run_(code=1))
        self.assertEqual(self.messages(), had)
        self.ctl("deliver", "revoke", "nobody", "--reason", "x", code=2)
        self.ctl("deliver", "revoke", "study", "--reason", "it ended")
        self.assertEqual(self.messages(), [])
        self.assertEqual({e["path"] for e in self.audit("please-destroy")}, set(had))
        self.run_()
        self.assertEqual(self.messages(), had)

    def test_path_changed(self):
        self.run_()
        had, section = self.messages(), self.w.config["deliver study"]
        section["path"] = self.w.folder / "elsewhere"
        section["path"].mkdir(mode=0o750)
        self.assertIn(str(self.outbox), self.run_(code=1))
        self.ctl("deliver", "revoke", "study", "--reason", "it ended")
        self.assertTrue(had)
        self.assertEqual(self.messages(), [])

    def test_record_lost(self):
        self.run_()
        had = self.messages()
        sums = {digest((self.outbox / m).read_bytes()) for m in had}
        shutil.rmtree(self.state)
        self.state.mkdir(mode=0o750)
        self.w.config["deliver study"]["tables"] = "events"
        self.assertIn("not in the record", self.run_(code=1))
        self.assertIn("not in the record", self.ctl("check", code=1))
        self.assertIn(had[-1], self.messages())
        shutil.rmtree(self.state)
        self.state.mkdir(mode=0o750)
        self.w.config.pop("deliver study")
        left = self.messages()
        self.ctl("deliver", "revoke", f"{self.outbox}/", "--reason", "nobody knows")
        self.assertEqual(self.messages(), [])
        self.assertEqual({e["path"] for e in self.audit("please-destroy")}, set(left))
        readme = (self.outbox / "README").read_text()
        for message in left:
            self.assertIn(f"{message} (nobody knows)", readme)
        self.assertNotIn("9999", readme)  # until when, nobody knows either
        self.assertTrue(sums & {e["sha256"] for e in self.audit("please-destroy")})
        self.ctl("deliver", "revoke", str(self.keys), "--reason", "no outbox", code=1)
        self.assertTrue(list(self.keys.iterdir()))

    def test_record_put_back(self):
        """Until it is, nothing is made in the place of what lies there."""
        def all_of():
            return {m: digest((self.outbox / m).read_bytes()) for m in self.messages()}

        self.run_()
        had, aside = all_of(), self.w.folder / "record"
        (self.state / "audit.jsonl").rename(aside)
        for _ in range(2):
            self.assertIn("not in the record", self.run_(code=None) + self.ctl("check", code=1))
            self.assertEqual(all_of(), had)
        aside.rename(self.state / "audit.jsonl")
        self.run_()
        self.assertEqual(all_of(), had)

    def test_altered(self):
        self.run_()
        message = self.outbox / self.messages()[0]
        data = bytearray(message.read_bytes())
        data[-1] ^= 1
        time.sleep(1.1)
        write(message, data)
        self.assertIn(f"the message {self.messages()[0]}", self.run_(code=1))
        data[-1] ^= 1
        write(message, data)
        self.run_()

    def test_taken_from_the_outbox(self):
        self.run_()
        had = self.messages()
        (self.outbox / had[0]).unlink()
        self.assertIn(f"1 messages were taken from the outbox {self.outbox}, for example {had[0]}", self.run_())
        self.assertEqual(self.messages(), had[1:])  # a carrier may move them
        self.run_("--again")
        head, _, ext = had[0].rpartition("/")[2].partition(".")
        new = f"{had[0].rpartition('/')[0]}/{head}-r2.{ext}"
        self.assertEqual(self.messages(), sorted([new, *had[1:]]))
        self.assertTrue(self.recipients[0].decrypt(self.outbox / new))
        self.assertNotIn("taken from", self.run_("--again"))
        self.check_described()

    def test_table_taken_off(self):
        """It leaves at once, also when nothing new can be made; the rest comes when it can."""
        archive, state = self.w.folder / "archive", f"{self.name}/state/{self.newest.name}.tar.gpg"
        self.add("archive", archive, mode="once")
        self.run_()
        had, key = self.messages(), self.keys / "ada.asc"
        for name in ("study", "archive"):
            self.w.config[f"deliver {name}"]["tables"] = "events student_*"
        aside = key.rename(self.w.folder / "ada.asc")
        self.run_(code=1)
        self.assertEqual(self.messages(), [m for m in had if m != state])
        self.assertEqual(self.messages(archive), [])
        for outbox, path in ((self.outbox, state), (archive, f"{self.name}.tar.gz.gpg")):
            self.assertIn(f"{path} (not listed any more)", (outbox / "README").read_text())
        aside.rename(key)
        self.run_()
        new = state.replace(".tar", "-r2.tar"), f"{self.name}-r2.tar.gz.gpg"
        self.assertEqual(self.messages(), sorted([*(m for m in had if m != state), new[0]]))
        self.assertEqual(self.messages(archive), [new[1]])
        plain = self.recipients[0].decrypt(self.outbox / new[0]), gzip.decompress(self.recipients[0].decrypt(archive / new[1]))
        for data in plain:
            self.assertTrue(any("student_" in n for n in tar_files(data)))
            self.assertFalse([n for n in tar_files(data) if "auth_user" in n])

    def told_away(self):
        listed = {d["name"]: d for d in json.loads(self.ctl("--json", "deliver", "list"))["deliveries"]}
        self.assertEqual(listed["study"]["state"], "stands still")
        self.assertIn(str(self.w.staging), listed["study"]["reason"])
        for command in ("status", "check"):
            self.assertRegex(self.ctl(command, code=1), f"delivery study.*: .*{self.w.staging}")
        self.ctl("deliver", "plan", code=3)

    def test_staging_away(self):
        """Nothing is decided of what is staged, nobody says that all is well, and what is over is taken back."""
        self.add("ends", self.w.folder / "ends")
        self.run_()
        had, aside = self.messages(), self.w.folder / "volume"
        self.w.staging.rename(aside)
        self.w.config["deliver ends"]["until"] = "2020-01-01"
        self.assertIn(f"delivery study stands still: [staging] path {self.w.staging}", self.run_(code=3))
        self.assertEqual(self.messages(self.w.folder / "ends"), [])
        self.told_away()
        self.w.staging.mkdir(mode=0o750)  # where it was mounted
        self.assertRegex(self.run_(code=3), "delivery study stands still: .*is not mounted")
        self.told_away()
        (self.state / "audit.jsonl").rename(self.w.folder / "record")  # nor by a run
        self.told_away()
        (self.w.folder / "record").rename(self.state / "audit.jsonl")
        self.assertEqual(self.messages(), had)
        self.w.staging.rmdir()
        aside.rename(self.w.staging)
        self.run_(code=1)
        self.assertEqual(self.messages(), had)
        self.assertIn("delivery study: well", self.ctl("check"))

    def test_until_takes_all(self):
        self.run_()
        stray = self.outbox / self.name / "state" / "2001-01-01.tar.gpg"
        stray.write_bytes(b"x")
        self.run_(code=1)
        self.assertTrue(stray.exists())
        self.w.config["deliver study"]["until"] = "2020-01-01"
        self.run_(code=1)
        self.assertEqual(self.messages(), [])
        # whoever was given it hears of it, too
        path = str(stray.relative_to(self.outbox))
        self.assertIn(f"{path} (the delivery is over)", (self.outbox / "README").read_text())
        listed = json.loads(self.ctl("--json", "deliver", "list"))["deliveries"][0]
        self.assertIn((path, digest(b"x")), [(m["path"], m["sha256"]) for m in listed["please_destroy"]])
        self.assertEqual(listed["in_outbox"], 0)


class Told(Odd):
    def test_before_the_first_run(self):
        """What a run would meet is said where an admin looks."""
        section = self.w.config["deliver study"]
        section["tables"] += " nothing_*"
        section["recipients"] = "0123456789ABCDEF0123456789ABCDEF01234567"
        for command in ("status", "check"):
            shown = self.ctl(command, code=1)
            self.assertRegex(shown, "delivery study: the recipient's key 0123456789ABCDEF.* is in no file")
            self.assertIn("nothing matches nothing_*", shown)
        shown = self.ctl("deliver", "list")
        self.assertIn("is in no file of recipients.d", shown)
        self.assertIn("matches nothing: nothing_*", shown)
        listed = json.loads(self.ctl("deliver", "list", "--json"))["deliveries"][0]
        self.assertEqual(listed["match_nothing"], ["nothing_*"])
        self.assertIn("is in no file", listed["reason"])
        self.assertFalse((self.outbox / ".czard-id").exists())

    def stands(self, name):
        """What is said of it by status, check, list and metrics."""
        listed = {d["name"]: d for d in json.loads(self.ctl("deliver", "list", "--json"))["deliveries"]}[name]
        said = [self.ctl(c, code=1) for c in ("status", "check")]
        return listed["state"], f'stands_still{{delivery="{name}"}} 1' in self.ctl("metrics"), said

    def test_over_and_still_there(self):
        """Until its outbox is empty, what is over or revoked is not well."""
        self.add("revoked", self.w.folder / "revoked")
        self.run_()
        n = len(self.messages())
        self.w.config["deliver study"]["until"] = "2020-01-01"
        outbox = self.w.folder / "revoked"
        outbox.rename(self.w.folder / "aside")
        self.ctl("deliver", "revoke", "revoked", "--reason", "it ended", code=1)
        for name, state, why in (("study", "over", "it is over"), ("revoked", "revoked", "it was revoked: it ended")):
            listed, metric, said = self.stands(name)
            self.assertEqual((listed, metric), (state, True))
            for text in said:
                self.assertRegex(text, rf"delivery {name} stands still: {why}.*, and {n} messages still lie in ")
        (self.w.folder / "aside").rename(outbox)
        self.run_(code=1)
        self.assertEqual(self.messages() + self.messages(outbox), [])
        shown = self.ctl("check")
        self.assertIn("delivery study: over, 0 messages", shown)
        self.assertIn("delivery revoked: revoked, 0 messages", shown)

    def report(self):
        """What the page says of deliveries, and the data of all of it."""
        page = self.w.folder / "page.html"
        self.ctl("report", "--html", str(page))
        return page.read_text(), json.loads(self.ctl("--json", "report"))

    def test_unknown_name(self):
        """The same for each command: usage, and which there are."""
        self.add("other", self.w.folder / "other")
        for words in (("list",), ("plan",), ("run",), ("log",), ("revoke", "--reason", "x")):
            done = subprocess.run([program("czarctl"), "--config", str(self.w.ini()), "deliver", *words, "nobody"],
                                  env=self.w.environment(), capture_output=True, text=True, timeout=600, check=False)
            self.assertEqual((done.returncode, done.stdout), (2, ""), done)
            self.assertIn("there is no [deliver nobody] in the configuration, which has study, other", done.stderr)
        self.assertNotIn("other", self.ctl("deliver", "list", "study"))

    def test_cannot_be_looked_at(self):
        """A record that cannot be read is no good news."""
        self.run_()
        (self.state / "audit.jsonl").unlink()
        (self.state / "audit.jsonl").mkdir()
        self.assertIn("\nczard_delivery_unknown 1\n", self.ctl("metrics"))
        page, data = self.report()
        self.assertIn("deliveries cannot be looked at: ", page)
        self.assertFalse(data["ok"])
        self.assertIn("deliveries cannot be looked at: ", self.ctl("status", code=1))

    def test_due_and_no_run(self):
        n = len(self.days) + 1
        self.w.config["deliver study"]["tables"] += " nothing_*"
        state, metric, said = self.stands("study")
        self.assertEqual((state, metric), ("stands still", True))
        for text in (*said, self.report()[0]):
            self.assertRegex(text, f"delivery study( stands still)?: {n} messages are due, and it was never run")
            self.assertIn("nothing matches nothing_*", text)
        self.assertIn('czard_delivery_match_nothing{delivery="study"} 1', self.ctl("metrics"))
        self.assertIn("\nczard_delivery_unknown 0\n", self.ctl("metrics"))
        self.w.config["deliver study"]["tables"] = "events student_* auth_user"
        self.run_()
        self.assertIn("delivery study: well,", self.ctl("check"))
        os.utime(self.state / "lock", (0, 0))
        self.assertIn("delivery study: well,", self.ctl("check"))  # nothing is due
        self.w.config["deliver study"]["courses"] = "*"
        for text in self.stands("study")[2]:
            self.assertRegex(text, r"delivery study: \d+ messages are due, and no run came through since 1970-01-01T00:00:00Z")
        self.run_()
        self.assertIn("delivery study: well,", self.ctl("check"))

    def test_files_of_keys(self):
        """One that cannot be read stops those only whose key is nowhere else."""
        (self.keys / "aa.asc").symlink_to("/nonexistent")
        (self.keys / "folder.asc").mkdir()
        (self.keys / "none.asc").write_text("no key")
        self.run_()
        self.assertTrue(self.messages())
        other = "0123456789ABCDEF0123456789ABCDEF01234567"
        self.add("other", self.w.folder / "other", recipients=other)
        self.assertRegex(self.run_("other", code=1), rf"{other} is in no file of recipients.d that can be read \(.*/aa.asc: ")
        section, key = self.w.config["deliver study"], self.recipients[0].fingerprint
        section["recipients"] = f"{key} {key.lower()}"
        self.assertIn("each entry once", self.run_(code=2))

    def test_nothing_is_staged_of_it(self):
        self.w.config["deliver study"]["courses"] = "Nowhere-*"
        self.run_()
        self.assertEqual(self.files(), ["MANIFEST.jsonl", "README"])
        self.assertIn("nothing matches Nowhere-*", self.ctl("check", code=1))

    def test_record(self):
        err = self.run_()
        last = (self.state / "audit.jsonl").read_text().splitlines()
        heads = {hashlib.sha256(line.encode()).hexdigest() for line in last}
        said = [word.partition("=")[2] for line in err.splitlines() for word in line.split() if word.startswith("CZARD_AUDIT_HEAD=")]
        self.assertTrue(said)
        self.assertLessEqual(set(said), heads)
        self.assertEqual(json.loads(self.ctl("verify", "--audit", "--json"))["deliver_audit_entries"], len(last))
        self.ctl("verify", "--audit", "--head", said[-1])
        self.ctl("verify", "--audit", "--head", "0" * 63 + "1", code=1)
        # and what it says is complete
        self.ctl("deliver", "revoke", "study", "--reason", "agreement ended")
        rows = list(csv.DictReader(io.StringIO(self.ctl("deliver", "log", "--csv"))))
        self.assertGreater(len([r for r in rows if r["event"] == "please-destroy"]), 1)
        for row in rows:
            self.assertEqual((row["purpose"], row["until"]), ("IRB 2026-113, agreement of 2026-05-04", "2099-01-01"), row)
            if row["event"] in ("delivered", "please-destroy"):
                self.assertEqual(row["recipients"], self.recipients[0].fingerprint)
                self.assertTrue(all(row[k] for k in ("time", "course", "path", "size", "sha256")), row)
                tables = row["tables"].split()
                self.assertEqual(tables, ["events"] if "/events/" in row["path"] else
                                 ["auth_user", "courseware_studentmodule", *(t for t in tables if t.startswith("student_"))])
        text = (self.state / "audit.jsonl").read_text()
        (self.state / "audit.jsonl").write_text(text.replace('"delivered"', '"deliverec"', 1))
        self.assertIn("czard-deliver/audit.jsonl", self.ctl("verify", "--audit", code=1))


class Urgent(Odd):
    """A run that encrypts for long gives way to a revocation, in the middle of a message."""
    size = 512 << 20  # takes longer than it takes to stop it

    def delivered(self):
        return [e["path"] for e in self.audit("delivered") if e["delivery"] == "study"]

    def waits(self):
        lock = f":{(self.state / 'lock').stat().st_ino} "
        with open("/proc/locks", encoding="ascii") as locks:
            return any("->" in line and "FLOCK" in line and lock in line for line in locks)

    def given_way(self, while_it_waits=lambda: None):
        """The events of the record after a run that gave way, and went on."""
        self.add("second", self.w.folder / "out2", tables="events")
        self.run_("second")
        day = self.days[-1]
        big = day / f"{self.name}.log.gz"
        courses = self.courses_of(day)
        self.edit_day(day, courses | {self.key: (big.name, b"")})
        big.chmod(0o640)
        with open(big, "wb") as f:
            f.truncate(self.size)
        sum_ = hashlib.sha256()
        for _ in range(self.size >> 20):
            sum_.update(bytes(1 << 20))
        sums = (day / "SHA256SUMS").read_text().replace(f"{digest(b'')}  {big.name}", f"{sum_.hexdigest()}  {big.name}")
        write(day / "SHA256SUMS", sums.encode())
        ini = str(self.w.ini())
        child = subprocess.Popen([str(program("czard-deliver")), "--config", ini, "--once", "study"], env=self.w.environment(),
                                 stderr=subprocess.DEVNULL, start_new_session=True)
        self.addCleanup(child.kill)
        self.wait_for(lambda: len(self.delivered()) == len(self.days))
        os.killpg(child.pid, signal.SIGSTOP)
        self.assertEqual(len(self.delivered()), len(self.days))
        revoke = subprocess.Popen([str(program("czarctl")), "--config", ini, "deliver", "revoke", "second", "--reason", "at once"],
                                  env=self.w.environment(), stderr=subprocess.DEVNULL)
        self.addCleanup(revoke.kill)
        self.wait_for(self.waits)
        while_it_waits()
        os.killpg(child.pid, signal.SIGCONT)
        self.assertEqual(revoke.wait(300), 0)
        self.assertEqual(self.messages(self.w.folder / "out2"), [])
        self.assertEqual(child.wait(300), 0)
        self.ctl("verify", "--audit")
        return [e["event"] for e in self.audit()]

    def test_revoke_does_not_wait(self):
        events = self.given_way()
        self.assertEqual([e for e in events if e in ("revoked", "delivering")][-2:], ["revoked", "delivering"])
        self.assertEqual(len(self.messages()), len(self.days) + 1)

    def test_configuration_that_changed_meanwhile(self):
        """It goes on with what is listed by then."""
        def take_off():
            self.w.config["deliver study"]["tables"] = "student_*"
            self.w.ini()

        events = self.given_way(take_off)
        self.assertEqual(self.messages(), [f"{self.name}/state/{self.newest.name}-r2.tar.gpg"])
        self.assertNotIn("auth_user", " ".join(tar_files(self.recipients[0].decrypt(self.outbox / self.messages()[0]))))
        self.assertEqual(events[events.index("revoked"):].count("delivering"), 1)


if __name__ == "__main__":
    main()
