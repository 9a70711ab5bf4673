"""With whom the ranks of a round exchange messages, which for some libraries makes these faster or slower: the answer
to one that announces a message waits behind what it is sent itself."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from clusterbench.collectives.schedule import Ints


class Partners(IntEnum):
    """To whom a rank sends, and from whom it receives at the same time."""

    OTHERS = 0
    """To one, and from another."""
    SAME = 1
    """To one, and from the same."""
    SEVERAL = 2
    """To several, or from several."""


def partners_of(src: Ints, dst: Ints) -> Partners:
    """`SEVERAL` where any rank of a round has several, and otherwise those of most messages, given their ranks; what
    goes from one to another in parts is one message."""
    if not len(src):
        return Partners.SAME
    ranks = int(max(src.max(), dst.max())) + 1
    pairs = np.unique(src * ranks + dst)
    src, dst = np.divmod(pairs, ranks)
    if max(int(np.bincount(end).max()) for end in (src, dst)) > 1:
        return Partners.SEVERAL
    back = np.isin(dst * ranks + src, pairs)
    return Partners.SAME if 2 * back.sum() > len(pairs) else Partners.OTHERS
