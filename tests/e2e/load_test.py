#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""systemd/examples/czard-load against a real PostgreSQL: killed at arbitrary moments, over a life with late, replaced, forgotten,
pruned, missing and restored files, a lost ledger and a lost feed, it ends with exactly the tree; no line twice, and no hole.
It runs as a member of the readers' group, without any right on czard's state."""

import csv
import grp
import gzip
import io
import json
import os
import pwd
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

from czardtest import events, main, package
from czardtest.common import sha256_file
from czardtest.run import REPOSITORY, program
from czardtest.served import Commands
from czardtest.zips import Archives, table_name

READER, GROUP = "nobody", "daemon"
LOAD = REPOSITORY / "systemd/examples/czard-load"
SEED = int(os.environ.get("CZARD_SEED", 17))


def postgres_folder():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return found[-1].parent if found and int(found[-1].parts[-3]) >= 15 else None


class Postgres:
    """A server of its own: the reader's, in a folder of its own, on a UNIX socket only."""

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="czpg.", dir="/tmp"))
        user = pwd.getpwnam(READER)
        os.chown(self.folder, user.pw_uid, user.pw_gid)
        self.identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [grp.getgrnam(GROUP).gr_gid]}
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8", "PGHOST": str(self.folder),
                            "PGDATABASE": "postgres", "PGUSER": "loader"}
        self.server = None
        try:
            self.run(postgres_folder() / "initdb", "-D", self.folder / "data", "-A", "trust", "-U", "loader", "-E", "UTF8", "--no-sync")
            self.server = subprocess.Popen(
                [postgres_folder() / "postgres", "-D", self.folder / "data", "-k", self.folder, "-c", "listen_addresses=", "-c",
                 "fsync=off", "-c", "shared_buffers=16MB"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, env=self.environment, cwd="/", **self.identity)
            for _ in range(900):
                if subprocess.run([postgres_folder() / "pg_isready", "-q"], env=self.environment, check=False).returncode == 0:
                    return self
                time.sleep(0.1)
            raise RuntimeError("PostgreSQL does not start")
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        if self.server:
            self.server.send_signal(signal.SIGINT)
            self.server.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *argv, **kwargs):
        return subprocess.run([str(a) for a in argv], env=self.environment, cwd="/", check=True, stdout=subprocess.PIPE,
                              **self.identity, **kwargs).stdout

    def ask(self, sql):
        out = self.run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", input=f"COPY ({sql}) TO STDOUT (FORMAT csv)".encode())
        return list(csv.reader(io.StringIO(out.decode(), newline="")))


class Killer:
    """Runs the loader, kills it again and again, and starts it anew."""

    def __init__(self, argv, postgres):
        self.argv, self.postgres, self.random = [str(a) for a in argv], postgres, random.Random(SEED)
        self.stopping, self.killed, self.failures = threading.Event(), 0, []
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        while not self.stopping.is_set():
            child = subprocess.Popen(self.argv, env=self.postgres.environment, cwd="/", stdin=subprocess.DEVNULL,
                                     stderr=subprocess.PIPE, **self.postgres.identity)
            try:
                child.wait(self.random.choice((0.1, 0.3, 0.6, 1, 2, 4)) * self.random.uniform(0.5, 1.5))
            except subprocess.TimeoutExpired:
                child.kill()
                self.killed += 1
            with child.stderr:
                said = child.stderr.read().decode()
            if child.wait() != -signal.SIGKILL:
                self.failures.append(said)

    def stop(self):
        self.stopping.set()
        self.thread.join()


def tell(part):
    """A few tables of two courses."""
    return {table_name(course, table): ("id\tname\tnote\n" + "".join(f"{i}\tn{i}-{part}\t{note}\n" for i in range(n))).encode()
            for course, n in (("X-A-1T", 40), ("X-B-1T", 7))
            for table, note in (("auth_user", "NULL"), (f"grades_{part}", "a\\tb\\\\c\\n"), ("auth_userprofile", "\u00fc"))}


