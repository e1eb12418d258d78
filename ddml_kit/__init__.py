"""Write a distributed algorithm once; run it on a simulated cluster and on real processes."""

__version__ = "0.1.0"
