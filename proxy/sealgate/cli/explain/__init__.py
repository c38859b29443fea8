"""`sealgate explain`: why one message passes or not, check by check.

`given` reads the message, `json_wire` turns one written as JSON into what would be on the wire; `steps` asks
every check, and makes `findings` of them; where the signature is bad `guesses` tries which change makes it
good, and `compare` holds the message against its original. `text` prints, `command` is called. Its one
warning: what is printed ends in tickets and chats, so no secret, no signature and no whole body.
"""
