"""The sockets: the only room that knows asyncio transports.

    listener   accepts clients, within the limits       relay      one session and its two sockets
    dialing    finds a relay its broker                 leg        one socket: its flow, its TLS, its end
    upstream   dials one of them                        passage    from a socket to the other, by the session
    endpoints  which broker is tried first              connecting every address of a name
    tls        contexts for both legs                   sockets    binding, keepalive, closing the door
    logins     who may log in, asked beside the loop    proxy_header  who a load balancer's client is
    reading    that header and nothing more, from a socket
    warn       how what peers do wrong is told          shared     what relays are given

`app` builds a `Listener` and hands it what relays need. The warning: nothing here may wait for a peer; a
peer that does not read stops only what is sent to it (protocol.md B1 to B3).
"""
