-- Returns the channels in buckets of the list of live channels.
--
-- KEYS  the buckets
-- Returns: for each bucket its channels, separated by blanks: one long string costs less than many short ones
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local answer = {}
for i, bucket in ipairs(KEYS) do
  answer[i] = table.concat(redis.call('ZRANGEBYSCORE', bucket, '(' .. now, '+inf'), ' ')
end
return answer
