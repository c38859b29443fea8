"""What Celery is configured with: `broker_transport = "sealgate.celery:Transport"`."""

from __future__ import annotations

from sealgate.integrations.kombu import Connection, Transport

__all__ = ["Connection", "Transport"]
