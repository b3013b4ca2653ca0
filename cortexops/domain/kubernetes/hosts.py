"""Host names in configuration and in log lines, and whether they mean a Service of the cluster."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache

from cortexops.domain.kubernetes.pods import containers
from cortexops.domain.kubernetes.remembered import LINES
from cortexops.domain.kubernetes.values import objects, text, words
from cortexops.domain.resource import JSON

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = rf"{_LABEL}(?:\.{_LABEL})*"
_IN_URL = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*://(?:[^\s/@\"']*@)?({_NAME})(?::\d+)?")
_WITH_PORT = re.compile(rf"(?<![\w./@-])({_NAME}):(\d{{2,5}})(?!\d|[:.]\d)")
_RESOLVER = re.compile(r"(?i)(\blookup \S{1,253}) on \S{1,64}:53\b")
_MAPPED = re.compile(r"(?i)\[::ffff:((?:\d{1,3}\.){3}\d{1,3})\]|(?<![\w:])::ffff:((?:\d{1,3}\.){3}\d{1,3})")
"""An address of version 4 as sockets of version 6 write it."""
_JAVA = re.compile(rf"(?<![\w./@-])({_NAME})/\d{{1,3}}(?:\.\d{{1,3}}){{3}}:\d{{2,5}}\b")
_PROXIED = re.compile(r"\bupstream: \"")
_OF_THE_CLIENT = re.compile(r"\b(?:client|server|host|referrer|request): (?:\"[^\"]*\"|[^,\s]*)")
"""What an error line of nginx tells of the request it served; whom it asked stands behind `upstream`."""
_WEBHOOK = re.compile(r"(?i)(\bwebhook )\\*[\"'][^\"'\\\s]{1,253}\\*[\"']")
"""The name of an admission webhook, which is written like a host's and is none; whom it calls stands in the URL."""
_ASKED_RESOLVER = re.compile(r"->\[?([0-9A-Fa-f.:]+?)\]?:53\b")
_ACCESS = re.compile(r"\"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) [^\"]* HTTP/[\d.]+\" \d{3}\b")
_QUOTED_BY_CLIENT = re.compile(rf"\"(?!{_NAME}:\d{{2,5}}\")[^\"]*\"")
"""In a line of an access log: the request, who sent it and from which page; not the address it was sent on to."""
_PORT_IN_URL = re.compile(rf"://(?:[^\s/@\"']*@)?({_NAME}):(\d{{2,5}})(?!\d)")
_QUALIFIED = re.compile(rf"(?<![\w./@-])({_LABEL}(?:\.{_LABEL}){{1,}})(?![\w-])")
_SERVER = re.compile(rf"^\s*server(?:-template)?(?:\s+\S+){{0,2}}\s+({_NAME}):\d{{2,5}}(?=[\s;]|$)")
_LOOKUP = re.compile(
    rf"(?i)(?:lookup|enotfound|eai_again|getaddrinfo(?: [a-z_]+)?|unknownhostexception|resolve|resolving"
    rf"|host(?:name)?|address|connect(?:ing|ion)? to|server at|to server)"
    rf"[\s:=]+[\"'(]*({_NAME})"
)
_BARE = re.compile(rf"^{_NAME}$")
_HOST_LIKE_NAME = re.compile(
    r"(?i)(host|addr|address|url|uri|endpoint|server|service|upstream|broker|dsn)s?$"
)
_FILE_ENDINGS = (
    ".go", ".py", ".js", ".ts", ".java", ".rb", ".rs", ".cs", ".php", ".conf", ".yaml", ".yml", ".json",
    ".log", ".txt", ".toml", ".ini", ".xml", ".properties", ".sh", ".kt", ".c", ".cc", ".cpp", ".h", ".so",
    ".jar", ".class", ".pem", ".crt", ".key", ".sql", ".env",
)  # fmt: skip
_COMMON_TOP = frozenset(
    {
        "com", "net", "org", "io", "dev", "app", "cloud", "local", "internal", "svc", "cluster", "eu", "de",
        "fr", "uk", "us", "co", "info", "biz", "tech", "ai", "example", "test", "lan", "corp", "aws", "arpa",
    }
)  # fmt: skip
_NEVER_NAMESPACES = frozenset(
    {"local", "com", "net", "org", "io", "eu", "de", "fr", "uk", "us", "co", "info", "biz"}
)
_TELEMETRY = re.compile(
    r"(?i)(?:^|-)(?:otel|otelcol|opentelemetry|jaeger|zipkin|tempo|loki|fluentd?|fluent-?bit|logstash|statsd"
    r"|telegraf|prometheus|pushgateway|signoz|datadog|newrelic|apm-server)(?:-|$)"
)
_NOT_HOSTS = frozenset({"localhost", "127.0.0.1", "true", "false", "null", "none", "line", "error"})


@lru_cache(LINES)
def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _plausible(host: str) -> bool:
    lowered = host.lower()
    return (
        lowered not in _NOT_HOSTS
        and not lowered.endswith(_FILE_ENDINGS)
        and (_is_address(host) or any(c.isalpha() for c in host))
    )


