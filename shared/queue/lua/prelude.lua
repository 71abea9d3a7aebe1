-- Shared by every function of the queue's library. The queue is on a single Redis, so keys of arq are made from names.
-- Rules: the only clock is Redis'; every key that is written has an expiry.

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function digits(number)
  return string.format('%d', number)
end

-- The refusal of the whole call if the caller lacks a right; nil if it has all. `needs` are commands, each with its key.
-- Lua does not roll back: what is refused half-way would leave a key that never expires, or a job that nobody runs.
local function refusal_of(name, needs)
  for place = 1, #needs, 2 do
    if not redis.acl_check_cmd(needs[place], needs[place + 1]) then
      return redis.error_reply('NOPERM ' .. name .. ' needs ' .. needs[place] .. ' on ' .. needs[place + 1])
    end
  end
end
