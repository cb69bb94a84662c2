# SPDX-License-Identifier: Apache-2.0
"""A small SigV4 client for tests, standard library only.

    s3 = Client("127.0.0.1", port, "AKID", "secret")
    r = s3.get("bucket", "key", headers={"Range": "bytes=0-9"})
    r.status, r.headers["etag"], r.body

Written from "Signature Calculations for the Authorization Header" (Amazon S3 API Reference); it shares no code with
lib/sigv4 or tests/s3d. Whatever a test wants to get wrong is a parameter of Client.request() or a field of Client.
"""
import collections
import hashlib
import hmac
import http.client
import time
import urllib.parse
import xml.etree.ElementTree

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"

Response = collections.namedtuple("Response", "status headers body")


def uri_encode(s, keep_slash=False):
    return urllib.parse.quote(s, safe="-._~/" if keep_slash else "-._~")


def canonical_query(pairs):
    return "&".join(f"{n}={v}" for n, v in sorted((uri_encode(n), uri_encode(v)) for n, v in pairs))


def signature(secret, date, region, service, amz_date, canonical):
    key = ("AWS4" + secret).encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", amz_date, f"{date}/{region}/{service}/aws4_request",
                         hashlib.sha256(canonical.encode()).hexdigest()])
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def sign(method, path, query, headers, access, secret, region="us-east-1", service="s3", now=None,
         payload_hash=EMPTY_SHA256, signed=None, date=None):
    """The Authorization header. path is encoded already; headers: lower-case name -> value, all of them are signed
    unless signed names others."""
    amz_date = headers["x-amz-date"]
    date = date or amz_date[:8]
    signed = sorted(signed if signed is not None else headers)
    canonical = "\n".join([method, path, canonical_query(query)] +
                          [f"{n}:{' '.join(headers.get(n, '').split())}" for n in signed] +
                          ["", ";".join(signed), payload_hash])
    return (f"AWS4-HMAC-SHA256 Credential={access}/{date}/{region}/{service}/aws4_request, "
            f"SignedHeaders={';'.join(signed)}, Signature={signature(secret, date, region, service, amz_date, canonical)}")


def amz_date(now=None):
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() if now is None else now))


class Client:
    """Each call makes its own connection, unless keep is set. tls: an ssl.SSLContext. virtual: the domain for
    virtual-hosted-style addressing."""

    def __init__(self, host, port, access=None, secret=None, token=None, region="us-east-1", tls=None, virtual=None,
                 timeout=30, keep=False):
        self.host, self.port, self.access, self.secret, self.token = host, port, access, secret, token
        self.region, self.tls, self.virtual, self.timeout, self.keep = region, tls, virtual, timeout, keep
        self.service = "s3"
        self.connection = None

    def connect(self):
        if self.connection:
            return self.connection
        if self.tls:
            c = http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout, context=self.tls)
        else:
            c = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        if self.keep:
            self.connection = c
        return c

    def start(self, method, bucket=None, key=None, query=(), headers=None, body=b"", now=None, unsigned=False,
              payload_hash=None, signed=None, sign_extra=None, date=None, raw_path=None):
        """Sends a request; returns (connection, http.client.HTTPResponse) with the body unread. sign_extra: headers
        that are signed differently from what is sent (None: signed and not sent); raw_path: sent instead of the
        encoded path that is signed."""
        query = list(query.items()) if isinstance(query, dict) else list(query)
        host = f"{self.host}:{self.port}"
        path = "/" + "/".join(uri_encode(p, True) for p in (bucket, key) if p is not None)
        if bucket is not None and key is None:
            path += "/"
        if self.virtual and bucket:
            host = f"{bucket}.{self.virtual}"
            path = "/" + (uri_encode(key, True) if key is not None else "")
        send = {"host": host, "x-amz-date": amz_date(now),
                "x-amz-content-sha256": payload_hash or hashlib.sha256(body).hexdigest()}
        if self.token:
            send["x-amz-security-token"] = self.token
        send.update({n.lower(): v for n, v in (headers or {}).items()})
        if not unsigned and self.access:
            to_sign = dict(send)
            to_sign.update(sign_extra or {})
            send["authorization"] = sign(method, path, query, to_sign, self.access, self.secret, self.region,
                                         self.service, payload_hash=send["x-amz-content-sha256"], signed=signed,
                                         date=date)
        target = (raw_path or path) + ("?" + "&".join(
            f"{uri_encode(n)}={uri_encode(v)}" for n, v in query) if query else "")
        c = self.connect()
        c.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for n, v in send.items():
            c.putheader(n, v)
        if body:
            c.putheader("content-length", str(len(body)))
        c.endheaders(body or None)
        return c, c.getresponse()

    def request(self, method, *args, **kwargs):
        c, r = self.start(method, *args, **kwargs)
        try:
            return Response(r.status, {n.lower(): v for n, v in r.getheaders()}, r.read())
        finally:
            if not self.keep:
                c.close()

    def get(self, bucket=None, key=None, **kwargs):
        return self.request("GET", bucket, key, **kwargs)

    def head(self, bucket, key=None, **kwargs):
        return self.request("HEAD", bucket, key, **kwargs)

    def put(self, bucket, key, body, **kwargs):
        return self.request("PUT", bucket, key, body=body, **kwargs)

    def list_page(self, bucket, **query):
        """One page: {"keys": [...], "prefixes": [...], "next": token or None, "objects": [dict], "root": Element}"""
        q = {"list-type": "2", **{n.replace("_", "-"): v for n, v in query.items()}}
        r = self.get(bucket, query=q)
        if r.status != 200:
            raise RuntimeError(f"{r.status} {error_code(r)}")
        root = xml.etree.ElementTree.fromstring(r.body)
        if root.tag != NAMESPACE + "ListBucketResult":
            raise RuntimeError(root.tag)
        plain = urllib.parse.unquote_plus if q.get("encoding-type") == "url" else str
        objects = [{e.tag[len(NAMESPACE):]: e.text or "" for e in c} for c in root.iter(NAMESPACE + "Contents")]
        return {"keys": [plain(o["Key"]) for o in objects], "objects": objects, "root": root,
                "prefixes": [plain(p.findtext(NAMESPACE + "Prefix")) for p in root.iter(NAMESPACE + "CommonPrefixes")],
                "next": root.findtext(NAMESPACE + "NextContinuationToken")}

    def list_all(self, bucket, **query):
        keys, token = [], None
        while True:
            page = self.list_page(bucket, **query, **({"continuation_token": token} if token else {}))
            keys += page["keys"]
            token = page["next"]
            if not token:
                return keys


def error_code(response):
    return xml.etree.ElementTree.fromstring(response.body).findtext("Code") if response.body else None
