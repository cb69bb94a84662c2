# SPDX-License-Identifier: Apache-2.0
"""A czard to run in a test: its folders, its configuration, its programs' memory, and what it said.

    World                 one mkdtemp folder with package, TLS, state, staging, run
      |-- config          section -> {key: value}; ini() writes it
      |-- once() -------> Run: code, entries (stderr, parsed), peaks (program -> bytes)
      `-- differences()   staging against the package's expected/
"""

import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import threading
import time
from pathlib import Path

from . import package, tls
from .common import make_folder

# Before a server's command: a test that is killed leaves none behind. Start it from a thread that stays.
DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL", "--"]
# enum object_state in lib/store/ledger.h
STATES = "NEW FETCHING DECRYPTING PUBLISHED RETRY REJECTED IGNORED GONE MISSING FORGOTTEN PRUNED".split()
REPOSITORY = Path(__file__).resolve().parents[3]


def build_folder():
    return Path(os.environ.get("CZARD_BUILD") or REPOSITORY / "build/release").absolute()


def release_folder():
    """Where locks, memory and speed are looked at: sanitizers change all three."""
    return Path(os.environ.get("CZARD_BUILD_RELEASE") or build_folder()).absolute()


def program(name, build=None):
    build = build or build_folder()
    for path in (build / "daemon" / name / name, build / "tests" / name / name):
        if path.exists():
            return path
    raise FileNotFoundError(f"{name} is not built in {build}; set CZARD_BUILD")


def copy_programs(folder, build=None):
    """A build folder that every user can reach, with the programs alone: a clone may lie below a home that nobody else
    may enter."""
    source = build or build_folder()
    for file in source.glob("daemon/*/*"):
        if file.is_file() and os.access(file, os.X_OK):
            to = Path(folder) / file.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, to)
    return Path(folder)


def is_sanitized(build=None):
    cache = (build or build_folder()) / "CMakeCache.txt"
    return cache.exists() and "CZARD_SANITIZE:BOOL=ON" in cache.read_text()


# -- what a run said ------------------------------------------------------------------------------------------------
FIELD = re.compile(r' ([A-Z][A-Z0-9_]*)=("(?:[^"\\]|\\.)*"|[^ "]*)')


class Entry:
    """One line: LEVEL MESSAGE NAME=VALUE …"""

    def __init__(self, line):
        self.line = line
        self.level, _, rest = line.partition(" ")
        end = re.search(r" (CZARD_[A-Z_]+|MESSAGE_ID)=", rest)
        self.message = rest[: end.start()] if end else rest
        fields = FIELD.findall(rest[end.start():]) if end else []
        self.fields = {name: re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
                       for name, value in fields}

    @property
    def event(self):
        return self.fields.get("CZARD_EVENT")

    def __repr__(self):
        return self.line


class Run:
    def __init__(self, code, stderr, stdout, peaks, seconds):
        self.code, self.stderr, self.stdout, self.peaks, self.seconds = code, stderr, stdout, peaks, seconds
        self.entries = [Entry(line) for line in stderr.splitlines() if re.match(r"(err|warning|notice|info|debug) ", line)]

    def events(self, name):
        return [e for e in self.entries if e.event == name]

    def __repr__(self):
        return f"exit {self.code} after {self.seconds:.1f} s\n{self.stderr[-6000:]}"


# -- processes ------------------------------------------------------------------------------------------------------
def children(pid):
    """All descendants of pid that run now."""
    found, todo = [], [pid]
    while todo:
        try:
            task = Path(f"/proc/{todo.pop()}/task")
            for thread in task.iterdir():
                below = [int(p) for p in (thread / "children").read_text().split()]
                found += below
                todo += below
        except OSError:
            pass
    return found


