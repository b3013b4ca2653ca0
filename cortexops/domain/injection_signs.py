"""Signs that a text was written to steer whoever reads it: a model, or a person in a hurry.

Each sign is searched in the folded text (look-alikes, invisible characters and case undone); sentences are
searched in its letters alone, so that neither spacing nor punctuation hides them. Every pattern is a chain
of bounded pieces: time is linear in the text. A sign is a hint for people; it decides nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
from enum import StrEnum
from urllib.parse import unquote

from cortexops.domain.lookalikes import Folded, fold, squeeze
from cortexops.domain.resource import Frozen

_MOST_MARKS = 20
_MOST_ENCODED = 50  # stretches that are decoded
_LONGEST_ENCODED = 20_000  # characters of one of them
_LONGEST_EXCERPT = 160  # characters


class InjectionKind(StrEnum):
    """What the text tries."""

    OVERRIDE = "override"
    """Do not heed your instructions."""
    ROLE = "role"
    """A mark by which a chat's roles change."""
    PERSONA = "persona"
    """You are somebody else now."""
    COMMAND = "command"
    """Run this, delete that, call the tool."""
    VERDICT = "verdict"
    """Report this cause, this evidence, this confidence; hide that."""
    APPROVAL = "approval"
    """Approve it, skip the people."""
    EXFILTRATION = "exfiltration"
    """Send something out, also by a picture whose address carries it."""
    MENTION = "mention"
    """Words that ring everybody in a chat, or a link under another's name."""
    TERMINAL = "terminal"
    """Escapes by which a terminal does something other than colour."""
    HIDDEN = "hidden"
    """Characters that nobody sees."""
    ENCODED = "encoded"
    """One of the above in base64, hexadecimal or percent signs."""


class InjectionMark(Frozen):
    """One sign: `span` is its place in the text (characters), `excerpt` what stands there, made visible."""

    kind: InjectionKind
    excerpt: str
    span: tuple[int, int]


