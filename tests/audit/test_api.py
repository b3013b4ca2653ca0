"""The export over the API: formats, pages, and how far it is behind."""

from __future__ import annotations

from cortexops.adapters.postgres import PostgresStore
from cortexops.metrics import AUDIT_EXPORT_LAG
from tests.audit.support import a_past
from tests.console.support import ANA, World

PATH = "/api/v1/audit/export"


def lag() -> float:
    (family,) = AUDIT_EXPORT_LAG.collect()
    return family.samples[0].value


async def test_cef_comes_page_by_page_and_the_lag_is_measured(store: PostgresStore) -> None:
    await a_past(store)
    async with World(store).client(**ANA) as client:
        first = await client.get(f"{PATH}?format=cef&limit=4")
        assert first.headers["content-type"].startswith("text/plain")
        assert 'filename="audit-' in first.headers["content-disposition"]
        assert first.headers["content-disposition"].endswith('.cef"')
        assert len(first.text.splitlines()) == 4
        assert lag() == 5
        rest = await client.get(f"{PATH}?format=cef&after=4")
        lines = rest.text.splitlines()
        assert [line.split("cn2=")[1].split()[0] for line in lines] == ["5", "6", "7", "8", "9"]
        assert lag() == 0
        assert (await client.get(f"{PATH}?format=xml")).status_code == 422