def peak_memory(pid):
    """(name, VmHWM in bytes) of a process, or None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    name = re.search(r"^Name:\s*(.*)$", text, re.M)
    peak = re.search(r"^VmHWM:\s*(\d+) kB$", text, re.M)
    return (name[1], int(peak[1]) * 1024) if name and peak else None


def read_or_empty(path):
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def where_it_stands(pid):
    """What a process that does not end, and all below it, wait for: each thread's system call with the descriptor it is on,
    and its stack where gdb is installed."""
    said = []
    for p in [pid, *children(pid)]:
        said.append(f"{p} {read_or_empty(Path(f'/proc/{p}/comm'))}")
        for thread in sorted(Path(f"/proc/{p}/task").glob("*")):
            call = read_or_empty(thread / "syscall").split()
            on = ""
            if len(call) > 1:
                link = thread / "fd" / str(int(call[1], 16))
                on = os.readlink(link) if link.is_symlink() else ""
            said.append(f"  thread {thread.name}: {read_or_empty(thread / 'wchan')}, call {' '.join(call[:4])} {on}")
        if shutil.which("gdb"):
            seen = subprocess.run(["gdb", "-p", str(p), "-batch", "-ex", "thread apply all bt 24"], capture_output=True, timeout=60,
                                  text=True, errors="replace", check=False).stdout.splitlines()
            said += ["  " + line for line in seen if line.startswith(("Thread", "#"))]
    return "\n".join(said)


class PeakWatcher:
    """Looks at the peak memory of a process and its descendants, 50 times a second, until stopped."""

    def __init__(self, pid):
        self.pid, self.peaks, self._stop = pid, {}, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while not self._stop.wait(0.02):
            for pid in [self.pid, *children(self.pid)]:
                seen = peak_memory(pid)
                if seen:
                    self.peaks[seen[0]] = max(self.peaks.get(seen[0], 0), seen[1])

    def stop(self):
        self._stop.set()
        self._thread.join()
        return self.peaks


# -- folders and their comparison -----------------------------------------------------------------------------------
def tree(root):
    """{path: lstat} of everything below root but the feeds, which grow."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + [f for f in files if f != "CHANGES.jsonl"]:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, root)] = os.lstat(path)
    return found


def fingerprint(root):
    """What must not change when nothing is new: everything a stat tells but the time of access."""
    return {path: (s.st_ino, s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_nlink, s.st_uid, s.st_gid)
            for path, s in tree(root).items()}


def same_content(a, b):
    with open(a, "rb") as x, open(b, "rb") as y:
        while True:
            p, q = x.read(1 << 20), y.read(1 << 20)
            if p != q:
                return False
            if not p:
                return True


def manifest_differences(folder):
    """A snapshot's MANIFEST.jsonl against the members that are there, as lines for a person; [] when it tells them exactly."""
    folder, want = Path(folder), []
    for path in sorted((f for f in folder.rglob("*") if f.is_file()), key=lambda f: os.fsencode(f.relative_to(folder).as_posix())):
        name = path.relative_to(folder).as_posix()
        if name in ("SHA256SUMS", "MANIFEST.jsonl", "REJECTED"):
            continue
        data = path.read_bytes()
        want.append({"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(),
                     "rows": data.count(b"\n") if name.endswith(".sql") else None})
        if known := re.fullmatch(r"(ora/)?(.+)-((?!prod-)[a-z0-9_]+)-(prod-edge|prod|edge)-analytics\.sql", name):
            want[-1].update(course=known[2], table=(known[1] or "") + known[3], site="edx" if known[4] == "prod" else "edge")
    have = [json.loads(line) for line in (folder / "MANIFEST.jsonl").read_bytes().splitlines()]
    if any(set(h) != {"path", "course", "table", "site", "size", "sha256", "rows"} for h in have):
        return [f"{folder}/MANIFEST.jsonl: other keys"]
    if len(want) != len(have):
        return [f"{folder}/MANIFEST.jsonl: {len(have)} lines, not {len(want)}"]
    return [f"{folder}/MANIFEST.jsonl: {h}, not {w}" for w, h in zip(want, have) if any(h[k] != w[k] for k in w)]


def same_inode(found, path):
    if found[path].st_nlink == 1:
        return [path]
    return [p for p, s in found.items() if s.st_ino == found[path].st_ino]


