#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Faults of S3 and of the way to it, one a row: what the stand-in or the network does, and what czard must make of
it: exit status, state and cause in the ledger, entries in the journal, number of requests. Then the fault ends, and
czard heals by itself: everything is staged byte for byte, and nothing is fetched twice.

    CZARD_BUILD=build/release tests/fault/network_test.py [-v] [-k TEXT] [-j N]
"""

import calendar
import socket
import time
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from table import Base, Place, fingerprint, main, md5

EVENTS, ARCHIVE = "*events-2024-07-08*", "universityx-2024-07-07.zip"
EVENTS_LIST = "universityx/edx/events/*"
TRIES = 5  # of an object in one run
# libcurl asks again by itself, at most five times, when a connection that it kept ends without an answer.
ASKED = 6 * TRIES
HOUR = 3600


@dataclass
class Row:
    name: str
    behaviours: list = field(default_factory=list)
    category: str = "events"     # the object that is looked at
    code: int = 0
    state: str = "PUBLISHED"     # None: not known to the ledger
    cause: str = "none"
    told: set = field(default_factory=set)  # all warnings and errors of the run: "EVENT CAUSE"
    may: set = field(default_factory=set)   # ... and what depends on how fast both sides are
    gets: tuple = None           # (least, most) GETs of the object
    lists: tuple = None          # ... LISTs of the events' prefix
    seconds: tuple = (0, 100)
    unstaged: list = None        # what may be missing below staging; default: the object when it is not PUBLISHED
    warm: bool = False           # a run without faults comes first; the fault must change nothing
    export_again: bool = False   # REJECTED: heals when edX exports it again, not before
    heal_gets: tuple = None      # GETs of the object in the run that heals
    certificate: str = None
    prepare: callable = None     # of the place, before the run with the fault
    repair: callable = None      # ... before the run without
    after: callable = None       # more checks, behind the run with the fault

    def run(self, p):
        self.object = p.base.find(self.category)
        if self.warm:
            p.check("exit status of the first run", p.once().code, 0)
            before, staged = p.objects(), fingerprint(p.staging)
        if self.prepare:
            self.prepare(p)
        p.behave(self.behaviours)
        p.once()
        self.look(p)
        if self.warm:
            p.check("objects", {k: (o["state"], o["etag"]) for k, o in p.objects().items()},
                    {k: (o["state"], o["etag"]) for k, o in before.items()})
            p.check("staging is as it was", fingerprint(p.staging) == staged, True)
        self.heal(p)

    def look(self, p):
        o, done = self.object, p.last
        row = p.objects().get(o["key"])
        p.check("exit status", done.code, self.code)
        p.check("state", row and row["state"], self.state)
        if row:
            p.check("cause", row["cause"], self.cause)
        p.check("told", p.told() - self.may, self.told)
        p.check("seconds", done.seconds, self.seconds)
        if self.gets:
            p.check("GETs", len(p.requests("get", o["key"])), self.gets)
        if self.lists:
            p.check("LISTs", len(p.requests("list", EVENTS_LIST[:-1])), self.lists)
        hidden = self.unstaged if self.unstaged is not None else [] if self.state == "PUBLISHED" else [o["path"]]
        p.check_staging("with the fault", [] if self.warm else hidden)
        p.check_audit()
        if self.after:
            self.after(p)

    def heal(self, p):
        o = self.object
        p.behave_well()
        if self.repair:
            self.repair(p)
        if self.export_again:
            p.check("exit status while nothing is new", p.once().code, 0)
            p.check("GETs of what is rejected", len(p.requests("get", o["key"])), 0)
            plain = (p.base.package / "expected" / o["path"]).read_bytes()
            p.put(o["bucket"], o["key"], p.base.keys.encrypt(plain))
        p.once()
        p.check("exit status of the run that heals", p.last.code, 0)
        p.check("told by the run that heals", p.told(), set())
        p.check_staging("healed")
        state = p.objects().get(o["key"])
        p.check("healed state", state and [state["state"], state["cause"]], ["PUBLISHED", "none"])
        if self.heal_gets:
            p.check("GETs of the run that heals", len(p.requests("get", o["key"])), self.heal_gets)
        elif self.state == "PUBLISHED":
            p.check("requests of a run with nothing to do", [r for r in p.requests() if r.op != "list"], [])
        p.check_audit()


# -- what the rows are made of -------------------------------------------------------------------------------------
def get(**what):
    """A behaviour for GETs of the events file."""
    return {"op": "get", "key": EVENTS, **what}


def zip_get(**what):
    return {"op": "get", "key": ARCHIVE, **what}


def listing(**what):
    return {"op": "list", "key": EVENTS_LIST, **what}


def passing(name, behaviours, gets, told=(), **more):
    """A fault that passes: the run still succeeds."""
    return Row(name, behaviours, gets=gets, told=set(told), **more)


def lasting(name, behaviours, cause, gets, **more):
    """A fault that stays: tried again as often as a run may, and once more when the fault has ended."""
    more = {"code": 1, "state": "RETRY", "cause": cause, "told": {f"retry {cause}"}, "heal_gets": (1, 1), **more}
    return Row(name, behaviours, gets=gets, **more)


def rejected(name, behaviours, cause, gets, **more):
    more = {"code": 1, "state": "REJECTED", "cause": cause, "told": {f"retry {cause}", f"rejected {cause}"}, **more}
    return Row(name, behaviours, gets=gets, export_again=True, heal_gets=(1, 1), **more)


def bad_list(name, behaviours, cause, lists, **more):
    """A listing that fails: nothing of that prefix is known, the rest is staged."""
    more = {"code": 1, "state": None, "told": {f"retry {cause}"}, "unstaged": ["universityx/events"], "heal_gets": (1, 1),
            **more}
    return Row(name, behaviours, lists=lists, **more)


def entry(key, size, etag, modified="2024-07-09T05:12:09.000Z"):
    return (f"<Contents><Key>{escape(key)}</Key><LastModified>{modified}</LastModified><ETag>&quot;{etag}&quot;</ETag>"
            f"<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>")


def our_entries(p):
    out = []
    for o in p.facts["objects"]:
        if o["category"] == "events":
            data = (p.folder / "buckets" / o["bucket"] / o["key"]).read_bytes()
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(o["last_modified"]))
            out.append(entry(o["key"], len(data), md5(data), stamp))
    return sorted(out)


def list_xml(entries, token=None, more=False, head=""):
    truncated = "true" if token or more else "false"
    following = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return ('<?xml version="1.0" encoding="UTF-8"?>\n' + head + '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>edx-course-data</Name><Prefix>{EVENTS_LIST[:-1]}</Prefix><KeyCount>{len(entries)}</KeyCount>"
            f"<MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType><IsTruncated>{truncated}</IsTruncated>{following}"
            + "".join(entries) + "</ListBucketResult>").encode()


def body(name, make):
    """A body made of what the place holds."""
    return lambda p: p.file(name, make(p))


def xml_row(name, make, lists, cause="bad-answer", **more):
    return bad_list(f"list: {name}", [listing(status=200, content_type="application/xml", body=body("list.xml", make))], cause, lists,
                    **more)


def odd_entry(name, key, size):
    """It alone is left out, and told."""
    make = body("list.xml", lambda p: list_xml(our_entries(p) + [entry(key, size, "0" * 32)]))
    return Row(f"list: {name}", [listing(status=200, content_type="application/xml", body=make)], lists=(1, 1), code=1,
               told={"note bad-answer"}, gets=(1, 1))


ODD_KEY = EVENTS_LIST[:-1] + "2024/universityx-edx-events-2024-07-09.log.gz.gpg"
LAUGHS = "<!DOCTYPE x [<!ENTITY a0 \"ha\">" + "".join(
    f"<!ENTITY a{n} \"{f'&a{n - 1};' * 10}\">" for n in range(1, 10)) + "]>\n"
OUTSIDE = '<!DOCTYPE x [<!ENTITY a9 SYSTEM "file:///etc/passwd">]>\n'


# -- objects that change ---------------------------------------------------------------------------------------------
def other_content(p):
    """A new export with other content; what is to be staged of it."""
    import gzip
    o = p.base.find("events")
    plain = gzip.compress(b'{"event": "another"}\n' * 300, mtime=0)
    p.expect(o["path"], plain)
    return p.base.keys.encrypt(plain)


def same_size(p):
    """Other bytes of exactly the same size, with another ETag."""
    o = p.base.find("events")
    data = bytearray((p.folder / "buckets" / o["bucket"] / o["key"]).read_bytes())
    data[-2000] ^= 1
    return bytes(data)


REPLACED = body("other.gpg", other_content)


def old_is_whole(p):
    """The bytes that the GET began with were staged; the next poll sees the new ones."""
    o = p.base.find("events")
    same = (p.staging / o["path"]).read_bytes() == (p.base.package / "expected" / o["path"]).read_bytes()
    p.check("the old content is staged", same, True)


def put_back(category):
    def put(p):
        o = p.base.find(category)
        data = (p.base.package / "buckets" / o["bucket"] / o["key"]).read_bytes()
        p.put(o["bucket"], o["key"], data, o["last_modified"])
    return put


def then_gone(category):
    """The next full listing does not have it."""
    def look(p):
        p.behave_well()
        p.check("exit status when it is not listed", p.once().code, 0)
        p.check("state when it is not listed", p.objects()[p.base.find(category)["key"]]["state"], "GONE")
    return look


# -- rows --------------------------------------------------------------------------------------------------------------
CONNECTION = [
    Row("no fault", gets=(1, 1), lists=(1, 1)),
    passing("reset before the first byte", [get(reset_at=0, count=1)], (2, 2)),
    passing("reset after the first byte", [get(reset_at=1, count=1)], (2, 2)),
    passing("reset at half", [get(reset_at="50%", count=1)], (2, 2)),
    passing("reset before the last byte", [get(reset_at="last", count=1)], (2, 2)),
    passing("cut at half of ten answers", [get(truncate_at="50%", framing="length", count=10)], (11, 11)),
    passing("cut after each byte of three", [get(truncate_at=1, framing="length", count=3)], (4, 4)),
    passing("no answer", [get(drop=1, count=1)], (2, 2)),
    lasting("never an answer", [get(drop=1)], "network", (TRIES, ASKED)),
    lasting("always reset before the first byte", [get(reset_at=0)], "network", (TRIES, 2 * TRIES)),
    passing("stall before the first byte", [get(stall_at=0, count=1)], (2, 2), seconds=(1, 45)),
    passing("stall at half", [get(stall_at="50%", count=1)], (2, 2), seconds=(1, 45)),
    passing("stall before the last byte", [get(stall_at="last", count=1)], (2, 2), seconds=(1, 45)),
    lasting("stall for ever", [get(stall_at=0)], "timeout", (TRIES, 2 * TRIES)),
    passing("answer late, but in time", [get(delay=600)], (1, 1)),
    passing("slow drip", [get(drip=2000, count=1)], (1, 1), seconds=(2, 60)),
    passing("truncated, by its Content-Length", [get(truncate_at="50%", framing="length", count=1)], (2, 2)),
    passing("truncated to nothing, by its Content-Length", [get(truncate_at=0, framing="length", count=1)], (2, 2)),
    passing("truncated with a Content-Length that fits", [get(truncate_at="50%", framing="short", count=1)], (2, 2),
            {"retry bad-answer"}),
    passing("truncated and chunked", [get(truncate_at="50%", framing="chunked", count=1)], (2, 2)),
    passing("truncated until close", [get(truncate_at="50%", framing="close", count=1)], (2, 2)),
    passing("truncated by one byte until close", [get(truncate_at="last", framing="close", count=1)], (2, 2)),
    # The ETag is that of the listing: one of the two sizes is a lie, and not the object's.
    lasting("always truncated with a Content-Length that fits", [get(truncate_at="50%", framing="short")], "bad-answer",
            (TRIES, TRIES)),
    passing("too long", [get(extra=100, count=1)], (2, 2), {"retry bad-answer"}),
    lasting("always too long", [get(extra=1)], "bad-answer", (TRIES, TRIES)),
]

# Half of the body comes for sure; after a reset the client may not have read what came before it.
HALF = get(truncate_at="50%", framing="length", count=1)
RESUME = [
    passing("200 for a range", [HALF, get(range="yes", full_for_range=1)], (3, 3), {"retry bad-answer"}),
    passing("206 with a later range", [HALF, get(range="yes", shift_range=100)], (3, 3),
            {"retry bad-answer"}),
    passing("206 with an earlier range", [HALF, get(range="yes", shift_range=-100)], (3, 3),
            {"retry bad-answer"}),
    passing("206 without a Content-Range", [HALF, get(range="yes", header="Content-Range:")], (3, 3),
            {"retry bad-answer"}),
    passing("206 of an object of another size",
            [HALF, get(range="yes", header="Content-Range: bytes 2000-5466/99999")], (3, 3),
            {"retry bad-answer"}),
    passing("416 for a range", [HALF, get(range="yes", status=416, code="InvalidRange")], (3, 3),
            {"retry wrong-size"}),
    passing("206 for the whole", [get(status=206, count=1)], (2, 2), {"retry bad-answer"}),
    passing("resumed with another ETag", [HALF, get(range="yes", count=1, etag='"' + "0" * 32 + '"')],
            (3, 3), {"retry replaced"}),
    passing("error between two parts", [HALF, get(range="yes", status=503, code="SlowDown", count=1)],
            (3, 3)),
]

DIGESTS = [
    passing("wrong ETag once", [get(etag='"' + "1" * 32 + '"', count=1)], (2, 2), {"retry replaced"}),
    lasting("always a wrong ETag", [get(etag='"' + "1" * 32 + '"')], "replaced", (TRIES, TRIES)),
    passing("a byte changed on the way", [get(corrupt_at=3000, count=1)], (2, 2), {"retry etag-mismatch"}),
    passing("the first byte changed on the way", [get(corrupt_at=0, count=1)], (2, 2), {"retry etag-mismatch"}),
    rejected("always a byte changed", [get(corrupt_at=3000)], "etag-mismatch", (TRIES, TRIES)),
    passing("wrong checksum once", [get(checksum="wrong", count=1)], (2, 2), {"retry checksum-mismatch"},
            prepare=lambda p: p.meta("edx-course-data", p.base.find("events")["key"], checksum_sha256="auto")),
    rejected("always a wrong checksum", [get(checksum="wrong")], "checksum-mismatch", (TRIES, TRIES),
             prepare=lambda p: p.meta("edx-course-data", p.base.find("events")["key"], checksum_crc32="auto")),
]

REPLACEMENTS = [
    passing("replaced between LIST and GET", [get(replace_with=REPLACED, count=1)], (2, 2), {"retry replaced"}),
    passing("replaced, and If-Match is not looked at", [get(replace_with=REPLACED, ignore_if_match=1, count=1)], (2, 2),
            {"retry replaced"}),
    Row("replaced in mid-body", [get(replace_with=REPLACED, replace_after="50%", count=1)], gets=(1, 1),
        unstaged=["universityx/events"], heal_gets=(1, 1), after=old_is_whole,
        prepare=lambda p: p.config["staging"].update(keep_replaced="0")),
    passing("replaced in mid-body, and reset", [get(replace_with=REPLACED, replace_after="50%", truncate_at="50%", framing="length", count=1)], (3, 3),
            {"retry replaced"}),
    passing("replaced in mid-body, and the bytes mixed",
            [get(replace_with=body("same.gpg", same_size), replace_after="30%", replace_mix=1, count=1)], (3, 20),
            {"retry etag-mismatch", "retry replaced", "rejected bad-integrity"}, code=1, state="REJECTED", cause="bad-integrity",
            export_again=True, heal_gets=(1, 1)),
    # Who may list only below a prefix is told 403 for a key that is not there.
    lasting("removed between LIST and GET", [get(remove=1, count=1)], "access-denied", (1, 1), repair=put_back("events"),
            after=then_gone("events")),
    Row("archive removed between LIST and GET", [zip_get(remove=1, count=1)], category="database", gets=(1, 1), state="GONE",
        cause="gone", heal_gets=(2, 2), unstaged=["universityx/database"], repair=put_back("database"), after=then_gone("database")),
]


def refused_key(p):
    said = p.last.events("credentials-refused")
    p.check("key id", {e.fields.get("CZARD_ACCESS_KEY_ID") for e in said}, {p.facts["access_key_id"]})
    p.check("level", {e.level for e in said}, {"err"})


def says_skew(seconds):
    def check(p):
        text = " ".join(e.message for e in p.last.events("clock-skew"))
        numbers = [int(word) for word in text.split() if word.isdigit()]
        p.check("skew", numbers and abs(numbers[0] - seconds) < 30, True)
    return check


class Elsewhere:
    """Another host, which counts who comes."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/"

    def visitors(self):
        try:
            self.socket.accept()
            return 1
        except BlockingIOError:
            return 0


