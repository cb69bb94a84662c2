# SPDX-License-Identifier: Apache-2.0
"""The data packages of the scenarios, made by the same maker as those of the tests (tests/make-package)."""

import datetime
import random
import shutil
from pathlib import Path

from czardtest import content, package
from czardtest import events as course_events
from czardtest.common import utc

COMMON = {"sites": "edx", "odd": False, "neighbours": False, "armor": [], "key_bits": 3072}


class Bench(package.Package):
    """A package whose events are made here."""

    def __init__(self, out, events=None, **options):
        args = package.parser().parse_args(["--out", str(out)])
        for name, value in {**COMMON, "days": 0, "weeks": 0, "courses": 0, "rdx": 0, **options}.items():
            setattr(args, name, value)
        self.make_events = events
        Path(out).mkdir(parents=True)
        super().__init__(out, args)

    def events(self):
        # every prefix that is listed has a bucket
        for bucket in (package.EVENTS_BUCKET, package.DATABASE_BUCKET):
            (self.out / "buckets" / bucket).mkdir(parents=True, exist_ok=True)
        if self.make_events:
            self.make_events(self)


def days(n, end="2024-07-08"):
    last = datetime.date.fromisoformat(end)
    return [(last - datetime.timedelta(days=i)).isoformat() for i in range(n)]


def event_key(p, site, date):
    name = f"{p.org}-{site}-events-{date}.log.gz"
    return (f"{p.org}/{site}/events/{date[:4]}/{name}.gpg", f"{p.org}/events/{site}/{date[:4]}/{name}")


def put_events(p, files):
    """files: [(site, date, plaintext)]; encrypted many at once."""
    work = p.out / "work"
    work.mkdir()
    for n, (_, _, data) in enumerate(files):
        (work / str(n)).write_bytes(data)
    p.keys.encrypt_files([work / str(n) for n in range(len(files))])
    for n, (site, date, _) in enumerate(files):
        key, path = event_key(p, site, date)
        facts = p.stage(path, work / str(n), utc(date) + 86400)
        p.put(package.EVENTS_BUCKET, key, work / f"{n}.gpg", utc(date) + 86400, path=path, category="events", site=site,
              date=date, **facts)
    shutil.rmtree(work)


def large_events(count, size):
    """Daily files of `size` bytes: gzip members of real looking lines, in another order each day."""
    def make(p):
        rng = random.Random(1)
        pieces = []
        for n in range(24):
            lines = content.event_lines(rng, p.Org, "edx", "2024-07-08", 1 << 20)
            pieces.append(content.gz(lines * 8))
        files = []
        for date in days(count):
            data, total = [], 0
            while total < size:
                data.append(rng.choice(pieces))
                total += len(data[-1])
            files.append(("edx", date, b"".join(data)))
            if len(files) == 8:
                put_events(p, files)
                files = []
        if files:
            put_events(p, files)
    return make


def events_of_courses(count, size):
    """Daily files of about `size` bytes of text and of 300 courses each."""
    def make(p):
        rng = random.Random(1)
        pieces = [content.gz(course_events.realistic(2000, 300, seed=n, keys_seed=1)) for n in range(8)]
        each = len(course_events.realistic(2000, 300, seed=0, keys_seed=1))
        put_events(p, [("edx", date, b"".join(rng.choices(pieces, k=max(1, size // each)))) for date in days(count)])
    return make


def many_events(count):
    """Small files of two sites over the years."""
    def make(p):
        dates = days((count + 1) // 2)
        put_events(p, [(site, date, content.gz(f"{{\"time\":\"{date}\"}}\n".encode()))
                       for date in dates for site in ("edx", "edge")][:count])
    return make


def members(out, count, passphrase_file=None):
    """(a): one weekly archive of about so many members, all small."""
    b = Bench(out, weeks=1, courses=max(1, round(count / 50)), tables="all", passphrase_file=passphrase_file)
    b.opt_in = lambda: None
    b.make()
    return package.load(out)


def events(out, count, size):
    Bench(out, large_events(count, size)).make()
    return package.load(out)


def courses(out, count, size):
    Bench(out, events_of_courses(count, size)).make()
    return package.load(out)


def large(out, size):
    Bench(out, rdx=1, rdx_size=size).make()
    return package.load(out)


def known(out, count):
    Bench(out, many_events(count), sites="edx edge").make()
    return package.load(out)