def differences(expected, staged, file_mode=0o440, dir_mode=0o750, modified=None, ignore=()):
    """Staging against an expected tree, as lines for a person; [] when equal. modified: path -> mtime to check."""
    out = []
    want, have = tree(expected), tree(staged)
    have.pop(".czard-id", None)
    for path in [p for p in have if re.search(r"(^|/)(database|email-opt-in)/(\.replaced/)?[^/.]+/MANIFEST\.jsonl$", p)]:
        if not any(path.startswith(i + "/") for i in ignore):
            out += manifest_differences(Path(staged, path).parent)
        del have[path]
    for path in want:
        if path.endswith("/SHA256SUMS") and path in have and not Path(staged, path).with_name("MANIFEST.jsonl").exists():
            out.append(f"no MANIFEST.jsonl beside {path}")
    for path in sorted(set(want) | set(have)):
        if any(path == i or path.startswith(i + "/") for i in ignore):
            continue
        if path not in have:
            out.append(f"missing: {path}")
        elif path not in want:
            out.append(f"not expected: {path}")
        elif stat.S_IFMT(want[path].st_mode) != stat.S_IFMT(have[path].st_mode):
            out.append(f"another kind of file: {path}")
        elif stat.S_ISLNK(want[path].st_mode):
            links = os.readlink(Path(expected, path)), os.readlink(Path(staged, path))
            if links[0] != links[1]:
                out.append(f"link: {path} -> {links[1]}, not {links[0]}")
        else:
            is_dir = stat.S_ISDIR(want[path].st_mode)
            mode = stat.S_IMODE(have[path].st_mode)
            if mode != (dir_mode if is_dir else file_mode):
                out.append(f"mode: {path} {mode:o}")
            if not is_dir and not same_content(Path(expected, path), Path(staged, path)):
                out.append(f"content: {path}")
            if not is_dir and modified and path in modified:
                # deduplicated members share an inode, and so the time of one of them
                times = {modified.get(p) for p in same_inode(have, path)}
                if int(have[path].st_mtime) not in times:
                    out.append(f"mtime: {path} {int(have[path].st_mtime)}, not {modified[path]}")
    return out


def modified_times(facts):
    """{staged path: Last-Modified} of a package."""
    out = {}
    for o in facts["objects"]:
        if o.get("members"):
            out.update({f"{o['path']}/{m['path']}": o["last_modified"] for m in o["members"]})
        elif o.get("sha256"):
            out[o["path"]] = o["last_modified"]
    return out


def check_sums(folder):
    """What sha256sum -c says of SHA256SUMS in folder: (status, output)."""
    done = subprocess.run(["sha256sum", "--strict", "--check", "SHA256SUMS"], cwd=folder, capture_output=True, text=True,
                          check=False)
    return done.returncode, done.stdout + done.stderr


def verify_audit(path):
    """Walks the chain of audit.jsonl with nothing of czard's. Returns its objects; raises where it breaks."""
    head, field, objects = "0" * 64, None, []
    data = Path(path).read_bytes()
    if not data:
        return objects, head
    if not data.endswith(b"\n"):
        raise ValueError("the last line has no end")
    for number, line in enumerate(data[:-1].split(b"\n"), 1):
        o = json.loads(line)
        if field is None:
            field = next((k for k, v in o.items() if v == head), None)
        if field is None or o.get(field) != head:
            raise ValueError(f"line {number}: does not carry the hash of the line before")
        head = hashlib.sha256(line).hexdigest()
        objects.append(o)
    return objects, head


