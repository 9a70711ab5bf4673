"""Rows of a simulation: the table of a measurement, with evidence `simulated`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from clusterbench.bench.choices import BEST
from clusterbench.bench.names import nccl_name
from clusterbench.collectives.algorithm import LIBRARY, Call, Spec, UnsuitableAlgorithmError
from clusterbench.collectives.bounds.bounds import Limits, limits
from clusterbench.collectives.collective import Collective
from clusterbench.collectives.discovery import schedule, suitable
from clusterbench.collectives.schedule import Ints, Schedule
from clusterbench.collectives.simulator.costs import Costs
from clusterbench.collectives.simulator.prediction import Prediction
from clusterbench.collectives.topology.graph import Topology
from clusterbench.results import rates
from clusterbench.results.record import Measurement
