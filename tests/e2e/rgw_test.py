#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Ceph fixture is what the other tests take it for: a strict S3 server with the czar's policy."""

import hashlib
import tempfile
import time
import unittest
from pathlib import Path

import sigv4
from czardtest import main, package, rgw, s3client, tls

KEYS = ["universityx/edx/events/2024/a + b%20=&~.txt", "universityx/edx/events/2024/übersicht.txt", "universityx/x"]


@unittest.skipIf(rgw.missing_programs(), "ceph is not installed")
class RadosGatewayTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="czt.", dir="/tmp")))
        authority = tls.Authority(cls.folder / "tls")
        cls.facts = package.make(cls.folder / "package", days=2, weeks=1, courses=1)
        cls.rgw = cls.enterClassContext(rgw.RadosGateway(authority.server()[2]))
        cls.owner = cls.rgw.serve(cls.folder / "package", cls.facts)
        cls.maxDiff = 2000
        cls.keys = cls.facts["access_key_id"], cls.facts["secret_access_key"]
        cls.czar = s3client.S3Client(cls.rgw.tls_endpoint, *cls.keys, ca_file=authority.ca)
        for n, key in enumerate(KEYS):
            cls.owner.must("PUT", "edx-course-data", key, body=b"content %d" % n * 10)

    def test_everything_is_there(self):
        for o in self.facts["objects"]:
            got = self.czar.get(o["bucket"], o["key"])
            path = self.folder / "package/buckets" / o["bucket"] / o["key"]
            self.assertEqual((got.status, got.body), (200, path.read_bytes()), o["key"])

    def test_awkward_keys(self):
        keys = self.czar.list_all("edx-course-data", prefix="universityx/", encoding_type="url")
        for n, key in enumerate(KEYS):
            self.assertIn(key, keys)
            self.assertEqual(self.czar.get("edx-course-data", key).body, b"content %d" % n * 10)

    def test_pages(self):
        everything = self.czar.list_all("course-data")
        self.assertEqual(self.czar.list_all("course-data", max_keys="2"), everything)
        page = self.czar.list_page("course-data", max_keys="2")["keys"]
        rest = self.czar.list_all("course-data", start_after=page[-1])
        self.assertEqual(page + rest, everything)
        self.assertEqual(everything, sorted(everything))

    def test_ranges_and_if_match(self):
        got = self.czar.get("edx-course-data", KEYS[2], headers={"Range": "bytes=5-9"})
        self.assertEqual((got.status, got.body), (206, (b"content 2" * 10)[5:10]))
        etag = '"' + hashlib.md5(b"content 2" * 10).hexdigest() + '"'
        self.assertEqual(got.headers["etag"], etag)
        for match, status in ((etag, 200), ('"' + "0" * 32 + '"', 412)):
            self.assertEqual(self.czar.get("edx-course-data", KEYS[2], headers={"If-Match": match}).status, status)

    def test_multipart_etag(self):
        path = self.folder / "large"
        path.write_bytes(b"z" * (9 << 20))
        self.owner.upload("edx-course-data", "universityx/large", path, 5 << 20)
        parts = [hashlib.md5(b"z" * n).digest() for n in (5 << 20, 4 << 20)]
        got = self.czar.head("edx-course-data", "universityx/large")
        self.assertEqual(got.headers["etag"], '"' + hashlib.md5(b"".join(parts)).hexdigest() + '-2"')

    def test_policy(self):
        allowed = [("edx-course-data", "universityx"), ("edx-course-data", "universityx/edx/"), ("course-data", "")]
        denied = [("edx-course-data", ""), ("edx-course-data", "otherx/"), ("edx-course-data", "universityx-pro/")]
        for bucket, prefix in allowed + denied:
            status = self.czar.get(bucket, query={"list-type": "2", "prefix": prefix}).status
            self.assertEqual(status, 200 if (bucket, prefix) in allowed else 403, (bucket, prefix))
        alien = next(n["key"] for n in self.facts["neighbours"] if n["key"].startswith("otherx/"))
        self.assertEqual(self.czar.get("edx-course-data", alien).status, 403)
        self.assertEqual(self.czar.put("course-data", "mine", b"x").status, 403)
        self.assertEqual(self.czar.head("edx-course-data").status, 403)

    def test_signature_is_verified(self):
        wrong = s3client.S3Client(self.rgw.endpoint, self.keys[0], "wrong").get("course-data", "x")
        self.assertEqual((wrong.status, sigv4.error_code(wrong)), (403, "SignatureDoesNotMatch"))
        unknown = s3client.S3Client(self.rgw.endpoint, "AKIAUNKNOWN", "x").get("course-data", "x")
        self.assertEqual((unknown.status, sigv4.error_code(unknown)), (403, "InvalidAccessKeyId"))
        late = self.czar.get("course-data", query={"list-type": "2"}, now=time.time() - 3600)
        self.assertEqual((late.status, sigv4.error_code(late)), (403, "RequestTimeTooSkewed"))


if __name__ == "__main__":
    main()
