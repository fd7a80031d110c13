-- Frees memory of what has expired in one channel; changes no count.
--
-- KEYS  the two of the channel, as in write.lua
-- ARGV  1  how many viewers to look at, at most
-- Answer: how many were looked at (if it is as many as was allowed, there may be more), and how many are left
local viewers_key, sessions_key = KEYS[1], KEYS[2]
local ENTRY, SESSION = 14, 8

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- Until when a leave is remembered that outlasts its viewer's leases; 0 if there is none.
local function memory_of(sessions)
  local longest = 0
  for at = 1, #sessions, ENTRY do
    local a, b, c, d, e, f = string.byte(sessions, at + SESSION, at + ENTRY - 1)
    if a >= 128 then
      longest = math.max(longest, (((((a - 128) * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f)
    end
  end
  return longest > now and longest or 0
end

-- Leases and memories that are over are the scores around zero.
local viewers = redis.call('ZRANGEBYSCORE', viewers_key, -now, now, 'LIMIT', 0, ARGV[1])
local over = {}
if #viewers > 0 then
  local known = redis.call('HMGET', sessions_key, unpack(viewers))
  for i, viewer in ipairs(viewers) do
    local memory = memory_of(known[i] or '')
    if memory > 0 then
      redis.call('ZADD', viewers_key, -memory, viewer)
    else
      over[#over + 1] = viewer
    end
  end
end
if #over > 0 then
  redis.call('ZREM', viewers_key, unpack(over))
  redis.call('HDEL', sessions_key, unpack(over))
end
return { #viewers, redis.call('ZCARD', viewers_key) }