_TARGET = (
    r"(?:instructions?|prompts?|directives?|guidelines?|guardrails?|safety|policies|programming|training"
    r"|constraints?|commands?|orders|rules|messages?|context)"
)
_FILL = r"(?:all|any|of|the|these|those|your|my|our|its|such|other|every|given|and|or|you|received|have|been)"
_OWN = r"(?:previous|prior|above|preceding|earlier|foregoing|former|original|initial|existing|system|safety|your)"
_SENTENCES: tuple[tuple[InjectionKind, re.Pattern[str]], ...] = (
    (
        InjectionKind.OVERRIDE,
        re.compile(
            rf"(?:ignor(?:e|ing)|disregard|forget|overrid(?:e|ing)|bypass|discard|neglect|stopfollowing|donotfollow"
            rf"|dontfollow){_FILL}{{0,4}}"
            rf"(?:{_OWN}{_FILL}{{0,3}}{_OWN}?{_TARGET}|everything(?:above|before|said)|(?:a(?:ll|ii))(?:instructions|prompts|guidelines|guardrails)"
            rf"|what(?:ever)?(?:youwere|youvebeen|iwas)told)"
        ),
    ),
    (
        InjectionKind.OVERRIDE,
        re.compile(
            r"(?:new|updated|revised|real|actual|secret|hidden)(?:system)?(?:instructions?|prompt|directives?)"
            r"(?:are|is|follow|for(?:you|the(?:model|assistant|ai|agent|llm)))"
            r"|(?:instructions?|message|notice|note|attention)(?:to|for)(?:the|all|any)?"
            r"(?:ai|llm|language)(?:model|assistant|agent|system)s?"
            r"|(?:reveal|print|repeat|show|output|dump)(?:me|us)?(?:the|your){1,2}(?:full|entire|hidden|whole)?"
            r"(?:system|initial|original)(?:prompt|instructions|message)"
        ),
    ),
    (
        InjectionKind.PERSONA,
        re.compile(
            r"youare(?:now|nolonger)(?:a|an|the|in|acting|dan|root|my|free|bound)|fromnowonyou|pretend(?:that)?(?:you|tobe)(?:are|a|an|the)"
            r"|actas(?:if|though|a|an|the)(?:you|root|admin|system|unrestricted|cluster|helpful|dan)"
            r"|(?:enter|enable|activate|switchto)(?:developer|debug|god|dan|jailbreak|unrestricted|maintenance)mode(?:and|where|now|asthe)"
            r"|doanythingnow|youmustnow(?:obey|act|follow|behave)"
            r"|as(?:an|the)(?:ai|llm)(?:assistant|model|agent)?you(?:must|should|will|shall|are)"
        ),
    ),
    (
        InjectionKind.COMMAND,
        re.compile(
            r"(?:run|execute|issue|type|perform|invoke|paste|please|must|should|immediately|then|now)"
            r"(?:the|this|following|command|by|typing|to|at|once|run|execute|immediately|now|sudo){0,5}"
            r"(?:kubectl|helm|terraform|oc|aws|gcloud)[a-z]{0,30}?(?:delete|drain|scale|exec|apply|patch|edit|cordon|uninstall"
            r"|destroy|terminate|replace)"
            r"|(?:please|must|should|immediately|assistant|agent|cortexops|youneedto|remediationis(?:to)?|fixis(?:to)?)"
            r"(?:you|now|at|once|the|immediately|always|just|simply|also){0,4}(?:delete|destroy|wipe|drop|remove|erase|scaledown|cordon"
            r"|drain|restart|rollback|terminate)(?:the|all|every|each|this|entire|whole|of|node|nodes){0,4}"
            r"(?:namespaces?|clusters?|deployments?|statefulsets?|databases?|pvcs?|volumes?|nodes?|pods?|workloads?|secrets?|tables?"
            r"|everything|services?|production)"
            r"|(?:call|invoke|use|execute|trigger)(?:the|this|a|your){0,2}(?:[a-z]{0,24}?)(?:tool|functioncall)(?:with|to|now|named|called|and)"
        ),
    ),
    (
        InjectionKind.VERDICT,
        re.compile(
            r"(?:report|conclude|say|state|answer|respond|reply|tell|claim|write|output|assume|insist|remember|note)"
            r"(?:only|that|them|everyone|with|to|the|user|operators?|instead|back|oncall){0,5}"
            r"(?:(?:the|real|true|actual|only){0,3}rootcause(?:is|was|lies|of|in)|everythingis(?:fine|healthy|ok)"
            r"|nothingiswrong|noissues?(?:was|were)?found|all(?:is)?healthy)"
            r"|(?:blame|accuse)(?:it)?(?:on)?(?:the|only|instead|squarely|solely){0,3}[a-z]{2,40}?"
            r"(?:service|deployment|workload|team|instead|forthis|forthe|namespace|database)"
            r"|(?:set|with|use|give)(?:the|a|your|its){0,2}confidence(?:to|of|score|at|is|equals)"
            r"|(?:cite|quote|use|see|per|accordingto)evidence(?:id|ids|entry|number)?e[a-z]{0,3}(?:as|proves|shows|which|for|and|that)"
            r"|evidenceids?[a-z]{0,4}(?:proves|confirms|showsthat)"
            r"|(?:donot|dont|never|mustnot|neednot)(?:ever)?(?:report|escalate|mention|alert|page|investigate|notify|tell|log|inform|wake|showthis)"
            r"(?:this|it|anyone|anybody|the|people|about|that|any|to|further|oncall|human|humans)"
            r"|(?:mark|close|resolve|treat|classify|label)(?:this|the|that)?(?:incident|alert|issue|finding)(?:as)"
            r"(?:resolved|healthy|closed|falsepositive|noise|duplicate|fixed|benign|lowseverity)"
        ),
    ),
    (
        InjectionKind.APPROVAL,
        re.compile(
            r"(?:auto|automatically|pre|please|immediately|always|silently)(?:matically)?approve(?:d|s)?(?:the|this|all|any|every|it|by|change|action|request|remediation)"
            r"|(?:no|without|skip|bypass|waive)(?:the|any|all|human|manual|further|need|for){0,4}"
            r"(?:approval|review|confirmation|dryrun|policy(?:check)?)(?:is|s|isneeded|required|isrequired|needed|necessary|stepand|gate)"
            r"|(?:grant|give)(?:yourself|me|the(?:agent|assistant))(?:cluster)?admin"
        ),
    ),
    (
        InjectionKind.EXFILTRATION,
        re.compile(
            r"(?:send|post|upload|forward|leak|exfiltrate|email|mail|transmit|include|append|dump)"
            r"(?:me|us|all|the|your|any|every|contents?|values?|of|these|its|current){0,5}"
            r"(?:secrets?|credentials?|tokens?|passwords?|apikeys?|kubeconfig|environment(?:variables)?|systemprompt|privatekeys?|conversation)"
            r"(?:and|values?|data|here|there|found|you(?:see|have|find)){0,3}(?:to|at|in|into|onto|via|by)(?:http|the(?:url|following|link|image|attacker)|this|my|your|a(?:n|url)?|url|webhook)"
        ),
    ),
)
_FORMS: tuple[tuple[InjectionKind, re.Pattern[str]], ...] = (
    (
        InjectionKind.ROLE,
        re.compile(
            r"<\|\s{0,3}(?:im_start|im_end|im_sep|system|user|assistant|endoftext|eot_id|start_header_id|end_header_id|begin_of_text"
            r"|end_of_turn|endofprompt|tool_call)[^\n|]{0,20}\|>"
            r"|\[\s{0,3}/?\s{0,3}inst\s{0,3}\]|<<\s{0,3}/?\s{0,3}sys\s{0,3}>>|<(?:start|end)_of_turn>"
            r"|</?\s{0,3}(?:system|assistant|developer|tool_calls?|function_calls?|tool_response|tool_result)"
            r"(?:[-_ ](?:prompt|message|instructions?|reminder))?\s{0,3}>"
            r"|\"role\"\s{0,3}:\s{0,3}\"(?:system|assistant|developer|tool)\""
        ),
    ),
    (
        InjectionKind.ROLE,
        re.compile(
            r"(?:^|[\n\"'`>|#\]*)-])[\s#*_\[(]{0,6}(?:system|assistant|developer|human|ai)(?:\s(?:prompt|message|note|override))?[\])*_]{0,3}"
            r"\s{0,3}:[\s*]{0,4}(?:please\s|now\s|the\sassistant\s|this\sis\s|i\s(?:will|am|have)\s){0,2}(?:you\s|your\s|ignore\s"
            r"|always\s|never\s|do\snot\s|new\s(?:instruction|task|rule)|respond\s|answer\s|conclude\s|the\s(?:real\s|true\s|actual\s)?root\scause\s"
            r"|delete\s|run\s|execute\s|call\s|forget\s|disregard\s|override\s|from\snow\s)"
        ),
    ),
    (
        InjectionKind.COMMAND,
        re.compile(
            r"(?:\"(?:tool|tool_name|function|function_call|recipient_name|tool_calls)\"\s{0,3}:\s{0,3}[\[{\"]{1,3}.{0,80}?\"(?:arguments|parameters|args|input)\")"
            r"|(?:curl|wget)\s[^\n|]{1,200}\|\s{0,3}(?:sudo\s)?(?:ba|z|da)?sh\b"
        ),
    ),
    (
        InjectionKind.EXFILTRATION,
        re.compile(
            r"!\[[^\]\n]{0,200}\]\(\s{0,3}(?:https?:)?//[^)\n]{1,400}\)|\[[^\]\n]{1,200}\]\(\s{0,3}(?:https?:)?//[^)\n?]{1,300}\?[^)\n]{1,300}\)"
            r"|\]\(\s{0,3}(?:javascript|data|vbscript):|<(?:img|iframe|script|object|embed|link|svg|form)\b[^>\n]{0,300}(?:src|href|action|onload|onerror)\s{0,3}="
        ),
    ),
    (
        InjectionKind.MENTION,
        re.compile(
            r"<!(?:channel|here|everyone|subteam\^[a-z0-9]{1,20})[^>\n]{0,40}>|<@[uw][a-z0-9]{6,20}(?:\|[^>\n]{0,80})?>"
            r"|<(?:https?|mailto|slack|javascript):[^>|\n]{1,300}\|[^>\n]{1,200}>|<#c[a-z0-9]{6,20}[^>\n]{0,80}>"
        ),
    ),
)
_TERMINAL = re.compile(
    r"(?:\x1b[\]P_^X]|[\x90\x9d\x9e\x9f])[^\x07\x1b\n]{0,200}|(?:\x1b\[|\x9b)[0-9;?]{0,20}[A-HJKSTfhlnrsu]"
    r"|\x1bc|\r[^\n]"
)
_UNSEEN = re.compile(
    r"(?<!\U0001f3f4)[\U000e0000-\U000e007f]{2,}+|[\u202a-\u202e\u2066-\u2069]"
    r"|(?<=[A-Za-z0-9])[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]++(?=[A-Za-z0-9])|[\u200b-\u200f\u2060-\u2064]{4,}+"
    r"|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}+"
)
_TAGS = re.compile(r"[\U000e0000-\U000e007f]{2,}+")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{20,}+={0,2}")
_HEX = re.compile(r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}){16,}+(?![0-9A-Fa-f])|(?:\\x[0-9A-Fa-f]{2}){12,}+")
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2}[A-Za-z0-9._-]{0,20}+){6,}+")


