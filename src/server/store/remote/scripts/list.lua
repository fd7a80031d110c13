-- Enters channels into a bucket of the list of live channels.
--
-- KEYS  the bucket, a sorted set: channel -> until when it is listed (ms)
-- ARGV  1  for how long (ms); 2… the channels
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
