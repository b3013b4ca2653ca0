"""Whether a workload's own release is the likelier cause than whatever acts on it from outside."""

from __future__ import annotations

import re
from datetime import timedelta

from cortexops.domain.findings import Subject, log_lines
from cortexops.domain.kubernetes import complaints
from cortexops.domain.releases import release_of
from cortexops.domain.scene import Scene

_SOON = timedelta(hours=2)
_FAULT = re.compile(
    r"(?i:panic|traceback|segmentation|unhandled|uncaught|stack overflow|assertion)|\b[A-Z]\w+(?:Error|Exception)\b"
)
"""More than the word ERROR, which programs write of whatever goes wrong around them, too."""


def broke_itself(scene: Scene, subject: Subject) -> bool:
    """It was released shortly before the trouble began, and tells of a fault of its own since."""
    release = release_of(scene, subject)
    if release is None or release.at is None or not release.precedes(scene.onset):
        return False
    if scene.onset - release.at > _SOON:
        return False
    return any(
        _FAULT.search(line) for *_, lines in log_lines(scene, subject) for line in complaints.own_fault(lines)
    )
