-- Does the operations of any number of channels and answers with their counts. Each channel's operations happen in their
-- order, with nothing in between.
--
-- KEYS, two for each channel, both under the channel's hash tag:
--   viewers   sorted set: viewer (14 bytes) -> end of its longest lease (ms); for one who has left, until when that is
--             remembered, below zero
--   sessions  hash: viewer -> its sessions, 14 bytes each: session (8), end of its lease or, LEFT higher, until when its
--             leave is remembered (6, ms). Whoever is in here is in `viewers` too. Under '' is the channel's mark (16),
--             a random number that it gets when it is made, and when its keys were last told when to expire (6, ms). It
--             keeps the hash alive, so that a channel whose viewers have all left can be told from one that was lost
-- ARGV
--   1   after how long without a write a channel's keys expire (ms), at most; after 3/4 of it at least, which is longer
--       than any lease
--   2   the mark for channels that have none
--   3…  for each channel its operations, 27 bytes each: act (1: 'J'oin, 'H'eartbeat, re'N'ew, 'R'estore or 'L'eave),
--       viewer (14), session (8), duration (4, ms): of the lease, or of the memory of the leave
-- Answer: the time (ms), then for each channel
--   its count, its mark, and a '1' or '0' for each operation (is its session counted after it?), with blanks between

-- The first write of a call is one that Redis refuses when it is out of memory, so that nothing is done by halves.

local OP, VIEWER, SESSION, ENTRY, MARK = 27, 14, 8, 14, 16
local LEFT = 2 ^ 47
local call, sub, byte, char, max, floor = redis.call, string.sub, string.byte, string.char, math.max, math.floor

-- A whole number in 4 or 6 bytes, the highest first.
local function read4(text, at)
  local a, b, c, d = byte(text, at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end
local function read6(text, at)
  local a, b = byte(text, at, at + 1)
  return (a * 256 + b) * 4294967296 + read4(text, at + 2)
end
local function write6(number)
  local high, low = floor(number / 4294967296), number % 4294967296
  return char(floor(high / 256), high % 256, floor(low / 16777216), floor(low / 65536) % 256, floor(low / 256) % 256, low % 256)
end

local clock = call('TIME')
local now = clock[1] * 1000 + floor(clock[2] / 1000)
local after_now = '(' .. now
local ttl, new_mark = tonumber(ARGV[1]), ARGV[2]

-- Most leases of a call are equally long: their ends, as numbers, as scores and packed.
local ends, scores, packed_ends = {}, {}, {}
local function lease_of(span)
  local lease_end = now + read4(span, 1)
  ends[span], scores[span], packed_ends[span] = lease_end, string.format('%d', lease_end), write6(lease_end)
end

-- Of a viewer's sessions: the others, without what has ended; when the longest lease and the longest memory of a leave
-- among them end; and the time of this one.
local function look(sessions, session)
  if #sessions == ENTRY and sub(sessions, 1, SESSION) == session then
    return '', 0, 0, read6(sessions, SESSION + 1)
  end
  local others, longest, memory, own = '', 0, 0, 0
  for at = 1, #sessions, ENTRY do
    local time = read6(sessions, at + SESSION)
    if sub(sessions, at, at + SESSION - 1) == session then
      own = time
    elseif time >= LEFT and time - LEFT > now then
      memory = max(memory, time - LEFT)
      others = others .. sub(sessions, at, at + ENTRY - 1)
    elseif time < LEFT and time > now then
      longest = max(longest, time)
      others = others .. sub(sessions, at, at + ENTRY - 1)
    end
  end
  return others, longest, memory, own
end

local function mark_as(mark, viewers_key, sessions_key)
  call('HSET', sessions_key, '', mark .. write6(now))
  call('PEXPIRE', sessions_key, ttl)
  call('PEXPIRE', viewers_key, ttl)
end

-- Does a channel's operations. Answers nothing if it turns out that its viewers were lost.
local function write(viewers_key, sessions_key, ops)
  local flags = ''
  for at = 1, #ops, OP do
    local act = sub(ops, at, at)
    local viewer = sub(ops, at + 1, at + VIEWER)
    local session = sub(ops, at + VIEWER + 1, at + VIEWER + SESSION)
    local span = sub(ops, at + VIEWER + SESSION + 1, at + OP - 1)
    local known = call('HGET', sessions_key, viewer)
    local others, longest, memory, own = look(known or '', session)
    local entry, score, flag

    if act == 'L' then
      local forgotten = now + read4(span, 1)
      entry, flag = session .. write6(LEFT + forgotten), '0'
      score = longest > 0 and longest or -max(memory, forgotten)
    elseif act ~= 'J' and own - LEFT > now or act == 'N' and (own <= now or own >= LEFT) then
      flag = '0'
    else
      if not ends[span] then
        lease_of(span)
      end
      local lease_end, packed_end = ends[span], packed_ends[span]
      score = scores[span]
      if act == 'R' and own < LEFT and own > lease_end then
        lease_end, packed_end, score = own, write6(own), own
      end
      if longest > lease_end then
        score = longest
      end
      entry, flag = session .. packed_end, '1'
    end

    if entry then
      local opens = false
      if not known and call('EXISTS', viewers_key) == 0 then
        if call('HLEN', sessions_key) > 1 then
          return nil
        end
        opens = true
      end
      call('HSET', sessions_key, viewer, others .. entry)
      if call('ZADD', viewers_key, score, viewer) == 1 and known then
        return nil
      end
      if opens then
        call('PEXPIRE', viewers_key, ttl)
      end
    end
    flags = flags .. flag
  end
  return flags
end

-- A server that evicts keys takes them one by one. By the new mark that a channel gets then every node knows that it was
-- lost, and writes what it remembers again.
local answer = { now }
for channel = 1, #KEYS / 2 do
  local viewers_key, sessions_key, ops = KEYS[2 * channel - 1], KEYS[2 * channel], ARGV[channel + 2]
  local marked = call('HGET', sessions_key, '')
  local mark = marked and sub(marked, 1, MARK) or new_mark
  if not marked or now - read6(marked, MARK + 1) > ttl / 4 then
    mark_as(mark, viewers_key, sessions_key)
  end
  local flags = write(viewers_key, sessions_key, ops)
  if not flags then
    call('UNLINK', viewers_key, sessions_key)
    mark = new_mark
    mark_as(mark, viewers_key, sessions_key)
    flags = write(viewers_key, sessions_key, ops)
  end
  answer[channel + 1] = call('ZCOUNT', viewers_key, after_now, '+inf') .. ' ' .. mark .. ' ' .. flags
end
return answer
