#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What becomes of an object when a listing or an answer is not what one would wish: which state, which cause, what is
said, and what is tried again."""

import base64
import hashlib
import http.client
import http.server
import json
import os
import shutil
import sqlite3
import subprocess
import threading
import time
import unittest

from czarctl_test import czarctl
from czardtest import main, package
from czardtest.common import today
from czardtest.daemon import Daemon, Held
from czardtest.run import World, program
from czardtest.s3d import S3d


class Case(unittest.TestCase):
    options = dict(days=2, weeks=1, courses=1, rdx=0, sites="edx", odd=False, neighbours=False)

    @classmethod
    def setUpClass(cls):
        cls.maxDiff = 4000
        w = cls.world = cls.enterClassContext(World(with_tls=False, **cls.options))
        cls.s3 = cls.enterClassContext(S3d(w.package, w.facts, policy="open"))
        w.use(cls.s3.endpoint, tls_endpoint=False)
        cls.buckets = w.package / "buckets"
        cls.backup = w.folder / "buckets"
        shutil.copytree(cls.buckets, cls.backup)

    def setUp(self):
        self.world.fresh()
        self.s3.forget_requests()
        self.s3_is_well()
        shutil.rmtree(self.buckets)
        shutil.copytree(self.backup, self.buckets)

    def s3_is_well(self):
        for file in self.s3.behaviours.iterdir():
            if file.is_file():
                file.unlink()

    def of(self, category):
        return [o for o in self.world.facts["objects"] if o["category"] == category]

    def state(self, o):
        row = self.world.objects()[o["key"]]
        return row["state"], row["cause"]

    def fetched(self):
        return [r.key for r in self.s3.requests() if r.op == "get"]


class Neighbours(Case):
    """Two organisations of which one's name begins the other's."""
    options = dict(Case.options, org="mitx", days=1, weeks=2)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pro = package.make(cls.world.folder / "pro", **dict(cls.options, org="mitx-pro"))
        shutil.copytree(cls.world.folder / "pro/buckets", cls.backup, dirs_exist_ok=True)

    def setUp(self):
        super().setUp()
        self.world.config["package mitx-pro"] = {
            "events": "s3://edx-course-data/mitx-pro", "database": "s3://course-data",
            "email_opt_in": "s3://course-data/email-opt-in", "rdx": "s3://edx-course-data/mitx-pro/rdx",
            "homedir": self.world.folder / "pro/gnupg"}

    def test_a_new_snapshot_is_seen_by_the_next_poll(self):
        for new in (self.of("database")[-1], self.of("events")[-1]):
            with self.subTest(new["key"]):
                self.setUp()
                self.world.config["daemon"]["poll_interval"] = "1s"
                held = Held(self.world, new["key"])
                with Daemon(self.world) as d:
                    d.synced()
                    held.give(new["key"])
                    d.wait("staged", lambda: d.states().get(new["key"]) == "PUBLISHED", timeout=30)

    def test_a_full_listing_says_nothing_of_the_other(self):
        first = self.world.once()
        self.assertEqual(first.code, 0, first)
        before = {key: o["state"] for key, o in self.world.objects().items()}
        self.s3.behave("denied", op="list", key="*mitx-pro*", status=403, code="AccessDenied")
        done = self.world.once()
        self.assertEqual(done.code, 1, done)
        self.assertEqual({key: o["state"] for key, o in self.world.objects().items()}, before, done)
        self.assertEqual([e for e in done.events("note") if "not there any more" in e.message], [], done)

    def test_what_is_rejected_stays_so(self):
        bad = next(o for o in self.pro["objects"] if o["category"] == "database")
        (self.buckets / bad["bucket"] / bad["key"]).write_bytes(b"no archive at all")
        first = self.world.once()
        self.assertEqual(self.state(bad), ("REJECTED", "bad-zip"), first)
        self.s3.forget_requests()
        # so that it is listed after the other one
        self.s3.behave("busy", op="list", key="mitx-pro-*", status=503, code="SlowDown", count=2)
        done = self.world.once()
        self.assertEqual(done.code, 0, done)
        self.assertEqual(self.state(bad), ("REJECTED", "bad-zip"), done)
        self.assertEqual(self.fetched(), [])


class Lost(Case):
    """S3 lists an object and answers its GET with 404."""

    def setUp(self):
        super().setUp()
        self.event, self.archive = self.of("events")[0], self.of("database")[0]

    def status(self):
        command = [program("czarctl"), "--config", self.world.ini(), "--json", "status"]
        done = subprocess.run(command, capture_output=True, env=self.world.environment(), check=False)
        return done.returncode, json.loads(done.stdout)

    def test_still_listed(self):
        self.s3.behave("lost", op="get", key="*events*", status=404, code="NoSuchKey")
        done = self.world.once()
        self.assertEqual(done.code, 1, done)
        self.assertEqual(self.state(self.event), ("RETRY", "listed-but-missing"), done)
        self.assertEqual(self.state(self.archive)[0], "PUBLISHED", done)
        self.assertTrue([e for e in done.events("retry") if e.level == "warning"
                         and e.fields["CZARD_CAUSE"] == "listed-but-missing"], done)
        self.assertEqual([e for e in done.events("note") if "not there any more" in e.message], [], done)
        code, status = self.status()
        self.assertEqual((code, status["ok"]), (1, False), status)
        self.assertTrue([p for p in status["problems"] if self.event["key"] in p["text"]
                         and "upload it again" in p["fix"]], status)
        # and when it is whole again
        self.s3_is_well()
        again = self.world.once()
        self.assertEqual(again.code, 0, again)
        self.assertEqual(self.world.differences(), [], again)

    def test_an_archive_that_is_lost_while_it_is_read(self):
        self.s3.behave("lost", op="get", key=self.archive["key"], after=1, status=404, code="NoSuchKey")
        done = self.world.once()
        self.assertEqual(done.code, 1, done)
        self.assertEqual(self.state(self.archive), ("RETRY", "listed-but-missing"), done)

    def test_not_listed_any_more(self):
        self.s3.behave("gone", op="get", key=self.event["key"], count=1, remove=1)
        done = self.world.once()
        self.assertEqual(done.code, 0, done)
        self.assertEqual(self.state(self.event)[0], "GONE", done)

    def test_a_listing_that_cannot_be_made(self):
        """Nothing is known then: it is neither gone nor forgotten."""
        self.s3.behave("lost", op="get", key=self.event["key"], status=404, code="NoSuchKey")
        self.s3.behave("no-list", op="list", key=self.event["key"], status=403, code="AccessDenied")
        done = self.world.once()
        self.assertEqual(done.code, 1, done)
        self.assertEqual(self.state(self.event), ("RETRY", "gone"), done)

    def test_a_daemon_goes_on_trying(self):
        self.s3.behave("lost", op="get", key=self.event["key"], count=1, status=404, code="NoSuchKey")
        with Daemon(self.world) as d:
            d.until("retry", CZARD_CAUSE="listed-but-missing")
            d.wait("staged", lambda: d.states().get(self.event["key"]) == "PUBLISHED", timeout=60)


class Relay:
    """A proxy in front of S3 that changes requests: drop, headers that it does not pass on; host, what it says instead."""

    def __init__(self, port, drop=(), host=None):
        relay = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                headers = {k: v for k, v in self.headers.items() if k.lower() not in relay.drop}
                if relay.host:
                    headers["Host"] = relay.host
                s3 = http.client.HTTPConnection("localhost", port)
                s3.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in headers.items():
                    s3.putheader(name, value)
                s3.endheaders()
                answer = s3.getresponse()
                data = answer.read()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                self.wfile.write(data)
                s3.close()

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.drop, self.host = drop, host
        self.server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
        self.endpoint = f"http://localhost:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Relays(Case):
    def once(self, **how):
        with Relay(self.s3.port, **how) as relay:
            self.world.config["s3"]["endpoint"] = relay.endpoint
            try:
                return self.world.once()
            finally:
                self.world.config["s3"]["endpoint"] = self.s3.endpoint

    def test_one_that_changes_nothing(self):
        done = self.once()
        self.assertEqual((done.code, self.world.differences()), (0, []), done)

    def test_one_that_drops_if_match(self):
        done = self.once(drop=["if-match"])
        self.assertEqual((done.code, self.world.differences()), (0, []), done)

    def test_one_that_drops_range(self):
        done = self.once(drop=["range", "if-match"])
        self.assertEqual(done.code, 1, done)
        self.assertEqual(done.events("credentials-refused"), [], done)
        self.assertEqual({self.state(o)[0] for o in self.of("events")}, {"PUBLISHED"}, done)
        self.assertEqual(self.state(self.of("database")[0]), ("RETRY", "bad-answer"), done)
        said = [e for e in done.events("retry") if e.fields["CZARD_OBJECT"] == self.of("database")[0]["key"]]
        self.assertIn("proxy", said[0].message)

    def test_one_that_drops_the_port(self):
        done = self.once(host="localhost")
        self.assertEqual(done.code, 1, done)
        self.assertEqual(done.events("credentials-refused"), [], done)
        said = done.events("retry")
        self.assertEqual({e.fields["CZARD_CAUSE"] for e in said}, {"proxy"}, done)
        self.assertIn('Host "localhost"', said[0].message)
        self.assertNotIn("ask edX", said[0].message)

    def test_a_signature_that_fails_after_others_were_taken(self):
        self.s3.behave("refused", op="get", status=403, code="SignatureDoesNotMatch")
        done = self.world.once()
        self.assertEqual(done.code, 1, done)
        self.assertEqual(done.events("credentials-refused"), [], done)
        self.assertEqual({self.state(o) for o in self.of("events")}, {("RETRY", "proxy")}, done)

    def test_a_wrong_secret_is_told_as_that(self):
        file = self.world.folder / "wrong.csv"
        file.write_text("User Name,Access Key Id,Secret Access Key\nczar," + self.world.facts["access_key_id"] + ",wrong\n")
        file.chmod(0o400)
        self.world.config["s3"]["credentials"] = file
        done = self.world.once()
        self.assertEqual({e.fields["CZARD_CAUSE"] for e in done.events("credentials-refused")}, {"credentials"}, done)


class Proxy(Case):
    """Answers with a status that S3 has too, but without S3's word for it."""

    def test_a_status_without_a_code_says_nothing_of_the_object(self):
        o, archive = self.of("events")[0], self.of("database")[0]
        (self.s3.behaviours / "pages").mkdir(exist_ok=True)
        (self.s3.behaviours / "pages/error.html").write_text("<html><body><h1>Sorry</h1></body></html>\n")
        for status in (404, 412, 416):
            with self.subTest(status):
                self.world.fresh()
                self.s3.behave("proxy", op="get", status=status, body="pages/error.html", content_type="text/html", count=2)
                done = self.world.once()
                self.assertEqual((done.code, self.world.differences()), (0, []), done)
                said = [e for e in done.events("retry") if e.fields["CZARD_CAUSE"] == "bad-answer"]
                self.assertTrue(said and "proxy" in said[0].message, done)
                self.assertEqual((self.state(o)[0], self.state(archive)[0]), ("PUBLISHED", "PUBLISHED"))


