-- The roll call of nodes: which are there, and what each has made sure of. By it the store can say that it is being
-- restored: a loss is over when every node that was there has looked, after the loss, whether all that it remembers is in
-- the store.
--
-- KEYS  the roll call, a hash:
--   epoch         a random number; another one means that the roll call itself was lost
--   server        what the server called itself, by the node that came last
--   lost          when all may have been lost (ms), or 0
--   asked         when the nodes were last asked to look whether anything was lost (ms), or 0
--   <node>        until when the node is expected (ms), and since when it knows that all it remembers is in the store (ms)
-- ARGV
--   1  the node                          2  for how long it is expected (ms); 0: it goes
--   3  since when it knows that all it remembers is in the store (ms); 'now' if it remembers nothing
--   4  the epoch that it knows, or nothing       5  a new epoch
--   6  what the server calls itself, or nothing if that can't be told
--   7  '1' if it has found something lost
--   8  '1' if all counts depend on this roll call: what is lost with it may be everything
--   9  '1' if it can't write what it has accepted, since a later version keeps it: counts may be incomplete
--   10… the other nodes that it knows of
-- Answer: the time (ms), the epoch, `lost`, `asked`, since when all nodes know; then the nodes
local key, node = KEYS[1], ARGV[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function text(number)
  return string.format('%d', number)
end
local span, sure = tonumber(ARGV[2]), ARGV[3] == 'now' and text(now) or ARGV[3]

local epoch, server, lost, asked = unpack(redis.call('HMGET', key, 'epoch', 'server', 'lost', 'asked'))
lost, asked = tonumber(lost or 0), tonumber(asked or 0)
-- All may have been lost. The nodes that were there are waited for.
local function note_loss()
  asked = now
  lost = ARGV[8] == '1' and now or lost
  for i = 10, #ARGV do
    local expected, since = string.match(redis.call('HGET', key, ARGV[i]) or '', '^(%d+) (%d+)$')
    if not expected or tonumber(expected) <= now then
      redis.call('HSET', key, ARGV[i], text(now + span) .. ' ' .. (since or '0'))
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
if ARGV[4] ~= '' and ARGV[4] ~= epoch then
  note_loss()
end
if ARGV[6] ~= '' and server and server ~= ARGV[6] then
  note_loss()
end
-- The nodes of the roll call: until when each is expected, and since when it knows.
local function nodes()
  local fields, all, latest = redis.call('HGETALL', key), {}, 0
  for i = 1, #fields, 2 do
    if #fields[i] == 16 then
      local expected, since = string.match(fields[i + 1], '^(%d+) (%d+)$')
      all[#all + 1] = { fields[i], tonumber(expected or 0), since or '0' }
      latest = math.max(latest, tonumber(expected or 0))
    end
  end
  return all, latest
end
local absent, latest = nodes()
if latest <= now then
  -- Nobody could attend for a while: nodes that were there are waited for anew.
  for _, one in ipairs(absent) do
    redis.call('HSET', key, one[1], text(now + span) .. ' ' .. one[3])
  end
end
redis.call('HSET', key, 'epoch', epoch, 'server', ARGV[6] ~= '' and ARGV[6] or server or '', 'lost', text(lost), 'asked', text(asked),
  node, text(now + span) .. ' ' .. sure)
redis.call('PEXPIRE', key, math.max(4 * span, 1000))

local answer = { now, epoch, lost, asked, now }
for _, one in ipairs(nodes()) do
  local name, expected, since = unpack(one)
  if expected <= now then
    redis.call('HDEL', key, name)
  else
    answer[5] = math.min(answer[5], tonumber(since))
    answer[#answer + 1] = name
  end
end
return answer