@unittest.skipIf(postgres_folder() is None, "no PostgreSQL from 15 on")
@unittest.skipIf(os.geteuid() != 0, "only root can be somebody else")
class LoadTest(Commands):
    def setUp(self):
        self.a = self.enterContext(Archives())
        self.a.fresh()
        self.w = w = self.a.world
        w.package_section.update(categories="events database", sites="edx", events_by_course="edx")
        w.config["staging"]["group"] = GROUP
        self.pg = self.enterContext(Postgres())
        w.folder.chmod(0o711)
        w.ini().chmod(0o644)
        for path in (w.staging,):
            shutil.chown(path, group=GROUP)
        w.state.chmod(0o700)
        # what it takes a line to be done is noted by the database itself
        self.pg.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", input=b"""CREATE SCHEMA czard;
            CREATE TABLE czard.cursor (org text PRIMARY KEY, seq bigint NOT NULL);
            CREATE TABLE moves (id bigserial, before bigint, after bigint);
            CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO moves (before, after) VALUES (coalesce(OLD.seq, 0), NEW.seq); RETURN NEW; END $$;
            CREATE TRIGGER note AFTER INSERT OR UPDATE ON czard.cursor FOR EACH ROW EXECUTE FUNCTION note();""")
        self.argv = [LOAD, "--staging", w.staging, "--config", w.folder / "czard.ini", "--czarctl", program("czarctl"), w.org]

    def once(self, code=0):
        super().once(code)
        self.w.ini().chmod(0o644)

    def ctl(self, *args):
        super().ctl(*args)
        self.w.ini().chmod(0o644)

    def put_events(self, days):
        names = {date: gzip.compress(text, 1) for date, text in days.items()}
        for date, message in self.a.encrypt(names).items():
            path = (self.w.package / "buckets" / package.EVENTS_BUCKET / self.w.org / "edx/events" / date[:4]
                    / f"{self.w.org}-edx-events-{date}.log.gz.gpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(message)

    def day(self, date):
        return self.w.staging / self.w.org / "events/edx" / date[:4] / f"{self.w.org}-edx-events-{date}.log.gz"

    def wait(self):
        """Until the last line of the feed is done, by a loader that nobody kills."""
        child = subprocess.Popen([str(a) for a in self.argv], env=self.pg.environment, cwd="/", stdin=subprocess.DEVNULL,
                                 **self.pg.identity)
        last = json.loads((self.w.staging / self.w.org / "CHANGES.jsonl").read_text().splitlines()[-1])["seq"]
        try:
            for _ in range(1800):
                if self.pg.ask("SELECT seq FROM czard.cursor") == [[str(last)]]:
                    return last
                self.assertIsNone(child.poll())
                time.sleep(0.1)
            self.fail(f"{self.pg.ask('SELECT seq FROM czard.cursor')}, not {last}")
        finally:
            child.kill()
            child.wait()

    def check(self):
        last = self.wait()
        moves = [(int(a), int(b)) for a, b in self.pg.ask("SELECT before, after FROM moves ORDER BY id")]
        self.assertEqual([a for a, _ in moves], [0, *(b for _, b in moves[:-1])])
        self.assertTrue(all(a < b for a, b in moves), moves)
        self.assertEqual(moves[-1][1], last)
        self.check_events()
        self.check_tables()

    def check_events(self):
        there = {str(f.relative_to(self.w.staging)): f for f in (self.w.staging / self.w.org / "events").rglob("*.gz")}
        parts = {path: (part, sha256) for part, path, sha256 in self.pg.ask("SELECT id, path, sha256 FROM czard.part "
                                                                            "WHERE category = 'events'")}
        self.assertEqual({p: s for p, (_, s) in parts.items()}, {p: sha256_file(f) for p, f in there.items()})
        self.assertEqual(self.pg.ask("SELECT count(*) FROM czard.events WHERE czard_part NOT IN (SELECT id FROM czard.part)"), [["0"]])
        for path, f in there.items():
            rows = self.pg.ask(f"SELECT line, event, encode(raw, 'hex') FROM czard.events WHERE czard_part = {parts[path][0]} "
                               "ORDER BY line")
            lines = gzip.decompress(f.read_bytes()).split(b"\n")
            lines = lines[:-1] if not lines[-1] else lines
            self.assertEqual([int(r[0]) for r in rows], list(range(1, len(lines) + 1)), path)
            for line, (_, event, raw) in zip(lines, rows):
                if raw:
                    self.assertEqual(bytes.fromhex(raw), line)
                elif line:
                    self.assertEqual(json.loads(event), json.loads(line))

    def check_tables(self):
        newest = max(f for f in (self.w.staging / self.w.org / "database").glob("2*") if not (f / "REJECTED").exists())
        parts = {path: (part, table) for part, path, table in self.pg.ask("""SELECT id, path, "table" FROM czard.part
            WHERE category = 'database'""")}
        self.assertEqual(set(parts), {str(f.relative_to(self.w.staging)) for f in newest.glob("*.sql")})
        total = 0
        for path, (part, table) in parts.items():
            data = (self.w.staging / path).read_bytes()
            columns = ", ".join(data.split(b"\n")[0].decode().split("\t"))
            have = self.pg.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", input=f"COPY (SELECT {columns} FROM {self.w.org}.{table} WHERE czard_part = {part} "
                                                         "ORDER BY ctid) TO STDOUT (NULL 'NULL', HEADER)".encode())
            self.assertEqual(have, data, path)
            total += data.count(b"\n") - 1
        names = {t for _, t in parts.values()}
        self.assertEqual(sum(int(self.pg.ask(f"SELECT count(*) FROM {self.w.org}.{t}")[0][0]) for t in names), total)

    def life(self, pause):
        w, a = self.w, self.a
        hostile = b'\\.\n{"a": 1}\n\xff\n{"nul": "\\u0000"}\n\n"\\ud800"\n{"t": "a\\tb\\\\c"}\n\ta\\N\n' + b'{"x": 1e999999}\nlast'
        self.put_events({f"2024-03-{n:02}": events.realistic(60, 4, seed=n) for n in range(1, 7)})
        self.put_events({"2024-03-07": hostile})
        late = self.a.world.package / "buckets" / package.EVENTS_BUCKET / w.org / "edx/events/2024" / f"{w.org}-edx-events-2024-03-02.log.gz.gpg"
        aside = w.folder / "aside"
        shutil.move(late, aside)
        a.put_members("2024-03-03", tell("one"))
        self.once()
        pause()
        shutil.move(aside, late)
        self.put_events({"2024-03-03": events.realistic(30, 3, seed=99)})
        a.put_members("2024-03-10", {**tell("two"), "X-A-1T-course-prod-analytics.xml.tar.gz": b"x"})
        self.once()
        pause()
        gone = self.day("2024-03-04")
        shutil.move(gone, aside)
        w.once()
        pause()
        self.ctl("forget", "*2024-03-05*", "--reason", "request 17")
        a.put_members("2024-03-10", tell("three"), modified=int(time.time()))  # the snapshot is written anew
        w.once()
        pause()
        shutil.copy2(aside, gone)
        shutil.chown(gone, group=GROUP)
        gone.chmod(0o440)
        self.ctl("adopt")
        pause()
        for f in w.state.glob("ledger.db*"):
            f.unlink()
        a.put_members("2024-02-25", tell("late"))
        self.once()
        pause()
        (w.staging / w.org / "CHANGES.jsonl").unlink()
        self.put_events({"2024-03-01": events.realistic(30, 3, seed=7), "2024-03-08": b""})
        a.put_members("2024-03-17", {**tell("three"), **{k: v for k, v in tell("four").items() if "X-A" in k}})
        self.once()
        pause()
        w.config["staging"].update(keep_snapshots="1", keep_days="30000")
        self.ctl("prune", "--apply")
        self.once()

    def test_a_life_in_which_it_is_killed(self):
        self.w.ini().chmod(0o644)
        killer = Killer(self.argv, self.pg)
        try:
            self.life(lambda: time.sleep(3))
            time.sleep(3)
        finally:
            killer.stop()
        print(f"seed {SEED}: killed {killer.killed} times", flush=True)
        # before there is an organisation's folder it waits; nothing but the kills ends it
        self.assertEqual(killer.failures, [])
        self.assertGreater(killer.killed, 10)
        self.check()

    def test_nothing_is_left(self):
        """What was loaded goes with the last file of it, and with its folder."""
        self.w.ini().chmod(0o644)
        self.put_events({"2024-03-01": events.realistic(10, 2, seed=1)})
        self.a.put_members("2024-03-03", tell("one"))
        self.once()
        self.check()
        self.ctl("forget", "*", "--reason", "request 17")
        self.wait()
        self.assertEqual(self.pg.ask("SELECT name FROM czard.part"), [])

    def test_step_by_step_and_all_at_once(self):
        self.life(self.check)
        self.check()
        one = self.pg.ask("SELECT path, sha256, rows FROM czard.part ORDER BY 1")
        self.pg.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", input=f'DROP SCHEMA czard CASCADE; DROP SCHEMA "{self.w.org}" CASCADE;'.encode())
        done = subprocess.run([str(a) for a in [self.argv[0], "--once", *self.argv[1:]]], env=self.pg.environment, cwd="/",
                              check=False, **self.pg.identity)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(self.pg.ask("SELECT path, sha256, rows FROM czard.part ORDER BY 1"), one)
        self.check_events()
        self.check_tables()


if __name__ == "__main__":
    main()
