-- A shortcut for the most frequent writes: heartbeats of live sessions, each of which is the only one of its viewer. They
-- change no count. Between call.lua and write.lua.

local HEARTBEAT, RENEWAL, LOGGED = byte('H'), byte('N'), byte('T')
-- Used again for every channel.
local fields, sessions, leases = { '' }, {}, {}
-- The lease that was granted last (nearly all are the same), its end as a number and as text, and the session's data from
-- its time on.
local lease, lease_end, score, data

-- Applies a channel's operations up to the first one that is no such heartbeat. Returns how many those are, and when the last
-- of their leases ends. If these were all operations, and the keys live long enough, it also returns the channel's count and
-- mark, as `write` does. Returns false if the channel's viewers turn out to be lost.
local function renew(viewers_key, sessions_key, ops)
  -- Logged heartbeats come together, and each has a time of its own, in order.
  local is_logged = byte(ops, 1) == LOGGED
  local size = is_logged and REPLAY or OPERATION
  local last = 1
  for at = 1, is_late and 0 or #ops, size do
    local act = byte(ops, at)
    if is_logged and act ~= LOGGED or not is_logged and act ~= HEARTBEAT and act ~= RENEWAL then
      break
    end
    last = last + 1
    fields[last] = sub(ops, at + 1, at + VIEWER)
  end
  if last == 1 then
    return 0, 0
  end
  -- A call has few enough operations for `unpack`.
  local found = call('HMGET', sessions_key, unpack(fields, 1, last))
  local meta = found[1]
  if not meta or byte(meta) ~= FORMAT or #meta < 13 + MARK then
    return 0, 0
  end

  local done, furthest, beaten, packed = 0, 0, now, packed_base
  for nth = 2, last do
    local known, at = found[nth], done * size + VIEWER + 2
    local session, span = sub(ops, at, at + SESSION - 1), sub(ops, at + SESSION, at + SESSION + 3)
    if not known or #known ~= BODY + 1 or string.find(known, session, 2, true) ~= 2 then
      break
    end
    local a, b, c, d, e, f, g, h, i, j, k, l = byte(known, SESSION + 2, SESSION + 13)
    if is_logged then
      local earlier = done > 0 and beaten or 0
      beaten, packed = read6(ops, at + SESSION + 4), sub(ops, at + SESSION + 4, at + SESSION + 9)
      if beaten < earlier then
        -- It may be of the same session.
        break
      end
    end
    -- The time of a session that has left is in the future here.
    local time = ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f
    local over, delta = time + ((g * 256 + h) * 256 + i) * 256 + j, k * 256 + l + beaten - time
    if span ~= lease or is_logged then
      lease, lease_end = not is_logged and span, beaten + read4(span, 1)
      score, data = string.format('%d', lease_end), packed .. span .. '\255\255'
    end
    if beaten > now or time > beaten or over <= now or lease_end < over then
      break
    end
    if lease_end > furthest then
      furthest = lease_end
    end
    local rest = data
    if delta < FAR then
      rest = sub(data, 1, 10) .. char(floor(delta / 256), delta % 256)
    end
    sessions[2 * done + 1], sessions[2 * done + 2] = fields[nth], LENGTH .. session .. rest
    leases[2 * done + 1], leases[2 * done + 2] = score, fields[nth]
    done = done + 1
  end
  if done == 0 then
    return 0, 0
  end
  call('HSET', sessions_key, unpack(sessions, 1, 2 * done))
  if call('ZADD', viewers_key, unpack(leases, 1, 2 * done)) > 0 then
    return false
  elseif done * size < #ops then
    return done, furthest
  end

  local count = call('ZCOUNT', viewers_key, after_now, '+inf')
  local a, b, c, d, e, f, g, h, i, j, k, l = byte(meta, 2 + MARK, 13 + MARK)
  local expires = ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f
  if furthest + (count > LARGE and SPARE or usual_spare) / 2 > expires then
    return done, furthest
  end
  local mark, restored = sub(meta, 2, 1 + MARK), ((((g * 256 + h) * 256 + i) * 256 + j) * 256 + k) * 256 + l
  return done, furthest, count, restored > 0 and mark .. string.format(' %d', restored) or mark
end

