-- ARGV[3] id.
if not give_back(ARGV[3]) then bury(ARGV[3]) end
return clock
