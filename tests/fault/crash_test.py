#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every call with which a program changes the disk, found by a run that notes them, is a place where it is killed, and
one where the call fails; then czard runs again, and everything must be as if nothing had happened.

    CZARD_BUILD=build/release tests/fault/crash_test.py [-v] [-k TEXT] [-j N]

Each distinct call site once: killed there, and failed there with one of the errors in turn. CZARD_CRASH_FULL=1: every
call of every site, killed and failed with each error."""

import json
import errno
import os
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from table import Base, Place, Skip, main

from czardtest import disk_fault, keys, package  # table.py knows where they are
from czardtest.run import build_folder, manifest_differences, program, tree

ERRORS = ["ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE", "ENOMEM"]
REFUSED = "EPERM"  # by a filter of system calls; of the large file it is only a hint that is not taken
TRIES = 4
COMMITS = 6
FULL = bool(os.environ.get("CZARD_CRASH_FULL"))
SMALL = {"days": 2, "weeks": 1, "courses": 1, "sites": "edx", "rdx": 1, "odd": False, "neighbours": False, "armor": [],
         "event_size": 3000, "member_size": 300}
# What an entry may give as the cause of an error.
CAUSES = {"ENOSPC": {"no-space"}, "EDQUOT": {"no-space"}, "EROFS": {"staging"}}
ALSO = {"io-error", "configuration", "helper-failed"}


class CrashPlace(Place):
    """A place that begins as a scenario says, and can make programs die."""

    def begin(self, scenario):
        self.take(scenario, "state", "staging", "buckets", "expected")

    def take(self, scenario, *names):
        """These folders become what they are in the scenario; those that it does not have stay."""
        for name in names:
            source = self.base.scenarios[scenario] / name
            if source.exists():
                target = self.folder / name
                shutil.rmtree(target)
                subprocess.run(["cp", "-a", source, target], check=True)

    def environment(self):
        # one thread: each run makes the same calls
        return {**super().environment(), "UV_THREADPOOL_SIZE": "1", **self.fault}

    fault = {}

    def faulty(self, *args, who="czard", site="", nth=0, last=None, error=0):
        """A run in which a call fails or kills. Returns its notes: [(call:site, errno, path, frames)]"""
        file = self.folder / "calls"
        roots = [self.staging, self.state, *([self.run_folder] if who != "czard" else [])]
        self.fault = disk_fault.environment(file, who, ROOTS=":".join(map(str, roots)), SITE=site, NTH=nth, ERRNO=error,
                                            **({} if last is None else {"LAST": last}))
        try:
            self.once(*args)
        finally:
            self.fault = {}
        return [(key, err, path.replace(f"{self.folder}/", ""), frames) for key, err, path, frames in disk_fault.notes(file)]


class CrashBase(Base):
    """One package, and the states that scenarios begin with."""

    place = CrashPlace

    def __enter__(self):
        os.environ.setdefault("CZARD_TEST_CACHE", str(build_folder() / "test-cache"))
        super().__enter__()
        try:
            self.make_scenarios()
        except BaseException:
            self.__exit__()
            raise
        return self

    def make_scenarios(self):
        shutil.rmtree(self.package)
        self.facts = package.make(self.package, **SMALL)
        self.other = package.make(self.folder / "other", **{**SMALL, "event_size": 3500, "member_size": 350})
        self.scenarios = {"first": self.folder / "first"}
        self.make_done()
        self.make_again()
        self.make_spelled()
        self.make_lost()
        # large enough for czard-decrypt to have the disk begin before the end
        package.make(self.folder / "large", **{**SMALL, "rdx_size": 20 << 20})
        self.scenarios["large"] = self.folder / "large"
        # with so many members that what czard keeps of them does not fit into a buffer
        package.make(self.folder / "many", **{**SMALL, "courses": 16, "tables": "all"})
        self.scenarios["many"] = self.folder / "many"

    def keep(self, p, name):
        folder = self.folder / name
        folder.mkdir()
        for what in ("state", "staging", "buckets", "expected"):
            subprocess.run(["cp", "-a", p.folder / what, folder / what], check=True)
        self.scenarios[name] = folder
        return folder

    def make_done(self):
        """Everything is staged."""
        with CrashPlace(self) as p:
            assert p.once().code == 0, p.last
            self.keep(p, "done")
            self.etags = {o["path"]: o["staged_etag"] for o in p.objects().values() if o["staged_etag"]}

    def make_again(self):
        """Everything is staged, and then all of it was exported again with other content."""
        with CrashPlace(self) as p:
            p.begin("done")
            old = self.package / "expected"
            for name in ("buckets", "expected"):
                shutil.rmtree(p.folder / name)
                subprocess.run(["cp", "-a", self.folder / "other" / name, p.folder / name], check=True)
            for path, etag in self.etags.items():
                date = next((o["date"] for o in self.facts["objects"] if o.get("path") == path and o.get("date")), None)
                kept = p.folder / "expected" / Path(path).parent / ".replaced" / f"{date or Path(path).name}-{etag.strip(chr(34))}"
                kept.parent.mkdir(exist_ok=True)
                subprocess.run(["cp", "-a", old / path, kept], check=True)
            self.keep(p, "again")

    def make_spelled(self):
        """Everything is staged, and then the opt-in archive came with other content in the other spelling of its key: it
        gets the other's folder. (The content is a database archive: with other members, so that the two can be told apart.)"""
        other = next(o for o in self.facts["objects"] if o["category"] == "database")
        wins, loses = ([o for o in self.facts["objects"] if o["category"] == "email-opt-in" and bool(o.get("superseded")) == lost][-1]
                       for lost in (False, True))
        with CrashPlace(self) as p:
            p.begin("done")
            for part in ("", ".meta"):
                source = self.folder / "other" / "buckets" / part / other["bucket"] / other["key"]
                target = p.folder / "buckets" / part / loses["bucket"] / loses["key"]
                target.unlink(missing_ok=True)
                if source.exists():
                    shutil.copyfile(source, target)
            modified = wins["last_modified"] + 3600
            os.utime(p.folder / "buckets" / loses["bucket"] / loses["key"], (modified, modified))
            folder = p.folder / "expected" / wins["path"]
            kept = folder.parent / ".replaced" / f"{wins['date']}-{self.etags[wins['path']].strip(chr(34))}"
            kept.parent.mkdir()
            folder.rename(kept)
            subprocess.run(["cp", "-a", self.folder / "other" / "expected" / other["path"], folder], check=True)
            self.keep(p, "spelled")

    def make_lost(self):
        """Everything is staged, but the ledger is damaged."""
        with CrashPlace(self) as p:
            p.begin("done")
            (p.state / "ledger.db").write_bytes(b"not a ledger" * 1000)
            for name in ("ledger.db-wal", "ledger.db-shm"):
                (p.state / name).unlink(missing_ok=True)
            self.keep(p, "lost")


