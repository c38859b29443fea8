"""Time, rate, prefetch, acknowledgements, remote control and events: what a worker lets be done to it."""

from __future__ import annotations

from collections.abc import Iterator

from sealgate.cli.doctor import celery_rules as rules
from sealgate.cli.doctor.celery_case import Case, names
from sealgate.cli.doctor.celery_facts import Task
from sealgate.cli.doctor.findings import Finding

#: What a line to copy says where only the operator can know.
_HARD_S, _SOFT_S, _RATE = "300", "240", '"10/s"'


def check_limits(case: Case) -> Iterator[Finding]:
    yield from _time(case)
    yield from _pool(case)
    yield from _rates(case)
    yield from _prefetch(case)
    yield from _acknowledgements(case)
    yield from _control(case)
    yield from _events(case)


def _time(case: Case) -> Iterator[Finding]:
    hard, soft = case.setting("task_time_limit"), case.setting("task_soft_time_limit")
    tasks = case.facts.tasks
    unlimited = [task.name for task in tasks if not task.time_limit]
    if not hard and (unlimited or not tasks):
        message = f"task_time_limit is not set{_of(unlimited)}"
        yield case.about(rules.NO_TIME_LIMIT, message, "task_time_limit", _HARD_S)
    unwarned = [task.name for task in tasks if not task.soft_time_limit]
    if not soft and (unwarned or not tasks):
        message = f"task_soft_time_limit is not set{_of(unwarned)}"
        value = f"{hard * 0.8:g}" if hard else _SOFT_S
        yield case.about(rules.NO_SOFT_LIMIT, message, "task_soft_time_limit", value)
    if hard and soft and soft >= hard:
        message = f"task_soft_time_limit is {soft:g} and task_time_limit {hard:g}"
        yield case.about(rules.SOFT_OVER_HARD, message, "task_soft_time_limit", f"{hard * 0.8:g}")
    for task in tasks:
        yield from _time_of(case, task, (hard, soft))


def _time_of(case: Case, task: Task, default: tuple[float | None, float | None]) -> Iterator[Finding]:
    """What is wrong with the limits of one task, where they are not those of all."""
    hard, soft = task.time_limit, task.soft_time_limit
    if (hard, soft) != default and hard and soft and soft >= hard:
        message = f"{task.name} has soft_time_limit {soft:g} and time_limit {hard:g}"
        change = f"soft_time_limit={hard * 0.8:g}"
        yield case.about_task(rules.SOFT_OVER_HARD, task, message, "soft_time_limit", change)


def _pool(case: Case) -> Iterator[Finding]:
    pool = str(case.setting("worker_pool"))
    kind = next((name for name in ("gevent", "eventlet", "threads", "solo") if name in pool), "")
    if kind:
        yield case.about(rules.LIMITS_UNENFORCED, f'worker_pool is "{kind}"', "worker_pool", '"prefork"')


def _rates(case: Case) -> Iterator[Finding]:
    if case.setting("worker_disable_rate_limits"):
        message = "worker_disable_rate_limits is on"
        yield case.about(rules.RATE_LIMITS_OFF, message, "worker_disable_rate_limits", "False")
    if case.policy is not None and "*" in case.policy.rate:
        return  # the gateway limits every task, before the broker and for all workers together
    tasks = case.facts.tasks
    unlimited = [task.name for task in tasks if not task.rate_limit]
    if not case.setting("task_default_rate_limit") and (unlimited or not tasks):
        message = f"task_default_rate_limit is not set{_of(unlimited)}"
        yield case.about(rules.NO_RATE_LIMIT, message, "task_default_rate_limit", _RATE)


def _of(tasks: list[str]) -> str:
    return f"; without one: {names(tasks)}" if tasks else ""


def _prefetch(case: Case) -> Iterator[Finding]:
    multiplier = case.setting("worker_prefetch_multiplier")
    if multiplier != 1:
        much = "all there is" if multiplier == 0 else f"{multiplier} messages per process"
        message = f"worker_prefetch_multiplier is {multiplier}: {much}"
        yield case.about(rules.PREFETCH, message, "worker_prefetch_multiplier", "1")


def _acknowledgements(case: Case) -> Iterator[Finding]:
    late, lost = bool(case.setting("task_acks_late")), bool(case.setting("task_reject_on_worker_lost"))
    if late != lost:
        message = f"task_acks_late is {late}, task_reject_on_worker_lost {lost}"
        setting = "task_reject_on_worker_lost" if late else "task_acks_late"
        yield case.about(rules.ACKS, message, setting, "True")
    for task in case.facts.tasks:
        own = (task.acks_late, task.reject_on_worker_lost)
        if own != (late, lost) and own[0] != own[1]:
            message = f"{task.name} has acks_late {own[0]}, reject_on_worker_lost {own[1]}"
            option = "reject_on_worker_lost" if own[0] else "acks_late"
            yield case.about_task(rules.ACKS, task, message, option, f"{option}=True")


def _control(case: Case) -> Iterator[Finding]:
    """Behind a gateway control is a class of its own, which a key must be allowed; else anybody's."""
    readers = [broker for broker in case.facts.brokers if "read" in broker.purposes]
    if case.setting("worker_enable_remote_control") and not all(map(case.through_sealgate, readers)):
        message = "worker_enable_remote_control is on, and what workers read has passed no gateway"
        yield case.about(rules.REMOTE_CONTROL, message, "worker_enable_remote_control", "False")


def _events(case: Case) -> Iterator[Finding]:
    senders = [name for name in ("worker_send_task_events", "task_send_sent_event") if case.setting(name)]
    for setting in senders:
        yield case.about(rules.EVENTS, f"{setting} is on", setting, "False")
    for setting, value in (("event_queue_ttl", "5.0"), ("event_queue_expires", "60.0")):
        if senders and not case.setting(setting):
            yield case.about(rules.EVENTS_UNBOUNDED, f"{setting} is not set", setting, value)
