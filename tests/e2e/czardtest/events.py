# SPDX-License-Identifier: Apache-2.0
"""Files of events to split: as edX's servers and learners' browsers make them, and as nobody should."""

import json
import random

SITES = "https://courses.edx.org"


def course_keys(n, rng):
    """Of all kinds, each once."""
    keys = []
    for i in range(n):
        org, run = rng.choice(["UniversityX", "HSPH-HMS", "Uni.X", "uni_x"]), f"{rng.randint(1, 3)}T20{rng.randint(12, 24)}"
        kind = rng.random()
        if kind < 0.7:
            keys.append(f"course-v1:{org}+CS{i}.x+{run}")
        elif kind < 0.9:
            keys.append(f"{org}/CS{i}x/{run}")
        elif kind < 0.97:
            keys.append(f"ccx-v1:{org}+CS{i}+{run}+ccx@{i}")
        else:
            keys.append(f"library-v1:{org}+lib{i}")
    return keys


def text_of(rng, n):
    words = ["the", "answer", "is", "\u00e9t\u00e9", "42", "\"x\"", "a\\b", "\n", "<p>", "\U0001f600", "i4x://", "&amp;"]
    return " ".join(rng.choice(words) for _ in range(n))


def event(rng, key):
    """One realistic event of a course, as a dict."""
    kind, user = rng.random(), rng.randint(1, 5000)
    context = {"user_id": user, "org_id": "UniversityX", "course_id": key, "path": "/event",
               "course_user_tags": {}, "client_id": f"{rng.random()}"}
    out = {"username": f"learner{user}", "host": "courses.edx.org", "session": f"{rng.getrandbits(128):032x}",
           "ip": f"10.{user % 256}.{user // 256}.7", "agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 "
           "(KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36", "referer": f"{SITES}/courses/{key}/courseware/",
           "accept_language": "en-US,en;q=0.9", "time": f"2024-03-0{rng.randint(1, 9)}T10:11:12.{user:06}+00:00",
           "context": context}
    if kind < 0.5:
        out.update(event_source="browser", event_type=rng.choice(["play_video", "seek_video", "page_close"]),
                   name="play_video", page=f"{SITES}/courses/{key}/courseware/w1/s{rng.randint(1, 9)}/",
                   event=json.dumps({"id": f"i4x-UniversityX-video-{user}", "currentTime": rng.random() * 900,
                                     "code": "html5", "note": text_of(rng, rng.randint(0, 30))}))
    elif kind < 0.8:
        out.update(event_source="server", event_type="problem_check", page="x_module", name="problem_check",
                   event={"answers": {f"q{i}": text_of(rng, rng.randint(1, 12)) for i in range(rng.randint(1, 8))},
                          "grade": rng.randint(0, 5), "max_grade": 5, "success": rng.choice(["correct", "incorrect"]),
                          "state": {"seed": rng.randint(1, 999), "done": None, "input_state": {"q1": {}}},
                          "attempts": rng.randint(1, 5), "correct_map": {"q1": {"npoints": None, "msg": ""}}})
    else:
        out.update(event_source="server", page=None, event="{}", name=f"/courses/{key}/progress",
                   event_type=f"/courses/{key}/" + rng.choice(["progress", "about", "xblock/x/handler/y"]))
    if kind > 0.95:
        context["course_id"] = rng.choice(["", None, f"{key}\n"])
    return out


def realistic(lines, courses, seed=1, keys_seed=None):
    """A day: few courses have most of it, and some lines are nobody's. keys_seed: the courses are those of any other
    call with that one."""
    rng = random.Random(seed)
    keys = course_keys(courses, rng if keys_seed is None else random.Random(keys_seed))
    out = []
    for _ in range(lines):
        key = keys[min(int(rng.expovariate(1) * courses / 6), courses - 1)]
        e = event(rng, key)
        if rng.random() < 0.02:
            e["context"] = {"course_id": "", "org_id": ""}
            e["event_type"] = "/api/user/v1/accounts/x"
        out.append(json.dumps(e, ensure_ascii=rng.random() < 0.5))
    return ("\n".join(out) + "\n").encode()


IDS = ["course-v1:M+6+1T", "M/6/1T", "M/6/", "course-v1:M+6+1T\n", " course-v1:M+6+1T", "ccx-v1:M+6+1T+ccx@12",
       "ccx-v1:M+6+1T+CCX@12", "library-v1:M+lib", "library-v1:M+lib+x", "course-v1:A+B+C D", "B.1/x/y", "B_1/x/y",
       "course-v1:B.1+x+y", "course-v1:B_1+x+y", "slashes:M+6+1T", "course-v1:M+6+1T+branch@b", "", " \t", None, 5, True,
       [], {}, "../../etc/passwd", "-rf/x/y", ".hidden/x/y", "course-v1:~a+b+c", "a%2f/b/c", "\u00e9/b/c", "course-v1:A+B+\u00e9",
       "\x00", "\xa0", "course-v1:" + "a" * 190 + "+b+c", "course-v1:" + "a" * 196 + "+b+c", "course-v1:" + "a" * 197 + "+b+c",
       "course-v1:M++1T", "course-v1:M+6", "Course-v1:M+6+1T", "\ud800", "course-v1:M+6+1T\x1f", "M//6/1T", "M/6/1T/"]
