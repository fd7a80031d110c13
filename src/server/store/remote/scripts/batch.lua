-- Applies a call's operations, channel by channel, after the other parts of the script.

-- Whether an error is about the data of a channel. Any other error is about the server and aborts the call.
local function is_damage(reason)
  local text = type(reason) == 'table' and (reason.err or '') or tostring(reason)
  return string.find(text, 'WRONGTYPE', 1, true) or string.find(text, 'damaged', 1, true)
    or string.find(text, 'attempt to', 1, true) or string.find(text, 'bad argument', 1, true)
    or string.find(text, 'not a valid float', 1, true)
end

local first = tonumber(ARGV[1])
local epoch = first > 1 and redis.pcall('HGET', KEYS[1], 'epoch') or ''
-- A damaged roll call is lost; the nodes replace it (see attend.lua).
local answer = { now, type(epoch) == 'string' and epoch or '' }
if is_late and now - sent >= TOO_LATE then
  return answer
end
local changed = {}
-- Those that have left, and those that have come back.
local function departures()
  local gone, back = {}, {}
  for session, has_left in pairs(departed) do
    local list = has_left and gone or back
    list[#list + 1] = session
  end
  return gone, back
end
local function note()
  if first > 1 and #changed > 0 then
    note_changes(KEYS[2], clock, changed)
  end
  if first == 4 and has_departed then
    local gone, back = departures()
    local entries, time = {}, string.format('%d', now)
    for i, session in ipairs(gone) do
      entries[2 * i - 1], entries[2 * i] = time, session
    end
    note_leaves(KEYS[3], now, longest_lease, entries, back)
  end
end
-- Most calls do not need `write`.
local write
local function apply(viewers_key, sessions_key, ops)
  local done, furthest, count, mark = renew(viewers_key, sessions_key, ops)
  if not done then
    return nil
  elseif count then
    return count, mark, 1, false
  end
  write = write or general()
  return write(viewers_key, sessions_key, ops, false, done, furthest)
end

-- A server that evicts keys can remove one of a channel's two keys. Such a channel, or one with damaged data, is deleted
-- and gets a new mark. The new mark shows every node the loss, and the nodes replay their journals.
for channel = 1, (#KEYS - first + 1) / 2 do
  local viewers_key, sessions_key = KEYS[first + 2 * channel - 2], KEYS[first + 2 * channel - 1]
  local ops = ARGV[channel + 5]
  local is_done, result, mark, flags, is_changed = pcall(apply, viewers_key, sessions_key, ops)
  if is_done and not result or not is_done and is_damage(result) then
    call('UNLINK', viewers_key, sessions_key)
    write = write or general()
    is_done, result, mark, flags = pcall(write, viewers_key, sessions_key, ops, true, 0, 0)
    is_changed = true
  end
  if is_changed or not is_done then
    changed[#changed + 1] = viewers_key
  end
  if not is_done then
    note()
    error(result)
  end
  answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = result, mark, flags
end
note()
if first == 1 and has_departed then
  answer[#answer + 1], answer[#answer + 2] = departures()
end
return answer
