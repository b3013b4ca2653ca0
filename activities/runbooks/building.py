"""From settings to runbooks: the folders are read once, at the start of a process."""

from __future__ import annotations

import structlog

from activities.actions import ACTIONS
from activities.runbooks import Runbooks
from cortexops.adapters.runbook_fetch import HttpRunbooks
from cortexops.adapters.runbooks import load_shelf
from cortexops.domain.action import ActionSpec
from cortexops.domain.errors import InvalidInput
from cortexops.ports.runbooks import Shelf
from cortexops.resources import runbooks_path
from cortexops.settings import RunbookSettings

log = structlog.get_logger(__name__)


def action_specs() -> dict[str, ActionSpec]:
    """What a runbook may ask for, by type."""
    return {kind: plugin.spec for kind, plugin in ACTIONS}


def shelf_of(settings: RunbookSettings) -> Shelf:
    """The runbooks of the settings, and what is wrong with the others."""
    return load_shelf(settings.path, runbooks_path() if settings.shipped else None, action_specs())


def source_of(settings: RunbookSettings) -> HttpRunbooks | None:
    """The source of fetched runbooks, where one is configured. Raises `InvalidInput` for wrong settings."""
    specs = action_specs()
    for name in settings.fetched_actions:
        if name not in specs:
            raise InvalidInput(
                "runbooks.fetched_actions", f"{name!r} is no action: use some of {', '.join(sorted(specs))}"
            )
    if not settings.url_template and not settings.allowed_hosts:
        return None
    return HttpRunbooks(
        settings.url_template,
        specs,
        allowed_hosts=settings.allowed_hosts,
        allow_private=settings.allow_private,
    )


def build_runbooks(settings: RunbookSettings) -> Runbooks:
    """Ready to be consulted. A bad file is logged and left out; wrong settings raise `InvalidInput`."""
    shelf = shelf_of(settings)
    for problem in shelf.problems:
        log.warning("a runbook is not used", problem=str(problem))
    return Runbooks(
        shelf.runbooks,
        ACTIONS,
        source_of(settings),
        fetched_actions=settings.fetched_actions,
        budget_seconds=settings.budget_seconds,
    )
