"""Amazon CloudWatch alarms, as SNS delivers them to an HTTPS endpoint.

The message of the envelope is JSON in a string. Nothing here ever opens the address in a confirmation of a
subscription: a person does, see docs/sources.md.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec

from cortexops.domain.errors import InvalidInput
from cortexops.domain.signal import Signal, severity_from_word
from ingest.details import details_of
from ingest.labels import first_text, joined, make_signal, target_of
from ingest.source import (
    LONGEST_LABEL,
    IgnoreReason,
    ParseResult,
    Skip,
    parse_items,
    parse_time,
    summary_text,
    table,
)
from ingest.sources import SOURCES, Secrets, Unauthorised, check_age, verify_token

_SETTING = "gateway.sns_certificates"
_STALE = timedelta(hours=1)  # SNS repeats a delivery for so long, under the time of the first
_sns_host = re.compile(r"sns\.[a-z0-9-]+\.amazonaws\.com(\.cn)?")
_generated = re.compile(r".+-([bcdfghjklmnpqrstvwxz2456789]{5}|[0-9]+)")  # how Kubernetes ends pods' names
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": (
        "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
    ),
}  # fmt: skip
_SIGNED["UnsubscribeConfirmation"] = _SIGNED["SubscriptionConfirmation"]
_STATES = {"ALARM": False, "OK": True}
_DIMENSIONS = {
    "ClusterName": "cluster",
    "Namespace": "namespace",
    "FullPodName": "pod",
    "NodeName": "node",
    "Service": "service",
    "ContainerName": "container",
}


class CloudWatch:
    """An SNS envelope, the alarm itself (raw message delivery), or an array of either."""

    fingerprint_from = (
        "AlarmArn, else AWSAccountId, Region and AlarmName",
        "the object in Trigger.Dimensions",
    )
    challenge = 'Basic realm="cortexops"'  # SNS shows its password only when it is asked for one

    def recognises(self, payload: Any) -> bool:
        if not isinstance(payload, dict):
            return False
        return ("AlarmName" in payload and "NewStateValue" in payload) or (
            payload.get("Type") in tuple(_SIGNED) and "TopicArn" in payload
        )

    def parse(self, payload: Any, *, cluster: str, now: datetime) -> ParseResult:
        if isinstance(payload, dict) and "Type" not in payload and "AlarmName" not in payload:
            raise InvalidInput("Type", "is missing; expected a message of SNS or an alarm")
        if not isinstance(payload, dict | list):
            raise InvalidInput("body", "must be an object")
        return parse_items(payload if isinstance(payload, list) else [payload], _signal, cluster, now)

    def check_secrets(self, secrets: Secrets) -> None:
        if secrets.certificates:
            _certificates(secrets.certificates)

    def verify(self, headers: Mapping[str, str], body: bytes, secrets: Secrets, now: datetime) -> None:
        """The signature of SNS where certificates are pinned, and a token where one is configured.

        SNS signs for every customer of Amazon, so a signature counts only for the configured topics.
        """
        if secrets.keys or not secrets.certificates:
            verify_token(headers, secrets.keys)
        if secrets.certificates:
            _verify_signature(body, secrets, now)


def _certificates(pems: tuple[bytes, ...]) -> list[Any]:
    """Raises `InvalidInput` when they cannot be used."""
    try:
        from cryptography.x509 import load_pem_x509_certificate
    except ImportError:
        raise InvalidInput(_SETTING, "needs the package cryptography: install cortexops[embedded]") from None
    try:
        return [load_pem_x509_certificate(pem) for pem in pems]
    except ValueError:
        raise InvalidInput(_SETTING, "holds no certificate in PEM") from None


def _verify_signature(body: bytes, secrets: Secrets, now: datetime) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    message, signature = _signed_message(body, secrets.topics)
    try:
        check_age(parse_time(message["Timestamp"], "Timestamp"), now, _STALE)
    except InvalidInput:
        raise Unauthorised("the message's Timestamp is no time") from None
    algorithm = hashes.SHA256() if message.get("SignatureVersion") == "2" else hashes.SHA1()  # noqa: S303
    fields = [name for name in _SIGNED[message["Type"]] if name in message]
    text = "".join(f"{name}\n{message[name]}\n" for name in fields).encode("utf-8", "replace")
    for certificate in _certificates(secrets.certificates):
        key = certificate.public_key()
        valid = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
        if not isinstance(key, rsa.RSAPublicKey) or not valid:
            continue
        try:
            key.verify(signature, text, padding.PKCS1v15(), algorithm)
        except InvalidSignature:
            continue
        return
    raise Unauthorised("the message is not signed with a pinned certificate that is valid now")


def _signed_message(body: bytes, topics: tuple[str, ...]) -> tuple[dict[str, str], bytes]:
    """The envelope, if it is one that we could be meant to get, and its signature."""
    try:
        message = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Unauthorised("the body is no message of SNS") from None
    kind = message.get("Type") if isinstance(message, dict) else None
    signed = _SIGNED.get(kind, ()) if isinstance(kind, str) else ()
    if not signed or not all(isinstance(message.get(name, ""), str) for name in (*signed, "Signature")):
        raise Unauthorised("the body is no message of SNS")
    if missing := [name for name in signed if name != "Subject" and name not in message]:
        raise Unauthorised(f"the message has no {missing[0]}")
    if message.get("SignatureVersion") not in ("1", "2"):
        raise Unauthorised("the message's SignatureVersion must be 1 or 2")
    if not is_sns_url(message.get("SigningCertURL")):
        raise Unauthorised("the message's SigningCertURL is not of SNS")
    if message["TopicArn"] not in topics:
        raise Unauthorised("the message is of a topic that is not configured")
    try:
        return message, base64.b64decode(message.get("Signature", ""), validate=True)
    except (binascii.Error, ValueError):
        raise Unauthorised("the message's Signature is not base64") from None


def is_sns_url(url: Any) -> bool:
    """Whether it is an address of SNS itself, over TLS, without user, port or other trickery."""
    if not isinstance(url, str) or len(url) > 2000 or not url.isascii() or not url.isprintable():
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" and _sns_host.fullmatch(parts.netloc) is not None


# -- envelopes and alarms ------------------------------------------------------------------------------


def _signal(item: Any, cluster: str, now: datetime) -> Signal | Skip:
    if not isinstance(item, dict):
        raise InvalidInput("body", "must be an object")
    if "AlarmName" in item and "Type" not in item:
        return _alarm(item, "", cluster, now)
    # Of an envelope only what SNS signs is read, whatever else somebody has put beside it.
    kind = item.get("Type")
    if kind in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
        return Skip(IgnoreReason.SUBSCRIPTION, _confirmation(item), keep=True)
    if kind != "Notification":
        raise InvalidInput("Type", "must be Notification or SubscriptionConfirmation")
    message = item.get("Message")
    if not isinstance(message, str):
        raise InvalidInput("Message", "must be text")
    try:
        alarm = msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        raise InvalidInput("Message", "is not JSON; only alarms are taken") from None
    if not isinstance(alarm, dict) or "AlarmName" not in alarm:
        raise InvalidInput("Message.AlarmName", "is missing; only alarms are taken")
    return _alarm(alarm, "Message.", cluster, now)


def _confirmation(item: dict[str, Any]) -> str:
    """What a person needs to decide. The address itself is a secret of its sort: it is not in this text."""
    topic = first_text(item.get("TopicArn"))
    if not is_sns_url(item.get("SubscribeURL")):
        return f"topic {topic}: its SubscribeURL is not an address of SNS, do not open it"
    return f"topic {topic}: a person may open the SubscribeURL"


def _alarm(alarm: dict[str, Any], place: str, cluster: str, now: datetime) -> Signal | Skip:
    state = alarm.get("NewStateValue")
    if state == "INSUFFICIENT_DATA":
        return Skip(IgnoreReason.NO_DATA, "INSUFFICIENT_DATA")
    if not isinstance(state, str) or state not in _STATES:
        raise InvalidInput(f"{place}NewStateValue", "must be ALARM, OK or INSUFFICIENT_DATA")
    name = first_text(alarm.get("AlarmName"))
    if not name:
        raise InvalidInput(f"{place}AlarmName", "must be text")
    trigger = table(alarm.get("Trigger"), f"{place}Trigger")
    told = _description(alarm.get("AlarmDescription"))
    found = {**_dimensions(trigger, f"{place}Trigger"), **told}
    resource = target_of(found, name, cluster=cluster, field=f"{place}Trigger.Dimensions")
    account, region = first_text(alarm.get("AWSAccountId")), first_text(alarm.get("Region"))
    key = first_text(alarm.get("AlarmArn"), most=LONGEST_LABEL) or joined([account, region, name])
    labels = {**found, "aws_account": account, "aws_region": region}
    labels["aws_metric"] = first_text(trigger.get("MetricName"))
    changed = parse_time(_rfc3339(alarm.get("StateChangeTime")), f"{place}StateChangeTime")
    return make_signal(
        "cloudwatch",
        name=name,
        resource=resource,
        resolved=_STATES[state],
        severity=severity_from_word(told.get("severity", "")),
        summary=summary_text(alarm.get("NewStateReason")),
        labels={label: text for label, text in labels.items() if text},
        started=changed,
        ended=changed,
        now=now,
        key=joined([key, resource.key]),
        drill=found.get("cortexops_drill") == "true",
        started_field=f"{place}StateChangeTime",
    )


def _rfc3339(value: Any) -> Any:
    """CloudWatch writes +0000 where RFC 3339 wants +00:00."""
    return re.sub(r"([+-]\d{2})(\d{2})$", r"\1:\2", value[:64]) if isinstance(value, str) else value


def _description(text: Any) -> dict[str, str]:
    """A description that is a JSON object says more about the object; prose says nothing to us."""
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return {}
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return {}
    return details_of(found, "AlarmDescription") if isinstance(found, dict) else {}


def _dimensions(trigger: dict[str, Any], place: str) -> dict[str, str]:
    """Dimensions as labels, of the metric or of the first metric of an expression that has some."""
    listed = trigger.get("Dimensions")
    for query in trigger["Metrics"] if isinstance(trigger.get("Metrics"), list) else []:
        if listed:
            break
        stat = query.get("MetricStat") if isinstance(query, dict) else None
        metric = stat.get("Metric") if isinstance(stat, dict) else None
        listed = metric.get("Dimensions") if isinstance(metric, dict) else None
    if not isinstance(listed, list | None):
        raise InvalidInput(f"{place}.Dimensions", "must be a list")
    found: dict[str, str] = {}
    for one in listed or []:
        if not isinstance(one, dict):
            raise InvalidInput(f"{place}.Dimensions", "must be a list of names and values")
        name = first_text(one.get("name"), one.get("Name"))
        text = first_text(one.get("value"), one.get("Value"))
        if name == "PodName" and text:
            # Container Insights names pods of a Deployment by the Deployment, all others by themselves.
            found["pod" if _generated.fullmatch(text) else "deployment"] = text
        elif name and text:
            found[_DIMENSIONS.get(name, name)] = text
    if "pod" in found:
        found.pop("deployment", None)
    return found


SOURCES.register("cloudwatch", CloudWatch())
