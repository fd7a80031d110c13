-- Frees the memory of sessions that have left (see log.lua), after note.lua.
--
-- KEYS  1  the sessions that have left       ARGV  1  the longest lease (ms)
-- Returns: how many were removed; the caller goes on until none was
local clock = redis.call('TIME')
return trim_leaves(KEYS[1], clock[1] * 1000 + math.floor(clock[2] / 1000), ARGV[1])