# -- a czard with all that is around it -----------------------------------------------------------------------------
class World:
    """One test's folder (make_folder()), gone at the end (kept with CZARD_TEST_KEEP=1)."""

    def __init__(self, build=None, with_tls=True, passphrase=None, **package_options):
        self.build = build or build_folder()
        self.package_options, self.with_tls, self.passphrase = package_options, with_tls, passphrase

    def __enter__(self):
        self.folder = make_folder("czt.")
        self.generation = 0
        self.package, self.staging = self.folder / "package", self.folder / "staging"
        self.state, self.run_folder = self.folder / "state", self.folder / "run"
        try:
            if self.passphrase:
                file = self.folder / "passphrase"
                file.write_text(f"{self.passphrase}\nonly the first line counts\n")
                file.chmod(0o400)
                self.package_options["passphrase_file"] = file
            self.facts = package.make(self.package, **self.package_options)
            self.org = self.facts["org"]
            if self.with_tls:
                self.authority = tls.Authority(self.folder / "tls")
                self.certificate = self.authority.server()
            for path, mode in ((self.state, 0o750), (self.staging, 0o750), (self.run_folder, 0o700)):
                path.mkdir()
                path.chmod(mode)
            self.config = self._default_config()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(self, *_):
        if os.environ.get("CZARD_TEST_KEEP"):
            print(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _default_config(self):
        return {
            "daemon": {"state_dir": self.state, "log_level": "debug"},
            "s3": {"credentials": self.package / "credentials.csv"},
            "openpgp": {"homedir": self.package / "gnupg", "passphrase_file": self.package_options.get("passphrase_file")},
            "staging": {"path": self.staging, "min_free": "1M", "encrypted_device": "ignore"},
            f"package {self.org}": {
                "events": f"s3://edx-course-data/{self.org}", "database": "s3://course-data",
                "email_opt_in": "s3://course-data/email-opt-in", "rdx": f"s3://edx-course-data/{self.org}/rdx"},
        }

    def fresh(self):
        """A czard that knows nothing yet, with an empty staging folder, on the same package."""
        self.generation += 1
        self.state, self.staging = (self.folder / f"{name}{self.generation}" for name in ("state", "staging"))
        for path in (self.state, self.staging):
            path.mkdir()
            path.chmod(0o750)
        server = {k: v for k, v in self.config["s3"].items() if k in ("endpoint", "ca_file")}
        self.config = self._default_config()
        self.config["s3"].update(server)

    def use(self, endpoint, tls_endpoint=True):
        """Points the configuration to a server."""
        self.config["s3"]["endpoint"] = endpoint
        if tls_endpoint:
            self.config["s3"]["ca_file"] = self.authority.ca

    @property
    def package_section(self):
        return self.config[f"package {self.org}"]

    def ini(self, name="czard.ini"):
        path = self.folder / name
        lines = []
        for section, values in self.config.items():
            lines += [f"[{section}]", *[f"{k} = {v}" for k, v in values.items() if v is not None], ""]
        text = "\n".join(lines)
        if not path.exists() or path.read_text() != text:  # a program that starts beside must not find half of it
            path.write_text(text)
        return path

    def environment(self):
        kept = ("PATH", "LANG", "LSAN_OPTIONS", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LD_LIBRARY_PATH")
        return {**{k: v for k, v in os.environ.items() if k in kept}, "HOME": str(self.folder),
                "CZARD_TESTING": "1",  # polls may be seconds apart
                "RUNTIME_DIRECTORY": str(self.run_folder)}

    def start(self, *args, wrapper=(), config=None):
        """Popen of czard; for the caller to wait for or to kill."""
        command = [*wrapper, program("czard", self.build), "--config", config or self.ini(), *args]
        return subprocess.Popen([str(a) for a in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, env=self.environment(), cwd="/", start_new_session=True)

    def run(self, *args, timeout=300, **kwargs):
        began = time.monotonic()
        child = self.start(*args, **kwargs)
        watcher = PeakWatcher(child.pid)
        try:
            out, err = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            stuck = where_it_stands(child.pid)
            self._kill(child)
            out, err = child.communicate()
            err += f"\nTHE TEST: killed after {timeout} s:\n{stuck}\n".encode()
        peaks = watcher.stop()
        # A helper that a sanitizer stops is replaced, and the run may end well all the same.
        if b"Sanitizer" in err or b"runtime error:" in err:
            raise AssertionError("a sanitizer found something:\n" + err.decode(errors="replace")[-8000:])
        return Run(child.returncode, err.decode(errors="replace"), out.decode(errors="replace"), peaks,
                   time.monotonic() - began)

    def _kill(self, child):
        for pid in [*children(child.pid), child.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def once(self, *args, **kwargs):
        return self.run("--once", *args, **kwargs)

    def differences(self, **kwargs):
        kwargs.setdefault("modified", modified_times(self.facts))
        return differences(self.package / "expected", self.staging, **kwargs)

    def ledger(self, query, *values):
        """Rows of the ledger, as dictionaries."""
        db = sqlite3.connect(f"file:{self.state}/ledger.db?mode=ro", uri=True)
        try:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(query, values)]
        finally:
            db.close()

    def objects(self):
        """{key: row of the ledger}, with the state's name as czarctl shows it."""
        rows = self.ledger("SELECT * FROM object")
        return {row["key"]: {**row, "state": STATES[row["state"]]} for row in rows}

    def members(self, key):
        """{name in the archive: row of the ledger} of one snapshot."""
        rows = self.ledger("SELECT member.* FROM member JOIN object ON object.id = object_id WHERE key = ?", key)
        return {row["name"]: {**row, "state": STATES[row["state"]]} for row in rows}

    def audit(self):
        return verify_audit(self.state / "audit.jsonl")
