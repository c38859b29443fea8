"""`sealgate keys`: make keys, look at a key file, check it, and rotate the keys in it.

listing     generate, list, check
rotate      begin, promote, retire; `status` and `revoking` have the other two, `steps` what they ask of
            files, `telling` what they say
successor   the new key of a rotation: its material, and where that goes
naming      its name
judging     whether a step may be done now: pure, all reasons at once
gateways    what running gateways know of keys (`GET /keys`); `asked` with what a configuration says
keyfiles    key files read without their secrets and changed together; `editing` has their text, `writing`
            the disk

stored      the steps for secrets in AWS; `aws_stages` moves their stages

Its one warning: tomlkit, which only `editing` uses, is imported when a file is changed.
"""

from __future__ import annotations

import click

from sealgate.cli.keys.listing import check, generate, list_command
from sealgate.cli.keys.rotate import rotate


@click.group()
def keys() -> None:
    """Make, list, check and rotate the keys of a key file."""


for _command in (generate, list_command, check, rotate):
    keys.add_command(_command)
