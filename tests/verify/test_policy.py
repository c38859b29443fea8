from __future__ import annotations

from sealgate.verify.policy import HeaderNames, Policy, Rule
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
    assert policy.content_for("/", "", HeaderNames("app.add", ""), "ci") == rules("generic", "*")
    assert policy.content_for("/", "", HeaderNames("app.add", ""), "x") == policy.content
    assert policy.content_for("/", "", HeaderNames("", ""), "") == policy.content


def test_task_that_is_not_known_is_observed_only_where_every_task_is() -> None:
    policy = a_policy(
        rules=(
            Rule(task="a", observe=True),
            Rule(exchange="x", task="b", observe=False),
            Rule(exchange="z", task="c"),
            Rule(observe=True),
        )
    )
    assert policy.observes("/", "", None, "")
    assert policy.observes("/", "x", "c", "")
    assert not policy.observes("/", "x", None, "")
    assert not policy.observes("/", "z", None, "")


def test_rule_for_other_content_goes_by_the_name_of_its_own_profile() -> None:
    for profile, names in (("taskiq", HeaderNames("", "t")), ("generic", HeaderNames("t", ""))):
        policy = a_policy(rules=(Rule(task="t", content=rules(profile)),))
        assert policy.content_for("/", "", names, "").profile == profile
        assert policy.content_for("/", "", HeaderNames(names.taskiq, names.celery), "").profile == "celery"
    policy = a_policy(rules=(Rule(task="t", content=rules("dramatiq")),))
    assert policy.content_for("/", "", HeaderNames("t", "t"), "").profile == "celery"


def test_rule_of_a_message_is_the_first_that_matches_all_of_it() -> None:
    rules = (Rule(exchange="celery.pidbox"), Rule(task="shop.*"), Rule(vhost="other"), Rule(user="guest"))
    policy = Policy("prod", rules=rules)
    assert policy.rule_of("/", "celery.pidbox", "shop.add", "guest") == 0
    assert policy.rule_of("other", "", "shop.add", "guest") == 1
    assert policy.rule_of("other", "", "", "guest") == 2
    assert policy.rule_of("/", "", "else", "guest") == 3
    assert policy.rule_of("/", "", "else", "web") is None
