"""Where a program runs: clusters, communicators, runs."""

from ddml_kit.cluster.comm import Comm
from ddml_kit.cluster.endpoint import ANY, Message, Pending
from ddml_kit.cluster.errors import ClusterError, Deadlock, RankFailed, Stopped, Timeout
from ddml_kit.cluster.run import Cluster, Curve, Metric, Run, Running, Snapshot
from ddml_kit.cluster.trace import Trace

__all__ = [
    "ANY",
    "Cluster",
    "ClusterError",
    "Comm",
    "Curve",
    "Deadlock",
    "Message",
    "Metric",
    "Pending",
    "RankFailed",
    "Run",
    "Running",
    "Snapshot",
    "Stopped",
    "Timeout",
    "Trace",
]