class LockedAway(Case):
    """S3 has the object and may not, or cannot, give it: of that object only, and by its owner's doing."""
    ANSWERS = [
        ("archived", 403, "InvalidObjectState", "The operation is not valid for the object's storage class"),
        ("server-side-key", 400, "KMS.DisabledException", "arn:aws:kms:us-east-1:1:key/x is disabled."),
        ("server-side-key", 403, "AccessDenied", "User: arn:aws:iam::1:user/czar is not authorized to perform: kms:Decrypt"),
        ("server-side-key", 400, "InvalidRequest", "The object was stored using a form of Server Side Encryption. The correct "
         "parameters must be provided to retrieve the object."),
        ("access-denied", 403, "AccessDenied", "Access Denied"),
    ]

    def test_that_object_only_and_hourly(self):
        event, archive = self.of("events")[0], self.of("database")[0]
        for cause, status, code, message in self.ANSWERS:
            for o in (event, archive):
                with self.subTest(code=code, key=o["key"]):
                    self.world.fresh()
                    self.s3.forget_requests()
                    self.s3.behave("locked", op="get", key=o["key"], status=status, code=code, message=message)
                    done = self.world.once()
                    self.assertEqual((done.code, *self.state(o)), (1, "RETRY", cause), done)
                    self.assertEqual(self.fetched().count(o["key"]), 1, "not within seconds")
                    row = self.world.objects()[o["key"]]
                    self.assertAlmostEqual(row["next_try"], time.time() + 3600, delta=60)
                    others = {key: r["state"] for key, r in self.world.objects().items() if key != o["key"]}
                    self.assertLessEqual(set(others.values()), {"PUBLISHED", "IGNORED"}, done)
                    (said,) = done.events("retry")
                    self.assertEqual((said.level, said.fields["CZARD_OBJECT"]), ("warning", o["key"]))
                    self.assertIn("ask edX", said.message)


