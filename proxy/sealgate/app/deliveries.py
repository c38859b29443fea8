"""From `[deliver]` to who judges deliveries."""

from __future__ import annotations

from sealgate.config.settings import Settings
from sealgate.verify.checks import Verifier
from sealgate.verify.delivery import DeliveryPolicy, DeliveryVerifier, QueueTerms, Requirement
from sealgate.verify.targets import TargetPolicy


def build_delivery(settings: Settings, verifier: Verifier) -> DeliveryVerifier | None:
    """None where deliveries pass. `verifier` has the policy and the keys for both directions."""
    deliver = settings.deliver
    if deliver.action != "verify":
        return None
    policy = DeliveryPolicy(
        require=Requirement(deliver.require),
        countersigners=frozenset(deliver.countersigned_by),
        queues=tuple(
            [QueueTerms(queue.match, TargetPolicy(queue.target), queue.once) for queue in deliver.queue]
        ),
        tasks=deliver.tasks,
    )
    return DeliveryVerifier(policy, verifier)
