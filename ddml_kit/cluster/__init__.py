"""Where a program runs: clusters, communicators, runs."""

from ddml_kit.cluster.comm import Comm
from ddml_kit.cluster.endpoint import ANY, Message, Pending
from ddml_kit.cluster.errors import ClusterError, Deadlock, RankFailed, Stopped, Timeout
from ddml_kit.cluster.faults import Constant, Exponential, Pareto, Transient
from ddml_kit.cluster.network import Network
from ddml_kit.cluster.processes import Processes
from ddml_kit.cluster.run import Cluster, Curve, Metric, Run, Running, Snapshot
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.cluster.torchrun import Torchrun
from ddml_kit.cluster.trace import Trace

__all__ = [
    "ANY",
    "Cluster",
    "ClusterError",
    "Comm",
    "Constant",
    "Curve",
    "Deadlock",
    "Exponential",
    "Message",
    "Metric",
    "Network",
    "Pareto",
    "Pending",
    "Processes",
    "RankFailed",
    "Run",
    "Running",
    "Simulated",
    "Snapshot",
    "Stopped",
    "Timeout",
    "Torchrun",
    "Trace",
    "Transient",
]
