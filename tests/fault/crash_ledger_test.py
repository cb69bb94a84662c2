#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A ledger that was lost or damaged, one way a row: the next run rebuilds it from audit.jsonl and the disk. It fetches
nothing that is there, what is staged stays as it is, and the new ledger says what the old one said.

    CZARD_BUILD=build/release tests/fault/crash_ledger_test.py [-v] [-k TEXT] [-j N]
"""

import random
import shutil
import sqlite3
import subprocess
from dataclasses import dataclass

from table import fingerprint, main

from czardtest.run import program  # table.py knows where it is

# What the record does not tell, and does not matter: times differ by a second, partial attempts are forgotten.
OBJECT_APART = {"id", "first_seen", "published_at", "attempts"}
MEMBER_APART = {"object_id", "attempts"}


def delete(p):
    (p.state / "ledger.db").unlink()


def delete_all(p):
    for path in p.state.glob("ledger.db*"):
        path.unlink()


def overwrite(first, count):
    """Random bytes from `first` (a share of the file) on."""
    def damage(p):
        path = p.state / "ledger.db"
        rng, size = random.Random(5), path.stat().st_size
        with open(path, "r+b") as f:
            f.seek(int(size * first))
            f.write(rng.randbytes(count or size))
    return damage


def truncate(share):
    def damage(p):
        path = p.state / "ledger.db"
        with open(path, "r+b") as f:
            f.truncate(int(path.stat().st_size * share))
    return damage


def no_wal(damage):
    def both(p):
        for name in ("ledger.db-wal", "ledger.db-shm"):
            (p.state / name).unlink(missing_ok=True)
        damage(p)
    return both


def half_a_row(p):
    """A row whose values cannot be: no page of it is damaged."""
    db = sqlite3.connect(p.state / "ledger.db")
    db.execute("UPDATE object SET state = 99 WHERE id = (SELECT max(id) FROM object)")
    db.commit()
    db.close()


def half_a_member(p):
    db = sqlite3.connect(p.state / "ledger.db")
    db.execute("UPDATE member SET sha256 = x'00ff' WHERE rowid = (SELECT max(rowid) FROM member)")
    db.commit()
    db.close()


def rows(p):
    """The ledger without what is new each time."""
    objects = {}
    for o in p.ledger("SELECT * FROM object"):
        objects[o["bucket"], o["key"]] = {k: v for k, v in o.items() if k not in OBJECT_APART}
    members = {}
    for m in p.ledger("SELECT member.*, key FROM member JOIN object ON object.id = object_id"):
        members[m["key"], m["name"]] = {k: v for k, v in m.items() if k not in MEMBER_APART}
    return objects, members


def facts(p):
    return ({m["name"]: m["value"] for m in p.ledger("SELECT * FROM meta") if m["name"] in ("staging-id", "paused")} |
            {(s["org"], s["category"]): s["pin"] for s in p.ledger("SELECT * FROM series") if s["pin"]})


@dataclass
class Row:
    name: str
    damage: callable
    damaged: bool = False        # it is moved away, not just absent
    before: callable = None      # before the first run
    prepare: callable = None     # before the damage
    change: callable = None      # of the disk, after the damage
    code: int = 0
    gets: int = 0
    told: set = None
    look: callable = None        # more checks
    audit: bool = True           # its chain holds
    same: bool = True            # ledger and disk are as they were

    def run(self, p):
        if self.before:
            self.before(p)
        p.check("exit status of the first run", p.once().code, 0)
        if self.prepare:
            self.prepare(p)
        before, known, staged = rows(p), facts(p), fingerprint(p.staging)
        self.damage(p)
        if self.change:
            self.change(p)
        run = p.once()
        p.check("exit status", run.code, self.code)
        p.check("GETs", len(p.requests("get")), self.gets)
        p.check("told", p.told(), self.told if self.told is not None else {"note io-error", "note"} if self.damaged else {"note"})
        p.check("it is said that the ledger was rebuilt",
                sum("rebuilt from" in e.message and "objects" in e.message for e in run.entries), 1)
        p.check("moved away", len(list(p.state.glob("ledger.db.damaged-*"))) > 0, self.damaged)
        if self.audit:
            p.check_audit()
        if self.same:
            p.check("facts", facts(p), known)
            for what, was, now in zip(("object", "member"), before, rows(p)):
                for key in was.keys() | now.keys():
                    p.check(f"{what} {key}", now.get(key), was.get(key))
            p.check("staging is as it was", fingerprint(p.staging) == staged, True)
            p.check_staging("after the rebuild")
            run = p.once()
            p.check("exit status of the run after", run.code, 0)
            p.check("told in the run after", p.told(), set())
            p.check("GETs of the run after", len(p.requests("get")), 0)
        if self.look:
            self.look(p)


# -- what happened between ------------------------------------------------------------------------------------------
def ctl(p, *args, code=0):
    command = [str(a) for a in (program("czarctl", p.build), "--config", p.ini(), *args)]
    done = subprocess.run(command, capture_output=True, text=True, env=p.environment(), check=False, timeout=60)
    p.check(f"czarctl {args[0]}", done.returncode, code)
    return done.stdout


def forget_one(p):
    ctl(p, "forget", p.base.find("events")["key"], "--reason", "a learner asked")


def pin_and_pause(p):
    date = p.base.find("database")["date"]
    ctl(p, "latest", p.org, date)
    ctl(p, "pause", "--reason", "moving the disk")


def remove_one(p):
    o = p.base.find("events")
    (p.staging / o["path"]).unlink()


def is_missing(p):
    o = p.base.find("events")
    p.check("state", p.objects()[o["key"]]["state"], "MISSING")
    p.once()
    p.check("GETs of the run after", len(p.requests("get")), 0)
    p.check("state in the run after", p.objects()[o["key"]]["state"], "MISSING")


def other_disk(p):
    shutil.move(p.staging, p.folder / "elsewhere")
    p.staging.mkdir()
    p.staging.chmod(0o750)


def nothing_written(p):
    p.check("below the mount point", list(p.staging.iterdir()), [])
    p.staging.rmdir()
    shutil.move(p.folder / "elsewhere", p.staging)
    run = p.once()
    p.check("exit status with the disk", run.code, 0)
    p.check("GETs with the disk", len(p.requests("get")), 0)
    p.check("states", {o["state"] for o in p.objects().values() if o["path"]}, {"PUBLISHED"})


def few_tables(p):
    p.package_section["tables"] = "auth_user"


def all_tables(p):
    """The filter is widened: what was left out comes, although the new ledger never saw it; nothing else does."""
    p.check("GETs of the rebuild", len(p.requests("get")), 0)
    p.package_section["tables"] = None
    members = len(p.base.find("database")["members"])
    p.once()
    p.check("exit status with all tables", p.last.code, 0)
    p.check("GETs with all tables are of the archive",
            {r.key for r in p.requests("get")}, {p.base.find("database")["key"]})
    p.check("members", len(p.members(p.base.find("database")["key"])), members)
    p.check_staging("with all tables")
    p.once()
    p.check("GETs of the run after", len(p.requests("get")), 0)


def alter_record(p):
    """The line of one publication is altered: that is said, the rest counts, and what it spoke of is fetched again."""
    path, key = p.state / "audit.jsonl", p.base.find("events")["key"].encode()
    lines = path.read_bytes().split(b"\n")
    n = next(i for i, line in enumerate(lines) if b'"event":"published"' in line and key in line)
    lines[n] = lines[n].replace(b'"category":"', b'"category":"x', 1)
    path.write_bytes(b"\n".join(lines))


def is_staged(p):
    p.check("state", p.objects()[p.base.find("events")["key"]]["state"], "PUBLISHED")
    p.check_staging("after the rebuild")


TABLE = [
    Row("ledger.db is not there", delete),
    Row("no file of the ledger is there", delete_all),
    Row("it is all random bytes", no_wal(overwrite(0, None)), damaged=True),
    Row("its first page is random bytes", no_wal(overwrite(0, 4096)), damaged=True),
    Row("its beginning is random bytes, beside its WAL", overwrite(0, 100), damaged=True),
    Row("random bytes in the middle", no_wal(overwrite(0.4, 8192)), damaged=True),
    Row("cut to half", no_wal(truncate(0.5)), damaged=True),
    Row("cut to 100 bytes", no_wal(lambda p: (p.state / "ledger.db").write_bytes((p.state / "ledger.db").read_bytes()[:100])),
        damaged=True),
    Row("empty", truncate(0)),
    Row("an object's state cannot be", half_a_row, damaged=True),
    Row("a member's hash cannot be", half_a_member, damaged=True),
    Row("after an admin's word", delete_all, prepare=forget_one, same=False,
        look=lambda p: p.check("state", p.objects()[p.base.find("events")["key"]]["state"], "FORGOTTEN")),
    Row("paused by an admin, latest pinned", delete_all, prepare=pin_and_pause, code=1, told={"note"}, same=False,
        look=lambda p: p.check("facts", {k: v for k, v in facts(p).items() if k != "staging-id"},
                               {"paused": "moving the disk",
                                (p.org, 1): p.base.find("database")["date"]})),
    Row("and a file is not there any more", delete_all, change=remove_one, told={"note", "missing"}, same=False,
        look=is_missing),
    Row("and members were left out", delete_all, before=few_tables, same=False, look=all_tables),
    Row("and a line of the record was altered", delete_all, change=alter_record, told={"note", "note io-error"}, same=False,
        audit=False, gets=1, look=is_staged),
    Row("and another disk is mounted", delete_all, change=other_disk, code=3, told={"note", "failed staging"}, same=False,
        look=nothing_written),
]

if __name__ == "__main__":
    main(TABLE)
