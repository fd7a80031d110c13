-- What was announced of each broadcast. The first start is the start by which the broadcast became known. It identifies
-- the broadcast and never changes, while the start moves when an earlier instant on air becomes known. 0: nothing yet.
CREATE TABLE announcements (
  channel TEXT NOT NULL,
  first_start BIGINT NOT NULL,
  part SMALLINT NOT NULL,
  live SMALLINT NOT NULL DEFAULT 0,
  peak BIGINT NOT NULL DEFAULT 0,
  peak_announced_at BIGINT NOT NULL DEFAULT 0,
  milestone BIGINT NOT NULL DEFAULT 0,
  ended_at BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (channel, first_start)
) ORDERED BY KEY;
CREATE INDEX announcements_open ON announcements (part) WHERE ended_at = 0;

-- The outbox: events that a receiver has not taken yet. A receiver is the hash of its address. The numbers are the order
-- of the events of a channel. An event that waits for an older one of its channel is due at 9223372036854775807.
CREATE TABLE deliveries (
  event TEXT NOT NULL,
  receiver TEXT NOT NULL,
  part SMALLINT NOT NULL,
  channel TEXT NOT NULL,
  number BIGINT NOT NULL,
  body TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  attempts BIGINT NOT NULL DEFAULT 0,
  due_at BIGINT NOT NULL,
  PRIMARY KEY (event, receiver)
);
CREATE INDEX deliveries_due ON deliveries (receiver, due_at);
CREATE INDEX deliveries_of_channel ON deliveries (channel, receiver, number);
