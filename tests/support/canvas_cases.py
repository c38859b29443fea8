"""Canvas cases: what a message has workers publish, permitted and forbidden.

A case is a message and what it must come to. Those that are forbidden have the evidence that a worker which
nothing protects obeys them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from support.canvas_project import PARKED, SECRET
from support.canvas_shapes import EVIL, FAIL, STEP, forged, mapped, nested, protocol_1, sig, structure
from support.canvas_stage import mark
from support.hostile_broker import Arrived
from support.hostile_publish import Draft
from support.sealed import task_headers


@dataclass(frozen=True)
class Permitted:
    """A message that is let in, and the tasks that run because of it."""

    draft: Callable[[str], Draft]
    runs: Counter[str]
    kid: str = "narrow"


@dataclass(frozen=True)
class Forbidden:
    """A message that is refused, and what shows that a worker obeys it when nobody refuses it."""

    draft: Callable[[str], Draft]
    reason: str
    kid: str = "narrow"
    #: A task that runs, or (queue, what is true of a message there).
    evidence: str | tuple[str, Callable[[Arrived], bool]] = EVIL


def runs(*tasks: str) -> Counter[str]:
    return Counter(tasks)


PERMITTED: dict[str, Permitted] = {
    "callback": Permitted(lambda c: forged(c, callbacks=[sig(STEP)]), runs(STEP, STEP)),
    "callbacks_in_a_group": Permitted(
        lambda c: forged(c, callbacks=[structure("group", tasks=[sig(STEP), sig(STEP)]), sig(STEP)]),
        runs(*[STEP] * 4),
    ),
    "errback_new": Permitted(lambda c: forged(c, FAIL, errbacks=[sig("shop.told")]), runs(FAIL, "shop.told")),
    "errback_old": Permitted(lambda c: forged(c, FAIL, errbacks=[sig("shop.undo")]), runs(FAIL, "shop.undo")),
    "errback_by_name": Permitted(lambda c: forged(c, FAIL, errbacks=["shop.undo"]), runs(FAIL, "shop.undo")),
    "chain": Permitted(lambda c: forged(c, chain=[sig(STEP), sig(STEP)]), runs(STEP, STEP, STEP)),
    "chord_as_callback": Permitted(
        lambda c: forged(
            c, callbacks=[structure("chord", header=[sig(STEP, mark(c)), sig(STEP, mark(c))], body=sig(STEP))]
        ),
        runs(*[STEP] * 4),
    ),
    "chord_in_chord": Permitted(
        lambda c: forged(
            c,
            callbacks=[
                structure(
                    "chord",
                    header=[structure("chord", header=[sig(STEP, mark(c))], body=sig(STEP, mark(c)))],
                    body=sig(STEP, mark(c)),
                )
            ],
        ),
        runs(*[STEP] * 4),
    ),
    "options_within_the_key": Permitted(
        lambda c: forged(
            c,
            callbacks=[
                sig(
                    STEP,
                    queue="slow",
                    reply_to="replies.1",
                    priority=3,
                    serializer="json",
                    headers={"t": "a"},
                )
            ],
        ),
        runs(STEP, STEP),
    ),
    "exchange_within_the_key": Permitted(
        lambda c: forged(c, callbacks=[sig(STEP, exchange="", routing_key="slow")]), runs(STEP, STEP)
    ),
    "retry_with_headers": Permitted(
        lambda c: forged(c, "shop.again", headers={"headers": {"trace": "t"}, "tenant": "a"}),
        runs("shop.again", "shop.again"),
    ),
    "stamps": Permitted(
        lambda c: forged(c, callbacks=[sig(STEP, visit="v", stamped_headers=["visit"])]), runs(STEP, STEP)
    ),
    "replaced_by_a_chain": Permitted(
        lambda c: forged(c, "shop.replaced", [mark(c), "chain"], chain=[sig(STEP, mark(c))]),
        runs("shop.replaced", STEP, STEP, STEP),
    ),
    "replaced_by_a_group": Permitted(
        lambda c: forged(c, "shop.replaced", [mark(c), "group"], callbacks=[sig(STEP, mark(c))]),
        runs("shop.replaced", STEP, STEP, "celery.accumulate", STEP),
    ),
    "deep": Permitted(lambda c: forged(c, callbacks=[nested(20, sig(STEP), mark(c))]), runs(*[STEP] * 21)),
    "map": Permitted(
        lambda c: forged(c, "celery.map", [], {"task": sig(STEP), "it": [mark(c), mark(c)]}),
        runs("celery.map", STEP, STEP),
        "wide",
    ),
    "starmap_as_callback": Permitted(
        lambda c: forged(c, callbacks=[mapped("starmap", "xstarmap", STEP, [[mark(c), 1]])]),
        runs(STEP, "celery.starmap", STEP),
        "wide",
    ),
    "chunks_as_callback": Permitted(
        lambda c: forged(c, callbacks=[mapped("chunks", "chunks", STEP, [[mark(c)], [mark(c)]], n=1)]),
        runs(STEP, "celery.starmap", "celery.starmap", STEP, STEP),
        "wide",
    ),
    "protocol_1": Permitted(lambda c: protocol_1(c, callbacks=[sig(STEP)]), runs(STEP, STEP)),
    "arguments_that_look_like_signatures": Permitted(
        lambda c: forged(c, args=[mark(c), sig(EVIL)], kwargs={"link": [sig(EVIL)], "task": EVIL}), runs(STEP)
    ),
}


def _pickled(arrived: Arrived) -> bool:
    return bool(arrived.properties.content_type == "application/x-python-serialize")


def _compressed(arrived: Arrived) -> bool:
    return bool(arrived.properties.headers.get("compression") == "application/x-bz2")


def _is_a_task(arrived: Arrived) -> bool:
    return bool(arrived.properties.headers.get("task") == STEP)


FORBIDDEN: dict[str, Forbidden] = {
    "bad_callback": Forbidden(lambda c: forged(c, callbacks=[sig(EVIL)]), "acl.task"),
    "bad_errback": Forbidden(lambda c: forged(c, FAIL, errbacks=[sig(EVIL)]), "acl.task"),
    "bad_errback_by_name": Forbidden(lambda c: forged(c, FAIL, errbacks=[EVIL]), "acl.task"),
    "bad_chain_step": Forbidden(lambda c: forged(c, chain=[sig(EVIL), sig(STEP)]), "acl.task"),
    "bad_callback_of_a_callback": Forbidden(
        lambda c: forged(c, callbacks=[nested(5, sig(EVIL), mark(c))]), "acl.task"
    ),
    "bad_group_member": Forbidden(
        lambda c: forged(c, callbacks=[structure("group", tasks=[sig(STEP), sig(EVIL)])]), "acl.task"
    ),
    "bad_chord_header": Forbidden(
        lambda c: forged(
            c, callbacks=[structure("chord", header=[sig(EVIL, mark(c)), sig(STEP)], body=sig(STEP))]
        ),
        "acl.task",
    ),
    "bad_chord_body": Forbidden(
        lambda c: forged(
            c, callbacks=[structure("chord", header=[sig(STEP, mark(c)), sig(STEP)], body=sig(EVIL, mark(c)))]
        ),
        "acl.task",
    ),
    "bad_errback_of_a_chord_body": Forbidden(
        lambda c: forged(
            c,
            callbacks=[
                structure(
                    "chord", header=[sig(FAIL), sig(STEP)], body=sig(STEP, link_error=[sig(EVIL, mark(c))])
                )
            ],
        ),
        "acl.task",
    ),
    "bad_step_after_replacement": Forbidden(
        lambda c: forged(
            c,
            "shop.replaced",
            [mark(c), "chain"],
            headers={"replaced_task_nesting": 3},
            chain=[sig(EVIL, mark(c))],
        ),
        "acl.task",
    ),
    "bad_stamped": Forbidden(
        lambda c: forged(
            c,
            headers={"stamped_headers": ["visit"], "stamps": {"visit": ["v"]}},
            callbacks=[sig(EVIL, visit="v", stamped_headers=["visit"])],
        ),
        "acl.task",
    ),
    "bad_map": Forbidden(
        lambda c: forged(c, "celery.map", [], {"task": sig(EVIL), "it": [mark(c)]}), "acl.task", "wide"
    ),
    "bad_starmap": Forbidden(
        lambda c: forged(c, callbacks=[mapped("starmap", "xstarmap", EVIL, [[mark(c)]])]),
        "acl.task",
        "wide",
    ),
    "bad_chunks": Forbidden(
        lambda c: forged(c, callbacks=[mapped("chunks", "chunks", EVIL, [[mark(c)]], n=1)]),
        "acl.task",
        "wide",
    ),
    "bad_protocol_1": Forbidden(lambda c: protocol_1(c, callbacks=[sig(EVIL)]), "acl.task"),
    "task_in_headers_of_a_callback": Forbidden(
        lambda c: forged(c, callbacks=[sig(STEP, headers={"task": EVIL})]), "acl.task"
    ),
    "task_in_headers_of_a_retry": Forbidden(
        lambda c: forged(c, "shop.again", headers={"headers": {"task": EVIL}}), "acl.task"
    ),
    "callbacks_in_a_header": Forbidden(
        lambda c: Draft(
            json.dumps([[mark(c)], {}, {}]).encode(),
            task_headers(task=STEP, id=mark(c), root_id=mark(c), callbacks=[sig(EVIL)]),
        ),
        "acl.task",
    ),
    "options_in_options": Forbidden(
        lambda c: forged(
            c, callbacks=[structure("chain", {"options": {"link": [sig(EVIL)]}}, tasks=[sig(STEP, mark(c))])]
        ),
        "celery.envelope",
    ),
    "bad_chord_unlock": Forbidden(
        lambda c: forged(c, "celery.chord_unlock", ["g", sig(EVIL, mark(c))], {"result": []}),
        "acl.task",
        "wide",
    ),
    "options_as_pairs": Forbidden(
        lambda c: forged(
            c,
            callbacks=[
                structure(
                    "chord", [["link", [sig(EVIL)]]], header=[sig(STEP, mark(c))], body=sig(STEP, mark(c))
                )
            ],
        ),
        "celery.envelope",
    ),
    "options_as_arguments_of_a_chord": Forbidden(
        lambda c: forged(
            c,
            "celery.chord",
            [],
            {"header": [sig(STEP, mark(c))], "body": sig(STEP, mark(c)), "link": [sig(EVIL)]},
        ),
        "acl.task",
        "wide",
    ),
    "map_of_a_group": Forbidden(
        lambda c: forged(
            c,
            "celery.starmap",
            [],
            {"task": "celery.group", "it": [[[sig(EVIL, mark(c))], [["g", None], []], "g", []]]},
        ),
        "celery.envelope",
        "wide",
    ),
    "result_that_becomes_a_task": Forbidden(
        lambda c: forged(
            c,
            args=[EVIL],
            callbacks=[{**sig("celery.map", [mark(c)]), "immutable": False}],
        ),
        "celery.envelope",
        "wide",
    ),
    "names_of_a_signature": Forbidden(
        lambda c: forged(c, FAIL, errbacks={**sig(STEP), EVIL: 1}), "celery.envelope"
    ),
    "secret_queue": Forbidden(
        lambda c: forged(c, callbacks=[sig(STEP, queue=SECRET)]),
        "acl.routing_key",
        evidence=(SECRET, _is_a_task),
    ),
    "secret_routing_key": Forbidden(
        lambda c: forged(c, callbacks=[sig(STEP, exchange="amq.direct", routing_key=PARKED)]),
        "acl.exchange",
        evidence=(SECRET, _is_a_task),
    ),
    "route_of_another_task": Forbidden(
        lambda c: forged(c, callbacks=[sig(STEP, route_name="vault.open")]),
        "acl.task",
        evidence=(SECRET, _is_a_task),
    ),
    "copy_by_header": Forbidden(
        lambda c: forged(c, callbacks=[sig(STEP, headers={"CC": [SECRET]})]),
        "header.routing",
        evidence=(SECRET, _is_a_task),
    ),
    "events_exchange": Forbidden(
        lambda c: forged(c, callbacks=[sig(STEP, exchange="celeryev", routing_key="task.sent")]),
        "acl.exchange",
        evidence=(SECRET, _is_a_task),
    ),
    "results_of_somebody_else": Forbidden(
        lambda c: forged(c, callbacks=[sig("shop.again", reply_to="victim")]),
        "acl.reply_to",
        evidence="victim",
    ),
    "pickle_by_a_worker": Forbidden(
        lambda c: forged(c, callbacks=[sig(STEP, queue=PARKED, serializer="pickle")]),
        "content.type",
        evidence=(PARKED, _pickled),
    ),
    "compressed_by_a_worker": Forbidden(
        lambda c: forged(c, callbacks=[sig(STEP, queue=PARKED, compression="bzip2")]),
        "content.compression",
        evidence=(PARKED, _compressed),
    ),
    "id_that_is_a_path": Forbidden(
        lambda c: forged(c, callbacks=[sig(STEP, task_id="../../etc/x")]), "celery.id", evidence="../../etc/x"
    ),
    "too_deep": Forbidden(
        lambda c: forged(c, callbacks=[nested(40, sig(STEP, "bottom"), mark(c))]),
        "celery.embedded_depth",
        evidence="bottom",
    ),
}
