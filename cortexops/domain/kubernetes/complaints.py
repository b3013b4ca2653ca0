"""Log lines that complain, and what they complain about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from cortexops.domain.kubernetes.alarms import in_force
from cortexops.domain.kubernetes.headlines import announces
from cortexops.domain.kubernetes.remembered import LINES, Remembered

_NO_CODE = r"(?<![\[,.:\d-])"
"""What stands before a number that is no status: a process id, milliseconds, the line of a source file."""
_CODED = r"(?:(?:status|code|http|response)[\"' :=\[]{1,3}|error[\"']?[=:][\"']?)"
_WORDS = Remembered(
    r"(?i)\b(error|err|fatal|panic(?:ked)?|exception|traceback|critical|crit|invalid|fail(?:ed|ure|s|ing)?|cannot|can't"
    r"|could not|couldn't|unable|missing|required|refused|denied|unknown|unexpected|not found|no such"
    r"|upstream_reset\w*|connection_failure|no_healthy_upstream|connect_timeout"  # flags of Envoy
    r"|already in use|not set|must be|timed? ?out|unreachable|unavailable|malformed|illegal|bad"
    r"|abort(?:ed|ing)?|expired|no_route|unroutable|no responders|maximum payload|slow consumer|rebalancing"
    r"|nohostavailable|clusterdown|masterdown|is loading the dataset|unknown_topic_or_partition|not_leader\w*"
    r"|does(?: not|n't) exist|not_coordinator|(?:coordinator|leader)_not_available|not_enough_replicas\w*"
    r"|resource_?exhausted|deadlock"
    r"|canceling statement)\b|_exception\b|\bnot_found - no "
    r"|\b[A-Z]\w*(?:Error|Exception)\b"
)
_LEVEL = re.compile(
    r"(?i)\b(debug|info|trace|notice|warn(?:ing)?|err(?:or)?|fatal|panic|crit(?:ical)?|severe)\b"
)
_MILD = frozenset({"debug", "info", "trace", "notice"})
_ALWAYS = Remembered(r"(?i)\b(panic:|traceback|exception in thread|unhandled|uncaught)")
_UNREACHABLE = Remembered(
    r"(?i)(connection (?:to \S+ )?refused|econnrefused|no such host|name or service not known|enotfound|eai_again"
    r"|temporary failure in name resolution|could not resolve(?! (?:placeholder|view|type|symbol|depend))"
    r"|unknown ?host|host not found|nxdomain"
    r"|no route to host|ehostunreach|network is unreachable|connection reset|econnreset|i/o timeout"
    r"|connect(?:ion)? timed? ?out|etimedout|timed? ?out|deadline exceeded|connection timeout|unreachable"
    r"|could not connect|unable to connect|cannot connect|can't connect|failed to connect"
    r"|not possible to connect|no suitable servers found|run out of available brokers|no address(?:es)? available"
    r"|zero addresses|broker transport failure"
    r"|connection (?:is )?(?:failed|closed|lost)|server closed the connection"
    r"|could not be established|not present in metadata|no resolvable bootstrap"
    r"|no(?:host|node)available|no responders"
    rf"|{_NO_CODE}\b50[234]\b|{_CODED}50[234]\b"
    r"|service unavailable|bad gateway|gateway time-?out|unavailable|upstream)"
)
_CREDENTIALS = Remembered(
    r"(?i)(authentication failed|auth(?:entication)? (?:error|failure)|access denied|permission denied for"
    r"|wrongpass|noauth|invalid username-password|invalid (?:credentials?|password|token|api key"
    r"|signature|username)|unauthori[sz]ed"
    rf"|{_NO_CODE}\b40[13]\b(?! ?(?:ms|us|bytes|rows)\b)|{_CODED}40[13]\b"
    r"|wrong password|bad credentials|login failed|signature (?:valid|verific)ation failed|invalid peer certificate"
    r"|certificate (?:has expired|signed by unknown|verify failed"
    r"|is not valid)|x509:|pkcs|pkix path|private key|unknown certificate authority|unknown_ca\b"
    r"|signaturedoesnotmatch|invalidaccesskeyid|\binvalid_client\b)"
)
_RESOLVING = Remembered(
    r"(?i)(lookup \S+ on \S+:53: .*(?:timeout|refused|misbehaving)|read udp \S+->\S+:53: .*timeout"
    r"|temporary failure in name resolution"
    r"|eai_again|could not resolve host|name resolution (?:timed? ?out|failed)|dns (?:timeout|lookup timed out))"
)
_SETTING = re.compile(r"\b(?=\w*[a-z]\w*[A-Z_]|\w+-\w)[A-Za-z][\w-]{6,60}\b")
_NO_SUCH_NAME = Remembered(
    r"(?i)(\bno such host\b|\bnxdomain\b|\benotfound\b|name or service not known|\bunknown ?host)"
)
_NO_SERVER = r"\bcan't connect to (?:\w{1,20} )?server (?:on|at) \S{1,260}"
"""Of the clients of MySQL, which may tell why only by the operating system's number: 110 no answer, 111 refused."""
_FAILED_CALL = Remembered(
    r"(?i)\b(?:https?|grpc)://[^\s\"'<>]{3,200}[\"']?[^\n]{0,40}?"
    r"(?:[-=]>|\bstatus(?:_?code)?[\"']?[=:]|\bhttp/[\d.]+[\"']?|\b(?:returned|responded|answered|got)(?: with)?)"
    r" ?[\"']?(?:5\d\d|40[13]|429)\b"
    r"|\b(?:https?|grpc)://[^\s\"'<>]{3,200}[\"']?: "
    r"(?:5\d\d|40[13]|429) (?:internal|bad|service|gateway|unauth|forbidden|too many)"
)
"""A call to an address and the status that it was answered with, whatever level it is written at."""
_BAD_ANSWER = Remembered(
    r"(?i)((?:status|code|returned|responded|answered|response|got|received)[^\n]{0,30}\b5\d\d\b|internal server error"
    r"|\b5\d\d (?:server error|returned|response)\b)"
)
_OF_A_PEER = Remembered(
    r"(?i)(\brpc error: code = |\bstatuscode\.[a-z_]+ details|\breturned an? (?:exception|error)\b"
    r"|\berror: \d{1,2} (?-i:[A-Z_]{5,20}): |\bstatusruntimeexception: (?-i:[A-Z_]{5,20})\b"  # gRPC for Node, Java
    r"|\b_?inactiverpcerror\b|\bhttp(?:server|client)errorexception\b|\bwebclientresponseexception\b"
    r"|\bresponse status code does not indicate success: [45]\d\d\b|\bfeignexception\b"
    r"|\brequest failed with status code [45]\d\d\b"
    r"|\b[45]\d\d (?:server|client) error: .{0,60} for url\b|\b(?:server|client) error '[45]\d\d [^']{0,60}' for url\b"
    r"|\bfailed to (?:connect|receive|retrieve|fetch|read|get)\b.{0,80}\b(?:to|from)\b"
    r"|(?:circuit_breaking|rejected_execution|search_phase_execution|master_not_discovered|cluster_block)_exception"
    r"|\ball shards failed\b|\bno_route\b|\bunroutable\b|\bnot_found - no (?:queue|exchange|binding)\b"
    r"|\bunknown_topic_or_partition\b|\bnot_leader_(?:or_follower|for_partition)\b|\bnot_coordinator\b"
    r"|\b(?:coordinator|leader)_not_available\b|\bnot_enough_replicas|\b(?:group is rebalancing|rebalance_in_progress)"
    r"|\bclusterdown\b|\bmasterdown\b|\bredis is loading the dataset|\bwriteconcern(?:failed|error|timeout)"
    r"|\bmaximum payload (?:violation|exceeded)|\bresource_?exhausted\b"
    r"|\bcanceling statement due to|\block wait timeout exceeded|\bdeadlock found when trying)"
)
_GIVEN_UP_BY_SERVER = Remembered(
    r"(?i)(canceling statement due to|lock wait timeout exceeded|\block timeout\b|maximum statement execution time)"
)
"""A server that has answered, after its own limit of time: no packet was lost."""
_SLOW = Remembered(
    r"(?i)(i/o timeout|timed? ?out|deadline exceeded|etimedout|connection timeout|no route to host"
    rf"|{_NO_SERVER} \((?:110|113|60|10060)\b)"
)
_SATURATED = Remembered(
    r"(?i)(too many (?:clients|connections)|remaining connection slots|max(?:imum)? (?:number of )?connections"
    r"|max_connections|max_client_conn|max number of clients reached|connection limit (?:exceeded|reached)"
    r"|connection pool (?:is )?(?:exhausted|timeout|full)|pool (?:is )?exhausted|connection (?:is )?not available"
    r"|queuepool limit|timeout (?:waiting for|acquiring|expired).{0,40}(?:connection|pool)"
    r"|timed out (?:while )?(?:waiting for|checking out|acquiring) .{0,40}(?:connection|pool)|wait queue (?:is )?full"
    r"|\berror(?: code)?:? ?1040\b|waitqueuefull"
    r"|unable to (?:acquire|obtain|get) .{0,30}connection|no (?:free|available|idle) connections?"
    r"|out of connections|too many open files|emfile|reached (?:pm\.max_children|maxrequestworkers) setting"
    r"|all threads \(\d+\) are currently busy|thread ?pool starvation)"
)
_AT_SERVER = Remembered(
    r"(?i)(too many (?:clients|connections)|remaining connection slots|max_connections|max_client_conn"
    r"|max number of clients"
    r"|connection limit|\berror(?: code)?:? ?1040\b)"
)
_WHY_NO_CONNECTION = Remembered(
    r"(?i)(connection (?:to \S+ )?refused|econnrefused|\bto \S+:\d{2,5} refused|no such host|unknown ?host"
    rf"|name or service not known|enotfound|{_NO_SERVER} \((?:111|61|10061)\b)"
)
_REFUSED = Remembered(
    rf"(?i)(connection (?:to \S+ )?refused|econnrefused|\bto \S+:\d{{2,5}} refused|{_NO_SERVER} \((?:111|61|10061)\b"
    r"|\(111: |\" 50[23] UF\b|upstream connect error|delayed connect error: 111|connection_failure)"
)
_NOT_CONNECTED = Remembered(r"(?i)\b(?:fail(?:ed|ure)|unable|could not|cannot|can't)(?: to)? connect\b")
_NO_ANSWER = Remembered(
    r"(?i)((?:read|connect|socket|write)[ _]?timed? ?out|\betimedout\b|i/o timeout|sockettimeoutexception"
    r"|connection attempt timed out|could not (?:receive|send) data (?:from|to)|error occurred while sending to the"
    rf" backend|communications link failure|server selection timed? ?out|{_NO_SERVER} \((?:110|60|10060)\b)"
)
_DATABASE = Remembered(
    r"(?i)(sql|jdbc|postgres|psycopg|pgx|mongo|database|hibernate|to the backend|communications link)"
)
_BESIDE = 6  # lines
_FULL = Remembered(
    r"(?i)(no space left on device|enospc|disk (?:is )?full|disk quota exceeded|out of disk space)"
)
_READ_ONLY = Remembered(
    r"(?i)(in a read-only transaction|can'?t write against a read only (?:replica|slave)|--(?:super-)?read-only"
    r" option|not (?:a )?(?:primary|master|writable primary)\b|notwritableprimary|database is read-only"
    r"|read-only (?:replica|mode))"
)
_STORE_OUT_OF_MEMORY = Remembered(
    r"(?i)(command not allowed when used memory|(?:used memory|memory) > '?maxmemory|maxmemory'? (?:is )?reached"
    r"|\bmemory resource limit alarm set|\bblocked\b[^\n]{0,40}\blow on memory\b)"
)
_STORE_DISK = Remembered(
    r"(?i)(could not (?:extend|write (?:to )?|create) (?:file|relation|temporary file) .*no space left"
    r"|misconf .*(?:persist|snapshot)|flood.stage (?:disk )?watermark|index_create_block"
    r"|read.only[ /_-]{1,3}allow.delete"
    r"|\bdisk resource limit alarm set|\bfree disk space is insufficient|\bblocked\b[^\n]{0,40}\blow on disk\b"
    r"|the table '[^']+' is full)"
)
_HEAP = Remembered(
    r"(?i)(java\.lang\.outofmemoryerror|javascript heap out of memory|reached heap limit"
    r"|^memoryerror\b|fatal error: runtime: (?:out of memory|cannot allocate memory)|gc overhead limit exceeded"
    r"|cannot allocate memory|std::bad_alloc)"
)
_OWN_FAULT = Remembered(
    r"(?i)(\bpanic(?:ked)?\b|\bfatal\b|traceback|exception|segmentation fault|assert|stack overflow|unhandled|uncaught"
    r"|\b\w*error\b|\bslow consumer, messages dropped|consumer poll timeout has expired)"
)
_FORBIDDEN = Remembered(r" is forbidden: User \\?\"system:serviceaccount:")
_EVICTING = Remembered(r"(?i)\bevicted_keys[\"']?[=: ]{1,3}[1-9]")
_SERVER_ERROR = Remembered(
    r"\"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) [^\"]* HTTP/[\d.]+\" 5\d\d\b"
    r"|\b(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) /\S* (?:HTTP/[\d.]+ )?(?:- |-> |=> )?5\d\d\b"
    r"|(?i:\bcompleted 5\d\d\b|[\"\s](?:status|status_?code|code)\"?[=:] ?\"?5\d\d\b)"
)
_UNKNOWN_THERE = Remembered(
    r"(?i)(\b(?:database|role|user|vhost|virtual host|keyspace|bucket)\b.{0,60}? (?:does not exist|not found)"
    r"|unknown (?:database|vhost|keyspace)|no such (?:bucket|vhost))"
)
_OF_A_STATEMENT = Remembered(
    r"(?i)\berror:\s+(?:duplicate key|.{0,80}\bviolates\b|syntax error|relation \"|column \"|deadlock detected"
    r"|canceling statement|could not serialize|value too long|invalid input syntax|null value in column)"
)
_OF_A_SIGN_IN = Remembered(
    r"(?i)((?:^\d{4}-\d\d-\d\d [\d:.]+ (?-i:UTC|GMT|[A-Z]{1,3}T|[+-]\d\d)\b[^:]{0,60}|\[\d+(?:-\d+)?\]:? (?:\S+@\S+ )?)"
    r"fatal:\s+(?:password authentication failed|no pg_hba\.conf entry)"
    r"|\[server\] access denied for user|\"c\":\s*\"access\".{0,120}authentication failed)"
)
_SIGNED_IN_AS = re.compile(
    r"(?i)(?:authentication failed|access denied|login failed)[^\n]{0,40}? (?:for|of) (?:user|role|login)\s+"
    r"[\"'`]?([\w.-]{2,63})"
)
_PEER_FIELD = re.compile(r"(?i)^\s+.{0,80}?\b(?:url|baseurl|uri|host|hostname|address|endpoint)[\"']?\s*[:=]")
_LONGEST_RECORD = 2000  # characters
_WAITING = Remembered(
    r"(?i)\b(waiting for|still waiting|retrying|not (?:yet )?(?:ready|reachable|available))\b"
)


