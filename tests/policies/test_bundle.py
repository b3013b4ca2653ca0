"""Reading and refusing bundles."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cortexops.adapters.policy import build_policy, shipped_bundle, shipped_pack
from cortexops.adapters.policy_bundle import Bundle, check_bundle, input_schema, load_bundle
from cortexops.adapters.policy_opa import OpaPolicy
from cortexops.adapters.policy_reload import ReloadingPolicy
from cortexops.domain.errors import InvalidInput, PermanentError
from cortexops.settings_policy import PolicySettings
from tests.policies.support import POLICIES

MINIMAL = 'package cortexops\n\ndecision := {"effect": "deny", "reasons": ["never"]}\n'


def folder(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        (tmp_path / f"{name}.rego").write_text(text)
    return tmp_path


def test_shipped_pack_loads_and_keeps_tests_apart():
    bundle = shipped_bundle()
    assert shipped_pack() == POLICIES
    assert "decision.rego" in bundle.modules
    assert "decision_test.rego" in bundle.tests
    assert not set(bundle.modules) & set(bundle.tests)
    assert len(bundle.revision) == 64


def test_syntax_error_names_file_and_line(tmp_path: Path):
    with pytest.raises(PermanentError, match=r"broken\.rego:4:\d+: "):
        load_bundle(folder(tmp_path, good=MINIMAL, broken="package cortexops\n\nx if {\n  1 == )\n}\n"))


def test_unknown_builtin_names_file_and_line(tmp_path: Path):
    text = MINIMAL.replace("}\n", "} if {\n  time.moon_phase(1) == 2\n}\n")
    with pytest.raises(PermanentError, match=r"moon\.rego:4:\d+: .*time\.moon_phase"):
        load_bundle(folder(tmp_path, moon=text))


def test_broken_data_names_file_and_line(tmp_path: Path):
    folder(tmp_path, good=MINIMAL)
    (tmp_path / "data.json").write_text('{\n "cortexops": \n')
    with pytest.raises(PermanentError, match=r"data\.json:3:1"):
        load_bundle(tmp_path)
    (tmp_path / "data.json").write_text("[]")
    with pytest.raises(PermanentError, match="JSON object"):
        load_bundle(tmp_path)


def test_bundle_without_a_decision_is_refused(tmp_path: Path):
    with pytest.raises(PermanentError, match=r"data\.cortexops\.decision"):
        load_bundle(folder(tmp_path, other="package cortexops\n\nallow := true\n"))
    with pytest.raises(PermanentError, match="undefined"):
        load_bundle(folder(tmp_path, other='package cortexops\n\ndecision := "x" if input.never\n'))


def test_decision_that_only_a_test_file_defines_does_not_count(tmp_path: Path):
    with pytest.raises(PermanentError, match=r"data\.cortexops\.decision"):
        load_bundle(folder(tmp_path, other="package cortexops\n\nx := 1\n", sneaky_test=MINIMAL))


def test_missing_and_empty_folders_are_refused(tmp_path: Path):
    with pytest.raises(PermanentError, match="not a folder"):
        load_bundle(tmp_path / "nowhere")
    with pytest.raises(PermanentError, match=r"no \.rego file"):
        load_bundle(tmp_path)


def test_bundle_that_never_answers_is_refused():
    endless = (
        "package cortexops\n\ndecision := count([1 | some i in numbers.range(1, 90000);"
        " some j in numbers.range(1, 90000); i * j == 7])\n"
    )
    with pytest.raises(PermanentError, match=r"no answer in 0\.5 s"):
        check_bundle(Bundle({"endless.rego": endless}, {}), seconds=0.5)


def test_revision_follows_rules_and_data_but_not_tests(tmp_path: Path):
    shutil.copytree(POLICIES, tmp_path / "copy")
    copy = tmp_path / "copy"
    before = load_bundle(copy).revision
    assert before == shipped_bundle().revision
    (copy / "more_test.rego").write_text("package cortexops_test\n\ntest_more := true\n")
    assert load_bundle(copy).revision == before
    (copy / "more.rego").write_text("package cortexops\n\nmore := true\n")
    changed = load_bundle(copy).revision
    assert changed != before
    data = json.loads((copy / "data.json").read_text())
    data["cortexops"]["config"]["attempts"]["most"] = 4
    (copy / "data.json").write_text(json.dumps(data))
    assert load_bundle(copy).revision not in {before, changed}


def test_overrides_are_laid_over_the_data(tmp_path: Path):
    over = tmp_path / "over.json"
    over.write_text(
        json.dumps({"cortexops": {"config": {"attempts": {"most": 2}, "freezes": [{"name": "x"}]}}})
    )
    config = shipped_bundle(over).data["cortexops"]["config"]
    assert config["attempts"] == {"most": 2}
    assert config["freezes"] == [{"name": "x"}]
    assert config["approval"]["expires_seconds"] == 900
    assert shipped_bundle(over).revision != shipped_bundle().revision


def test_hidden_folders_are_not_read_twice(tmp_path: Path):
    """A mounted ConfigMap holds the files once more under `..data`."""
    folder(tmp_path, good=MINIMAL)
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "good.rego").write_text(MINIMAL)
    assert list(load_bundle(tmp_path).files) == ["good.rego"]


def test_schema_names_every_field_of_the_question():
    properties = input_schema()["properties"]
    assert {"schema", "now", "environment", "blast_radius", "confidence"} <= set(properties)
    assert "schema_" not in properties


async def test_settings_choose_the_engine():
    regorus = build_policy(PolicySettings())
    opa = build_policy(PolicySettings(engine="opa", opa_url="http://127.0.0.1:1"))
    assert isinstance(regorus, ReloadingPolicy)
    assert isinstance(opa, OpaPolicy)
    await regorus.close()
    await opa.close()


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8181", "ftp://a:1", "http://a", "http://a:1/v1", "http://a:x"]
)
def test_address_of_opa_that_is_none_is_refused(url: str):
    with pytest.raises(InvalidInput, match=r"policy\.opa_url"):
        OpaPolicy(url)
