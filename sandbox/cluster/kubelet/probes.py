"""Probes: whether a container answers, in the kubelet's own words when it does not."""

from __future__ import annotations

from dataclasses import dataclass

from cortexops.domain.resource import JSON
from sandbox.cluster.kubelet.models import WorkloadModel
from sandbox.cluster.kubelet.physics import Program, answers


@dataclass
class Probe:
    """One probe of one container instance. `passed` is None until a threshold is reached."""

    kind: str
    spec: JSON
    next_at: float
    passed: bool | None = None
    good: int = 0
    bad: int = 0

    def due(self, age: float) -> bool:
        """Whether it is time to ask."""
        return age >= self.next_at

    def count(self, age: float, success: bool) -> bool:
        """Take in an answer; tells whether the verdict changed."""
        self.next_at = age + float(self.spec.get("periodSeconds", 10))
        before = self.passed
        if success:
            self.good, self.bad = self.good + 1, 0
            if self.good >= int(self.spec.get("successThreshold", 1)):
                self.passed = True
        else:
            self.good, self.bad = 0, self.bad + 1
            if self.bad >= int(self.spec.get("failureThreshold", 3)):
                self.passed = False
        return self.passed != before


def probes_of(container: JSON) -> dict[str, Probe]:
    """The probes that a container declares, by kind: Startup, Liveness, Readiness."""
    found = {}
    for kind in ("Startup", "Liveness", "Readiness"):
        spec = container.get(f"{kind.lower()}Probe")
        if spec:
            found[kind] = Probe(kind, spec, float(spec.get("initialDelaySeconds", 0)))
    return found


def ask(probe: Probe, container: JSON, model: WorkloadModel, program: Program, address: str) -> str:
    """Why the probe fails now, or nothing when it succeeds."""
    spec = probe.spec
    if "httpGet" in spec:
        port = port_number(container, spec["httpGet"].get("port", 80))
        path = spec["httpGet"].get("path") or "/"
        code = answers(model, program, port, path)
        if code == 0:
            scheme = str(spec["httpGet"].get("scheme", "HTTP")).lower()
            url = f"{scheme}://{address}:{port}{path}"
            return f'Get "{url}": dial tcp {address}:{port}: connect: connection refused'
        return "" if code < 400 else f"HTTP probe failed with statuscode: {code}"
    if "tcpSocket" in spec or "grpc" in spec:
        port = port_number(container, (spec.get("tcpSocket") or spec.get("grpc") or {}).get("port", 0))
        if answers(model, program, port, None):
            return ""
        return f"dial tcp {address}:{port}: connect: connection refused"
    return "" if program.up and not program.down else "command terminated with exit code 1"


def port_number(container: JSON, port: int | str) -> int:
    """A port by number or by the name the container gives it; 0 when there is no such name."""
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    for entry in container.get("ports") or ():
        if entry.get("name") == port:
            return int(entry["containerPort"])
    return 0
