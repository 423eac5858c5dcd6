"""Raw HTTP fixtures and what must become of them."""
