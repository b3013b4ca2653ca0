"""The sampler names the functions that use the processor."""

from __future__ import annotations

import time

from benchmarks.sampling import Sampler


def _spin() -> None:
    end = time.process_time() + 0.15
    while time.process_time() < end:
        pass


def test_a_function_that_spins_is_at_the_top() -> None:
    sampler = Sampler()
    sampler.start()
    try:
        _spin()
    finally:
        sampler.stop()
    assert sampler.own.most_common(1)[0][0].endswith("test_sampling.py:_spin")
    assert "test_sampling.py:_spin" in sampler.report()


def test_a_sampler_that_saw_nothing_says_so() -> None:
    assert Sampler().report() == "no samples\n"
