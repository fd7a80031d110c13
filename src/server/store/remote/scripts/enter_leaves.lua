-- Enters sessions of channels that are on other servers of the cluster into those that have left (see log.lua), and takes out
-- those that have come back. After note.lua.
--
-- KEYS  1  the sessions that have left
-- ARGV  1  the longest lease (ms)     2  the number of those that have left, at most 1,000
--   3… a time (ms) and a session that has left then, and so on; 0 if the caller does not know whether it has. Such a session gets
--      a time with a fraction
--   …  a time (ms) and a session that has come back then, and so on; at most 1,000. All times are those of the channels' servers

local list, longest_lease = KEYS[1], tonumber(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local first_back = 3 + 2 * tonumber(ARGV[2])
local gone = { unpack(ARGV, 3, first_back - 1) }
for i = 1, #gone, 2 do
  if gone[i] == '0' then
    gone[i] = string.format('%d.5', now)
  end
end
note_leaves(list, now, longest_lease, gone, {})
for i = first_back, #ARGV, 2 do
  -- The calls may arrive in another order. The heartbeats of a session that stays in the set although it has come back are not
  -- logged. A node that takes it to have left learns better with its next heartbeat.
  local time = redis.pcall('ZSCORE', list, ARGV[i + 1])
  if type(time) == 'string' and tonumber(time) < tonumber(ARGV[i]) then
    redis.call('ZREM', list, ARGV[i + 1])
  end
end
