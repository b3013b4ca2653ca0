"""Run the engines in the foreground: `python -m sandbox.engines --data DIR`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from cortexops.domain.errors import CortexError
from sandbox.engines.engines import DEFAULT_DATA_DIR, Engines
from sandbox.engines.ports import NAMES

READY = "# ready"


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return key, value


def _port(text: str) -> tuple[str, int]:
    name, number = _pair(text)
    if not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=NUMBER")
    return name, int(number)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox.engines", description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_DATA_DIR, help="data folder (default: %(default)s)"
    )
    parser.add_argument(
        "--ports",
        type=_port,
        nargs="+",
        default=[],
        metavar="NAME=PORT",
        help=f"fixed ports; {', '.join(NAMES)}",
    )
    parser.add_argument("--search-attribute", type=_pair, action="append", default=[], metavar="NAME=TYPE")
    parser.add_argument("--memory", action="store_true", help="keep nothing: all data goes at the end")
    parser.add_argument("--no-supervise", action="store_true", help="leave an engine that dies down")
    parser.add_argument(
        "--print-env", action="store_true", help="print CORTEXOPS_* settings, with the password"
    )
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> None:
    engines = Engines(
        arguments.data,
        ports=dict(arguments.ports),
        persist=not arguments.memory,
        search_attributes=dict(arguments.search_attribute),
        supervise=not arguments.no_supervise,
    )
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    starting = asyncio.create_task(engines.start())
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
    try:
        await starting
        _announce(engines, with_settings=arguments.print_env)
        await waiting
    except asyncio.CancelledError:
        return  # a signal came while starting
    finally:
        waiting.cancel()
        await engines.stop()


def _announce(engines: Engines, *, with_settings: bool) -> None:
    lines = [f"{key}={value}" for key, value in engines.environment().items()] if with_settings else []
    lines += [f"# {name} up in {seconds:.2f} s" for name, seconds in engines.start_seconds.items()]
    sys.stdout.write("\n".join([*lines, READY, ""]))
    sys.stdout.flush()


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        asyncio.run(_run(_arguments()))
    except CortexError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # no second complaint at exit
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
