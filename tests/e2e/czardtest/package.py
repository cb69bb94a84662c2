# SPDX-License-Identifier: Apache-2.0
"""Makes an edX data package: real gpg keys, real Info-ZIP archives, the real layout, all from a seed.

The folder that comes out:
    buckets/BUCKET/KEY   what S3 serves; a file's mtime is the object's Last-Modified
    expected/            the staging tree that czard must make of it, in plaintext
    gnupg/  pubkeys/     the data czar's GnuPG home (0700), and what edX encrypts to
    credentials.csv      as edX sends it
    package.json         every object: what it is, where it is staged, with which SHA-256, or why it is refused
"""

import argparse
import datetime
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import content, keys, poison
from .common import sha256_file, utc, write_sums

EVENTS_BUCKET = "edx-course-data"
DATABASE_BUCKET = "course-data"
ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

# {Org}-{course}-{run} keeps its case, need not begin with the partner's name, and has dots and hyphens.
COURSES = ["{Org}-CS50.1x-2023_T1", "UnivHSX-PH-207x-3T2022", "{Org}-Lang-B.2-x-2024-Q1.b", "{Org}-Espa_ol_101-1T2020"]


class Package:
    """A package in the making, or (load) one that was made."""

    def __init__(self, out, options):
        self.out = Path(out).absolute()
        self.o = options
        self.org = options.org
        self.Org = options.display_org or re.sub(r"^(.)(.*?)(x?)$", lambda m: m[1].upper() + m[2] + m[3].upper(), self.org)
        self.objects, self.neighbours = [], []
        self.passphrase = Path(options.passphrase_file).read_text().split("\n")[0] if options.passphrase_file else None
        cache = keys.cache_folder(self.out / ".cache")
        self.keys = keys.key_set(cache, self.org, options.seed, options.key_bits, self.passphrase, options.key_expired)

    def rng(self, *what):
        return random.Random(repr((self.o.seed, self.org, *what)))

    # -- what S3 holds ------------------------------------------------------------------------------------------
    def put(self, bucket, key, data, modified, **facts):
        """One object: data is bytes or a file to move there. facts (when it is ours) go to package.json."""
        path = self.out / "buckets" / bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, bytes):
            path.write_bytes(data)
        else:
            shutil.move(data, path)
        os.utime(path, (modified, modified))
        entry = {"bucket": bucket, "key": key, "size": path.stat().st_size, "last_modified": modified, **facts}
        (self.objects if facts else self.neighbours).append(entry)
        return entry

    def stage(self, path, data, modified=None):
        """One file of the expected tree."""
        target = self.out / "expected" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, bytes):
            target.write_bytes(data)
        else:
            shutil.move(data, target)
        if modified is not None:
            os.utime(target, (modified, modified))
        return {"sha256": sha256_file(target), "plain_size": target.stat().st_size}

    def put_file(self, bucket, key, plaintext, path, modified, options=(), **facts):
        """An object that is one OpenPGP message, with what is staged for it."""
        facts.update(self.stage(path, plaintext, modified))
        return self.put(bucket, key, self.keys.encrypt(plaintext, *options), modified, path=path, **facts)

    def put_large(self, bucket, key, path, modified, **facts):
        """The same with rdx_size bytes that no compressor shortens, by way of files."""
        plain, cipher = self.out / "large", self.out / "large.gpg"
        content.incompressible(plain, self.o.rdx_size, self.o.seed)
        self.keys.encrypt_file(plain, cipher, "--compress-algo", "none")
        facts.update(self.stage(path, plain, modified))
        self.put(bucket, key, cipher, modified, path=path, **facts)

    # -- events -------------------------------------------------------------------------------------------------
    def events(self):
        end = datetime.date.fromisoformat(self.o.end)
        days = [(end - datetime.timedelta(days=n)).isoformat() for n in range(self.o.days)][::-1]
        for site in self.o.sites.split():
            for n, date in enumerate(days):
                # A day without events has no file. edge has few events: every other day.
                if (site == "edx" and n == len(days) - 3) or (site == "edge" and n % 2):
                    continue
                size = self.o.event_size if site == "edx" else self.o.event_size // 8
                lines = content.event_lines(self.rng("events", site, date), self.Org, site, date, size)
                data = content.gz(lines)
                if n == 0 and site == "edx":  # gzip members one after the other are one file
                    half = lines.index(b"\n", len(lines) // 2) + 1
                    data = content.gz(lines[:half]) + content.gz(lines[half:])
                name = f"{self.org}-{site}-events-{date}.log.gz"
                options = (["--armor"] if n in self.o.armor else []) + \
                    (["--cipher-algo", "AES128"] if n == 1 else [])
                self.put_file(EVENTS_BUCKET, f"{self.org}/{site}/events/{date[:4]}/{name}.gpg", data,
                              f"{self.org}/events/{site}/{date[:4]}/{name}", utc(date) + 86400, options,
                              category="events", site=site, date=date)

    # -- weekly snapshots ---------------------------------------------------------------------------------------
    def weeks(self):
        """The Sundays up to the end."""
        end = datetime.date.fromisoformat(self.o.end)
        sunday = end - datetime.timedelta(days=(end.weekday() + 1) % 7)
        return [(sunday - datetime.timedelta(days=7 * n)).isoformat() for n in range(self.o.weeks)][::-1]

    def course_names(self):
        names = [shape.format(Org=self.Org) for shape in COURSES]
        names += [f"{self.Org}-M{n:03d}x-{2016 + n % 8}_T{1 + n % 3}" for n in range(max(0, self.o.courses - 4))]
        return names[: self.o.courses]

    def course_members(self, course, env, week, archived):
        """{name without .gpg: plaintext} of one course."""
        few = self.o.tables == "few"
        # An archived course's tables come back identical week after week.
        rng = self.rng("course", course, env, None if archived else week)
        size = lambda: int(self.o.member_size * (0.2 + 1.6 * rng.random()))
        analytics = f"{env}-analytics"
        members = {}
        for table in content.FEW_TABLES if few else content.TABLES:
            members[f"{course}-{table}-{analytics}.sql"] = content.table(rng, table, course, size())
        for table in content.FEW_ORA_TABLES if few else content.ORA_TABLES:
            members[f"ora/{course}-{table}-{analytics}.sql"] = content.table(rng, table, course, size())
        members[f"{course}-{env}.mongo"] = content.forum(rng, course, size())
        members[f"{course}-course_structure-{analytics}.json"] = content.structure(rng, course, size())
        members[f"{course}-course-{analytics}.xml.tar.gz"] = content.tar_gz({
            f"{course}/course.xml": b"<course url_name=\"r\"/>\n", f"{course}/about/overview.html": rng.randbytes(200)})
        return members

    def odd_members(self, course, week):
        """What also turns up: CCX courses, failed exports, unknown tables, empty tables, names cut by the exporter."""
        rng = self.rng("odd", week)
        head = f"{course}-auth_userprofile-prod-analytics.sql"
        long_name = f"{course}-" + "A_very_long_course_run_" * 7
        digest = hashlib.md5(long_name.encode()).hexdigest()
        return {
            f"{course}-ccx-12-auth_user-prod-analytics.sql": content.table(rng, "auth_user", course, 700),
            f"{course}-wiki_article-prod-analytics.sql.failed": b"Traceback (most recent call last):\n  OperationalError\n",
            f"{course}-future_table-prod-analytics.parquet": b"PAR1" + rng.randbytes(900) + b"PAR1",
            head: content.table(rng, "auth_userprofile", course, 0),
            f"{course}-teams-prod-analytics.sql": b"",
            f"{long_name[:200 - 33]}-{digest}-auth_user-prod-analytics.sql": content.table(rng, "auth_user", course, 300),
            f"{self.Org}-email_opt_in-prod-analytics.csv": b"email,full_name,course_id\n",
        }

    def snapshot_members(self, week):
        courses = self.course_names()
        members = {}
        for n, course in enumerate(courses):
            members.update(self.course_members(course, "prod", week, archived=n % 2 == 1))
        if courses and self.o.odd:
            members.update(self.course_members(f"{self.Org}-Pilot.x-2021", "prod-edge", week, archived=True))
            odd = self.odd_members(courses[0], week)
            members = {name: data for name, data in members.items() if name + ".failed" not in odd}
            members.update(odd)
        return members

    def pack(self, top, members, big=0, flat=False):
        """A zip of OpenPGP members below one folder (flat: below none), and the plaintext. Returns (zip, plaintext)."""
        work = Path(tempfile.mkdtemp(prefix="zip.", dir=self.out))
        folder, plain = work / "enc" / top, work / "plain"
        for name, data in members.items():
            for below in (folder, plain):
                path = below / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        files = [folder / name for name in members]
        if files:
            self.keys.encrypt_files(files)
        for path in files:
            path.unlink()
        if big:
            name = f"{self.Org}-Huge.1x-2024-courseware_studentmodule-prod-analytics.sql"
            content.incompressible(plain / name, big, self.o.seed)
            self.keys.encrypt_file(plain / name, folder / f"{name}.gpg", "--compress-algo", "none")
        archive = work / "out.zip"
        options = ["--junk-paths"] if flat else []
        keys.run(["zip", "--quiet", "--recurse-paths", *options, archive, top], cwd=work / "enc")
        shutil.rmtree(work / "enc")
        return archive, plain

    def stage_snapshot(self, path, plain, modified, rejected=()):
        """The plaintext as a staged snapshot. Returns the facts of its members."""
        target = self.out / "expected" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(plain, target)
        members = []
        for file in sorted(p for p in target.rglob("*") if p.is_file()):
            os.utime(file, (modified, modified))
            members.append({"path": file.relative_to(target).as_posix(), "sha256": sha256_file(file),
                            "plain_size": file.stat().st_size, "failed": file.name.endswith(".failed")})
        write_sums(target, {m["path"]: m["sha256"] for m in members})
        latest = target.parent / "latest"
        if not rejected and (not latest.is_symlink() or os.readlink(latest) < target.name):
            latest.unlink(missing_ok=True)
            latest.symlink_to(target.name)
        return members

    def database(self):
        for n, week in enumerate(self.weeks()):
            big = self.o.zip64_member_size if n == self.o.weeks - 1 else 0
            archive, plain = self.pack(f"{self.org}-{week}", self.snapshot_members(week), big)
            path, modified = f"{self.org}/database/{week}", utc(week, "20:31:44")
            members = self.stage_snapshot(path, plain, modified)
            self.put(DATABASE_BUCKET, f"{self.org}-{week}.zip", archive, modified, category="database", date=week,
                     path=path, members=members)
            shutil.rmtree(archive.parent)

    # -- email opt-in -------------------------------------------------------------------------------------------
    def opt_in(self):
        """Saturdays, in the producer's and in the guide's spelling; the last date in both: the later one wins."""
        saturdays = [(datetime.date.fromisoformat(w) - datetime.timedelta(days=1)).isoformat() for w in self.weeks()]
        for n, date in enumerate(saturdays):
            spellings = [f"email-opt-in-{self.org}-{date}", f"{self.org}-{date}"]
            last = n == len(saturdays) - 1
            for m, spelling in enumerate(spellings if last else [spellings[n % 2]]):
                wins = not last or m == 1
                member = f"{self.Org}-email_opt_in-prod-analytics.csv"
                rows = [f"{name}{m}@mail.example,{name} {date},course-v1:{self.Org}+CS50.1x+2023_T1,True,{date} 01:00:0{m}"
                        for name in content.NAMES]
                text = "email,full_name,course_id,is_opted_in_for_email,preference_set_datetime\n" + "\n".join(rows) + "\n"
                archive, plain = self.pack(spelling, {member: text.encode()}, flat=m == 1)
                path, modified = f"{self.org}/email-opt-in/{date}", utc(date, "09:00:00") + 3600 * m
                facts = {"category": "email-opt-in", "date": date, "path": path}
                if wins:
                    facts["members"] = self.stage_snapshot(path, plain, modified)
                self.put(DATABASE_BUCKET, f"email-opt-in/{spelling}.zip", archive, modified, superseded=not wins, **facts)
                shutil.rmtree(archive.parent)

    # -- rdx ----------------------------------------------------------------------------------------------------
    def rdx(self):
        for n, request in enumerate(["rdx-2024-17", "0b9f2c4e-77aa-4c1e"][: self.o.rdx]):
            rng = self.rng("rdx", n)
            data = content.tar_gz({
                "metadata_file.json": json.dumps({"request": request, "org": self.Org}).encode(),
                f"events/{self.Org}-edx-events-{self.o.end}.log.gz": content.gz(
                    content.event_lines(rng, self.Org, "edx", self.o.end, 4000)),
                f"state/{self.o.end}/{self.Org}-CS50.1x-2023_T1-auth_user.sql": content.table(rng, "auth_user", "x", 900),
            })
            name = f"{self.org}_CS50.1x_2023-T{n + 1}.tar.gz"
            if self.o.rdx_size:
                self.put_large(EVENTS_BUCKET, f"{self.org}/rdx/{request}/{name}.gpg", f"{self.org}/rdx/{request}/{name}",
                               utc(self.o.end, "13:14:15"), category="rdx", request=request)
                continue
            self.put_file(EVENTS_BUCKET, f"{self.org}/rdx/{request}/{name}.gpg", data, f"{self.org}/rdx/{request}/{name}",
                          utc(self.o.end, "13:14:15"), category="rdx", request=request)

    # -- none of ours -------------------------------------------------------------------------------------------
    def add_neighbours(self):
        """Keys beside ours that must not be fetched. Most are readable for our key: strictness is czard's."""
        date, year = self.weeks()[-1] if self.o.weeks else self.o.end, self.o.end[:4]
        alien = self.keys.encrypt(b"none of ours\n", ours=False)
        below = f"{self.org}/edx/events/{year}/{self.org}-edx-events"
        for bucket, key in [
            (DATABASE_BUCKET, f"{self.org}-pro-{date}.zip"),
            (DATABASE_BUCKET, f"{self.org}-{date}.zip.md5"),
            (DATABASE_BUCKET, f"{self.org}-{date}-partial.zip"),
            (DATABASE_BUCKET, f"{self.org}-latest.zip"),
            (DATABASE_BUCKET, f"legacy/{self.org}-{date}.zip"),
            (DATABASE_BUCKET, f"test/{self.org}-{date}.zip"),
            (DATABASE_BUCKET, f"otherx-{date}.zip"),
            (DATABASE_BUCKET, f"2014-07-27-{self.org}-tracking.tar"),
            (DATABASE_BUCKET, f"email-opt-in/email-opt-in-{self.org}-pro-{date}.zip"),
            (DATABASE_BUCKET, f"email-opt-in/{self.org}-pro-{date}.zip"),
            (EVENTS_BUCKET, f"otherx/edx/events/{year}/otherx-edx-events-{date}.log.gz.gpg"),
            (EVENTS_BUCKET, f"{self.org}-pro/edx/events/{year}/{self.org}-pro-edx-events-{date}.log.gz.gpg"),
            (EVENTS_BUCKET, f"{self.org}/patches/events/{year}/{self.org}-patches-events-{date}.log.gz.gpg"),
            (EVENTS_BUCKET, f"{below}-{date}.log.gz.gpg.tmp"),
            (EVENTS_BUCKET, f"{below}-{date[:8]}7.log.gz.gpg"),
            (EVENTS_BUCKET, f"{self.org}/edx/events/{year}/README + 100% & more~.txt"),
            (EVENTS_BUCKET, f"{self.org}/edx/events/{year}/übersicht=1.txt"),
        ]:
            self.put(bucket, key, alien, utc(date))

    # -- the rest of the folder ---------------------------------------------------------------------------------
    def finish(self):
        shutil.copytree(self.keys.home, self.out / "gnupg", dirs_exist_ok=True)
        os.chmod(self.out / "gnupg", 0o700)
        (self.out / "pubkeys").mkdir()
        for name in ("czar", "master"):
            shutil.copy(self.keys.folder / f"{name}.asc", self.out / "pubkeys")
        csv = self.out / "credentials.csv"
        csv.write_text(f'User Name,Access Key Id,Secret Access Key\n"czar@{self.org}.example",{ACCESS_KEY_ID},{SECRET_ACCESS_KEY}\n')
        csv.chmod(0o400)
        facts = {
            "version": 1, "org": self.org, "seed": self.o.seed, "fingerprint": self.keys.czar,
            "access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY,
            "objects": self.objects, "neighbours": self.neighbours,
        }
        (self.out / "package.json").write_text(json.dumps(facts, indent=1) + "\n")
        shutil.rmtree(self.out / ".cache", ignore_errors=True)

    def make(self):
        self.events()
        self.database()
        self.opt_in()
        self.rdx()
        if self.o.neighbours:
            self.add_neighbours()
        if self.o.poison:
            poison.add(self)
        if self.o.foreign:
            poison.add_foreign(self)
        self.finish()


def parser():
    p = argparse.ArgumentParser(prog="make-package", description="Makes an edX data package for tests, from a seed.")
    p.add_argument("--out", required=True, metavar="DIR", help="a new folder")
    p.add_argument("--org", default="universityx")
    p.add_argument("--display-org", metavar="NAME", help="{Org} in member names (default: UniversityX from universityx)")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--end", default="2024-07-08", metavar="DATE", help="the last day")
    p.add_argument("--days", type=int, default=6, help="days of events")
    p.add_argument("--sites", default="edx edge")
    p.add_argument("--weeks", type=int, default=2, help="weekly snapshots")
    p.add_argument("--courses", type=int, default=3)
    p.add_argument("--tables", choices=["few", "all"], default="few")
    p.add_argument("--rdx", type=int, default=2, help="research requests (at most 2)")
    p.add_argument("--rdx-size", type=int, default=0, metavar="BYTES", help="plaintext of an rdx object (default: small)")
    p.add_argument("--event-size", type=int, default=60000, metavar="BYTES", help="plaintext of a day at edx.org")
    p.add_argument("--member-size", type=int, default=2000, metavar="BYTES", help="usual plaintext of a member")
    p.add_argument("--zip64-member-size", type=int, default=0, metavar="BYTES", help="one huge member in the last snapshot")
    p.add_argument("--key-bits", type=int, default=2048)
    p.add_argument("--key-expired", action="store_true", help="the czar's key has expired since")
    p.add_argument("--passphrase-file", metavar="FILE", help="protect the czar's key with its first line")
    p.add_argument("--armor", type=int, nargs="*", default=[2], metavar="N", help="days whose events are armored")
    p.add_argument("--no-odd", dest="odd", action="store_false", help="no edge, CCX, failed, unknown, empty members")
    p.add_argument("--no-neighbours", dest="neighbours", action="store_false")
    p.add_argument("--foreign", action="store_true", help="add a message that is encrypted to other keys only")
    p.add_argument("--poison", action="store_true", help="add objects that must be rejected")
    return p


def make(out, **options):
    """Makes a package from Python: make(folder, days=3, ...). Returns its package.json."""
    args = parser().parse_args(["--out", str(out)])
    for name, value in options.items():
        if not hasattr(args, name):
            raise TypeError(f"no such option: {name}")
        setattr(args, name, value)
    out = Path(out)
    out.mkdir(parents=True)
    Package(out, args).make()
    return load(out)


def load(out):
    return json.loads(Path(out, "package.json").read_text())


def main(argv=None):
    args = parser().parse_args(argv)
    if Path(args.out).exists():
        sys.exit(f"make-package: {args.out} exists already")
    missing = [tool for tool in ("gpg", "zip") if shutil.which(tool) is None]
    if missing:
        sys.exit(f"make-package: {' '.join(missing)} not installed; see tests/deps")
    Path(args.out).mkdir(parents=True)
    try:
        Package(args.out, args).make()
    except (RuntimeError, subprocess.SubprocessError) as e:
        sys.exit(f"make-package: {e}")
