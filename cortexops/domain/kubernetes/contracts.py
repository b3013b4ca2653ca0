"""Complaints that somebody who answers does not offer, or does not understand, what he is asked for, or is asked too
often."""

from __future__ import annotations

from collections.abc import Sequence

from cortexops.domain.kubernetes import complaints
from cortexops.domain.kubernetes.remembered import Remembered

_UNLIKE = Remembered(
    r"(?i)(\bcode ?= ?unimplemented\b|\bstatuscode\.unimplemented\b|\b12 unimplemented\b|\bstatus\(unimplemented\b"
    r"|\bstatus(?:runtime)?exception: unimplemented\b|\bunknown (?:method|service) [\w./]+"
    r"|\bmethod not found: [\w./]+|\b405 method not allowed\b|\bcannot (?:get|post|put|patch|delete) /"
    r"|\bcannot query field\b|\bunknown (?:argument|type) \S{1,60} on (?:field|type)\b|\bunsupported_version\b"
    r"|\bunsupported api version\b)"
)
_LIMITED = Remembered(
    r"(?i)(\btoo ?many ?requests\b|\brate.?limit(?:ed|ing)?\b.{0,20}(?:exceed|reach|hit)|\bquota exceeded\b"
    r"|(?:status|code|http|response|error)\W{0,12}(?:code\W{0,3})?429\b)"
)
_ASKED_WRONGLY = Remembered(
    r"(?i)(\b(?:failed with )?status(?:[ _]?code)?[\"']?[:= ]{1,2}(?:400|404|405|406|409|410|415|422)\b"
    r"|\b(?:https?|grpc)://[^\s\"'<>]{3,200}[\"']?:? (?:400|404|405|406|410|415|422) ?(?:bad request|not found"
    r"|method not|not acceptable|gone|unsupported|unprocessable|$)"
    r"|\b(?:400|404|405|415|422) client error\b|\bresponse status code does not indicate success: 4(?:00|04|05|15|22)\b"
    r"|\bhttpclienterrorexception\$(?:notfound|badrequest|methodnotallowed|unprocessableentity)\b"
    r"|\bfeignexception\$(?:notfound|badrequest|methodnotallowed|unprocessableentity)\b)"
)


def asked_wrongly(lines: Sequence[str]) -> list[str]:
    """Complaints that a peer answered as one does who does not have, or does not understand, what was asked for."""
    return [line for line in complaints.complaining(lines) if _ASKED_WRONGLY.search(line)]


def unlike(lines: Sequence[str]) -> list[str]:
    """The lines that say so, of whatever level: who calls what is not there has made a mistake, or the other has."""
    return [line for line in lines if _UNLIKE.search(line)]


def limited(lines: Sequence[str]) -> list[str]:
    """The lines in which somebody is told to ask less often: by a rate limit or a quota."""
    return [line for line in lines if _LIMITED.search(line)]
