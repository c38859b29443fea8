"""What can be wrong with a configuration and its keys, and between those who sign and those who verify."""

from __future__ import annotations

from typing import Final

from sealgate.cli.doctor.findings import Rule, Severity

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

INVALID: Final = Rule(
    "config.invalid", _E, "the configuration can not be used", "`sealgate run` would not start with it."
)
WARNING: Final = Rule(
    "config.warning",
    _W,
    "allowed, and probably not meant",
    "`sealgate check-config` warns of it, too.",
)
LITERAL_SECRET: Final = Rule(
    "config.literal-secret",
    _W,
    "a secret is written into a file",
    "It ends up in version control, backups and logs of deployments; env: and file: keep it out of there.",
)
READABLE_SECRET: Final = Rule(
    "config.readable-secret",
    _W,
    "a secret that others may read",
    "Every user of this machine can sign with it.",
)
ADMIN_OPEN: Final = Rule(
    "config.admin-open",
    _W,
    "the admin address is open to the network",
    "It tells keys' names, tasks and rates to everybody who can connect.",
)
UPSTREAM_PLAINTEXT: Final = Rule(
    "config.upstream-plaintext",
    _W,
    "the way to the broker is not encrypted",
    "Logins and messages can be read on the network; a seal hides nothing.",
)
LISTEN_PLAINTEXT: Final = Rule(
    "config.listen-plaintext",
    _W,
    "clients connect from other machines without TLS",
    "Logins and messages can be read on the network; a seal hides nothing.",
)
PASSES: Final = Rule(
    "config.passes", _W, "nothing is signed or verified", "With publish.action = pass all messages pass."
)
OBSERVES: Final = Rule(
    "config.observes",
    _W,
    "nothing is refused yet",
    "In observe mode an attack is counted, and passes.",
)
OBSERVING_RULE: Final = Rule(
    "config.observing-rule",
    _N,
    "a part of the traffic is only observed",
    "What this rule matches is counted, and passes.",
)
NO_RATES: Final = Rule(
    "config.no-rates",
    _W,
    "no rate limits",
    "One producer that runs wild, or that somebody else drives, fills the queues of all.",
)
NO_REST_RATE: Final = Rule(
    "config.no-rate-for-the-rest",
    _N,
    'rates, but none for "*"',
    "Tasks that no line of [rate] names are not limited at all.",
)
NO_BOUNDS: Final = Rule(
    "config.no-bounds",
    _N,
    "no bounds on what tasks may ask for",
    "A sealed message may ask for any time limit, priority or number of retries: [[bound]] says how much.",
)
NO_TASK_EXPIRY: Final = Rule(
    "config.no-task-expiry",
    _N,
    "tasks need no expiry",
    "What waits in a queue for days is run all the same when somebody starts a worker.",
)
NO_RESULT_EXPIRY: Final = Rule(
    "config.no-result-expiry",
    _N,
    "results and replies may stay for ever",
    "Each task can leave a result in a reply queue: who may publish can fill the broker.",
)
NO_PREFETCH: Final = Rule(
    "config.no-prefetch",
    _N,
    "consumers may reserve as much as they like",
    "Reserved messages wait in a worker's memory, and all come back at once when it is lost.",
)
NO_METRICS: Final = Rule(
    "config.no-metrics",
    _N,
    "nobody can watch the gateway",
    "Without the admin address there are no metrics: neither attacks nor limits that are too narrow are "
    "seen.",
)
ANY_TYPE: Final = Rule(
    "config.any-type",
    _N,
    "bodies are left unread",
    'With types = ["*"] a pickle passes, if it is sealed: consumers must not unpickle.',
)
LONG_WINDOW: Final = Rule(
    "config.long-window",
    _W,
    "old messages are accepted for long",
    "Every nonce is remembered for replay.max_age; after a restart all that is so old is refused.",
)
WIDE_SKEW: Final = Rule(
    "config.wide-skew",
    _W,
    "clocks may be far apart",
    "A message from the future lives as much longer; servers with NTP differ by milliseconds.",
)
MEMORY_STORE: Final = Rule(
    "config.memory-store",
    _N,
    "nonces are forgotten at a restart",
    "Without a journal a gateway that has just started refuses stored nonces until replay.clock_skew has "
    "passed, and a second gateway in front of the same broker would take a message once more.",
)
PASSTHROUGH: Final = Rule(
    "config.logins-of-the-broker",
    _N,
    "producers have a login of the broker",
    "With credentials.mode = passthrough only the network keeps them from walking around the gateway.",
)

KEY_UNLIMITED: Final = Rule(
    "keys.unlimited",
    _W,
    "a key may do anything",
    "Whoever has it may send any task and command workers (`control`): say what it is for.",
)
KEY_ENDING: Final = Rule(
    "keys.ending",
    _W,
    "a key ends soon",
    "From then on all that it signs is refused as sig.key_state.",
)
KEY_OVER: Final = Rule(
    "keys.over",
    _W,
    "a key is over",
    "What it signs is refused as sig.key_state.",
)
KEY_ENDLESS: Final = Rule(
    "keys.endless",
    _N,
    "a key that never ends",
    "Nothing makes anybody rotate it, so what has leaked stays useful.",
)
KEY_LIFETIME: Final = Rule(
    "keys.short-lifetime",
    _W,
    "seals that live for less than an hour",
    "A task that waits longer in its queue is refused by workers that verify, and a longer countdown at "
    "once.",
)
KEY_SHARED: Final = Rule(
    "keys.same-secret",
    _W,
    "two keys with one secret",
    "Who has the one can sign as the other, whatever their permissions.",
)
SIGNER: Final = Rule(
    "keys.signer",
    _E,
    "the signing key can not sign",
    "Nothing can be sealed: every publish is refused, or the process does not start.",
)
KID_UNKNOWN: Final = Rule(
    "keys.kid-unknown",
    _E,
    "the gateway does not know the key",
    "Everything that is sealed with it is refused as sig.kid.",
)
KID_UNUSABLE: Final = Rule(
    "keys.kid-unusable",
    _E,
    "the gateway does not take the key",
    "Everything that is sealed with it is refused as sig.key_state.",
)
MATERIAL: Final = Rule(
    "keys.material-differs",
    _E,
    "signer and gateway have different secrets under one kid",
    "Everything that is sealed with it is refused as sig.bad.",
)
COUNTERSIGNER: Final = Rule(
    "keys.countersigner",
    _E,
    "no gateway countersigns with the key that deliveries must carry",
    "Where deliveries are verified, all of them are refused.",
)
DEPLOYMENT: Final = Rule(
    "keys.deployment-differs",
    _E,
    "signer and gateway are of different deployments",
    "`deployment` is part of every signature: everything is refused as sig.bad.",
)

CONFIG_RULES: Final = tuple(rule for rule in list(vars().values()) if isinstance(rule, Rule))