def complaining(lines: Sequence[str]) -> list[str]:
    """The lines that report something wrong, in their order; lines marked as mere information do not."""
    return [
        line
        for line in lines
        if _FAILED_CALL.search(line) or (_WORDS.search(line) and (_ALWAYS.search(line) or not _is_mild(line)))
    ]


@lru_cache(LINES)
def _is_mild(line: str) -> bool:
    """Whether the first word that names a level names a mild one."""
    level = _LEVEL.search(line)
    return level is not None and level.group(1).lower() in _MILD


def unreachable(lines: Sequence[str]) -> list[str]:
    """Complaints that somebody could not be reached."""
    return [line for line in complaining(lines) if _UNREACHABLE.search(line)]


def waiting_for(lines: Sequence[str]) -> list[str]:
    """Lines in which a program says that it waits for somebody, as init containers do."""
    return [line for line in lines if _WAITING.search(line)]


def answered_badly(lines: Sequence[str]) -> list[str]:
    """Complaints that a peer answered with an error of its own."""
    return [line for line in complaining(lines) if _BAD_ANSWER.search(line) or _is_of_a_peer(line)]


def resolving(lines: Sequence[str]) -> list[str]:
    """Complaints that names could not be resolved because nobody answered; an unknown name is none."""
    return [line for line in lines if _RESOLVING.search(line)]


