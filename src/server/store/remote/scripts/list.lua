-- Enters channels into a bucket of the list of live channels.
--
-- KEYS  1  the bucket, a sorted set: channel -> expiry of its entry (ms)
--       2  the list of changes, if all data is on this server. Names that were not in the bucket are entered
-- ARGV  1  how long the entries are valid (ms); 2… the channels
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local probe = redis.pcall('ZCARD', KEYS[1])
if type(probe) == 'table' and string.find(probe.err, 'WRONGTYPE', 1, true) then
  -- The key has another type. The bucket is lost.
  redis.call('UNLINK', KEYS[1])
end
-- Removes a bounded number of expired entries, so that no call takes long.
local most, new = 200 + #ARGV, {}
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, most)
if #over > 0 then
  redis.call('ZREM', KEYS[1], unpack(over))
end
for i = 2, #ARGV do
  -- If expired entries are left, this may be one.
  if redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) == 1 or #over == most then
    new[#new + 1] = ARGV[i]
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
if KEYS[2] and #new > 0 then
  note_changes(KEYS[2], clock, new)
end
