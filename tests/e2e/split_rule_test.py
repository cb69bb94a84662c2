#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Events by course: what the C makes of a file against what an independent program does, byte for byte.

CZARD_SPLIT_SEEDS=N: that many hostile files."""

import gzip
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from czardtest import events, split  # noqa: E402
from czardtest.run import build_folder, is_sanitized  # noqa: E402

TOOL = build_folder() / "tests/unit/split_tool"


class Folder(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="czard-split-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def split(self, data, rule="edx", packed=True, limits=(), **options):
        """The folder that the C made of these events, and the file that they are in."""
        source = self.folder / ("events.log.gz" if packed else "events.log")
        source.write_bytes(data)
        out = Path(tempfile.mkdtemp(dir=self.folder))
        subprocess.run([TOOL, rule, "gzip" if packed else "plain", source, out, *map(str, limits)], check=True, **options)
        return source, out

    def check(self, data, rule, packed=False, limits=(), preexec_fn=None, **options):
        return split.compare(*self.split(data, rule, packed, limits, preexec_fn=preexec_fn), rule, **options)


class Rule(Folder):
    def test_realistic(self):
        data = events.realistic(3000, 40)
        for rule in ("edx", "edx+url"):
            files, others = self.check(gzip.compress(data, 1), rule, packed=True)
            self.assertGreater(len(files), 30)
            self.assertGreater(others["no_course"], 10)

    def test_hostile(self):
        """Lines of all kinds: each verdict and each kind of key is among them."""
        seen = set()
        for seed in range(int(os.environ.get("CZARD_SPLIT_SEEDS", "6"))):
            data = events.hostile(4000, seed)
            for rule in ("edx", "edx+url"):
                files, others = self.check(data, rule)
                seen |= {k.split(":")[0] for k in files if ":" in k} | {k for k, n in others.items() if n}
                seen |= {"name shared"} if any("~" in f for f, _ in files.values()) else set()
        self.assertEqual(seen, {"course-v1", "ccx-v1", "library-v1", "no_course", "invalid", "unparsed", "name shared"})

    def test_odd(self):
        """One oddity a line, and each with a few bytes changed."""
        lines, rng = events.odd(), random.Random(6)
        for rule in ("edx", "edx+url"):
            for end in (b"\n", b"\r\n"):
                self.check(end.join(lines), rule)
            changed = []
            for line in lines * 2:
                line = bytearray(line)
                for _ in range(rng.randint(1, 3)):
                    at = rng.randrange(len(line))
                    line[at:at + rng.randint(0, 1)] = bytes([rng.choice(b'"\\{}[]:,+/@ \t\x00\xc3\xff.0uan')])
                changed.append(bytes(line))
            self.check(b"\n".join(changed), rule)

    @unittest.skipIf(is_sanitized(), "it has descriptors of its own")
    def test_few_descriptors(self):
        """All of the lines, or none: never a cut file."""
        data = events.realistic(2000, 300, seed=9)
        for most in (6, 8, 12, 40):
            try:
                self.check(data, "edx", preexec_fn=lambda most=most: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)))
            except subprocess.CalledProcessError:
                self.assertLess(most, 40)

    def test_url_rule_differs(self):
        data = b'{"event_source":"browser","page":"/courses/M/6/1T/"}\n' * 3
        self.assertEqual(len(self.check(data, "edx")[0]), 0)
        self.assertEqual(len(self.check(data, "edx+url")[0]), 1)

    def test_members_of_gzip(self):
        """Cut anywhere, also within a line and within a character."""
        data, rng = events.realistic(300, 5, seed=3), random.Random(4)
        cuts = sorted(rng.sample(range(len(data)), 40))
        parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])]
        self.check(b"".join(gzip.compress(p) for p in parts), "edx", packed=True)

    def test_long_lines(self):
        head, tail = b'{"context":{"course_id":"M/6/1T"},"x":"', b'"}'
        for more in (0, 1):
            line = head + b"x" * ((16 << 20) + more - len(head) - len(tail)) + tail
            files, others = self.check(line + b"\n" + head + tail + b"\n" + line, "edx")
            self.assertEqual(others["unparsed"], 2 * more)
            self.assertEqual(len(files["M/6/1T"][1]), 3 - 2 * more)

    def test_empty(self):
        for data in (b"", b"\n", b"\n\n{}", b"\x00"):
            self.check(data, "edx")

    def test_little_memory(self):
        data = events.realistic(2000, 300, seed=8)
        source, out = self.split(gzip.compress(data, 1), limits=[65536])
        split.compare(source, out)
        files = list(out.glob("*.log.gz"))
        self.assertGreater(max(f.read_bytes().count(b"\x1f\x8b\x08") for f in files), 3, "several members")
        for tool in ("gunzip", "pigz", "7z"):  # each has a reader of its own
            if shutil.which(tool):
                subprocess.run([tool, *(["t"] if tool == "7z" else ["-t"]), *files], check=True, stdout=subprocess.DEVNULL)

    def test_few_courses_allowed(self):
        """Those with the most lines stay; no two have equally many."""
        rng, lines = random.Random(5), []
        for n in range(1, 40):
            lines += [f'{{"context":{{"course_id":"A/{n}/x"}}}}'] * n
        rng.shuffle(lines)
        for counted in (5, 1000):
            files, others = self.check("\n".join(lines).encode(), "edx", limits=[0, 10, counted], courses_max=10)
            self.assertEqual({len(lines) for _, lines in files.values()}, set(range(30, 40)))
            self.assertEqual(others["invalid"], sum(range(1, 30)))


class ManyCourses(Folder):
    COURSES = 20000

    def lines(self, courses, each):
        pad = "x" * 400
        for i in range(each):
            for c in range(courses):
                yield f'{{"context":{{"course_id":"course-v1:A+{c}+x"}},"n":{i},"pad":"{pad}"}}\n'

    def measure(self, data, **limits):
        """(open files at most, MiB of memory) of a split."""
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        source, out = self.split(data, preexec_fn=limit, **limits)
        return source, out, max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024

    def test_twenty_thousand(self):
        """ulimit -n 256, and no more memory than for few."""
        data = gzip.compress("".join(self.lines(self.COURSES, 3)).encode(), 1)
        source, out, peak = self.measure(data)
        files, others = split.compare(source, out)
        self.assertEqual(len(files), self.COURSES)
        self.assertEqual(sum(others.values()), 0)
        if not is_sanitized():
            self.assertLess(peak, 150)

    def test_one_more(self):
        """The one with fewer lines is left out, however late it is known."""
        data = '{"context":{"course_id":"course-v1:A+late+x"}}\n' + "".join(self.lines(self.COURSES, 2))
        source, out, peak = self.measure(gzip.compress(data.encode(), 1))
        files, others = split.compare(source, out)
        self.assertEqual(len(files), self.COURSES)
        self.assertNotIn("course-v1:A+late+x", files)
        self.assertEqual(others["invalid"], 1)
        if not is_sanitized():
            self.assertLess(peak, 150)


if __name__ == "__main__":
    unittest.main()
