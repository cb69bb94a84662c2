#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Answers that no S3 gives, but what stands between may: captive portals, proxies that pack or cut or add, servers of
another make, lists in every dress that XML has; and TLS that is too old or not to be trusted. One a row, as in
network_test.py: what czard must make of it, and that it heals by itself.

    CZARD_BUILD=build/release tests/fault/wire_test.py [-v] [-k TEXT] [-j N]
"""

import gzip
import re
import ssl
import warnings
from dataclasses import dataclass, field

from network_test import EVENTS, EVENTS_LIST, TRIES, Row
from table import main, tls
from wire import Answer, Relay


@dataclass
class WireRow(Row):
    answers: list = field(default_factory=list)  # (answer, op, name, count)
    context: callable = None                     # of the authority: an SSLContext of the relay

    def run(self, p):
        p.relay = Relay(p.s3.port, self.context(p) if self.context else None)
        p.config["s3"]["endpoint"] = f"http{'s' if self.context else ''}://localhost:{p.relay.port}"
        if self.context:
            p.config["s3"]["ca_file"] = p.authority.ca
        given, self.prepare = self.prepare, lambda p: (given and given(p), [p.relay.on(*answer) for answer in self.answers])
        super_repair, self.repair = self.repair, lambda p: (p.relay.clear(), super_repair and super_repair(p))
        # czard is asked, not the stand-in, which does not see what the relay keeps
        p.requests = lambda op=None, key=None: [a for a in p.relay.asked if (op is None or a.op == op)
                                                and (key is None or (a.name if op == "list" else a.key) == key)]
        forget = p.s3.forget_requests
        p.s3.forget_requests = lambda: (forget(), p.relay.asked.clear())
        try:
            super().run(p)
        finally:
            p.relay.close()


def changed(change):
    """A function of the answer only; what it gives back is not looked at, unless it is bytes."""
    def answer(_, up):
        out = change(up)
        return out if isinstance(out, bytes) else up.raw()
    return answer


def get(name, change, **more):
    """Once for the events file. It is noticed at once, and the second try is good."""
    more = {"told": {"retry bad-answer"}, "gets": (2, 2), **more}
    return WireRow(name, answers=[(changed(change), "get", EVENTS, 1)], **more)


def fine(name, change, **more):
    """As odd as it looks, it is all there."""
    return get(name, change, told=set(), gets=(1, 1), **more)


def listing(name, change, **more):
    """Once for the list of events."""
    return WireRow(f"list: {name}", answers=[(changed(change), "list", EVENTS_LIST, 1)], **{"lists": (2, 2), "gets": (1, 1), **more})


def fine_list(name, change, **more):
    return listing(name, change, lists=(1, 1), **more)


def xml(change):
    """Another body of a list."""
    return lambda up: up.with_body(change(up.body))


def sub(pattern, by, count=0):
    def change(body):
        out = re.sub(pattern, by, body, count=count)
        assert out != body, (pattern, body[:500])
        return out
    return xml(change)


PORTAL = b"<!DOCTYPE html><html><head><title>Login</title></head><body>Please log in<br></body></html>"
OURS = rb"(2024-07-08\.log\.gz\.gpg</Key>.*?"  # up to a field of the events file


def portal(status=200, reason="OK"):
    return lambda up: Answer(status, reason, [("Content-Type", "text/html")], b"").with_body(PORTAL).raw()


HTTP = [
    get("a captive portal", portal()),
    get("a captive portal that never ends its page", lambda up: portal()(up).replace(b"Content-Length: 91\r\n", b"") + b"<br>" * 5000),
    get("203 of a proxy that changes what it passes on", lambda up: setattr(up, "status", 203)),
    get("304", portal(304, "Not Modified")),
    get("101", lambda up: b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + up.raw()),
    get("HTTP/0.9", lambda up: up.body),
    get("a weak ETag", lambda up: up.set("ETag", "W/" + up.get("ETag"))),
    get("an empty ETag", lambda up: up.set("ETag", "")),
    get("two ETags", lambda up: up.add("ETag", '"' + "0" * 32 + '"')),
    get("two lengths", lambda up: up.add("Content-Length", "5")),
    get("a negative length", lambda up: up.set("Content-Length", "-1")),
    get("packed on the way", lambda up: up.with_body(gzip.compress(up.body)).set("Content-Encoding", "gzip")),
    get("a header of 200 KB", lambda up: up.set("X-Junk", "j" * 200_000)),
    get("an error page of 200 KB", lambda up: Answer(503, "Busy", [("Retry-After", "1")], b"").with_body(PORTAL * 2000).raw(), told=set()),
    get("a NUL in a header", lambda up: up.set("X-Junk", "a\0b")),
    fine("two lengths of which one does not count", lambda up: up.set("X-Was", "chunked").chunked().replace(
        b"X-Was: chunked", b"Content-Length: 5")),
    fine("chunks, and another ETag behind them", lambda up: up.chunked(b'ETag: "other"\r\n')),
    fine("no ETag", lambda up: up.without("ETag")),
    fine("an ETag without quotes", lambda up: up.set("ETag", up.get("ETag").strip('"'))),
    fine("HTTP/1.0, until close", lambda up: up.without("Content-Length").raw("HTTP/1.0")),
    fine("interim answers", lambda up: b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nETag: \"x\"\r\n\r\n" * 3 + up.raw()),
    fine("nonsense for dates", lambda up: up.set("Last-Modified", "Mon, 32 Foo 20x4").set("Date", "soon")),
    fine("a Content-Encoding of the object's own", lambda up: up.set("Content-Encoding", "aws-chunked")),
    fine("places to go", lambda up: up.set("Location", "http://127.0.0.1:1/").set("Refresh", "0; url=http://127.0.0.1:1/")),
]

LISTS = [
    listing("a captive portal", portal()),
    listing("206", lambda up: setattr(up, "status", 206)),
    listing("204", portal(204, "No Content")),
    listing("304", portal(304, "Not Modified")),
    WireRow("list: 404 of a proxy", answers=[(changed(portal(404, "Not Found")), "list", EVENTS_LIST)], code=1, state=None,
            told={"retry bad-answer"}, unstaged=["universityx/events"], lists=(TRIES, TRIES), heal_gets=(1, 1)),
    listing("two lengths", lambda up: up.add("Content-Length", "5")),
    listing("an element of another namespace's prefix", xml(lambda b: b.replace(b"ListBucketResult", b"s3:ListBucketResult").replace(
        b"xmlns=", b"xmlns:s3="))),
    # That entry alone is left out, and told.
    *[fine_list(name, change, code=1, state=None, told={"note bad-answer"},
                unstaged=["universityx/events/edx/2024/universityx-edx-events-2024-07-08.log.gz"], gets=(0, 0), heal_gets=(1, 1))
      for name, change in (
          ("no size", sub(OURS + rb")<Size>\d+</Size>", rb"\1")),
          ("a size of 2^63", sub(OURS + rb"<Size>)\d+", rb"\g<1>9223372036854775808")),
          ("no such day", sub(OURS + rb"<LastModified>)[^<]*", rb"\g<1>2024-02-30T00:00:00.000Z")))],
    fine_list("half an escape in a key", sub(rb"</Contents>", b"</Contents><Contents><Key>universityx/edx/events/2024/x%2</Key><Size>1"
                                             b"</Size><ETag>x</ETag><LastModified>2024-07-08T00:00:00.000Z</LastModified></Contents>", 1),
              code=1, told={"note bad-answer"}),
    fine_list("names of another bucket and prefix", sub(rb"<(Name|Prefix)>", rb"<\1>other")),
    fine_list("a wrong KeyCount", sub(rb"<KeyCount>\d+", b"<KeyCount>-9")),
    fine_list("UTF-16", xml(lambda b: b.decode().replace("UTF-8", "UTF-16").encode("utf-16"))),
    fine_list("BOM, CDATA and comments", xml(lambda b: b"\xef\xbb\xbf" + re.sub(rb"<Key>(.*?)-edx", rb"<Key><!-- a --><![CDATA[\1]]><!-- b -->-edx",
                                                                               b))),
    fine_list("no namespace, and things that are new", xml(lambda b: re.sub(rb' xmlns="[^"]*"', b"", b).replace(
        b"<StorageClass>", b"<Owner><ID>x</ID></Owner><ChecksumType>FULL_OBJECT</ChecksumType><StorageClass>"))),
    # The ETag is what tells versions apart: with another time only, the staged file is still the object.
    *[WireRow(f"list: written again at {year} with the same content", warm=True, gets=(0, 0), lists=(1, 1),
              answers=[(changed(sub(OURS + rb"<LastModified>)\d{4}", rb"\g<1>%d" % year)), "list", EVENTS_LIST)])
      for year in (1960, 2025, 9999)],
    # What a listing says may be wrong; the next one that says another size is believed.
    WireRow("list: another size, until the next one", answers=[(changed(sub(OURS + rb"<Size>)\d+", rb"\g<1>7")), "list", EVENTS_LIST)], code=1,
            state="RETRY", cause="bad-answer", told={"retry bad-answer"}, gets=(TRIES, TRIES), heal_gets=(1, 1)),
]


# -- TLS -----------------------------------------------------------------------------------------------------------------
def served(certificate, **more):
    def context(p):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        c.load_cert_chain(*certificate(p))
        for name, value in more.items():
            setattr(c, name, value)
        return c
    return context


def old_tls(p):
    warnings.simplefilter("ignore", DeprecationWarning)  # it is the point
    c = served(lambda p: p.base.certificates["good"][:2])(p)
    c.set_ciphers("ALL:@SECLEVEL=0")
    c.minimum_version, c.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    return c


def unknown_authority(p):
    return tls.Authority(p.folder / "other-authority").server()[:2]


def below_an_expired_one(p):
    """A good certificate, of an intermediate authority of ours whose time is over."""
    folder, authority = p.folder / "intermediate", p.authority
    below = tls.Authority(folder)
    request = folder / "ca.csr"
    tls.run(["openssl", "req", "-new", "-key", folder / "ca.key", "-subj", "/CN=czard test intermediate", "-out", request])
    (folder / "ca.ext").write_text("basicConstraints=critical,CA:TRUE\n")
    tls.run(["openssl", "x509", "-req", "-in", request, "-CA", authority.ca, "-CAkey", authority.folder / "ca.key", "-CAserial",
             folder / "serial", "-CAcreateserial", *tls.over(), "-extfile", folder / "ca.ext", "-out", below.ca])
    certificate, key, _ = below.server()
    chain = folder / "chain.pem"
    chain.write_bytes(certificate.read_bytes() + below.ca.read_bytes())
    return chain, key


def serve_well(p):
    p.relay.close()
    p.relay = Relay(p.s3.port, served(lambda p: p.base.certificates["good"][:2])(p))
    p.config["s3"]["endpoint"] = f"https://localhost:{p.relay.port}"


WAYS = [
    WireRow(f"TLS: {name}", context=context, code=1, state=None, told={"retry tls"}, unstaged=["universityx"], repair=serve_well,
            heal_gets=(1, 1))
    for name, context in (("1.1 at most", old_tls), ("an authority that nobody knows", served(unknown_authority)),
                          ("an authority in between that has expired", served(below_an_expired_one)))]
WAYS.append(WireRow("TLS: 1.2", context=served(lambda p: p.base.certificates["good"][:2], maximum_version=ssl.TLSVersion.TLSv1_2), gets=(1, 1)))

if __name__ == "__main__":
    main(HTTP + LISTS + WAYS, jobs=8)
