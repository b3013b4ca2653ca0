"""What a chart renders is edited in the chart's values, where people have said which of them sets what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.adapters.git_forge import GitForge, branch_of
from cortexops.domain.chart_values import mapped, parsed
from cortexops.domain.errors import InvalidInput, Rejected
from cortexops.domain.manifest import ManifestEdit, Named, Proposal, Scalar, Step
from cortexops.ports.forge import Fate
from cortexops.settings_git import GitSettings, RepositorySettings, ValuesSettings
from tests.git.support import bare_repository, branches, git
from tests.git.test_forge import API, AT, OPERATION

MAIN: tuple[Step, ...] = ("spec", "template", "spec", "containers", Named(name="main"))
VALUES = """\
# of team-shop
replicaCount: 3
image: {repository: r.local/api, tag: "1.0"}
api:
  resources:
    limits:
      memory: 128Mi   # see the dashboard
extra: {}
"""
RELEASE = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata:
  name: shop
  namespace: flux-system
spec:
  interval: 5m
  values:
    replicaCount: 3
    api:
      resources: {limits: {memory: 128Mi}}
"""
FIELDS = {
    "spec.replicas": "replicaCount",
    "spec.template.spec.containers[main].resources": "api.resources",
    "spec.template.spec.containers[main].image:tag": "image.tag",
}


def at(*steps: Step, before: Scalar, after: Scalar, present: bool = True) -> ManifestEdit:
    return ManifestEdit(steps=steps, before=before, before_present=present, after=after)


LIMIT = at(*MAIN, "resources", "limits", "memory", before="128Mi", after="256Mi")
REQUEST = at(*MAIN, "resources", "requests", "memory", before=None, after="192Mi", present=False)
IMAGE = at(*MAIN, "image", before="r.local/api:1.0", after="r.local/api:0.9")


def forge_of(bare: Path, *values: ValuesSettings, **more: Any) -> GitForge:
    repository = RepositorySettings(url=str(bare), values=list(values), **more)
    return GitForge(GitSettings(repositories=[repository]))


def of(*edits: ManifestEdit, namespace: str = "", app: str = "shop") -> Proposal:
    return Proposal(target=API, app=app, app_namespace=namespace, chart=True, edits=edits)


MAPPED = ValuesSettings(name="api", file="charts/{app}/values.yaml", fields=FIELDS)


async def changed(bare: Path, forge: GitForge, proposal: Proposal) -> list[str]:
    """The lines that the pull request changes."""
    found = await forge.propose(OPERATION, proposal, title="more", body="INC-1", at=AT)
    assert found.fate is Fate.OPEN
    lines = git(bare, "show", "--format=", "-U0", branch_of(OPERATION)).splitlines()
    return [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]


async def test_the_values_of_a_chart_are_edited_where_they_are_mapped(tmp_path: Path) -> None:
    bare = bare_repository(tmp_path, {"charts/shop/values.yaml": VALUES})
    forge, proposal = forge_of(bare, MAPPED), of(LIMIT, REQUEST, IMAGE)
    lines = await forge.preview(proposal)
    assert lines.bare == lines.shown
    assert [(line.path, line.before, line.after) for line in lines.shown] == [
        ("charts/shop/values.yaml: api.resources.limits.memory", '"128Mi"', '"256Mi"'),
        ("charts/shop/values.yaml: api.resources.requests.memory", "", '"192Mi"'),
        ("charts/shop/values.yaml: image.tag", '"1.0"', '"0.9"'),
    ]
    assert await changed(bare, forge, proposal) == [
        '-image: {repository: r.local/api, tag: "1.0"}',
        '+image: {repository: r.local/api, tag: "0.9"}',
        "+    requests:",
        "+      memory: 192Mi",
        "-      memory: 128Mi   # see the dashboard",
        "+      memory: 256Mi   # see the dashboard",
    ]
    assert (await forge.look(OPERATION, proposal)).fate is Fate.OPEN
    assert (await forge.withdraw(OPERATION, proposal)).fate is Fate.OPEN
    assert list(branches(bare)) == ["main"]


async def test_a_secret_is_masked_by_its_name_in_the_object_though_the_place_in_the_values_tells_nothing(
    tmp_path: Path,
) -> None:
    bare = bare_repository(tmp_path, {"charts/shop/values.yaml": "db:\n  main: now-hunter2\n"})
    place = {"spec.template.spec.containers[main].env[DB_PASSWORD].value": "db.main"}
    forge = forge_of(bare, MAPPED.model_copy(update={"fields": place}))
    steps = (*MAIN, "env", Named(name="DB_PASSWORD"), "value")
    proposal = of(at(*steps, before="now-hunter2", after="earlier-hunter2"))
    lines = await forge.preview(proposal)
    mask = '"[redacted:by_name]"'
    assert [(line.path, line.before, line.after) for line in lines.shown] == [
        ("charts/shop/values.yaml: db.main", mask, mask)
    ]
    assert [(line.before, line.after) for line in lines.bare] == [('"now-hunter2"', '"earlier-hunter2"')]
    with pytest.raises(Rejected, match="they differ") as caught:
        await forge.preview(of(at(*steps, before="other-hunter2", after="earlier-hunter2")))
    assert "hunter2" not in str(caught.value)
    assert await changed(bare, forge, proposal) == ["-  main: now-hunter2", "+  main: earlier-hunter2"]


