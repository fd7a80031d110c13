-- Sets whether a viewer follows a channel, and returns the number of followers.
--
-- KEYS  1  the set of the channel's followers
-- ARGV  1  the viewer's id (16 bytes); 2  '1' to follow, '0' to unfollow
redis.call(ARGV[2] == '1' and 'SADD' or 'SREM', KEYS[1], ARGV[1])
return redis.call('SCARD', KEYS[1])
