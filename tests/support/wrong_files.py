"""Wrong configurations, and every error each must be answered with."""

from __future__ import annotations

from dataclasses import dataclass, field

from support.config_files import KEYS, SECRET


@dataclass
class Wrong:
    """A file (or what is added to a good one), and every error it must be answered with, as key: message."""

    name: str
    text: str = ""
    errors: tuple[str, ...] = ()
    keys: str = KEYS
    #: What is in the users file, where the settings name one.
    users: str = ""
    whole: bool = False
    environ: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


REPLACE = '[credentials]\nmode = "replace"\nusers = "file:USERS"\nuser = "gw"\npassword = "env:TEST_K1"\n'
HASH = f"$scrypt$ln=14,r=8,p=5${'A' * 22}${'A' * 43}"
ONE_KEY = '[[key]]\nkid = "k1"\nalg = "hmac-sha256"\n'

FILES = [
    Wrong(
        "not_toml", "listen = = 3\n", ("FILE: is no TOML: Invalid value (at line 1, column 10)",), whole=True
    ),
    Wrong("not_utf8", "# \udcff\n", ("FILE: is no UTF-8 text",), whole=True),
    Wrong("empty_file", "", ("FILE: upstream.urls: is missing",), whole=True),
    Wrong(
        "unknown_keys_in_three_places",
        'deploymnt = "x"\n[lisen]\naddress = "a:1"\n[replay]\nmaxage = "5m"\n',
        (
            "FILE: deploymnt: is not known; did you mean deployment?",
            "FILE: lisen: is not known; did you mean listen?",
            "FILE: replay.maxage: is not known; did you mean replay.max_age?",
        ),
    ),
    Wrong(
        "names_served_twice_wrongly_and_from_nowhere",
        '[listen.tls]\ncert = "/dev/null"\nkey = "/dev/null"\n'
        '[[listen.tls.names]]\nnames = ["a.test"]\ncert = "/nowhere/a.crt"\nkey = "/dev/null"\n'
        '[[listen.tls.names]]\nnames = ["A.test"]\ncert = "/dev/null"\nkey = "/dev/null"\n',
        (
            'FILE: listen.tls.names[1].names: has "A.test", which has a certificate already',
            "FILE: listen.tls.names[0].cert: /nowhere/a.crt can not be read: No such file or directory",
        ),
    ),
    Wrong(
        "names_that_are_none",
        '[listen.tls]\ncert = "/dev/null"\nkey = "/dev/null"\n'
        '[[listen.tls.names]]\nnames = ["a..test"]\ncert = "/dev/null"\nkey = "/dev/null"\n'
        '[[listen.tls.names]]\nnames = []\ncert = "/dev/null"\nkey = "/dev/null"\n',
        (
            "FILE: listen.tls.names[0].names[0]: must be a host name, or",
            "FILE: listen.tls.names[1].names: is empty",
        ),
    ),
    Wrong(
        "networks_that_are_none",
        '[listen]\nproxy_protocol = ["10.0.0.1/8", "localhost"]\n',
        (
            'FILE: listen.proxy_protocol[0]: must be a network such as "10.0.0.0/8" or "fd00::/8", or an',
            'FILE: listen.proxy_protocol[1]: must be a network such as "10.0.0.0/8" or "fd00::/8", or an',
        ),
    ),
    Wrong(
        "key_in_the_wrong_section",
        '[publish]\nmax_age = "5m"\n',
        ("FILE: publish.max_age: is not known; did you mean replay.max_age?",),
    ),
    Wrong(
        "durations",
        '[replay]\nmax_age = 300\nclock_skew = "30"\n[drain]\ntimeout = "0s"\ndelay = "-1s"\n',
        (
            "FILE: replay.max_age: must be a duration with its unit",
            "FILE: replay.clock_skew: must be a duration with its unit",
            "FILE: drain.timeout: must be greater than 0",
            "FILE: drain.delay: must be a duration with its unit",
        ),
    ),
    Wrong(
        "parts_of_seconds", '[replay]\nmax_age = "1500ms"\n', ("FILE: replay.max_age: must be whole seconds",)
    ),
    Wrong(
        "addresses",
        '[listen]\naddress = "::1:6672"\n[admin]\naddress = "localhost:70000"\n',
        (
            "FILE: listen.address: must have brackets around an IPv6 address",
            'FILE: admin.address: must be "host:port" or "[ipv6]:port" with a port from 0 to 65535',
        ),
    ),
    Wrong(
        "words_outside_their_sets",
        '[publish]\naction = "sing"\n[mode]\ndefault = "off"\n[refuse]\nconfirmed = "ack"\n'
        '[log]\nlevel = "loud"\n',
        (
            "FILE: publish.action: must be 'verify', 'sign' or 'pass'",
            "FILE: mode.default: must be 'enforce' or 'observe'",
            "FILE: refuse.confirmed: must be 'auto', 'nack' or 'close'",
            "FILE: log.level: must be 'debug', 'info', 'warning' or 'error'",
        ),
    ),
    Wrong(
        "what_later_versions_have",
        '[keys]\nsource = "vault:secret/keys"\n'
        '[replay]\nstore = "redis+cluster://a:6379"\n[quarantine]\nurl = "aws:arn:aws:s3"\n',
        (
            "FILE: keys.source: vault: must be followed by MOUNT/data/PATH#FIELD (KV version 2)",
            "FILE: replay.store: redis+cluster:// is not in this version",
            "FILE: quarantine.url: aws: must be followed by NAME?stage=STAGE#FIELD, the last two as wanted",
        ),
    ),
    Wrong(
        "kinds_of_values",
        'deployment = 7\n[celery]\nprotocol_1 = "yes"\n[limits]\nchannel_max = "many"\nhandshake_s = "10s"\n'
        '[content]\ntypes = "application/json"\nbody_bytes_max = true\n',
        (
            "FILE: deployment: must be a text",
            "FILE: celery.protocol_1: must be true or false",
            "FILE: limits.channel_max: must be a whole number",
            "FILE: limits.handshake_s: must be a number",
            "FILE: content.types: must be a list",
            "FILE: content.body_bytes_max: must be a whole number",
        ),
    ),
    Wrong("section_that_is_a_text", 'replay = "memory"\n', ("FILE: replay: must be a table",)),
    Wrong(
        "numbers_out_of_bounds",
        "[limits]\nchannel_max = 70000\nframe_bytes_max = 4096\nmessage_s = 0\ngateways = 0\n",
        (
            "FILE: limits.channel_max: must be less than or equal to 65535",
            "FILE: limits.frame_bytes_max: must be greater than or equal to 8192",
            "FILE: limits.message_s: must be greater than 0",
            "FILE: limits.gateways: must be greater than or equal to 1",
        ),
    ),
    Wrong(
        "upstream_urls",
        '[upstream]\nurls = ["http://user:hunter2@h", "amqp://", "amqp://h:x", "amqp://h/a/b"]\n',
        (
            "FILE: upstream.urls[0]: must be an amqp:// or amqps:// URL",
            "FILE: upstream.urls[1]: has no host",
            "FILE: upstream.urls[2]: is no URL (host or port cannot be read)",
            "FILE: upstream.urls[3]: has a path with more than one /",
        ),
        whole=True,
    ),
    Wrong(
        "sign_without_a_key",
        '[publish]\naction = "sign"\n',
        ('FILE: publish.sign_with: is missing: action = "sign" needs the kid of a key',),
    ),
    Wrong(
        "keys_of_the_other_action",
        '[publish]\naction = "pass"\nsign_with = "k1"\ncountersign_with = "k1"\n',
        (
            'FILE: publish.sign_with: is only for action = "sign"',
            'FILE: publish.countersign_with: is only for action = "verify"',
        ),
    ),
    Wrong(
        "key_that_is_not_there",
        '[publish]\naction = "sign"\nsign_with = "k2"\n',
        ('FILE: publish.sign_with: "k2" can not sign: no such key',),
    ),
    Wrong(
        "key_that_may_not_sign",
        '[publish]\naction = "sign"\nsign_with = "k1"\n',
        ('FILE: publish.sign_with: "k1" can not sign: key k1 is in state verify',),
        keys=KEYS + 'state = "verify"\n',
    ),
    Wrong(
        "types_and_profiles",
        '[content]\ntypes = ["*", "application/x-python-serialize", "json"]\ncompression = ["gzip"]\n',
        (
            "FILE: content.types[2]: must be a content type",
            "FILE: content.compression[0]: must be one of application/x-gzip",
        ),
    ),
    Wrong(
        "types_the_profile_can_not_check",
        '[content]\ntypes = ["*", "application/x-python-serialize"]\n[[rule]]\nmatch = { task = "a" }\n'
        'types = []\n[[rule]]\nmatch = { task = "b" }\nprofile = "generic"\ntypes = ["*", "text/plain"]\n',
        (
            'FILE: content.types: has "*", which is only for profile "generic"',
            'FILE: content.types: has "application/x-python-serialize", which profile "celery" can not check',
            "FILE: rule[0].types: is empty",
            'FILE: rule[1].types: has "*" beside others',
        ),
    ),
    Wrong(
        "rates",
        '[rate]\n"a.b" = "5 per minute"\n"c" = "0/s"\n"d" = "5/m burst 2 cost 3"\n"" = "1/s"\n"e" = 5\n',
        (
            'FILE: rate."a.b": a rate looks like',
            "FILE: rate.c: a rate is 1 to",
            "FILE: rate.d: a cost is at least 1 and not over the burst",
            'FILE: rate."": must have at least 1 character',
            'FILE: rate.e: must be a rate such as "5/m burst 10", a table with limit, or a list of these',
        ),
    ),
    Wrong(
        "rates_in_tables",
        '[rate]\na = []\nb = ["5/m", 7]\nc = { limit = "5/m", pre = "key" }\nd = { per = "key" }\n'
        'e = { limit = "5/m", per = "arg" }\nf = { limit = "5/m", per = "arg:x" }\n'
        'g = { limit = "5/m", reserve = { priority = 5 } }\n'
        'h = { limit = "5/m", reserve = { priority = 0, share = "20%" } }\n'
        'i = { limit = "5/m", reserve = { priority = 5, share = "0%" } }\n'
        'j = { limit = "4/m", reserve = { priority = 5, share = "20%" } }\n'
        'k = ["1/s", "2/s", "3/s", "4/s", "5/s", "6/s", "7/s", "8/s", "9/s"]\nl = [{ limit = "5 per m" }]\n',
        (
            "FILE: rate.a: is an empty list",
            "FILE: rate.b: must be a rate such as",
            'FILE: rate.c: has no key "pre": limit, per and reserve are known',
            "FILE: rate.d: needs limit",
            'FILE: rate.e: per must be "task", "key", "user", "arg:0"',
            'FILE: rate.f: per must be "task", "key", "user", "arg:0"',
            "FILE: rate.g: reserve must be like",
            "FILE: rate.h: reserve must be like",
            "FILE: rate.i: reserve must be like",
            "FILE: rate.j: a reserve and what is left of the burst must each hold",
            "FILE: rate.k: has over 8 limits",
            "FILE: rate.l: a rate looks like",
        ),
    ),
    Wrong(
        "delays",
        '[refuse]\nover_rate = "wait"\ndelay_max = "8d"\ndelay_queues = "stream"\n',
        (
            "FILE: refuse.over_rate: must be 'delay' or 'refuse'",
            "FILE: refuse.delay_max: must be less than or equal to",
            "FILE: refuse.delay_queues: must be 'classic' or 'quorum'",
        ),
    ),
    Wrong(
        "rules",
        '[[rule]]\nmode = "observe"\n[[rule]]\nmatch = { tsk = "a" }\nmode = "maybe"\n',
        (
            "FILE: rule[0].match: is missing",
            "FILE: rule[1].match.tsk: is not known",
            "FILE: rule[1].mode: must be 'enforce' or 'observe'",
        ),
    ),
    Wrong(
        "rules_never_reached",
        '[[rule]]\nmatch = { task = "a" }\n[[rule]]\nmatch = { task = "a" }\n[[rule]]\nmatch = {}\n'
        '[[rule]]\nmatch = { user = "u" }\n',
        (
            "FILE: rule[1].match: is never reached: rule[0] takes all of it",
            "FILE: rule[3].match: is never reached: rule[2] takes all of it",
        ),
    ),
    Wrong(
        "tls_tables",
        '[listen.tls]\ncert = "/nowhere/a.crt"\n[upstream.tls]\ncert = "/nowhere/b.crt"\nverfy = false\n',
        (
            "FILE: listen.tls.key: is missing",
            "FILE: upstream.tls.verfy: is not known; did you mean upstream.tls.verify?",
        ),
    ),
    Wrong(
        "tls_without_need_or_half",
        '[upstream.tls]\ncert = "CERT"\n',
        (
            "FILE: upstream.tls: is there, but no upstream url is amqps://",
            "FILE: upstream.tls.key: is missing: cert and key go together",
            "FILE: upstream.tls.cert: CERT can not be read: No such file or directory",
        ),
    ),
    Wrong(
        "files_that_are_not_there",
        '[listen.tls]\ncert = "/nowhere/a.crt"\nkey = "/nowhere/a.key"\nclient_ca = "/nowhere/ca"\n'
        '[replay]\njournal = "/nowhere/nonces"\n',
        (
            "FILE: listen.tls.cert: /nowhere/a.crt can not be read: No such file",
            "FILE: listen.tls.key: /nowhere/a.key can not be read: No such file",
            "FILE: listen.tls.client_ca: /nowhere/ca can not be read: No such file",
            "FILE: replay.journal: its directory /nowhere is not there",
        ),
    ),
    Wrong(
        "contradictions",
        '[replay]\nstore = "redis://h:6379/0"\njournal = "/tmp/n"\n[content]\nbody_bytes_max = 20000000\n'
        '[drain]\ndelay = "30s"\n[listen]\naddress = "0.0.0.0:9672"\n',
        (
            'FILE: replay.journal: is only for store = "memory"',
            "FILE: content.body_bytes_max: is over limits.connection_bytes_max",
            "FILE: drain.delay: leaves no time",
            "FILE: admin.address: is the same as listen.address",
        ),
    ),
    Wrong(
        "journal_for_session_nonces",
        '[replay]\njournal = "/tmp/n"\nnonces = "session"\n',
        ('FILE: replay.journal: has nothing to keep: nonces = "session"',),
    ),
    Wrong(
        "shared_limits_without_a_shared_store",
        "[limits]\ngateways = 2\n",
        ('FILE: limits.gateways: is over 1, but store = "memory" is not shared',),
    ),
    Wrong(
        "workers_without_a_shared_store",
        '[listen]\nworkers = 2\nreuse_port = false\n[replay]\njournal = "/tmp/n"\n',
        (
            "FILE: listen.reuse_port: is off, but listen.workers is over 1",
            'FILE: replay.store: is "memory", which workers do not share',
            "FILE: replay.journal: can not be kept by several workers",
        ),
    ),
    Wrong(
        "rates_of_workers_in_memory",
        '[listen]\nworkers = 2\n[replay]\nnonces = "session"\n[rate]\n"*" = "5/s"\n',
        ('FILE: rate: would count in each worker with replay.store = "memory"',),
    ),
    Wrong(
        "no_workers",
        "",
        ("--set listen.workers: must be greater than or equal to 1",),
        arguments=("--set", "listen.workers=0"),
    ),
    Wrong(
        "store_urls",
        '[replay]\nstore = "redis://:hunter2@h:6379/zero"\n',
        ("FILE: replay.store: must end in a database number",),
    ),
    Wrong(
        "references_to_nothing",
        '[upstream]\nurls = ["env:NO_SUCH_URL", "amqp://h"]\n[keys]\nsource = "file:/nowhere/keys.toml"\n'
        '[quarantine]\nurl = "file:/nowhere/url"\n',
        (
            "FILE: upstream.urls[0]: env:NO_SUCH_URL is not set",
            "FILE: keys.source: file:/nowhere/keys.toml can not be read: No such file",
            "FILE: quarantine.url: file:/nowhere/url can not be read: No such file",
        ),
        whole=True,
    ),
    Wrong(
        "reference_to_something_else",
        '[replay]\nstore = "env:TEST_STORE"\n',
        ('FILE: replay.store: must be "memory", "redis://host:port/db" or "rediss://host:port/db" (read',),
        environ={"TEST_STORE": "mysql://u:hunter2@h"},
    ),
    Wrong(
        "keys_written_into_the_source",
        f'[keys]\nsource = "{SECRET}"\n',
        ("FILE: keys.source: must be env:NAME or file:/path",),
    ),
    Wrong("keys_not_toml", keys="key = {", errors=("KEYS: not TOML: ",)),
    Wrong("no_keys", keys="# none\n", errors=("KEYS: key: want at least one [[key]] table",)),
    Wrong(
        "keys_with_many_faults",
        keys='[[key]]\nkid = "k 1"\nalg = "md5"\n[[key]]\nkid = "k2"\nalg = "ed25519"\nsecret = "env:X"\n'
        'stat = "active"\nnot_after = "soon"\n',
        errors=(
            "KEYS: key[0].kid: want 1 to 64",
            "KEYS: key[0].alg: want hmac-sha256 or ed25519",
            "KEYS: key[1].secret: is not for alg ed25519",
            "KEYS: key[1]: want private or public for alg ed25519",
            "KEYS: key[1].stat: is not known; did you mean state?",
            "KEYS: key[1].not_after: want a date and time",
        ),
    ),
    Wrong(
        "short_secret",
        keys=f'{ONE_KEY}secret = "hex:{"a7" * 16}"\n',
        errors=("KEYS: key[0].secret: is 16 bytes",),
    ),
    Wrong(
        "sample_secret",
        keys=f'{ONE_KEY}secret = "hex:{bytes(range(32)).hex()}"\n',
        errors=("KEYS: key[0].secret: is a known sample",),
    ),
    Wrong(
        "weak_secret",
        keys=f'{ONE_KEY}secret = "hex:{"a7b3" * 16}"\n',
        errors=("KEYS: key[0].secret: has too little randomness",),
    ),
    Wrong(
        "password_for_a_secret",
        keys=f'{ONE_KEY}secret = "changeme"\n',
        errors=("KEYS: key[0].secret: is no key",),
    ),
    Wrong(
        "secret_behind_nothing",
        keys=f'{ONE_KEY}secret = "env:NO_SUCH_SECRET"\n',
        errors=("KEYS: key[0].secret: env:NO_SUCH_SECRET is not set",),
    ),
    Wrong(
        "references_without_a_name",
        '[keys]\nsource = "env:1K"\n[quarantine]\nurl = "file:"\n[replay]\nstore = "rediss+sentinel://h"\n',
        (
            "FILE: keys.source: env: must be followed by the name of an environment variable",
            "FILE: quarantine.url: file: must be followed by a path",
            "FILE: replay.store: rediss+sentinel:// is not in this version",
        ),
    ),
    Wrong(
        "profile_of_a_rule_with_types_of_the_content",
        '[content]\nprofile = "generic"\ntypes = ["*"]\n[[rule]]\nmatch = {}\nprofile = "celery"\n',
        ('FILE: rule[0].profile: does not go with content.types, which has "*"',),
    ),
    Wrong(
        "buffers",
        '[limits]\nprocess_bytes_max = 1048576\n[quarantine]\nurl = "amqp://h?heartbeat=5"\n',
        (
            "FILE: limits.connection_bytes_max: is over limits.process_bytes_max",
            "FILE: quarantine.url: takes no ?query or #fragment here",
        ),
    ),
    Wrong("far_too_large", "#" * 1_048_577, ("FILE: is over 1048576 bytes",), whole=True),
    Wrong(
        "environment",
        environ={
            "SEALGATE__REPLAY__MAXAGE": "5m",
            "SEALGATE__LIMITS__CHANNEL_MAX": "lots",
            "SEALGATE__RULE": '[{ match = {}, mode = "x" }]',
            "SEALGATE__": "",
        },
        errors=(
            "SEALGATE__REPLAY__MAXAGE: is not known; did you mean SEALGATE__REPLAY__MAX_AGE?",
            "SEALGATE__LIMITS__CHANNEL_MAX: must be a whole number",
            "SEALGATE__RULE[0].mode: must be 'enforce' or 'observe'",
            "SEALGATE__: is not known",
        ),
    ),
    Wrong(
        "command_line",
        arguments=(
            "--listen",
            "nowhere:port",
            "--set",
            "replay.max_age=5",
            "--set",
            "mode=observe",
            "--set",
            "x",
        ),
        errors=(
            "--listen: must be",
            "--set replay.max_age: must be a duration",
            "--set: mode: is not known; did you mean",
            "--set: x: needs a value",
        ),
    ),
    Wrong(
        "credentials_that_lack_everything",
        '[credentials]\nmode = "replace"\n',
        tuple(
            f'FILE: credentials.{name}: is missing: mode = "replace" needs users, user and password'
            for name in ("users", "user", "password")
        ),
    ),
    Wrong(
        "credentials_that_are_not_used",
        '[credentials]\nusers = "env:USERS"\nuser = "gw"\npassword = "hunter2"\n',
        tuple(
            f'FILE: credentials.{name}: is only for mode = "replace"'
            for name in ("users", "user", "password")
        ),
    ),
    Wrong(
        "credentials_of_the_wrong_kind",
        '[credentials]\nmode = "forward"\nusers = "users.toml"\nuser = ""\npassword = "vault:hunter2"\n'
        'loopback_users = "guest"\nloopback_user = []\n',
        (
            "FILE: credentials.mode: must be 'passthrough' or 'replace'",
            "FILE: credentials.users: must be file:/path or env:NAME",
            "FILE: credentials.user: must have at least 1 character",
            "FILE: credentials.password: vault: must be followed by MOUNT/data/PATH#FIELD (KV version 2)",
            "FILE: credentials.loopback_users: must be a list",
            "FILE: credentials.loopback_user: is not known; did you mean credentials.loopback_users?",
        ),
    ),
    Wrong(
        "credentials_behind_nothing",
        '[credentials]\nmode = "replace"\nusers = "file:/nowhere/users.toml"\nuser = "gw"\n'
        'password = "env:NO_SUCH_PASSWORD"\n',
        (
            "FILE: credentials.password: env:NO_SUCH_PASSWORD is not set",
            "FILE: credentials.users: file:/nowhere/users.toml can not be read: No such file",
        ),
    ),
    Wrong("users_not_toml", REPLACE, ("USERS: not TOML: ",), users="user = {"),
    Wrong("no_users", REPLACE, ("USERS: user: want at least one [[user]] table",), users="# none\n"),
    Wrong(
        "users_with_passwords_written_out",
        REPLACE,
        ("USERS: user[0].password: is no password hash", "USERS: user[1].password: is no password hash"),
        users='[[user]]\nname = "a"\npassword = "hunter2"\n'
        '[[user]]\nname = "b"\npassword = "$2b$12$changeme"\n',
    ),
    Wrong(
        "users_whose_hashes_would_stop_the_gateway",
        REPLACE,
        (
            "USERS: user[0].password: has ln=20,r=8,p=1; each check may take 64 MiB",
            "USERS: user[1].password: has ln=15,r=8,p=16, which takes too long to check",
            "USERS: user[2].password: has ln=4, which protects nothing",
        ),
        users="".join(
            f'[[user]]\nname = "{name}"\npassword = "{HASH.replace("ln=14,r=8,p=5", cost)}"\n'
            for name, cost in (("a", "ln=20,r=8,p=1"), ("b", "ln=15,r=8,p=16"), ("c", "ln=4,r=8,p=1"))
        ),
    ),
    Wrong(
        "users_with_many_faults",
        REPLACE,
        (
            "USERS: user[0]: want a password, a certificate or both",
            "USERS: user[0].broker_password: is missing: it goes together with broker_user",
            "USERS: user[1].name: a is there already, at user[0]",
            "USERS: user[1].vhost: is not known; did you mean vhosts?",
            "USERS: user[1].state: want active or disabled",
            "USERS: user[2].name: is missing",
            "USERS: user[2].broker_password: env:NO_SUCH_SECRET is not set",
        ),
        users='[[user]]\nname = "a"\nbroker_user = "x"\n'
        f'[[user]]\nname = "a"\npassword = "{HASH}"\nvhost = "/"\nstate = "revoked"\n'
        '[[user]]\ncertificate = "c"\nbroker_user = "y"\nbroker_password = "env:NO_SUCH_SECRET"\n',
    ),
    Wrong(
        "settings_keys_and_environment_at_once",
        text='[listen]\naddress = "x"\nadress = "y"\n',
        keys=f'{ONE_KEY}secret = "changeme"\n',
        environ={"SEALGATE__LOG__LEVEL": "loud"},
        errors=(
            "FILE: listen.adress: is not known; did you mean listen.address?",
            "KEYS: key[0].secret: is no key",
            "SEALGATE__LOG__LEVEL: must be 'debug'",
        ),
    ),
]

#: Values in the files above that must never be repeated.
SECRETS = ("hunter2", "changeme", SECRET, "a7a7", "a7b3", "0" * 32, bytes(range(32)).hex())
