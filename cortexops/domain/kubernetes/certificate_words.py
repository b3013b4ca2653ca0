"""Complaints that a peer's certificate has expired or does not hold yet, in the words of many TLS libraries."""

from __future__ import annotations

from collections.abc import Sequence

from cortexops.domain.kubernetes import hosts
from cortexops.domain.kubernetes.remembered import Remembered

_PAST = Remembered(
    r"(?i)(certificate (?:has |is |was |already )?expired|expired certificate|certificate_?expired|cert_has_expired"
    r"|certificateexpiredexception|certificatenotyetvalid|certificate is not (?:yet )?valid"
    r"|expired or is not yet valid|certificate (?:validity|chain).{0,40}expired|\bnotafter: "
    r"|invalid peer certificate: (?:expired|notvalidyet)\b)"
)
_FROM_PEER = Remembered(
    r"(?i)(\bremote error\b|received fatal alert|\bfatal alert\b|(?:sslv3|tlsv1\S*) alert\b|alert received"
    r"|tls handshake error from)"
)
"""The peer refuses what it was shown: its words are not about its own certificate."""
_ALERT = Remembered(
    r"(?i)((?:fatal|sslv3|tlsv1\S*) alert:? ?(?:number \d+|bad|expired|unknown|certificate)[ _]?(?:certificate|expired"
    r"|unknown|required)?|\bremote error: tls: (?:bad|expired|unknown|revoked) certificate"
    r"|\bremote error: tls: certificate (?:required|unknown)|\balert (?:bad|expired|unknown) certificate\b)"
)
_RECORD = 8  # lines of one record, as of a stack trace


def expired(lines: Sequence[str]) -> list[str]:
    """The lines in which the program says that a certificate which a peer showed it does not hold now."""
    return [line for line in lines if _PAST.search(line) and not _FROM_PEER.search(line)]


def refused_by_peer(lines: Sequence[str]) -> list[str]:
    """The lines in which a program is told by a peer that the certificate it showed does not hold now."""
    return [line for line in lines if _PAST.search(line) and _FROM_PEER.search(line)]


def alerts(lines: Sequence[str]) -> list[str]:
    """The lines in which a program is told by a peer that the certificate it showed is not taken, for whatever
    reason."""
    return [line for line in lines if _ALERT.search(line)]


def shown_by(lines: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Each such complaint → the hosts that it names, else those of the lines of its record before it."""
    found: dict[str, tuple[str, ...]] = {}
    wanted = set(expired(lines))
    for place, line in enumerate(lines):
        if line not in wanted or found.get(line):
            continue
        record = [line, *reversed(lines[max(0, place - _RECORD) : place])]
        found[line] = next((tuple(named) for each in record if (named := hosts.hosts_in_line(each))), ())
    return found
