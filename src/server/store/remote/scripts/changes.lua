-- Returns what may have changed since an earlier call: the channels whose counts may have changed by anything but the end of
-- a lease, and the channels that were entered into the list of live channels. A node needs to read only these, and the
-- channels with a lease that has ended since it read them.
--
-- KEYS  1  the roll call
--       2  the list of changes, a sorted set: the key of a channel's viewers, or the name of a listed channel -> the number of
--          its last change (see note.lua). Two more entries: '' has the number up to which changes are no longer in the
--          list, '>' that of the last change. The list exists while nodes read it
-- ARGV  1  the number that the earlier call has returned, or 0
-- Returns: the time (ms), the roll call's epoch, the number of the last change, then the keys and names; instead of the
--   number '' if changes are not listed now, and instead of the rest '*' if anything may have changed
local KEPT_FOR = 10000
-- The most changes in a response, and how many stay in the list. A call removes the oldest of more, at most TRIM of them.
local MOST, TRIM = 4096, 1000
local call, pcall = redis.call, redis.pcall
local key, since = KEYS[2], tonumber(ARGV[1])

local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
-- A damaged roll call is lost; the nodes replace it (see attend.lua).
local roll = pcall('HMGET', KEYS[1], 'epoch', 'listed')
local answer = { now, roll[1] or '', '', '*' }
if roll[2] ~= '1' then
  -- A node of an earlier version may change counts.
  return answer
end

local oldest = pcall('ZSCORE', key, '')
if type(oldest) == 'table' and not string.find(oldest.err, 'WRONGTYPE', 1, true) then
  -- The user may lack the permission.
  return answer
end
local last = type(oldest) == 'string' and call('ZSCORE', key, '>')
if not last then
  if oldest then
    pcall('UNLINK', key)
  end
  local number = string.format('%.0f', clock[1] * 1000000 + clock[2])
  -- A server without memory takes no new entries.
  if type(pcall('ZADD', key, number, '', number, '>')) == 'number' then
    pcall('PEXPIRE', key, KEPT_FOR)
    answer[3] = number
  end
  return answer
end
-- A server that takes no writes now, as a replica, still answers.
if call('PTTL', key) < KEPT_FOR / 2 then
  pcall('PEXPIRE', key, KEPT_FOR)
end

answer[3] = string.format('%.0f', last)
local after = '(' .. ARGV[1]
-- Otherwise some changes are no longer in the list, there are too many, or an old copy of the data has replaced it.
if since >= tonumber(oldest) and since <= tonumber(last) and call('ZCOUNT', key, after, '+inf') <= MOST then
  answer[4] = nil
  if since < tonumber(last) then
    for _, changed in ipairs(call('ZRANGEBYSCORE', key, after, '+inf')) do
      if changed ~= '>' then
        answer[#answer + 1] = changed
      end
    end
  end
end

if call('ZCARD', key) > MOST then
  local old, names = call('ZRANGEBYSCORE', key, '-inf', '+inf', 'WITHSCORES', 'LIMIT', 1, TRIM), {}
  for i = 1, #old, 2 do
    names[#names + 1] = old[i]
  end
  if type(pcall('ZREM', key, unpack(names))) == 'number' then
    call('ZADD', key, old[#old], '')
  end
end
return answer
