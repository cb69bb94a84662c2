# SPDX-License-Identifier: Apache-2.0
"""Events by course, told a second time: the rule with json and re, whole files in memory, gzip by Python. It shares
nothing with the C but the page that describes both.

    python3 split.py [--rule edx+url] [--level N] FILE FOLDER     FILE.gz is gzip, any other plain"""

import argparse
import gzip
import hashlib
import json
import re
import sys
from collections import Counter
from pathlib import Path

SPACE = "\t\n\x0b\x0c\r "
LINE_MAX, DEPTH_MAX, COURSES_MAX, NAME_MAX = 16 << 20, 1000, 20000, 200
NO_COURSE, INVALID, UNPARSED = "no_course", "invalid", "unparsed"

sys.setrecursionlimit(20000)
if hasattr(sys, "set_int_max_str_digits"):
    sys.set_int_max_str_digits(0)

W, ID = r"A-Za-z0-9_", r"[A-Za-z0-9_\-~.:]+"
COURSE = re.compile(rf"(?:course-v1:({ID}\+{ID}\+{ID})|ccx-v1:({ID}\+{ID}\+{ID}\+ccx@[0-9]+)|library-v1:({ID}\+{ID})"
                    rf"|([{W}.%\-]+/[{W}.%\-]+/[{W}.%\-]*))", re.ASCII)
USAGE = re.compile(rf"block-v1:(?P<course>{ID}\+{ID}\+{ID})(?:\+type@{ID})?\+block@[{W}\-~.:%]+"
                   rf"|ccx-block-v1:(?P<ccx>{ID}\+{ID}\+{ID}\+ccx@[0-9]+)(?:\+type@{ID})?\+block@{ID}"
                   rf"|lib-block-v1:(?P<library>{ID}\+{ID})\+type@{ID}\+block@{ID}", re.ASCII)
XBLOCK_URL = re.compile(r"^(.*?/xblock/)([^/+]+(/|\+)[^/+]+(/|\+)[^/?#]+)")
COURSE_URL = re.compile(r"^(.*?/courses/)(?!v[0-9]+/[^/]+)([^/+]+(/|\+)[^/+]+(/|\+)[^/?]+)")
PREFIXED = re.compile(rb"^.*?(\{.*\})[\t-\r ]*\Z")


def load(text):
    """An object, or None. Of equal names json takes the last, but what was in the others counts for the depth."""
    try:
        text = text.decode("utf-8")
        value = json.loads(text, object_pairs_hook=Pairs)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, Pairs) and value.depth <= DEPTH_MAX else None


class Pairs(dict):
    def __init__(self, pairs):
        super().__init__(pairs)
        self.depth = 1 + max((depth_of(v) for _, v in pairs), default=0)


def depth_of(value):
    if isinstance(value, Pairs):
        return value.depth
    return 1 + max((depth_of(v) for v in value), default=0) if isinstance(value, list) else 0


def course_key(text):
    """(the key, its name) or NO_COURSE or INVALID: no key, or one without a possible name."""
    match = COURSE.fullmatch(text)
    if not match:
        return NO_COURSE
    name = re.sub(r"[^A-Za-z0-9_.\-]", "_", next(g for g in match.groups() if g is not None))
    return INVALID if name[0] in ".-" or len(name) > NAME_MAX else (text, name)


def usage_key(text):
    match = USAGE.fullmatch(text)
    if not match:
        return NO_COURSE
    return course_key({"course": "course-v1:", "ccx": "ccx-v1:", "library": "library-v1:"}[match.lastgroup]
                      + match.group(match.lastgroup))


def by_url(event):
    url = {"server": "event_type", "browser": "page"}.get(as_text(event.get("event_source")))
    text = as_text(event.get(url)) if url else None
    if text is None:
        return NO_COURSE
    match = XBLOCK_URL.match(text)
    if match:
        return usage_key(match.group(2))
    match = COURSE_URL.match(text)
    return course_key(match.group(2)) if match else NO_COURSE


def as_text(value):
    return value if isinstance(value, str) else None