@dataclass
class Row:
    scenario: str
    who: str
    site: str
    nth: int
    error: str       # "": killed
    where: str       # for a person

    @property
    def name(self):
        return f"{self.scenario}: {self.who} {'killed' if not self.error else self.error} at {self.where} {self.site[-8:]} #{self.nth}"

    def run(self, p):
        number = getattr(errno, self.error) if self.error else 0
        for _ in range(TRIES):
            self.begin(p)
            hit = [n for n in p.faulty(who=self.who, site=self.site, nth=self.nth, error=number) if n[1]]
            if hit:
                break
        else:
            # how many transactions a run has depends on what comes in together
            raise Skip(f"not reached in {TRIES} runs")
        p.check("calls that failed or killed", len(hit), 1)
        self.after_fault(p, p.last)
        p.once()
        p.check("exit status of the run after", p.last.code, 0)
        p.check("told by the run after", {t for t in p.told() if not (t.startswith("note") and self.scenario == "lost")},
                set())
        self.after(p)

    def begin(self, p):
        p.begin(self.scenario)

    def after(self, p):
        whole(p, "after")
        if FULL:
            p.once()
            p.check("GETs of the third run", len(p.requests("get")), 0)

    def after_fault(self, p, run):
        if not self.error:
            p.check("exit status when killed", run.code, -9 if self.who == "czard" else 0)
        elif run.code == 0:
            if self.scenario == "large":
                gets = 1 if self.error == REFUSED else 2
                p.check("GETs of the large object", len([r for r in p.requests("get") if "/rdx/" in r.key]), gets)
            whole(p, "though a call failed", hidden=True)
        else:
            p.check("exit status with the error", run.code in (1, 3), True)
            causes = {e.fields.get("CZARD_CAUSE") for e in run.entries if e.level in ("warning", "err")} - {None}
            if not causes & (CAUSES.get(self.error, set()) | ALSO):
                p.problems.append(f"no entry tells of {self.error}: {p.told()}")
        if run.code != 0 or not self.error:
            visible_is_whole(p)


