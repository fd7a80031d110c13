-- The counts of channels.
--
-- KEYS, two for each channel: viewers and sessions, as in write.lua
-- ARGV  1  for each channel 4 bytes: the count with which its mark is not asked for; the highest number to ask always
-- Answer: the time (ms), then for each channel its count; and in a text with it, after a blank, its mark, if that is asked
--   for (nothing, if it has none or is there in part)
local call, sub, byte = redis.call, string.sub, string.byte
local trusted = ARGV[1]

local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local after_now = '(' .. now

local answer = { now }
for i = 1, #KEYS, 2 do
  local viewers_key, sessions_key = KEYS[i], KEYS[i + 1]
  local count = call('ZCOUNT', viewers_key, after_now, '+inf')
  local a, b, c, d = byte(trusted, 2 * i - 1, 2 * i + 2)
  if count ~= ((a * 256 + b) * 256 + c) * 256 + d then
    local mark = sub(call('HGET', sessions_key, '') or '', 1, 16)
    -- A server that evicts keys takes them one by one.
    if count == 0 and mark ~= '' and call('HLEN', sessions_key) > 1 and call('EXISTS', viewers_key) == 0 then
      mark = ''
    end
    count = count .. ' ' .. mark
  end
  answer[#answer + 1] = count
end
return answer
