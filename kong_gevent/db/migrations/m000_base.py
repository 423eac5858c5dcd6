"""000_base: the tables of the first release."""

NAME = "000_base"

UP = {
    "sqlite": """
CREATE TABLE entities (
  kind TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL, idx BLOB NOT NULL, version INTEGER NOT NULL, expires REAL,
  PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE INDEX entities_expires ON entities (expires) WHERE expires IS NOT NULL;
CREATE TABLE unique_keys (
  kind TEXT NOT NULL, field TEXT NOT NULL, value TEXT NOT NULL, id TEXT NOT NULL,
  PRIMARY KEY (kind, field, value)) WITHOUT ROWID;
CREATE TABLE links (
  parent_kind TEXT NOT NULL, parent_id TEXT NOT NULL, kind TEXT NOT NULL, field TEXT NOT NULL, id TEXT NOT NULL,
  PRIMARY KEY (parent_kind, parent_id, kind, field, id)) WITHOUT ROWID;
CREATE TABLE tags (
  tag TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
  PRIMARY KEY (tag, kind, id)) WITHOUT ROWID;
CREATE TABLE events (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, entity TEXT NOT NULL, key TEXT NOT NULL, op TEXT NOT NULL,
  cache_keys TEXT NOT NULL, origin TEXT NOT NULL);
CREATE TABLE counts (
  key TEXT NOT NULL, origin TEXT NOT NULL, total INTEGER NOT NULL, expires REAL NOT NULL,
  PRIMARY KEY (key, origin)) WITHOUT ROWID;
CREATE INDEX counts_expires ON counts (expires);
"""
}
"""First half by strategy; statements end in a semicolon at the end of a line."""

FINISH: dict[str, str] = {}
"""Second half: none."""
