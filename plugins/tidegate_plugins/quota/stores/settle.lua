-- ARGV[3] id, ARGV[4] '1' if it was tried before; then for each counter: when its slot dies, the amount.
-- Returns the time and the fields of each counter.
expire()
local known = give_back(ARGV[3]) or redis.call('ZREM', KEYS[3], ARGV[3]) == 1
if known or ARGV[4] ~= '1' then
  for i = 4, #KEYS do
    local dies, amount = ARGV[5 + (i - 4) * 2], ARGV[6 + (i - 4) * 2]
    if amount ~= '0' and (dies == '0' or tonumber(dies) > now) then
      add(KEYS[i], 'u' .. dies, amount, dies)
    end
  end
end
return { clock, standings() }
