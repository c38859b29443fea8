"""A Django project as `django-admin startproject` and Celery's documentation lay it out."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.doctor_apps import PERFECT, doctor, findings_of, pairs, setting_lines

_CELERY = """\
import os
from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
_TASKS = """\
from celery import shared_task
from django.contrib.auth.models import User  # needs django.setup()


@shared_task(time_limit=30, soft_time_limit=45)
def mail():
    pass
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lacks the prefetch multiplier, has a misspelt setting, and a task with odd limits."""
    settings = {**PERFECT, "worker_prefetch_multiplyer": 1, "accept_content": ["json", "pickle"]}
    del settings["worker_prefetch_multiplier"]
    lines = [
        'SECRET_KEY = "of-django-itself"',
        "USE_TZ = True",
        'INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "mailer"]',
        'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}',
        "worker_pool = 'threads'  # no setting of Celery's: it lacks the prefix",
    ]
    for name in ("shop", "mailer"):
        (tmp_path / name).mkdir()
    (tmp_path / "shop/__init__.py").write_text("from .celery import app as celery_app\n")
    (tmp_path / "shop/celery.py").write_text(_CELERY)
    (tmp_path / "shop/settings.py").write_text("\n".join(lines) + "\n" + setting_lines(settings, "CELERY"))
    (tmp_path / "mailer/__init__.py").write_text("")
    (tmp_path / "mailer/tasks.py").write_text(_TASKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    return tmp_path


def test_a_django_projects_settings_are_examined_under_their_prefix(project: Path) -> None:
    found = findings_of(project)
    assert pairs(found) == {
        ("celery.pickle", "accept_content:pickle"),
        ("celery.prefetch", "worker_prefetch_multiplier"),
        ("celery.misspelt", "CELERY_WORKER_PREFETCH_MULTIPLYER"),
        ("celery.soft-over-hard", "mailer.tasks.mail"),
    }
    by_id = {finding["id"]: finding for finding in found}
    pickle = by_id["celery.pickle"]
    assert (pickle["file"], pickle["change"]) == ("shop/settings.py", 'CELERY_ACCEPT_CONTENT = ["json"]')
    lines = (project / "shop/settings.py").read_text().splitlines()
    assert lines[pickle["line"] - 1].startswith("CELERY_ACCEPT_CONTENT")
    assert by_id["celery.misspelt"]["change"].endswith("to CELERY_WORKER_PREFETCH_MULTIPLIER")
    task = by_id["celery.soft-over-hard"]
    assert (task["file"], task["line"]) == ("mailer/tasks.py", 5)


def test_settings_alone_are_examined_too(project: Path) -> None:
    """Without the application its tasks are unknown; everything else is the same."""
    result = doctor("celery", "--django", "shop.settings", "--workdir", project)
    told = result.stdout
    assert result.exit_code == 1
    assert told.startswith("Celery application shop.settings: ")
    for rule in ("celery.pickle", "celery.prefetch", "celery.misspelt"):
        assert rule in told
    assert "limits-not-enforced" not in told
    assert "shop/settings.py" in told


def test_another_settings_module_and_prefix(tmp_path: Path) -> None:
    lines = setting_lines(PERFECT, "QUEUE") + "TASK_SERIALIZER = 'pickle'\n"
    (tmp_path / "settings.py").write_text(lines)
    given = ("celery", "--config-from", "settings", "--workdir", tmp_path)
    assert doctor(*given, "--namespace", "QUEUE").exit_code == 0
    other = doctor(*given, "--namespace", "CELERY").stdout
    assert "celery.no-time-limit" in other
    assert "celery.pickle" not in other
