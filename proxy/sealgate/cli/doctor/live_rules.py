"""What can be wrong with the broker and the store as they are, and with what a gateway has seen."""

from __future__ import annotations

from typing import Final

from sealgate.cli.doctor.findings import Rule, Severity

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

BROKER_AWAY: Final = Rule(
    "live.broker-unreachable", _E, "the broker can not be reached", "Nothing can be published or consumed."
)
NO_GATEWAY: Final = Rule(
    "live.no-gateway",
    _E,
    "what is signed here nobody verifies",
    "A sidecar's upstream should be a gateway. This one offers no challenge, as every gateway of Sealgate "
    "does.",
)
ANONYMOUS: Final = Rule(
    "live.broker-anonymous",
    _E,
    "the broker lets anybody in",
    "It offers the mechanism ANONYMOUS: no password is asked for.",
)
CERTIFICATE: Final = Rule(
    "live.certificate-ending",
    _W,
    "the broker's certificate ends soon",
    "From then on no gateway connects to it.",
)
DEFAULT_LOGIN: Final = Rule(
    "live.broker-guest",
    _W,
    "the broker takes guest with the password guest",
    "It is the first thing that is tried, and it may do everything.",
)
BROKER_OPEN: Final = Rule(
    "live.broker-open",
    _W,
    "the broker listens beside the gateway",
    "It is on this host and takes connections at its network addresses too: who can route there need not "
    "pass the gateway.",
)
AROUND: Final = Rule(
    "live.around-gateway",
    _E,
    "clients are connected to the broker around the gateway",
    "What they publish is neither signed nor checked.",
)
NO_CONFIRMS: Final = Rule(
    "live.no-confirms",
    _W,
    "clients publish without publisher confirms",
    "When one of their messages is refused or lost, AMQP has no way to tell them.",
)
LOGIN: Final = Rule(
    "live.login",
    _E,
    "Sealgate's own login is refused",
    "Refused messages are not kept, and messages over their rate can not wait.",
)
PERMISSION: Final = Rule(
    "live.permission",
    _E,
    "Sealgate's own user may not do what it has to",
    "The queues that keep refused messages, or let messages wait, can not be declared or used.",
)
TOPOLOGY: Final = Rule(
    "live.quarantine-topology",
    _E,
    "there is another queue or exchange of that name",
    "Its arguments are not those of the configuration, so the gateway can not use it: nothing is kept.",
)
FILLING: Final = Rule(
    "live.quarantine-filling",
    _W,
    "the quarantine is nearly full",
    "When it is full the oldest records go first, unseen.",
)
HOLDS: Final = Rule(
    "live.quarantine-holds",
    _N,
    "there are messages in quarantine",
    "Each was refused: an attack, or a producer that is not set up yet.",
)
MANAGEMENT: Final = Rule(
    "live.management",
    _W,
    "the management API does not answer as it should",
    "Who is connected to the broker could not be seen.",
)
BROKER_CLOCK: Final = Rule(
    "live.broker-clock",
    _W,
    "the clocks of this host and of the broker's differ",
    "Messages that wait are timed by the broker, and signed by the time of signers.",
)
REDIS_AWAY: Final = Rule(
    "live.redis-unreachable",
    _E,
    "the replay store can not be reached",
    "Messages with stored nonces are refused as store.unavailable.",
)
REDIS_EVICTION: Final = Rule(
    "live.redis-eviction",
    _E,
    "Redis may forget nonces",
    "A nonce that was evicted could be used a second time; the gateway does not start with such a store.",
)
REDIS_REPLICA: Final = Rule(
    "live.redis-replica", _E, "this Redis is a replica", "The gateway does not start with such a store."
)
REDIS_PERSISTENCE: Final = Rule(
    "live.redis-persistence",
    _N,
    "Redis writes to disk",
    "Sealgate gains nothing by it: after a restart it trusts no nonce from before, and refuses older "
    "messages as store.horizon.",
)
REDIS_MEMORY: Final = Rule(
    "live.redis-memory",
    _W,
    "Redis is nearly full",
    "A full Redis takes no new nonces: such messages are refused as store.full.",
)
REDIS_PASSWORD: Final = Rule(
    "live.redis-no-password",
    _W,
    "the replay store has no password",
    "Who can reach it can delete nonces, and then replay messages, or empty every rate's bucket.",
)
REDIS_CLOCK: Final = Rule(
    "live.redis-clock",
    _W,
    "the clocks of this host and of Redis differ",
    "Beyond replay.clock_skew good messages may be refused as store.horizon.",
)
GATEWAY_AWAY: Final = Rule(
    "live.gateway-unreachable",
    _E,
    "no gateway answers at the admin address",
    "Nothing could be learnt from its traffic.",
)
NOT_READY: Final = Rule(
    "live.not-ready",
    _E,
    "the gateway is not ready",
    "It says so itself at /readyz: broker, store or keys are not as they should be.",
)

UNCONFIRMED: Final = Rule(
    "traffic.unconfirmed",
    _W,
    "producers without publisher confirms",
    "Their messages were refused, and AMQP has no way to tell them.",
)
UNKNOWN_KID: Final = Rule(
    "traffic.unknown-kid",
    _W,
    "seals by a key that the gateway does not know",
    "A producer has a new key before the gateway has, or somebody tries names.",
)
UNSIGNED: Final = Rule(
    "traffic.unsigned",
    _W,
    "messages without a seal",
    "A producer that goes around its sidecar, or an attack.",
)
BAD_SEAL: Final = Rule(
    "traffic.bad-seal",
    _W,
    "seals that do not verify",
    "Altered on the way, another secret or another deployment at the signer, or an attack.",
)
KEY_STATE: Final = Rule(
    "traffic.key-state",
    _W,
    "seals by keys that are over, not yet valid or revoked",
    "A signer has not been told of the rotation.",
)
OFF_TIME: Final = Rule(
    "traffic.off-time",
    _W,
    "messages from the future or too old",
    "A signer's clock is wrong, messages wait on their way to the gateway, or old ones are replayed.",
)
NO_EXPIRY: Final = Rule(
    "traffic.no-expiry",
    _W,
    "tasks without an expiry, or one too far away",
    "What waits in a queue for days is run all the same when somebody starts a worker.",
)
DRIFT: Final = Rule(
    "traffic.clock-drift",
    _W,
    "a signer's clock drifts",
    "Beyond replay.clock_skew everything it signs is refused.",
)
DEGRADED: Final = Rule(
    "traffic.store-errors",
    _W,
    "calls of the replay store have failed",
    "Meanwhile each gateway limited by its share alone, and messages with stored nonces waited or were "
    "refused.",
)
LOST_RECORDS: Final = Rule(
    "traffic.quarantine-dropped",
    _E,
    "refused messages that were not kept",
    "They are gone: the quarantine was away, or there were more than it takes.",
)
UPSTREAM_DOWN: Final = Rule(
    "traffic.upstream-down",
    _E,
    "a broker can not be reached from the gateway",
    "Its clients go to the other brokers, or nowhere.",
)
RELOADS: Final = Rule(
    "traffic.reload-failed",
    _W,
    "keys or certificates could not be read again",
    "The old ones are still in force.",
)
LOGIN_BROKER: Final = Rule(
    "traffic.login-refused",
    _E,
    "the broker refused Sealgate's own login",
    "With credentials.mode = replace no client gets through.",
)
OBSERVED: Final = Rule(
    "traffic.observed",
    _N,
    "messages passed that would have been refused",
    "That is what observing is for: `sealgate observed` says which.",
)

LIVE_RULES: Final = tuple(rule for rule in list(vars().values()) if isinstance(rule, Rule))
