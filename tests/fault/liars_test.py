#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Helpers that lie, one lie a row (liar.py): with another id, index or size, out of turn, of a check or cause that they
cannot know, with a descriptor that they kept. The liar is killed and told of, nothing it said counts, and what it was at
is done again: everything staged is the truth.

    CZARD_BUILD=build/release tests/fault/liars_test.py [-v] [-k TEXT] [-j N]
"""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from table import main

from answers_test import truth
from czardtest.run import REPOSITORY, program

VERDICT, DONE, READY, HELLO, FILE, MEMBERS, ENTRIES, DIRECTORY_DONE = 12, 6, 8, 1, 9, 11, 13, 14
CAUSES = re.findall(r"^ +X\((\w+), ", (REPOSITORY / "lib/base/error.h").read_text(), re.M)
TLS, ETAG, ZIP, SIGNATURE = 1 << 0, 1 << 2, 1 << 5, 1 << 8


def copy_program(source, target):
    """By another process: what another row's thread forks meanwhile would keep it open for writing, and so from starting."""
    subprocess.run(["cp", source, target], check=True)


@dataclass
class Row:
    name: str
    who: str
    said: str  # by czard, of the liar
    type: int
    do: str
    nth: int = 2
    more: dict = None

    def lie(self):
        return {"real": self.real, "type": self.type, "do": self.do, "nth": self.nth, **(self.more or {})}

    def prepare(self, p):
        """A build whose helper is the liar."""
        real = p.build
        p.build = p.folder / "build"
        for name in ("czard", "czard-fetch", "czard-decrypt", "czard-index"):
            folder = p.build / "daemon" / name
            folder.mkdir(parents=True)
            if name == self.who:
                copy_program(Path(__file__).parent / "liar.py", folder / name)
                self.real = str(program(name, real))
                (folder / "lie").write_text(json.dumps(self.lie()))
            elif name == "czard":
                copy_program(program(name, real), folder / name)  # it looks for the others beside itself
            else:
                (folder / name).symlink_to(program(name, real))

    def run(self, p):
        self.prepare(p)
        p.once(timeout=120)
        p.check("the lie was told", (p.build / "daemon" / self.who / "told").exists(), True)
        killed = p.last.events("helper-killed")
        p.check("entries of a liar", len(killed), 1)
        for entry in killed:
            p.check(f"{entry.message!r} says what it did", bool(re.search(f"{self.who} .*{self.said}", entry.message)), True)
        p.check("exit status", p.last.code, 0)
        p.check_staging("after the lie")
        p.check("states", {o["state"] for o in p.objects().values()}, {"PUBLISHED", "IGNORED"})
        p.check("what was told", {t for t in p.told() if t.split()[0] not in ("helper-killed", "retry")}, set())
        for o in p.objects().values():
            p.check(f"checks of {o['key']}", o["checks"] & SIGNATURE, 0)
            p.check(f"zip of {o['key']}", bool(o["checks"] & ZIP), bool(o["is_zip"] and o["state"] == "PUBLISHED"))
        truth(p, "after the lie")
        p.check_audit()


class OfAnAgent(Row):
    """Each worker has one."""

    def prepare(self, p):
        super().prepare(p)
        p.config["openpgp"]["engine"] = "gnupg"


class Asking(Row):
    """One with the key that would have others know something by what is asked for next: what comes again is the same, byte
    for byte, and no more often than this."""
    most = 2
    network = ()  # what an accomplice there does

    def run(self, p):
        self.prepare(p)
        p.behave(self.network)
        p.once(timeout=120)
        p.behave_well()
        p.check("the lie was told", (p.build / "daemon" / self.who / "told").exists(), True)
        p.check("exit status", p.last.code, 0)
        p.check("entries of a liar", len(p.last.events("helper-killed")), 0)
        p.check_staging("after the lie")
        p.check("states", {o["state"] for o in p.objects().values()}, {"PUBLISHED", "IGNORED"})
        truth(p, "after the lie")
        p.check_audit()
        ranges = {}
        for r in p.requests("get"):
            if r.status in (200, 206):
                ranges.setdefault(r.key, []).append(r.range)
        honest = {}
        shutil.rmtree(p.staging)
        shutil.rmtree(p.state)
        for path, mode in ((p.state, 0o750), (p.staging, 0o750)):
            path.mkdir(mode)
        (p.build / "daemon" / self.who / "lie").write_text(json.dumps({**self.lie(), "nth": 1 << 30}))
        p.once(timeout=120)
        for r in p.requests("get"):
            honest.setdefault(r.key, []).append(r.range)
        more = {key: got for key, got in ranges.items() if got != honest[key]}
        p.check("objects that were asked for again", len(more), 1)
        for key, got in more.items():
            p.check(f"what was asked of {key}", set(got), set(honest[key]))
            p.check(f"how often, of {key}", max(got.count(r) for r in got), (2, self.most))


class Cut(Asking):
    """The same beside a network that cuts the run near its end and does not let it go on: czard-fetch tries five times, and
    libcurl once more for each idle connection that it takes for it."""
    network = ({"op": "get", "key": "*.zip", "after": 1, "count": 1, "truncate_at": "97%", "framing": "length"},
               {"op": "get", "key": "*.zip", "after": 1, "count": 9, "drop": 1})


