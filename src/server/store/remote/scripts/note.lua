-- These functions come before other scripts.

-- Enters changes into the list of changes (see changes.lua), which exists while nodes read it.
-- `clock`: the time, as TIME returns it. `changed`: at most 1,000 keys or names.
local function note_changes(list, clock, changed)
  -- With more changes than that between two questions, everything is read.
  local MOST = 16384
  -- Numbers are the time (µs), so those of a new list, or of another server, are higher unless its clock is behind.
  local number = string.format('%.0f', clock[1] * 1000000 + clock[2])
  local moved = redis.pcall('ZADD', list, 'XX', 'GT', 'CH', number, '>')
  if moved == 0 then
    -- There is no list, or the clock was set back.
    number = redis.pcall('ZADD', list, 'XX', 'INCR', 1, '>')
    if not number then
      return
    end
  end
  local entries = {}
  for i, name in ipairs(changed) do
    entries[2 * i - 1], entries[2 * i] = number, name
  end
  local added = type(number) == 'string' and redis.pcall('ZADD', list, unpack(entries))
  if type(added) ~= 'number' or redis.call('ZCARD', list) > MOST then
    -- Without a list, everything is read.
    redis.call('UNLINK', list)
  end
end

-- Takes expired entries out of the sessions that have left (see log.lua), a bounded number. Returns how many.
local function trim_leaves(list, now, longest_lease)
  local MOST = 1000
  local old = redis.pcall('ZRANGEBYSCORE', list, '-inf', string.format('%d', now - longest_lease), 'LIMIT', 0, MOST)
  if old.err and string.find(old.err, 'WRONGTYPE', 1, true) then
    redis.call('UNLINK', list)
  end
  if #old > 0 then
    redis.call('ZREM', list, unpack(old))
  end
  return #old
end

-- Enters sessions into those that have left, and takes out those that have come back. `now`, `longest_lease`: in ms. `gone`: a
-- time (ms) and a session, and so on; `back`: sessions; at most 1,000 each. A session that is in both has left.
local function note_leaves(list, now, longest_lease, gone, back)
  trim_leaves(list, now, longest_lease)
  if #back > 0 then
    redis.call('ZREM', list, unpack(back))
  end
  if #gone > 0 then
    redis.call('ZADD', list, 'GT', unpack(gone))
    -- A large set lives for longer, so that sweeps can empty it in small steps first (see call.lua).
    local is_large = redis.call('ZCARD', list) > 1000
    redis.call('PEXPIRE', list, is_large and longest_lease + 600000 or longest_lease)
  end
end
