"""What Sealgate costs, beside what others cost, in one run. `make bench`; README.md says how to read it.

    __main__    options; which parts run; what is printed and written
    parts/      one measurement each: takes the machinery, gives series and ratios
    judging     series of runs, and ratios with their limits
    stage       the servers and proxies of a benchmark, each a process of its own
    gates       Sealgate's processes: configuration, plain or compiled
    rivals/     what it is compared with: a copy, the floor, a relay as one writes it first
    native/     generator, swallowing broker and consumer, in C
    client      handshakes, then the sockets go to native/
    messages    sealed publishes as bytes, made fast
    report      tables; results.json; the figures in the documents
    plots svg   the charts in docs/figures
    profile     where a gateway's time goes, as a flame graph

The programs measure; nothing here optimises.
"""