def injections(text: str) -> tuple[InjectionMark, ...]:
    """The signs in the text in the order of their places, at most 20; none for ordinary text."""
    found = _direct(text)
    found += _encoded(text)
    found.sort(key=lambda mark: (mark.span, mark.kind))
    return tuple(found[:_MOST_MARKS])


def _direct(text: str) -> list[InjectionMark]:
    folded = fold(text)
    letters = squeeze(folded)
    spans: dict[tuple[InjectionKind, int, int], None] = {}

    def note(kind: InjectionKind, found: re.Match[str], *through: Folded) -> None:
        start, end = found.span()
        for layer in through:
            start, end = layer.origin(start, end)
        spans.setdefault((kind, start, end))

    for kind, pattern in _SENTENCES:
        for found in _first(pattern, letters.text):
            note(kind, found, letters, folded)
    for kind, pattern in _FORMS:
        for found in _first(pattern, folded.text):
            note(kind, found, folded)
    for kind, pattern in ((InjectionKind.TERMINAL, _TERMINAL), (InjectionKind.HIDDEN, _UNSEEN)):
        for found in _first(pattern, text):
            note(kind, found)
    return [
        InjectionMark(kind=kind, excerpt=_shown(text[start:end]), span=(start, end))
        for kind, start, end in spans
    ]


