-- Applies any operations, after call.lua and renew.lua.
--
-- The state of a session is passed to functions: the time of its last beat or of its leave, its lease, its delta (see
-- Session in Rust), and `left`: 0, UNKNOWN or LEFT. `time` is nil if the session is unknown.

local function name_of(viewers_key)
  return string.match(viewers_key, '{([^{}/]*)[^{}]*}:viewers$') or ''
end

local function beat(time, lease, delta, left, at, span, is_join)
  if not time then
    return at, span, is_join and 0 or FAR, 0
  elseif left == 0 then
    if at >= time then
      delta = is_join and 0 or delta + at - time
      return at, span, delta < FAR and delta or FAR, 0
    elseif is_join and time - at < delta then
      delta = time - at
    end
  elseif is_join then
    if at >= time then
      local beaten = time + delta
      if beaten > at then
        return beaten, lease, beaten - at, 0
      end
      return at, span, 0, 0
    end
  elseif at >= time + memory then
    return at, span, FAR, 0
  elseif at > time + delta then
    lease, delta = span, at - time
  end
  return time, lease, delta, left
end

local function leave(time, lease, delta, left, at, kind)
  if not time then
    return at, 0, 0, kind
  elseif left > 0 then
    if at > time then
      return at, lease, math.max(time + delta - at, 0), left
    end
  elseif not (delta < FAR and time - delta > at) and time < at + memory then
    return at, lease, math.min(math.max(time - at, 0), FAR), LEFT
  end
  return time, lease, delta, left
end

-- Merges another node's state of the session.
local function merge(time, lease, delta, left, at, span, distance, kind)
  if kind == 0 then
    if distance < FAR then
      time, lease, delta, left = beat(time, lease, delta, left, at - distance, span, true)
    end
    return beat(time, lease, delta, left, at, span, false)
  end
  time, lease, delta, left = leave(time, lease, delta, left, at, kind)
  if left == UNKNOWN then
    left = kind
  end
  if distance > 0 then
    return beat(time, lease, delta, left, at + distance, span, false)
  end
  return time, lease, delta, left
end

-- The time from which a session has no more effect on counts.
local function end_of(at, span, left)
  if left == 0 then
    return at + span
  end
  return at + (left == LEFT and longest_lease > memory and longest_lease or memory)
end

-- Reads the session at this place. Its last join is known for at least the leave memory (see Session::known_until).
local function read(sessions, at)
  local a, b, c, d, e, f, g, h, i, j, k, l = byte(sessions, at + 9, at + 20)
  local time, left = ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f, 0
  if time >= LEFT then
    time, left = time - LEFT, LEFT
  elseif time >= UNKNOWN then
    time, left = time - UNKNOWN, UNKNOWN
  end
  local lease = ((g * 256 + h) * 256 + i) * 256 + j
  if end_of(time, lease, left) > now or left == 0 and time + memory > now then
    return time, lease, k * 256 + l, left
  end
end