URLS = ["/courses/course-v1:M+6+1T/x", "https://x/courses/M/6/1T?y", "/courses/v1/x/courses/M/6/1T", "/courses/v1/courses/M/6/1T/",
        "/xblock/block-v1:M+6+1T+type@p+block@b/h", "/courses/M/6/1T/xblock/i4x:;_;_M;_6/handler/x",
        "/courses/M/6/1T/xblock/block-v1:A+B+C+block@x%20", "/xblock/ccx-block-v1:M+6+1T+ccx@3+type@p+block@b#f",
        "/xblock/lib-block-v1:M+lib+type@p+block@b", "/xblock//xblock/block-v1:M+6+1T+block@b", "data:image/png;base64,A/B+C",
        "/api/user/v1/accounts/x", "i4x://M/6/sequential/abc/goto", "/course/M/6/1T", "\n/courses/M/6/1T", "/courses/M/6\n/1T",
        "/courses//M/6/1T", "/courses/M+6+1T/", "/courses/.a/b/c", "/courses/a/courses/b/c/d", "/courses/\u00e9/b/c", "", None, 7, [],
        "/courses/M/6/1T#x", "/courses/library-v1:M+lib/x", "/xblock/xblock/block-v1:M+6+1T+block@b", "/courses/v1//x", "\ud83d/courses/A/B/C"]


def mutated(rng, text):
    """Mostly as it is; else some characters are others, not there, or more."""
    if not isinstance(text, str) or rng.random() < 0.7:
        return text
    for _ in range(rng.randint(1, 3)):
        at, more = rng.randint(0, len(text)), rng.choice([*"+/:@-_.~%?# aV1{\n\t\0\x1f", "\u00e9", "\xa0", "\ud800", "/courses/",
                                                          "/xblock/", "+ccx@1", "+block@b", "+type@t", "course-v1:"])
        text = text[:at] + rng.choice(["", more]) + text[at + rng.randint(0, 1):]
    return text


def escaped(rng, text):
    """JSON of a text, some characters spelt as they need not be."""
    def one(c):
        if rng.random() < 0.8 and " " <= c and c not in '"\\':
            return c if ord(c) < 0xd800 or ord(c) > 0xdfff else f"\\u{ord(c):04x}"
        return "".join(f"\\u{u:04{rng.choice('xX')}}" for u in units(c)) if c != "/" else "\\/"
    return '"' + "".join(map(one, text)) + '"'


def units(c):
    data = c.encode("utf-16-be", "surrogatepass")
    return [data[i] << 8 | data[i + 1] for i in range(0, len(data), 2)]


def value_of(rng, value):
    return escaped(rng, value) if isinstance(value, str) else json.dumps(value)


def hostile_object(rng):
    """JSON of an event whose names come in any order, twice, escaped, with any value."""
    def context():
        kind = rng.random()
        if kind < 0.1:
            return rng.choice(["null", "[]", "5", '"{}"', "NaN", '[{"course_id":"M/6/1T"}]'])
        items = [(rng.choice(["course_id"] * 3 + ["org_id", "course_id "]), value_of(rng, mutated(rng, rng.choice(IDS))))
                 for _ in range(rng.randint(0, 3))]
        if rng.random() < 0.2:
            items.append(("deep", "[" * 5 + '{"course_id":"D/E/F"}' + "]" * 5))
        return body(items)

    def body(items):
        space = rng.choice(["", " ", "\t", "\r "])
        return "{" + space + ("," + space).join(escaped(rng, k) + space + ":" + v for k, v in items) + space + "}"
    items = []
    for _ in range(rng.randint(0, 6)):
        name = rng.choice(["context", "context", "context", "event_source", "event_source", "event_type", "page", "event", "x"])
        items.append((name, {"context": context, "event_source": lambda: value_of(rng, rng.choice(
            ["server", "server", "browser", "browser", "mobile", "Server", None, 1])), "event_type": lambda: value_of(
                rng, mutated(rng, rng.choice(URLS))), "page": lambda: value_of(rng, mutated(rng, rng.choice(URLS))), "event": lambda: value_of(
                    rng, text_of(rng, 5)), "x": lambda: rng.choice(["NaN", "-Infinity", "1e5", "-0", "[[],{}]", "true"])}[name]()))
    return body(items)


