"""The result of one check."""

from dataclasses import dataclass
from typing import Literal

__all__ = ("Finding", "failed", "ok", "skipped", "warning")

Status = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`detail` says what is, `fix` what to do about it. Only `failed` makes the doctor fail."""

    check: str
    status: Status
    detail: str
    fix: str = ""


def ok(check: str, detail: str) -> Finding:
    return Finding(check, "ok", detail)


def warning(check: str, detail: str, fix: str) -> Finding:
    return Finding(check, "warning", detail, fix)


def failed(check: str, detail: str, fix: str) -> Finding:
    return Finding(check, "failed", detail, fix)


def skipped(check: str, detail: str) -> Finding:
    return Finding(check, "skipped", detail)