def elsewhere(p):
    p.elsewhere = Elsewhere()


def not_elsewhere(p):
    p.check("visitors of the other host", p.elsewhere.visitors(), 0)
    p.elsewhere.socket.close()


EVENTS_AND_RDX = ["universityx/events", "universityx/rdx"]


def bad_key(code):
    # A key that was good for the listing is not refused by its signature: something changes the request.
    if code == "SignatureDoesNotMatch":
        return bad_key_on_list(code) + [lasting(f"403 {code} on GET", [get(status=403, code=code)], "proxy", (TRIES, 2 * TRIES))]
    return bad_key_on_list(code) + [
        Row(f"403 {code} on GET", [get(status=403, code=code)], code=1, state="NEW", cause="credentials", gets=(1, 1),
            told={"credentials-refused credentials"}, unstaged=EVENTS_AND_RDX, heal_gets=(1, 1), after=refused_key),
    ]


def bad_key_on_list(code):
    return [
        Row(f"403 {code} on LIST", [{"op": "list", "bucket": "edx-course-data", "status": 403, "code": code}], code=1, state=None,
            told={"credentials-refused credentials"}, lists=(1, 1), unstaged=EVENTS_AND_RDX, heal_gets=(1, 1), after=refused_key),
    ]


ANSWERS = [
    passing("500 once", [get(status=500, code="InternalError", count=1)], (2, 2)),
    lasting("always 500", [get(status=500, code="InternalError")], "server-error", (TRIES, 2 * TRIES)),
    passing("500 without a body", [get(status=500, count=3)], (4, 4), {"retry server-error"}),
    passing("502 of a proxy, in HTML", [get(status=502, body=body("e.html", lambda p: b"<html><body>Bad Gateway<br></html>"), count=1)],
            (2, 2)),
    passing("429", [get(status=429, count=1)], (2, 2)),
    passing("503 SlowDown", [get(status=503, code="SlowDown", count=1)], (2, 2)),
    passing("503 SlowDown with Retry-After", [get(status=503, code="SlowDown", retry_after=3, count=1)], (2, 2), seconds=(3, 60)),
    lasting("503 SlowDown that lasts", [get(status=503, code="SlowDown")], "throttled", (TRIES, 2 * TRIES)),
    lasting("503 with a Retry-After of an hour", [get(status=503, code="SlowDown", retry_after=HOUR)], "throttled", (1, 1),
            seconds=(0, 90)),
    passing("503 with a Retry-After that is none", [get(status=503, code="SlowDown", retry_after="soon", count=1)], (2, 2)),
    lasting("403 AccessDenied on GET", [get(status=403, code="AccessDenied")], "access-denied", (1, TRIES)),
    bad_list("403 AccessDenied on LIST", [listing(status=403, code="AccessDenied")], "access-denied", (1, 1)),
    bad_list("403 without a code on LIST", [listing(status=403, body=body("e", lambda p: b""))], "bad-answer", (TRIES, TRIES)),
    *bad_key("InvalidAccessKeyId"), *bad_key("SignatureDoesNotMatch"), *bad_key("ExpiredToken"),
    lasting("404, and listed still", [get(status=404, code="NoSuchKey")], "listed-but-missing", (TRIES, TRIES)),
    lasting("always 412", [get(status=412, code="PreconditionFailed")], "replaced", (TRIES, TRIES)),
    lasting("always 416, though no range was asked for", [get(status=416, code="InvalidRange")], "bad-answer", (TRIES, TRIES)),
    *(lasting(f"{status} of a proxy", [get(status=status, body=body("p.html", lambda p: b"<html>Sorry<br></html>"))], "bad-answer",
              (TRIES, TRIES)) for status in (404, 412, 416)),
    lasting("404 without a body", [get(status=404, body=body("e", lambda p: b""))], "bad-answer", (TRIES, TRIES)),
    passing("301 with region", [{"bucket": "edx-course-data", "redirect_region": "eu-central-1"}], (1, 2)),
    passing("400 AuthorizationHeaderMalformed with region",
            [{"bucket": "edx-course-data", "redirect_region": "eu-west-1", "redirect_status": 400}], (1, 2)),
    passing("307 with region", [{"bucket": "edx-course-data", "redirect_region": "us-west-2", "redirect_status": 307}], (1, 2)),
    *[lasting(f"{status} to another host", [get(status=status, header=lambda p: f"Location: {p.elsewhere.url}", **more)], "bad-answer",
              (TRIES, TRIES), prepare=elsewhere, after=not_elsewhere)
      for status, more in ((301, {"code": "PermanentRedirect"}), (302, {"code": "Found"}), (307, {"code": "TemporaryRedirect"}))],
    lasting("301 to a region that is a host", [get(status=301, code="PermanentRedirect", header=lambda p: "x-amz-bucket-region: evil.example/")],
            "bad-answer", (TRIES, TRIES)),
    lasting("301 to a region and back", [get(status=301, code="PermanentRedirect", header="x-amz-bucket-region: eu-west-3")], "bad-answer",
            (TRIES, 2 * TRIES)),  # each time anew when another object of the bucket has found the way back
    lasting("204", [get(status=204)], "bad-answer", (TRIES, TRIES)),
    passing("200 in HTML, once", [get(status=200, body=body("e.html", lambda p: b"<html>Please log in</html>"), count=1)], (2, 2),
            {"retry bad-answer"}),
    Row("clock behind", [{"date_skew": 2 * HOUR}], code=1, state=None, told={"clock-skew clock-skew", "retry clock-skew"},
        lists=(1, 1), unstaged=["universityx"], heal_gets=(1, 1), after=says_skew(2 * HOUR)),
    Row("clock ahead", [{"date_skew": -2 * HOUR}], code=1, state=None, told={"clock-skew clock-skew", "retry clock-skew"},
        lists=(1, 1), unstaged=["universityx"], heal_gets=(1, 1), after=says_skew(2 * HOUR)),
    passing("clock slightly off", [{"date_skew": 300}], (1, 1)),
    lasting("clock wrong from the first GET on", [{"op": "get", "date_skew": 2 * HOUR}], "clock-skew", (1, TRIES),
            told={"clock-skew clock-skew", "retry clock-skew"}, unstaged=["universityx"]),
]

