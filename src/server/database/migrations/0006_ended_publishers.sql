-- The last publisher of a channel whose end was reported, and when: a late report of it changes nothing. Empty: none.
ALTER TABLE signals ADD COLUMN ended_publisher TEXT NOT NULL DEFAULT '';
ALTER TABLE signals ADD COLUMN ended_at BIGINT NOT NULL DEFAULT 0;
