-- Come before other scripts.

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

-- Enters sessions into those that have left (see log.lua), and takes out those that have come back. `now`, `longest_lease`: in ms.
-- `gone`, `back`: at most 1,000 sessions.
local function note_leaves(list, now, longest_lease, gone, back)
  local time = string.format('%d', now)
  local removed = redis.pcall('ZREMRANGEBYSCORE', list, '-inf', string.format('%d', now - longest_lease))
  if type(removed) ~= 'number' then
    -- The key has another type, or the user may not remove entries.
    redis.call('UNLINK', list)
  end
  if #back > 0 then
    redis.call('ZREM', list, unpack(back))
  end
  if #gone > 0 then
    local entries = {}
    for i, session in ipairs(gone) do
      entries[2 * i - 1], entries[2 * i] = time, session
    end
    redis.call('ZADD', list, unpack(entries))
    redis.call('PEXPIRE', list, longest_lease)
  end
end
