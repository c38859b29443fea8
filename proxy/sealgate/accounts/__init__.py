"""Who may log in, where Sealgate itself is asked (`credentials.mode = "replace"`).

    passwords  scrypt hashes in a PHC string         users     the users in force, by name and certificate
    userfile   users.toml -> users, or all its errors  attempts  counters of failures, and lock-outs
    login      what is asked and answered            desk      one login: before and after its hash

`config` reads the file, `net` runs the hashes, `session` speaks with both peers. The warning: an unknown user
must cost and look like a wrong password, so whatever refuses goes through `desk`.
"""
