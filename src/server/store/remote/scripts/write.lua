-- Applies the operations of any number of channels and returns their counts. The operations of a channel are applied in
-- order and atomically. Sessions follow the rules of src/domain/session/mod.rs: the later event wins.
--
-- KEYS  the roll call (see attend.lua) if ARGV 1 is 2; then two keys for each channel, with the channel's hash tag:
--   viewers   sorted set: viewer (14 bytes) -> expiry of its longest lease (ms). For a viewer that has left: the expiry
--             of its leave memory (ms), negated
--   sessions  hash: viewer -> its sessions. Every viewer in this hash is also in `viewers`.
--             A session: length of the rest (1 byte, at least 20; bytes after 20 are another version's and are kept),
--             session (8), time (6, ms: of the last beat, or of the leave plus LEFT or UNKNOWN), lease (4, ms),
--             delta (2, ms)
--             Field '': the channel's metadata: FORMAT (1), mark (16), expiry of the keys (6, ms), time of the last
--             restore (6, ms). It keeps the hash alive, so a channel without viewers differs from a lost channel
-- ARGV
--   1   the index of the first channel's first key: 1, or 2 after the roll call
--   2   the longest lease (ms)           3   the leave memory (ms)
--   4   the mark for new channels
--   5   when this call was sent, by this server's clock (ms); 0 if the caller does not know
--   6…  for each channel its operations: act (1), viewer (14), session (8), lease (4, ms). Acts:
--       'J'oin, 'H'eartbeat, re'N'ew (of a live session only), 'L'eave, leave of a 'K'nown session only;
--       'R'estore a session that the store has lost, 'M'issed: a session that could not be written in time, and
--       'W'ithdraw: repeat the leave of a known session. These three add the session's time (6, ms) and delta (2, ms)
-- Returns: the time (ms), the roll call's epoch, then a string for each channel: the count, the mark, the time of the
--   last restore (ms), and for each operation '1' or '0' (is its session counted afterwards?), separated by blanks; or
--   '!' and a reason if the channel can't be written. Nothing for the channels if the call is TOO_LATE
--
-- Redis refuses a script for lack of memory only at its first write, so no call is applied in part.

local FORMAT = 2
local BODY, VIEWER, SESSION, MARK = 20, 14, 8, 16
local LEFT, UNKNOWN, FAR = 2 ^ 47, 2 ^ 46, 65535
-- The most sessions of a viewer, and the most leaves that are remembered for it.
local MOST = 16
-- Redis frees an expired key in one step that blocks the server. The keys of a channel with more than LARGE viewers
-- therefore expire SPARE (ms) later, so that sweeps can empty them in small steps first.
local LARGE, SPARE = 1000, 600000
-- A call that took longer than LATE (ms) to arrive is applied as of the time it was sent. One that took TOO_LATE (ms) or
-- more is not applied: if the server was stopped meanwhile, its operations are out of date, and their node replays them;
-- if a clock was set, the node learns that from the answer.
local LATE, TOO_LATE = 250, 10000
local call, sub, byte, char = redis.call, string.sub, string.byte, string.char
local max, min, floor = math.max, math.min, math.floor

local function read4(text, at)
  local a, b, c, d = byte(text, at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end
local function read6(text, at)
  local a, b = byte(text, at, at + 1)
  return (a * 256 + b) * 4294967296 + read4(text, at + 2)
end
local function write4(low)
  return char(floor(low / 16777216), floor(low / 65536) % 256, floor(low / 256) % 256, low % 256)
end
local function write6(number)
  local high = floor(number / 4294967296)
  return char(floor(high / 256), high % 256) .. write4(number % 4294967296)
end

local clock = call('TIME')
local now = clock[1] * 1000 + floor(clock[2] / 1000)
local after_now = '(' .. now
local first, longest_lease, memory = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local new_mark, sent = ARGV[4], tonumber(ARGV[5])
local is_late = sent > 0 and now - sent > LATE
local base = is_late and sent or now

-- The current session: the time of its last beat or of its leave, its lease, and its delta (see Session in Rust). `left`
-- is 0, UNKNOWN or LEFT. `time` is nil if the session is unknown.
local time, lease, delta, left

local function beat(at, span, is_join)
  if not time then
    time, lease, delta, left = at, span, is_join and 0 or FAR, 0
  elseif left == 0 then
    if at >= time then
      delta = is_join and 0 or min(delta + at - time, FAR)
      time, lease = at, span
    elseif is_join then
      delta = min(delta, time - at)
    end
  elseif is_join then
    if at >= time then
      local beaten = time + delta
      if beaten > at then
        time, delta = beaten, beaten - at
      else
        time, lease, delta = at, span, 0
      end
      left = 0
    end
  elseif at >= time + memory then
    time, lease, delta, left = at, span, FAR, 0
  elseif at > time + delta then
    lease, delta = span, at - time
  end
end

local function leave(at, kind)
  if not time then
    time, lease, delta, left = at, 0, 0, kind
  elseif left > 0 then
    if at > time then
      time, delta = at, max(time + delta - at, 0)
    end
  elseif not (delta < FAR and time - delta > at) and time < at + memory then
    time, delta, left = at, min(max(time - at, 0), FAR), LEFT
  end
end

-- Merges another node's state of the session into the current session.
local function merge(at, span, distance, kind)
  if kind == 0 then
    if distance < FAR then
      beat(at - distance, span, true)
    end
    beat(at, span, false)
  else
    leave(at, kind)
    if left == UNKNOWN then
      left = kind
    end
    if distance > 0 then
      beat(at + distance, span, false)
    end
  end
end

local function kind_of(packed)
  if packed >= LEFT then
    return packed - LEFT, LEFT
  elseif packed >= UNKNOWN then
    return packed - UNKNOWN, UNKNOWN
  end
  return packed, 0
end

-- The time at which a session can be forgotten.
local function end_of(at, span, kind)
  if kind == 0 then
    return at + span
  end
  return at + (kind == LEFT and max(longest_lease, memory) or memory)
end

-- Makes a session the current one. Returns the viewer's other sessions that have not expired, and when the longest lease
-- and the longest leave memory among them expire. If the session is new and MOST others are of its kind, the oldest of
-- them is dropped.
local function load_session(sessions, session, own_kind)
  time = nil
  local others, longest, remembered, number = {}, 0, 0, { 0, 0 }
  local at, length = 1, #sessions
  while at <= length do
    local next_at = at + 1 + byte(sessions, at)
    if next_at - at <= BODY or next_at > length + 1 then
      error('damaged')
    end
    local t, kind = kind_of(read6(sessions, at + 9))
    local span = read4(sessions, at + 15)
    if sub(sessions, at + 1, at + SESSION) == session then
      if end_of(t, span, kind) > now then
        time, lease, left = t, span, kind
        delta = byte(sessions, at + 19) * 256 + byte(sessions, at + 20)
      end
    else
      local over = end_of(t, span, kind)
      if over > now then
        local which = kind == 0 and 1 or 2
        number[which] = number[which] + 1
        others[#others + 1] = { sub(sessions, at, next_at - 1), t, which, over }
      end
    end
    at = next_at
  end
  if not time and number[own_kind] >= MOST then
    local oldest
    for i, other in ipairs(others) do
      if other[3] == own_kind and (not oldest or other[2] < others[oldest][2]) then
        oldest = i
      end
    end
    table.remove(others, oldest)
  end
  local text = ''
  for _, other in ipairs(others) do
    text = text .. other[1]
    if other[3] == 1 then
      longest = max(longest, other[4])
    else
      remembered = max(remembered, other[4])
    end
  end
  return text, longest, remembered
end

-- The same for a viewer that has only this session, which is the common case.
local function load_only_session(sessions, session)
  local t, kind = kind_of(read6(sessions, 10))
  local span = read4(sessions, 16)
  time = nil
  if end_of(t, span, kind) > now then
    time, lease, left = t, span, kind
    delta = byte(sessions, 20) * 256 + byte(sessions, 21)
  end
end

-- Applies a channel's operations. Returns nil if the channel's viewers turn out to be lost. `was_lost`: they were lost,
-- so nodes may have operations to replay.
local function write(viewers_key, sessions_key, ops, was_lost)
  local meta = call('HGET', sessions_key, '')
  local mark, expires, restored = '', 0, 0
  if meta then
    if byte(meta) > FORMAT then
      return '!newer'
    elseif byte(meta) < FORMAT or #meta < 13 + MARK then
      error('damaged')
    end
    mark, expires, restored = sub(meta, 2, 1 + MARK), read6(meta, 2 + MARK), read6(meta, 8 + MARK)
  end
  local flags, furthest, has_restored = '', 0, was_lost
  local at, length = 1, #ops
  while at <= length do
    local act = sub(ops, at, at)
    local viewer = sub(ops, at + 1, at + VIEWER)
    local session = sub(ops, at + VIEWER + 1, at + VIEWER + SESSION)
    local span = read4(ops, at + VIEWER + SESSION + 1)
    local known = call('HGET', sessions_key, viewer)
    local others, longest, remembered = '', 0, 0
    if not known then
      time = nil
    elseif #known == BODY + 1 and sub(known, 2, 1 + SESSION) == session then
      load_only_session(known, session)
    else
      local is_leave = act == 'L' or act == 'K' or act == 'W' or (act == 'R' or act == 'M') and read6(ops, at + VIEWER + SESSION + 5) >= UNKNOWN
      others, longest, remembered = load_session(known, session, is_leave and 2 or 1)
    end
    local was_time, was_lease, was_delta, was_left = time, lease, delta, left

    -- A current operation is later than every known event, even if the clock was set back.
    local instant = base
    if time and not is_late and (left == 0 or act == 'J') then
      instant = max(base, time)
    end
    if act == 'J' then
      beat(instant, span, true)
    elseif act == 'H' or act == 'N' and time and left == 0 and time + lease > now then
      beat(instant, span, false)
    elseif act == 'L' or act == 'K' and time then
      leave(instant, UNKNOWN)
    elseif act == 'R' or act == 'M' or act == 'W' then
      local t, kind = kind_of(read6(ops, at + VIEWER + SESSION + 5))
      local distance = byte(ops, at + VIEWER + SESSION + 11) * 256 + byte(ops, at + VIEWER + SESSION + 12)
      if time or act ~= 'W' then
        merge(min(t, now), span, distance, kind)
      end
      at = at + 8
    end
    at = at + 5 + VIEWER + SESSION

    local is_live = time and left == 0 and time + lease > now or false
    flags = flags .. (is_live and '1' or '0')
    if time and (time ~= was_time or lease ~= was_lease or delta ~= was_delta or left ~= was_left) then
      local over = end_of(time, lease, left)
      if over > now then
        furthest = max(furthest, over)
        -- A session that is counted already was not lost.
        local was_live = was_time and was_left == 0 and was_time + was_lease > now or false
        has_restored = has_restored or act == 'R' and is_live ~= was_live
        -- A late beat may be older than a leave that the store has forgotten. A node that remembers the leave repeats
        -- it at the next roll call.
        if act == 'M' and is_live and not was_live then
          has_restored = has_restored or (delta == FAR and time or time - delta) < now - memory
        end
        if is_live then
          longest = max(longest, over)
        else
          remembered = max(remembered, over)
        end
        local opens = false
        if not known and call('EXISTS', viewers_key) == 0 then
          if call('HLEN', sessions_key) > (meta and 1 or 0) then
            return nil
          end
          opens = true
        end
        local entry = char(BODY) .. session .. write6(time + left) .. write4(lease)
          .. char(floor(delta / 256), delta % 256)
        call('HSET', sessions_key, viewer, others .. entry)
        local score = longest > 0 and longest or -remembered
        if call('ZADD', viewers_key, string.format('%d', score), viewer) == 1 and known then
          return nil
        end
        if opens then
          -- The final expiry is set below.
          call('PEXPIRE', viewers_key, memory)
          call('PEXPIRE', sessions_key, memory)
        end
        if mark == '' and left ~= UNKNOWN then
          mark = new_mark
        end
      end
    elseif (act == 'R' or act == 'M') and known and call('EXISTS', viewers_key) == 0 then
      return nil
    end
  end
  local count = call('ZCOUNT', viewers_key, after_now, '+inf')
  local spare = count > LARGE and SPARE or floor(longest_lease / 8)
  -- Nodes have to read the count 0 before the keys expire. Otherwise they take the expiry for a loss.
  local is_too_soon = furthest + spare / 2 > expires
  if mark ~= '' and (is_too_soon or not meta or has_restored) then
    if is_too_soon then
      -- The expiry is extended by more than necessary, so that few writes have to set it.
      expires = furthest + spare
    end
    if has_restored then
      restored = now
    end
    call('HSET', sessions_key, '', char(FORMAT) .. mark .. write6(expires) .. write6(restored))
    call('PEXPIREAT', sessions_key, string.format('%d', expires))
    call('PEXPIREAT', viewers_key, string.format('%d', expires))
  end
  return count .. ' ' .. mark .. ' ' .. string.format('%d', restored) .. ' ' .. flags
end

-- Whether an error is about the data of a channel. Any other error is about the server and aborts the call.
local function is_damage(reason)
  local text = type(reason) == 'table' and (reason.err or '') or tostring(reason)
  return string.find(text, 'WRONGTYPE', 1, true) or string.find(text, 'damaged', 1, true)
    or string.find(text, 'attempt to', 1, true) or string.find(text, 'bad argument', 1, true)
    or string.find(text, 'not a valid float', 1, true)
end

-- A server that evicts keys can remove one of a channel's two keys. Such a channel, or one with damaged data, is deleted
-- and gets a new mark. The new mark shows every node the loss, and the nodes replay their journals.
local epoch = first == 2 and redis.pcall('HGET', KEYS[1], 'epoch') or ''
-- A damaged roll call is lost; the nodes replace it (see attend.lua).
local answer = { now, type(epoch) == 'string' and epoch or '' }
if is_late and now - sent >= TOO_LATE then
  return answer
end
for channel = 1, (#KEYS - first + 1) / 2 do
  local viewers_key, sessions_key = KEYS[first + 2 * channel - 2], KEYS[first + 2 * channel - 1]
  local ops = ARGV[channel + 5]
  local is_done, result = pcall(write, viewers_key, sessions_key, ops, false)
  if not is_done and not is_damage(result) then
    error(result)
  end
  if not is_done or not result then
    call('UNLINK', viewers_key, sessions_key)
    result = write(viewers_key, sessions_key, ops, true)
  end
  answer[channel + 2] = result
end
return answer
