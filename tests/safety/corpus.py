"""Secrets of the shapes that really occur, and text that only looks like them.

Everything is put together here from parts and a fixed seed, so that no scanner takes this file for a leak.
"""

# ruff: noqa: E501 - texts as they occur
from __future__ import annotations

import base64
import json
import random
import string
from typing import NamedTuple

_LOT = random.Random(20_260_101)
_ALNUM = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"


class Planted(NamedTuple):
    """A text, and the part of it that must be gone."""

    name: str
    text: str
    secret: str


def drawn(length: int, alphabet: str = _ALNUM) -> str:
    """Characters by lot, with at least a digit and letters of both sizes where the alphabet has them."""
    while True:
        found = "".join(_LOT.choice(alphabet) for _ in range(length))
        sorts = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
        if length < 8 or all(set(found) & set(sort) for sort in sorts if set(sort) <= set(alphabet)):
            return found


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _jwt() -> str:
    parts = (json.dumps({"alg": "RS256", "kid": drawn(20)}), json.dumps({"iss": "kubernetes/serviceaccount"}))
    return (
        ".".join(base64.urlsafe_b64encode(p.encode()).decode().rstrip("=") for p in parts) + "." + drawn(86)
    )


def _pem(kind: str, lines: int = 4, end: str = "\n") -> str:
    body = end.join(drawn(64, _ALNUM + "+/") for _ in range(lines))
    return f"-----BEGIN {kind}-----{end}{body}{end}-----END {kind}-----"


def _formats() -> list[Planted]:
    """Tokens that are known by their form, in the middle of a sentence."""
    tokens = {
        "aws key id": "AKIA" + drawn(16, string.ascii_uppercase + string.digits),
        "aws session key id": "ASIA" + drawn(16, string.ascii_uppercase + string.digits),
        "github classic": "ghp_" + drawn(36),
        "github app": "ghs_" + drawn(36),
        "github fine": "github_pat_" + drawn(22) + "_" + drawn(59),
        "gitlab": "glpat-" + drawn(20),
        "gitlab runner": "glrt-" + drawn(20),
        "gitlab deploy": "gldt-" + drawn(20),
        "slack bot": "xoxb-" + drawn(12, string.digits) + "-" + drawn(24),
        "slack app": "xapp-1-A" + drawn(10, string.digits) + "-" + drawn(32, _HEX),
        "stripe live": "sk_" + "live_" + drawn(24),
        "stripe restricted": "rk_" + "live_" + drawn(24),
        "stripe webhook": "whsec_" + drawn(32),
        "openai": "sk-proj-" + drawn(48),
        "anthropic": "sk-ant-api03-" + drawn(90),
        "google api": "AIza" + drawn(35),
        "google oauth": "ya29." + drawn(60),
        "google client": "GOCSPX-" + drawn(28),
        "npm": "npm_" + drawn(36),
        "pypi": "pypi-AgEIcHlwaS5vcmc" + drawn(80),
        "docker hub": "dckr_pat_" + drawn(27),
        "hugging face": "hf_" + drawn(34),
        "vault": "hvs." + drawn(24),
        "vault old": "s." + drawn(24),
        "digitalocean": "dop_v1_" + drawn(64, _HEX),
        "databricks": "dapi" + drawn(32, _HEX),
        "grafana": "glsa_" + drawn(32) + "_" + drawn(8, _HEX),
        "sendgrid": "SG." + drawn(22) + "." + drawn(43),
        "mailchimp": drawn(32, _HEX) + "-us14",
        "mailgun": "key-" + drawn(32, _HEX),
        "twilio": "SK" + drawn(32, _HEX),
        "square": "sq0csp-" + drawn(43),
        "shopify": "shpat_" + drawn(32, _HEX),
        "telegram": drawn(9, "123456789") + ":AA" + drawn(33),
        "discord": "M" + drawn(23) + "." + drawn(6) + "." + drawn(27),
        "atlassian": "ATATT3x" + drawn(40),
        "new relic": "NRAK-" + drawn(27, string.ascii_uppercase + string.digits),
        "postman": "PMAK-" + drawn(24, _HEX) + "-" + drawn(34, _HEX),
        "terraform": drawn(14) + ".atlasv1." + drawn(60),
        "linear": "lin_api_" + drawn(40),
        "notion": "ntn_" + drawn(46),
        "doppler": "dp.pt." + drawn(43),
        "azure client": drawn(3) + "8Q~" + drawn(34),
        "artifactory": "AKC" + drawn(60),
        "age": "AGE-SECRET-KEY-1" + drawn(58, string.ascii_uppercase + string.digits),
        "service account jwt": _jwt(),
        "bcrypt": "$2b$12$" + drawn(53),
        "mail": "jane.doe" + drawn(4, string.digits) + "@example.com",
        "visa": "4111 1111 " + "1111 1111",
        "mastercard": "55555555" + "55554444",
        "amex": "3782-822463-" + "10005",
    }
    return [Planted(name, f"calling upstream with {token} now", token) for name, token in tokens.items()]


