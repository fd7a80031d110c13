-- Enters channels into a bucket of the list of live channels.
--
-- KEYS  the bucket, a sorted set: channel -> expiry of its entry (ms)
-- ARGV  1  how long the entries are valid (ms); 2… the channels
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local probe = redis.pcall('ZCARD', KEYS[1])
if type(probe) == 'table' and string.find(probe.err, 'WRONGTYPE', 1, true) then
  -- The key has another type. The bucket is lost.
  redis.call('UNLINK', KEYS[1])
end
-- Removes a bounded number of expired entries, so that no call takes long.
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 200 + #ARGV)
if #over > 0 then
  redis.call('ZREM', KEYS[1], unpack(over))
end
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
