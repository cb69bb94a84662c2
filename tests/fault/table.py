# SPDX-License-Identifier: Apache-2.0
"""What the tables of faults share: a place for each row to run in, and the runner.

    Base                    one package, made once, and keys to encrypt more with
      `-- Place (a row)     its own buckets, stand-in for S3, state and staging
            |-- once()      a run of `czard --once`: exit status, entries, what was asked of S3
            `-- problems    what was not as the row says; none is good

    main(rows, base)        runs the rows (or those that rows(base) gives), some at a time; the last line tells how many there were
"""

import argparse
import concurrent.futures
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from czardtest import keys, package, tls  # noqa: E402
from czardtest.common import make_folder  # noqa: E402
from czardtest.run import Run, World, build_folder, fingerprint, tree, where_it_stands  # noqa: E402
from czardtest.s3d import S3d  # noqa: E402

PACKAGE = {"days": 3, "weeks": 1, "courses": 1, "sites": "edx", "rdx": 1, "odd": False, "neighbours": False, "armor": []}


class Skip(Exception):
    """A row that cannot run here, and why."""


class Base:
    """The package that all rows start from."""

    place = None  # what a row runs in; set below

    def __enter__(self):
        self.folder = make_folder("czf.")
        try:
            self.package = self.folder / "package"
            self.facts = package.make(self.package, **PACKAGE)
            self.org = self.facts["org"]
            self.keys = keys.key_set(keys.cache_folder(self.package / ".cache"), self.org)
            self.authority = tls.Authority(self.folder / "tls")
            self.certificates = {
                "good": self.authority.server(),
                "expired": self.authority.server("expired", expired=True),
                "self-signed": self.authority.server("self", self_signed=True),
                "wrong-host": self.authority.server("other", hosts=("elsewhere.example",), ips=()),
            }
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)

    def find(self, category):
        """The newest object of a category that is to be staged."""
        found = [o for o in self.facts["objects"] if o["category"] == category and not o.get("superseded")]
        return max(found, key=lambda o: o.get("date", ""))


class Place(World):
    """Where one row runs: copies of all that a fault may change."""

    def __init__(self, base, certificate=None):
        super().__init__(with_tls=False)
        self.base, self.certificate = base, certificate
        self.problems, self.runs = [], []

    def __enter__(self):
        base = self.base
        self.package, self.facts, self.org, self.authority = base.package, base.facts, base.org, base.authority
        self.folder = make_folder("czf.")
        self.generation = 0
        try:
            shutil.copytree(base.package / "buckets", self.folder / "buckets")
            shutil.copytree(base.package / "expected", self.folder / "expected", symlinks=True)
            self.state, self.staging, self.run_folder = (self.folder / n for n in ("state", "staging", "run"))
            for path, mode in ((self.state, 0o750), (self.staging, 0o750), (self.run_folder, 0o700)):
                path.mkdir()
                path.chmod(mode)
            self.config = self._default_config()
            self.config["daemon"]["workers"] = 1
            self.config["s3"]["stall_timeout"] = "3s"  # a busy machine stalls for a second
            self.s3 = S3d(self.folder, self.facts, self.certificate)
            self.s3.__enter__()
            self.use(self.s3.endpoint, tls_endpoint=self.certificate is not None)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(self, *_):
        self.s3.__exit__()
        super().__exit__()

    # -- S3 -----------------------------------------------------------------------------------------------------
    def file(self, name, data):
        """A file for a behaviour to send."""
        folder = self.s3.behaviours / "files"
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
        return f"files/{name}"

    def behave(self, behaviours):
        for n, lines in enumerate(behaviours):
            lines = {k: v(self) if callable(v) else v for k, v in lines.items()}
            lines = {k: v for k, v in lines.items() if v is not None}
            self.s3.behave(f"{n:03d}", **lines)

    def behave_well(self):
        for path in self.s3.behaviours.iterdir():
            if path.is_file():
                path.unlink()

    def put(self, bucket, key, data, modified=None):
        path = self.folder / "buckets" / bucket / key
        old = path.stat().st_mtime if path.exists() else None
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(".new")
        temporary.write_bytes(data)
        modified = modified or old
        if modified:
            os.utime(temporary, (modified, modified))
        temporary.rename(path)

    def meta(self, bucket, key, **lines):
        path = self.folder / "buckets" / ".meta" / bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{k}={v}\n" for k, v in lines.items()))

    def expect(self, path, data):
        """What is to be staged instead."""
        target = self.folder / "expected" / path
        modified = target.stat().st_mtime
        target.write_bytes(data)
        os.utime(target, (modified, modified))

    # -- runs ---------------------------------------------------------------------------------------------------
    def run(self, *args, timeout=150, **kwargs):
        began = time.monotonic()
        child = self.start(*args, **kwargs)
        late = b""
        try:
            out, err = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            late = f"\nTHE TEST: killed after {timeout} s:\n{where_it_stands(child.pid)}\n".encode()
            os.killpg(child.pid, signal.SIGKILL)
            out, err = child.communicate()
        return Run(child.returncode, (err + late).decode(errors="replace"), out.decode(errors="replace"), {},
                   time.monotonic() - began)

    def once(self, *args, **kwargs):
        self.s3.forget_requests()
        self.last = super().once(*args, **kwargs)
        self.runs.append(f"{self.last!r}\n" + "\n".join(map(repr, self.s3.requests()[-40:])))
        return self.last

    # -- looking ------------------------------------------------------------------------------------------------
    def check(self, what, got, wanted):
        """wanted: a value, or (least, most) for a number."""
        good = wanted[0] <= got <= wanted[1] if isinstance(wanted, tuple) else got == wanted
        if not good:
            self.problems.append(f"{what}: {got!r}, not {wanted!r}")

    def differences(self, **kwargs):
        from czardtest.run import differences
        return differences(self.folder / "expected", self.staging, **kwargs)

    def check_staging(self, when, ignore=()):
        """All that should be staged is, and nothing else: no hidden file, nothing half-made."""
        for line in self.differences(ignore=ignore):
            self.problems.append(f"{when}: {line}")
        for name in tree(self.staging):
            if any(part.startswith(".") for part in Path(name).parts) and name != ".czard-id":
                self.problems.append(f"{when}: left behind: {name}")

    def check_audit(self):
        try:
            self.audit()
        except (OSError, ValueError) as e:
            self.problems.append(f"audit.jsonl: {e}")

    def told(self):
        """What the last run said that is not routine: {"EVENT CAUSE"}."""
        return {" ".join(filter(None, (e.event, e.fields.get("CZARD_CAUSE")))) for e in self.last.entries
                if e.level in ("warning", "err") and "built with sanitizers" not in e.message}

    def requests(self, op=None, key=None):
        return [r for r in self.s3.requests() if (op is None or r.op == op) and (key is None or r.key == key)]


