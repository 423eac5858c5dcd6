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
""",
    "postgres": """
CREATE TABLE heads (
  one boolean PRIMARY KEY DEFAULT true CHECK (one), event bigint NOT NULL, version bigint NOT NULL)
  WITH (fillfactor = 10);
INSERT INTO heads (event, version) VALUES (0, 0);
CREATE TABLE entities (
  kind text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL, body bytea NOT NULL, idx bytea NOT NULL,
  version bigint NOT NULL, expires float8, PRIMARY KEY (kind, id));
CREATE INDEX entities_expires ON entities (expires) WHERE expires IS NOT NULL;
CREATE TABLE unique_keys (
  kind text COLLATE "C" NOT NULL, field text COLLATE "C" NOT NULL, value text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL, PRIMARY KEY (kind, field, value));
CREATE TABLE links (
  parent_kind text COLLATE "C" NOT NULL, parent_id text COLLATE "C" NOT NULL, kind text COLLATE "C" NOT NULL,
  field text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL,
  PRIMARY KEY (parent_kind, parent_id, kind, field, id));
CREATE TABLE tags (
  tag text COLLATE "C" NOT NULL, kind text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL,
  PRIMARY KEY (tag, kind, id));
CREATE TABLE events (
  id bigint PRIMARY KEY, at float8 NOT NULL, entity text NOT NULL, key text NOT NULL, op text NOT NULL,
  cache_keys bytea NOT NULL, origin text NOT NULL, txn uuid NOT NULL);
CREATE TABLE counts (
  key text COLLATE "C" NOT NULL, origin text COLLATE "C" NOT NULL, total bigint NOT NULL, expires float8 NOT NULL,
  PRIMARY KEY (key, origin)) WITH (fillfactor = 50);
CREATE INDEX counts_expires ON counts (expires);
""",
    "cassandra": """
CREATE TABLE IF NOT EXISTS log_state (
  log text, item text, seq bigint, entry uuid, at bigint, first bigint, place text, PRIMARY KEY (log, item))
  WITH speculative_retry = '100ms';
CREATE TABLE IF NOT EXISTS log (
  bucket bigint, seq bigint, entry uuid, part int, parts int, prev_seq bigint, prev_entry uuid, prev_at bigint,
  at bigint, won boolean, puts frozen<list<blob>>, drops blob, notes blob, PRIMARY KEY (bucket, seq, entry, part))
  WITH speculative_retry = '100ms' AND gc_grace_seconds = 10800
  AND compaction = {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'HOURS',
  'compaction_window_size': 6};
CREATE TABLE IF NOT EXISTS entities (
  kind text, bucket int, id text, expires double, data blob, PRIMARY KEY ((kind, bucket), id))
  WITH speculative_retry = '100ms';
CREATE TABLE IF NOT EXISTS unique_keys (
  kind text, field text, value text, data blob, PRIMARY KEY ((kind, field, value)))
  WITH speculative_retry = '100ms';
CREATE TABLE IF NOT EXISTS links (
  parent_kind text, parent_id text, kind text, field text, id text, expires double, data blob,
  PRIMARY KEY ((parent_kind, parent_id), kind, field, id))
  WITH speculative_retry = '100ms';
CREATE TABLE IF NOT EXISTS tags (
  bucket int, tag text, kind text, id text, expires double, PRIMARY KEY (bucket, tag, kind, id))
  WITH speculative_retry = '100ms';
CREATE TABLE IF NOT EXISTS counts (
  key text, origin text, total bigint, ends double, PRIMARY KEY (key, origin))
  WITH speculative_retry = '100ms' AND gc_grace_seconds = 10800;
""",
}
"""First half by strategy; statements end in a semicolon at the end of a line."""

# Cassandra: a replica that is frozen must not hold up reads until it is found out; by default, the server asks another
# one in its place only after half of its own timeout while it knows a table's usual pace too little.

FINISH: dict[str, str] = {}
"""Second half: none."""
