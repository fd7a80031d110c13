-- Frees memory of what has expired in one channel; changes no count.
--
-- KEYS  the three of the channel, as in write.lua
-- ARGV  1  how much to remove of each kind, at most
-- Answer: how much was removed (if it is as much as was allowed, there may be more), and how many viewers and leaves are
--   left
local viewers_key, sessions_key, departed_key = KEYS[1], KEYS[2], KEYS[3]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local viewers = redis.call('ZRANGEBYSCORE', viewers_key, '-inf', now, 'LIMIT', 0, ARGV[1])
if #viewers > 0 then
  redis.call('ZREM', viewers_key, unpack(viewers))
  redis.call('HDEL', sessions_key, unpack(viewers))
end
local departed = redis.call('ZRANGEBYSCORE', departed_key, '-inf', now, 'LIMIT', 0, ARGV[1])
if #departed > 0 then
  redis.call('ZREM', departed_key, unpack(departed))
end
return { math.max(#viewers, #departed), redis.call('ZCARD', viewers_key) + redis.call('ZCARD', departed_key) }
