# SPDX-License-Identifier: Apache-2.0
"""What tests do with a real S3 server beside reading: buckets, policies, uploads. On the client of sigv4.py."""

import os
import ssl
import urllib.parse
import xml.etree.ElementTree as ET

import sigv4


class S3Client(sigv4.Client):
    def __init__(self, endpoint, access_key_id, secret_access_key, ca_file=None, **kwargs):
        url = urllib.parse.urlsplit(endpoint)
        tls = ssl.create_default_context(cafile=ca_file) if url.scheme == "https" else None
        super().__init__(url.hostname, url.port, access_key_id, secret_access_key, tls=tls, timeout=120, **kwargs)

    def must(self, method, *args, **kwargs):
        answer = self.request(method, *args, **kwargs)
        if answer.status // 100 != 2:
            raise RuntimeError(f"{method} {args}: {answer.status} {answer.body[:300]!r}")
        return answer

    def make_bucket(self, bucket):
        return self.must("PUT", bucket)

    def put_policy(self, bucket, policy):
        return self.must("PUT", bucket, query={"policy": ""}, body=policy.encode())

    def delete(self, bucket, key):
        return self.must("DELETE", bucket, key)

    def upload(self, bucket, key, path, part_size=8 << 20):
        """A file, as a multipart upload when it is larger than a part: the ETag is then not its MD5."""
        with open(path, "rb") as f:
            if os.path.getsize(path) <= part_size:
                return self.must("PUT", bucket, key, body=f.read())
            answer = self.must("POST", bucket, key, query={"uploads": ""})
            upload_id = next(e.text for e in ET.fromstring(answer.body).iter() if e.tag.endswith("UploadId"))
            etags = []
            while chunk := f.read(part_size):
                query = {"partNumber": str(len(etags) + 1), "uploadId": upload_id}
                done = self.must("PUT", bucket, key, query=query, body=chunk, payload_hash="UNSIGNED-PAYLOAD")
                etags.append(done.headers["etag"])
        parts = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in enumerate(etags, 1))
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        return self.must("POST", bucket, key, query={"uploadId": upload_id}, body=body)


def czar_policies(org, user):
    """Bucket policies that allow `user` what edX's IAM policy allows a data czar, nothing more."""
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
