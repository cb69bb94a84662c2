#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Another local user, who may write in every staging folder, races with czard while it publishes, one trick a row:
czard never writes, changes or reveals anything elsewhere, never hangs, and heals when the other one has gone.

    CZARD_BUILD=build/release tests/fault/races_test.py [-v] [-k TEXT] [-j N]
"""

import gzip
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass

from table import Base, Skip, main, tree

OTHER = 65534
ROUNDS, ROUND_SECONDS = 4, 6
VICTIM = b"a secret of somebody else\n" * 20

# Runs as the other user, below staging, until it is killed. outside and every folder below . is his to write in.
PRELUDE = r"""
import os, random, signal, sys
outside = sys.argv[1]
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))  # a round of tricks is finished
def quietly(what, *args):
    try:
        return what(*args)
    except OSError:
        return None
def folders():
    return [d for d, _, _ in os.walk(".") if os.access(d, os.W_OK)]
def files():
    return [os.path.join(d, f) for d, _, names in os.walk(".") for f in names if f != ".czard-id" or d != "."]
def plant(path, kind):
    quietly(os.unlink, path)
    if kind == "link":
        quietly(os.symlink, outside + "/victim", path)
    elif kind == "own":
        quietly(os.symlink, outside + "/mine", path)
    elif kind == "hard":
        quietly(os.link, outside + "/mine", path)
    elif kind == "steal":
        quietly(os.link, outside + "/victim", path)
    elif kind == "fifo":
        quietly(os.mkfifo, path)
    elif kind == "dangling":
        quietly(os.symlink, outside + "/new", path)
    elif kind == "folder":
        quietly(os.symlink, outside, path)
kept = {p: None for p in files()}
def names():
    kept.update(dict.fromkeys(files()))
    return list(kept)
def hidden():
    return [os.path.join(d, n) for d, ds, fs in os.walk(".") for n in ds + fs if n.startswith(".") and n != ".czard-id"]
