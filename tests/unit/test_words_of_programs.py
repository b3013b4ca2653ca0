"""What programs, stores and brokers say of records, schemas, alarms, ports, workers and file handles."""

from __future__ import annotations

import pytest

from cortexops.domain.kubernetes import complaints, last_words, schemas
from cortexops.domain.kubernetes.alarms import in_force
from cortexops.domain.kubernetes.contracts import unlike
from cortexops.domain.kubernetes.locks import contended
from cortexops.domain.kubernetes.mentions import mention
from cortexops.domain.kubernetes.records import stuck_record
from cortexops.domain.kubernetes.references import ConfigUse
from cortexops.domain.kubernetes.running_out import runs_out
from cortexops.domain.redaction import redact

_UNREAD = "ERROR failed to decode record of partition prices-2 at offset 71: invalid varint"


def test_a_consumer_is_stuck_where_it_fails_on_one_record_alone() -> None:
    found = stuck_record([_UNREAD] * 3)
    assert found is not None and found.at == "offset 71 of prices-2" and len(found.lines) == 3


@pytest.mark.parametrize(
    "lines",
    [
        [_UNREAD] * 2,
        [_UNREAD.replace("71", str(place)) for place in range(70, 76)],
        ["INFO committed offset 71 of partition prices-2"] * 5,
        ["ERROR connection to broker lost at offset 71"] * 5,
    ],
)
def test_few_failures_or_many_records_are_no_stuck_consumer(lines: list[str]) -> None:
    assert stuck_record(lines) is None


@pytest.mark.parametrize(
    "line",
    [
        'psycopg.errors.UndefinedTable: relation "guests" does not exist',
        "ERROR Unknown column 'g.tier' in 'field list'",
        "ERROR 1146 (42S02): Table 'hotel.guests' doesn't exist",
        "sqlite3.OperationalError: no such column: tier",
        "ActiveRecord::PendingMigrationError: Migrations are pending. To resolve this issue, run:",
        "SchemaManagementException: Schema-validation: missing column [tier] in table [guests]",
    ],
)
def test_a_missing_table_or_column_is_heard(line: str) -> None:
    assert schemas.lacks([line]) == [line]


def test_what_is_missing_elsewhere_is_no_schema() -> None:
    assert not schemas.lacks(['ERROR database "hotel" does not exist', "ERROR bucket guests not found"])


def test_names_of_a_schema_are_known_however_they_are_written() -> None:
    names = schemas.things(["column orders.discount_cents does not exist", "no such table: guests"])
    assert names == {"discount_cents", "guests"}
    assert schemas.speaks_of(["Migrating to AddDiscountCentsToOrders"], names)
    assert not schemas.speaks_of(["Migrating to AddTier"], names)


def test_an_alarm_that_was_taken_back_is_no_complaint() -> None:
    alarm = "[warning] disk resource limit alarm set on node rabbit-0"
    over = "[warning] disk resource limit alarm cleared on node rabbit-0"
    assert complaints.store_disk_full([alarm]) == [alarm]
    assert complaints.store_disk_full([alarm, over]) == []
    assert complaints.store_disk_full([over, alarm]) == [alarm]
    assert in_force(["quiet"]) == ["quiet"]


@pytest.mark.parametrize(
    ("line", "does"),
    [
        ("accept4: too many open files; retrying in 1s", "runs out of file handles"),
        (
            "WARNING: [pool www] server reached pm.max_children setting (5)",
            "has no worker left to answer with",
        ),
        ("FATAL: sorry, too many clients already", "runs out of connections"),
    ],
)
def test_what_runs_out_is_told_apart(line: str, does: str) -> None:
    assert complaints.saturated([line]) == [line]
    assert runs_out(line) == does


def test_the_longest_value_in_a_line_tells_the_key() -> None:
    obj = {"data": {"A_DRIVER": "mysql", "DB_HOST": "mysql-primary.data.svc"}}
    use = ConfigUse("ConfigMap", "env", "wiki")
    found = mention(obj, [use], "getaddrinfo for mysql-primary.data.svc failed (Connection: mysql)")
    assert found is not None and found.key == "DB_HOST"


