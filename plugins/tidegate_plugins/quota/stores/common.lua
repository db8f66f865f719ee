-- What the scripts of the Redis store begin with. Keys of every script:
--   KEYS[1] leases by their expiry (sorted set)      KEYS[2] what each has reserved (hash)
--   KEYS[3] leases that expired or were cancelled    KEYS[4..] counters (hashes)
-- A counter has two fields a slot: `u<dies>` used and `r<dies>` reserved. Amounts go from string to
-- string, through HINCRBY: a Lua number is exact only up to 2^53.
-- ARGV[1] is the prefix of counters, ARGV[2] how long what is gone is remembered, in seconds.

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local clock = string.format('%.6f', now)

local function negative(amount)
  return amount == '0' and '0' or '-' .. amount
end

local function add(key, field, amount, dies)
  if redis.call('HINCRBY', key, field, amount) <= 0 then
    redis.call('HDEL', key, field)
  elseif dies ~= '0' then
    local left = redis.call('PTTL', key)
    if left < 0 or now + left / 1000 < tonumber(dies) - 0.5 then redis.call('EXPIREAT', key, dies) end
  end
end

local function give_back(id)
  local taken = redis.call('HGET', KEYS[2], id)
  if not taken then return false end
  for counter, dies, amount in string.gmatch(taken, '(%S+) (%S+) (%S+)') do
    add(ARGV[1] .. counter, 'r' .. dies, negative(amount), dies)
  end
  redis.call('HDEL', KEYS[2], id)
  redis.call('ZREM', KEYS[1], id)
  return true
end

local function bury(id)
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('%.6f', now - tonumber(ARGV[2])))
  redis.call('ZADD', KEYS[3], clock, id)
end

local function expire()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', clock, 'LIMIT', 0, 100)) do
    give_back(id)
    bury(id)
  end
end

-- Returns the fields of a counter that count now, and what they come to.
local function living(key)
  local fields, sum = {}, 0
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local dies = tonumber(string.sub(all[i], 2))
    if dies ~= 0 and dies <= now then
      redis.call('HDEL', key, all[i])
    else
      fields[#fields + 1] = all[i]
      fields[#fields + 1] = all[i + 1]
      sum = sum + tonumber(all[i + 1])
    end
  end
  return fields, sum
end

local function standings()
  local found = {}
  for i = 4, #KEYS do found[#found + 1] = living(KEYS[i]) end
  return found
end
