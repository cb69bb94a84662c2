#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""czard-fetch by itself, over its channel, against Ceph: an S3 server that nobody here wrote.

    CZARD_BUILD=build/release tests/e2e/fetch_rgw_test.py [-v]
"""

import array
import hashlib
import json
import os
import re
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

from czardtest import rgw, s3client, tls
from czardtest.run import REPOSITORY, program

KEYS = ("AKIACZARTEST", "czar/secret+key")
OWNER = ("AKIAOWNERTEST", "owner/secret+key")
HOST = "s3.localhost"  # a wildcard right below "localhost" is, rightly, not accepted
MIB = 1 << 20
ODD = ["a b", "a+b", "100%", "a=b&c", "~t'(*)!$,;:@", "q?x#y", "ünïcödé-λ", "a%20b", "new\nline", "\x01\x1f",
       "folder/", "a//b", "<x>&amp;\""]

# lib/wire/proto.c and enum check, enum cause
VERSION = 2  # PROTO_VERSION
LIST, GET, LISTED, DONE, PROGRESS = 2, 3, 5, 6, 15
CHECKS = {"tls": 1, "size": 2, "etag": 4, "checksum": 8, "one-etag": 16, "no-etag": 1 << 16, "no-checksum": 1 << 17}
CAUSES = re.findall(r'X\([A-Z_]+,\s*"([^"]*)"', (REPOSITORY / "lib/base/error.h").read_text())


def text(s):
    s = s.encode()
    return struct.pack("<I", len(s)) + s + b"\0"


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, form):
        (v,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return v

    def text(self):
        n = self.number("I")
        s = self.data[self.at:self.at + n]
        self.at += n + 1
        return s.decode()


class Fetch:
    """with Fetch(configuration) as f: f.list(...), f.get(...)"""

    def __init__(self, configuration):
        self.configuration, self.id = configuration, 0

    def __enter__(self):
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(60)
        self.child = subprocess.Popen(
            [program("czard-fetch"), "--config", self.configuration, "--channel", str(theirs.fileno())],
            pass_fds=[theirs.fileno()])
        theirs.close()
        self.sock.recv(1 << 18)  # HELLO
        return self

    def __exit__(self, *_):
        self.sock.close()
        assert self.child.wait(20) == 0

    def _done(self, r):
        done = {"cause": CAUSES[r.number("I")], "detail": r.text(), "status": r.number("I"), "requests": r.number("I"),
                "bytes": r.number("Q"), "retry_after": r.number("Q"), "skew": r.number("q")}
        bits = r.number("I")
        return done | {"checks": {n for n, b in CHECKS.items() if bits & b}}

    def _answer(self):
        kind = PROGRESS
        while kind == PROGRESS:  # it says that it lives
            r = Reader(self.sock.recv(1 << 18))
            r.number("H")
            kind = r.number("H")
        assert r.number("I") == self.id
        return kind, r

    def list(self, bucket, prefix, start_after=""):
        self.id += 1
        self.sock.send(struct.pack("<HHI", VERSION, LIST, self.id) + text(bucket) + text(prefix) + text(start_after))
        objects = {}
        while True:
            kind, r = self._answer()
            if kind == DONE:
                return objects, self._done(r)
            for _ in range(r.number("I")):
                key, etag = r.text(), r.text()
                objects[key] = (etag, r.number("Q"), r.number("q"))

    def get(self, bucket, key, etag, size, offset=0, length=None, meanwhile=None):
        self.id += 1
        whole = length is None
        out, theirs = os.pipe()
        body = struct.pack("<QQQB", offset, size if whole else length, size, whole)
        self.sock.sendmsg([struct.pack("<HHI", VERSION, GET, self.id) + text(bucket) + text(key) + text(etag) + body],
                          [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs]))])
        os.close(theirs)
        if meanwhile:
            meanwhile()
        with os.fdopen(out, "rb") as f:
            got = f.read()
        return got, self._done(self._answer()[1])


@unittest.skipIf(rgw.missing_programs(), "ceph is not installed")
class FetchTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="czf.", dir="/tmp")))
        cls.authority = tls.Authority(cls.folder / "tls")
        certificate = cls.authority.server(hosts=(HOST, "*." + HOST))[2]
        cls.rgw = cls.enterClassContext(rgw.RadosGateway(certificate, host=HOST))
        cls.rgw.add_user("owner", *OWNER)
        cls.rgw.add_user("czar", *KEYS)
        cls.owner = s3client.S3Client(cls.rgw.endpoint, *OWNER)
        policies = s3client.czar_policies("universityx", "arn:aws:iam:::user/czar")
        for bucket, policy in policies.items():
            cls.owner.make_bucket(bucket)
            cls.owner.put_policy(bucket, json.dumps(policy))
        cls.big = os.urandom(MIB) * 20
        path = cls.folder / "big"
        path.write_bytes(cls.big)
        cls.owner.upload("edx-course-data", "universityx/edx/events/2024/parts", path)
        for n, key in enumerate(ODD):
            cls.owner.must("PUT", "edx-course-data", "universityx/rdx/" + key, body=b"%d" % n)
        cls.owner.must("PUT", "edx-course-data", "otherx/secret", body=b"x")

    def configuration(self, secure=False, more="", keys=KEYS):
        n = len(list(self.folder.glob("*.ini")))
        csv = self.folder / f"{n}.csv"
        csv.write_text(f"User Name,Access Key Id,Secret Access Key\r\nczar,{keys[0]},{keys[1]}\r\n")
        csv.chmod(0o400)
        ini = self.folder / f"{n}.ini"
        ini.write_text(f"""[s3]
