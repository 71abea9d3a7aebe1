"""Certificates of an authority of the test's own, made by openssl."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ("Authority", "OpensslMissing")

_DAYS: Final = "2"
_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class OpensslMissing(Exception):
    """This machine has no openssl."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A folder with `ca.crt`; `certify` puts certificates beside it."""

    folder: Path

    @classmethod
    def found(cls, folder: Path) -> "Authority":
        """Raises `OpensslMissing`."""
        if shutil.which("openssl") is None:
            raise OpensslMissing("no openssl on PATH")
        authority = cls(folder)
        subject = ("-subj", "/CN=Tailrace test authority", "-days", _DAYS)
        files = ("-keyout", str(folder / "ca.key"), "-out", str(authority.certificate))
        authority._openssl("req", "-x509", *_KEY, *subject, *files)
        return authority

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.crt"

    def certify(self, name: str, *, names: str) -> tuple[Path, Path]:
        """Make a certificate for `names` (`DNS:localhost,IP:127.0.0.1`). Answers it and its key."""
        key, request, certificate = (self.folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        self._openssl("req", *_KEY, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\n")
        signed_by = ("-CA", str(self.certificate), "-CAkey", str(self.folder / "ca.key"), "-CAcreateserial")
        files = ("-in", str(request), "-out", str(certificate), "-extfile", str(extensions))
        self._openssl("x509", "-req", *signed_by, "-days", _DAYS, *files)
        return certificate, key

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=20)
