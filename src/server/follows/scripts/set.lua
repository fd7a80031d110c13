-- Has a viewer follow a channel, or not any more.
-- KEYS[1] the set of the channel's followers
-- ARGV[1] the viewer's id, 16 bytes; ARGV[2] '1' to follow, '0' not to
-- answers how many follow the channel then
redis.call(ARGV[2] == '1' and 'SADD' or 'SREM', KEYS[1], ARGV[1])
return redis.call('SCARD', KEYS[1])
