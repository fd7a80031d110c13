-- Enters channels into a bucket of the list of live channels.
--
-- KEYS  the bucket, a sorted set: channel -> until when it is listed (ms)
-- ARGV  1  for how long (ms); 2… the channels
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
-- A bounded number of those that are over, so that no call takes long.
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 200 + #ARGV)
if #over > 0 then
  redis.call('ZREM', KEYS[1], unpack(over))
end
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