def _assigned() -> list[Planted]:
    """Values that are secret by their names."""
    found = []
    lines = {
        "env": "DB_PASSWORD={}",
        "exported env": "declare -x MYSQL_PWD=\"{}\"",
        "yaml": "  password: {}",
        "properties": "spring.datasource.password={}",
        "java option": "java -Dkeystore.password={} -jar app.jar",
        "json": '{{"user": "app", "apiKey": "{}", "retries": 3}}',
        "escaped json": '"{{\\"client_secret\\":\\"{}\\"}}"',
        "python": "{{'secret_key': '{}', 'debug': False}}",
        "go struct": "config: {{Host:db Password:{} Port:5432}}",
        "ruby": ':password => "{}"',
        "query token": "GET https://api.example.com/v1/items?token={}&page=2 401",
        "query access_token": "redirect to /cb?access_token={}#state",
        "flag with blank": "exec: app --db-password {} --verbose",
        "flag as list": 'args: ["--api-token", "{}"]',
        "flag with equals": "args: --client-secret={}",
        "env list json": '{{"name":"REDIS_PASS","value":"{}"}}',
        "env list yaml": "- name: ADMIN_PASSWORD\n  value: {}",
        "env list escaped": '{{\\"name\\":\\"API_TOKEN\\",\\"value\\":\\"{}\\"}}',
        "header x-api-key": "X-Api-Key: {}",
        "header vault": "> x-vault-token: {}",
        "npmrc": "//registry.local/:_authToken={}",
        "words": "API Key: {}",
        "xml": "<property><password>{}</password></property>",
        "mysql flag": "mysql -h db -u root -p{} shop",
        "curl": "curl -u deploy:{} https://registry.local/v2/",
        "sql": "ALTER USER app IDENTIFIED BY '{}'",
        "connection string": "Server=tcp:db,1433;User ID=app;Pwd={};Encrypt=true",
        "libpq": "host=db user=app password={} sslmode=require",
        "softlayer": "softlayer_api_key = {}",
        "cookie": "Cookie: theme=dark; session={}",
        "set-cookie": "< Set-Cookie: sid={}; Path=/; HttpOnly",
        "proxy": "Proxy-Authorization: Digest username=app, response={}",
    }  # fmt: skip
    for name, line in lines.items():
        secret = drawn(18)
        found.append(Planted(name, line.format(secret), secret))
    return found


