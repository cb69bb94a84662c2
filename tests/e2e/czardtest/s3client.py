# SPDX-License-Identifier: Apache-2.0
"""A small S3 client to fill and question servers in tests, with a SigV4 of its own: independent of czard's."""

import hashlib
import hmac
import http.client
import json
import os
import ssl
import time
import urllib.parse
import xml.etree.ElementTree as ET

EMPTY = hashlib.sha256(b"").hexdigest()


def quote(text, safe=""):
    return urllib.parse.quote(text, safe="-_.~" + safe)


def sign(method, path, query, headers, payload_sha256, access_key_id, secret, region="us-east-1", now=None):
    """headers (lower-case names, with host) completed by x-amz-* and authorization. path is encoded already."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    headers = {**headers, "x-amz-date": stamp, "x-amz-content-sha256": payload_sha256}
    names = ";".join(sorted(headers))
    canonical = "\n".join([
        method, path, "&".join(f"{quote(k)}={quote(v)}" for k, v in sorted(query.items())),
        *[f"{name}:{headers[name].strip()}" for name in sorted(headers)], "", names, payload_sha256])
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for part in (stamp[:8], region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={access_key_id}/{scope}, "
                                f"SignedHeaders={names}, Signature={signature}")
    return headers


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def code(self):
        """The <Code> of an S3 error."""
        try:
            return next((e.text for e in ET.fromstring(self.body).iter() if e.tag.endswith("Code")), None)
        except ET.ParseError:
            return None


class S3Client:
    def __init__(self, endpoint, access_key_id, secret_access_key, ca_file=None):
        url = urllib.parse.urlsplit(endpoint)
        self.host, self.port, self.tls = url.hostname, url.port, url.scheme == "https"
        self.keys, self.ca_file = (access_key_id, secret_access_key), ca_file

    def request(self, method, bucket, key="", query=None, headers=None, body=b"", sha256=None, now=None):
        """One signed request. body is bytes or an open file."""
        query = query or {}
        path = "/" + quote(bucket) + ("/" + quote(key, "/") if key else "")
        headers = {k.lower(): v for k, v in (headers or {}).items()}
        headers["host"] = f"{self.host}:{self.port}"
        if isinstance(body, bytes):
            sha256 = sha256 or hashlib.sha256(body).hexdigest()
            headers["content-length"] = str(len(body))
        else:
            headers["content-length"] = str(os.fstat(body.fileno()).st_size)
        signed = sign(method, path, query, headers, sha256 or "UNSIGNED-PAYLOAD", *self.keys, now=now)
        if self.tls:
            context = ssl.create_default_context(cafile=self.ca_file)
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=60, context=context)
        else:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        target = path + ("?" + "&".join(f"{quote(k)}={quote(v)}" for k, v in sorted(query.items())) if query else "")
        try:
            connection.request(method, target, body=body or None, headers=signed)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def _must(self, answer, what):
        if answer.status // 100 != 2:
            raise RuntimeError(f"{what}: {answer.status} {answer.body[:300]!r}")
        return answer

    def make_bucket(self, bucket):
        return self._must(self.request("PUT", bucket), f"make bucket {bucket}")

    def put_policy(self, bucket, policy):
        return self._must(self.request("PUT", bucket, query={"policy": ""}, body=json.dumps(policy).encode()), "policy")

    def put(self, bucket, key, body):
        return self._must(self.request("PUT", bucket, key, body=body), f"put {key}")

    def delete(self, bucket, key):
        return self._must(self.request("DELETE", bucket, key), f"delete {key}")

    def get(self, bucket, key, **headers):
        return self.request("GET", bucket, key, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def list(self, bucket, prefix, **more):
        """(status, keys) of one page."""
        query = {"list-type": "2", "prefix": prefix, "encoding-type": "url", **more}
        answer = self.request("GET", bucket, query=query)
        if answer.status != 200:
            return answer.status, []
        keys = [urllib.parse.unquote_plus(e.text) for e in ET.fromstring(answer.body).iter() if e.tag.endswith("}Key")]
        return answer.status, keys

    def upload(self, bucket, key, path, part_size=8 << 20):
        """A file, as a multipart upload when it is larger than a part: the ETag is then not its MD5."""
        if os.path.getsize(path) <= part_size:
            with open(path, "rb") as f:
                return self.put(bucket, key, f if os.path.getsize(path) else b"")
        answer = self._must(self.request("POST", bucket, key, query={"uploads": ""}), "multipart")
        upload_id = next(e.text for e in ET.fromstring(answer.body).iter() if e.tag.endswith("UploadId"))
        parts = []
        with open(path, "rb") as f:
            while chunk := f.read(part_size):
                query = {"partNumber": str(len(parts) + 1), "uploadId": upload_id}
                done = self._must(self.request("PUT", bucket, key, query=query, body=chunk, sha256="UNSIGNED-PAYLOAD"), "part")
                parts.append(done.headers["etag"])
        xml = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in enumerate(parts, 1))
        body = f"<CompleteMultipartUpload>{xml}</CompleteMultipartUpload>".encode()
        return self._must(self.request("POST", bucket, key, query={"uploadId": upload_id}, body=body), "complete")


def czar_policies(org, user):
    """Bucket policies that allow `user` what edX's IAM policy allows a data czar (data-package.md), nothing more."""
    def statement(action, resource, **condition):
        return {"Effect": "Allow", "Principal": {"AWS": [user]}, "Action": [action], "Resource": [resource], **condition}

    prefixes = {"Condition": {"StringLike": {"s3:prefix": [org, f"{org}/*"]}}}
    return {
        "edx-course-data": {"Version": "2012-10-17", "Statement": [
            statement("s3:ListBucket", "arn:aws:s3:::edx-course-data", **prefixes),
            statement("s3:GetObject", f"arn:aws:s3:::edx-course-data/{org}/*")]},
        "course-data": {"Version": "2012-10-17", "Statement": [
            statement("s3:ListBucket", "arn:aws:s3:::course-data"),
            statement("s3:GetObject", "arn:aws:s3:::course-data/*")]},
    }