print("ready", flush=True)
while not stop:
"""

TRICKS = {
    "symlinks at the names of files": "    for p in names(): plant(p, random.choice(['link', 'own', 'dangling', 'folder']))",
    "hard links at the names of files": "    for p in names(): plant(p, random.choice(['hard', 'steal']))",
    "fifos at the names of files": "    for p in names(): plant(p, 'fifo')",
    "files that vanish": "    for p in names(): quietly(os.unlink, p)",
    "folders renamed, symlinks in their place": """
    for d in folders()[1:]:
        if quietly(os.rename, d, d + ".away") is None and os.path.isdir(d + ".away"):
            plant(d, 'folder')
            quietly(os.unlink, d)
            quietly(os.rename, d + ".away", d)""",
    "folders swapped with a folder elsewhere": """
    for d in folders()[1:]:
        if quietly(os.rename, d, d + ".away") is None and os.path.isdir(d + ".away"):
            quietly(os.rename, outside + "/folder", d)
            quietly(os.rename, d, outside + "/folder")
            quietly(os.rename, d + ".away", d)""",
    "hidden names replaced": """
    for p in hidden():
        kind = random.choice(['link', 'hard', 'fifo', 'folder', 'own'])
        if os.path.isdir(p) and not os.path.islink(p):
            quietly(os.rename, p, p + "x")
        plant(p, kind)""",
    "hidden names taken before": """
    for d in folders():
        for n in ('.replaced', '.2024-07-07.partial', '.2024-07-06.partial', '.latest', '.SHA256SUMS', '.czard-new'):
            plant(os.path.join(d, n), random.choice(['link', 'folder', 'fifo']))
    for p in hidden(): quietly(os.unlink, p)""",
    "latest and SHA256SUMS": """
    for d in folders():
        for n in ('latest', 'SHA256SUMS', 'REJECTED'):
            if d.count('/') >= 2:
                plant(os.path.join(d, n), random.choice(['link', 'folder', 'own', 'fifo', 'hard']))""",
    "snapshots renamed": """
    for d in folders():
        for n in ('2024-07-07', '2024-07-06'):
            p = os.path.join(d, n)
            if os.path.isdir(p) and not os.path.islink(p):
                quietly(os.rename, p, p + "x")
                plant(p, random.choice(['folder', 'link']))
                quietly(os.unlink, p)
                quietly(os.rename, p + "x", p)""",
}


@dataclass
class Row:
    name: str

    def run(self, p):
        if os.geteuid() != 0:
            raise Skip("needs root, to be another user")
        p.config["staging"]["dir_mode"] = "0770"
        p.config["staging"]["file_mode"] = "0440"
        p.folder.chmod(0o711)
        p.check("exit status of the first run", p.once().code, 0)
        outside = self.make_outside(p)
        self.open_for_other(p)
        before = look(outside)
        with open(p.folder / "other.log", "wb") as log:
            other = subprocess.Popen(
                ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups", sys.executable, "-c", PRELUDE + TRICKS[self.name],
                 str(outside)], cwd=p.staging, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env={"PATH": os.environ["PATH"]})
        try:
            if not other.stdout.readline():
                raise RuntimeError((p.folder / "other.log").read_text())
            for n in range(ROUNDS):
                self.round(p, n)
                self.open_for_other(p)
                if other.poll() is not None:
                    p.problems.append("the other user gave up: " + (p.folder / "other.log").read_text()[-500:])
                    break
        finally:
            other.terminate()
            try:
                other.wait(20)
            except subprocess.TimeoutExpired:
                other.kill()
                other.wait()
            other.stdout.close()
        if not (outside / "folder").exists():  # he could not take it back: it must be where he put it
            for inner in p.staging.rglob("inner"):
                inner.parent.rename(outside / "folder")
                break
        after = look(outside)
        if "folder" in after and after["folder"][1] != OTHER:
            # He took the one that czard had just published in its place; his own, found in staging, was removed as the old one.
            before, after = ({k: v for k, v in found.items() if not (k + "/").startswith("folder/")} for found in (before, after))
        for path in sorted(set(before) | set(after)):
            made_by_other = path not in before and after[path][1] == OTHER  # czard is root here
            if before.get(path) != after.get(path) and not made_by_other:
                p.problems.append(f"elsewhere: {path}: {before.get(path)} became {after.get(path)}")
        self.check_links(p, outside)
        self.heal(p)

    def make_outside(self, p):
        """What is not below staging: a secret of root, a file of the other user, a folder."""
        outside = p.folder / "outside"
        outside.mkdir()
        (outside / "victim").write_bytes(VICTIM)
        (outside / "victim").chmod(0o600)
        (outside / "mine").write_bytes(b"mine\n")
        (outside / "folder").mkdir()
        (outside / "folder/inner").write_bytes(b"inner\n")
        for path in ("mine", "folder", "folder/inner"):
            os.chown(outside / path, OTHER, OTHER)
            (outside / path).chmod(0o777 if path == "folder" else 0o666)
        outside.chmod(0o777)
        return outside

    def open_for_other(self, p):
        """He gets into every folder, and may write there; by root's hand, as an ACL that root set would let him."""
        for folder, _, _ in os.walk(p.staging):
            try:
                fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                if os.fstat(fd).st_uid == 0 and os.readlink(f"/proc/self/fd/{fd}").startswith(str(p.staging)):
                    os.fchown(fd, -1, OTHER)
                    os.fchmod(fd, 0o770)
            finally:
                os.close(fd)

    def round(self, p, n):
        """Everything is exported again, and czard publishes as long as a round lasts."""
        self.export_again(p, n)
        child = p.start("--once")
        end = time.monotonic() + ROUND_SECONDS
        while child.poll() is None and time.monotonic() < end:
            self.open_for_other(p)
            time.sleep(0.02)
        child.send_signal(signal.SIGTERM)
        try:
            _, err = child.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            _, err = child.communicate()
            p.problems.append("czard hangs")
        p.runs.append(err.decode(errors="replace")[-3000:])
        p.check("exit status in a race", child.returncode in (0, 1, 3), True)
        if VICTIM[:20] in err:
            p.problems.append("the secret is in the journal")

    def export_again(self, p, n):
        for o in p.facts["objects"]:
            if o.get("superseded"):
                continue
            source = p.base.package / "buckets" / o["bucket"] / o["key"]
            if o.get("members"):
                import zipfile
                target = p.folder / "again.zip"
                shutil.copy(source, target)
                with zipfile.ZipFile(target, "a") as z:
                    z.comment = b"export %d" % n
                p.put(o["bucket"], o["key"], target.read_bytes(), o["last_modified"])
            else:
                plain = gzip.compress(b"export %d\n" % n * 2000, mtime=0)
                p.put(o["bucket"], o["key"], p.base.keys.encrypt(plain), o["last_modified"])

    def check_links(self, p, outside):
        """No file elsewhere got a name below staging by czard's hand (keeping a replaced version links it)."""
        victim = os.lstat(outside / "victim")
        for name, s in tree(p.staging).items():
            if (s.st_dev, s.st_ino) == (victim.st_dev, victim.st_ino):
                p.problems.append(f"the secret is linked as {name}")
            if stat.S_ISREG(s.st_mode) and s.st_uid == 0 and hashlib.sha256((p.staging / name).read_bytes()).digest() == \
                    hashlib.sha256(VICTIM).digest():
                p.problems.append(f"the secret was copied to {name}")

    def heal(self, p):
        """The other one has gone, root takes away what he left, and the next export is staged."""
        for name, s in sorted(tree(p.staging).items(), reverse=True):
            path = p.staging / name
            if stat.S_ISLNK(s.st_mode) or stat.S_ISFIFO(s.st_mode) or (stat.S_ISREG(s.st_mode) and s.st_uid == OTHER):
                if path.name not in ("latest", ".czard-id"):
                    path.unlink()
            elif name.endswith((".away", "x")) and stat.S_ISDIR(s.st_mode):
                shutil.rmtree(path, ignore_errors=True)
        for path in p.staging.rglob("latest"):
            if path.is_fifo() or os.lstat(path).st_uid != 0 or not stat.S_ISLNK(os.lstat(path).st_mode):
                path.unlink()
        p.config["staging"]["keep_replaced"] = "0"
        for o in p.facts["objects"]:
            if not o.get("superseded"):
                source = p.base.package / "buckets" / o["bucket"] / o["key"]
                data = source.read_bytes() if o.get("members") else p.base.keys.encrypt(
                    (p.base.package / "expected" / o["path"]).read_bytes())
                p.put(o["bucket"], o["key"], data, o["last_modified"])
        p.check("exit status of the run that heals", p.once().code, 0)
        for line in p.differences(dir_mode=0o770):
            if ".replaced" not in line and not line.startswith("mode:"):
                p.problems.append(f"healed: {line}")
        p.check_audit()


def look(root):
    """All that must stay as it was; who made links to it is not czard's business."""
    out = {}
    for name, s in tree(root).items():
        content = (root / name).read_bytes() if stat.S_ISREG(s.st_mode) else None
        out[name] = (s.st_mode, s.st_uid, s.st_gid, content)
    out["."] = (os.stat(root).st_mode, os.stat(root).st_uid, os.stat(root).st_gid, None)
    return out


ROWS = [Row(name) for name in TRICKS]

if __name__ == "__main__":
    main(ROWS)
