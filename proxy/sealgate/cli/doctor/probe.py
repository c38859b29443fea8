"""Run as a file by the application's own Python: what a Celery application is configured to do, as JSON.

Nothing of Sealgate is imported here, and nothing newer than Python 3.8 used, so that the application may
live in an environment of its own (tried: Python 3.8 with Celery 5.4, 3.11 with 5.3.6 and 5.7). What it prints
goes to standard error; the report alone goes to what was standard output. No task is run and nothing is
connected to: the broker's URL is only taken apart, and of the result backend only the class is looked at.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
from typing import Any

#: Settings that are reported as they are.
SETTINGS = (
    "accept_content",
    "result_accept_content",
    "task_serializer",
    "result_serializer",
    "event_serializer",
    "task_compression",
    "result_compression",
    "task_protocol",
    "task_time_limit",
    "task_soft_time_limit",
    "task_default_rate_limit",
    "task_always_eager",
    "task_acks_late",
    "task_reject_on_worker_lost",
    "task_send_sent_event",
    "task_publish_retry",
    "task_ignore_result",
    "worker_send_task_events",
    "worker_prefetch_multiplier",
    "worker_disable_rate_limits",
    "worker_enable_remote_control",
    "worker_pool",
    "event_queue_ttl",
    "event_queue_expires",
    "result_expires",
    "broker_connection_retry",
    "broker_connection_retry_on_startup",
    "broker_connection_max_retries",
    "broker_heartbeat",
    "redis_backend_use_ssl",
)
#: Those of them that are counted with.
NUMBERS = (
    "task_protocol",
    "task_time_limit",
    "task_soft_time_limit",
    "worker_prefetch_multiplier",
    "event_queue_ttl",
    "event_queue_expires",
    "result_expires",
    "broker_heartbeat",
)
#: Backends that expire nothing by themselves, by the name in their URL (Celery 5.7, supports_autoexpire).
KEEPERS = ("db", "database", "file", "filesystem", "mongodb", "elasticsearch", "couchdb", "arangodb")
TASKS_MAX = 10_000
#: A name this near to a setting's is a slip of the pen.
LIKENESS_MIN = 0.86


def main() -> None:
    request = json.loads(sys.argv[1])
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    own = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - as Python puts it there
    sys.path[:] = [request["workdir"], *[path for path in sys.path if path != own]]
    os.environ.setdefault("CELERY_SKIP_CHECKS", "1")  # Django's checks are no part of its settings
    try:
        answer = examine(load(request))
    except BaseException as error:
        answer = {"error": trouble(error)}
    json.dump(answer, report)
    report.flush()
    # Threads that the import started must not keep this process, nor its exit handlers speak.
    os._exit(0)


def load(request: dict[str, Any]) -> Any:
    """The Celery application that was asked for."""
    from celery import Celery
    from celery.app.utils import find_app

    module = request["config_from"]
    if module is None:
        return find_app(request["app"])
    if request["django"]:
        os.environ["DJANGO_SETTINGS_MODULE"] = module
        module = "django.conf:settings"
    app = Celery(set_as_current=False)
    app.config_from_object(module, namespace=request["namespace"])
    return app


def trouble(error: BaseException) -> dict[str, str]:
    """What went wrong and where: the innermost line of the application's own files, if any."""
    import traceback

    library = os.path.dirname(os.__file__)  # noqa: PTH120 - as they are written in a traceback
    foreign = (library, __file__, "<")
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename and not f.filename.startswith(foreign)]
    where = f"{own[-1].filename}:{own[-1].lineno}" if own else ""
    return {"kind": type(error).__name__, "text": " ".join(str(error).split())[:500], "where": where}