Base.place = Place


def md5(data):
    return hashlib.md5(data).hexdigest()


def run_row(row, base):
    """(row, problems, seconds, what to show when there are problems)"""
    began = time.monotonic()
    shown, skipped, problems = "", None, []
    try:
        with base.place(base, certificate=base.certificates[row.certificate] if getattr(row, "certificate", None) else None) as p:
            try:
                row.run(p)
                problems = p.problems
            finally:
                shown = "\n\n".join(p.runs)
    except Skip as e:
        skipped = str(e)
    except Exception:  # a row that breaks is a row that failed
        problems = [*problems, traceback.format_exc()]
    return row, problems, skipped, time.monotonic() - began, shown


def main(rows, base_type=Base, jobs=4):
    parser = argparse.ArgumentParser()
    parser.add_argument("-k", default="", metavar="TEXT", help="only the rows whose name has TEXT")
    parser.add_argument("-j", type=int, default=jobs, metavar="N", help="rows at a time")
    parser.add_argument("-v", action="store_true", help="tell every row")
    args = parser.parse_args()
    failed, skips, began = 0, 0, time.monotonic()
    with base_type() as base, concurrent.futures.ThreadPoolExecutor(args.j) as pool:
        rows = rows(base) if callable(rows) else rows
        names = [row.name for row in rows]
        assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)
        rows = [row for row in rows if args.k in row.name]
        for done in concurrent.futures.as_completed([pool.submit(run_row, row, base) for row in rows]):
            row, problems, skipped, seconds, shown = done.result()
            if problems:
                failed += 1
                print(f"FAILED  {row.name} ({seconds:.1f} s)\n        " + "\n        ".join(problems))
                print("        | " + shown.replace("\n", "\n        | "))
            elif skipped:
                skips += 1
                print(f"SKIPPED {row.name}: {skipped}")
            elif args.v:
                print(f"ok      {row.name} ({seconds:.1f} s)")
            sys.stdout.flush()
    print(f"{len(rows)} rows: {len(rows) - failed - skips} passed, {failed} failed, {skips} skipped ({time.monotonic() - began:.0f} s)")
    sys.exit(1 if failed or not rows else 77 if skips == len(rows) else 0)