def visible_is_whole(p):
    """Nothing is half there: each file that has its name is the old one or the new one."""
    trees = [p.folder / "expected", p.base.package / "expected"]
    for feed in p.staging.glob("*/CHANGES.jsonl"):
        check_numbers(p, "half way", feed)
    for name, st in tree(p.staging).items():
        parts = Path(name).parts
        if any(part.startswith(".") and part != ".replaced" for part in parts) or not os.path.isfile(p.staging / name):
            continue
        if name.endswith("/MANIFEST.jsonl"):  # it tells of the members that are there
            p.problems += manifest_differences((p.staging / name).parent)
        elif not any((t / name).is_file() and (t / name).read_bytes() == (p.staging / name).read_bytes() for t in trees):
            p.problems.append(f"half there: {name}, {st.st_size} bytes")


def is_hidden(name):
    return any(part.startswith(".") and part not in (".replaced", ".czard-id") for part in Path(name).parts)


def check_numbers(p, when, feed):
    """Whole lines, numbered without a hole or a repeat. A last line that is torn has no newline: nobody takes it."""
    lines = [json.loads(line) for line in feed.read_bytes().split(b"\n")[:-1]]
    p.check(f"{when}: numbers in the feed", [line["seq"] for line in lines], list(range(1, len(lines) + 1)))
    return lines


def check_feed(p, when):
    """Numbers without a hole or a repeat; who follows it knows each file, and each folder that is there is complete."""
    files, complete = {}, set()
    for feed in p.staging.glob("*/CHANGES.jsonl"):
        for line in check_numbers(p, when, feed):
            if line["op"] == "snapshot-complete":
                complete.add(line["path"])
            elif line["category"] in ("events", "rdx"):
                p.check(f"{when}: {line['path']} was known to the feed", line["path"] in files, line["op"] != "published")
                if line["op"] == "replaced":
                    p.check(f"{when}: what {line['path']} was", line["was"], files[line["path"]])
                files[line["path"]] = line["sha256"]
    for o in p.objects().values():
        if o["path"] and o["is_zip"]:
            p.check(f"{when}: the feed has {o['path']}", o["path"] in complete, True)
        elif o["path"]:
            p.check(f"{when}: {o['path']} in the feed", files.get(o["path"]), o["sha256"].hex())


def whole(p, when, hidden=False):
    """Disk, ledger and audit record agree, and nothing is left behind (hidden: what could not be removed may be)."""
    left = [name for name in tree(p.staging) if is_hidden(name)]
    for line in p.differences(ignore=left):
        p.problems.append(f"{when}: {line}")
    if not hidden:
        p.problems += [f"{when}: left behind: {name}" for name in left]
    try:
        lines, _ = p.audit()
    except ValueError as e:
        p.problems.append(f"{when}: audit.jsonl: {e}")
        return
    last = {}
    for line in lines:
        if line["event"] in ("published", "replaced", "adopted", "missing", "rejected"):
            last[line["key"]] = line
    with_path = {o["path"]: o for o in p.objects().values() if o["path"]}
    for path, o in with_path.items():
        for name, got, wanted in [("state", o["state"], "PUBLISHED"), ("ETag", o["staged_etag"], o["etag"]),
                                  ("audit event", last.get(o["key"], {}).get("event") in ("published", "replaced"), True),
                                  ("audit ETag", last.get(o["key"], {}).get("etag"), o["etag"]),
                                  ("audit hash", last.get(o["key"], {}).get("manifest" if o["is_zip"] else "sha256"), o["sha256"] and o["sha256"].hex())]:
            p.check(f"{when}: {name} of {path}", got, wanted)
    p.check(f"{when}: objects with a path", set(with_path), set(p.base.etags))
    check_feed(p, when)
    for key in (o["key"] for o in with_path.values() if o["is_zip"]):
        states = Counter(m["state"] for m in p.members(key).values())
        p.check(f"{when}: members of {key}", set(states), {"PUBLISHED"})