-- Finds a session among those of a viewer. Returns the other sessions that are known, and the session.
local function find(sessions, session)
  local time, lease, delta, left
  local others, at, length = {}, 1, #sessions
  while at <= length do
    local next_at = at + 1 + byte(sessions, at)
    if next_at - at <= BODY or next_at > length + 1 then
      error('damaged')
    end
    local t, span, distance, kind = read(sessions, at)
    if t and string.sub(sessions, at + 1, at + SESSION) == session then
      time, lease, delta, left = t, span, distance, kind
    elseif t then
      local over = end_of(t, span, kind)
      local is_live = kind == 0 and over > now
      if kind == 0 and not is_live then
        over = t + memory
      end
      -- Expired sessions are dropped before live ones.
      local rank = is_live and t + FAR_AHEAD or t
      others[#others + 1] = { string.sub(sessions, at, next_at - 1), rank, kind > 0, over, is_live }
    end
    at = next_at
  end
  return others, time, lease, delta, left
end

-- The other sessions of a viewer as text, and when the longest lease and the longest memory among them expire. At most
-- MOST sessions have left and at most MOST have not, with the one that was written. Beyond that the oldest are dropped, an
-- expired one first.
local function pack(others, has_left, viewer, viewers_key)
  local ranks, texts, longest, remembered = {}, {}, 0, 0
  for _, other in ipairs(others) do
    if other[3] == has_left then
      ranks[#ranks + 1] = other[2]
    end
  end
  local surplus = #ranks + 1 - MOST
  if surplus > 0 then
    table.sort(ranks)
    local kept, newest = {}, ranks[surplus]
    for _, other in ipairs(others) do
      if surplus > 0 and other[3] == has_left and other[2] <= newest then
        surplus = surplus - 1
        departed[viewer .. sub(other[1], 2, 1 + SESSION) .. name_of(viewers_key)], has_departed = true, true
      else
        kept[#kept + 1] = other
      end
    end
    others = kept
  end
  for i, other in ipairs(others) do
    texts[i] = other[1]
    if other[5] then
      longest = math.max(longest, other[4])
    else
      remembered = math.max(remembered, other[4])
    end
  end
  return table.concat(texts), longest, remembered
end

-- Redis keeps a small key as a plain list of its entries, which it searches from the start: by default up to 128 entries of a
-- sorted set, and 512 of a hash. An operation then takes twice as long as with an index. An entry that is too long for such
-- a list makes Redis use an index for this key, until it loads its data again.
local COMPACT, TOO_LONG = 64, string.rep(' ', 65)
local function index(viewers_key, sessions_key)
  -- The user may lack the permission to remove it.
  local removed = { redis.pcall('ZREM', viewers_key, TOO_LONG), redis.pcall('HDEL', sessions_key, TOO_LONG) }
  if type(removed[1]) == 'table' or type(removed[2]) == 'table' then
    return
  end
  call('ZADD', viewers_key, 0, TOO_LONG)
  call('ZREM', viewers_key, TOO_LONG)
  call('HSET', sessions_key, TOO_LONG, '')
  call('HDEL', sessions_key, TOO_LONG)
end

-- Applies a channel's operations. Returns its count or the reason why it can't be written, its mark and its flags; nothing if
-- the channel's viewers turn out to be lost. Then whether a count that was read before can be wrong before its next lease
-- ends. `was_lost`: the viewers were lost, so nodes may have operations to replay. `done`, `furthest`: see `renew`.
local function write(viewers_key, sessions_key, ops, was_lost, done, furthest)
  local meta = call('HGET', sessions_key, '')
  local mark, expires, restored = '', 0, 0
  if meta then
    if byte(meta) > FORMAT then
      return '!newer', '', ''
    elseif byte(meta) < FORMAT or #meta < 13 + MARK then
      error('damaged')
    end
    local a, b, c, d, e, f, g, h, i, j, k, l = byte(meta, 2 + MARK, 13 + MARK)
    mark = sub(meta, 2, 1 + MARK)
    expires = ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f
    restored = ((((g * 256 + h) * 256 + i) * 256 + j) * 256 + k) * 256 + l
  end
  local flags, has_restored, opens, is_changed = string.rep('1', done), was_lost, false, false
  local letter, length = sub(ops, 1, 1), #ops
  local at = done * (letter == 'T' and REPLAY or OPERATION) + 1
  if letter == 'C' or letter == 'E' then
    at = 2
    if meta or letter == 'C' then
      furthest = now + math.max(longest_lease, memory)
      mark = mark == '' and new_mark or mark
    end
  end
  while at <= length do
    local act = sub(ops, at, at)
    local is_logged = act == 'T'
    if is_logged then
      act = 'M'
    end
    local viewer = sub(ops, at + 1, at + VIEWER)
    local session = sub(ops, at + VIEWER + 1, at + VIEWER + SESSION)
    local packed_span = sub(ops, at + VIEWER + SESSION + 1, at + VIEWER + SESSION + 4)
    local span = read4(packed_span, 1)
    local known = call('HGET', sessions_key, viewer)
    local time, lease, delta, left, others
    if known and #known == BODY + 1 and sub(known, 2, 1 + SESSION) == session then
      -- The common case.
      time, lease, delta, left = read(known, 1)
    elseif known then
      others, time, lease, delta, left = find(known, session)
    end
    local was_time, was_lease, was_delta, was_left = time, lease, delta, left

    -- A current operation is later than every known event, even if the clock was set back.
    local instant = base
    if time and time > base and not is_late and (left == 0 or act == 'J') then
      instant = time
    end
    if act == 'J' then
      time, lease, delta, left = beat(time, lease, delta, left, instant, span, true)
    elseif act == 'H' or act == 'N' and time and left == 0 and time + lease > now then
      time, lease, delta, left = beat(time, lease, delta, left, instant, span, false)
    elseif act == 'L' or act == 'K' and time then
      time, lease, delta, left = leave(time, lease, delta, left, instant, UNKNOWN)
    elseif act == 'R' or act == 'M' or act == 'W' then
      local t, kind = read6(ops, at + VIEWER + SESSION + 5), 0
      if t >= UNKNOWN then
        kind = t >= LEFT and LEFT or UNKNOWN
      end
      t = t - kind
      local distance = byte(ops, at + VIEWER + SESSION + 11) * 256 + byte(ops, at + VIEWER + SESSION + 12)
      if time or act ~= 'W' then
        time, lease, delta, left = merge(time, lease, delta, left, t < now and t or now, span, distance, kind)
      end
      at = at + 8
    end
    at = at + 5 + VIEWER + SESSION

    local is_live = time and left == 0 and time + lease > now or false
    flags = flags .. (is_live and '1' or '0')
    local was_live = was_time and was_left == 0 and was_time + was_lease > now or false
    if is_live ~= was_live or is_live and time + lease < was_time + was_lease then
      is_changed = true
    end
    -- Also without a change: the node may not have had the answer, or the set of those who have left was lost. A session that was not
    -- known has never had a lease to prolong.
    if time and left == LEFT then
      departed[viewer .. session .. name_of(viewers_key)], has_departed = true, true
    elseif is_live and was_left and was_left > 0 then
      departed[viewer .. session .. name_of(viewers_key)], has_departed = false, true
    end
    if time and (time ~= was_time or lease ~= was_lease or delta ~= was_delta or left ~= was_left) then
      local over = end_of(time, lease, left)
      if over > now then
        if over > furthest then
          furthest = over
        end
        if act == 'R' or act == 'M' then
          -- A session that is counted already was not lost. A late beat may come after a leave, since its join and within
          -- the leave memory, that the store has forgotten. A node that remembers the leave repeats it at the next roll
          -- call.
          if act == 'R' then
            has_restored = has_restored or is_live ~= was_live
          elseif is_logged then
            -- The store still remembers every leave that came after it, unless it is older than the leave memory.
            has_restored = has_restored or is_live and not was_live and time + memory <= now
          elseif is_live and not was_live then
            local joined = delta == FAR and 0 or time - delta
            has_restored = has_restored or math.max(joined, time - memory) < now - memory
          end
        end
        local rest, longest, remembered = '', 0, 0
        if others then
          rest, longest, remembered = pack(others, left > 0, viewer, viewers_key)
        end
        if is_live and over > longest then
          longest = over
        elseif not is_live and over > remembered then
          remembered = over
        end
        local is_first = false
        if not known and call('EXISTS', viewers_key) == 0 then
          if call('HLEN', sessions_key) > (meta and 1 or 0) then
            return nil
          end
          opens, is_first = true, true
        end
        local packed_time = time == base and left == 0 and packed_base or write6(time + left)
        local packed_lease = lease == span and packed_span or sub(write6(lease), 3)
        local packed_delta = char(floor(delta / 256), delta % 256)
        call('HSET', sessions_key, viewer, rest .. LENGTH .. session .. packed_time .. packed_lease .. packed_delta)
        local score = longest > 0 and longest or -remembered
        if call('ZADD', viewers_key, string.format('%d', score), viewer) == 1 and known then
          return nil
        end
        if is_first then
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
  if count == 0 and meta and (letter == 'C' or letter == 'E') and call('HLEN', sessions_key) > 1 and call('EXISTS', viewers_key) == 0 then
    -- No operation has read the viewers.
    return nil
  end
  local spare = count > LARGE and SPARE or usual_spare
  -- Nodes have to read the count 0 before the keys expire. Otherwise they take the expiry for a loss.
  local is_too_soon = furthest + spare / 2 > expires
  if mark ~= '' and (is_too_soon or opens or not meta or has_restored) then
    if is_too_soon then
      -- The expiry is extended by more than necessary, so that few writes have to set it.
      expires = furthest + spare
    end
    is_changed = is_changed or has_restored or not meta
    if has_restored then
      restored = now
    end
    call('HSET', sessions_key, '', char(FORMAT) .. mark .. write6(expires) .. write6(restored))
    call('PEXPIREAT', sessions_key, string.format('%d', expires))
    call('PEXPIREAT', viewers_key, string.format('%d', expires))
    if count > COMPACT and count < LARGE then
      index(viewers_key, sessions_key)
    end
  end
  return count, restored > 0 and mark .. string.format(' %d', restored) or mark, flags, is_changed
end

return write