def _shaped() -> list[Planted]:
    """Secrets that neither a prefix nor a plain name gives away. `§` is where the secret stands."""
    key, base = _pem("RSA PRIVATE KEY"), _ALNUM + "+/"
    lines: dict[str, tuple[str, str]] = {
        "basic header": ("Authorization: Basic §", b64("app:" + drawn(16))),
        "bearer header": ("authorization: Bearer §", drawn(40, base)),
        "bearer in json": ('{"Authorization": "Bearer §"}', drawn(24)),
        "opaque authorization": ("Authorization: §", drawn(32)),
        "aws signature": ("Authorization: AWS4-HMAC-SHA256 Credential=x, Signature=§", drawn(64, _HEX)),
        "postgres url": ("dial postgres://app:§@db:5432/shop: refused", drawn(16)),
        "redis url": ("redis://:§@cache:6379/0", drawn(16)),
        "mongo url": ("mongodb+srv://root:§@cluster0.example.net/admin", drawn(16)),
        "amqp url": ("amqps://svc:§@mq:5671/prod", drawn(16)),
        "go mysql dsn": ("app:§@tcp(mysql:3306)/shop?parseTime=true", drawn(16)),
        "oracle": ("jdbc:oracle:thin:scott/§@//db:1521/x", drawn(16)),
        "git url": ("git clone https://x-access-token:§@git.example.com/acme/app", drawn(36)),
        "cloudant url": ("https://acme:§@acme.cloudant.com/db", drawn(64, _HEX)),
        "sentry": ("dsn https://§@o1.ingest.sentry.io/2", drawn(32, _HEX)),
        "rsa key": ("loaded\n§\nok", key),
        "key in json": ('{"k": "§"}', _pem("PRIVATE KEY", end="\\n")),
        "openssh key": ("id: §", _pem("OPENSSH PRIVATE KEY")),
        "pgp key": ("§", _pem("PGP PRIVATE KEY BLOCK")),
        "ec key cut off": ("-----BEGIN EC PRIVATE KEY-----\n§", drawn(64, base)),
        "kubeconfig key": ("    client-key-data: §", b64(_pem("RSA PRIVATE KEY"))),
        "encoded key alone": ("mounted § there", b64(key)),
        "kubeconfig token": ("    token: §", _jwt()),
        "azure storage": ("AccountName=a;AccountKey=§;EndpointSuffix=x", drawn(86, base) + "=="),
        "azure sas": ("https://a.blob.core.windows.net/c?sv=2022&sig=§&se=2030", drawn(43) + "%3D"),
        "s3 signature": ("GET /b/k?X-Amz-Signature=§&X-Amz-Expires=60", drawn(64, _HEX)),
        "s3 credential": ("GET /b/k?X-Amz-Security-Token=§", drawn(80)),
        "aws secret": ("aws_secret_access_key = §", drawn(40, base)),
        "slack webhook": ("POST https://hooks.slack.com/services/§", f"T{drawn(8)}/B{drawn(8)}/{drawn(24)}"),
        "discord webhook": ("https://discord.com/api/webhooks/§", f"{drawn(18, string.digits)}/{drawn(60)}"),
        "unnamed random": ('payload="§"', drawn(44, base)),
        "weak name": ("license=§", drawn(24)),
        "hexadecimal under a key": ("signing key: §", drawn(64, _HEX)),
        "ibm key": ("ibm_cloud_iam_api_key: §", drawn(44)),
        "shadow line": ("root:§:19000:0:99999:7:::", "$6$" + drawn(8) + "$" + drawn(86)),
    }
    return [Planted(name, line.replace("§", secret), secret) for name, (line, secret) in lines.items()]


SECRETS = [*_formats(), *_assigned(), *_shaped()]

