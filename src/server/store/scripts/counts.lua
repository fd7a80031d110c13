-- The counts of channels.
--
-- KEYS  for each channel its sorted set: viewer -> end of its longest lease (ms)
-- Answer: the time (ms), then for each channel its count, or -1 if the channel is not there
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local answer = { now }
for i, viewers_key in ipairs(KEYS) do
  local count = redis.call('ZCOUNT', viewers_key, '(' .. now, '+inf')
  if count == 0 and redis.call('EXISTS', viewers_key) == 0 then
    count = -1
  end
  answer[i + 1] = count
end
return answer
