-- The oldest events that wait for a receiver, and their number, without a look at the others.
CREATE INDEX deliveries_by_age ON deliveries (receiver, part, created_at, number);
