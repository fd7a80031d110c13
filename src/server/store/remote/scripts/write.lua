-- Does the operations of any number of channels and answers with their counts. Each channel's operations happen in their
-- order, with nothing in between.
--
-- KEYS, three for each channel, all under the channel's hash tag:
--   viewers   sorted set: viewer (16 bytes) -> end of its longest lease (ms)
--   sessions  hash: viewer (16 bytes) -> its sessions, 22 bytes each: session (16), end of its lease (6, ms);
--             and under '' the channel's mark, a random number that it gets when it is made. It keeps the hash alive, so
--             that a channel whose viewers have all left can be told from one that was lost
--   departed  sorted set: viewer and session (32 bytes) that left -> until when that is remembered (ms)
-- ARGV
--   1   after how long without a write a channel's keys expire (ms); longer than any lease
--   2   the mark for channels that have none
--   3…  for each channel its operations, 37 bytes each: act (1: 'J'oin, 'H'eartbeat, re'N'ew, 'R'estore or 'L'eave),
--       viewer (16), session (16), duration (4, ms): of the lease, or of the memory of the leave
-- Answer: the time (ms), then for each channel
--   its count, a '1' or '0' for each operation (is its session counted after it?), and its mark

-- The first write of a channel is one that Redis refuses when it is out of memory, so that nothing is done by halves.

local OP, ID, SESSION = 37, 16, 22
local byte, char, sub, floor = string.byte, string.char, string.sub, math.floor

-- A whole number in 4 or 6 bytes, the highest first.
local function read4(text, at)
  local a, b, c, d = byte(text, at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end
local function read6(text, at)
  local a, b = byte(text, at, at + 1)
  return (a * 256 + b) * 4294967296 + read4(text, at + 2)
end
local function write6(number)
  local high, low = floor(number / 4294967296), number % 4294967296
  return char(floor(high / 256), high % 256, floor(low / 16777216), floor(low / 65536) % 256, floor(low / 256) % 256, low % 256)
end

local clock = redis.call('TIME')
local now = clock[1] * 1000 + floor(clock[2] / 1000)
local ttl, new_mark = ARGV[1], ARGV[2]
local answer = { now }

-- The sessions of a viewer without one of them and without the expired; then the end of the longest lease that is left.
local function without(packed, session)
  local kept, longest = '', 0
  for at = 1, #packed, SESSION do
    local lease_end = read6(packed, at + ID)
    if lease_end > now and sub(packed, at, at + ID - 1) ~= session then
      kept = kept .. sub(packed, at, at + SESSION - 1)
      longest = math.max(longest, lease_end)
    end
  end
  return kept, longest
end

-- The end of a session's lease; 0 if there is none.
local function lease_of(packed, session)
  for at = 1, #packed, SESSION do
    if sub(packed, at, at + ID - 1) == session then
      return read6(packed, at + ID)
    end
  end
  return 0
end

for channel = 1, #KEYS / 3 do
  local viewers_key, sessions_key, departed_key = KEYS[3 * channel - 2], KEYS[3 * channel - 1], KEYS[3 * channel]
  local ops = ARGV[channel + 2]
  local any_departed = redis.call('EXISTS', departed_key) == 1

  -- What is known of the viewers concerned, in one read.
  local order, sessions = { '' }, { [''] = '' }
  for at = 1, #ops, OP do
    local viewer = sub(ops, at + 1, at + ID)
    if sessions[viewer] == nil then
      order[#order + 1] = viewer
      sessions[viewer] = ''
    end
  end
  local known = redis.call('HMGET', sessions_key, unpack(order))
  for i, viewer in ipairs(order) do
    sessions[viewer] = known[i] or ''
  end
  local mark = sessions['']

  -- A server that evicts keys takes them one by one. What is left of a channel then is of no use without the rest: it is
  -- made anew, and by its new mark every node knows that it was lost.
  local any_viewers = redis.call('EXISTS', viewers_key) == 1
  if any_viewers and mark == '' or not any_viewers and mark ~= '' and redis.call('HLEN', sessions_key) > 1 then
    redis.call('UNLINK', viewers_key, sessions_key)
    mark = ''
    for _, viewer in ipairs(order) do
      sessions[viewer] = ''
    end
  end

  local ends, active = {}, {}
  for at = 1, #ops, OP do
    local act = sub(ops, at, at)
    local viewer = sub(ops, at + 1, at + ID)
    local session = sub(ops, at + 1 + ID, at + 2 * ID)
    local duration = read4(ops, at + 1 + 2 * ID)
    local pair = viewer .. session
    local kept, longest = without(sessions[viewer], session)

    if act == 'L' then
      redis.call('ZADD', departed_key, now + duration, pair)
      any_departed = true
      sessions[viewer], ends[viewer] = kept, longest
      active[#active + 1] = '0'
    elseif act ~= 'J' and any_departed and tonumber(redis.call('ZSCORE', departed_key, pair) or 0) > now then
      active[#active + 1] = '0'
    elseif act == 'N' and lease_of(sessions[viewer], session) <= now then
      active[#active + 1] = '0'
    else
      if act == 'J' and any_departed then
        redis.call('ZREM', departed_key, pair)
      end
      local lease_end = now + duration
      if act == 'R' then
        lease_end = math.max(lease_end, lease_of(sessions[viewer], session))
      end
      sessions[viewer] = kept .. session .. write6(lease_end)
      ends[viewer] = math.max(longest, lease_end)
      active[#active + 1] = '1'
    end
  end

  -- What has changed, in one write each.
  local add, set, remove = {}, {}, {}
  if mark == '' then
    mark = new_mark
    set = { '', mark }
  end
  for i = 2, #order do
    local viewer = order[i]
    local lease_end = ends[viewer]
    if lease_end == 0 then
      remove[#remove + 1] = viewer
    elseif lease_end then
      add[#add + 1] = lease_end
      add[#add + 1] = viewer
      set[#set + 1] = viewer
      set[#set + 1] = sessions[viewer]
    end
  end
  if #remove > 0 then
    redis.call('ZREM', viewers_key, unpack(remove))
    redis.call('HDEL', sessions_key, unpack(remove))
  end
  if #set > 0 then
    redis.call('HSET', sessions_key, unpack(set))
  end
  redis.call('PEXPIRE', sessions_key, ttl)
  if #add > 0 then
    redis.call('ZADD', viewers_key, unpack(add))
  end
  redis.call('PEXPIRE', viewers_key, ttl)
  if any_departed then
    redis.call('PEXPIRE', departed_key, ttl)
  end
  answer[#answer + 1] = { redis.call('ZCOUNT', viewers_key, '(' .. now, '+inf'), table.concat(active), mark }
end

return answer
