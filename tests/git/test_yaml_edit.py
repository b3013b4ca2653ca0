"""Editing YAML value by value: nothing else in the file moves."""

from __future__ import annotations

import difflib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cortexops.adapters.yaml_edit import edited, find
from cortexops.domain.change import FieldEdit
from cortexops.domain.errors import Rejected
from cortexops.domain.manifest import ManifestEdit, Named, Step, manifest_edits
from cortexops.domain.resource import JSON, ResourceRef

API = ResourceRef(cluster="prod", kind="Deployment", namespace="shop", name="api")
FILE = """\
# The shop's front door. Owner: team-shop
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
---
kind: Deployment   # the order of keys is ours
apiVersion: apps/v1
metadata:
  name: "api"
  namespace: shop
spec:
  replicas: 3 # see the autoscaler

  template:
    spec:
      containers:
      - name: proxy
        image: r/proxy:1
      - image: 'r/api:1.0'
        name: api
        resources:
          limits: {memory: 512Mi, cpu: "1"}
          requests:
            memory: "256Mi"
"""


def at(*steps: Step, before: object = None, after: object = None, present: bool = True) -> ManifestEdit:
    return ManifestEdit(steps=steps, before=before, before_present=present, after=after)


MAIN = ("spec", "template", "spec", "containers", Named(name="api"))


def lines(before: str, after: str) -> list[str]:
    diff = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in diff if line[0] in "+-" and not line.startswith(("+++", "---"))]


@pytest.mark.parametrize(
    ("edit", "changed"),
    [
        (
            at("spec", "replicas", before=3, after=6),
            ["-  replicas: 3 # see the autoscaler", "+  replicas: 6 # see the autoscaler"],
        ),
        (
            at(*MAIN, "resources", "limits", "memory", before="512Mi", after="1Gi"),
            [
                '-          limits: {memory: 512Mi, cpu: "1"}',
                '+          limits: {memory: 1Gi, cpu: "1"}',
            ],
        ),
        (
            at(*MAIN, "resources", "requests", "memory", before="256Mi", after="768Mi"),
            ['-            memory: "256Mi"', '+            memory: "768Mi"'],
        ),
        (
            at(*MAIN, "image", before="r/api:1.0", after="r/api:0.9"),
            ["-      - image: 'r/api:1.0'", "+      - image: 'r/api:0.9'"],
        ),
        (at("spec", "paused", after=True, present=False), ["+  paused: true"]),
        (
            at(*MAIN, "resources", "limits", "memory", before="0.5Gi", after="1Gi"),
            [
                '-          limits: {memory: 512Mi, cpu: "1"}',
                '+          limits: {memory: 1Gi, cpu: "1"}',
            ],
        ),
        (at(*MAIN, "resources", "limits", "memory", before="1Gi", after="512Mi"), []),
        (
            ManifestEdit(steps=("spec", "replicas"), before=3, remove=True),
            ["-  replicas: 3 # see the autoscaler"],
        ),
    ],
)
def test_one_value_is_changed_and_everything_else_stays(edit: ManifestEdit, changed: list[str]) -> None:
    assert lines(FILE, edited(FILE, API, (edit,))) == changed


def test_fields_that_need_the_same_new_map_share_it() -> None:
    edits = (
        at("spec", "strategy", "rollingUpdate", "maxSurge", after=1, present=False),
        at("spec", "strategy", "type", after="RollingUpdate", present=False),
    )
    after = edited(FILE, API, edits)
    (_, document) = yaml.safe_load_all(after)
    assert document["spec"]["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}
    assert "# see the autoscaler" in after


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (at("spec", "replicas", before=5, after=6), "they differ"),
        (at("spec", "replicas", after=6, present=False), "they differ"),
        (at("spec", "template", before="x", after="y"), "no plain value"),
        (
            at("spec", "template", "spec", "containers", Named(name="db"), "image", before="x", after="y"),
            "no item",
        ),
    ],
)
def test_what_git_does_not_say_is_not_overwritten(edit: ManifestEdit, words: str) -> None:
    with pytest.raises(Rejected, match=words):
        edited(FILE, API, (edit,))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: Deployment\n{{- if .Values.on }}\nspec: {}\n{{- end }}\n", "no plain YAML"),
        (
            "kind: Deployment\nmetadata: {name: api}\nspec: &s {replicas: 3}\nother: *s\n",
            "shared by an anchor",
        ),
        (FILE + "---\n" + FILE.split("---\n")[1], "stands 2 times"),
        ("kind: Deployment\nmetadata: {name: other}\n", "stands 0 times"),
    ],
)
def test_what_cannot_be_edited_for_sure_is_refused(text: str, words: str) -> None:
    with pytest.raises(Rejected, match=words):
        edited(text, API, (at("spec", "replicas", before=3, after=4),))


def test_an_object_is_found_by_kind_name_and_namespace_also_within_a_list() -> None:
    inner = "apiVersion: v1\nkind: List\nitems:\n- kind: Deployment\n  metadata: {name: api}\n  spec: {replicas: 3}\n"
    assert len(find(inner, API)) == 1
    assert lines(inner, edited(inner, API, (at("spec", "replicas", before=3, after=4),))) == [
        "-  spec: {replicas: 3}",
        "+  spec: {replicas: 4}",
    ]
    assert not find(FILE, API.model_copy(update={"namespace": "other"}))


words = st.text(st.characters(codec="utf-8"), max_size=20)


@given(words, words)
def test_any_text_is_written_so_that_it_is_read_back(before: str, after: str) -> None:
    text = yaml.safe_dump({"kind": "Deployment", "metadata": {"name": "api"}, "data": {"k": before}})
    try:
        changed = edited(text, API, (at("data", "k", before=before, after=after),))
    except Rejected:
        return  # such as a block of text
    assert yaml.safe_load(changed)["data"]["k"] == after or before == after


def test_edits_of_the_live_object_become_edits_by_name() -> None:
    live: JSON = {"spec": {"containers": [{"name": "proxy"}, {"name": "api", "image": "a", "args": ["x"]}]}}
    path = "/spec/containers/1"
    (found,) = manifest_edits((FieldEdit(path=f"{path}/image", before="a", after="b"),), live)
    assert found.steps == ("spec", "containers", Named(name="api"), "image")
    assert str(found) == "spec.containers[api].image"
    whole = {"name": "api", "image": "b", "args": ["x"]}
    (leaf,) = manifest_edits((FieldEdit(path=path, before=live["spec"]["containers"][1], after=whole),), live)
    assert leaf == found
    with pytest.raises(Rejected, match="for a person"):
        manifest_edits((FieldEdit(path=f"{path}/args", before=["x"], after=["x", "y"]),), live)
    with pytest.raises(Rejected, match="no name"):
        manifest_edits((FieldEdit(path=f"{path}/args/0", before="x", after="y"),), live)
