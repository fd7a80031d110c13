-- The counts of channels.
--
-- KEYS, two for each channel: viewers and sessions, as in write.lua
-- Answer: the time (ms), then for each channel its count and its mark ('' if it has none)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local answer = { now }
for i = 1, #KEYS, 2 do
  local count = redis.call('ZCOUNT', KEYS[i], '(' .. now, '+inf')
  answer[#answer + 1] = { count, redis.call('HGET', KEYS[i + 1], '') or '' }
end
return answer