def no_such_name(lines: Sequence[str]) -> list[str]:
    """Complaints that a name server answered, and knows no such name."""
    return [line for line in lines if _NO_SUCH_NAME.search(line)]


def settings(line: str) -> list[str]:
    """Words such as people make up for a setting: `paymentFailure`, `payment_failure`, `payment-failure`."""
    return list(dict.fromkeys(_SETTING.findall(line)))


def of_a_peer(lines: Sequence[str]) -> list[str]:
    """Complaints that hand on what a peer answered, whatever that was."""
    return [line for line in complaining(lines) if _is_of_a_peer(line)]


def _is_of_a_peer(line: str) -> bool:
    """Whether it is in words of clients of others, or tells how a URL was answered."""
    return (
        _OF_A_PEER.search(line) or _FAILED_CALL.search(line) or ("://" in line and _BAD_ANSWER.search(line))
    )


def slow(lines: Sequence[str]) -> list[str]:
    """Complaints that an answer did not come, as when packets are dropped; a refusal is none."""
    return [
        line for line in unreachable(lines) if _SLOW.search(line) and not _GIVEN_UP_BY_SERVER.search(line)
    ]


def refused(lines: Sequence[str]) -> list[str]:
    """Complaints that nobody listens where a connection was asked for: it was refused, or failed at once."""
    return [
        line
        for line in lines
        if _REFUSED.search(line)
        or (
            _NOT_CONNECTED.search(line) and not any(e.search(line) for e in (_SLOW, _CREDENTIALS, _SATURATED))
        )
    ]


