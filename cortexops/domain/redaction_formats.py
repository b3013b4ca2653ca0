"""Secrets that are known by their form: tokens with a prefix of their own, keys, headers, connection strings.

Each format names parts of which the text has one when there is anything of the format: most text is done
quickly. Every pattern takes time linear in the text: it starts with something rare, or its runs are bounded
or matched possessively.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

Replace = Callable[[re.Match[str], str], str | None]
"""The text for a match, given the mask; None leaves it as it is."""


class Format(NamedTuple):
    """One form. `parts`: without one of these in the text nothing is looked for (empty: always)."""

    kind: str
    parts: tuple[str, ...]
    pattern: re.Pattern[str]
    replace: Replace


def _whole(_: re.Match[str], mask: str) -> str | None:
    return mask


def _last_group(match: re.Match[str], mask: str) -> str | None:
    """Only the last group goes; what is around it stays."""
    start, end = match.span(match.re.groups)
    if "[redacted:" in match.group(match.re.groups):
        return None
    whole, offset = match.group(0), match.start()
    return f"{whole[: start - offset]}{mask}{whole[end - offset :]}"


def _url(match: re.Match[str], mask: str) -> str | None:
    return None if "[redacted:" in match.group(0) else f"{match.group(1)}:{mask}"


def _bearer(match: re.Match[str], mask: str) -> str | None:
    """A token has something else than small letters: `basic authentication` is no secret."""
    return None if re.fullmatch(r"[a-z]+[.]?", match.group(1)) else mask


def _mixed(match: re.Match[str], mask: str) -> str | None:
    """Only with letters of both sizes and a digit: otherwise it is a word."""
    found = match.group(0)
    mixed = re.search("[a-z]", found) and re.search("[A-Z]", found) and re.search("[0-9]", found)
    return mask if mixed else None


def _encoded_key(match: re.Match[str], mask: str) -> str | None:
    """Base64 of a PEM block: keys go, certificates may be read."""
    head = match.group(0)[:80]
    try:
        begins = base64.b64decode(head + "=" * (-len(head) % 4))
    except ValueError:
        return mask
    return None if b"CERTIFICATE" in begins or b"PUBLIC" in begins else mask


def _delimited(match: re.Match[str], mask: str) -> str | None:
    """Some patterns take the character before and after the token with them."""
    whole = match.group(0)
    if "[redacted:" in whole:
        return None
    token = whole.strip(' \t\r\n\f\v"=:')
    before, _, after = whole.partition(token)
    return f"{before}{mask}{after}"


def _delimited_mixed(match: re.Match[str], mask: str) -> str | None:
    return _delimited(match, mask) if _mixed(match, mask) else None


def _quoted(match: re.Match[str], mask: str) -> str | None:
    start, end = match.span(1) if match.group(1) is not None else match.span(2)
    whole, offset = match.group(0), match.start()
    return None if "[redacted:" in whole else f"{whole[: start - offset]}{mask}{whole[end - offset :]}"


def _of(kind: str, parts: str, pattern: str, replace: Replace = _whole, flags: int = 0) -> Format:
    return Format(kind, tuple(parts.split()), re.compile(pattern, flags), replace)


_I = re.IGNORECASE
BEFORE: tuple[Format, ...] = (
    Format(
        "private_key",
        ("PRIVATE KEY",),
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
            r".*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
            re.DOTALL,
        ),
        _whole,
    ),
    _of("private_key", "LS0tLS1CRUdJTi", r"LS0tLS1CRUdJTi[A-Za-z0-9+/]{16,}+={0,2}", _encoded_key),
    _of("private_key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{50,}+"),
    _of("url_password", "://", r"(?<=://)([^\s/:@]*+):([^\s/]+)(?=@)", _url),
    _of("url_password", "://", r"(?<=://)(?:[0-9a-fA-F]{32,}+|[A-Za-z0-9_-]{36,}+)(?=@)"),
    _of(
        "url_password",
        "@tcp( @unix(",
        r"(?<![\w.-])[\w.-]{1,64}+:([^\s@:/]{3,64}+)(?=@(?:tcp|unix)\()",
        _last_group,
    ),
    _of(
        "url_password", "jdbc:oracle", r"jdbc:oracle:thin:[\w.$#-]{1,64}+/([^@\s]{1,128}+)(?=@)", _last_group
    ),
    _of("bearer_token", "", r"\b(?:bearer|basic)\s++([A-Za-z0-9._~+/=-]{8,}+)", _bearer, _I),
    _of(
        "auth_header",
        "uthorization UTHORIZATION",
        r"\b(?:proxy-)?authorization\\{0,4}[\"']?[ \t]*+[:=][ \t]*+\\{0,4}[\"']?"
        r"((?:digest|token|apikey|api-key|negotiate|ntlm|hmac|key|hawk|oauth"
        r"|signature|aws4-hmac-sha256|aws|sharedkey|sso-key|splunk|genie-?key|dapi)[ \t]++[^\r\n\"']{6,}+)",
        _last_group,
        _I,
    ),
    _of(
        "auth_header",
        "uthorization UTHORIZATION",
        r"\bauthorization\\{0,4}[\"']?[ \t]*+[:=][ \t]*+\\{0,4}[\"']?"
        r"((?=[A-Za-z_.~+/=-]{0,200}+[0-9])[A-Za-z0-9._~+/=-]{16,}+)(?![ \t]++[a-z])",
        _last_group,
        _I,
    ),
    _of(
        "cookie",
        "ookie OOKIE",
        r"\b(?:set-)?cookie\\{0,4}[\"']?[ \t]*+[:=][ \t]*+\\{0,4}[\"']?((?=[^\r\n\"'=]{1,100}+=)[^\r\n\"']{3,}+)",
        _last_group,
        _I,
    ),
)
"""Looked for first: what follows would take parts of them."""

AFTER: tuple[Format, ...] = (
    _of("aws_key", "A3T ABIA ACCA AKIA ASIA", r"\b(?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[0-9A-Z]{16}\b"),
    _of("slack_token", "xox", r"\bxox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}+"),
    _of("slack_token", "xapp-", r"\bxapp-[0-9]-[A-Za-z0-9-]{10,}+"),
    _of(
        "webhook",
        "hooks.slack.com",
        r"hooks\.slack\.com/(services|workflows|triggers)/([A-Za-z0-9_/+-]{10,}+)",
        _last_group,
    ),
    _of(
        "webhook",
        "/api/webhooks/",
        r"discord(?:app)?\.com/api/webhooks/([0-9]{10,25}/[\w-]{20,}+)",
        _last_group,
    ),
    _of("webhook", "webhook.office.com", r"webhook\.office\.com/webhookb2/([\w@/-]{20,}+)", _last_group),
    _of(
        "github_token",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        r"\b(?:gh[pousr]_|github_pat_)[A-Za-z0-9_]{20,}+",
    ),
    _of("api_key", "sk-", r"\bsk-[A-Za-z0-9_-]{16,}+"),
    _of("stripe_key", "k_live_ k_test_ whsec_", r"\b(?:[srp]k_(?:live|test)_|whsec_)[0-9A-Za-z]{16,}+"),
    _of("google_key", "AIza", r"\bAIza[0-9A-Za-z_-]{35}"),
    _of("google_key", "ya29. GOCSPX-", r"\b(?:ya29\.|GOCSPX-)[\w-]{20,}+"),
    _of("npm_token", "npm_", r"\bnpm_[A-Za-z0-9]{30,}+"),
    _of("pypi_token", "pypi-", r"\bpypi-[A-Za-z0-9_-]{50,}+"),
    _of("docker_token", "dckr_", r"\bdckr_(?:pat|oat)_[\w-]{20,}+"),
    _of("huggingface_token", "hf_ api_org_", r"\b(?:hf_|api_org_)[A-Za-z0-9]{30,}+"),
    _of("vault_token", "hvs. hvb. hvr.", r"\bhv[sbr]\.[\w-]{20,}+"),
    _of("vault_token", "s.", r"(?<![\w.])s\.[A-Za-z0-9]{24}(?![\w.])", _mixed),
    _of("digitalocean_token", "_v1_", r"\bdo[opr]_v1_[a-f0-9]{64}"),
    _of("databricks_token", "dapi", r"\bdapi[a-f0-9]{32}"),
    _of(
        "grafana_token",
        "glsa_ glc_ eyJrIjoi",
        r"\b(?:glsa_[A-Za-z0-9]{20,}+_[a-f0-9]{8}|glc_[A-Za-z0-9+/=]{32,}+|eyJrIjoi[A-Za-z0-9+/=]{20,}+)",
    ),
    _of("mailgun_key", "key-", r"\bkey-[0-9a-f]{32}\b"),
    _of("square_token", "sq0 EAAA", r"\b(?:sq0(?:atp|csp|idp)-[\w-]{22,}+|EAAA[\w-]{56,}+)"),
    _of("shopify_token", "shp", r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    _of("telegram_token", ":", r"(?<![\w:])(?:bot)?[0-9]{8,10}:[0-9A-Za-z_-]{35}(?![\w-])", _mixed),
    _of("atlassian_token", "ATATT3x ATCTT3x ATBB", r"\bAT(?:ATT3x|CTT3x|BB)[A-Za-z0-9_=-]{20,}+"),
    _of("newrelic_key", "NRAK- NRJS- NRAA-", r"\bNR(?:AK|JS|AA)-[A-Za-z0-9]{19,}+"),
    _of("postman_key", "PMAK-", r"\bPMAK-[a-f0-9]{24}-[a-f0-9]{34}"),
    _of("sentry_token", "sntry", r"\bsntry[su]_[A-Za-z0-9+/=_-]{30,}+"),
    _of("terraform_token", ".atlasv1.", r"\b[A-Za-z0-9]{14}\.atlasv1\.[\w-]{40,}+"),
    _of("doppler_token", "dp.", r"\bdp\.(?:pt|st|ct|sa|scim|audit)\.(?:[\w-]{2,35}\.)?[A-Za-z0-9]{30,}+"),
    _of("linear_key", "lin_", r"\blin_(?:api|oauth)_[A-Za-z0-9]{30,}+"),
    _of("notion_token", "ntn_ secret_", r"\b(?:ntn_[A-Za-z0-9]{40,}+|secret_[A-Za-z0-9]{43}\b)"),
    _of("azure_secret", "8Q~", r"(?<![\w~.-])[\w~.-]{3}8Q~[\w~.-]{31,34}"),
    _of("gitlab_token", "gl", r"\bgl(?:pat|dt|ft|soat|rt|rtr|cbt|imt|ptt|agent|oas|ffct|ws)-[\w.-]{20,}+"),
    _of("twilio_key", "AC SK", r"\b(?:AC|SK)[a-f0-9]{32}\b"),
    _of(
        "password_hash",
        "$",
        r"\$(?:2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{53}|[156y]\$[./A-Za-z0-9$=,]{20,}+|argon2[a-z]{1,2}\$[\w$=,+/.-]{20,}+|apr1\$[./A-Za-z0-9$]{20,}+)",
    ),
    _of("password_hash", "{SSHA {SHA {PBKDF2", r"\{(?:S?SHA(?:256|512)?|PBKDF2)\}[A-Za-z0-9+/=$.]{20,}+"),
    _of(
        "assigned_secret",
        "<",
        r"<([\w:.-]{0,40}(?:passw|passphrase|pwd|secret|token|api_?key|credential)[\w.-]{0,40})(?:\s[^<>]{0,200})?>([^<>\s][^<>]{2,4000})(?=</)",
        _last_group,
        _I,
    ),
    _of(
        "assigned_secret",
        "curl http wget",
        r"(?<=\s)(?:-u|--user|--proxy-user)[ =][\"']?[\w.@-]{0,64}:([^\s\"']{3,})",
        _last_group,
    ),
    _of("assigned_secret", "sshpass", r"\bsshpass\s+-p\s*[\"']?([^\s\"']{3,})", _last_group),
    _of(
        "assigned_secret",
        "mysql mariadb",
        r"\b(?:mysql|mariadb)[a-z-]{0,20}\s[^\n|;]{0,200}?(?<=\s)-p([^\s\"'-][^\s\"']{2,})",
        _last_group,
    ),
    _of(
        "assigned_secret",
        "redis-cli",
        r"\bredis-cli\s[^\n|;]{0,200}?(?<=\s)-a[ =][\"']?([^\s\"']{3,})",
        _last_group,
    ),
    _of(
        "assigned_secret",
        "dentified DENTIFIED",
        r"\bidentified\s(?:with\s[\w]{1,40}\s)?(?:by|as)\s(?:password\s)?['\"]([^'\"\n]{1,200}+)",
        _last_group,
        _I,
    ),
    _of(
        "assigned_secret",
        "assword ASSWORD assphrase",
        r"\b(?:password|passphrase|passwd)\s(?:is\s|of\s|was\s)?(?:'([^'\n]{3,200}+)'|\"([^\"\n]{3,200}+)\")",
        _quoted,
        _I,
    ),
)
"""Looked for after JSON web tokens."""


_ISSUERS = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})|5[1-5][0-9]{14}|2[2-7][0-9]{14}|3[47][0-9]{13}|3[0689][0-9]{12}|35[0-9]{14}"
    r"|6(?:011|5[0-9]{2}|4[4-9][0-9])[0-9]{12}|6[0-9]{15,18}"
)
_UNIT_OR_REPOSITORY = re.compile(
    r"^git@|\.(?:service|socket|timer|mount|target|slice|scope|device|path|automount|swap)$"
)


def _mail(match: re.Match[str], mask: str) -> str | None:
    return None if _UNIT_OR_REPOSITORY.search(match.group(0)) else mask


def _card(match: re.Match[str], mask: str) -> str | None:
    """A number that an issuer gives out and whose check digit fits."""
    digits = re.sub(r"\D", "", match.group(0))
    if not _ISSUERS.fullmatch(digits):
        return None
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return mask if total % 10 == 0 else None


PERSONAL: tuple[Format, ...] = (
    Format(
        "email",
        ("@",),
        re.compile(
            r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]++@[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}\b"
        ),
        _mail,
    ),
    _of("card_number", "", r"(?<![\w.])[2-6](?:[ -]?[0-9]){12,18}\b(?!\.[0-9])", _card),
)
"""Looked for last."""


@lru_cache(maxsize=1)
def detectors() -> tuple[Format, ...]:
    """Formats that detect-secrets knows. Left out are its npm and OpenAI patterns, which take quadratic time on
    long lines (`_authToken` and `sk-` show the same), and those for which a pattern above says more."""
    from detect_secrets.plugins.artifactory import ArtifactoryDetector
    from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
    from detect_secrets.plugins.cloudant import CloudantDetector
    from detect_secrets.plugins.discord import DiscordBotTokenDetector
    from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
    from detect_secrets.plugins.ibm_cloud_iam import IbmCloudIamDetector
    from detect_secrets.plugins.ibm_cos_hmac import IbmCosHmacDetector
    from detect_secrets.plugins.mailchimp import MailchimpDetector
    from detect_secrets.plugins.pypi_token import PypiTokenDetector
    from detect_secrets.plugins.sendgrid import SendGridDetector
    from detect_secrets.plugins.softlayer import SoftlayerDetector
    from detect_secrets.plugins.square_oauth import SquareOAuthDetector
    from detect_secrets.plugins.stripe import StripeDetector
    from detect_secrets.plugins.twilio import TwilioKeyDetector

    found: tuple[tuple[str, str, Any, Replace], ...] = (
        ("artifactory_token", "AKC AP", ArtifactoryDetector, _delimited_mixed),
        ("azure_storage_key", "AccountKey=", AzureStorageKeyDetector, _delimited),
        ("cloudant_key", "clou cl_ cl- clk clp clt cla Clou CLOU CL_", CloudantDetector, _last_group),
        ("discord_token", "M N O", DiscordBotTokenDetector, _delimited),
        ("gitlab_token", "gl GR1348941", GitLabTokenDetector, _delimited),
        ("ibm_key", "key pass pwd token KEY PASS PWD TOKEN Key Pass Token", IbmCloudIamDetector, _last_group),
        ("ibm_key", "secret SECRET Secret", IbmCosHmacDetector, _last_group),
        ("mailchimp_key", "-us", MailchimpDetector, _delimited),
        ("pypi_token", "pypi-", PypiTokenDetector, _delimited),
        ("sendgrid_key", "SG.", SendGridDetector, _delimited),
        ("softlayer_key", "softlayer sl SOFTLAYER SL Softlayer", SoftlayerDetector, _last_group),
        ("square_token", "sq0", SquareOAuthDetector, _delimited),
        ("stripe_key", "k_live_", StripeDetector, _delimited),
        ("twilio_key", "AC SK", TwilioKeyDetector, _delimited),
    )
    return tuple(
        Format(
            kind,
            tuple(parts.split()),
            pattern,
            replace if pattern.groups or replace is not _last_group else _delimited,
        )
        for kind, parts, detector, replace in found
        for pattern in detector.denylist
    )
