"""Ranks and the devices that they use: GPUs that are shared, and devices on another NUMA node than the rank."""

from __future__ import annotations

from collections.abc import Iterator

from clusterbench.bench.disturbances.facts import Facts, HostFacts
from clusterbench.bench.finding import Finding


def shared_gpus(facts: Facts) -> Iterator[Finding]:
    """GPUs that several ranks take."""
    for host in facts.hosts:
        takers: dict[str, list[int]] = {}
        for rank in facts.ranks_of(host):
            if rank.gpu:
                takers.setdefault(rank.gpu, []).append(rank.rank)
        for gpu, ranks in takers.items():
            if len(ranks) > 1:
                yield Finding(
                    "gpu", "shared GPU", "warning", f"ranks {', '.join(map(str, ranks))} on {gpu} of {host.host}",
                    "kernels of one wait for those of the other, and NCCL refuses two ranks on a GPU",
                    f"mpiexec -n {len(takers)} ...   (Slurm: srun --gpus-per-task=1 --gpu-bind=single:1 ...)",
                )  # fmt: skip


def used_gpus(host: HostFacts) -> Iterator[Finding]:
    """GPUs on which somebody computes already."""
    for gpu in host.gpus:
        if gpu.processes:
            pids = ",".join(map(str, gpu.processes))
            yield Finding(
                "gpu", f"use of GPU {gpu.index}", "warning", f"computing for pid {pids}",
                "another process has its share of the GPU's time and memory",
                f"ps -o pid,user,etime,args -p {pids}   (whose they are; wait for them, or measure elsewhere)",
            )  # fmt: skip


def far_gpus(facts: Facts) -> Iterator[Finding]:
    """Ranks whose cores are all on other NUMA nodes than their GPU."""
    for host in facts.hosts:
        far = [
            (rank, node)
            for rank in facts.ranks_of(host)
            if (node := host.gpu_nodes.get(rank.gpu)) is not None and rank.numa_nodes and node not in rank.numa_nodes
        ]
        if far:
            named = "; ".join(
                f"rank {rank.rank} on node {', '.join(map(str, rank.numa_nodes))}, its GPU on node {node}"
                for rank, node in far[:4]
            )
            more = f" and {len(far) - 4} more" if len(far) > 4 else ""
            yield Finding(
                "gpu", "far GPU", "warning", f"{named}{more} of {host.host}",
                "whatever goes between host and GPU crosses the link of two sockets",
                f"srun --gpu-bind=closest ...   (or numactl --cpunodebind={far[0][1]} for rank {far[0][0].rank})",
            )  # fmt: skip


def far_cards(facts: Facts) -> Iterator[Finding]:
    """Ranks on other NUMA nodes than all network cards of their host, where the cards' nodes have cores for them."""
    if len(facts.hosts) < 2:
        return  # nothing goes over the network
    for host in facts.hosts:
        ranks = facts.ranks_of(host)
        near = {core for node in host.card_nodes for core in host.numa_nodes.get(node, ())} & set(host.cores)
        far = [str(rank.rank) for rank in ranks if rank.numa_nodes and not set(rank.numa_nodes) & set(host.card_nodes)]
        if near and far and len(ranks) <= len(near):
            nodes = ",".join(map(str, host.card_nodes))
            yield Finding(
                "ranks", "far network card", "warning",
                f"ranks {', '.join(far)} of {host.host}, whose cards are on node {nodes}",
                "their messages cross the link of two sockets on the way to the card",
                f"numactl --cpunodebind={nodes} --membind={nodes} ...",
            )  # fmt: skip
