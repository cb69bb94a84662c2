# SPDX-License-Identifier: Apache-2.0
"""Objects that must be refused, each made with the tools an attacker or an accident would use. What each of them must
end as goes to package.json: state and causes (several where the order of two checks may differ) for an object, and
rejected members for a snapshot of which the rest is staged."""

import binascii
import datetime
import shutil
import struct
import zipfile

from . import content, keys
from .common import utc

# What damage is called depends on what notices it first: the MDC, or the compressed or nested packets before it.
DAMAGED = ["bad-integrity", "bad-message"]


def flip(data, at):
    data = bytearray(data)
    data[at] ^= 0x55
    return bytes(data)


def without_mdc(package, plaintext):
    """GnuPG 1.4 still makes messages without integrity protection."""
    with keys.Home() as home:
        gpg1 = ["gpg1", "--batch", "--no-tty", "--quiet", "--homedir", home.path, "--trust-model", "always"]
        for name in ("czar", "master"):
            keys.run([*gpg1, "--import", package.keys.folder / f"{name}.asc"])
        return keys.run([*gpg1, "--disable-mdc", "--cipher-algo", "AES256", *package.keys.recipients(), "--encrypt"],
                        input=plaintext)


def symmetric(plaintext):
    with keys.Home() as home:
        return home.gpg("--symmetric", "--passphrase", "guess", "--pinentry-mode", "loopback", input=plaintext)