LISTS = [
    passing("list: reset", [listing(reset_at="50%", count=1)], (1, 1), lists=(2, 2)),
    passing("list: stall", [listing(stall_at="50%", count=1)], (1, 1), lists=(2, 2)),
    passing("list: cut by its Content-Length", [listing(truncate_at="50%", framing="length", count=1)], (1, 1), lists=(2, 2)),
    passing("list: 500", [listing(status=500, code="InternalError", count=1)], (1, 1), lists=(2, 2)),
    passing("list: SlowDown with Retry-After", [listing(status=503, code="SlowDown", retry_after=2, count=1)], (1, 1), lists=(2, 2),
            seconds=(2, 60)),
    bad_list("list: always 500", [listing(status=500)], "server-error", (TRIES, 2 * TRIES)),
    bad_list("list: Retry-After of an hour", [listing(status=503, code="SlowDown", retry_after=HOUR)], "throttled", (1, 1),
             seconds=(0, 90)),
    bad_list("list: never an answer", [listing(drop=1)], "network", (TRIES, ASKED)),
    passing("list: cut in the XML, once", [listing(truncate_at="50%", framing="short", count=1)], (1, 1), lists=(2, 2)),
    bad_list("list: cut in the XML", [listing(truncate_at="50%", framing="short")], "bad-answer", (TRIES, TRIES)),
    bad_list("list: cut in the XML, chunked", [listing(truncate_at="90%", framing="chunked")], "bad-answer", (TRIES, TRIES)),
    bad_list("list: cut to nothing", [listing(truncate_at=0, framing="short")], "bad-answer", (TRIES, TRIES)),
    bad_list("list: endless", [listing(status=200, body_head=body("h", lambda p: list_xml([])[:-len("</ListBucketResult>")]),
                                       body=body("b", lambda p: entry("universityx/edx/events/x", 1, "0" * 32).encode() * 50),
                                       body_repeat="forever")], "bad-answer", (TRIES, TRIES)),
    bad_list("list: an endless name", [listing(status=200, body_head=body("h", lambda p: b"<ListBucketResult><"),
                                               body=body("b", lambda p: b"x" * 65536), body_repeat="forever")], "bad-answer",
             (TRIES, TRIES)),
    xml_row("deep", lambda p: b"<ListBucketResult>" + b"<a>" * 100000, (TRIES, TRIES)),
    xml_row("entity-laden", lambda p: list_xml(["<Contents><Key>&a9;</Key></Contents>"], head=LAUGHS), (TRIES, TRIES)),
    xml_row("entity from a file", lambda p: list_xml(["<Contents><Key>&a9;</Key></Contents>"], head=OUTSIDE), (TRIES, TRIES)),
    xml_row("not XML", lambda p: b"<html><body><p>Please log in<br></body></html>", (TRIES, TRIES)),
    xml_row("JSON", lambda p: b'{"ListBucketResult": []}', (TRIES, TRIES)),
    xml_row("other XML", lambda p: b"<Error><Code>SlowDown</Code></Error>", (TRIES, TRIES)),
    xml_row("two documents", lambda p: list_xml(our_entries(p)) * 2, (TRIES, TRIES)),
    xml_row("truncated without a token", lambda p: list_xml(our_entries(p), more=True), (TRIES, TRIES)),
    xml_row("keys of another prefix", lambda p: list_xml([entry("otherx/edx/events/2024/x", 1, "0" * 32)]), (TRIES, TRIES)),
    odd_entry("a negative size", ODD_KEY, -1),
    odd_entry("a size of 2^64", ODD_KEY, 2 ** 64),
    odd_entry("a key of 1,025 bytes", ODD_KEY.ljust(1025, "k"), 1),
    Row("list: keys of 1,024 bytes", [listing(status=200, body=body("l", lambda p: list_xml(
        sorted([entry((EVENTS_LIST[:-1] + "2024/").ljust(1023, "k") + c, 1, "0" * 32) for c in "abcdef"] + our_entries(p)))))], gets=(1, 1), lists=(1, 1)),
    Row("list: duplicates", [listing(status=200, body=body("l", lambda p: list_xml(sorted(our_entries(p) * 3))))], gets=(1, 1),
        lists=(1, 1)),
    Row("list: out of order", [listing(status=200, body=body("l", lambda p: list_xml(our_entries(p)[::-1])))], gets=(1, 1),
        lists=(1, 1)),
    bad_list("list: a continuation token that loops",
             [listing(status=200, body=body("l", lambda p: list_xml(our_entries(p)[:1], token="A")))], "bad-answer",
             (2, 2 * TRIES)),
    bad_list("list: two continuation tokens that loop",
             [listing(status=200, count=1, body=body(f"l{n % 2}", lambda p, n=n: list_xml(our_entries(p)[:1], token="AB"[n % 2])))
              for n in range(100)], "bad-answer", (4, 3 * TRIES)),
]

