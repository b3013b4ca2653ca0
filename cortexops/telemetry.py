"""Structured logs with secrets masked, and the incident's id on every line that belongs to one."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, WrappedLogger

from cortexops.domain.outgoing import Destination, Withheld, outgoing_value
from cortexops.metrics import count_masked


def _mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Fails closed: when masking fails, the line goes out without its content."""
    try:
        return {
            key: value
            if key.startswith("_")  # structlog's own: not part of the line
            else outgoing_value(_plain(value), Destination.LOG, name=key, count=count_masked)
            for key, value in event.items()
        }
    except Withheld as error:
        return {
            "event": "log line withheld: it could not be redacted",
            "error": str(error),
            "level": "error",
            **{key: value for key, value in event.items() if key.startswith("_")},
        }


def _plain(value: Any) -> Any:
    """Numbers and structures as they are; of everything else the text that the line would show."""
    if value is None or isinstance(value, str | bool | int | float | dict | list | tuple):
        return value
    return str(value)


def configure_logging(
    level: str = "info", style: Literal["json", "console"] = "json", **context: Any
) -> None:
    """Send all logs (the libraries' too) to stderr; `context` stands on every line (for example role)."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _mask,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "uvicorn", "nats", "kubernetes_asyncio", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**context)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; bind `incident_id` where there is one."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