class Repaired(Case):
    """A server that gives wrong bytes under the right ETag, until it is mended: the ETag stays."""

    def setUp(self):
        super().setUp()
        self.event, self.archive = self.of("events")[0], self.of("database")[0]

    def touch(self, o, sec=60):
        when = o["last_modified"] + sec
        os.utime(self.buckets / o["bucket"] / o["key"], (when, when))

    def meddle(self, sql, *values):
        with sqlite3.connect(self.world.state / "ledger.db") as db:
            db.execute(sql, values)

    def test_a_file(self):
        o = self.event
        self.s3.behave("rot", op="get", key=o["key"], corrupt_at=100)
        first = self.world.once()
        self.assertEqual((first.code, *self.state(o)), (1, "REJECTED", "etag-mismatch"), first)
        self.assertIn("tried once more in 1d", [e.message for e in first.events("rejected")][0])
        self.s3_is_well()
        self.s3.forget_requests()
        self.assertEqual(self.world.once().code, 0)
        self.assertEqual((self.fetched(), self.state(o)[0]), ([], "REJECTED"))
        self.touch(o)
        done = self.world.once()
        self.assertEqual((done.code, self.state(o)[0], self.fetched()), (0, "PUBLISHED", [o["key"]]), done)
        self.assertEqual(self.world.differences(modified=None), [], done)

    def test_a_member(self):
        o = self.archive
        middle = o["size"] // 2
        self.s3.behave("rot", op="get", key=o["key"], corrupt_at=middle)
        self.world.once()
        refused = [name for name, m in self.world.members(o["key"]).items() if m["state"] == "REJECTED"]
        self.assertEqual((self.state(o)[0], len(refused)), ("PUBLISHED", 1), refused)
        self.s3_is_well()
        self.s3.forget_requests()
        self.assertEqual(self.world.once().code, 0)
        self.assertEqual(self.fetched(), [])
        self.touch(o)
        done = self.world.once()
        self.assertEqual((done.code, self.world.differences(modified=None)), (0, []), done)
        # only what was refused came again, and the directory
        self.assertLess(sum(r.sent for r in self.s3.requests() if r.op == "get"), o["size"])
        self.s3.forget_requests()
        self.world.once()
        self.assertEqual(self.fetched(), [])

    def test_one_more_try_after_days(self):
        o = self.event
        self.s3.behave("rot", op="get", key=o["key"], corrupt_at=100)
        self.world.once()
        for days in (1, 2, 4, 8, 16, 32):
            with self.subTest(days):
                row = self.world.objects()[o["key"]]
                self.assertAlmostEqual(row["next_try"], time.time() + days * 86400, delta=120)
                self.s3.forget_requests()
                self.assertEqual(self.world.once().code, 0)
                self.assertEqual(self.fetched(), [])
                self.meddle("UPDATE object SET next_try = ? WHERE key = ?", int(time.time()) - 1, o["key"])
                done = self.world.once()
                self.assertEqual((done.code, self.state(o)[0], len(set(self.fetched()))), (1, "REJECTED", 1), done)
                self.assertEqual(len(done.events("rejected")), 1, done)
        self.assertEqual(self.world.objects()[o["key"]]["next_try"], 0)

    def test_a_signal_leaves_it(self):
        o = self.event
        self.s3.behave("rot", op="get", key=o["key"], corrupt_at=100)
        self.world.once()
        with Daemon(self.world) as d:
            d.synced()
            self.s3.forget_requests()
            d.poll()
            d.turned()
            self.assertEqual((self.fetched(), self.state(o)[0]), ([], "REJECTED"))
            # and a daemon that runs takes it up by itself when the day has come
            self.s3_is_well()
            self.meddle("UPDATE object SET next_try = ? WHERE key = ?", int(time.time()) - 1, o["key"])
            d.poll()
            d.wait("staged", lambda: d.states().get(o["key"]) == "PUBLISHED")


