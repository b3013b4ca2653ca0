"""The kubectl commands that show again what was seen. Every name is quoted for a shell."""

from __future__ import annotations

from shlex import quote

from cortexops.domain.resource import KINDS, ResourceRef


def _base(ref: ResourceRef) -> str:
    return f"kubectl -n {quote(ref.namespace)}" if ref.namespace else "kubectl"


def word(ref: ResourceRef) -> str:
    """What kubectl calls the kind; with its group where an add-on brings it, as others may be called alike."""
    kind = KINDS.get(ref.kind)
    return f"{kind.plural}.{kind.group}" if kind is not None and kind.brought else ref.kind.lower()


def show(ref: ResourceRef) -> str:
    """The object with its status."""
    return f"{_base(ref)} get {quote(word(ref))} {quote(ref.name)} -o yaml"


def describe(ref: ResourceRef) -> str:
    return f"{_base(ref)} describe {quote(word(ref))} {quote(ref.name)}"


def history(ref: ResourceRef) -> str:
    """The object with who changed which field and when."""
    return f"{show(ref)} --show-managed-fields"


def events(ref: ResourceRef) -> str:
    """What was reported about it; of what is in no namespace, events are kept in `default`."""
    selector = quote(f"involvedObject.kind={ref.kind},involvedObject.name={ref.name}")
    space = quote(ref.namespace or "default")
    return f"kubectl -n {space} get events --field-selector {selector}"


def logs(pod: ResourceRef, container: str, *, previous: bool, lines: int = 100) -> str:
    option = " --previous" if previous else ""
    return f"{_base(pod)} logs {quote(pod.name)} -c {quote(container)}{option} --tail={lines}"


def revision(workload: ResourceRef, number: str) -> str:
    kind = quote(workload.kind.lower())
    return f"{_base(workload)} rollout history {kind}/{quote(workload.name)} --revision={quote(number)}"


def endpoints(service: ResourceRef) -> str:
    label = quote(f"kubernetes.io/service-name={service.name}")
    return f"{_base(service)} get endpointslices -l {label}"
