-- Minutes as the nodes have recorded them, each node in its own rows. The owner of a part merges them into history.
CREATE TABLE fresh_minutes (
  part SMALLINT NOT NULL,
  channel TEXT NOT NULL,
  start BIGINT NOT NULL,
  node BIGINT NOT NULL,
  data BYTES NOT NULL,
  PRIMARY KEY (part, channel, start, node)
) ORDERED BY KEY;

-- Rows of 300 and 900 seconds. A row of 300 seconds also has its minutes, until they are two days old.
CREATE TABLE history (
  channel TEXT NOT NULL,
  step INTEGER NOT NULL,
  start BIGINT NOT NULL,
  tally BYTES NOT NULL,
  minutes BYTES,
  PRIMARY KEY (channel, step, start)
) ORDERED BY KEY;

-- Distinct viewers: sketches of an hour or less, each node in its own rows.
CREATE TABLE viewers (
  channel TEXT NOT NULL,
  start BIGINT NOT NULL,
  node BIGINT NOT NULL,
  data BYTES NOT NULL,
  PRIMARY KEY (channel, start, node)
) ORDERED BY KEY;

-- Broadcasts: the spans on air, without gaps of more than five minutes. The figures are set once they are final.
CREATE TABLE broadcasts (
  channel TEXT NOT NULL,
  started_at BIGINT NOT NULL,
  last_on_air BIGINT NOT NULL,
  figures TEXT,
  PRIMARY KEY (channel, started_at)
) ORDERED BY KEY;
CREATE INDEX broadcasts_without_figures ON broadcasts (last_on_air) WHERE figures IS NULL;
