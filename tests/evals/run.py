"""Runs the evaluation set and says how good the investigation is: `python -m tests.evals.run [NAME …]`."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from activities.actions import propose
from activities.oneshot import investigate_payload
from cortexops.adapters.kubernetes import KubernetesCluster
from ingest.decode import decode_file
from tests.evals.api import Api
from tests.evals.expand import Incident, expand, read

HERE = Path(__file__).parent
FOLDERS = sorted(path for path in (HERE / "incidents").iterdir() if path.is_dir())
CLUSTER = "eval"


class Outcome(NamedTuple):
    """How one incident went. `confidence` is the lead's; `blamed` are innocents blamed above 0.5."""

    name: str
    right: bool
    in_three: bool
    verdict: str
    wanted: str
    said: str
    confidence: float
    blamed: tuple[str, ...]
    seconds: float
    requests: int
    report: dict[str, Any]


def load(name: str) -> Incident:
    return expand(HERE / "incidents" / name, read(HERE / "noise.yaml"))


async def investigate(incident: Incident) -> dict[str, Any]:
    """The report on the incident, over HTTP with a kubeconfig, as `cortexops investigate` makes it."""
    with tempfile.TemporaryDirectory() as folder:
        async with Api(incident.objects, incident.logs, **incident.server) as api:
            now = datetime.now(UTC)
            parsed = decode_file(json.dumps(incident.payload), "auto", CLUSTER, now)
            assert parsed.signals, parsed.rejected
            client = await KubernetesCluster.connect(CLUSTER, api.kubeconfig(Path(folder) / "config"))
            try:
                return await investigate_payload(client, parsed.signals, now, propose)
            finally:
                await client.close()


def name_of(ref: dict[str, str]) -> str:
    return f"{ref['kind']}/{ref['namespace']}/{ref['name']}"


def judge(incident: Incident, report: dict[str, Any], seconds: float) -> Outcome:
    """Compare with the truth. Whoever is blamed above 0.5 and is not among the causes is innocent."""
    truth = incident.truth
    parts = truth.get("incidents") or []
    if parts:  # several causes in one payload: the report must keep them apart
        return _judge_parts(incident, report, seconds, parts)
    causes, categories = truth.get("cause") or [], truth.get("category") or []
    verdicts = truth.get("verdict") or ["root_cause"]
    first = report["incidents"][0]
    cause = first["root_cause"]
    right = first["verdict"] in verdicts and len(report["incidents"]) == 1
    said = "nothing"
    if causes:
        right = (
            right
            and cause is not None
            and name_of(cause["resource"]) in causes
            and cause["category"] in categories
        )
    else:
        right = right and cause is None
    if cause is not None:
        said = f"{cause['category']} {name_of(cause['resource'])} {cause['confidence']:.2f}"
    hypotheses = [h for each in report["incidents"] for h in each["hypotheses"]]
    in_three = right or any(name_of(h["resource"]) in causes for h in hypotheses[:3])
    blamed = tuple(
        f"{h['category']} {name_of(h['resource'])} {h['confidence']:.2f}"
        for h in hypotheses
        if h["confidence"] > 0.5 and name_of(h["resource"]) not in causes
    )
    text = json.dumps(report)
    missing = [word for word in truth.get("missing", ()) if word not in text]
    wanted = f"{'|'.join(verdicts)} {'|'.join(categories)} {'|'.join(causes)}"
    return Outcome(
        incident.name, right and not missing, in_three, first["verdict"], wanted, said,
        cause["confidence"] if cause else 0.0, blamed, seconds, report["api_requests"], report,
    )  # fmt: skip


