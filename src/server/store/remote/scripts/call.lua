-- Applies the operations of any number of channels and returns their counts. The operations of a channel are applied in
-- order and atomically. Sessions follow the rules of src/domain/session/mod.rs: the later event wins.
--
-- KEYS  the roll call (see attend.lua), the list of changes (see changes.lua) and the sessions that have left (see log.lua)
--   if ARGV 1 is 4, or the first two if it is 3; then two keys for each channel, with the channel's hash tag:
--   viewers   sorted set: viewer (14 bytes) -> expiry of its longest lease (ms). For a viewer that has left: the expiry
--             of its memory (ms), negated
--   sessions  hash: viewer -> its sessions. Every viewer in this hash is also in `viewers`.
--             A session: length of the rest (1 byte, at least 20; bytes after 20 are another version's and are kept),
--             session (8), time (6, ms: of the last beat, or of the leave plus LEFT or UNKNOWN), lease (4, ms),
--             delta (2, ms)
--             Field '': the channel's metadata: FORMAT (1), mark (16), expiry of the keys (6, ms), time of the last
--             restore (6, ms). It keeps the hash alive, so a channel without viewers differs from a lost channel
-- ARGV
--   1   the index of the first channel's first key: 1, or 3 or 4 after the others
--   2   the longest lease (ms)           3   the leave memory (ms)
--   4   the mark for new channels
--   5   when this call was sent, by this server's clock (ms); 0 if the caller does not know
--   6…  for each channel its operations: act (1), viewer (14), session (8), lease (4, ms). Acts:
--       'J'oin, 'H'eartbeat, re'N'ew (of a live session only), 'L'eave, leave of a 'K'nown session only;
--       'R'estore a session that the store has lost, 'M'issed: a session that could not be written in time, 'T': a
--       heartbeat from a log (see log.lua), and 'W'ithdraw: repeat the leave of a known session. These four add the
--       session's time (6, ms) and delta (2, ms).
--       Where the keys hold a part of a channel, a letter comes first: 'E', the part has to live as long as any session
--       of the channel can, if it exists; 'C', the same, and it is created
-- Returns: the time (ms), the roll call's epoch, then for each channel:
--   the count, or '!' and a reason if the channel can't be written
--   the mark, and after a blank the time of the last restore (ms) if there was one; '' without a mark
--   for each operation '1' or '0' (is its session counted afterwards?); 1 if all are
--   Nothing for the channels if the call is TOO_LATE
--   After the channels, if ARGV 1 is 1 and there are some: the sessions that have left, and those that have come back (see
--   enter_leaves.lua)
--
-- Redis refuses a script for lack of memory only at its first write, so no call is applied in part.

local FORMAT = 3
local BODY, VIEWER, SESSION, MARK = 20, 14, 8, 16
-- The size of an operation, and of one with a time and a delta.
local OPERATION, REPLAY = 27, 35
local LENGTH = string.char(BODY)
local LEFT, UNKNOWN, FAR, FAR_AHEAD = 2 ^ 47, 2 ^ 46, 65535, 2 ^ 46
-- The most sessions of a viewer, and the most leaves that are remembered for it.
local MOST = 16
-- Redis frees an expired key in one step that blocks the server. The keys of a channel with more than LARGE viewers
-- therefore expire SPARE (ms) later, so that sweeps can empty them in small steps first.
local LARGE, SPARE = 1000, 600000
-- A call that took longer than LATE (ms) to arrive is applied as of the time it was sent. One that took TOO_LATE (ms) or
-- more is not applied: if the server was stopped meanwhile, its operations are out of date, and their node replays them;
-- if a clock was set, the node learns that from the answer.
local LATE, TOO_LATE = 250, 10000
local call, sub, byte, char, floor = redis.call, string.sub, string.byte, string.char, math.floor

local clock = call('TIME')
local now = clock[1] * 1000 + floor(clock[2] / 1000)
local longest_lease, memory = tonumber(ARGV[2]), tonumber(ARGV[3])
local new_mark, sent = ARGV[4], tonumber(ARGV[5])
local after_now = string.format('(%d', now)
local is_late = sent > 0 and now - sent > LATE
local base = is_late and sent or now
-- For sessions, as in log.lua: true if they have left or were dropped, false if they have come back after a leave.
local departed, has_departed = {}, false

-- Every call creates its functions anew, and each outer variable that a function uses costs time. So they use few.

local function read4(text, at)
  local a, b, c, d = byte(text, at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end
local function read6(text, at)
  local a, b, c, d, e, f = byte(text, at, at + 5)
  return ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f
end
local function write6(number)
  local high, low = floor(number / 4294967296), number % 4294967296
  return char(floor(high / 256), high % 256, floor(low / 16777216), floor(low / 65536) % 256, floor(low / 256) % 256, low % 256)
end

-- Most sessions of a call get this time, and most channels this spare time.
local packed_base, usual_spare = write6(base), floor(longest_lease / 8)
