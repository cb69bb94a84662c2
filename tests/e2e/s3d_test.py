#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The stand-in for S3 does what tests take it for: verifies, lists, serves ranges and parts, keeps to the czar's policy
and to TLS. How it misbehaves: s3d_behaviour_test.py.

    CZARD_BUILD=build/release tests/e2e/s3d_test.py [-v]

What is expected is computed here from the documentation (hashlib, zlib, struct), never taken from the server.
"""
import base64
import binascii
import concurrent.futures
import contextlib
import hashlib
import os
import pathlib
import socket
import ssl
import struct
import subprocess
import tempfile
import time
import unittest
import urllib.parse
import xml.etree.ElementTree
import zlib

import sigv4
from s3d_server import Case, MIB, Server, b64, crc_by_bit, generated

KEYS = ["a", "a b", "a+b", "a&<>\"'", "a.b/c", "a/b", "a/b/c.d", "a/é", "a=%41~", "b", "z", "Z", "ä", "\U0001f600", "\uff5e"]


class ListTest(Case):
    def setUp(self):
        super().setUp()
        self.keys = [k for k in KEYS if k not in ("a", "a/b")]  # which are folders
        for n, key in enumerate(self.keys):
            self.server.add("course-data", key, b"x" * n, last_modified="2024-07-07T01:02:03Z")
        self.sorted = sorted(self.keys, key=str.encode)

    def test_order_is_that_of_utf8_bytes(self):
        self.assertEqual(self.owner.list_all("course-data", encoding_type="url"), self.sorted)
        self.assertLess(self.sorted.index("\uff5e"), self.sorted.index("\U0001f600"))  # not so in UTF-16

    def test_escaped_or_encoded(self):
        self.assertEqual(self.owner.list_all("course-data"), self.sorted)
        body = self.owner.get("course-data", query={"list-type": "2", "encoding-type": "url", "prefix": "a "}).body
        self.assertIn(b"<Prefix>a+</Prefix>", body)
        self.assertIn(b"<Key>a+b</Key>", body)

    def test_one_entry(self):
        page = self.owner.list_page("course-data", prefix="ä")
        n = self.keys.index("ä")
        entry = {"Key": "ä", "Size": str(n), "LastModified": "2024-07-07T01:02:03.000Z", "StorageClass": "STANDARD",
                 "ETag": f'"{hashlib.md5(b"x" * n).hexdigest()}"'}
        self.assertEqual(page["objects"], [entry])
        fields = {e.tag[len(sigv4.NAMESPACE):]: e.text for e in page["root"]}
        self.assertEqual({n: fields[n] for n in ("Name", "Prefix", "KeyCount", "MaxKeys", "IsTruncated")},
                         {"Name": "course-data", "Prefix": "ä", "KeyCount": "1", "MaxKeys": "1000", "IsTruncated": "false"})

    def test_pages(self):
        for size in (1, 3, 100):
            self.assertEqual(self.owner.list_all("course-data", max_keys=str(size)), self.sorted, size)
        page = self.owner.list_page("course-data", max_keys="3")
        self.assertNotIn("a.b", page["next"])
        self.assertEqual(len(page["keys"]), 3)
        last = self.owner.list_page("course-data", max_keys=str(len(self.keys)))
        self.assertIsNone(last["next"])
        self.assertEqual(self.owner.list_page("course-data", max_keys="0")["keys"], [])

    def test_tokens_are_checked(self):
        token = self.owner.list_page("course-data", max_keys="3")["next"]
        for wrong in ("x", token[:-4], token[4:], base64.b64encode(b"a" * 20).decode()):
            r = self.owner.get("course-data", query={"list-type": "2", "continuation-token": wrong})
            self.assert_error(r, 400, "InvalidArgument")
        r = self.owner.get("course-data", query={"list-type": "2", "continuation-token": token, "prefix": "a"})
        self.assert_error(r, 400, "InvalidArgument")

    def test_prefix_and_start_after(self):
        for prefix in ("a", "a/", "a/b", "a.b/c", "none", "z"):
            self.assertEqual(self.owner.list_all("course-data", prefix=prefix, max_keys="2"),
                             [k for k in self.sorted if k.startswith(prefix)], prefix)
        for after in ("a+b", "a+", "a/zzz", "ä", "\U0001f600", "~"):
            self.assertEqual(self.owner.list_all("course-data", start_after=after, max_keys="2"),
                             [k for k in self.sorted if k.encode() > after.encode()], after)

    def test_delimiter(self):
        page = self.owner.list_page("course-data", delimiter="/")
        self.assertEqual(page["prefixes"], ["a.b/", "a/"])
        self.assertEqual(page["keys"], [k for k in self.sorted if "/" not in k])
        seen, token = [], {}
        while True:
            page = self.owner.list_page("course-data", delimiter="/", max_keys="1", **token)
            seen += page["keys"] + page["prefixes"]
            if not page["next"]:
                break
            token = {"continuation_token": page["next"]}
        self.assertEqual(seen, sorted([k for k in self.keys if "/" not in k] + ["a.b/", "a/"], key=str.encode))

    def test_more_than_a_page(self):
        many = [f"m/{n:05}" for n in range(2345)]
        for key in many:
            self.server.add("course-data", key, b"")
        page = self.owner.list_page("course-data", prefix="m/", max_keys="5000")
        self.assertEqual(page["keys"], many[:1000])
        self.assertEqual(self.owner.list_all("course-data", prefix="m/"), many)

    def test_a_new_or_changed_file_is_seen_at_once(self):
        for data in (b"one", b"two", b"six"):
            path = self.server.root / "course-data" / "fresh"
            path.write_bytes(data)
            etag = self.owner.list_page("course-data", prefix="fresh")["objects"][0]["ETag"]
            self.assertEqual(etag, f'"{hashlib.md5(data).hexdigest()}"')

    def test_control_characters(self):
        self.server.add("course-data", "c\x01d", b"")
        body = self.owner.get("course-data", query={"list-type": "2", "prefix": "c"}).body
        self.assertIn(b"<Key>c&#x1;d</Key>", body)  # no XML, and what S3 does
        self.assertEqual(self.owner.list_all("course-data", prefix="c", encoding_type="url"), ["c\x01d"])


class ObjectTest(Case):
    DATA = bytes(range(256)) * 40

    def setUp(self):
        super().setUp()
        self.server.add("course-data", "o", self.DATA, last_modified="2024-07-07T01:02:03Z")
        self.server.add("course-data", "empty", b"")
        self.etag = f'"{hashlib.md5(self.DATA).hexdigest()}"'

    def get(self, span=None, method="GET", key="o", **headers):
        headers = {n.replace("_", "-"): v for n, v in headers.items()}
        return self.owner.request(method, "course-data", key, headers={**headers, **({"Range": span} if span else {})})

    def test_whole(self):
        r = self.get()
        self.assertEqual((r.status, r.body), (200, self.DATA))
        self.assertEqual({n: r.headers[n] for n in ("etag", "content-length", "last-modified", "accept-ranges")},
                         {"etag": self.etag, "content-length": "10240", "accept-ranges": "bytes",
                          "last-modified": "Sun, 07 Jul 2024 01:02:03 GMT"})
        h = self.get(method="HEAD")
        drop = ("date", "x-amz-request-id", "x-amz-id-2")
        self.assertEqual(h.status, 200)
        self.assertEqual({n: v for n, v in h.headers.items() if n not in drop},
                         {n: v for n, v in r.headers.items() if n not in drop})

    def test_ranges(self):
        n = len(self.DATA)
        for span, first, last in (("0-0", 0, 0), ("5-9", 5, 9), ("10239-", n - 1, n - 1), ("100-", 100, n - 1),
                                  ("-3", n - 3, n - 1), ("-99999", 0, n - 1), ("10-99999", 10, n - 1)):
            for method in ("GET", "HEAD"):
                r = self.get(f"bytes={span}", method)
                self.assertEqual((r.status, r.headers["content-range"], r.headers["content-length"], r.headers["etag"]),
                                 (206, f"bytes {first}-{last}/{n}", str(last - first + 1), self.etag), span)
                self.assertEqual(r.body, self.DATA[first:last + 1] if method == "GET" else b"")

    def test_ranges_that_cannot_be(self):
        for key, span in (("o", "bytes=10240-"), ("o", "bytes=99999-100000"), ("o", "bytes=-0"), ("empty", "bytes=0-"),
                          ("empty", "bytes=-1")):
            r = self.get(span, key=key)
            self.assert_error(r, 416, "InvalidRange")
            self.assertEqual(r.headers["content-range"], f"bytes */{len(self.DATA) if key == 'o' else 0}")
        for span in ("bytes=5-1", "bytes=a-b", "octets=0-1", "bytes=0-1,3-4", "bytes=-"):
            r = self.get(span)
            self.assertEqual((r.status, r.body), (200, self.DATA), span)

    def test_if_match(self):
        for good in (self.etag, self.etag.strip('"'), "*", f'"x", {self.etag}'):
            self.assertEqual(self.get("bytes=1-2", if_match=good).body, self.DATA[1:3])
        self.assert_error(self.get("bytes=1-2", if_match='"x"'), 412, "PreconditionFailed")
        h = self.get(method="HEAD", if_match='"x"')
        self.assertEqual((h.status, h.body), (412, b""))
        self.assertEqual(self.get(if_none_match=self.etag).status, 304)
        self.assertEqual(self.get(if_none_match='"x"').status, 200)

    def test_absent(self):
        self.assert_error(self.get(key="none"), 404, "NoSuchKey")
        self.assert_error(self.get(key="o/none"), 404, "NoSuchKey")
        self.assert_error(self.owner.get("nobucket", "o"), 404, "NoSuchBucket")
        self.assert_error(self.owner.get("nobucket", query={"list-type": "2"}), 404, "NoSuchBucket")
        h = self.get(method="HEAD", key="none")
        self.assertEqual((h.status, h.body), (404, b""))
        for key in ("../credentials", "../../credentials", "./o", "a//b", ".."):
            self.assertIn(self.get(key=key).status, (400, 404), key)
        self.assert_error(self.owner.get(".meta", "course-data/o"), 404, "NoSuchBucket")

    def test_awkward_keys(self):
        for key in KEYS[1:5] + KEYS[7:]:
            self.server.add("course-data", "k" + key, key.encode())
            self.assertEqual(self.get(key="k" + key).body, key.encode(), key)

    def test_keep_alive(self):
        client = self.server.client(keep=True)
        start = time.monotonic()
        for i in range(50):
            self.assertEqual(client.get("course-data", "o", headers={"Range": f"bytes={i}-{i}"}).body, bytes([i]))
        first = client.connection.sock.getsockname()
        self.assertEqual(client.get("course-data", "none").status, 404)
        self.assertEqual(client.connection.sock.getsockname(), first)
        self.assertLess(time.monotonic() - start, 1.5)  # no 40 ms of delayed ACK each
        client.connection.close()

    def test_virtual_host(self):
        r = self.server.client(virtual="s3.example.test").get("course-data", "o", headers={"Range": "bytes=0-1"})
        self.assertEqual((r.status, r.body), (206, b"\0\1"))
        keys = self.server.client(virtual="localhost").list_all("course-data")
        self.assertEqual(keys, ["empty", "o"])

    def test_absolute_target(self):
        """As a client asks a proxy; the signature is that of the path."""
        r = self.owner.get("course-data", "o", raw_path=f"http://127.0.0.1:{self.server.port}/course-data/o")
        self.assertEqual((r.status, r.body), (200, self.DATA))

    def test_log(self):
        self.get("bytes=2-4", if_match=self.etag)
        self.get(method="HEAD")
        self.get(key="none")
        self.owner.list_page("course-data", prefix="e", start_after="d")
        seen = [r[:7] for r in self.server.requests()]
        self.assertEqual(seen[:3], [["GET", "course-data", "o", "get", "bytes=2-4", "206", "3"],
                                    ["HEAD", "course-data", "o", "head", "-", "200", "0"],
                                    ["GET", "course-data", "none", "get", "-", "404", seen[2][6]]])
        self.assertEqual(seen[3][:6], ["GET", "course-data", "e", "list", "-", "200"])
        more = [dict(w.split("=", 1) for w in r[7:]) for r in self.server.requests()]
        self.assertEqual(urllib.parse.unquote(more[0]["if_match"]), self.etag)
        self.assertEqual((more[2]["code"], more[3]["start_after"], more[0]["access_key"]), ("NoSuchKey", "d", "OWNER"))
        self.assertEqual(len({m["connection"] for m in more}), 4, "the client connects each time")
        self.assertNotIn("Signature", self.server.log.read_text())


class PartsTest(Case):
    def setUp(self):
        super().setUp()
        self.data = generated(7, 0, 2500)
        self.server.add("course-data", "m", self.data, part_size=1000)
        parts = [self.data[i:i + 1000] for i in (0, 1000, 2000)]
        self.etag = hashlib.md5(b"".join(hashlib.md5(p).digest() for p in parts)).hexdigest() + "-3"
        self.server.add("course-data", "s", self.data)

    def test_etag(self):
        self.assertEqual(self.owner.head("course-data", "m").headers["etag"], f'"{self.etag}"')
        self.assertEqual(self.owner.list_page("course-data", prefix="m")["objects"][0]["ETag"], f'"{self.etag}"')

    def test_part_number(self):
        for part, first, last in ((1, 0, 999), (2, 1000, 1999), (3, 2000, 2499)):
            for method in ("GET", "HEAD"):
                r = self.owner.request(method, "course-data", "m", query={"partNumber": str(part)})
                self.assertEqual((r.status, r.headers["content-range"], r.headers["x-amz-mp-parts-count"],
                                  r.headers["content-length"]),
                                 (206, f"bytes {first}-{last}/2500", "3", str(last - first + 1)))
                self.assertEqual(r.body, self.data[first:last + 1] if method == "GET" else b"")
        self.assertNotIn("x-amz-mp-parts-count", self.owner.head("course-data", "m").headers)

    def test_part_number_of_a_single_part_object(self):
        r = self.owner.get("course-data", "s", query={"partNumber": "1"})
        self.assertEqual((r.status, r.headers["content-range"], r.body), (206, "bytes 0-2499/2500", self.data))
        self.assertNotIn("x-amz-mp-parts-count", r.headers)
        self.assert_error(self.owner.get("course-data", "s", query={"partNumber": "2"}), 416, "InvalidPartNumber")

    def test_bad_part_numbers(self):
        self.assert_error(self.owner.get("course-data", "m", query={"partNumber": "4"}), 416, "InvalidPartNumber")
        for bad in ("0", "10001", "x", "-1", ""):
            self.assert_error(self.owner.get("course-data", "m", query={"partNumber": bad}), 400, "InvalidArgument")
        r = self.owner.get("course-data", "m", query={"partNumber": "1"}, headers={"Range": "bytes=0-1"})
        self.assert_error(r, 400, "InvalidRequest")

    def test_checksums(self):
        self.server.add("course-data", "full", self.data, checksum_crc32="auto", checksum_crc32c="auto",
                        checksum_crc64nvme="auto", checksum_sha1="auto", checksum_sha256="auto")
        expected = {"crc32": struct.pack(">I", zlib.crc32(self.data)), "crc32c": crc_by_bit(self.data, 0x82f63b78, 32),
                    "crc64nvme": crc_by_bit(self.data, 0x9a6c9329ac4bc9b5, 64), "sha1": hashlib.sha1(self.data).digest(),
                    "sha256": hashlib.sha256(self.data).digest()}
        # the check values of the CRC catalogue: the bitwise ones here are right
        self.assertEqual(crc_by_bit(b"123456789", 0x82f63b78, 32).hex(), "e3069283")
        self.assertEqual(crc_by_bit(b"123456789", 0x9a6c9329ac4bc9b5, 64).hex(), "ae8b14860a799888")
        for method in ("GET", "HEAD"):
            r = self.owner.request(method, "course-data", "full", headers={"x-amz-checksum-mode": "ENABLED"})
            for name, value in expected.items():
                self.assertEqual(r.headers[f"x-amz-checksum-{name}"], b64(value), name)
            self.assertEqual(r.headers["x-amz-checksum-type"], "FULL_OBJECT")
        for headers in ({}, {"x-amz-checksum-mode": "ENABLED", "Range": "bytes=0-9"}):
            r = self.owner.get("course-data", "full", headers=headers)
            self.assertFalse([n for n in r.headers if "checksum" in n])

    def test_composite_checksums(self):
        self.server.add("course-data", "m", self.data, part_size=1000, checksum_sha256="auto")
        r = self.owner.head("course-data", "m", headers={"x-amz-checksum-mode": "ENABLED"})
        parts = b"".join(hashlib.sha256(self.data[i:i + 1000]).digest() for i in (0, 1000, 2000))
        self.assertEqual((r.headers["x-amz-checksum-sha256"], r.headers["x-amz-checksum-type"]),
                         (b64(hashlib.sha256(parts).digest()) + "-3", "COMPOSITE"))
        self.server.add("course-data", "m", self.data, part_size=1000, checksum_crc32="auto")
        r = self.owner.head("course-data", "m", headers={"x-amz-checksum-mode": "ENABLED"})
        self.assertEqual((r.headers["x-amz-checksum-crc32"], r.headers["x-amz-checksum-type"]),
                         (b64(struct.pack(">I", zlib.crc32(self.data))), "FULL_OBJECT"))

    def test_given_etag_and_checksum(self):
        self.server.add("course-data", "s", self.data, etag="abc-2", checksum_crc32="AAAAAA==")
        r = self.owner.head("course-data", "s", headers={"x-amz-checksum-mode": "ENABLED"})
        self.assertEqual((r.headers["etag"], r.headers["x-amz-checksum-crc32"]), ('"abc-2"', "AAAAAA=="))


class LesserServerTest(Case):
    options = ("--no-part-number", "--no-checksums", "--kms")

    def test_neither_parts_nor_checksums_nor_digests(self):
        self.server.add("course-data", "m", b"x" * 25, part_size=10, checksum_sha256="auto")
        r = self.owner.get("course-data", "m", query={"partNumber": "1"}, headers={"x-amz-checksum-mode": "ENABLED"})
        self.assertEqual((r.status, r.body), (200, b"x" * 25))
        self.assertFalse([n for n in r.headers if "checksum" in n or "parts-count" in n])
        self.assertEqual(r.headers["x-amz-server-side-encryption"], "aws:kms")
        parts = hashlib.md5(b"".join(hashlib.md5(b"x" * n).digest() for n in (10, 10, 5))).hexdigest()
        self.assertNotEqual(r.headers["etag"], f'"{parts}-3"')
        self.assertRegex(r.headers["etag"], '^"[0-9a-f]{32}-3"$')
        self.assertEqual(self.owner.head("course-data", "m").headers["etag"], r.headers["etag"])


class EncodedTest(Case):
    options = ("--encoded",)

    def test_keys_that_are_no_paths(self):
        (self.server.root / "course-data").mkdir()
        keys = ["a//b", "folder/", "100%", "/lead", "..", "a/../b", "x", "x/y", "v/w", "v", ".hidden", "plain/path"]
        for key in keys:
            self.assertEqual(self.owner.put("course-data", key, key.encode()).status, 200, key)
        self.server.add("course-data", "by%2Dhand%2F", b"hand")
        self.assertEqual(self.owner.list_all("course-data"), sorted(keys + ["by-hand/"]))
        for key in keys:
            self.assertEqual(self.owner.get("course-data", key).body, key.encode())
        self.assertEqual(self.owner.get("course-data", "by-hand/").body, b"hand")
        self.assertFalse((self.server.root / "b").exists())


class SyntheticTest(Case):
    def test_more_than_5_gib(self):
        size = 6 << 30
        self.server.add("course-data", "big", seed=42, size=size, etag="e-1", last_modified=1)
        r = self.owner.head("course-data", "big")
        self.assertEqual((r.headers["content-length"], r.headers["last-modified"]),
                         (str(size), "Thu, 01 Jan 1970 00:00:01 GMT"))
        for first, n in ((0, 100), (3, 77), ((5 << 30) + 13, 1000), (size - 10, 10)):
            r = self.owner.get("course-data", "big", headers={"Range": f"bytes={first}-{first + n - 1}"})
            self.assertEqual(r.body, generated(42, first, n))
        self.assertEqual(self.owner.list_page("course-data")["objects"][0]["Size"], str(size))

    def test_pieces_over_it(self):
        (self.server.root / "head").write_bytes(b"H" * 10)
        (self.server.root / "middle").write_bytes(b"MID")
        self.server.add("course-data", "p", seed=1, size=100, splice=["0:head", "50:middle", "8:middle"])
        expected = bytearray(generated(1, 0, 100))
        expected[0:10], expected[50:53] = b"H" * 10, b"MID"
        expected[8:11] = b"MID"
        r = self.owner.get("course-data", "p")
        self.assertEqual((r.body, r.headers["etag"]), (bytes(expected), f'"{hashlib.md5(expected).hexdigest()}"'))
        r = self.owner.get("course-data", "p", headers={"Range": "bytes=51-60"})
        self.assertEqual(r.body, expected[51:61])

    def test_zeros_and_parts(self):
        self.server.add("course-data", "z", size=25, fill="zero", part_size=10)
        r = self.owner.get("course-data", "z", query={"partNumber": "3"})
        self.assertEqual((r.body, r.headers["x-amz-mp-parts-count"]), (b"\0" * 5, "3"))

    def test_a_sidecar_alone_is_no_object(self):
        self.server.add("course-data", "p", part_size=5)
        self.assertEqual(self.owner.list_all("course-data"), [])
        self.assert_error(self.owner.get("course-data", "p"), 404, "NoSuchKey")


class PolicyTest(Case):
    def setUp(self):
        super().setUp()
        for bucket, key in (("edx-course-data", "universityx/edx/events/2024/e"), ("edx-course-data", "universityx-pro/x"),
                            ("edx-course-data", "otheru/x"), ("course-data", "universityx-2024-07-07.zip"),
                            ("course-data", "otheru-2024-07-07.zip"), ("elsewhere", "universityx/x")):
            self.server.add(bucket, key, b"data")

    def list(self, bucket, **query):
        return self.czar.get(bucket, query={"list-type": "2", **query})

    def test_allowed(self):
        for prefix in ("universityx", "universityx/", "universityx/edx/ev"):
            self.assertEqual(self.list("edx-course-data", prefix=prefix).status, 200, prefix)
        for query in ({}, {"prefix": "universityx-"}, {"prefix": "otheru"}):
            self.assertEqual(self.list("course-data", **query).status, 200)
        for bucket, key in (("edx-course-data", "universityx/edx/events/2024/e"), ("course-data", "otheru-2024-07-07.zip")):
            for method in ("GET", "HEAD"):
                self.assertEqual(self.czar.request(method, bucket, key).status, 200)

    def test_forbidden(self):
        for prefix in (None, "", "university", "universityx-pro", "otheru/"):
            r = self.list("edx-course-data", **({} if prefix is None else {"prefix": prefix}))
            self.assert_error(r, 403, "AccessDenied")
        for bucket, key in (("edx-course-data", "universityx-pro/x"), ("edx-course-data", "otheru/x"),
                            ("edx-course-data", "universityx"), ("elsewhere", "universityx/x"), ("none", "x")):
            self.assert_error(self.czar.get(bucket, key), 403, "AccessDenied")
        key = "universityx/edx/events/2024/e"
        for query in ("attributes", "tagging", "acl", "versions", "versionId", "uploads"):
            self.assert_error(self.czar.get("edx-course-data", key, query={query: ""}), 403, "AccessDenied")
            self.assert_error(self.czar.get("course-data", query={query: ""}), 403, "AccessDenied")
        self.assert_error(self.czar.put("edx-course-data", key, b"new"), 403, "AccessDenied")
        self.assert_error(self.czar.request("DELETE", "course-data", "otheru-2024-07-07.zip"), 403, "AccessDenied")
        self.assertEqual(self.czar.head("course-data").status, 403)
        self.assertEqual(self.owner.head("course-data").status, 200)
        self.assert_error(self.czar.get(), 403, "AccessDenied")
        self.assertEqual(self.owner.get("edx-course-data", key).body, b"data")

    def test_absent_keys_show_only_where_listing_is_allowed(self):
        self.assert_error(self.czar.get("course-data", "none"), 404, "NoSuchKey")
        self.assert_error(self.czar.get("edx-course-data", "universityx/none"), 403, "AccessDenied")

    def test_another_czar(self):
        other = self.server.client("OTHER", "other-secret")
        self.assertEqual(other.get("edx-course-data", "otheru/x").status, 200)
        self.assert_error(other.get("edx-course-data", "universityx/edx/events/2024/e"), 403, "AccessDenied")


class AuthTest(Case):
    def setUp(self):
        super().setUp()
        self.server.add("course-data", "a b+c", b"data")

    def get(self, client=None, **kwargs):
        return (client or self.owner).get("course-data", "a b+c", **kwargs)

    def test_refused(self):
        client = self.server.client
        self.assert_error(self.get(unsigned=True), 403, "AccessDenied")
        self.assert_error(self.get(client("OWNER", "wrong")), 403, "SignatureDoesNotMatch")
        self.assert_error(self.get(client("NOBODY", "wrong")), 403, "InvalidAccessKeyId")
        self.assert_error(self.get(sign_extra={"host": "other.test"}), 403, "SignatureDoesNotMatch")
        self.assert_error(self.get(signed=["x-amz-date", "x-amz-content-sha256"]), 403, "AccessDenied")
        self.assert_error(self.get(signed=["host", "x-amz-date"]), 403, "AccessDenied")
        self.assert_error(self.get(headers={"x-amz-x": "1"}, signed=["host", "x-amz-date", "x-amz-content-sha256"]), 403,
                          "AccessDenied")
        self.assert_error(self.get(payload_hash="0" * 63), 400, "InvalidArgument")
        self.assert_error(self.get(date="20200101"), 400, "AuthorizationHeaderMalformed")
        self.assert_error(self.get(headers={"Authorization": "AWS4-HMAC-SHA256 x"}, unsigned=True), 400,
                          "AuthorizationHeaderMalformed")
        h = self.owner.head("course-data", "a b+c", unsigned=True)
        self.assertEqual((h.status, h.body), (403, b""))

    def test_path_is_what_is_decoded(self):
        self.assertEqual(self.get(raw_path="/course-data/a%20b+c").status, 200)
        self.assertEqual(self.get(raw_path="/course-data/a%20b%2bc").status, 200)
        self.assert_error(self.get(raw_path="/course-data/a+b%2Bc"), 403, "SignatureDoesNotMatch")
        self.assert_error(self.get(raw_path="//course-data/a%20b+c"), 403, "SignatureDoesNotMatch")
        self.assertEqual(self.get(raw_path="/course-data/a%zz").status, 400)

    def test_clock(self):
        now = time.time()
        for off in (-880, 880):
            self.assertEqual(self.get(now=now + off).status, 200)
        for off in (-920, 920):
            r = self.get(now=now + off)
            self.assert_error(r, 403, "RequestTimeTooSkewed")
            told = xml.etree.ElementTree.fromstring(r.body).findtext("ServerTime")
            self.assertAlmostEqual(time.mktime(time.strptime(told, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone, now, delta=5)

    def test_region(self):
        r = self.get(self.server.client(region="eu-west-1"))
        self.assert_error(r, 400, "AuthorizationHeaderMalformed")
        self.assertEqual(xml.etree.ElementTree.fromstring(r.body).findtext("Region"), "us-east-1")
        h = self.server.client(region="eu-west-1").head("course-data", "a b+c")
        self.assertEqual((h.status, h.headers["x-amz-bucket-region"]), (400, "us-east-1"))

    def test_tokens(self):
        client = self.server.client
        self.assertEqual(self.get(client("TEMP", "temp-secret", token="the-token")).status, 200)
        self.assert_error(self.get(client("TEMP", "temp-secret")), 403, "InvalidAccessKeyId")
        self.assert_error(self.get(client("TEMP", "temp-secret", token="x")), 400, "InvalidToken")
        self.assert_error(self.get(self.server.client(token="x")), 400, "InvalidToken")

    def test_rotation(self):
        self.server.credentials.write_text("OWNER new-secret policy=open\n")
        self.assert_error(self.get(), 403, "SignatureDoesNotMatch")
        self.assertEqual(self.get(self.server.client("OWNER", "new-secret")).status, 200)


class PutTest(Case):
    def test_put_get_delete(self):
        self.server.add("course-data", "there", b"old", etag="old", part_size=1)
        data = os.urandom(3 * MIB)
        for key in ("there", "deep/new é"):
            r = self.owner.put("course-data", key, data)
            self.assertEqual((r.status, r.headers["etag"]), (200, f'"{hashlib.md5(data).hexdigest()}"'))
            r = self.owner.get("course-data", key)
            self.assertEqual((r.body, r.headers["etag"]), (data, f'"{hashlib.md5(data).hexdigest()}"'))
        self.assertEqual(self.owner.request("DELETE", "course-data", "there").status, 204)
        self.assertEqual(self.owner.list_all("course-data"), ["deep/new é"])

    def test_body_must_be_what_was_signed(self):
        self.server.add("course-data", "there", b"old")
        wrong = hashlib.sha256(b"other").hexdigest()
        self.assert_error(self.owner.put("course-data", "there", b"new", payload_hash=wrong), 400,
                          "XAmzContentSHA256Mismatch")
        self.assert_error(self.owner.put("course-data", "../x", b"new"), 400, "InvalidURI")
        self.assert_error(self.server.client(secret="x").put("course-data", "there", b"new"), 403, "SignatureDoesNotMatch")
        self.assertEqual(self.owner.get("course-data", "there").body, b"old")
        self.assertEqual(list((self.server.root / ".tmp").iterdir()), [])


class TlsTest(unittest.TestCase):
    def test_tls(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="s3d-test.", dir="/tmp")))
        cert, key = folder / "cert.pem", folder / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key,
                        "-out", cert], check=True, capture_output=True)
        server = Server(folder, tls=(cert, key))
        self.addCleanup(server.stop)
        data = generated(9, 0, MIB)
        server.add("course-data", "o", data)
        good = ssl.create_default_context(cafile=cert)
        r = server.client(tls=good).get("course-data", "o")
        self.assertEqual((r.status, r.body), (200, data))
        with self.assertRaises(ssl.SSLCertVerificationError):
            server.client(tls=ssl.create_default_context()).get("course-data", "o")
        server.behave("reset_at=100000\n")
        c, r = server.client(tls=good).start("GET", "course-data", "o")
        self.addCleanup(c.close)
        body = b""
        with contextlib.suppress(ssl.SSLEOFError, ConnectionResetError):  # or an end, by version
            while chunk := r.read1(65536):
                body += chunk
        self.assertEqual(body, data[:100000])
        with socket.create_connection(("127.0.0.1", server.port)) as s:  # plain HTTP gets no answer
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertNotIn(b"HTTP/1", s.recv(100))


class LoadTest(Case):
    def test_parallel_transfers(self):
        size = 64 * MIB
        self.server.add("course-data", "big", seed=5, size=size, etag="e")
        expected = hashlib.md5(generated(5, size - 1000, 1000)).hexdigest()

        def fetch(_):
            r = self.server.client().get("course-data", "big")
            return len(r.body), hashlib.md5(r.body[-1000:]).hexdigest()
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            self.assertEqual(set(pool.map(fetch, range(12))), {(size, expected)})
        status = pathlib.Path(f"/proc/{self.server.child.pid}/status").read_text()
        peak = int(status.split("VmHWM:")[1].split()[0])
        self.assertLess(peak, 256 * 1024)  # KiB: nothing holds a whole object (12 x 64 MiB)

    def test_usage(self):
        command = [str(a) for a in self.server.command]
        for bad in ([], command[1:1] + ["--nonsense"], command[1:] + ["extra"], command[1:] + ["--policy", "czar"],
                    command[1:] + ["--credentials", "/nonexistent"], command[1:] + ["--port", "65536"]):
            r = subprocess.run([command[0], *bad], capture_output=True, timeout=90)
            self.assertEqual(r.returncode, 2, bad)

    def test_listens_on_loopback_only(self):
        table = pathlib.Path(f"/proc/{self.server.child.pid}/net/tcp").read_text()
        ours = [l.split()[1] for l in table.splitlines()[1:] if l.split()[3] == "0A"
                and int(l.split()[1].split(":")[1], 16) == self.server.port]
        self.assertEqual(ours, [binascii.hexlify(socket.inet_aton("127.0.0.1")[::-1]).decode().upper() +
                                f":{self.server.port:04X}"])


if __name__ == "__main__":
    unittest.main()
