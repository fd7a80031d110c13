-- Returns the number of followers of a channel.
--
-- KEYS  1  the set of the channel's followers
return redis.call('SCARD', KEYS[1])
