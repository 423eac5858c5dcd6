"""The gateway's own connection loop and the plain WSGI callable give the same answers to the same requests."""