def verdict(line, rule="edx"):
    """(key, name), or the word that the line is counted under."""
    if len(line) > LINE_MAX:
        return UNPARSED
    event = load(line)
    if event is None:
        match = PREFIXED.match(line)
        event = load(match.group(1)) if match else None
    if event is None:
        return UNPARSED
    if "context" not in event:
        return by_url(event) if rule == "edx+url" else NO_COURSE
    if not isinstance(event["context"], dict):
        return NO_COURSE
    course_id = event["context"].get("course_id")
    if course_id is None or (isinstance(course_id, str) and not course_id.strip(SPACE)):
        return by_url(event)
    found = course_key(course_id.strip(SPACE)) if isinstance(course_id, str) else INVALID
    return INVALID if found == NO_COURSE else found


def lines_of(data):
    lines = data.split(b"\n")
    return lines[:-1] if not lines[-1] else lines


def split(data, rule="edx", courses_max=COURSES_MAX):
    """({key: (file name, [lines])}, Counter of the others) of the text of a day."""
    courses, names, others = {}, {}, Counter({NO_COURSE: 0, INVALID: 0, UNPARSED: 0})
    for line in lines_of(data):
        found = verdict(line, rule)
        if isinstance(found, str):
            others[found] += 1
        else:
            courses.setdefault(found[0], []).append(line.strip(SPACE.encode()) + b"\n")
            names[found[0]] = found[1]
    for key in sorted(courses, key=lambda k: -len(courses[k]))[courses_max:]:
        others[INVALID] += len(courses.pop(key))
    shared = Counter(names[k] for k in courses)
    files = {}
    for key, lines in courses.items():
        name = names[key]
        if shared[name] > 1:
            name += "~" + hashlib.sha256(key.encode()).hexdigest()[:16]
        files[key] = (name + ".log.gz", lines)
    return files, others


def manifest(files, others, source_sha256, rule):
    rows = []
    for key, (file, lines) in sorted(files.items(), key=lambda item: item[1][0]):
        text = b"".join(lines)
        rows.append({"course": key, "file": file, "lines": len(lines), "bytes": len(text),
                     "sha256": hashlib.sha256(text).hexdigest()})
    rows.append({"lines_in": sum(others.values()) + sum(len(lines) for _, lines in files.values()), **others,
                 "source_sha256": source_sha256, "rule": rule})
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)


def split_file(path, folder, rule="edx", level=9):
    staged = Path(path).read_bytes()
    files, others = split(gzip.decompress(staged) if str(path).endswith(".gz") else staged, rule)
    for file, lines in files.values():
        (Path(folder) / file).write_bytes(gzip.compress(b"".join(lines), level))
    (Path(folder) / "MANIFEST.jsonl").write_text(
        manifest(files, others, hashlib.sha256(staged).hexdigest(), rule))


def compare(path, folder, rule="edx", courses_max=COURSES_MAX):
    """Fails unless the folder is what the events of that file must become: same files, lines, counts, hashes."""
    staged = Path(path).read_bytes()
    files, others = split(gzip.decompress(staged) if str(path).endswith(".gz") else staged, rule, courses_max)
    folder = Path(folder)
    want = manifest(files, others, hashlib.sha256(staged).hexdigest(), rule)
    got = (folder / "MANIFEST.jsonl").read_text()
    for a, b in zip(want.splitlines(), got.splitlines()):
        assert a == b, f"{path}: {b}\ninstead of\n{a}"
    assert want == got, f"{path}: {len(got)} bytes of MANIFEST.jsonl instead of {len(want)}"
    sums = ""
    for file, lines in sorted(files.values()):
        packed = (folder / file).read_bytes()
        assert gzip.decompress(packed) == b"".join(lines), f"{path}: {file} differs"
        sums += f"{hashlib.sha256(packed).hexdigest()}  {file}\n"
    assert (folder / "SHA256SUMS").read_text() == sums
    there = {p.name for p in folder.iterdir()}
    assert there == {f for f, _ in files.values()} | {"SHA256SUMS", "MANIFEST.jsonl"}, there
    return files, others


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rule", default="edx", choices=["edx", "edx+url"])
    parser.add_argument("--level", type=int, default=9)
    parser.add_argument("file")
    parser.add_argument("folder")
    o = parser.parse_args()
    split_file(o.file, o.folder, o.rule, o.level)


if __name__ == "__main__":
    main()
