"""Live traces of requests, on all workers of a node, at no cost while nobody traces."""