# What is staged stays, and nothing is GONE, when a listing fails.
WARM = [
    Row("known: list cut in the XML", [listing(truncate_at="70%", framing="short")], code=1, told={"retry bad-answer"}, warm=True,
        gets=(0, 0)),
    Row("known: list of nothing but an end", [listing(status=200, body=body("l", lambda p: list_xml([], more=True)))], code=1,
        told={"retry bad-answer"}, warm=True, gets=(0, 0)),
    Row("known: AccessDenied", [listing(status=403, code="AccessDenied")], code=1, told={"retry access-denied"}, warm=True,
        gets=(0, 0)),
    Row("known: NoSuchBucket", [listing(status=404, code="NoSuchBucket")], code=1, told={"retry no-such-bucket"}, warm=True,
        gets=(0, 0)),
]

ARCHIVES = [
    # a reset that overtakes what was sent leaves nothing to go on with
    passing("archive: reset in every body", [zip_get(reset_at="50%", count=2)], (3, 8), category="database", may={"retry network"}),
    passing("archive: cut often", [zip_get(truncate_at=1500, framing="length", count=6)], (6, 12), category="database"),
    passing("archive: stall", [zip_get(stall_at="50%", count=2)], (3, 6), category="database"),
    passing("archive: 200 for a range", [zip_get(full_for_range=1, count=1)], (3, 5), {"retry bad-answer"}, category="database"),
    passing("archive: another range", [zip_get(shift_range=10, count=1)], (3, 5), {"retry bad-answer"}, category="database"),
    lasting("archive: always 500", [zip_get(status=500)], "server-error", (TRIES, 2 * TRIES), category="database",
            unstaged=["universityx/database"], heal_gets=(1, 3)),
    passing("archive: wrong ETag once", [zip_get(etag='"' + "1" * 32 + '"', count=1)], (3, 5), {"retry replaced"}, category="database"),
    lasting("archive: 404, and listed still", [zip_get(status=404, code="NoSuchKey")], "listed-but-missing", (TRIES, TRIES),
            category="database", unstaged=["universityx/database"], heal_gets=(1, 3)),
]


