-- Returns the channels in buckets of the list of live channels.
--
-- KEYS  the buckets
-- Returns: for each bucket its channels, separated by blanks: one long string costs less than many short ones. Nothing for
--   a damaged bucket, which is removed; its channels are entered again within half a minute
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local answer = {}
for i, bucket in ipairs(KEYS) do
  local channels = redis.pcall('ZRANGEBYSCORE', bucket, '(' .. now, '+inf')
  if channels.err and string.find(channels.err, 'WRONGTYPE', 1, true) then
    redis.call('UNLINK', bucket)
  end
  answer[i] = not channels.err and table.concat(channels, ' ')
end
return answer