INNOCENT = [
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "image registry.example.com:5000/shop/api@sha256:0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9",
    "Pulled image \"ghcr.io/acme/api:1.4.2-rc.1\" in 1.203s (1.203s including waiting). Image size: 48211034 bytes.",
    "commit 3f2a9c1b7de84f50a6c2b19d0e7f8a1234567890 by ci",
    "revision=3f2a9c1b7de84f50a6c2b19d0e7f8a1234567890 branch=main",
    "git rev 3f2a9c1b7d, tag v2.14.0",
    "uid: 0b7e6c1e-5a4d-4e0e-9a44-0a2f8f1d2c3b, generation: 12",
    "pod shop/api-7c9d4b5f6-x7k2p OOMKilled exit 137 limit=512Mi",
    "pod-template-hash=7c9d4b5f6 controller-revision-hash=web-5d8f7b9c6d",
    "Created container 8f14e45fceea167a5a36dedd4bea2543f1a9c0e1d2b3a4958677665544332211",
    "containerID: containerd://8f14e45fceea167a5a36dedd4bea2543f1a9c0e1d2b3a4958677665544332211",
    "trace_id=4bf92f3577b34da6a3ce929d0e0e4736 span_id=00f067aa0ba902b7",
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "X-Request-Id: 7b2c9e7e-70b1-4a7b-9f3e-2f8b0c9d1e2f",
    "etag: \"5d41402abc4b2a76b9719d911017c592\"",
    "md5=5d41402abc4b2a76b9719d911017c592 file=app.jar",
    "2026-01-02T03:04:05.678901Z ERROR cannot connect to db.shop.svc.cluster.local:5432: connection refused",
    'level=info msg="request done" status=200 duration=13ms path=/api/v1/orders?page=2',
    "java.lang.OutOfMemoryError: Java heap space at com.shop.Cart.add(Cart.java:42)",
    "\tat org.springframework.beans.factory.support.AbstractAutowireCapableBeanFactory.createBean(AbstractAutowireCapableBeanFactory.java:522)",
    'File "/usr/local/lib/python3.11/site-packages/sqlalchemy/engine/base.py", line 1969, in _exec_single_context',
    "goroutine 1 [running]: main.main() /src/cmd/api/main.go:27 +0x1d3",
    "panic: runtime error: invalid memory address or nil pointer dereference [signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x4a5e6f]",
    "epoch 1690000000000 and 1690000000000000007 ns",
    'parsing config value: POOL_SIZE="ten" is not a number',
    "tokenizer ready, 12 secrets mounted, password policy loaded",
    "GET http://user-service:8080/healthz 503",
    "retry in 5s (attempt 3/10), backoff=1.5e3",
    "max_tokens: 4096 temperature: 0.2 total_tokens=1337",
    'secret "api-db-credentials" not found',
    'MountVolume.SetUp failed for volume "kube-api-access-x7k2p" : object "shop"/"kube-root-ca.crt" not registered',
    'Error: couldn\'t find key DB_PASSWORD in Secret shop/api-db',
    "secretKeyRef: api-db, imagePullSecrets: regcred, automountServiceAccountToken: false",
    "secretName: api-tls",
    "MYSQL_PASSWORD_FILE=/run/secrets/db/password",
    "password authentication failed for user \"app\"",
    "FATAL: password authentication failed for user app",
    "token: expired at 2026-01-01T00:00:00Z",
    "jwt token: invalid signature",
    "credential: not provided",
    "secret-manager: starting reconcile of 14 objects",
    "serviceaccounts/token: Forbidden",
    "tokens: 512, key: user-42, keys: 14",
    "cache key: orders:2026:page:2 miss",
    "partition key: eu-west-1/2026-01-02/orders",
    "primary key: customer_order_id, foreign key: customer_id",
    "lock key=leader-election/cortex held by node-3",
    "session affinity: ClientIP, sessionAffinityConfig: {}",
    "code: 500, code=ECONNREFUSED, exit code: 137",
    "auth: rbac, auth.mode=oidc",
    "signature: verification failed for image",
    "resourceVersion: 184467440737, observedGeneration: 7",
    "10.244.3.17:8080 -> 10.96.0.10:53 UDP timeout",
    "node ip-10-0-12-34.eu-west-1.compute.internal NotReady",
    "fe80::1ff:fe23:4567:890a dev eth0",
    "volume pvc-0b7e6c1e-5a4d-4e0e-9a44-0a2f8f1d2c3b attached to vol-0a1b2c3d4e5f67890",
    "arn:aws:iam::123456789012:role/eks-node-group",
    "Back-off restarting failed container api in pod api-7c9d4b5f6-x7k2p_shop(0b7e6c1e-5a4d-4e0e-9a44-0a2f8f1d2c3b)",
    "Readiness probe failed: Get \"http://10.244.3.17:8080/ready\": dial tcp 10.244.3.17:8080: connect: connection refused",
    "0/5 nodes are available: 2 Insufficient memory, 3 node(s) had untolerated taint {dedicated: gpu}.",
    "CVE-2024-21626 runc 1.1.11, ISO-8601 week 2026-W03",
    "Mon Jan  2 15:04:05 MST 2006 | 2026/01/02 03:04:05.000001",
    "systemd[1]: getty@tty1.service: Deactivated successfully.",
    "origin git@github.com:acme/shop.git (fetch)",
    "request took 0.000123456789 s; ratio 3.141592653589793238; total 2718281828459046",
    "sudoku grid 4532 0000 9999 1234 checked",
    "order 6111111111111117 shipped; sku 4000123412341235",
    "class=AbstractSingletonProxyFactoryBean2Configuration handler=com.acme.V2.OrdersHTTPHandler64",
    "path=/var/lib/kubelet/pods/0b7e6c1e-5a4d-4e0e-9a44-0a2f8f1d2c3b/volumes/kubernetes.io~secret/token",
    "thumbprint: A1B2C3D4E5F60718293A4B5C6D7E8F901A2B3C4D",
    "serial=03:ac:5c:26:6a:0b:40:9b:8f:0b:79:f2:ae:46:25:77",
    "helm.sh/chart: api-1.2.3, checksum/config: 4bf92f3577b34da6a3ce929d0e0e47364bf92f3577b34da6a3ce929d0e0e4736",
    "kubectl -n shop rollout undo deployment/api --to-revision=4",
    "http_requests_total{code=\"500\",pod=\"api-7c9d4b5f6-x7k2p\"} 1027",
    "Unable to retrieve some image pull secrets (regcred); attempting to pull the image may not succeed.",
    "basic authentication is enabled; bearer authentication is not",
    "authorization: denied for system:serviceaccount:shop:api",
    "TOKEN_TTL=3600 SECRET_NAME=api-db PASSWORD_MIN_LENGTH=12 ACCESS_TOKEN_URL=https://idp.local/token",
]  # fmt: skip
