#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The stand-in for S3 misbehaves exactly as the files in its behaviour folder tell it to, and no more.

    CZARD_BUILD=build/release tests/e2e/s3d_behaviour_test.py [-v]
"""
import base64
import hashlib
import http.client
import time
import unittest
import xml.etree.ElementTree

import sigv4
from s3d_server import Case, b64, generated


class BehaviourTest(Case):
    DATA = generated(3, 0, 300_000)

    def setUp(self):
        super().setUp()
        self.server.add("course-data", "o", self.DATA)
        self.server.add("course-data", "p", b"other")
        self.etag = hashlib.md5(self.DATA).hexdigest()

    def get(self, **headers):
        return self.owner.get("course-data", "o", headers={n.replace("_", "-"): v for n, v in headers.items()})

    def read_until_end(self, **headers):
        """(announced length, the bytes that came, how it ended)"""
        c, r = self.owner.start("GET", "course-data", "o", headers=headers)
        self.addCleanup(c.close)
        self.assertEqual(r.status, 206 if "Range" in headers else 200)
        length, data = r.length, b""
        try:
            while more := r.read1(65536):
                data += more
        except ConnectionResetError:
            return length, data, "reset"
        except http.client.IncompleteRead as e:
            return length, data + e.partial, "incomplete"
        return length, data, "end"

    def test_errors(self):
        self.server.behave("status=503\ncode=SlowDown\nretry_after=2\ncount=2\nafter=1\nkey=o\nop=get\n")
        answers = [(self.get().status, self.owner.get("course-data", "p").status) for _ in range(4)]
        self.assertEqual(answers, [(200, 200), (503, 200), (503, 200), (200, 200)])
        self.server.behave("status=503\ncode=SlowDown\nretry_after=2\n")
        r = self.get()
        self.assert_error(r, 503, "SlowDown")
        self.assertEqual(r.headers["retry-after"], "2")
        h = self.owner.head("course-data", "o")
        self.assertEqual((h.status, h.body, h.headers["retry-after"]), (503, b"", "2"))

    def test_counts_begin_anew_when_the_file_is_written(self):
        for _ in range(5):
            self.server.behave("status=500\ncount=1\n")
            self.assertEqual([self.get().status for _ in range(2)], [500, 200])

    def test_every_change_is_seen(self):
        for i in range(40):
            self.server.behave(f"status={500 + i % 4}\n")
            self.assertEqual(self.get().status, 500 + i % 4)
        (self.server.behaviours / "behaviour").unlink()
        self.assertEqual(self.get().status, 200)

    def test_dropped(self):
        self.server.behave("drop=1\ncount=3\n")
        for method in ("GET", "HEAD"):
            with self.assertRaises((ConnectionResetError, http.client.RemoteDisconnected)):
                self.owner.request(method, "course-data", "o")
        with self.assertRaises((ConnectionResetError, http.client.RemoteDisconnected)):
            self.owner.list_page("course-data")
        self.assertEqual(self.get().status, 200)
        self.assertEqual([r[3:7] for r in self.server.requests()][:3],
                         [["get", "-", "0", "0"], ["head", "-", "0", "0"], ["list", "-", "0", "0"]])

    def test_which_requests(self):
        for line, listed, got, ranged, headed in (
                ("op=list", 500, 200, 206, 200), ("op=get", 200, 500, 500, 200), ("op=head", 200, 200, 206, 500),
                ("method=GET", 500, 500, 500, 200), ("key=o", 200, 500, 500, 500), ("key=uni*", 500, 200, 206, 200),
                ("bucket=other", 200, 200, 206, 200), ("range=yes", 200, 200, 500, 200), ("range=no", 500, 500, 206, 500),
                ("access_key=OWNER", 500, 500, 500, 500), ("access_key=CZAR", 200, 200, 206, 200)):
            self.server.behave(f"status=500\n{line}\n")
            seen = (self.owner.get("course-data", query={"list-type": "2", "prefix": "university"}).status,
                    self.get().status, self.get(Range="bytes=0-1").status, self.owner.head("course-data", "o").status)
            self.assertEqual(seen, (listed, got, ranged, headed), line)

    def test_order_of_files(self):
        self.server.behave("status=501\nkey=o\ncount=1\n", "10")
        self.server.behave("status=502\n", "20")
        self.server.behave("status=503\n", ".hidden")
        self.assertEqual([self.owner.get("course-data", k).status for k in "poo"], [502, 501, 502])

    def test_what_is_not_understood(self):
        for text in ("statsu=503", "status=x", "status", "reset_at=101%", "framing=odd", "key=a\nkey=b", "drip=-1"):
            self.server.behave("# a comment\n" + text + "\n")
            self.assert_error(self.get(), 500, "BehaviourFile")

    def test_signature_comes_first(self):
        self.server.behave("status=503\n")
        self.assert_error(self.server.client(secret="x").get("course-data", "o"), 403, "SignatureDoesNotMatch")
        self.assert_error(self.czar.get("edx-course-data", "otheru/x"), 403, "AccessDenied")

    def test_reset(self):
        n = len(self.DATA)
        for at, expected in (("0", 0), ("1", 1), ("100000", 100000), ("50%", n // 2), ("last", n - 1)):
            self.server.behave(f"reset_at={at}\n")
            self.assertEqual(self.read_until_end(), (n, self.DATA[:expected], "reset"), at)
        self.assertEqual([r[6] for r in self.server.requests()], ["0", "1", "100000", "150000", "299999"])
        self.server.behave("reset_at=10\nrange=yes\n")
        self.assertEqual(self.read_until_end(Range="bytes=5-99"), (95, self.DATA[5:15], "reset"))

    def test_truncated(self):
        n = len(self.DATA)
        for framing, length, end in (("length", n, "incomplete"), ("short", 1000, "end"), ("chunked", None, "end"),
                                     ("close", None, "end")):
            self.server.behave(f"truncate_at=1000\nframing={framing}\n")
            got = self.read_until_end()
            self.assertEqual(got[:2], (length, self.DATA[:1000]), framing)
            self.assertIn(got[2], (end, "end"), framing)  # read1() does not tell a short body from a whole one
        self.server.behave("truncate_at=1000\n")
        with self.assertRaises(http.client.IncompleteRead):
            self.get()

    def test_framing_alone(self):
        for framing, header, value in (("chunked", "transfer-encoding", "chunked"), ("close", "connection", "close")):
            self.server.behave(f"framing={framing}\n")
            r = self.get()
            self.assertEqual((r.body, r.headers.get(header)), (self.DATA, value))
            self.assertNotIn("content-length", r.headers)
        self.server.behave("framing=chunked\nreset_at=5000\n")
        _, data, end = self.read_until_end()
        self.assertEqual((data, end), (self.DATA[:5000], "reset"))

    def test_too_long(self):
        self.server.behave("extra=7\n")
        r = self.get()
        self.assertEqual((r.body, r.headers["content-length"]), (self.DATA + b"\0" * 7, str(len(self.DATA) + 7)))

    def test_stall(self):
        self.server.behave("stall_at=1000\nseconds=4\n")
        start = time.monotonic()
        c, r = self.owner.start("GET", "course-data", "o")
        self.assertEqual(r.read(1000), self.DATA[:1000])
        early = time.monotonic() - start
        self.assertEqual(r.read(), self.DATA[1000:])
        c.close()
        self.assertLess(early, 3)
        self.assertGreaterEqual(time.monotonic() - start, 4)

    def test_a_stall_ends_with_the_client_or_the_server(self):
        self.server.behave("stall_at=0\n")
        c, r = self.owner.start("GET", "course-data", "o")
        c.sock.close()
        r.close()
        end = time.monotonic() + 90
        while not self.server.requests() and time.monotonic() < end:
            time.sleep(0.01)
        self.assertEqual(len(self.server.requests()), 1)
        c, r = self.owner.start("GET", "course-data", "o")
        status, seconds = self.server.stop()
        self.assertEqual(status, 0)
        self.assertLess(seconds, 30)
        c.close()

    def test_drip(self):
        self.server.behave("drip=1000\n")
        start = time.monotonic()
        self.assertEqual(self.get(Range="bytes=0-499").body, self.DATA[:500])
        self.assertGreaterEqual(time.monotonic() - start, 0.4)

    def test_drip_until_the_file_goes(self):
        self.server.behave("drip=20\n")
        c, r = self.owner.start("GET", "course-data", "o")
        self.assertEqual(r.read(10), self.DATA[:10])
        (self.server.behaviours / "behaviour").unlink()
        self.assertEqual(r.read(), self.DATA[10:])
        c.close()

    def test_delay(self):
        self.server.behave("delay=300\n")
        start = time.monotonic()
        self.get()
        self.assertGreaterEqual(time.monotonic() - start, 0.3)

    def test_corrupt(self):
        self.server.behave("corrupt_at=1000\n")
        expected = bytearray(self.DATA)
        expected[1000] ^= 255
        self.assertEqual(self.get().body, expected)
        self.assertEqual(self.get(Range="bytes=999-1001").body, expected[999:1002])

    def test_ranges_gone_wrong(self):
        self.server.behave("full_for_range=1\n")
        r = self.get(Range="bytes=5-9")
        self.assertEqual((r.status, r.body), (200, self.DATA))
        self.assertNotIn("content-range", r.headers)
        for by in (3, -2):
            self.server.behave(f"shift_range={by}\n")
            r = self.get(Range="bytes=5-9")
            self.assertEqual((r.status, r.headers["content-range"], r.body),
                             (206, f"bytes {5 + by}-{9 + by}/{len(self.DATA)}", self.DATA[5 + by:10 + by]))

    def test_headers(self):
        self.server.behave("etag=other\nheader=X-New: 1: 2\nheader=last-modified:\nheader=Content-Type: text/x\n")
        r = self.get()
        self.assertEqual((r.headers["etag"], r.headers["x-new"], r.headers["content-type"]), ('"other"', "1: 2", "text/x"))
        self.assertNotIn("last-modified", r.headers)
        self.server.behave("header=Content-Length: 5\n")
        self.assertEqual(self.owner.head("course-data", "o").headers["content-length"], "5")
        self.assertEqual(self.get().body, self.DATA[:5])
        self.server.behave("header=Content-Length: 300001\n")
        self.assertEqual(self.read_until_end()[:2], (300001, self.DATA))

    def test_checksum(self):
        right = hashlib.sha256(self.DATA).digest()
        self.server.add("course-data", "o", checksum_sha256="auto")
        mode = {"x_amz_checksum_mode": "ENABLED"}
        self.assertEqual(self.get(**mode).headers["x-amz-checksum-sha256"], b64(right))
        self.server.behave("checksum=wrong\n")
        wrong = base64.b64decode(self.get(**mode).headers["x-amz-checksum-sha256"])
        self.assertEqual(len(wrong), 32)
        self.assertNotEqual(wrong, right)

    def test_replaced(self):
        new = self.server.folder / "new"
        new.write_bytes(b"NEW" * 1000)
        self.server.behave(f"replace_with={new}\nop=get\ncount=1\n")
        self.assert_error(self.get(if_match=f'"{self.etag}"'), 412, "PreconditionFailed")
        self.assertEqual(self.get().body, b"NEW" * 1000)

    def test_replaced_in_mid_body(self):
        new = self.server.folder / "new"
        data = b"N" * len(self.DATA)
        new.write_bytes(data)
        (self.server.folder / "new.meta").write_text("last_modified=5\n")
        self.server.behave(f"replace_with={new}\nreplace_after=1000\nreset_at=2000\ncount=1\n")
        self.assertEqual(self.read_until_end()[1:], (self.DATA[:2000], "reset"))
        self.assert_error(self.get(Range="bytes=2000-", if_match=f'"{self.etag}"'), 412, "PreconditionFailed")
        r = self.get()
        self.assertEqual((r.body, r.headers["last-modified"]), (data, "Thu, 01 Jan 1970 00:00:05 GMT"))
        self.server.add("course-data", "o", self.DATA)
        self.server.behave(f"replace_with={new}\nreplace_after=1000\nreplace_mix=1\n")
        r = self.get()
        self.assertEqual((r.headers["etag"], r.body), (f'"{self.etag}"', self.DATA[:1000] + data[1000:]))

    def test_removed_between_list_and_get(self):
        self.server.behave("remove=1\nop=get\n")
        self.assertEqual(self.owner.list_all("course-data"), ["o", "p"])
        self.assert_error(self.get(), 404, "NoSuchKey")
        self.assertEqual(self.owner.list_all("course-data"), ["p"])

    def test_ignored_if_match(self):
        self.server.behave("ignore_if_match=1\n")
        self.assertEqual(self.get(if_match='"x"').status, 200)

    def test_body(self):
        bodies = self.server.behaviours / "bodies"
        bodies.mkdir()
        for name in ("head", "body", "tail"):
            (bodies / name).write_text(f"<{name}/>")
        self.server.behave("op=list\nbody=bodies/body\nbody_head=bodies/head\nbody_tail=bodies/tail\nbody_repeat=3\n"
                           "status=207\ncontent_type=text/x\n")
        r = self.owner.get("course-data", query={"list-type": "2"})
        self.assertEqual((r.status, r.body, r.headers["content-type"]),
                         (207, b"<head/><body/><body/><body/><tail/>", "text/x"))

    def test_endless_body(self):
        (self.server.folder / "body").write_text("0123456789")
        self.server.behave(f"op=list\nbody={self.server.folder}/body\nbody_repeat=forever\n")
        c, r = self.owner.start("GET", "course-data", query={"list-type": "2"})
        self.assertEqual(r.read(20_000_005), b"0123456789" * 2_000_000 + b"01234")
        c.close()

    def test_region(self):
        self.server.behave("redirect_region=eu-west-1\n")
        r = self.get()
        self.assert_error(r, 301, "PermanentRedirect")
        self.assertEqual(r.headers["x-amz-bucket-region"], "eu-west-1")
        h = self.owner.head("course-data", "o")
        self.assertEqual((h.status, h.headers["x-amz-bucket-region"]), (301, "eu-west-1"))
        self.assertEqual(self.server.client(region="eu-west-1").get("course-data", "o").status, 200)
        self.assert_error(self.server.client(region="eu-west-1", secret="x").get("course-data", "o"), 403,
                          "SignatureDoesNotMatch")
        self.server.behave("redirect_region=eu-west-1\nredirect_status=307\nlocation=http://evil.test/\n")
        r = self.get()
        self.assertEqual((r.status, r.headers["location"]), (307, "http://evil.test/"))
        self.server.behave("redirect_region=eu-west-1\nredirect_status=400\n")
        r = self.get()
        self.assert_error(r, 400, "AuthorizationHeaderMalformed")
        self.assertEqual(xml.etree.ElementTree.fromstring(r.body).findtext("Region"), "eu-west-1")
        self.assertNotIn("x-amz-bucket-region", r.headers)

    def test_clock(self):
        for skew in (3600, -3600):
            self.server.behave(f"date_skew={skew}\n")
            r = self.get()
            self.assert_error(r, 403, "RequestTimeTooSkewed")
            told = time.mktime(time.strptime(r.headers["date"], "%a, %d %b %Y %H:%M:%S GMT")) - time.timezone
            self.assertAlmostEqual(told, time.time() + skew, delta=5)
            self.assertEqual(self.owner.get("course-data", "o", now=time.time() + skew).status, 200)


if __name__ == "__main__":
    unittest.main()