class OddListing(Case):
    """A listing of which one entry, or all, is not as S3 writes it."""

    def listing(self, objects, encoded=False, **odd):
        """What S3 says of them; odd: what is said instead in the first entry."""
        entries = []
        for n, o in enumerate(objects):
            md5 = hashlib.md5((self.buckets / o["bucket"] / o["key"]).read_bytes()).hexdigest()
            fields = {"Key": o["key"], "ETag": f'"{md5}"', "Size": o["size"], "LastModified":
                      time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(o["last_modified"])), **(odd if n == 0 else {})}
            entries.append("".join(f"<{k}>{v}</{k}>" for k, v in fields.items()))
        pages = self.s3.behaviours / "pages"
        pages.mkdir(exist_ok=True)
        (pages / "list.xml").write_text("<ListBucketResult><IsTruncated>false</IsTruncated>"
                                        + ("<EncodingType>url</EncodingType>" if encoded else "")
                                        + "".join(f"<Contents>{e}</Contents>" for e in entries) + "</ListBucketResult>")
        self.s3.behave("list", op="list", key="*edx/events*", status=200, body="pages/list.xml", content_type="application/xml")

    def test_a_date_with_an_offset(self):
        o = self.of("events")[0]
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(o["last_modified"]))
        for offset in ("+00:00", "+0000"):
            with self.subTest(offset):
                self.world.fresh()
                self.listing(self.of("events"), LastModified=when + offset)
                done = self.world.once()
                self.assertEqual((done.code, self.world.differences()), (0, []), done)

    def test_one_entry_that_cannot_be_read(self):
        events = self.of("events")
        bad, good = events[0], events[1:]
        for field, value in (("ETag", ""), ("ETag", '""'), ("LastModified", "yesterday"), ("Size", ""), ("Size", "-1")):
            with self.subTest(field, value=value):
                self.world.fresh()
                self.listing(events, **{field: value})
                done = self.world.once()
                self.assertEqual(done.code, 1, done)
                self.assertEqual({self.state(o)[0] for o in good}, {"PUBLISHED"}, done)
                self.assertNotIn(bad["key"], self.world.objects())
                said = [e for e in done.events("note") if e.fields.get("CZARD_OBJECT") == bad["key"]]
                self.assertEqual([e.level for e in said], ["warning"], done)
                self.told(1, bad["key"], bad["date"])
                # the next listing is as it should be, and the one after it odd again: it is not gone
                (self.s3.behaviours / "list").unlink()
                self.assertEqual(self.world.once().code, 0)
                self.told(0)
                self.listing(events, **{field: value})
                done = self.world.once()
                self.assertEqual((done.code, self.state(bad)[0]), (1, "PUBLISHED"), done)
                (self.s3.behaviours / "list").unlink()

    def told(self, n, key="", date=""):
        """By every command that says how things are, after the run that saw it."""
        ctl = lambda *args: czarctl(self.world, *args)
        status = ctl("status", "--json").json
        told = [p for p in status["problems"] if p["what"] == "unreadable"]
        self.assertEqual(sum(p["count"] for p in told), n, status)
        self.assertIn(key, "".join(p["text"] for p in told))
        metrics = [l for l in ctl("metrics").out.splitlines() if l.startswith("czard_unreadable_entries{")]
        self.assertEqual(sum(int(l.split()[-1]) for l in metrics), n, metrics)
        checks = ctl("check", "--json").json["checks"]
        self.assertEqual([c["ok"] for c in checks if c["name"] == "listings"], [False] * (n > 0), checks)
        gaps = ctl("gaps", "--fail", "--json")
        rows = [g for g in gaps.json["gaps"] if "cannot be read" in (g["hint"] or "")]
        self.assertEqual([(g["from"], g["to"], g["missing"]) for g in rows], [(date, date, n)] if n else [], gaps)
        if n:
            self.assertNotIn("All is well", ctl("status").out)
            self.assertEqual((gaps.code, status["ok"]), (1, False), gaps)

    def test_one_entry_without_a_key(self):
        events = self.of("events")
        date = today().isoformat()
        for key in ("", "universityx/edx/events/2024/x%2"):
            with self.subTest(key):
                self.world.fresh()
                self.listing(events, Key=key, encoded=True)
                done = self.world.once()
                self.assertEqual(done.code, 1, done)
                self.assertEqual({self.state(o)[0] for o in events[1:]}, {"PUBLISHED"}, done)
                self.told(1, "universityx/edx/events/", date)
                (self.s3.behaviours / "list").unlink()
                self.assertEqual(self.world.once().code, 0)
                self.told(0)

    def test_what_is_staged_is_not_gone_for_want_of_a_key(self):
        """Whose key it was nobody knows: so of that listing nothing is gone. One whole listing says what is."""
        events = self.of("events")
        bad = events[0]
        self.assertEqual(self.world.once().code, 0)
        for key in ("", bad["key"] + "%2"):
            with self.subTest(key):
                self.listing(events, Key=key, encoded=True)
                done = self.world.once()
                self.assertEqual((done.code, [self.state(o)[0] for o in events]), (1, ["PUBLISHED"] * len(events)), done)
        self.listing(events[1:])
        done = self.world.once()
        self.assertEqual((done.code, [self.state(o)[0] for o in events]), (0, ["GONE"] + ["PUBLISHED"] * (len(events) - 1)), done)

    def test_what_is_not_wanted_any_more_is_not_gone(self):
        """Staged before `since` was set: its entry cannot be read, but it is there."""
        events = sorted(self.of("events"), key=lambda o: o["date"])
        self.assertEqual(self.world.once().code, 0)
        self.world.config["package " + self.world.org]["since"] = events[-1]["date"]
        self.addCleanup(self.world.config["package " + self.world.org].pop, "since")
        self.listing(events, ETag="")
        done = self.world.once()
        self.assertEqual((done.code, [self.state(o)[0] for o in events]), (0, ["PUBLISHED"] * len(events)), done)

    def test_a_daemon_tells_it_until_a_listing_is_whole(self):
        """Its cheap polls too."""
        events = self.of("events")
        bad = events[-1]
        self.assertEqual(self.world.once().code, 0)
        with Daemon(self.world) as d:
            d.synced()
            self.listing(list(reversed(events)), ETag="")
            d.poll()
            self.told(1, bad["key"], bad["date"])
            answer = czarctl(self.world, "resync", "--wait")
            self.assertEqual((answer.code, "1 listed entry that cannot be read" in answer.out + answer.err), (1, True), answer)
            (self.s3.behaviours / "list").unlink()
            d.poll()
            self.told(0)

    def test_a_size_that_is_wrong(self):
        """The ETag is the listed one: the listing is the suspect, and a later one is believed."""
        o = self.of("events")[0]
        self.listing(self.of("events"), Size=o["size"] + 1)
        done = self.world.once()
        self.assertEqual((done.code, self.state(o)), (1, ("RETRY", "bad-answer")), done)
        (self.s3.behaviours / "list").unlink()
        done = self.world.once()
        self.assertEqual((done.code, self.world.differences()), (0, []), done)

    def test_an_encoding_that_is_none(self):
        self.s3.behave("none", header="Content-Encoding: identity")
        done = self.world.once()
        self.assertEqual((done.code, self.world.differences()), (0, []), done)

    def test_one_that_comes_packed(self):
        self.s3.behave("packed", op="list", key="*events*", header="Content-Encoding: gzip")
        done = self.world.once()
        self.assertEqual(done.code, 1, done)
        said = [e for e in done.events("retry") if e.fields["CZARD_CAUSE"] == "bad-answer"]
        self.assertIn("proxy that packs", said[0].message)
        self.assertEqual(self.state(self.of("database")[0])[0], "PUBLISHED", done)

    def test_a_total_that_is_wrong(self):
        """The ETag is right, so the archive is: only what was said of its size is not."""
        o = self.of("database")[0]
        self.s3.behave("total", op="get", key=o["key"], range="yes", range_total=o["size"] + 1, count=3)
        done = self.world.once()
        self.assertEqual((done.code, self.world.differences()), (0, []), done)
        self.assertIn("bad-answer", [e.fields["CZARD_CAUSE"] for e in done.events("retry")], done)


