-- ARGV[3] seconds of the lease, ARGV[4..] ids.
expire()
for i = 4, #ARGV do
  redis.call('ZADD', KEYS[1], 'XX', string.format('%.6f', now + tonumber(ARGV[3])), ARGV[i])
end
return clock