def saturated(lines: Sequence[str]) -> list[str]:
    """Complaints that connections or file handles have run out; not those that say why none can be made."""
    return [
        line
        for line in lines
        if _SATURATED.search(line) and not _is_mild(line) and (at_server(line) or not _why_none(line))
    ]


def _why_none(line: str) -> bool:
    """Whether the line tells that no connection could be made, and for what reason."""
    return any(each.search(line) for each in (_CREDENTIALS, _UNKNOWN_THERE, _WHY_NO_CONNECTION))


def told_beside(lines: Sequence[str], said: Sequence[str]) -> tuple[list[str], list[str]]:
    """Of the lines near those that tell of a pool without connections: those that say why none can be made, and
    those that say that a database takes too long to answer."""
    why: dict[str, None] = {}
    slowly: dict[str, None] = {}
    wanted = set(said)
    for place, line in enumerate(lines):
        start = max(0, place - _BESIDE)
        for at, near in enumerate(lines[start : place + _BESIDE + 1], start) if line in wanted else ():
            if near in wanted:
                continue
            around = lines[
                max(0, at - 2) : at + 1
            ]  # a peer of another sort may be slow or refuse at the same time
            of_it = near.startswith("Caused by") and any(each in wanted for each in around)
            if not of_it and not any(_DATABASE.search(each) for each in around):
                continue
            if _why_none(near):
                why.setdefault(near)
            if _NO_ANSWER.search(near):
                slowly.setdefault(near)
    return list(why), list(slowly)


