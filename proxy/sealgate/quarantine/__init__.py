"""Quarantine: what was refused is kept, whole, where an operator can look at it.

    record    a RefusalRecord as an AMQP message and back; pure
    pending   the bounded waiting room between the data path and the broker
    link      one aio-pika connection: declare, publish with confirm
    publish   Quarantine: `keep` takes a record at once, one task takes it to the broker
    queues    declares the queues that hold messages which wait (`session.holding`)
    emptying  empties those that messages of a paused task are parked in
    browse    list, look at and throw away what is kept, for the command line
    describe  a kept publication in words, for the command line

`app` builds the one `Quarantine` and hands its `keep` to the sessions, and `Queues` to the relays;
`cli.quarantine` uses `browse`.

Warning: records hold bodies and signatures. They leave this room only to the quarantine queue and to the
operator who asks for them; no log line, header or error text here may carry them.
"""
