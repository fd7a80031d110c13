-- KEYS[1] the set of a channel's followers; ARGV[1] a viewer's id, 16 bytes
-- answers 1 if the viewer is in it, else 0
return redis.call('SISMEMBER', KEYS[1], ARGV[1])
