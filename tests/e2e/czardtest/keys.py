# SPDX-License-Identifier: Apache-2.0
"""OpenPGP keys as a partner institution and edX have them, and gpg to encrypt with them.

A key set is made once and kept in a cache folder: making RSA keys is the slow part of a package. edX's own
("master") secret key is thrown away at once: nobody here can ever decrypt with it."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

GPG = ["gpg", "--batch", "--no-tty", "--quiet", "--lock-never", "--no-random-seed-file", "--trust-model", "always"]
# As edX's exporter does it: AES-256 in CFB with MDC, compressed, not signed, no file name inside.
# -z: gpg 2.4 leaves out the compression of what is compressed already, unless it is told a level.
ENCRYPT = ["--cipher-algo", "AES256", "--set-filename", "", "-z", "6"]
MASTER = "master@edx.example"

PARAMETERS = """Key-Type: RSA
Key-Length: {bits}
Key-Usage: sign cert
Subkey-Type: RSA
Subkey-Length: {bits}
Subkey-Usage: encrypt
Name-Real: {name}
Name-Email: {mail}
Expire-Date: {expires}
{protection}
%commit
"""


def cache_folder(fallback):
    """Where key sets are kept: $CZARD_TEST_CACHE, else the build folder, else beside the package."""
    for name, below in (("CZARD_TEST_CACHE", ""), ("CZARD_BUILD", "test-cache")):
        if os.environ.get(name):
            return Path(os.environ[name]) / below
    return Path(fallback)


def run(args, **kwargs):
    """subprocess.run that puts what the program said into the exception."""
    done = subprocess.run([str(a) for a in args], capture_output=True, **kwargs)
    if done.returncode:
        raise RuntimeError(f"{args[0]} failed ({done.returncode}): {' '.join(map(str, args))}\n"
                           + done.stderr.decode(errors="replace")[-2000:])
    return done.stdout


class Home:
    """A GnuPG home with a short path (socket names are limited to 108 bytes), gone at the end."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="czk.", dir="/tmp")
        return self

    def __exit__(self, *_):
        subprocess.run(["gpgconf", "--homedir", self.path, "--kill", "gpg-agent"], capture_output=True, check=False)
        shutil.rmtree(self.path, ignore_errors=True)

    def gpg(self, *args, **kwargs):
        return run([*GPG, "--homedir", self.path, *args], **kwargs)

    def make_key(self, name, mail, bits, passphrase=None, expires="0", clock=None):
        protection = f"Passphrase: {passphrase}" if passphrase else "%no-protection"
        text = PARAMETERS.format(protection=protection, bits=bits, name=name, mail=mail, expires=expires)
        # "!": it stands still, else a key that takes long to make is of the future for the next gpg
        faked = ["--faked-system-time", f"{clock}!"] if clock else []
        self.gpg(*faked, "--pinentry-mode", "loopback", "--gen-key", input=text.encode())
        listing = self.gpg("--with-colons", "--list-keys", mail).decode()
        return next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))

    def save(self, target):
        """Copies the home (without sockets) to where it is to stay."""
        shutil.copytree(self.path, target, ignore=lambda d, names: [n for n in names if n.startswith("S.")])
        os.chmod(target, 0o700)


class KeySet:
    """gnupg/ (the czar's home with the secret key), czar.asc, master.asc, encrypt/ (a home with both public keys)."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.czar = (self.folder / "czar.fpr").read_text().strip()
        self.master = (self.folder / "master.fpr").read_text().strip()
        self.clock = (self.folder / "clock").read_text().strip()

    @property
    def home(self):
        return self.folder / "gnupg"

    def _gpg(self):
        faked = ["--faked-system-time", f"{self.clock}!"] if self.clock else []
        return [*GPG, *faked, "--homedir", self.folder / "encrypt"]

    def recipients(self, ours=True):
        """edX's master key first: the first session-key packet of a real message is often not ours."""
        return ["-r", self.master] + (["-r", self.czar] if ours else [])

    def encrypt(self, data, *options, ours=True):
        return run([*self._gpg(), *ENCRYPT, *self.recipients(ours), *options, "--encrypt"], input=data)

    def encrypt_file(self, source, target, *options):
        run([*self._gpg(), *ENCRYPT, *self.recipients(), *options, "--output", target, "--encrypt", source])

    def encrypt_files(self, paths, *options):
        """Each PATH to PATH.gpg. One gpg for many files and one such gpg a core: 1 ms a file instead of 10."""
        paths = [str(p) for p in paths]
        jobs = min(os.cpu_count() or 1, 4, len(paths))
        command = [str(a) for a in [*self._gpg(), *ENCRYPT, *self.recipients(), *options, "--multifile", "--encrypt"]]
        with tempfile.TemporaryDirectory(prefix="czk.", dir="/tmp") as lists:
            running = []
            for i in range(jobs):
                names = Path(lists) / str(i)
                names.write_text("\n".join(paths[i::jobs]) + "\n")
                with names.open("rb") as stdin:
                    running.append(subprocess.Popen(command, stdin=stdin, stderr=subprocess.PIPE))
            for gpg in running:
                _, said = gpg.communicate()
                if gpg.returncode:
                    raise RuntimeError("gpg --multifile failed: " + said.decode(errors="replace")[-2000:])


def _make(folder, org, bits, passphrase, expired):
    clock = "20220101T000000" if expired else None
    with Home() as czar, Home() as edx, Home() as encrypt:
        fingerprints = {
            "czar": czar.make_key(f"{org} data czar", f"czar@{org}.example", bits, passphrase,
                                  "1y" if expired else "0", clock),
            "master": edx.make_key("edX master", MASTER, bits, clock=clock),
        }
        for name, home in (("czar", czar), ("master", edx)):
            public = home.gpg("--armor", "--export", fingerprints[name])
            (folder / f"{name}.asc").write_bytes(public)
            (folder / f"{name}.fpr").write_text(fingerprints[name] + "\n")
            encrypt.gpg("--import", input=public)
        (folder / "clock").write_text(clock or "")
        czar.save(folder / "gnupg")
        encrypt.save(folder / "encrypt")


def key_set(cache, org="universityx", seed=1, bits=2048, passphrase=None, expired=False):
    """The key set of that description, from the cache or made now. Tests that run at once may both make it: the
    first to finish wins."""
    wanted = hashlib.sha256(repr((2, org, seed, bits, passphrase, expired)).encode()).hexdigest()[:16]
    target = Path(cache) / f"keys-{wanted}"
    if not target.exists():
        Path(cache).mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=".keys-", dir=cache))
        try:
            _make(making, org, bits, passphrase, expired)
            os.rename(making, target)
        except OSError:
            if not target.exists():
                raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return KeySet(target)