# -- the way to S3 ------------------------------------------------------------------------------------------------------
def serve_well(p):
    """The same server with a good certificate."""
    p.s3.stop()
    p.s3.certificate = p.base.certificates["good"]
    p.s3.start(p.s3.port)


def no_way(name, cause, prepare, repair, **more):
    """Nothing can be asked: every listing fails, nothing is staged."""
    return Row(name, code=1, state=None, told={f"retry {cause}"}, unstaged=["universityx"], prepare=prepare, repair=repair,
               heal_gets=(1, 1), **more)


def close_port(p, port=0):
    """One at which nobody listens, nor can, as long as p.held is open."""
    p.held = socket.socket()
    p.held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    p.held.bind(("127.0.0.1", port))
    return p.held.getsockname()[1]


def proxy(p):
    p.config["s3"]["proxy"] = f"http://127.0.0.1:{close_port(p)}"


def no_proxy(p):
    p.config["s3"]["proxy"] = None
    p.held.close()


def server_down(p):
    p.s3.stop()
    close_port(p, p.s3.port)


def server_up(p):
    p.held.close()
    p.s3.start(p.s3.port)


def unknown_host(p):
    p.config["s3"]["endpoint"] = f"https://s3.czard-test.invalid:{p.s3.port}"


def known_host(p):
    p.config["s3"]["endpoint"] = p.s3.endpoint


WAYS = [
    *[no_way(f"certificate: {kind}", "tls", None, serve_well, certificate=kind, lists=(0, 0))
      for kind in ("expired", "self-signed", "wrong-host")],
    no_way("TLS: a server without", "tls", lambda p: p.config["s3"].update(endpoint=f"https://localhost:{p.s3.port}"), known_host,
           lists=(0, 0)),
    no_way("proxy down", "proxy", proxy, no_proxy, lists=(0, 0)),
    no_way("DNS failure", "dns", unknown_host, known_host, lists=(0, 0)),
    no_way("server down", "network", server_down, server_up, lists=(0, 0)),
]

ROWS = CONNECTION + RESUME + DIGESTS + REPLACEMENTS + ANSWERS + LISTS + WARM + ARCHIVES + WAYS

if __name__ == "__main__":
    main(ROWS)
