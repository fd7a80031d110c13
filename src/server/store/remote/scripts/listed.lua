-- Returns the channels in buckets of the list of live channels.
--
-- KEYS  the buckets
-- Returns: for each bucket its channels
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local answer = {}
for i, bucket in ipairs(KEYS) do
  answer[i] = redis.call('ZRANGEBYSCORE', bucket, '(' .. now, '+inf')
end
return answer
