-- Deletes the logs of a node (see log.lua), unless it attends the roll call.
--
-- KEYS  1  the roll call     2  the nodes that have logs     3, 4  the logs of the node       ARGV  1  the node
if not redis.call('HGET', KEYS[1], ARGV[1]) then
  redis.call('UNLINK', KEYS[3], KEYS[4])
  redis.call('HDEL', KEYS[2], ARGV[1])
end
