"""Plans of MSCCL as XML, put together from short lines."""

from __future__ import annotations


def step(
    kind: str, source: str = "i0", target: str = "i0", count: int = 1, *, after: str = "", tells: bool = False
) -> str:
    """A step from a place as in `o3` to another; `after` is `TB.STEP`."""
    depends, _, on = after.partition(".")
    return (
        f'<step s="?" type="{kind}" srcbuf="{source[0]}" srcoff="{source[1:]}" dstbuf="{target[0]}" '
        f'dstoff="{target[1:]}" cnt="{count}" depid="{depends or -1}" deps="{on or -1}" hasdep="{int(tells)}"/>'
    )


def block(*steps: str, send: int = -1, recv: int = -1, channel: int = 0) -> str:
    """A thread block; its steps are numbered here."""
    numbered = "\n".join(each.replace('s="?"', f's="{number}"') for number, each in enumerate(steps))
    return f'<tb id="?" send="{send}" recv="{recv}" chan="{channel}">\n{numbered}\n</tb>'


def gpu(*blocks: str, chunks: tuple[int, int, int]) -> str:
    """A GPU with the chunks of its input, output and scratch; its thread blocks are numbered here."""
    i, o, s = chunks
    numbered = "\n".join(each.replace('tb id="?"', f'tb id="{number}"') for number, each in enumerate(blocks))
    return f'<gpu id="?" i_chunks="{i}" o_chunks="{o}" s_chunks="{s}">\n{numbered}\n</gpu>'


def algo(collective: str, chunks: int, *gpus: str, placement: str = "in", name: str = "made up") -> str:
    """A whole file; `placement` is `in`, `out` or `both`."""
    numbered = "\n".join(each.replace('gpu id="?"', f'gpu id="{number}"') for number, each in enumerate(gpus))
    return (
        f'<!-- made for a test -->\n<algo name="{name}" proto="Simple" nchannels="1" nchunksperloop="{chunks}" '
        f'ngpus="{len(gpus)}" coll="{collective}" inplace="{int(placement != "out")}" '
        f'outofplace="{int(placement != "in")}" minBytes="0" maxBytes="4096">\n{numbered}\n</algo>\n'
    )


def ring(ranks: int) -> str:
    """A ring all-reduce in place by one thread block a GPU, which keeps nothing of what it passes on at first."""
    made = []
    for rank in range(ranks):
        before = [f"i{(rank - back) % ranks}" for back in range(2 * ranks)]
        reducing = [step("rrs", at, at) for at in before[1 : ranks - 1]]
        passing = [step("rcs", at, at) for at in before[ranks : 2 * ranks - 2]]
        last = before[2 * ranks - 2]
        own = before[ranks - 1]
        steps = [step("s", before[0]), *reducing, step("rrcs", own, own), *passing, step("r", last, last)]
        made.append(gpu(block(*steps, send=(rank + 1) % ranks, recv=(rank - 1) % ranks), chunks=(ranks, 0, 0)))
    return algo("allreduce", ranks, *made)


def all_pairs() -> str:
    """An all-reduce of three ranks, each of which gathers into scratch and waits for both by steps that do nothing."""
    made = []
    for rank in range(3):
        others = [(rank + 1) % 3, (rank + 2) % 3]
        sends = [block(step("s", "i0", tells=True), send=peer) for peer in others]
        receives = [block(step("r", "i0", f"s{n}", tells=True), recv=peer) for n, peer in enumerate(others)]
        waits = [step("nop", "i-1", "o-1", 0, after=f"{number}.0") for number in range(3)]
        sums = [step("re", "s0", "i0", after="3.0"), step("re", "s1", "i0")]
        made.append(gpu(*sends, *receives, block(*waits, *sums), chunks=(1, 0, 2)))
    return algo("allreduce", 1, *made)


def late() -> str:
    """An all-reduce of two ranks out of place that needs its inputs when its outputs are written already."""
    zero = gpu(
        block(step("r", "i0", "o0", tells=True), step("re", "i0", "o0"), recv=1),
        block(step("s", "i0", after="0.0"), send=1),
        chunks=(1, 1, 0),
    )
    one = gpu(
        block(step("r", "i0", "o0"), step("re", "i0", "o0"), recv=0), block(step("s", "i0"), send=0), chunks=(1, 1, 0)
    )
    return algo("allreduce", 1, zero, one, placement="out")


def overtaken() -> str:
    """An all-gather of two ranks whose first message is received last, when its cell was long written again."""
    zero = gpu(
        block(step("cpy", "o0", "s0"), step("s", "s0", tells=True), send=1),
        block(step("r", "o1", "s0", after="0.1", tells=True), step("cpy", "s0", "o1"), recv=1),
        block(step("s", "s0", after="1.0"), send=1, channel=1),
        chunks=(0, 2, 1),
    )
    one = gpu(
        block(step("r", "o0", "o0", after="2.0"), recv=0),
        block(step("s", "o1"), send=0),
        block(step("r", "o0", "o0", tells=True), recv=0, channel=1),
        chunks=(0, 2, 1),
    )
    return algo("allgather", 2, zero, one)
