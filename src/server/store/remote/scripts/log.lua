-- Appends heartbeats to the log of a node. They only prolong leases, and the node writes them to their channels within
-- seconds, many at a time. If the node dies before, another node does it.
--
-- KEYS
--   1  the roll call (see attend.lua)
--   2  the sessions that have left within the longest lease, a sorted set: viewer (14 bytes), session (8) and channel -> time
--      (ms). If they left through another node, this one may still take them to be live. A time with a fraction is that of a call
--      that failed, so the session may be live
--   3  the nodes that have logs, a hash: node -> the time of the first entry of its last log (ms)
--   4  the log, a list. An entry: the time (ms), a blank, and heartbeats, which only nodes read
-- ARGV
--   1  the node, as in KEYS 3
--   2  the longest lease (ms)
--   3  when this call was sent, by this server's clock (ms); 0 if the caller does not know
--   4  the heartbeats             5… their sessions, as in KEYS 2
-- Returns: the time (ms), the roll call's epoch, and 1 if the heartbeats were appended. Otherwise '' if none can be for now, '!' and an
--   error, or for each heartbeat '1' or '0': whether its session has left

-- As in call.lua.
local LATE = 250
local left, names, log = KEYS[2], KEYS[3], KEYS[4]
local longest_lease, sent = tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local roll = redis.pcall('HMGET', KEYS[1], 'epoch', 'logged')
local answer = { now, roll[1] or '', '' }
if roll.err or roll[2] ~= '1' or sent > 0 and now - sent > LATE then
  return answer
end

local times = redis.pcall('ZMSCORE', left, unpack(ARGV, 5))
if times.err and string.find(times.err, 'WRONGTYPE', 1, true) then
  redis.call('UNLINK', left)
  return answer
elseif times.err then
  answer[3] = '!' .. times.err
  return answer
end
local flags, has_any_left = {}, false
for nth = 1, #times do
  local has_left = times[nth] and tonumber(times[nth]) + longest_lease > now
  flags[nth], has_any_left = has_left and '1' or '0', has_any_left or has_left
end
if has_any_left then
  answer[3] = table.concat(flags)
  return answer
end

-- A key of another type is lost.
local function write(key, ...)
  local result = redis.pcall(...)
  if type(result) == 'table' and string.find(result.err, 'WRONGTYPE', 1, true) then
    redis.call('UNLINK', key)
    result = redis.pcall(...)
  end
  return result
end
local length = write(log, 'RPUSH', log, string.format('%d ', now) .. ARGV[4])
redis.pcall('PEXPIRE', log, longest_lease)
if length == 1 then
  length = write(names, 'HSET', names, ARGV[1], string.format('%d', now))
  redis.pcall('PEXPIRE', names, longest_lease)
end
answer[3] = type(length) == 'table' and '!' .. length.err or 1
return answer
