"""Lines by which a framework only announces that something went wrong; the lines after them say what."""

from __future__ import annotations

from cortexops.domain.kubernetes.remembered import Remembered

_ANNOUNCES = Remembered(
    r"(?i)(\btraceback \(most recent call last\)|\bduring handling of the above exception"
    r"|\bwas the direct cause of the following exception"
    r"|\ban unhandled exception (?:has )?occurred\b|\bunhandled (?:exception|error) (?:in|while|during) "
    r"|\b\w*exception(?:handler|page)\w*\b"
    r"|\bservlet\.service\(\) for servlet\b|\bexception on \S+ \[[A-Z]+\]|\bexception in asgi application\b"
    r"|\binternal server error: /\S*$|\bresolved \[?org\.springframework\b|\berror when executing service method\b"
    r"|\bconnection id \"[^\"]{1,60}\", request id \"[^\"]{1,60}\")"
)


def announces(line: str) -> bool:
    """Whether the line by itself does not tell whose fault it is."""
    return _ANNOUNCES.search(line)
