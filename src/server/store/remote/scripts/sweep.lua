-- Frees the memory of expired entries of channels. Never changes a count.
--
-- KEYS  two keys for each channel, as in call.lua
-- ARGV  1  the most viewers of a channel to check, and after which no further channel is swept
--       2  the longest lease (ms)           3  the leave memory (ms)
--       4  how long the keys of a channel without viewers live (ms). For a part of a channel, others may have viewers
-- Returns: for each swept channel two numbers: the number of viewers checked (more may be expired if it equals ARGV 1),
--   and the number of viewers left, or -1 if a key has another type. Fewer channels than in KEYS if there was too much
--   to do
local FORMAT = 3
local LEFT, UNKNOWN, MARK = 2 ^ 47, 2 ^ 46, 16
local most, longest_lease, memory = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- The expiry of a viewer's longest memory of a leave or a join (ms); 0 if none is left.
local function memory_of(sessions)
  local longest, at = 0, 1
  while at + 20 <= #sessions do
    local time = 0
    for nth = at + 9, at + 14 do
      time = time * 256 + string.byte(sessions, nth)
    end
    if time >= LEFT then
      longest = math.max(longest, time - LEFT + math.max(longest_lease, memory))
    elseif time >= UNKNOWN then
      longest = math.max(longest, time - UNKNOWN + memory)
    else
      longest = math.max(longest, time + memory)
    end
    at = at + 1 + string.byte(sessions, at)
  end
  return longest > now and longest or 0
end

-- Sweeps a channel. Returns its two numbers.
local function sweep(viewers_key, sessions_key)
  -- The channel of another version is swept by the nodes of that version.
  local meta = redis.call('HGET', sessions_key, '')
  if meta and string.byte(meta) ~= FORMAT then
    return 0, redis.call('ZCARD', viewers_key)
  end

  -- Expired leases have scores from 0 to now; expired leave memories have scores from -now to 0.
  local viewers = redis.call('ZRANGEBYSCORE', viewers_key, -now, now, 'LIMIT', 0, most)
  local over = {}
  if #viewers > 0 then
    local known = redis.call('HMGET', sessions_key, unpack(viewers))
    for i, viewer in ipairs(viewers) do
      local memory_end = memory_of(known[i] or '')
      if memory_end > 0 then
        redis.call('ZADD', viewers_key, string.format('%d', -memory_end), viewer)
      else
        over[#over + 1] = viewer
      end
    end
  end
  if #over > 0 then
    redis.call('ZREM', viewers_key, unpack(over))
    redis.call('HDEL', sessions_key, unpack(over))
  end
  local left = redis.call('ZCARD', viewers_key)
  if left == 0 and redis.call('HLEN', sessions_key) == 1 then
    -- Only the channel's metadata is left. The keys of a channel that was large would expire later than necessary.
    local spare = tonumber(ARGV[4])
    if meta and redis.call('PTTL', sessions_key) > spare then
      local expires, text = now + spare, ''
      for _ = 1, 6 do
        text = string.char(expires % 256) .. text
        expires = math.floor(expires / 256)
      end
      redis.call('HSET', sessions_key, '', string.sub(meta, 1, 1 + MARK) .. text .. string.sub(meta, 8 + MARK))
      redis.call('PEXPIRE', sessions_key, spare)
    end
  end
  return #viewers, left
end

local answer, checked = {}, 0
for i = 1, #KEYS, 2 do
  local is_done, number, left = pcall(sweep, KEYS[i], KEYS[i + 1])
  if not is_done then
    local reason = type(number) == 'table' and (number.err or '') or tostring(number)
    if not string.find(reason, 'WRONGTYPE', 1, true) then
      error(number)
    end
    number, left = 0, -1
  end
  answer[i], answer[i + 1] = number, left
  checked = checked + number
  if checked >= most then
    break
  end
end
return answer