def at_server(line: str) -> bool:
    """Whether it is the server that has no more connections, rather than the caller's own pool."""
    return _AT_SERVER.search(line)


def disk_full(lines: Sequence[str]) -> list[str]:
    """Complaints that a disk is full."""
    return [line for line in lines if _FULL.search(line)]


def read_only(lines: Sequence[str]) -> list[str]:
    """Complaints that a store takes no writes because it is a replica, or was made read-only."""
    return [line for line in lines if _READ_ONLY.search(line) and not _is_mild(line)]


def store_full(lines: Sequence[str]) -> list[str]:
    """Complaints, the store's or its caller's, that a store refuses writes for want of memory."""
    return [line for line in in_force(lines) if _STORE_OUT_OF_MEMORY.search(line) and not _is_mild(line)]


def store_disk_full(lines: Sequence[str]) -> list[str]:
    """Complaints, the store's or its caller's, that a store refuses writes for want of disk."""
    return [line for line in in_force(lines) if _STORE_DISK.search(line) and not _is_mild(line)]


def evicting(lines: Sequence[str]) -> list[str]:
    """Lines, of whatever level, by which a store has thrown away what it was given for want of memory."""
    return [line for line in lines if _EVICTING.search(line)]


def refused_by_store(lines: Sequence[str]) -> list[str]:
    """Complaints that a store answers and refuses to write, for whatever reason."""
    found = {*read_only(lines), *store_full(lines), *store_disk_full(lines)}
    return [line for line in lines if line in found]


