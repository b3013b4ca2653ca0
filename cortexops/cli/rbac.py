"""Minimal roles, made from declarations: what actions need to write, what the investigation reads."""

from __future__ import annotations

from collections import defaultdict

import yaml

from activities.actions import ACTIONS
from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import KINDS

_UNREAD = frozenset({"Secret"})
_LOGS = {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}
_SECRETS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}


def reading_rules() -> list[dict[str, list[str]]]:
    """get, list and watch of every kind that is read; Secrets only one by one, their values are dropped."""
    by_group: dict[str, set[str]] = defaultdict(set)
    for kind in KINDS.values():
        if kind.kind not in _UNREAD:
            group = kind.versions[0].rpartition("/")[0]
            by_group[group].add(kind.plural)
    rules = [
        {"apiGroups": [group], "resources": sorted(plurals), "verbs": ["get", "list", "watch"]}
        for group, plurals in sorted(by_group.items())
    ]
    return [*rules, _LOGS, _SECRETS]


def writing_rules() -> list[dict[str, list[str]]]:
    """What the enabled actions declare, and reading what they change."""
    by_resource: dict[tuple[str, str], set[str]] = defaultdict(set)
    for _, plugin in ACTIONS:
        for permission in plugin.spec.permissions:
            by_resource[permission.group, permission.resource] |= set(permission.verbs)
    by_resource["", "pods"] |= {"get", "list"}  # verification counts restarts
    return [
        {"apiGroups": [group], "resources": [resource], "verbs": sorted(verbs)}
        for (group, resource), verbs in sorted(by_resource.items())
    ]


def manifests(namespace: str | None, service_account: str) -> str:
    """YAML of both roles and their bindings. `service_account` is `namespace/prefix`."""
    where, slash, prefix = service_account.partition("/")
    if not slash or not where or not prefix:
        raise InvalidInput("--service-account", f"{service_account!r} is not namespace/prefix")
    kind = "Role" if namespace else "ClusterRole"
    documents = []
    for name, rules in (("investigator", reading_rules()), ("remediator", writing_rules())):
        metadata = {"name": f"{prefix}-{name}", **({"namespace": namespace} if namespace else {})}
        api = "rbac.authorization.k8s.io"
        documents += [
            {"apiVersion": f"{api}/v1", "kind": kind, "metadata": metadata, "rules": rules},
            {
                "apiVersion": f"{api}/v1",
                "kind": f"{kind}Binding",
                "metadata": metadata,
                "roleRef": {"apiGroup": api, "kind": kind, "name": f"{prefix}-{name}"},
                "subjects": [{"kind": "ServiceAccount", "name": f"{prefix}-{name}", "namespace": where}],
            },
        ]
    return yaml.safe_dump_all(documents, sort_keys=False)
