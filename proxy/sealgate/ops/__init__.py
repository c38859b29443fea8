"""What an operator sees: metrics, health, the status page, logs and the audit.

    metrics   the counters of `session.records.Tally` as Prometheus metrics
    health    named checks behind /livez and /readyz, and the loop's lag
    status    the small page at /
    keys      the keys in force and what is known of their use, at /keys; key_metrics; key_ends which end soon
    tables    rows as a page or as JSON
    changes   what is asked to be changed there, and by whom it may be
    pages     all of these as answers; admin serves them over HTTP, plain_admin with less memory
    sums      the tallies of several processes as one
    logging   JSON or text on stderr; repeats counted, not printed
    audit     one record per refusal, paced

`app` builds one of each; nothing here is called on the data path but `Audit.write`.

Warning: whatever is written here leaves the process. No body, header value, secret or signature may.
"""
