-- Reads the sessions of random users: `wrk -s benches/reads.lua URL -- USERS`.
local users = 1000000
init = function(args)
  if args[1] then users = tonumber(args[1]) end
  math.randomseed(tonumber(tostring({}):match("0x(%x+)"), 16))
end
request = function()
  return wrk.format("GET", string.format("/v1/collections/sessions/rows?key=user-%07d", math.random(0, users - 1)))
end
