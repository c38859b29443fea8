"""The built-in broker of `sealgate demo` and `sealgate dev`: AMQP 0-9-1 in one process, all in memory.

    server     listens, and what may be asked from outside      vhost        exchanges, queues, routing
    connection frames, handshake, heartbeats, closing           exchange     direct, fanout, topic, bindings
    channel    one channel: state, topology methods             queue        messages, limits, time to live
    publishing content in, confirms and returns out             deadletter   x-death and its cycles
    consuming  consumers, get, prefetch, acknowledgements       message      a message and its properties
    methods    what pamqp is too strict to encode               errors       errors as RabbitMQ words them

Called by `cli.demo` and `cli.dev` only. The warning: it is never offered for production. It keeps nothing
over a restart, takes any user and password, has one virtual host, and no transactions, no headers
exchanges; every queue type is a classic queue in memory.
"""
