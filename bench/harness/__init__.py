"""Benchmarks of the gateway as ratios to nginx, measured in the same run.

Reads: ``cli`` (what one command does), ``cases`` (what wrk asks for), ``figures`` (everything that is not a wrk run).
Standard library only: the harness must run on a machine where nothing but the gateway is installed.
"""
