"""Log lines that complain, and what they complain about."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORDS = re.compile(
    r"(?i)\b(error|err|fatal|panic|exception|traceback|critical|crit|invalid|fail(?:ed|ure|s|ing)?|cannot"
    r"|could not|couldn't|unable|missing|required|refused|denied|unknown|unexpected|not found|no such"
    r"|not set|must be|timed? ?out|unreachable|unavailable|malformed|illegal|bad|abort(?:ed|ing)?|expired)\b"
    r"|\b[A-Z]\w*(?:Error|Exception)\b"
)
_LEVEL = re.compile(
    r"(?i)\b(debug|info|trace|notice|warn(?:ing)?|err(?:or)?|fatal|panic|crit(?:ical)?|severe)\b"
)
_MILD = frozenset({"debug", "info", "trace", "notice"})
_ALWAYS = re.compile(r"(?i)\b(panic:|traceback|exception in thread|unhandled|uncaught)")
_UNREACHABLE = re.compile(
    r"(?i)(connection refused|econnrefused|no such host|name or service not known|enotfound|eai_again"
    r"|temporary failure in name resolution|could not resolve|unknown ?host|host not found|nxdomain"
    r"|no route to host|ehostunreach|network is unreachable|connection reset|econnreset|i/o timeout"
    r"|connect(?:ion)? timed? ?out|etimedout|timed? ?out|deadline exceeded|connection timeout|unreachable"
    r"|could not connect|unable to connect|cannot connect|can't connect|failed to connect"
    r"|connection (?:failed|closed|lost)|server closed the connection"
    r"|\b50[234]\b|service unavailable|bad gateway|gateway time-?out|unavailable|upstream)"
)
_CREDENTIALS = re.compile(
    r"(?i)(authentication failed|auth(?:entication)? (?:error|failure)|access denied|permission denied for"
    r"|invalid (?:credentials?|password|token|api key|signature|username)|unauthori[sz]ed|\b401\b|\b403\b"
    r"|wrong password|bad credentials|login failed|certificate (?:has expired|signed by unknown|verify failed"
    r"|is not valid)|x509:|pkcs|private key)"
)
_LISTENING = re.compile(
    r"(?i)\b(?:listen(?:ing|er)?|serv(?:ing|er)|bound|started|running|ready)\b[^\n]{0,60}?"
    r"(?::|port[ =:]+)(\d{2,5})\b"
)


def complaining(lines: Sequence[str]) -> list[str]:
    """The lines that report something wrong, in their order; lines marked as mere information do not."""
    return [line for line in lines if _WORDS.search(line) and (_ALWAYS.search(line) or not _is_mild(line))]


def _is_mild(line: str) -> bool:
    """Whether the first word that names a level names a mild one."""
    level = _LEVEL.search(line)
    return level is not None and level.group(1).lower() in _MILD


def unreachable(lines: Sequence[str]) -> list[str]:
    """Complaints that somebody could not be reached."""
    return [line for line in complaining(lines) if _UNREACHABLE.search(line)]


def about_credentials(lines: Sequence[str]) -> list[str]:
    """Complaints that credentials or certificates were refused."""
    return [line for line in complaining(lines) if _CREDENTIALS.search(line)]


def listening_ports(lines: Sequence[str]) -> set[int]:
    """Ports that the program said it listens on."""
    return {int(port) for line in lines for port in _LISTENING.findall(line)}


def names(line: str, word: str) -> bool:
    """Whether the line holds the word as a word, however its case is."""
    if len(word) < 2:
        return False
    return re.search(rf"(?i)(?<![\w-]){re.escape(word)}(?![\w-])", line) is not None
