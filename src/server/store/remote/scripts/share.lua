-- Shares the parts of the channels among the nodes: each part has one owner, which records its channels. A node that does
-- not renew its lease loses its parts to the others. The nodes must also use one database, and keep each channel in the
-- same number of parts.
--
-- KEYS  the shares, a hash:
--   node:<node>   until when the node takes part (ms); kept for GRACE (ms) after that
--   part:<n>      the owner of a part
--   database      the id of the database that the nodes use
--   channel_parts in how many parts the nodes keep each channel
-- ARGV
--   1  the node             2  the lease (ms); 0: the node shuts down
--   3  the number of parts  4  the id of the node's database, or '' if it is not known
--   5  in how many parts the node keeps each channel
-- Returns: the id of the database that the nodes use, or ''; in how many parts they keep each channel; and the parts of this
--   node. A node that differs in one of the first two gets no part.
local key, node, lease, parts, database = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local channel_parts = ARGV[5]
-- How long the setting of nodes that do not renew their leases stands: all may have been cut off, and another node must not
-- put its own setting in the place of theirs.
local GRACE = 30000
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local probe = redis.pcall('HLEN', key)
if type(probe) == 'table' and string.find(probe.err, 'WRONGTYPE', 1, true) then
  -- The key has another type. The parts are shared anew.
  redis.call('UNLINK', key)
end
local fields, is_live, live, owner, in_use = redis.call('HGETALL', key), {}, 0, {}, ''
local others, parts_in_use = 0, '1'
for i = 1, #fields, 2 do
  local name, value = fields[i], fields[i + 1]
  local other, part = string.match(name, '^node:(.*)$'), string.match(name, '^part:(%d+)$')
  if other and other ~= node then
    if tonumber(value) > now then
      is_live[other], live = true, live + 1
    end
    if tonumber(value) + GRACE > now then
      others = others + 1
    else
      redis.call('HDEL', key, name)
    end
  elseif part then
    owner[tonumber(part)] = value
  elseif name == 'database' then
    in_use = value
  elseif name == 'channel_parts' then
    parts_in_use = value
  end
end
local is_other_database = live > 0 and in_use ~= '' and database ~= '' and in_use ~= database
local has_other_parts = others > 0 and parts_in_use ~= channel_parts
if is_other_database or has_other_parts then
  redis.call('HDEL', key, 'node:' .. node)
  return { in_use, has_other_parts and parts_in_use or channel_parts }
end
if lease == 0 then
  redis.call('HDEL', key, 'node:' .. node)
  if others == 0 then
    redis.call('HDEL', key, 'channel_parts')
  end
  for part = 0, parts - 1 do
    if owner[part] == node then
      redis.call('HDEL', key, 'part:' .. part)
    end
  end
  return { in_use, channel_parts }
end
if database ~= '' then
  in_use = database
end
redis.call('HSET', key, 'database', in_use, 'channel_parts', channel_parts, 'node:' .. node, string.format('%d', now + lease))
redis.call('PEXPIRE', key, math.max(10 * lease, lease + GRACE))
-- The shares differ by at most one part.
local fair, own = math.ceil(parts / (live + 1)), {}
for part = 0, parts - 1 do
  if owner[part] == node then
    if #own < fair then
      own[#own + 1] = part
    else
      redis.call('HDEL', key, 'part:' .. part)
      owner[part] = 'released'
    end
  end
end
for part = 0, parts - 1 do
  if #own < fair and owner[part] ~= 'released' and owner[part] ~= node and not is_live[owner[part] or ''] then
    redis.call('HSET', key, 'part:' .. part, node)
    own[#own + 1] = part
  end
end
local answer = { in_use, channel_parts }
for _, part in ipairs(own) do
  answer[#answer + 1] = part
end
return answer