def event_files(package):
    """name -> (object, causes)"""
    encrypt = package.keys.encrypt
    lines = content.event_lines(package.rng("poison"), package.Org, "edx", "2023-03-01", 20000)
    data = content.gz(lines)
    good = encrypt(data)
    stored = encrypt(data, "--compress-algo", "none")
    broken_crc = data[:-8] + struct.pack("<I", binascii.crc32(lines) ^ 1) + data[-4:]
    wrong_length = data[:-4] + struct.pack("<I", len(lines) + 1)
    out = {
        "mdc": (flip(stored, -3), ["bad-integrity"]),
        "session-key": (flip(good, 400), ["bad-message", "bad-integrity", "not-for-us"]),
        "ciphertext": (flip(stored, len(stored) // 2), DAMAGED),
        "compressed-ciphertext": (flip(good, len(good) * 2 // 3), DAMAGED),
        "truncated": (good[: len(good) * 2 // 3], DAMAGED),
        "truncated-header": (good[:100], ["bad-message"]),
        "empty": (b"", ["bad-message"]),
        "garbage": (package.rng("garbage").randbytes(3000), ["bad-message"]),
        "plaintext": (data, ["bad-message"]),
        "symmetric": (symmetric(data), ["not-for-us", "bad-message"]),
        "not-gzip": (encrypt(lines), ["bad-gzip"]),
        "short-gzip": (encrypt(data[:-20]), ["bad-gzip"]),
        "no-gzip-trailer": (encrypt(data[:-8]), ["bad-gzip"]),
        "gzip-crc": (encrypt(broken_crc), ["bad-gzip"]),
        "gzip-length": (encrypt(wrong_length), ["bad-gzip"]),
        "empty-plaintext": (encrypt(b""), ["bad-gzip"]),
        "bomb": (encrypt(bytes(80 << 20), "--compress-algo", "bzip2"), ["over-limit", "bad-gzip"]),
    }
    if shutil.which("gpg1"):
        out["no-mdc"] = (without_mdc(package, data), ["no-integrity-protection"])
    return out


def add_events(package):
    day = datetime.date(2023, 3, 1)
    for what, (data, causes) in event_files(package).items():
        date = day.isoformat()
        key = f"{package.org}/edx/events/2023/{package.org}-edx-events-{date}.log.gz.gpg"
        package.put("edx-course-data", key, data, utc(date) + 86400, category="events", site="edx", date=date,
                    poison=what, state="REJECTED", causes=causes)
        day += datetime.timedelta(days=1)


# -- archives -------------------------------------------------------------------------------------------------------
def member(name, mode=0o100644):
    info = zipfile.ZipInfo(name, (2024, 7, 7, 1, 2, 4))
    info.external_attr = mode << 16
    info.create_system = 3
    return info


def hostile_members(package, top):
    """[(ZipInfo, bytes, causes)]: one good one last, the rest to be rejected one by one."""
    encrypt = package.keys.encrypt
    good = encrypt(b"id\tname\n1\tx\n")
    table = f"{package.Org}-CS50.1x-2023_T1-%s-prod-analytics.sql.gpg"
    unsafe = ["unsafe-name"]
    names = [f"{top}/../escape.sql.gpg", "/etc/escape.sql.gpg", f"{top}/a\\b.sql.gpg", f"{top}/bell\a.sql.gpg",
             f"{top}/./dot.sql.gpg", f"{top}//empty.sql.gpg", f"{top}/.hidden.sql.gpg",
             f"{top}/SHA256SUMS.gpg", f"{top}/SHA256SUMS", f"{top}/REJECTED.gpg", f"{top}/new\nline.sql.gpg"]
    out = [(member(name), good, unsafe) for name in names]
    out += [
        (member(f"{top}/{table % 'teams'}", 0o120777), b"/etc/passwd", unsafe + ["bad-message"]),
        (member(f"{top}/{table % 'auth_user'}"), flip(good, -3), DAMAGED),
        (member(f"{top}/{table % 'wiki_article'}"), good[: len(good) // 2], DAMAGED),
        (member(f"{top}/{table % 'user_id_map'}"), b"", ["bad-message"]),
        (member(f"{top}/{table % 'student_courseenrollment'}"), encrypt(b"x\n", ours=False), ["not-for-us"]),
        (member(f"{top}/{table % 'courseware_studentmodule'}"),
         encrypt(bytes(80 << 20), "--compress-algo", "bzip2"), ["over-limit"]),
        (member(f"{top}/{'L' * 256}.sql.gpg"), good, ["over-limit", "unsafe-name"]),
        (member(f"{top}/{table % 'auth_userprofile'}"), good, None),
    ]
    return out


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for info, data, _ in members:
            with z.open(info, "w") as f:
                f.write(data)


def add_hostile_snapshot(package, date):
    """Everything but the good member is listed in REJECTED; the snapshot is shown without them."""
    top = f"{package.org}-{date}"
    members = hostile_members(package, top)
    archive = package.out / "hostile.zip"
    write_zip(archive, members)
    folder = package.out / "hostile"
    folder.mkdir()
    for info, _, causes in members:
        if causes is None:
            (folder / info.filename[len(top) + 1:-len(".gpg")]).write_bytes(b"id\tname\n1\tx\n")
    modified, path = utc(date), f"{package.org}/database/{date}"
    staged = package.stage_snapshot(path, folder, modified, rejected=True)
    package.put("course-data", f"{top}.zip", archive, modified, category="database", date=date, path=path, members=staged,
                poison="members", rejected=[{"name": i.filename, "causes": c} for i, _, c in members if c])


def local_header(data, name):
    """Where the local header of that member begins."""
    at = data.index(name) - 30
    assert data[at:at + 4] == b"PK\3\4"
    return at


def broken_archives(package, date):
    """name -> (bytes, causes for the object or None, causes for its first member or None)"""
    top = f"{package.org}-{date}"
    good = package.keys.encrypt(b"id\n1\n")
    names = [f"{top}/{package.Org}-A.1x-2024-{t}-prod-analytics.sql.gpg" for t in ("auth_user", "teams")]
    archive = package.out / "broken.zip"
    write_zip(archive, [(member(n), good, None) for n in names])
    data = archive.read_bytes()
    archive.unlink()
    at = local_header(data, names[0].encode())
    directory = data.rindex(b"PK\1\2")
    return {
        "no-directory": data[:directory],
        "cut": data[:-8],
        "not-a-zip": package.rng("zip").randbytes(5000),
        "empty": b"",
        "directory-outside": data[:-6] + struct.pack("<I", len(data) + 9) + data[-2:],
        "other-local-name": data[:at + 30] + b"X" + data[at + 31:],
        "data": flip(data, at + 30 + len(names[0]) + 40),
    }


def add_broken_archives(package, first):
    day = datetime.date.fromisoformat(first)
    for what in list(broken_archives(package, first)):
        date = day.isoformat()
        data = broken_archives(package, date)[what]
        facts = {"category": "database", "date": date, "poison": f"zip-{what}"}
        if what in ("other-local-name", "data"):
            # one member is bad, the other one is good
            folder = package.out / "one"
            folder.mkdir()
            (folder / f"{package.Org}-A.1x-2024-teams-prod-analytics.sql").write_bytes(b"id\n1\n")
            path = f"{package.org}/database/{date}"
            facts.update(path=path, members=package.stage_snapshot(path, folder, utc(date), rejected=True),
                         rejected=[{"name": f"{package.org}-{date}/{package.Org}-A.1x-2024-auth_user-prod-analytics.sql.gpg",
                                    "causes": ["bad-zip"] + (DAMAGED if what == "data" else [])}])
        else:
            facts.update(state="REJECTED", causes=["bad-zip"])
        package.put("course-data", f"{package.org}-{date}.zip", data, utc(date), **facts)
        day += datetime.timedelta(days=7)


def add_foreign(package):
    """One message that is not for our key. Nothing is wrong with it, so it is not rejected: the key may be missing."""
    date = "2023-02-28"
    data = package.keys.encrypt(content.gz(b"{}\n"), ours=False)
    package.put("edx-course-data", f"{package.org}/edx/events/2023/{package.org}-edx-events-{date}.log.gz.gpg", data, utc(date),
                category="events", site="edx", date=date, poison="foreign", state="RETRY", causes=["no-secret-key"])


def add(package):
    add_events(package)
    add_hostile_snapshot(package, "2023-01-01")
    add_broken_archives(package, "2022-01-02")


