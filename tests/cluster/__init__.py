"""Several nodes that share a datastore, a Redis server, a load balancer."""
