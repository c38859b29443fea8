from __future__ import annotations

from sealgate.verify.policy import Rule
from support.sealed import a_policy, rules


def test_first_rule_that_matches_counts() -> None:
    policy = a_policy(
        observe_default=True,
        rules=(
            Rule(exchange="celery.pidbox", observe=False),
            Rule(task="app.*", user="ci", observe=False, content=rules("generic", "*")),
            Rule(task="app.*"),
            Rule(vhost="t-?", observe=False),
        ),
    )
    assert not policy.observes("/", "celery.pidbox", "app.add", "ci")
    assert not policy.observes("/", "", "app.add", "ci")
    assert policy.observes("t-1", "", "app.add", "x")
    assert not policy.observes("t-1", "", "x", "x")
    assert policy.observes("/", "", "", "")
    assert policy.content_for("/", "", "app.add", "ci") == rules("generic", "*")
    assert policy.content_for("/", "", "app.add", "x") == policy.content
    assert policy.content_for("/", "", "", "") == policy.content
