"""Tests of the gateway: units, raw HTTP fixtures, fuzzing and real processes."""