def hosts_in_value(name: str, value: str) -> list[str]:
    """Host names that a configuration value holds; `name` is its variable or key."""
    found = [m.group(1) for m in _IN_URL.finditer(value)]
    found += [m.group(1) for m in _WITH_PORT.finditer(value)]
    for word in re.split(r"[\s,;]+", value):
        qualified = word.count(".") >= 1 and word.rsplit(".", 1)[-1].lower() in _COMMON_TOP
        if _BARE.match(word) and (qualified or _HOST_LIKE_NAME.search(name)) and len(value) < 500:
            found.append(word)
    return _unique(found)


def hosts_in_line(line: str) -> list[str]:
    """Host names and addresses that a log line names, but for the DNS server that was asked, and for those
    of the request that a proxy served."""
    return list(_hosts_in(line))


@lru_cache(LINES)
def _hosts_in(line: str) -> tuple[str, ...]:
    line = _WEBHOOK.sub(r"\1", _RESOLVER.sub(r"\1", _MAPPED.sub(r"\1\2", line)))
    if _PROXIED.search(line):
        line = _OF_THE_CLIENT.sub("", line)
    if _ACCESS.search(line):
        line = _QUOTED_BY_CLIENT.sub("", line)
    found = [m.group(1) for m in _IN_URL.finditer(line)]
    found += [m.group(1) for m in _WITH_PORT.finditer(line)]
    found += [m.group(1) for m in _JAVA.finditer(line)]
    found += [m.group(1) for m in _LOOKUP.finditer(line)]
    found += [
        m.group(1) for m in _QUALIFIED.finditer(line) if m.group(1).rsplit(".", 1)[-1].lower() in _COMMON_TOP
    ]
    return tuple(_unique(found))


def resolver_in_line(line: str) -> list[str]:
    """The DNS server that a line says it sent a question to (`read udp 10.0.0.1:999->10.0.0.2:53: …`)."""
    return _unique(_ASKED_RESOLVER.findall(line))


def ports_in_line(line: str) -> list[tuple[str, int]]:
    """(host, port) of the addresses that a log line names with their port."""
    line = _RESOLVER.sub(r"\1", _MAPPED.sub(r"\1\2", line))
    found = [*_WITH_PORT.finditer(line), *_PORT_IN_URL.finditer(line)]
    return [(match.group(1).rstrip(".").lower(), int(match.group(2))) for match in found]


def _unique(found: list[str]) -> list[str]:
    return [host for host in dict.fromkeys(h.rstrip(".").lower() for h in found) if _plausible(host)]


@lru_cache(LINES)
def service_address(host: str, namespace: str) -> tuple[str, str] | None:
    """(namespace, name) of the Service that a host name would mean; None when it cannot mean one."""
    if _is_address(host):
        return None
    parts = host.lower().split(".")
    if len(parts) == 1:
        return namespace, parts[0]
    if len(parts) == 2 and parts[1] not in _NEVER_NAMESPACES:
        return parts[1], parts[0]
    if len(parts) >= 3 and parts[2] == "svc":
        return parts[1], parts[0]
    if len(parts) >= 4 and parts[3] == "svc":  # a pod of a headless Service
        return parts[2], parts[1]
    return None


def is_external(host: str) -> bool:
    """A qualified name or public address that cannot be an object of this cluster."""
    if _is_address(host):
        return bool(ipaddress.ip_address(host).is_global)
    parts = host.split(".")
    return len(parts) >= 2 and service_address(host, "") is None and parts[-1].lower() not in ("svc", "local")


def hosts_of_template(pod_spec: JSON, configs: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Hosts named by a pod spec's variables, arguments and the ConfigMap values given (name → data)."""
    found: list[str] = []
    for container in containers(pod_spec):
        for entry in objects(container, "env"):
            found += hosts_in_value(text(entry, "name"), text(entry, "value"))
        for argument in words(container, "args") + words(container, "command"):
            option, _, value = argument.partition("=")
            found += hosts_in_value(option, value or argument)
    for data in configs.values():
        for key, value in data.items():
            for line in value.splitlines()[:500]:
                inner, _, rest = line.partition("=" if "=" in line else ":")
                found += hosts_in_value(key, line.strip()) if "\n" not in value else []
                if "\n" in value:
                    found += hosts_in_value(inner.strip(), rest.strip().strip("\"'") or line.strip())
                    found += _at_server(line)
                    found += _unique([match.group(1) for match in _IN_URL.finditer(line)])
    return list(dict.fromkeys(found))


def _at_server(line: str) -> list[str]:
    """The address that a line of a proxy's configuration gives for a server (`server a1 cart.shop.svc:8080 check`,
    `server cart.shop.svc:8080;`)."""
    return _unique([match.group(1) for match in _SERVER.finditer(line)])


def takes_telemetry(service: str) -> bool:
    """Whether a Service of that name takes traces, metrics or logs: nobody's answers depend on it."""
    return _TELEMETRY.search(service) is not None
