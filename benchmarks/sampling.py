"""`python -m benchmarks.sampling FILE ROLE…`: a worker process whose hot functions are written to FILE.

Samples the main thread's stack as often as the kernel's clock ticks (each 4 ms of processor time, as a rule);
that costs a few percent, where tracing would cost several times what it measures.
"""

from __future__ import annotations

import atexit
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

_INTERVAL = 0.002


class Sampler:
    """Counts, per function, samples in which it ran itself and samples in which it was on the stack."""

    def __init__(self) -> None:
        self.samples = 0
        self.began = time.process_time()
        self.own: Counter[str] = Counter()
        self.total: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._sample)
        signal.siginterrupt(signal.SIGPROF, False)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL, _INTERVAL)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        self.samples += 1
        seen: set[str] = set()
        first = True
        while frame is not None:
            name = _name(frame)
            if first:
                self.own[name] += 1
                self.lines[f"{name} line {frame.f_lineno}"] += 1
                first = False
            if name not in seen:
                seen.add(name)
                self.total[name] += 1
            frame = frame.f_back

    def report(self, most: int = 40) -> str:
        """Three tables, in percent of all samples."""
        if not self.samples:
            return "no samples\n"
        parts = [f"{self.samples} samples in {time.process_time() - self.began:.2f} s of processor time"]
        for title, counts in (("own", self.own), ("own, by line", self.lines), ("with callees", self.total)):
            parts.append(f"\n{title}")
            parts += [f"{100 * n / self.samples:6.1f} %  {name}" for name, n in counts.most_common(most)]
        return "\n".join(parts) + "\n"


def _name(frame: FrameType) -> str:
    code = frame.f_code
    place = "/".join(Path(code.co_filename).parts[-2:])
    return f"{place}:{code.co_qualname if sys.version_info >= (3, 11) else code.co_name}"


def main() -> int:
    """The exit code of the process."""
    from workers.__main__ import main as work

    file, *roles = sys.argv[1:]
    sampler = Sampler()
    atexit.register(lambda: Path(file).write_text(sampler.report(), encoding="utf-8"))
    sampler.start()
    try:
        return work(roles)
    finally:
        sampler.stop()


if __name__ == "__main__":
    sys.exit(main())
