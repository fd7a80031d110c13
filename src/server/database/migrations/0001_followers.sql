-- The database itself: one row with its id.
CREATE TABLE identity (
  only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
  id TEXT NOT NULL
);

-- The followers of channels, by the ids of their browsers.
CREATE TABLE followers (
  channel TEXT NOT NULL,
  viewer BYTES NOT NULL,
  PRIMARY KEY (channel, viewer)
) ORDERED BY KEY;

-- The number of followers of each channel. It changes in the transaction that changes the followers.
CREATE TABLE follower_counts (
  channel TEXT NOT NULL PRIMARY KEY,
  followers BIGINT NOT NULL
) ORDERED BY KEY;
