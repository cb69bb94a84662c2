#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an accident, an admin or another program does to the files around czard, before a run and while it runs, one a
row: what czard says, that nothing is fetched twice or lost or written elsewhere, and that it goes on when it is undone.

    CZARD_BUILD=build/release tests/fault/local_test.py [-v] [-k TEXT] [-j N]
"""

import gzip
import os
import random
import re
import signal
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from table import main  # first: it makes czardtest known

from czardtest.daemon import Daemon


# -- what there is ------------------------------------------------------------------------------------------------------
def audit(p):
    return p.state / "audit.jsonl"


def ledger(p):
    return p.state / "ledger.db"


def staged(p):
    """The newest events file."""
    return p.staging / p.base.find("events")["path"]


def sql(*statements):
    def run(p):
        db = sqlite3.connect(ledger(p))
        for statement in statements:
            db.execute(statement)
        db.commit()
        db.close()
    return run


def new_export(p, n=1):
    """Another content of the newest events file: something to do."""
    o = p.base.find("events")
    plain = gzip.compress(b'{"event": "another"}\n' * 300 * n, mtime=0)
    p.expect(o["path"], plain)
    p.put(o["bucket"], o["key"], p.base.keys.encrypt(plain))
    p.config["staging"]["keep_replaced"] = "0"


def away(path, then=None):
    """It is moved away, and something else may come to its place."""
    def run(p):
        path(p).rename(p.folder / "away")
        if then:
            then(path(p))
    return run


def back(path):
    def run(p):
        if path(p).is_dir() and not path(p).is_symlink():
            path(p).rmdir()
        else:
            path(p).unlink(missing_ok=True)
        (p.folder / "away").rename(path(p))
    return run


def elsewhere(path):
    """A link that leads out."""
    path.symlink_to("/nonexistent")


def both(*steps):
    return lambda p: [step(p) for step in steps]


# -- before a run -------------------------------------------------------------------------------------------------------
@dataclass
class Before:
    """A good run; then it happens; a run; then it is undone; a run that is good again, with everything staged."""
    name: str
    happens: callable
    code: int
    told: set
    undone: callable = None
    gets: tuple = (0, 0)        # of the run that meets it
    after_gets: tuple = (0, 0)  # of the run behind that

    def run(self, p):
        p.check("exit status at first", p.once().code, 0)
        self.happens(p)
        p.once(timeout=60)
        p.check("exit status", p.last.code, self.code)
        p.check("told", p.told(), self.told)
        p.check("GETs", len(p.requests("get")), self.gets)
        if self.undone:
            self.undone(p)
        p.check("exit status when it is undone", p.once().code, 0)
        p.check("told when it is undone", p.told(), set())
        p.check("GETs when it is undone", len(p.requests("get")), self.after_gets)
        p.check_staging("undone")
        p.check("states", {o["state"] for o in p.objects().values()}, {"PUBLISHED", "IGNORED"})
        p.check_audit()


def rebuilt(name, happens):
    return Before(f"ledger: {name}", happens, 0, {"note io-error", "note"})


def refuses(name, happens, cause, undone, **more):
    return Before(name, happens, 3, {f"failed {cause}"}, undone, **more)


def hold_lock(p):
    p.db = sqlite3.connect(ledger(p), isolation_level=None)
    p.db.execute("BEGIN EXCLUSIVE")


def next_year(p):
    """The clock was a year ahead when a retry was put off, and is right again."""
    then = int(time.time()) + 365 * 86400
    sql(f"UPDATE object SET state = 4, cause = 'network', next_try = {then} WHERE key LIKE '%2024-07-08%'")(p)


LEDGER_VERSION = re.search(r"LEDGER_VERSION (\d+)", (Path(__file__).parents[2] / "lib/store/ledger_internal.h").read_text())[1]
BEFORE = [
    Before("audit: a torn line behind the last", lambda p: audit(p).open("a").write('{"time":"2024-07-'), 0, set()),
    Before("audit: half of the last line", lambda p: os.truncate(audit(p), audit(p).stat().st_size - 20), 0, {"audit-cut io-error"}),
    Before("audit: no last newline", lambda p: os.truncate(audit(p), audit(p).stat().st_size - 1), 0, {"audit-cut io-error"}),
    Before("audit: zeros behind", lambda p: os.truncate(audit(p), audit(p).stat().st_size + 4096), 0, set()),
    *[refuses(f"audit: {name}", away(audit, make), cause, back(audit)) for name, make, cause in (
        ("a folder", os.mkdir, "io-error"), ("a pipe", os.mkfifo, "unsafe-mode"), ("a link", elsewhere, "io-error"))],
    refuses("ledger: of a newer version", sql("PRAGMA user_version = 99"), "configuration", sql(f"PRAGMA user_version = {LEDGER_VERSION}")),
    refuses("ledger: a folder", away(ledger, os.mkdir), "io-error", back(ledger)),
    refuses("ledger: a link", away(ledger, elsewhere), "io-error", back(ledger)),
    refuses("ledger: locked by another program", hold_lock, "io-error", lambda p: p.db.execute("ROLLBACK")),
    rebuilt("garbage", lambda p: ledger(p).write_bytes(random.Random(1).randbytes(20000))),
    rebuilt("cut", lambda p: os.truncate(ledger(p), ledger(p).stat().st_size // 2)),
    rebuilt("without a table", sql("DROP TABLE member")),
    rebuilt("without a column", sql("ALTER TABLE object RENAME COLUMN etag TO tag")),
    rebuilt("values that are none", sql("UPDATE object SET state = 99, size = -5")),
    Before("ledger: a retry that is due next year", next_year, 0, set(), gets=(1, 1)),
    refuses("staging: .czard-id of no id", away(lambda p: p.staging / ".czard-id", lambda path: path.write_text("x\n")), "staging",
            back(lambda p: p.staging / ".czard-id")),
    Before("staging: a folder of it is a link out", both(new_export, away(lambda p: staged(p).parent, elsewhere)), 1,
           {"retry unsafe-mode", "missing"}, both(back(lambda p: staged(p).parent), sql("UPDATE object SET state = 3 WHERE state = 8")),
           gets=(1, 5), after_gets=(1, 1)),
    refuses("group: of no name", lambda p: p.config["staging"].update(group="no-such-group"), "configuration",
            lambda p: p.config["staging"].update(group=None)),
    refuses("state folder: for others to read", lambda p: p.state.chmod(0o755), "unsafe-mode", lambda p: p.state.chmod(0o750)),
]


# -- while it runs --------------------------------------------------------------------------------------------------------
@dataclass
class Pauses:
    """It happens; a new export waits, which is told; it is undone, and the export is staged."""
    name: str
    happens: callable
    undone: callable = None  # None: by a restart
    cause: str = "io-error"

    def run(self, p):
        p.config["staging"]["keep_replaced"] = "0"
        with Daemon(p) as d:
            d.synced()
            was = staged(p).read_bytes()
            self.happens(p)
            new_export(p)
            mark = d.mark()
            d.signal(signal.SIGUSR1)
            # Paused for the audit record's or the ledger's sake, the file may have its name already.
            p.check("level", d.until("paused", mark, CZARD_CAUSE=self.cause).level, "err")
            if self.undone:
                self.undone(p)
                d.signal(signal.SIGUSR1)
                d.until("resumed", mark, timeout=60)
                d.wait("the export", lambda: staged(p).read_bytes() != was)
            d.synced(mark)
            p.check("exit status", d.stop()[0], 0)
        p.check("exit status of the next", p.once().code, 0)
        p.check_staging("undone")
        if self.undone:
            p.check_audit()


class ReloadKey:
    """A reload names a home without a key: decryption pauses; the next one takes it back, and all goes on."""
    name = "reload: a home without a key, and back"

    def run(self, p):
        package = p.config[f"package {p.org}"]
        empty = p.folder / "a home without a key"
        empty.mkdir(mode=0o700)
        with Daemon(p) as d:
            d.synced()
            package["homedir"] = str(empty)
            mark = d.mark()
            d.reload()
            p.check("level", d.until("paused", mark).level, "err")
            package["homedir"] = None
            mark = d.mark()
            d.reload()
            d.until("resumed", mark)
            new_export(p)
            d.signal(signal.SIGUSR1)
            d.synced(mark)
            p.check("exit status", d.stop()[0], 0)
        p.config["staging"]["keep_replaced"] = "0"
        p.check("exit status of the next", p.once().code, 0)


class Reload:
    """A configuration that cannot be read is refused, and all goes on with the old one."""
    name = "reload: of what is no configuration"

    def run(self, p):
        p.config["staging"]["keep_replaced"] = "0"
        with Daemon(p) as d:
            d.synced()
            ini = p.folder / "czard.ini"
            for n, (what, make) in enumerate((("garbage", lambda: ini.write_bytes(bytes(range(256)) * 4)), ("nothing", lambda: ini.write_text("")),
                                              ("a folder", lambda: ini.mkdir()), ("a pipe", lambda: os.mkfifo(ini)), ("gone", lambda: None),
                                              ("a link to itself", lambda: ini.symlink_to(ini)))):
                ini.unlink()
                make()
                mark = d.mark()
                d.signal(signal.SIGHUP)
                p.check(f"level, {what}", d.until("reload-refused", mark).level, "err")
                if what == "a folder":
                    ini.rmdir()
                else:
                    ini.unlink(missing_ok=True)
                new_export(p, n + 1)
                d.poll()
                d.synced(mark)
                p.ini()
                p.check_staging(f"goes on after {what}")
            d.reload()
            p.check("exit status", d.stop()[0], 0)


def evil(p):
    """staging leads to a folder that must stay as it is."""
    (p.folder / "evil").mkdir(mode=0o750)
    away(lambda p: p.staging, lambda path: path.symlink_to(p.folder / "evil"))(p)


def not_evil(p):
    p.check("written elsewhere", os.listdir(p.folder / "evil"), [])
    back(lambda p: p.staging)(p)


WHILE = [
    Pauses("running: staging is a link to another folder", evil, not_evil, "staging"),
    Pauses("running: staging is gone", away(lambda p: p.staging), back(lambda p: p.staging), "staging"),
    Pauses("running: the audit record is moved away", away(audit), back(audit)),
    Pauses("running: the audit record is a folder", away(audit, os.mkdir), back(audit)),
    Pauses("running: the ledger is moved away", away(ledger), back(ledger)),
    ReloadKey(),
    Reload(),
]

if __name__ == "__main__":
    main(BEFORE + WHILE)
