-- The last count of a minute that its owner has seen, and when: it has held since, as long as the owner has observed the
-- part. In the row of a part: up to when it was observed. 0: no count holds.
ALTER TABLE fresh_minutes ADD COLUMN held BIGINT NOT NULL DEFAULT 0;
ALTER TABLE fresh_minutes ADD COLUMN held_at BIGINT NOT NULL DEFAULT 0;

-- The node that sees the broadcast going on, and will write its end. 0: nobody.
ALTER TABLE broadcasts ADD COLUMN seen_by BIGINT NOT NULL DEFAULT 0;
