-- Returns the counts of channels.
--
-- KEYS  the roll call and the list of changes if ARGV 1 is 3; then two keys for each channel: viewers and sessions, as in
--   call.lua
-- ARGV  1  the index of the first channel's first key
--       2  for each channel 4 bytes: the count for which its mark can be skipped; 2^32 - 1 to never skip it; 2^32 - 2 to
--          never skip it, and to return when the next lease ends
-- Returns: the time (ms), the roll call's epoch, then for each channel: its count as a number if the mark is skipped; a
--   string of the count, the mark, the time of the last restore (ms) and, if wanted, when the next lease ends (ms; 0: never),
--   separated by blanks, or only the first if the channel is unknown or incomplete; or '!' and a reason if the channel
--   can't be read
local FORMAT = 3
local MARK = 16
local WITH_END = 2 ^ 32 - 2
local call, pcall, sub, byte = redis.call, redis.pcall, string.sub, string.byte
local first, trusted = tonumber(ARGV[1]), ARGV[2]

local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local after_now = '(' .. now

local epoch = first == 3 and pcall('HGET', KEYS[1], 'epoch') or ''
-- A damaged roll call is lost; the nodes replace it (see attend.lua).
local answer = { now, type(epoch) == 'string' and epoch or '' }
for i = first, #KEYS, 2 do
  local viewers_key, sessions_key = KEYS[i], KEYS[i + 1]
  local count = pcall('ZCOUNT', viewers_key, after_now, '+inf')
  local at = 2 * (i - first) + 1
  local a, b, c, d = byte(trusted, at, at + 3)
  local known = ((a * 256 + b) * 256 + c) * 256 + d
  if count ~= known then
    local meta = count
    if type(count) == 'number' then
      meta = pcall('HGET', sessions_key, '')
    end
    if type(meta) == 'table' then
      count = '!damaged'
    elseif meta and byte(meta) > FORMAT then
      count = '!newer'
    elseif meta and (byte(meta) < FORMAT or #meta < 13 + MARK) then
      count = '!damaged'
    elseif not meta or count == 0 and call('HLEN', sessions_key) > 1 and call('EXISTS', viewers_key) == 0 then
      -- A server that evicts keys can remove one of the two.
      count = count .. ' '
    else
      local restored = 0
      for nth = 8 + MARK, 13 + MARK do
        restored = restored * 256 + byte(meta, nth)
      end
      local next_end = ''
      if known == WITH_END then
        local next = call('ZRANGEBYSCORE', viewers_key, after_now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
        next_end = ' ' .. string.format('%d', next[2] or 0)
      end
      count = count .. ' ' .. sub(meta, 2, 1 + MARK) .. ' ' .. string.format('%d', restored) .. next_end
    end
  end
  answer[#answer + 1] = count
end
return answer
