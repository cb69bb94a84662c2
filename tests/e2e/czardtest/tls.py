# SPDX-License-Identifier: Apache-2.0
"""A certificate authority for loopback, with good and bad server certificates, by openssl."""

import subprocess
from pathlib import Path

from .keys import run

# OpenSSL does not take *.localhost: a wildcard needs two labels behind it
HOSTS = ("localhost", "edx-course-data.localhost", "course-data.localhost")


def over():
    """Options of openssl x509 for a validity that has ended. Up to 3.3 only a negative number of days does it, which 3.5
    refuses."""
    said = subprocess.run(["openssl", "x509", "-help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).stdout
    if b"-not_after" in said:
        return ["-not_before", "20200101000000Z", "-not_after", "20200131000000Z"]
    return ["-days", "-1"]


class Authority:
    """folder/ca.pem is what goes into ca_file; server() gives certificate and key as one PEM file and as two. With what
    RFC 5280 demands, which Python looks at from 3.13 on."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca = self.folder / "ca.pem"
        self._key = self.folder / "ca.key"
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
             "-subj", "/CN=czard test authority", "-addext", "basicConstraints=critical,CA:TRUE",
             "-addext", "keyUsage=critical,keyCertSign,cRLSign",
             "-keyout", self._key, "-out", self.ca])

    def server(self, name="server", hosts=HOSTS,
               ips=("127.0.0.1",), expired=False, self_signed=False):
        """Returns (certificate, key, both in one file)."""
        key, request, certificate = (self.folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        names = ",".join([f"DNS:{h}" for h in hosts] + [f"IP:{i}" for i in ips])
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n"
                              "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
        run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-subj", f"/CN={name}", "-keyout", key, "-out", request])
        issuer = ["-signkey", key] if self_signed else ["-CA", self.ca, "-CAkey", self._key, "-CAcreateserial"]
        run(["openssl", "x509", "-req", "-in", request, *issuer, *(over() if expired else ["-days", "20"]),
             "-extfile", extensions, "-out", certificate])
        both = self.folder / f"{name}.pem"
        both.write_bytes(certificate.read_bytes() + key.read_bytes())
        return certificate, key, both