def examine(app: Any) -> dict[str, Any]:
    from celery import Celery

    if not isinstance(app, Celery):
        raise TypeError(f"this is no Celery application but a {type(app).__name__}")
    problems = []
    try:
        app.loader.import_default_modules()
    except Exception as error:
        problems.append(trouble(error))
    app.finalize(auto=True)
    conf = app.conf
    return {
        "versions": versions(),
        "files": files(app),
        "namespace": app.namespace or "",
        "settings": {name: setting(conf, name) for name in SETTINGS},
        "old_names": old_names(),
        "misspelt": misspelt(app),
        "serializers": serializers(),
        "tasks": tasks(app),
        "brokers": brokers(app),
        "transport_options": options(conf),
        "backend": backend(app, problems),
        "problems": problems,
    }


def plain(value: Any) -> Any:
    """`value` as JSON can say it: durations in seconds, anything strange as its text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return str(value)


def setting(conf: Any, name: str) -> Any:
    value = conf.get(name)
    return number(value) if name in NUMBERS else plain(value)


def number(value: Any) -> Any:
    """As a number where it is one, in seconds where it is a duration; None where Celery could not count with
    it."""
    value = plain(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return value if isinstance(value, (int, float)) else None


def versions() -> dict[str, str]:
    import amqp
    import celery
    import kombu

    return {
        "python": sys.version.partition(" ")[0],
        "celery": celery.__version__,
        "kombu": kombu.__version__,
        "amqp": amqp.__version__,
    }


def files(app: Any) -> dict[str, str]:
    """Where the application is made, and where it takes its settings from."""
    found = {"app": _file_of(getattr(app, "main", None)), "config": ""}
    # The module that made it: `main` is only a name, and often another one.
    for loaded in list(sys.modules.values()):
        if any(value is app for value in list(getattr(loaded, "__dict__", {}).values())):
            file = getattr(loaded, "__file__", "") or ""
            if file and "site-packages" not in file:
                found["app"] = file
                break
    source = app._config_source
    if isinstance(source, str):
        name = source.partition(":")[0]
        if source == "django.conf:settings":
            name = os.environ.get("DJANGO_SETTINGS_MODULE", "")
        found["config"] = _file_of(name) or _file_of(name.rpartition(".")[0])
    elif source is not None:
        module = getattr(source, "__module__", None) or getattr(source, "__name__", None)
        found["config"] = _file_of(module)
    return found


def _file_of(name: Any) -> str:
    module = sys.modules.get(name) if isinstance(name, str) else None
    return getattr(module, "__file__", "") or ""


def old_names() -> dict[str, str]:
    """Setting -> its name before Celery 4, which still works."""
    from celery.app.defaults import _TO_OLD_KEY

    return {name: _TO_OLD_KEY[name] for name in SETTINGS if name in _TO_OLD_KEY}


def misspelt(app: Any) -> list[list[str]]:
    """[what is set, the setting that was probably meant]: Celery ignores what it does not know."""
    from celery.app.defaults import _OLD_SETTING_KEYS, SETTING_KEYS

    prefix = f"{app.namespace}_" if app.namespace else ""
    found = []
    for name in sorted(_names_set(app)):
        # With a namespace all else is somebody else's; without, only settings look like settings.
        if not name.startswith(prefix) or name.startswith("_"):
            continue
        bare = name[len(prefix) :].lower()
        if bare in SETTING_KEYS or name in _OLD_SETTING_KEYS or bare in ("secret_key", "celery_secret_key"):
            if bare.endswith("secret_key") and (prefix or "celery" in bare):
                found.append([name, ""])
            continue
        near = difflib.get_close_matches(bare, SETTING_KEYS, 1, LIKENESS_MIN)
        if near and "_" in bare:
            found.append([name, near[0]])
    return found


def _names_set(app: Any) -> set[str]:
    """Every name in the places from which the application takes settings, less the defaults."""
    names: set[str] = set()
    for source in app.conf.maps[:-1]:
        keys = getattr(source, "keys", None)
        raw = getattr(source, "obj", None)
        listed = list(keys()) if keys is not None else []
        names.update(key for key in (*listed, *(dir(raw) if raw is not None else ())) if isinstance(key, str))
    return names


def options(conf: Any) -> dict[str, Any]:
    given = plain(conf.broker_transport_options)
    return given if isinstance(given, dict) else {}


def serializers() -> dict[str, Any]:
    """The content type of each serializer's name, and those types that are switched off."""
    from kombu.serialization import TRUSTED_CONTENT, registry

    return {
        "types": dict(registry.name_to_type),
        "disabled": sorted(registry._disabled_content_types),
        "trusted": sorted(TRUSTED_CONTENT),
    }


