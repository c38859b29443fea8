"""How compiled classes lie in memory. Uncompiled it means nothing, and so needs nothing installed.

    @mypyc_attr(acyclic=True, free_list_len=1)

says of a class that its objects never lead back to themselves, so that the collector of cycles need not know
them, and that the last one that was let go is kept for the next. That is for what is made once for each
message: it costs a fifth of what making an object costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr as mypyc_attr
else:

    def mypyc_attr(**_):
        return lambda found: found
