"""Who else writes an object: a GitOps controller that would revert our change, or Helm, which would not.

Never fight a controller: what it owns is changed in Git, where it reads. Marks are labels and annotations
that the tools document, and the names of their field managers.
"""

from __future__ import annotations

import re
from enum import StrEnum

from cortexops.domain.kubernetes.values import mapping, objects, text
from cortexops.domain.resource import JSON, Frozen


class Tool(StrEnum):
    ARGO_CD = "Argo CD"
    FLUX = "Flux"
    HELM = "Helm"


class Ownership(Frozen):
    """`reconciles`: the tool puts its own values back by itself. `name`: the application or release, in
    `namespace` where that is known. `chart`: the object is rendered from the values of a Helm chart."""

    tool: Tool
    mark: str
    name: str = ""
    namespace: str = ""
    reconciles: bool = True
    chart: bool = False


_HELM_CONTROLLER = "helm.toolkit.fluxcd.io/"
_INSTANCE = "app.kubernetes.io/instance"
_MARKS: tuple[tuple[Tool, str, str], ...] = (
    (Tool.ARGO_CD, "annotations", "argocd.argoproj.io/tracking-id"),
    (Tool.ARGO_CD, "labels", "argocd.argoproj.io/instance"),
    (Tool.FLUX, "labels", "kustomize.toolkit.fluxcd.io/name"),
    (Tool.FLUX, "labels", "helm.toolkit.fluxcd.io/name"),
)
_ELSEWHERE = frozenset(mark for _, _, mark in _MARKS)
"""Where they do not belong, these say nothing."""
_GROUPS = ((Tool.ARGO_CD, "argocd.argoproj.io/"), (Tool.FLUX, "kustomize.toolkit.fluxcd.io/"),
           (Tool.FLUX, "helm.toolkit.fluxcd.io/"))  # fmt: skip
_MANAGERS = {
    "argocd-controller": Tool.ARGO_CD,
    "argocd-application-controller": Tool.ARGO_CD,
    "kustomize-controller": Tool.FLUX,
    "helm-controller": Tool.FLUX,
}
"""Field managers of controllers that write what is in Git."""
_RELEASE = "meta.helm.sh/release-name"


def owner_of(live: JSON) -> Ownership | None:
    """The tool that owns the object, the reconciling ones first; None when nothing says so."""
    return _by_mark(live) or _by_group(live) or _by_manager(live) or _by_helm(live)


def reconciler_of(live: JSON) -> Ownership | None:
    """The tool that would put back what we change, if there is one."""
    found = owner_of(live)
    return found if found is not None and found.reconciles else None


_WRITERS = re.compile(
    r"(?i)(-controller|-operator|^external-secrets.*|^vault.*|^sealed-?secrets.*|^reflector|^kubed)$"
)


def writes_again(manager: str) -> bool:
    """Whether a field manager of this name belongs to a controller, which writes its own values again and again.
    The name alone says who wrote last; a pipeline or a person writes when somebody makes them."""
    return bool(_WRITERS.search(manager))


def maker_of(live: JSON) -> str:
    """The object of an add-on's kind (an operator's own) that made this one, such as `Kafka events`: its
    controller puts back what is changed here. Nothing for what Kubernetes' own controllers make."""
    for owner in objects(live, "metadata", "ownerReferences"):
        group = text(owner, "apiVersion").rpartition("/")[0]
        if owner.get("controller") is True and "." in group and not group.endswith(".k8s.io"):
            return f"{text(owner, 'kind')} {text(owner, 'name')}"
    return ""


def _by_mark(live: JSON) -> Ownership | None:
    for tool, place, mark in _MARKS:
        value = text(live, "metadata", place, mark)
        if mark in mapping(live, "metadata", place):
            # a tracking id is `application:group/kind:namespace/name`
            helm = mark.startswith(_HELM_CONTROLLER)
            return Ownership(
                tool=tool,
                mark=mark,
                name=value.partition(":")[0],
                namespace=text(live, "metadata", "labels", f"{_HELM_CONTROLLER}namespace") if helm else "",
                chart=helm,
            )
    return None


def _by_group(live: JSON) -> Ownership | None:
    """Any other mark of the tool, such as a sync option: only objects in Git carry them."""
    for place in ("annotations", "labels"):
        for key in sorted(mapping(live, "metadata", place)):
            for tool, group in _GROUPS:
                if key.startswith(group) and key not in _ELSEWHERE:
                    name = text(live, "metadata", "labels", _INSTANCE) if tool is Tool.ARGO_CD else ""
                    return Ownership(tool=tool, mark=key, name=name, chart=group == _HELM_CONTROLLER)
    return None


def _by_manager(live: JSON) -> Ownership | None:
    """Argo CD's tracking by `app.kubernetes.io/instance` cannot be told from a chart's own label, but for the
    name under which its controller writes. The name alone says who wrote once, not who owns."""
    instance = text(live, "metadata", "labels", _INSTANCE)
    for entry in objects(live, "metadata", "managedFields") if instance else ():
        tool = _MANAGERS.get(text(entry, "manager"))
        if tool is not None and not text(entry, "subresource"):
            return Ownership(tool=tool, mark=f"field manager {text(entry, 'manager')}", name=instance)
    return None


def _by_helm(live: JSON) -> Ownership | None:
    release = text(live, "metadata", "annotations", _RELEASE)
    managed = text(live, "metadata", "labels", "app.kubernetes.io/managed-by") == "Helm"
    if not release and not managed:
        return None
    mark = _RELEASE if release else "app.kubernetes.io/managed-by"
    return Ownership(tool=Tool.HELM, mark=mark, name=release, reconciles=False, chart=bool(release))


def caveats_of(live: JSON) -> tuple[str, ...]:
    """What people must know before they change an object that a tool wrote."""
    found = owner_of(live)
    if found is None or found.reconciles:
        return ()
    release = f"release {found.name}" if found.name else "the release"
    return (f"Helm wrote this object: the next upgrade of {release} overwrites the change.",)