def hostile_line(rng):
    line = hostile_object(rng).encode("utf-8", "surrogatepass")
    kind = rng.random()
    if kind < 0.05:
        return rng.choice([b"Jan  1 h tracking: ", b"\xef\xbb\xbf", b"\xff", b"{ ", b"\x00", b"[", b"\v"]) + line
    if kind < 0.1:
        return line + rng.choice([b" ", b"\r", b"\v\f", b"\x00", b"}", b"\x1f", b"\xc2\xa0", b","])
    if kind < 0.3 and line:  # a byte that is another, or not there
        at = rng.randrange(len(line))
        return line[:at] + rng.choice([b"", bytes([rng.choice(b"\"\\{}[],:\x00\x1f\x80\xc3\xff+0 e.")])]) + line[at + 1:]
    if kind < 0.32:
        n = rng.choice([3, 997, 998, 999, 1000, 1001])
        return b'{"context":{"course_id":"M/6/1T"},"x":' + b"[" * n + b"]" * n + b"}"
    if kind < 0.36:  # of a real one, some bytes
        real = json.dumps(event(rng, mutated(rng, rng.choice(IDS))), ensure_ascii=rng.random() < 0.5)
        real = bytearray(real.encode("utf-8", "surrogatepass"))
        for _ in range(rng.choice([0, 0, 1, 3])):
            real[rng.randrange(len(real))] = rng.choice([*b"\"\\{}[],:", rng.randrange(256)])
        return bytes(real)
    if kind < 0.39:
        return rng.choice([b"", b" ", b"null", b"[]", b'"{}"', b"}{", b"{}", b"\x0b{}\x0c", b"{}{}", b'{"a":\x0b1}'])
    return line


def hostile(lines, seed=1):
    rng = random.Random(seed)
    out = b"\n".join(hostile_line(rng).replace(b"\n", b" ") for _ in range(lines))
    return out + rng.choice([b"", b"\n"])


ODD_VALUES = [b"1", b"1.0e+5", b"-0", b"01", b"+1", b".5", b"1.", b"1e", b"NaN", b"-NaN", b"-Infinity", b"Infinityx", b"1" * 5000,
              b"true", b"tru", b"nul", b"0x10", b'""', b'"\\u"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\x41"', b'"\t"', b'"\x7f"',
              b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xef\xbb\xbf"', b"\x00", b'"\x00"', b'"\\u0000"']
ODD_ENDS = [b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"Jan 1 host: ", b"{", b"{}", b"}", b"\xa0", b"\x1f", b"\x0b", b"\x85", b"\r\r"]
ODD_KEYS = ["course-v1:A+B+C", "course-v1:A+B", "course-v1:A+B+C+D", "Course-v1:A+B+C", "course-v1:A+B+", "course-v1:A+B+C+branch@d",
            "course-v1:A+B+C@1", "course-v1:\u00e9+B+C", "course-v1:A+B+C\u00a0", "course-v1:..+..+..", "course-v1:.A+B+C",
            "course-v1:-A+B+C", "course-v1:~+~+~", "ccx-v1:A+B+C+ccx@12", "ccx-v1:A+B+C+ccx@", "ccx-v1:A+B+C+CCX@1",
            "ccx-v1:A+B+C+ccx@\u0661", "library-v1:A+B", "library-v1:A+B+C", "A/B/C", "A/B/", "A//C", "/B/C", "A/B/C/D", "A/B/C%20",
            "..\\/..\\/..", "../../..", "A/B/C\\n", "A/B/C\\u0000", "i4x://A/B/c/d", "slashes:A+B+C", "A+B+C", "SHA256SUMS/x/",
            *(f"course-v1:{'A' * n}+B+C" for n in (180, 196, 197))]


def odd():
    """What a browser may send to be counted as another course's, one thing a line."""
    key = b'"course-v1:A+B+C"'
    good = b'{"context":{"course_id":%s}}' % key
    lines = [b'{"context":{"course_id":%s},%s}' % (key, more) for more in (
        b'"context":{"course_id":"x/y/z"}', b'"c\\u006fntext":{}', b'"\\u0063ontext":null', b'"context":[]', b'"context":"s"',
        b'"x":{"context":null}')]
    lines += [b'{"context":{"course_id":"x/y/z","course\\u005fid":%s}}' % key, b'{"context":{"a":{"course_id":%s}}}' % key,
              b'{"x":%s}' % good, b"[%s]" % good]
    for v in ODD_VALUES:
        lines += [b'{"n":%s,"context":{"course_id":%s}}' % (v, key), b'{"context":{"course_id":%s}}' % v,
                  b'{"context":{"course_id":""},"event_source":"browser","page":%s}' % v]
    lines += [line for end in ODD_ENDS for line in (end + good, good + end, b'{"context":{"course_id":"%sA/B/C"}}' % end)]
    for n in (998, 999, 1000, 1001, 5000):
        lines += [b'{"x":%s,"context":{"course_id":%s}}' % (x, key) for x in (
            b"[" * n + b"]" * n, b'{"a":' * n + b"1" + b"}" * n, b"[" * n)]
    for k in ODD_KEYS:
        lines.append(f'{{"context":{{"course_id":"{k}"}}}}'.encode())
        block = k.replace("course-v1", "block-v1").replace("ccx-v1", "ccx-block-v1").replace("library-v1", "lib-block-v1")
        for before in ("/courses/", "/courses/v1/x/courses/", "/courses//", "/xblock/", "/courses/x/xblock/", "/courses/a/b/xblock/"):
            for source, field in (("browser", "page"), ("server", "event_type")):
                lines += [f'{{"event_source":"{source}",{context}"{field}":"{before}{tail}"}}'.encode()
                          for context in ('"context":{},', "") for tail in (k, f"{k}/more?x#y", f"{block}+type@x+block@y/handler")]
    return lines
