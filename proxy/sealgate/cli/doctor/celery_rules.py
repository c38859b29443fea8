"""What can be wrong with a Celery application: the mitigations it can apply, and what each is against."""

from __future__ import annotations

from typing import Final

from sealgate.cli.doctor.findings import Rule, Severity

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

PICKLE: Final = Rule(
    "celery.pickle",
    _E,
    "pickle is used",
    "Reading a pickle runs whatever its writer wants: who can publish one message owns the worker.",
)
YAML: Final = Rule(
    "celery.yaml",
    _W,
    "YAML is used",
    "kombu reads it with the safe loader, but Sealgate has no strict parser for it and refuses it.",
)
ACCEPT_ALL: Final = Rule(
    "celery.accept-all",
    _E,
    "any content type is accepted",
    "Without a list kombu takes whatever serializer is registered and not switched off.",
)
AUTH: Final = Rule(
    "celery.auth-serializer",
    _W,
    "Celery's auth serializer signs the body alone",
    "It is RSA-PSS over X.509 and covers neither headers, properties nor the target: a signed body can be "
    "replayed, sent to another queue, or run under another task name, which is in the headers.",
)
UNKNOWN_SERIALIZER: Final = Rule(
    "celery.unknown-serializer",
    _W,
    "a serializer that nobody here knows",
    "What a decoder does with hostile bytes is its author's word, and Sealgate can prove JSON and msgpack "
    "only.",
)
TRUSTED_CONTENT: Final = Rule(
    "celery.trusted-content",
    _N,
    "application/data and application/text are always accepted",
    "kombu takes them whatever accept_content says (kombu.serialization.TRUSTED_CONTENT), and a message "
    "without a content type counts as application/data. No setting closes that; a gateway does.",
)
CONFIRMS: Final = Rule(
    "celery.confirms-off",
    _W,
    "publisher confirms are off",
    "Without them AMQP can not tell a producer that its message was refused or lost: apply_async() succeeds.",
)
PREFETCH: Final = Rule(
    "celery.prefetch",
    _W,
    "workers reserve more than they work on",
    "Reserved messages wait in the worker's memory, past rate limits and out of reach of other workers; a "
    "flood is taken off the broker, and a lost worker gives all of it back at once.",
)
NO_TIME_LIMIT: Final = Rule(
    "celery.no-time-limit",
    _W,
    "no hard time limit",
    "One message whose task never ends takes a worker process for good; a few of them take the pool.",
)
NO_SOFT_LIMIT: Final = Rule(
    "celery.no-soft-time-limit",
    _W,
    "no soft time limit",
    "The hard limit kills the process: without a soft one below it a task can not clean up after itself.",
)
SOFT_OVER_HARD: Final = Rule(
    "celery.soft-over-hard",
    _W,
    "the soft time limit is not below the hard one",
    "The process is killed before SoftTimeLimitExceeded is raised: the soft limit does nothing.",
)
LIMITS_UNENFORCED: Final = Rule(
    "celery.limits-not-enforced",
    _W,
    "the pool does not enforce time limits",
    "Only prefork enforces both. gevent enforces the hard one; eventlet, threads and solo neither.",
)
RESULT_FOREVER: Final = Rule(
    "celery.result-never-expires",
    _W,
    "results never expire",
    "Each message leaves a result behind: who can publish fills the result store, and old results stay "
    "readable.",
)
RESULT_CLEANUP: Final = Rule(
    "celery.result-needs-cleanup",
    _N,
    "the result backend does not expire results by itself",
    "They are deleted by the task celery.backend_cleanup alone, which only a running celery beat sends; a "
    "gateway on the way to the broker can not reach this backend.",
)
NO_RATE_LIMIT: Final = Rule(
    "celery.no-rate-limit",
    _W,
    "tasks without a rate limit",
    "A producer that runs wild, or that somebody else drives, has the workers to itself.",
)
RATE_LIMITS_OFF: Final = Rule(
    "celery.rate-limits-off",
    _W,
    "rate limits are switched off",
    "With worker_disable_rate_limits every rate_limit of a task is ignored.",
)
REMOTE_CONTROL: Final = Rule(
    "celery.remote-control",
    _W,
    "workers obey remote control",
    "Who can publish to celery.pidbox can shut workers down, revoke tasks and lift rate and time limits.",
)
EVENTS: Final = Rule(
    "celery.events",
    _N,
    "events are sent",
    "Workers and producers then publish events with the arguments of tasks in them, without confirms; they "
    "need a key that may send the class `event`, or they are refused.",
)
EVENTS_UNBOUNDED: Final = Rule(
    "celery.events-unbounded",
    _W,
    "event queues have no bound",
    "A monitor that is gone leaves a queue that fills until the broker raises its memory alarm.",
)
ACKS: Final = Rule(
    "celery.lost-worker",
    _N,
    "a late acknowledgement that is given anyway",
    "With acks_late but without reject_on_worker_lost, the message of a worker process that was killed is "
    "acknowledged and lost; reject_on_worker_lost without acks_late does nothing.",
)
RETRY_OFF: Final = Rule(
    "celery.connection-retry-off",
    _W,
    "workers do not reconnect",
    "When a gateway is restarted its clients are closed with 320 and must come back: such a worker ends "
    "instead.",
)
PUBLISH_RETRY: Final = Rule(
    "celery.publish-retry-off",
    _N,
    "publishing is not retried",
    "A publish at the moment in which a gateway is restarted fails at once.",
)
HEARTBEAT: Final = Rule(
    "celery.heartbeat-off",
    _N,
    "no heartbeats",
    "A worker does not notice that the way to the broker is dead, and waits for messages that can not come.",
)
PROTOCOL: Final = Rule(
    "celery.protocol-1",
    _W,
    "message protocol 1",
    "The task's name and options are in the body; a gateway refuses it unless celery.protocol_1 = true.",
)
COMPRESSION: Final = Rule(
    "celery.compression",
    _N,
    "bodies are compressed",
    "A gateway refuses compressed bodies unless content.compression lists the kind: a small body may be a "
    "bomb.",
)
EAGER: Final = Rule(
    "celery.eager",
    _W,
    "tasks run in the producer",
    "task_always_eager is for tests: nothing is sent, and no limit of a worker applies.",
)
SECRET_KEY: Final = Rule(
    "celery.secret-key",
    _N,
    "a setting that does nothing",
    "Celery has no secret key: whoever wrote this believes that messages are signed.",
)
MISSPELT: Final = Rule(
    "celery.misspelt",
    _W,
    "a setting that Celery does not know",
    "Celery ignores what it does not know, so the setting that was meant has its default.",
)
IMPORT: Final = Rule(
    "celery.import",
    _W,
    "task modules can not be imported",
    "What is in them was not looked at, and a worker would not start.",
)
NOT_AMQP: Final = Rule(
    "celery.broker-not-amqp",
    _E,
    "the broker is not AMQP",
    "Sealgate stands in front of AMQP brokers; messages through anything else are neither signed nor "
    "checked.",
)
LITERAL: Final = Rule(
    "celery.literal-secret",
    _W,
    "a password is written into the code",
    "It ends up in version control, images and backups; take it from the environment or a secrets manager.",
)
AROUND: Final = Rule(
    "celery.around-gateway",
    _W,
    "messages go around Sealgate",
    "What does not pass a sidecar or gateway is not signed, and a broker that takes it is not protected.",
)
PLAINTEXT: Final = Rule(
    "celery.broker-plaintext",
    _W,
    "the way to the broker is not encrypted",
    "Password and messages can be read on the network; a seal proves who wrote them and hides nothing.",
)
DEFAULT_LOGIN: Final = Rule(
    "celery.broker-guest",
    _W,
    "the broker's well-known login is used",
    "guest with the password guest is the first thing that is tried.",
)
REDIS_PASSWORD: Final = Rule(
    "celery.redis-no-password",
    _W,
    "the result store has no password",
    "Who can reach Redis can read every result, and write results that waiting callers believe.",
)
REDIS_PLAINTEXT: Final = Rule(
    "celery.redis-plaintext",
    _W,
    "the way to the result store is not encrypted",
    "Password and results can be read and changed on the network; no gateway for AMQP sees them.",
)
REDIS_EVICTION: Final = Rule(
    "celery.redis-eviction",
    _W,
    "Redis may throw results away",
    "With maxmemory reached this policy evicts results (and chord counters) that somebody waits for.",
)
REDIS_UNREACHABLE: Final = Rule(
    "celery.redis-unreachable",
    _W,
    "the result store does not answer",
    "It could not be asked about its eviction policy.",
)
BROKER_REACHABLE: Final = Rule(
    "celery.broker-reachable",
    _E,
    "the broker can be reached around the gateway",
    "From this host, with the application's own login: nothing has to pass the gateway.",
)
SIGNING: Final = Rule(
    "celery.signing",
    _E,
    "the transport can not sign",
    "Its options or its keys are wrong: no connection comes about, so that nothing is sent unsigned.",
)
NOT_VERIFYING: Final = Rule(
    "celery.not-verifying",
    _N,
    "deliveries are not verified in the worker",
    "Who can write to the broker around the gateway can still give this worker tasks.",
)
GATEWAY_TYPE: Final = Rule(
    "celery.gateway-type",
    _E,
    "the gateway refuses this content type",
    "Every such message is refused as content.type.",
)
GATEWAY_COMPRESSION: Final = Rule(
    "celery.gateway-compression",
    _E,
    "the gateway refuses this compression",
    "Every such message is refused.",
)
GATEWAY_PROTOCOL: Final = Rule(
    "celery.gateway-protocol",
    _E,
    "the gateway refuses this message protocol",
    "Every such message is refused as celery.protocol.",
)

CELERY_RULES: Final = tuple(rule for rule in list(vars().values()) if isinstance(rule, Rule))
