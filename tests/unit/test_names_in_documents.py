"""Which of the things that a mounted document holds a complaint speaks of."""

from __future__ import annotations

import json

from cortexops.domain.kubernetes.mentions import NAMES_ADDRESS, mention
from cortexops.domain.kubernetes.references import ConfigUse
from cortexops.domain.resource import JSON

USES = [ConfigUse(kind="ConfigMap", name="routes", container="web", path="/etc/routes")]
LINE = "[error] home-timeline-svc could not be resolved (3: Host not found)"


def routes(address: str) -> JSON:
    return {"data": {"routes.json": json.dumps({"timeline": {"addr": address, "port": 9090}})}}


def test_a_host_in_a_document_of_one_line_is_found() -> None:
    found = mention(routes("home-timeline-svc"), USES, LINE)
    assert found is not None
    assert (found.key, found.how) == ("routes.json", f"{NAMES_ADDRESS} home-timeline-svc")


def test_a_host_that_only_resembles_it_is_not() -> None:
    assert mention(routes("home-timeline-service"), USES, LINE) is None
    assert mention(routes("timeline"), USES, LINE) is None


def test_what_is_no_json_is_taken_as_it_is() -> None:
    assert mention({"data": {"routes.json": "{ home-timeline"}}, USES, LINE) is None