endpoint = {f"https://{HOST}:{self.rgw.tls_port}" if secure else self.rgw.endpoint}
credentials = {csv}
{"ca_file = %s" % self.authority.ca if secure else ""}
{more}
[staging]
path = {self.folder}/staging
[package universityx]
events = s3://edx-course-data/universityx/
rdx = s3://edx-course-data/universityx/
database = s3://course-data/
email_opt_in = s3://course-data/email-opt-in/
""")
        return ini

    def fetch(self, **kwargs):
        return self.enterContext(Fetch(self.configuration(**kwargs)))

    def test_odd_keys(self):
        f = self.fetch()
        objects, done = f.list("edx-course-data", "universityx/rdx/")
        self.assertEqual(done["cause"], "none", done)
        self.assertEqual(set(objects), {"universityx/rdx/" + k for k in ODD})
        for n, key in enumerate(ODD):
            etag, size, modified = objects["universityx/rdx/" + key]
            self.assertEqual(etag, '"%s"' % hashlib.md5(b"%d" % n).hexdigest())
            self.assertLess(abs(modified - time.time()), 600)
            got, done = f.get("edx-course-data", "universityx/rdx/" + key, etag, size)
            self.assertEqual((got, done["cause"]), (b"%d" % n, "none"), (key, done))
            self.assertEqual(done["checks"], {"size", "one-etag", "etag", "no-checksum"})

    def test_tls_virtual_hosts_and_parts(self):
        f = self.fetch(secure=True, more="addressing = virtual")
        objects, done = f.list("edx-course-data", "universityx/edx/events/", "universityx/edx/events/2024/")
        self.assertEqual(done["cause"], "none", done)
        (key, (etag, size, _)), = objects.items()
        self.assertEqual(size, len(self.big))
        self.assertTrue(etag.endswith('-3"'))
        got, done = f.get("edx-course-data", key, etag, size)
        self.assertEqual(done["cause"], "none", done)
        self.assertTrue(got == self.big)
        self.assertEqual(done["checks"], {"tls", "size", "one-etag", "etag", "no-checksum"})  # 8 MiB parts: inferred
        got, done = f.get("edx-course-data", key, etag, size, 12345678, 1000)
        self.assertEqual((got, done["requests"]), (self.big[12345678:12346678], 1))

    def test_a_server_that_stalls(self):
        f = self.fetch(more="stall_timeout = 3s")
        objects, _ = f.list("edx-course-data", "universityx/edx/events/")
        (key, (etag, size, _)), = objects.items()

        def stall():
            self.rgw.stall()
            threading.Timer(7, self.rgw.go_on).start()

        got, done = f.get("edx-course-data", key, etag, size, meanwhile=stall)
        # it may have had everything in its buffers, or nothing: then once more is all that is tried
        self.assertIn(done["cause"], ("none", "timeout"), done)
        if done["cause"] == "none":
            self.assertTrue(got == self.big)
        self.rgw.go_on()
        got, done = f.get("edx-course-data", key, etag, size)
        self.assertTrue(got == self.big, done)

    def test_refusals(self):
        f = self.fetch()
        self.assertEqual(f.list("edx-course-data", "otherx/")[1]["cause"], "access-denied")
        objects, _ = f.list("edx-course-data", "universityx/edx/events/")
        (key, (etag, size, _)), = objects.items()
        self.assertEqual(f.get("edx-course-data", key, '"%032x"' % 0, size)[1]["cause"], "replaced")
        self.assertEqual(f.get("course-data", "universityx-2024-07-07.zip", etag, 5)[1]["cause"], "gone")
        for keys in ((KEYS[0], "wrong"), ("AKIAUNKNOWN", KEYS[1])):
            wrong = self.fetch(keys=keys)
            self.assertEqual(wrong.list("edx-course-data", "universityx/rdx/")[1]["cause"], "credentials")


if __name__ == "__main__":
    unittest.main()
