"""The data plane: the plan of what to do with requests, the phases, the workers that carry it out."""
