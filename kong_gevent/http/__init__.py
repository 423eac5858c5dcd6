"""HTTP/1.1 as rules on bytes: nothing here does I/O, so every rule can be tested without a socket."""