async def test_the_inline_values_of_a_flux_release_are_edited_in_its_manifest(tmp_path: Path) -> None:
    bare = bare_repository(tmp_path, {"apps/shop.yaml": RELEASE})
    forge = forge_of(bare, MAPPED.model_copy(update={"file": "apps/{app}.yaml"}))
    scale = at("spec", "replicas", before=3, after=6)
    assert await changed(bare, forge, of(scale, LIMIT, namespace="flux-system")) == [
        "-    replicaCount: 3",
        "+    replicaCount: 6",
        "-      resources: {limits: {memory: 128Mi}}",
        "+      resources: {limits: {memory: 256Mi}}",
    ]


TWO = VALUES + "---\na: 1\n"
RENDERED = RELEASE + "  postRenderers: [{kustomize: {}}]\n"
TARGETED = RELEASE + "  valuesFrom: [{kind: ConfigMap, name: x, targetPath: replicaCount}]\n"


@pytest.mark.parametrize(
    ("text", "edits", "namespace", "words"),
    [
        (VALUES.replace("128Mi", "130Mi"), (LIMIT,), "", "they differ"),
        (VALUES, (at("spec", "paused", before=True, after=False),), "", "no place in the chart's values"),
        (VALUES, (at(*MAIN, "image", before="a:1", after="b:1"),), "", "more than its tag"),
        (
            VALUES,
            (at(*MAIN, "image", before="a@sha256:1", after="a@sha256:2"),),
            "",
            "something else than a tag",
        ),
        (VALUES.replace('"1.0"', '"1.1"'), (IMAGE,), "", "they differ"),
        (TWO, (LIMIT,), "", "no single map"),
        ("{{ .x }}: [", (LIMIT,), "", "no plain YAML"),
        ("- a\n", (LIMIT,), "", "no single map"),
        ("base: &b {limits: {memory: 128Mi}}\napi: {resources: *b}\n", (LIMIT,), "", "shared by an anchor"),
        (RELEASE, (LIMIT,), "", "manifest of another object"),
        (RELEASE, (LIMIT,), "elsewhere", "manifest of another object"),
        (RENDERED, (LIMIT,), "flux-system", "postRenderers"),
        (TARGETED, (LIMIT,), "flux-system", "targetPath"),
        (None, (LIMIT,), "", "cannot be read"),
    ],
)
async def test_what_is_not_known_for_sure_is_left_to_a_person(
    tmp_path: Path, text: str | None, edits: tuple[ManifestEdit, ...], namespace: str, words: str
) -> None:
    files = {"readme.md": "x"} | ({"charts/shop/values.yaml": text} if text is not None else {})
    bare = bare_repository(tmp_path, files)
    with pytest.raises(Rejected, match=words):
        await forge_of(bare, MAPPED).preview(of(*edits, namespace=namespace))


async def test_a_values_file_outside_of_the_repository_or_behind_a_link_is_not_read(tmp_path: Path) -> None:
    bare = bare_repository(tmp_path, {"charts/shop/other.yaml": VALUES})
    for file in ("/etc/passwd", "../values.yaml"):
        with pytest.raises(InvalidInput, match="within the repository"):
            forge_of(bare, MAPPED.model_copy(update={"file": file}))
    with pytest.raises(Rejected, match="cannot be part of a path"):
        await forge_of(bare, MAPPED).preview(of(LIMIT, app="../shop"))
    with pytest.raises(InvalidInput, match="no place"):
        forge_of(bare, MAPPED.model_copy(update={"fields": {"spec.replicas": "a..b"}}))


def test_a_chart_needs_its_values_to_be_mapped_and_a_manifest_does_not(tmp_path: Path) -> None:
    plain, chart = forge_of(tmp_path), forge_of(tmp_path, MAPPED)
    rendered, written = of(LIMIT), of(LIMIT).model_copy(update={"chart": False})
    assert (plain.covers(rendered), plain.covers(written)) == (False, True)
    assert chart.covers(rendered)
    other = rendered.model_copy(update={"target": API.model_copy(update={"name": "web"})})
    assert not chart.covers(other)
    assert chart.unmapped(rendered) == ""
    assert "spec.paused" in chart.unmapped(of(at("spec", "paused", before=True, after=False)))
    named_after = forge_of(tmp_path, MAPPED.model_copy(update={"name": "{app}-api"}), apps=["shop"])
    assert named_after.covers(
        other.model_copy(update={"target": API.model_copy(update={"name": "shop-api"})})
    )
    assert not named_after.covers(rendered.model_copy(update={"app": "billing"}))


_words = st.text("ab.[]\\", min_size=1, max_size=6)


@given(st.lists(_words.filter(lambda word: "[" not in word and "]" not in word), min_size=1, max_size=4))
def test_a_place_in_values_is_read_as_it_is_written(keys: list[str]) -> None:
    written = ".".join(key.replace("\\", "\\\\").replace(".", "\\.") for key in keys)
    assert parsed(written) == tuple(keys)


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b", "a[", "a]b", "a[]", "\\"])
def test_what_is_no_place_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        parsed(path)


def test_the_most_exact_field_is_the_one_that_counts() -> None:
    fields = {"spec": "all", "spec.template": "pod", "spec.replicas": "sidecars[x].count"}
    edits = (at("spec", "replicas", before=1, after=2), at("spec", "template", "a", before=1, after=2))
    first, second = mapped(edits, fields)
    assert (str(first), str(second)) == ("sidecars[x].count", "pod.a")
