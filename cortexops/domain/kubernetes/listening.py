"""Where a program says that it listens."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LISTENING = re.compile(
    r"(?i)\b(?:listen(?:ing|er)?|serv(?:ing|er)|bound|started|running|ready)\b[^\n]{0,60}?"
    r"(?::|port[ =:]+)(\d{2,5})\b"
)


def listening_ports(lines: Sequence[str]) -> set[int]:
    """Ports that the program said it listens on."""
    return {int(port) for line in lines for port in _LISTENING.findall(line)}