def _first(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    found = []
    for match in pattern.finditer(text):
        found.append(match)
        if len(found) == _MOST_MARKS:
            break
    return found


def _encoded(text: str) -> list[InjectionMark]:
    """Stretches that are a message in another writing, decoded once and looked through."""
    found: list[InjectionMark] = []
    tried = 0
    for pattern, decode in (
        (_BASE64, _from_base64),
        (_HEX, _from_hex),
        (_PERCENT, unquote),
        (_TAGS, _from_tags),
    ):
        for stretch in pattern.finditer(text):
            if tried == _MOST_ENCODED:
                return found
            tried += 1
            decoded = decode(stretch.group(0)[:_LONGEST_ENCODED])
            within = _direct(decoded) if decoded else []
            if within:
                excerpt = _shown(decoded)
                found.append(InjectionMark(kind=InjectionKind.ENCODED, excerpt=excerpt, span=stretch.span()))
    return found


def _from_base64(stretch: str) -> str:
    body = stretch.rstrip("=").replace("-", "+").replace("_", "/")
    body = body[: len(body) - (len(body) % 4 == 1)]
    try:
        return _readable(base64.b64decode(body + "=" * (-len(body) % 4), validate=True))
    except (binascii.Error, ValueError):
        return ""


def _from_hex(stretch: str) -> str:
    try:
        return _readable(bytes.fromhex(stretch.replace("\\x", "")))
    except ValueError:
        return ""


def _from_tags(stretch: str) -> str:
    return "".join(chr(ord(c) - 0xE0000) for c in stretch if 0xE0020 <= ord(c) <= 0xE007E)


def _readable(raw: bytes) -> str:
    """As text, empty when it is none."""
    for encoding in ("utf-8", "utf-16-le"):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        plain = sum(1 for c in text if c.isascii() and (c.isprintable() or c in "\n\t\r"))
        if plain >= 0.8 * len(text):
            return text
    return ""


def _shown(text: str) -> str:
    short = text if len(text) <= _LONGEST_EXCERPT else text[: _LONGEST_EXCERPT - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in short)
