-- ARGV[3] id, ARGV[4] seconds of the lease; then for each counter: its name, when its slot begins,
-- ends and dies, the amount, the limit.
-- Returns a word, the time, and the fields of each counter.

-- A server without memory refuses the first write of a script or none. This one changes nothing.
redis.call('ZADD', KEYS[3], 'XX', 0, '')
expire()
local fits = redis.call('ZREM', KEYS[3], ARGV[3]) == 0
for i = 4, #KEYS do
  local at = 5 + (i - 4) * 6
  if now < tonumber(ARGV[at + 1]) or now >= tonumber(ARGV[at + 2]) then return { 'clock', clock } end
  local _, sum = living(KEYS[i])
  if sum + tonumber(ARGV[at + 4]) > tonumber(ARGV[at + 5]) then fits = false end
end
if not fits then return { 'full', clock, standings() } end
local taken = {}
for i = 4, #KEYS do
  local at = 5 + (i - 4) * 6
  add(KEYS[i], 'r' .. ARGV[at + 3], ARGV[at + 4], ARGV[at + 3])
  taken[#taken + 1] = ARGV[at] .. ' ' .. ARGV[at + 3] .. ' ' .. ARGV[at + 4]
end
redis.call('HSET', KEYS[2], ARGV[3], table.concat(taken, ' '))
redis.call('ZADD', KEYS[1], string.format('%.6f', now + tonumber(ARGV[4])), ARGV[3])
return { 'taken', clock, standings() }