def out_of_heap(lines: Sequence[str]) -> list[str]:
    """Complaints that a program has used up the memory that its own runtime allows it."""
    return [line for line in lines if _HEAP.search(line)]


def spoken_of(lines: Sequence[str]) -> dict[str, str]:
    """Each line → the same with what the indented lines of its record tell of the peer, as dumps of errors do."""
    found: dict[str, str] = {}
    record: list[str] = []
    for line in [*lines, ""]:
        if record and line[:1] in (" ", "\t"):
            record.append(line)
            continue
        peer = " ".join(each.strip() for each in record[1:] if _PEER_FIELD.match(each))[:_LONGEST_RECORD]
        for each in record:
            found.setdefault(each, f"{each} {peer}" if peer else each)
        record = [line]
    return found


def own_fault(lines: Sequence[str]) -> list[str]:
    """Complaints of a program about itself: not of an unreachable peer, refused credentials or writes, nor a line
    that only announces such a one."""
    found: list[str] = []
    others = False
    for line in reversed(complaining(lines)):
        others = _is_of_others(line) or (others and announces(line))
        if not others and _OWN_FAULT.search(line):
            found.append(line)
    return found[::-1]


def _is_of_others(line: str) -> bool:
    away = _UNREACHABLE.search(line) and "consumer poll timeout" not in line  # its own loop took too long
    said = away or _is_of_a_peer(line) or _CREDENTIALS.search(line)
    return said or bool(refused_by_store([line]))


def of_itself(lines: Sequence[str]) -> list[str]:
    """The same of the last words of a run that died, whatever words it has for it; none where others fail it."""
    said = complaining(lines)
    others = (unreachable, about_credentials, refused_by_store, saturated)
    return own_fault(said) or ([] if any(each(said) for each in others) else said)


def unknown_there(lines: Sequence[str]) -> list[str]:
    """Complaints that a store has no such database, user or bucket as it was asked for."""
    return [line for line in complaining(lines) if _UNKNOWN_THERE.search(line)]


def of_its_clients(lines: Sequence[str]) -> list[str]:
    """Lines of a database about statements that its clients got wrong, which say nothing against it."""
    return [line for line in lines if _OF_A_STATEMENT.search(line)]


def of_sign_ins(lines: Sequence[str]) -> list[str]:
    """Lines of a database about clients whose credentials it refused; its own are no others' business."""
    return [line for line in lines if _OF_A_SIGN_IN.search(line)]


def signed_in_as(line: str) -> str:
    """The user whose credentials the line says were refused; "" where it names none."""
    found = _SIGNED_IN_AS.search(line)
    return found.group(1) if found is not None else ""


def answers_with_errors(lines: Sequence[str]) -> list[str]:
    """Lines of an access log of requests that were answered 5xx."""
    return [line for line in lines if _SERVER_ERROR.search(line)]


def forbidden(lines: Sequence[str]) -> list[str]:
    """Complaints of a program that the API server does not permit its service account what it needs."""
    return [line for line in lines if _FORBIDDEN.search(line)]


def about_credentials(lines: Sequence[str]) -> list[str]:
    """Complaints that credentials or certificates were refused."""
    return [line for line in complaining(lines) if _CREDENTIALS.search(line)]


def about_certificates(lines: Sequence[str]) -> list[str]:
    """Those of them that say that a peer's certificate is not to be trusted."""
    return [
        line
        for line in about_credentials(lines)
        if any(word in line.lower() for word in ("certificate", "x509", "pkix"))
    ]


def names(line: str, word: str) -> bool:
    """Whether the line holds the word as a word, however its case is."""
    if len(word) < 2 or word.lower() not in line.lower():
        return False
    return _word(word).search(line) is not None


@lru_cache(LINES)
def _word(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?i)(?<![\w-]){re.escape(word)}(?![\w-])")
