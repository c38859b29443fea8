"""Configuration: from the command line, the environment and a TOML file to one checked `Settings`.

    fields.py     kinds of values: durations, addresses, URLs, references
    settings.py   the contract: every key, its default and meaning
    bound_settings.py  its [[bound]] tables
    schema.py     the JSON Schema of all that
    rules.py      what one key says about another (bound_rules.py: of a bound)
    presets.py    complete policies for one place each, the lowest layer
    layers.py     the layers, lowest to highest, and where each value came from
    loading.py    layers in, `Loaded` settings out, or every error at once
    sources.py    text behind references; the keyring behind keys.source
    remote.py     stores on the network, behind one interface: vault.py, aws.py (store_settings.py: tables;
                  bounded_http.py: answers that end)
    checking.py   what only the machine can tell: files, permissions, keys
    reload.py     keys and users, read again when their sources change
    printing.py   settings back as TOML, with origins, without secrets

`cli` loads and prints, `app` gets the `Settings` and keeps a `KeySource`. Its one warning: no message from
here may hold a value that can be a secret; errors name the key or the reference, never what is in it.
"""