def _judge_parts(incident: Incident, report: dict[str, Any], seconds: float, parts: list[Any]) -> Outcome:
    each = [
        judge(incident._replace(truth=part), {**report, "incidents": [found]}, seconds)
        for part, found in zip(
            parts, sorted(report["incidents"], key=lambda i: str(i["root_cause"])), strict=False
        )
    ]
    order = [
        judge(incident._replace(truth=part), {**report, "incidents": [found]}, seconds)
        for part in parts
        for found in report["incidents"]
    ]
    right = len(report["incidents"]) == len(parts) and sum(o.right for o in order) >= len(parts)
    causes = {name for part in parts for name in part["cause"]}
    blamed = tuple(b for o in each for b in o.blamed if b.split(" ")[1] not in causes)
    worst = min(each, key=lambda o: o.confidence)
    return worst._replace(
        right=right, in_three=right, blamed=blamed, report=report, said="; ".join(o.said for o in each)
    )


async def run(
    names: Sequence[str], change: Callable[[Incident], Incident] = lambda incident: incident
) -> list[Outcome]:
    found = []
    for name in names:
        incident = change(load(name))
        began = time.perf_counter()
        report = await investigate(incident)
        found.append(judge(incident, report, time.perf_counter() - began))
    return found


class Calibration(NamedTuple):
    """Brier score, expected calibration error, and bins of (from, number, mean confidence, share right)."""

    brier: float
    error: float
    bins: tuple[tuple[float, int, float, float], ...]


def calibration(outcomes: Sequence[Outcome]) -> Calibration:
    """Over every cause that was named: how often it was right against how sure it was."""
    pairs = [(o.confidence, o.right) for o in outcomes if o.confidence > 0]
    if not pairs:
        return Calibration(0.0, 0.0, ())
    bins = []
    error = 0.0
    for low in (0.0, 0.5, 0.7, 0.8, 0.9):
        high = {0.0: 0.5, 0.5: 0.7, 0.7: 0.8, 0.8: 0.9, 0.9: 1.01}[low]
        inside = [(c, r) for c, r in pairs if low <= c < high]
        if inside:
            mean, share = sum(c for c, _ in inside) / len(inside), sum(r for _, r in inside) / len(inside)
            bins.append((low, len(inside), mean, share))
            error += len(inside) / len(pairs) * abs(mean - share)
    return Calibration(sum((c - r) ** 2 for c, r in pairs) / len(pairs), error, tuple(bins))


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    """The numbers, for people."""
    total = len(outcomes)
    healthy = [o for o in outcomes if o.verdict == "healthy"]
    seconds = sorted(o.seconds for o in outcomes)
    requests = sorted(o.requests for o in outcomes)
    measured = calibration(outcomes)
    lines = [
        f"incidents               {total}",
        f"accuracy at 1           {sum(o.right for o in outcomes) / total:.1%}",
        f"accuracy at 3           {sum(o.in_three for o in outcomes) / total:.1%}",
        f"innocents blamed > 0.5  {sum(len(o.blamed) for o in outcomes)}",
        f"healthy, precision      {sum(o.right for o in healthy)}/{len(healthy)}",
        f"seconds                 median {seconds[total // 2]:.2f}, worst {seconds[-1]:.2f}",
        f"API requests            median {requests[total // 2]}, worst {requests[-1]}",
        f"peak RSS, all in one    {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB",
        f"Brier score             {measured.brier:.3f}",
        f"calibration error       {measured.error:.3f}",
    ]
    lines += [
        f"  confidence from {low:.1f}: {n:3d} named, mean {mean:.2f}, right {share:.2f}"
        for low, n, mean, share in measured.bins
    ]
    return lines


def main(names: Sequence[str]) -> int:
    outcomes = asyncio.run(run(names or [folder.name for folder in FOLDERS]))
    for o in outcomes:
        if not o.right or o.blamed:
            print(
                f"{'ok   ' if o.right else 'WRONG'} {o.name}\n      wanted {o.wanted}\n"
                f"      said   {o.verdict}: {o.said}"
            )
            for innocent in o.blamed:
                print(f"      blamed {innocent}")
        if names:
            print(json.dumps(o.report, indent=1)[:12000])
    print("\n".join(summary(outcomes)))
    return (
        0
        if sum(o.right for o in outcomes) >= 0.9 * len(outcomes) and not any(o.blamed for o in outcomes)
        else 1
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