# -- the table ------------------------------------------------------------------------------------------------------
def functions(who, frames):
    """Names for offsets of a program."""
    done = subprocess.run(["addr2line", "-f", "-e", program(who), *frames], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()[::2]
    return " < ".join(name.split(".")[0] for name in lines) or "?"


def rows_of(kind, scenario, who, key, nth, path, frames, errors):
    """Killed at that call, and each of these errors there."""
    where = f"{key.split(':')[0]} {path.split('/')[0]}/…{path.rsplit('/', 1)[-1][-24:]} by {functions(who, frames)}"
    return [kind(scenario, who, key, nth, error, where) for error in ("", *errors)]


def after_exchange(notes):
    """Killed at each site from the exchange of the two folders to its record: whose the folder is nobody has noted yet."""
    begin = next(n for n, (key, _, path, _) in enumerate(notes) if key.startswith("renameat2") and "email-opt-in" in path)
    end = next(n for n, (key, _, path, _) in enumerate(notes) if n > begin and key.startswith("fdatasync") and "ledger" in path)
    seen, rows, known = Counter(key for key, *_ in notes[:begin]), [], set()
    for key, _, path, frames in notes[begin:end + 1]:
        seen[key] += 1
        if key in known and not FULL:
            continue
        known.add(key)
        where = f"{key.split(':')[0]} {path.rsplit('/', 1)[-1][-24:]} by {functions('czard', frames)}"
        rows.append(Row("spelled", "czard", key, seen[key], "", where))
    print(f"spelled: {len(rows)} sites from the exchange on")
    return rows


def find_rows(base):
    rows, errors, known = [], 0, set()
    for scenario, who in [("first", "czard"), ("again", "czard"), ("lost", "czard"), ("spelled", "czard"), ("first", "czard-decrypt"),
                          ("large", "czard-decrypt"), ("many", "czard")]:
        with CrashPlace(base) as p:
            p.begin(scenario)
            notes = p.faulty(who=who)
            assert p.last.code == 0, p.last
            whole(p, f"{scenario}, with the preload")
            assert not p.problems, p.problems
        if scenario == "spelled":
            rows += after_exchange(notes)
            continue
        if scenario == "large":
            # each may take an error away from the fsync that follows; the last one waits for the disk
            notes = [n for n in notes if n[0].startswith("sync_file_range")]
            assert len(notes) == 3, notes
        if scenario == "many":
            # the file of what is not kept in memory
            notes = [n for n in notes if n[2].startswith("state/") and n[2].endswith("(deleted)")]
            assert len(notes) > 3, notes
        seen = Counter()
        for key, _, path, frames in notes:
            seen[key] += 1
            # what is undone with a transaction depends on which one it is
            commit = key.startswith("fdatasync") and scenario == "first" and seen[key] <= COMMITS
            if (who, key) in known and not FULL and not commit:
                continue
            known.add((who, key))
            chosen = ERRORS if FULL else [ERRORS[errors % len(ERRORS)]]
            if scenario == "large":
                chosen = [*chosen, REFUSED]
            if scenario == "many":
                chosen = ["ENOSPC", "EIO", "EDQUOT"]
            errors += 1
            rows += rows_of(Row, scenario, who, key, seen[key], path, frames, chosen)
        print(f"{scenario}, {who}: {sum(seen.values())} calls at {len(seen)} sites")
    return rows


if __name__ == "__main__":
    main(find_rows, CrashBase)
