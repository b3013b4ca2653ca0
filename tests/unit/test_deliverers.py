"""What a HelmRelease, a Kustomization or an Application delivers, and where to."""

from __future__ import annotations

import pytest

from cortexops.domain.kubernetes.delivery import delivered, places
from cortexops.domain.resource import JSON

_INVENTORY: JSON = {
    "entries": [{"id": "web_api_apps_Deployment", "v": "v1"}, {"id": "_web__Namespace", "v": "v1"}]
}


@pytest.mark.parametrize(
    ("kind", "obj", "brings", "where"),
    [
        ("HelmRelease", {"spec": {"targetNamespace": "web"}}, [], ["web", "flux-system"]),
        ("HelmRelease", {}, [], ["flux-system"]),
        (
            "Kustomization",
            {"status": {"inventory": _INVENTORY}},
            [("Deployment", "web", "api"), ("Namespace", "", "web")],
            ["web", "flux-system"],
        ),
        (
            "Application",
            {
                "spec": {"destination": {"namespace": "web"}},
                "status": {"resources": [{"kind": "Deployment", "namespace": "shop", "name": "api"}]},
            },
            [("Deployment", "shop", "api")],
            ["web", "shop", "flux-system"],
        ),
        ("Kustomization", {"status": {"inventory": {"entries": [{"id": "odd"}, {}]}}}, [], ["flux-system"]),
    ],
)
def test_a_deliverer_tells_what_it_brings_and_where(
    kind: str, obj: JSON, brings: list[tuple[str, str, str]], where: list[str]
) -> None:
    named = {**obj, "metadata": {"name": "apps", "namespace": "flux-system"}}
    assert delivered(kind, named) == brings
    assert places(kind, named) == where