def cut(name, type_, do, nth=1, **more):
    return Cut(f"czard-decrypt: {name}", "czard-decrypt", None, type_, do, nth, more)


def asking(name, type_, do, nth=1, **more):
    return Asking(f"czard-decrypt: {name}", "czard-decrypt", None, type_, do, nth, more)


def decrypt(name, said, type_, do, nth=2, **more):
    return Row(f"czard-decrypt: {name}", "czard-decrypt", said, type_, do, nth, more)


def fetch(name, said, type_, do, nth=8, **more):  # behind the listings
    return Row(f"czard-fetch: {name}", "czard-fetch", said, type_, do, nth, more)


def index(name, said, type_, do, nth=1, **more):
    return Row(f"czard-index: {name}", "czard-index", said, type_, do, nth, more)


def cause(name):
    return {"cause": CAUSES.index(name)}


ROWS = [
    decrypt("the id of a request to come", "answered request", VERDICT, "id", by=1),
    decrypt("the id of the request before", "answered request", VERDICT, "id", by=-1),
    decrypt("another member", "it is the turn of", VERDICT, "member"),
    decrypt("a byte more than the file has", "bytes, but the file has", VERDICT, "size", by=1),
    decrypt("a byte less than the file has", "bytes, but the file has", VERDICT, "size", nth=4, by=-1),
    decrypt("a verdict twice", "without being asked|answered request|it is the turn of", VERDICT, "twice"),
    decrypt("a verdict on a file that it has not written", "can still be written to|bytes, but the file has", FILE, "early", nth=1),
    decrypt("progress without work", "without being asked|answered request", VERDICT, "idle", nth=1),
    decrypt("ready twice", "without being asked|answered request", READY, "twice", nth=1),
    decrypt("the server's certificate was good", "checks that it cannot make", VERDICT, "checks", bits=TLS),
    decrypt("the ETag was right", "checks that it cannot make", VERDICT, "checks", bits=ETAG),
    decrypt("the object is gone", "cause that it cannot know: gone", VERDICT, "cause", **cause("GONE")),
    decrypt("the credentials are refused", "cause that it cannot know: credentials", VERDICT, "cause", **cause("CREDENTIALS")),
    decrypt("it keeps a file and writes to it", "can still be written to|bytes, but the file has", FILE, "keep", nth=1),
    decrypt("it keeps a member's file and writes to it", "can still be written to|bytes, but the file has", MEMBERS, "keep", nth=1),
    decrypt("it keeps a file", "can still be written to", FILE, "keep", nth=1, silent=True),
    OfAnAgent("czard-decrypt: one with an agent asks for another", "czard-decrypt", "the one that has a gpg-agent", VERDICT, "cause",
              2, cause("REFERENCE")),
    asking("a file is for another worker", VERDICT, "cause", nth=2, asked=FILE, **cause("REFERENCE")),
    asking("a member is for another worker", VERDICT, "cause", nth=3, asked=MEMBERS, **cause("REFERENCE")),
    asking("it ends within a run of members", VERDICT, "die", nth=3, asked=MEMBERS),
    asking("it says that it failed at a member", VERDICT, "cause", nth=3, asked=MEMBERS, **cause("HELPER")),
    asking("it says that its disk failed at a member", VERDICT, "cause", nth=3, asked=MEMBERS, **cause("IO")),
    cut("a member is bad, and its run is cut", VERDICT, "cause", nth=3, asked=MEMBERS, **cause("BAD_MDC")),
    cut("a member is for another worker, and its run is cut", VERDICT, "cause", nth=3, asked=MEMBERS, **cause("REFERENCE")),
    asking("a member is bad", VERDICT, "cause", nth=3, asked=MEMBERS, **cause("BAD_MDC")),
    index("a member that it did not tell of", "told [0-9]+ members of", DIRECTORY_DONE, "number", at=8, by=1),
    index("a directory behind the end of the archive", "behind the end", DIRECTORY_DONE, "number", at=16, by=1 << 40),
    index("another id", "answered request", DIRECTORY_DONE, "id", by=1),
    index("a page twice", "told [0-9]+ members of", ENTRIES, "twice"),
    index("no secret key", "cause that it cannot know: no-secret-key", DIRECTORY_DONE, "cause", **cause("NO_KEY")),
    index("no room on the disk", "cause that it cannot know: no-space", DIRECTORY_DONE, "cause", **cause("SPACE")),
    fetch("an id that nobody has", "without being asked", DONE, "id", by=1000),
    fetch("an end twice", "without being asked", DONE, "twice"),
    fetch("a page for an object", "no answer to its request", DONE, "page"),
    fetch("hello twice", "hello twice", HELLO, "twice", nth=1),
    fetch("a good signature", "checks that it cannot make", DONE, "checks", bits=SIGNATURE),
    fetch("a good zip", "checks that it cannot make", DONE, "checks", bits=ZIP),
    fetch("the message was altered", "cause that it cannot know: bad-integrity", DONE, "cause", **cause("BAD_MDC")),
    fetch("no secret key", "cause that it cannot know: no-secret-key", DONE, "cause", **cause("NO_KEY")),
    fetch("no room on the disk", "cause that it cannot know: no-space", DONE, "cause", **cause("SPACE")),
]

if __name__ == "__main__":
    main(ROWS)
