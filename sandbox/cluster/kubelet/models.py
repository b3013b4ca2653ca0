"""How programs behave: what a scenario declares about the images it runs. Durations are nominal seconds."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from cortexops.domain.resource import Frozen
from sandbox.cluster.controllers.objects import quantity


def _bytes(value: Any) -> Any:
    return int(quantity(value)) if isinstance(value, str) else value


Bytes = Annotated[int, BeforeValidator(_bytes)]
"""A byte count, written as a quantity such as `490Mi`."""


class Spike(Frozen):
    """Extra memory that load takes now and then, from `after` on."""

    amount: Bytes
    every: float = 20.0
    lasts: float = 6.0
    after: float = 0.0


class MemoryModel(Frozen):
    """What a program holds: a base (by image tag where that differs), growth without end, spikes."""

    base: Bytes = 64 * 1024 * 1024
    base_by_tag: dict[str, Bytes] = Field(default_factory=dict)
    warm_up: float = 0.0
    growth_per_second: Bytes = 0
    spike: Spike | None = None


class ConfigNeed(Frozen):
    """A value the program reads when it starts: an environment variable, or text in a mounted file."""

    env: str = ""
    file: str = ""
    tags: tuple[str, ...] = ()
    parses: Literal["", "int", "float", "bool", "url", "json", "hostport"] = ""
    matches: str = ""
    log: tuple[str, ...] = ("FATAL invalid configuration: {name}={value!r}: {problem}",)
    exit_code: int = 1


class Dependency(Frozen):
    """Somebody the program calls. `{address}` and `{error}` are filled in into its log lines."""

    address: str = ""
    env: str = ""
    on_failure: Literal["crash", "unready", "log"] = "unready"
    every: float = 5.0
    log: tuple[str, ...] = ("ERROR call to {address} failed: {error}",)
    exit_code: int = 1


class Served(Frozen):
    """A port that the program listens on; without paths it answers every path.

    Those of `steady` answer 200 whatever state the dependencies are in, as a liveness endpoint should.
    """

    port: int
    paths: tuple[str, ...] = ()
    steady: tuple[str, ...] = ("/live",)


class Crash(Frozen):
    """A fault in the code: the program ends by itself after a while, whatever it is given."""

    after: float = 3.0
    tags: tuple[str, ...] = ()
    log: tuple[str, ...] = ("panic: runtime error: invalid memory address or nil pointer dereference",)
    exit_code: int = 2


class Chatter(Frozen):
    """Lines that the program writes while it runs, one after the other."""

    every: float = 15.0
    lines: tuple[str, ...] = ()


class WorkloadModel(Frozen):
    """The behaviour of the containers whose image matches `image` and whose pod carries `labels`."""

    name: str
    image: str = "*"
    labels: dict[str, str] = Field(default_factory=dict)
    container: str = ""
    start_seconds: float = 2.0
    memory: MemoryModel = MemoryModel()
    config: tuple[ConfigNeed, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    serves: tuple[Served, ...] = ()
    crash: Crash | None = None
    completes_after: float | None = None
    starting: tuple[str, ...] = ("INFO starting",)
    started: tuple[str, ...] = ("INFO ready to serve",)
    chatter: Chatter = Chatter()

    def covers(self, image: str, labels: dict[str, str], container: str) -> bool:
        """Whether a container is of this model."""
        return (
            fnmatchcase(image, self.image)
            and all(labels.get(name) == value for name, value in self.labels.items())
            and self.container in ("", container)
        )


DEFAULT_MODEL = WorkloadModel(name="well-behaved")
"""What a container is taken for when no model covers it."""
INIT_MODEL = WorkloadModel(name="well-behaved-init", completes_after=1.0, started=())
"""What an init container, or the container of a Job, is taken for when no model covers it."""


def model_for(
    models: tuple[WorkloadModel, ...], image: str, labels: dict[str, str], container: str, *, ends: bool
) -> WorkloadModel:
    """The most specific model: the longest image pattern, then the most labels."""
    fitting = [model for model in models if model.covers(image, labels, container)]
    if not fitting:
        return INIT_MODEL if ends else DEFAULT_MODEL
    return max(fitting, key=lambda model: (bool(model.container), len(model.labels), len(model.image)))


def tag_of(image: str) -> str:
    """The tag of an image reference, `latest` when it names none."""
    last = image.partition("@")[0].rpartition("/")[2]
    return last.partition(":")[2] or "latest"
