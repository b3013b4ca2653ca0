"""Times, names, hashes and certificates as a cluster gives them."""

from __future__ import annotations

import copy
import hashlib
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

JSON = dict[str, Any]
NOW = datetime(2026, 3, 10, 14, 0, tzinfo=UTC)
"""The moment of every alert set."""
_SPAN = re.compile(r"^(-?\d+)([smhd])$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def span(text: str | int) -> timedelta:
    match = _SPAN.match(str(text))
    assert match, f"{text!r} is no span of time"
    return timedelta(**{_UNITS[match.group(2)]: int(match.group(1))})


def ago(text: str | int) -> str:
    """`40m` → the RFC 3339 time that long before NOW."""
    return (NOW - span(text)).strftime("%Y-%m-%dT%H:%M:%SZ")


def hash_of(*parts: object, size: int) -> str:
    raw = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in raw)[:size]


def merge(base: Any, over: Any) -> Any:
    """`over` laid on `base`; an object with `$replace` takes the place of the whole."""
    if isinstance(over, dict) and "$replace" in over:
        return {k: v for k, v in over.items() if k != "$replace"}
    if isinstance(base, dict) and isinstance(over, dict):
        return {
            k: merge(base.get(k), over[k]) if k in over else base[k]
            for k in [*base, *(k for k in over if k not in base)]
        }
    return copy.deepcopy(over)


def uid_of(*parts: str) -> str:
    raw = hashlib.sha256("/".join(parts).encode()).hexdigest()
    return f"{raw[:8]}-{raw[8:12]}-4{raw[13:16]}-a{raw[17:20]}-{raw[20:32]}"


def owner_of(api: str, kind: str, name: str, namespace: str) -> JSON:
    return {
        "apiVersion": api,
        "kind": kind,
        "name": name,
        "uid": uid_of(kind, namespace, name),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def entry(manager: str, version: str, when: str, fields: JSON) -> JSON:
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": version,
        "time": ago(when),
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }


def managed(short: JSON, version: str) -> list[JSON]:
    """`spec.selector: 20m kubectl-edit` → entries."""
    entries = []
    for path, when in short.items():
        fields: JSON = {}
        for step in reversed(path.split(".")):
            fields = {f"f:{step}": fields}
        since, _, manager = when.partition(" ")
        entries.append(entry(manager or "kubectl-edit", version, since, fields))
    return entries


@lru_cache
def _key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def certificate(host: str, since: str, until: str) -> dict[str, str]:
    """tls.crt and tls.key, valid from `since` to `until` (spans before NOW; negative ones lie after it)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(_key().public_key()).serial_number(4711)
        .not_valid_before(NOW - span(since)).not_valid_after(NOW - span(until))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False).sign(_key(), hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    key = _key().private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {"tls.crt": made.public_bytes(pem).decode(), "tls.key": key.decode()}
