-- The nodes whose last log (see log.lua) began a while ago.
--
-- KEYS  1  the nodes that have logs       ARGV  1  how long ago, at least (ms)
-- Returns: the nodes
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local entries, owners = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #entries, 2 do
  if now - tonumber(entries[i + 1]) >= tonumber(ARGV[1]) then
    owners[#owners + 1] = entries[i]
  end
end
return owners
