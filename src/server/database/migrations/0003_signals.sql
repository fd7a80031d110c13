-- The number of the last change of a live signal, in one row. A change holds the lock of this row until it is committed,
-- so the numbers are in the order of the commits.
CREATE TABLE signal_changes (
  only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
  number BIGINT NOT NULL
);
INSERT INTO signal_changes (only_row, number) VALUES (1, 0);

-- The live signals of channels that were on air within a day. Times are in milliseconds since the epoch, by the clock of
-- the database. An empty publisher is unknown.
CREATE TABLE signals (
  channel TEXT NOT NULL PRIMARY KEY,
  change_number BIGINT NOT NULL,
  on_air BIGINT NOT NULL,
  since BIGINT NOT NULL,
  heard_at BIGINT NOT NULL,
  publisher TEXT NOT NULL,
  publisher_since BIGINT NOT NULL,
  earlier_publisher TEXT NOT NULL
) ORDERED BY KEY;

CREATE INDEX signals_by_change ON signals (change_number);
CREATE INDEX signals_on_air ON signals (heard_at) WHERE on_air = 1;