class Checksums(Case):
    """CRC-64/NVME is what today's AWS tools upload by default; here it is told by a header that the test computes."""

    @staticmethod
    def crc64nvme(data):
        crc = ~0 & (1 << 64) - 1
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0x9A6C9329AC4BC9B5 if crc & 1 else 0)
        return base64.b64encode((~crc & (1 << 64) - 1).to_bytes(8, "big")).decode()

    def test_crc64nvme(self):
        self.assertEqual(self.crc64nvme(b"123456789"), "rosUhgp5mIg=")  # the check value of the catalogue
        o = self.of("events")[0]
        right = self.crc64nvme((self.buckets / o["bucket"] / o["key"]).read_bytes())
        for value, state, cause in ((right, "PUBLISHED", "none"), (self.crc64nvme(b"other"), "REJECTED", "checksum-mismatch")):
            with self.subTest(state):
                self.world.fresh()
                self.s3.behave("crc", op="get", key=o["key"], header=f"x-amz-checksum-crc64nvme: {value}")
                done = self.world.once()
                self.assertEqual(self.state(o), (state, cause), done)
                if state == "PUBLISHED":
                    (said,) = [e for e in done.events("published") if e.fields["CZARD_OBJECT"] == o["key"]]
                    self.assertIn("(checked: size etag checksum ", said.message)


class LedgerError(Case):
    def test_a_row_that_cannot_be_written_is_not_gone(self):
        first = self.world.once()
        self.assertEqual(first.code, 0, first)
        before = {key: o["state"] for key, o in self.world.objects().items()}
        with sqlite3.connect(self.world.state / "ledger.db") as db:
            a, b = (db.execute("SELECT id FROM object WHERE key = ?", [o["key"]]).fetchone()[0] for o in self.of("events")[:2])
            db.execute("DELETE FROM seen WHERE object_id = ?", [b])
            db.execute(f"CREATE UNIQUE INDEX only_one ON seen (generation * 0) WHERE object_id IN ({a}, {b})")
        done = self.world.once()
        self.assertEqual(done.code, 1, done)
        self.assertEqual({key: o["state"] for key, o in self.world.objects().items()}, before, done)
        self.assertEqual([e.fields.get("CZARD_CAUSE") for e in done.events("paused")], ["internal"], done)
        with sqlite3.connect(self.world.state / "ledger.db") as db:
            db.execute("DROP INDEX only_one")
        again = self.world.once()
        self.assertEqual((again.code, self.world.differences()), (0, []), again)


if __name__ == "__main__":
    main()
