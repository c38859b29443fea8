"""One client-broker conversation: events in, commands out, no sockets.

    events    what happened (past participles)          commands  what the caller must do (imperatives)
    states    every state and every transition          limits    the bounds, with their reasons
    handshake the relay up to `connection.open-ok`      channel   one channel: content assembly, what is held
    login     who the client is, and who says so        legs      channel 0, refusing, draining, loss
    closing   how each leg of a connection closes
    confirms  the delivery-tag ledger                   refuse    how a refusal is told
    holding   queues that publications are sent to instead of to their target, for a while; detours sends them
    clamping  what bounds change                        originals what clients get back of it
    sealing   the headers that publishes leave with
    prefetch  what consumers may hold unacknowledged    declaring reply queues, and how long they stay
    lost      publishes that come back from such a queue, because it is gone
    incoming  the bytes of both peers, to who takes them; by turns, so that a broker works meanwhile
    straight  publishes that came whole, in one step    outbox    commands, collected until the event is done
    deliveries they are judged and handed over          answers   what the client says of them
    arriving   their assembly; refused_deliveries what is kept; delivery_book what these share
    straight_deliveries those that came whole, in one step; delivery_counts what they are counted as
    delivering consumers unacked                        one delivery; who consumes; what is unanswered
    counts    publishes, counted                        keyuse    what is known of the use of a key
    records   counts, and the record of a refusal
    session   the object that ties them together

`net.relay` feeds `Session.handle(event, now)` and carries out what comes back, in order; `net.passage` gives
bytes to `Session.receive`, and sends what lies in the outbox. Nobody else calls. The warning: any exception
makes the session ERROR for good, and an ERROR session forwards nothing.
"""
