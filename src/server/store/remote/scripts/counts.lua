-- The counts of channels.
--
-- KEYS, two for each channel: viewers and sessions, as in write.lua
-- Answer: the time (ms), then for each channel its count and its mark ('' if it has none, or is there in part)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local answer = { now }
for i = 1, #KEYS, 2 do
  local viewers_key, sessions_key = KEYS[i], KEYS[i + 1]
  local count, mark = redis.call('ZCOUNT', viewers_key, '(' .. now, '+inf'), redis.call('HGET', sessions_key, '') or ''
  -- A server that evicts keys takes them one by one.
  if count == 0 and redis.call('HLEN', sessions_key) > 1 and redis.call('EXISTS', viewers_key) == 0 then
    mark = ''
  end
  answer[#answer + 1] = { count, mark }
end
return answer
