"""The command line: `ddml-kit run` names a program, a problem and a cluster, and keeps the run."""
