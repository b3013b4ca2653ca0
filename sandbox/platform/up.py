"""`cortexops up`: run the platform in the foreground with a live status."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sandbox.platform.platform import Part, Platform


async def run(platform: Platform, console: Console) -> None:
    """Start, print where everything is, show the status until Ctrl-C, stop."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    with console.status("starting engines, cluster and workers"):
        starting = asyncio.create_task(platform.start())
        waiting = asyncio.create_task(ended.wait())
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting
            return
        await starting
    try:
        describe(platform, console)
        await _show_status(platform, console, waiting)
    finally:
        waiting.cancel()
        with console.status("stopping"):
            await platform.stop()


def describe(platform: Platform, console: Console) -> None:
    """URLs and how to look around from another terminal."""
    settings = platform.settings
    rows = [
        ("console", platform.console_url),
        ("Temporal UI", settings.temporal.ui_url),
        ("gateway", f"{platform.gateway_url}/webhooks/alertmanager"),
        ("metrics", f"{platform.gateway_url}/metrics"),
        ("token", f"{platform.data_dir / 'token'}  (for the console's login and for approvals)"),
    ]
    if platform.cluster is not None:
        rows.append(
            ("kubectl", f"kubectl --kubeconfig {platform.data_dir / 'kubeconfigs' / 'admin.kubeconfig'}")
        )
    console.print(Text(f"CortexOps is up after {platform.start_seconds:.1f} s", style="bold green"))
    for name, value in rows:
        console.print(Text(f"  {name:<12}", style="bold").append(value, style="not bold"), soft_wrap=True)


async def _show_status(platform: Platform, console: Console, ended: asyncio.Task[object]) -> None:
    if not console.is_terminal:
        await ended
        return
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        while not ended.done():
            live.update(_table(await platform.status()))
            await asyncio.wait({ended}, timeout=1)


def _table(parts: list[Part]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("part", "state", "restarts", "address"):
        table.add_column(column)
    for part in parts:
        state = Text("ok", style="green") if part.problem is None else Text(part.problem, style="red")
        table.add_row(part.name, state, str(part.restarts), Text(part.address, style="dim"))
    return table
