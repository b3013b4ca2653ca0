"""The validity of an X.509 certificate, read from its DER form. Nothing is verified: only dates and names."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import NamedTuple

from cortexops.domain.kubernetes.values import mapping, moment, words
from cortexops.domain.resource import JSON

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s*([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----")
_SEQUENCE, _INTEGER, _UTC_TIME, _TIME, _VERSION = 0x30, 0x02, 0x17, 0x18, 0xA0
_LARGEST = 65_536  # bytes of PEM; certificates are a few KiB
_DNS_NAME = 0x82
_SUBJECT_ALTERNATIVE = bytes.fromhex("0603551d11")


class Validity(NamedTuple):
    """From when to when a certificate holds, and for which host names."""

    since: datetime
    until: datetime
    names: tuple[str, ...]


class _Malformed(ValueError):
    pass


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """(tag, start of the content, end of it) of the element at that place."""
    if at + 2 > len(data):
        raise _Malformed
    tag, length = data[at], data[at + 1]
    start = at + 2
    if length & 0x80:
        size = length & 0x7F
        if size == 0 or size > 4 or start + size > len(data):
            raise _Malformed
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    if start + length > len(data):
        raise _Malformed
    return tag, start, start + length


def _moment(data: bytes, tag: int, start: int, end: int) -> datetime:
    text = data[start:end].decode("ascii")
    form = {_UTC_TIME: "%y%m%d%H%M%SZ", _TIME: "%Y%m%d%H%M%SZ"}.get(tag)
    if form is None:
        raise _Malformed
    return datetime.strptime(text, form).replace(tzinfo=UTC)


def _names(data: bytes) -> tuple[str, ...]:
    """DNS names of the subjectAltName extension."""
    place = data.find(_SUBJECT_ALTERNATIVE)
    if place < 0:
        return ()
    at = place + len(_SUBJECT_ALTERNATIVE)
    tag, start, end = _element(data, at)
    if tag == 0x01:  # `critical` stands between
        tag, start, end = _element(data, end)
    _, start, end = _element(data, start)
    found = []
    while start < end:
        tag, inner, start = _element(data, start)
        if tag == _DNS_NAME:
            found.append(data[inner:start].decode("ascii", errors="replace"))
    return tuple(found)


def validity(pem: str) -> Validity | None:
    """Of the first certificate in the text; None when there is none that can be read."""
    match = _PEM.search(pem[:_LARGEST])
    if match is None:
        return None
    try:
        data = base64.b64decode("".join(match.group(1).split()), validate=True)
        _, start, _ = _element(data, 0)  # Certificate
        _, at, _ = _element(data, start)  # TBSCertificate
        tag, _, end = _element(data, at)
        if tag == _VERSION:
            _, _, end = _element(data, end)  # serial number
        for _ in range(2):  # signature algorithm, issuer
            _, _, end = _element(data, end)
        tag, at, _ = _element(data, end)
        if tag != _SEQUENCE:
            return None
        tag, start, end = _element(data, at)
        since = _moment(data, tag, start, end)
        tag, start, end = _element(data, end)
        return Validity(since, _moment(data, tag, start, end), _names(data))
    except (_Malformed, ValueError, binascii.Error):
        return None


def dates(secret: JSON) -> list[tuple[str, datetime, datetime, list[str]]]:
    """(key, not before, not after, names) of each certificate that the Secret holds."""
    found = []
    for key, its in mapping(secret, "certificates").items():
        since, until = moment(its, "notBefore"), moment(its, "notAfter")
        if since is not None and until is not None:
            found.append((str(key), since, until, words(its, "names")))
    return found
