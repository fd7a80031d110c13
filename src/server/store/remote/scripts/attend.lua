-- The roll call: the nodes of a store, and for each the time since which its journal is known to be in the store. A loss
-- is repaired when every node has checked its journal after the loss.
--
-- KEYS  the roll call, a hash:
--   epoch         a random number; it changes if the roll call itself was lost
--   server        the identifier of the server, as the last node read it
--   lost          when all data may have been lost (ms), or 0
--   asked         when the nodes were last asked to check their journals (ms), or 0
--   <node>        until when the node is expected to attend (ms), and since when its journal is known to be in the
--                 store (ms)
--   +<node>       '1': the node enters what it changes into the list of changes. '2': also who leaves into the set of sessions that
--                 have left, and none waits to be entered (see log.lua). Nodes of earlier versions do neither
--   listed        '1' if all nodes enter changes
--   logged        '1' if heartbeats may be logged: the set has all who left, and `unlogged` is over
--   unlogged      until when they may not be, whatever the nodes say (ms)
-- ARGV
--   1  the node                          2  how long the node is expected to attend (ms); 0: it shuts down
--   3  since when its journal is known to be in the store (ms); 'now' if its journal is empty
--   4  the epoch that the node knows, or ''      5  a new epoch
--   6  the identifier of the server, or '' if it is not known
--   7  '1' if the node has found a loss
--   8  '1' if all data is on this server, so the loss of the roll call may mean the loss of everything
--   9  '1' if the node can't write to a channel that a later version keeps, so counts may be incomplete
--   10 '2' or '1', for +<node>         11 for how long heartbeats may not be logged (ms)
--   12… the other nodes that the node knows
-- Returns: the time (ms), the epoch, `lost`, `asked`, since when all journals are known to be in the store (ms), and the
--   nodes
local key, node = KEYS[1], ARGV[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function text(number)
  return string.format('%d', number)
end
local probe = redis.pcall('HLEN', key)
if type(probe) == 'table' and string.find(probe.err, 'WRONGTYPE', 1, true) then
  -- The key has another type. The roll call is lost.
  redis.call('UNLINK', key)
end
local span, sure = tonumber(ARGV[2]), ARGV[3] == 'now' and text(now) or ARGV[3]

local epoch, server, lost, asked, unlogged = unpack(redis.call('HMGET', key, 'epoch', 'server', 'lost', 'asked', 'unlogged'))
unlogged = tonumber(unlogged or 0)
if ARGV[11] ~= '0' then
  unlogged = math.max(unlogged, now + tonumber(ARGV[11]))
end
lost, asked = tonumber(lost or 0), tonumber(asked or 0)
-- All data may have been lost at `at`. The roll call waits for all nodes that attended before.
local function note_loss(at)
  asked = math.max(asked, at)
  lost = ARGV[8] == '1' and math.max(lost, at) or lost
  for i = 12, #ARGV do
    local expected, since = string.match(redis.call('HGET', key, ARGV[i]) or '', '^(%d+) (%d+)$')
    if not expected or tonumber(expected) <= now then
      redis.call('HSET', key, ARGV[i], text(at + span) .. ' ' .. (since or '0'))
    end
  end
end
if not epoch then
  epoch = ARGV[5]
elseif ARGV[7] == '1' then
  asked = now
end
if ARGV[9] == '1' then
  lost = now
end
if ARGV[6] ~= '' and server and server ~= ARGV[6] then
  note_loss(now)
elseif ARGV[4] ~= '' and ARGV[4] ~= epoch then
  -- The loss that another node has noted is not noted again, so that nobody is waited for longer.
  local noted = ARGV[8] == '1' and lost or asked
  note_loss(now - noted < span and noted or now)
end
-- The nodes with their two times, the latest time until which one is expected, and the nodes that list their changes.
local function nodes()
  local fields, all, latest, listing = redis.call('HGETALL', key), {}, 0, {}
  for i = 1, #fields, 2 do
    if #fields[i] == 16 then
      local expected, since = string.match(fields[i + 1], '^(%d+) (%d+)$')
      all[#all + 1] = { fields[i], tonumber(expected or 0), since or '0' }
      latest = math.max(latest, tonumber(expected or 0))
    elseif #fields[i] == 17 then
      listing[string.sub(fields[i], 2)] = fields[i + 1]
    end
  end
  return all, latest, listing
end
local absent, latest = nodes()
if latest <= now then
  -- No node could attend for a while, so all known nodes get a new waiting time.
  for _, one in ipairs(absent) do
    redis.call('HSET', key, one[1], text(now + span) .. ' ' .. one[3])
  end
end
redis.call('HSET', key, 'epoch', epoch, 'server', ARGV[6] ~= '' and ARGV[6] or server or '', 'lost', text(lost), 'asked', text(asked),
  node, text(now + span) .. ' ' .. sure, '+' .. node, ARGV[10], 'unlogged', text(unlogged))
-- A node that shuts down does not shorten the life of the roll call of the others.
redis.call('PEXPIRE', key, math.max(4 * span, redis.call('PTTL', key), 1000))

local answer, listed, logged = { now, epoch, lost, asked, now }, '1', unlogged <= now and '1' or ''
local all, _, listing = nodes()
for _, one in ipairs(all) do
  local name, expected, since = unpack(one)
  if expected <= now then
    redis.call('HDEL', key, name)
  else
    answer[5] = math.min(answer[5], tonumber(since))
    answer[#answer + 1] = name
    listed, logged = listing[name] and listed or '', listing[name] == '2' and logged or ''
    listing[name] = nil
  end
end
for name in pairs(listing) do
  redis.call('HDEL', key, '+' .. name)
end
-- Without nodes, one of an earlier version may be the next.
redis.call('HSET', key, 'listed', #answer > 5 and listed or '', 'logged', #answer > 5 and logged or '')
return answer