def test_the_cause_within_a_long_line_is_quoted() -> None:
    line = (
        "Unhandled exception. Outer: " + "x" * 200 + " Original exception: E77: the client secret has expired"
    )
    assert last_words.quoted(line) == "E77: the client secret has expired"
    assert last_words.quoted("failed, caused by: nothing much to see here") == (
        "failed, caused by: nothing much to see here"
    )


def test_a_panicking_thread_complains_of_itself() -> None:
    line = "thread 'main' panicked at src/main.rs:7:9:"
    assert complaints.own_fault([line]) == [line]


@pytest.mark.parametrize(
    "line",
    [
        "rpc error: code = Unimplemented desc = unknown method Quote for service tariff.v1.Tariff",
        "io.grpc.StatusRuntimeException: UNIMPLEMENTED: Method not found: tariff.v1.Tariff/Quote",
        "405 Method Not Allowed for url http://tariff/quote",
        'GraphQLError: Cannot query field "tier" on type "Guest".',
    ],
)
def test_what_a_callee_does_not_offer_is_heard(line: str) -> None:
    assert unlike([line]) == [line]


def test_a_failing_call_is_no_broken_contract() -> None:
    assert not unlike(["rpc error: code = Unavailable desc = connection refused", "GET /guests/4 404"])


@pytest.mark.parametrize(
    "line",
    [
        "(1213, 'Deadlock found when trying to get lock; try restarting transaction')",
        "ERROR:  deadlock detected",
        "was chosen as the deadlock victim",
        "ERROR:  canceling statement due to lock timeout",
    ],
)
def test_locks_that_are_run_into_are_heard(line: str) -> None:
    assert contended([line]) == [line]


def test_the_name_of_an_error_masks_nothing() -> None:
    line = "SecurityTokenSignatureKeyNotFoundException: IDX10503: Signature validation failed."
    assert redact(line).text == line
    assert "hunter22" not in redact("DB_PASSWORD: hunter22").text


@pytest.mark.parametrize(
    "line",
    [
        "api error InvalidAccessKeyId: The Access Key Id you provided does not exist in our records.",
        "ClientError: An error occurred (SignatureDoesNotMatch) when calling the PutObject operation",
        "IDX10503: Signature validation failed.",
        "ERROR PKIX path building failed: unable to find valid certification path to requested target",
    ],
)
def test_refused_keys_and_signatures_are_about_credentials(line: str) -> None:
    assert complaints.about_credentials([line]) == [line]
    assert complaints.own_fault([line]) == []


def test_a_poll_loop_that_takes_too_long_is_a_fault_of_its_own() -> None:
    line = "WARN consumer poll timeout has expired. The time between calls to poll() was too long"
    assert complaints.own_fault([line]) == [line]
    assert complaints.own_fault(["WARN read timeout has expired"]) == []


def test_the_head_of_a_long_line_is_not_quoted() -> None:
    head = "2026-03-10T13:50:01.101Z ERROR 1 --- [books] [nio-8080-exec-3] c.a.books.Client : "
    assert last_words.quoted(head + "short") == head + "short"
    assert last_words.quoted(head + "I/O error " + "x" * 150).startswith("I/O error x")


def test_a_configuration_that_cannot_be_read_is_a_mention_where_a_document_is_mounted() -> None:
    obj = {"data": {"app.yaml": "a: 1\nb: 2\n"}}
    mounted = ConfigUse("ConfigMap", "conf", "app", path="/etc/app")
    line = "error loading config: line 5: did not find expected key"
    found = mention(obj, [mounted], line)
    assert found is not None and (found.key, found.strength) == ("app.yaml", 0.75)
    assert mention(obj, [mounted], "yaml: line 5: could not find expected ':'") is not None
    assert mention(obj, [mounted], "order 7: JSON parse error at position 4") is None
    assert mention(obj, [mounted._replace(path="")], line) is None