def tasks(app: Any) -> list[dict[str, Any]]:
    """The application's own tasks, with what is in force for each and where it is written."""
    found = []
    for name, task in sorted(app.tasks.items())[:TASKS_MAX]:
        if name.startswith("celery."):
            continue
        code = getattr(getattr(task, "_orig_run", task.run), "__code__", None)
        found.append(
            {
                "name": name,
                "file": getattr(code, "co_filename", "") or _file_of(type(task).__module__),
                "line": getattr(code, "co_firstlineno", 0),
                "serializer": plain(task.serializer),
                "time_limit": number(task.time_limit),
                "soft_time_limit": number(task.soft_time_limit),
                "rate_limit": plain(task.rate_limit),
                "acks_late": bool(task.acks_late),
                "reject_on_worker_lost": bool(task.reject_on_worker_lost),
                "expires": task.expires is not None,
            }
        )
    return found


def brokers(app: Any) -> list[dict[str, Any]]:
    """Every broker that is written to or read from, taken apart and not connected to."""
    from kombu.connection import Connection

    found: list[dict[str, Any]] = []
    for purpose, connection in (
        ("write", app.connection_for_write()),
        ("read", app.connection_for_read()),
    ):
        for url in connection.alt or [connection.as_uri(include_password=True)]:
            one = Connection(url) if isinstance(url, str) else connection
            entry = {
                "scheme": str(one.uri_prefix or one.transport_cls or ""),
                "transport": transport_name(connection.transport_cls or one.transport_cls),
                "host": one.hostname or "localhost",
                "port": int(one.port or 0),
                "user": one.userid or "",
                "password": one.password or "",
                "vhost": one.virtual_host or "/",
                "ssl": bool(connection.ssl or one.ssl),
                "confirms": bool((connection.transport_options or {}).get("confirm_publish")),
                "purposes": [purpose],
            }
            same = [other for other in found if {**other, "purposes": [purpose]} == entry]
            if same:
                same[0]["purposes"] += [purpose]
            else:
                found.append(entry)
    return found


def transport_name(transport: Any) -> str:
    if isinstance(transport, str):
        return transport
    return f"{transport.__module__}:{transport.__qualname__}" if transport is not None else ""


def backend(app: Any, problems: list[dict[str, str]]) -> dict[str, Any]:
    """The result backend's class, not the backend: some connect as they are made."""
    from celery.app.backends import by_url

    setting = app.backend_cls or app.conf.result_backend
    if not setting:
        return {"kind": "disabled", "expires_by_itself": True, "url": ""}
    try:
        chosen, url = by_url(setting, app.loader) if isinstance(setting, str) else (setting, None)
    except Exception as error:
        problems.append(trouble(error))
        scheme = str(setting).partition(":")[0].partition("+")[0]
        return {"kind": scheme, "expires_by_itself": scheme not in KEEPERS, "url": ""}
    return {
        "kind": f"{chosen.__module__}:{chosen.__qualname__}",
        "expires_by_itself": bool(getattr(chosen, "supports_autoexpire", False)),
        "url": url or (setting if isinstance(setting, str) and "://" in setting else ""),
        "redis": {name: plain(app.conf.get(f"redis_{name}")) for name in ("host", "port", "password", "db")},
    }


if __name__ == "__main__":
    main()
