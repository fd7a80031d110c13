-- Returns 1 if a viewer follows a channel, otherwise 0.
--
-- KEYS  1  the set of the channel's followers
-- ARGV  1  the viewer's id (16 bytes)
return redis.call('SISMEMBER', KEYS[1], ARGV[1])
