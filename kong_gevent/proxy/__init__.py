"""Talking to peers: raw streams on the event loop, name resolution, pools of upstream connections."""
