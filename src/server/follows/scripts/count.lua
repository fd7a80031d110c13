-- KEYS[1] the set of a channel's followers
-- answers how many there are
return redis.call('SCARD', KEYS[1])
